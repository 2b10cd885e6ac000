-- title = "Timeliness and workload of approvals"
-- version = 1
-- question = "How long do requests wait for an answer, who answers them, and is every answer a considered one?"
-- population = "Access requests made in the period, gathered: all of them, by approver, by role, and by when they were made"
-- controls = ["SOC2 CC6.3", "ISO A.5.18"]
--
-- [parameters.rubber_stamp_s]
-- type = "number"
-- default = 10.0
-- help = "A person who approves sooner than so many seconds after the request cannot have read it; 0 for no such warning"
--
-- [parameters.approver_share_max]
-- type = "number"
-- default = 1.0
-- help = "Share (0 to 1) of all approvals that one person may have given without a warning"
--
-- [parameters.business_from]
-- type = "integer"
-- default = 9
-- help = "Hour of the day (UTC) at which business hours begin, Monday to Friday"
--
-- [parameters.business_to]
-- type = "integer"
-- default = 17
-- help = "Hour of the day (UTC) before which they end"
--
-- [columns]
-- key = "The group: all, approver/person, role/name, made/business_hours or made/out_of_hours"
-- verdict = "warning | information"
-- why = "What stands out, see the codes"
-- requests = "Number of requests; of an approver, those that they approved"
-- approved = "How many of them were approved"
-- denied = "How many were denied"
-- by_machine = "How many were approved by no person: by machines of the people list, or set by somebody that it does not know; empty where the list is"
-- undecided = "How many have no answer as of the report"
-- expired_undecided = "How many of these expired"
-- approvals_share = "Share of all approved requests"
-- rubber_stamps = "Approvals by a person sooner after the request than they can have read it"
-- decided_s_p50 = "Seconds from the request to the first answer: half of them within"
-- decided_s_p90 = "90 % within"
-- decided_s_p95 = "95 % within"
-- decided_s_max = "All within"
-- approved_s_mean = "Seconds from the request to its approval: the mean"
-- approved_s_p50 = "Half of them within"
-- approved_s_p90 = "90 % within"
-- approved_s_p95 = "95 % within"
-- approved_s_max = "All within"
-- evidence = "Events of the approvals that came too soon"
--
-- [why]
-- rubber_stamp = "Approvals came sooner after the request than somebody can have read it"
-- overloaded = "One person gives more of the approvals than allowed for"
-- expired_undecided = "Requests expired without an answer"
WITH answers AS (
  SELECT
    source,
    request_id,
    min(at) AS first_at,
    bool_or('DENIED' IN (coalesce(vote, ''), coalesce(state, ''))) AS denied
  FROM reviews
  WHERE at <= $as_of AND (vote IN ('APPROVED', 'DENIED') OR method = 'update' AND state IN ('APPROVED', 'DENIED', 'PROMOTED'))
  GROUP BY source, request_id
),
requests AS (
  SELECT
    r.source, r.request_id, r.created_at, r.expires_at, r.approval_method, r.approved_event_id,
    CASE WHEN r.approved_at <= $as_of THEN r.approved_at END AS approved_at,
    coalesce(r.granted_roles, r.roles) AS roles,
    text_set(make_array(person(r.approvers))) AS approvers,
    a.first_at,
    coalesce(a.denied, false) AS denied
  FROM access_requests r
  LEFT JOIN answers a ON a.source = r.source AND a.request_id = r.request_id
  WHERE r.created_at >= $from AND r.created_at < $to
),
-- Whether a person is among the approvers: votes of those who are not known to be machines count as persons'.
approved_by AS (
  SELECT
    source, request_id,
    count(i.kind) FILTER (WHERE i.kind IN ('human', 'vendor')) AS humans,
    count(*) FILTER (WHERE i.kind IS NULL) AS unknown
  FROM (SELECT source, request_id, unnest(approvers) AS approver FROM requests WHERE approvers IS NOT NULL)
  LEFT JOIN identities i ON i.person = approver
  GROUP BY source, request_id
),
timed AS (
  SELECT
    r.*,
    p.has_people,
    (CAST(r.first_at AS BIGINT) - CAST(r.created_at AS BIGINT)) / 1e6 AS decided_s,
    (CAST(r.approved_at AS BIGINT) - CAST(r.created_at AS BIGINT)) / 1e6 AS approved_s,
    r.approved_at IS NOT NULL
      AND (coalesce(b.humans, 0) > 0 OR coalesce(b.unknown, 0) > 0 AND r.approval_method = 'review') AS by_person
  FROM requests r
  LEFT JOIN approved_by b ON b.source = r.source AND b.request_id = r.request_id
  CROSS JOIN (SELECT count(*) > 0 AS has_people FROM identities) p
),
-- One row for each group that a request is in.
grouped AS (
  SELECT
    *,
    by_person AND approved_s < $rubber_stamp_s AS rubber_stamp,
    unnest(string_to_array(concat_ws(chr(10),
      'all',
      CASE
        WHEN date_part('isodow', created_at) <= 5 AND date_part('hour', created_at) >= $business_from
          AND date_part('hour', created_at) < $business_to THEN 'made/business_hours'
        ELSE 'made/out_of_hours'
      END,
      'approver/' || array_to_string(approvers, chr(10) || 'approver/'),
      'role/' || array_to_string(roles, chr(10) || 'role/')
    ), chr(10))) AS key
  FROM timed
),
counted AS (
  SELECT
    key,
    count(*) AS requests,
    count(approved_at) AS approved,
    count(*) FILTER (WHERE denied) AS denied,
    count(*) FILTER (WHERE approved_at IS NOT NULL AND NOT by_person AND has_people) AS by_machine,
    bool_or(has_people) AS has_people,
    count(*) FILTER (WHERE first_at IS NULL) AS undecided,
    count(*) FILTER (WHERE first_at IS NULL AND expires_at <= $as_of) AS expired_undecided,
    count(*) FILTER (WHERE rubber_stamp) AS rubber_stamps,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY decided_s) AS decided_s_p50,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY decided_s) AS decided_s_p90,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY decided_s) AS decided_s_p95,
    max(decided_s) AS decided_s_max,
    -- Of integers the sum is the same in any order.
    sum(CAST(approved_at AS BIGINT) - CAST(created_at AS BIGINT)) / (count(approved_at) * 1e6) AS approved_s_mean,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY approved_s) AS approved_s_p50,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY approved_s) AS approved_s_p90,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY approved_s) AS approved_s_p95,
    max(approved_s) AS approved_s_max,
    text_union(CASE WHEN rubber_stamp THEN approved_event_id END) AS evidence
  FROM grouped
  GROUP BY key
),
judged AS (
  SELECT
    *,
    approved / CAST(nullif(max(CASE key WHEN 'all' THEN approved END) OVER (), 0) AS DOUBLE) AS approvals_share
  FROM counted
),
named AS (
  SELECT
    *,
    CASE
      WHEN starts_with(key, 'approver/') AND rubber_stamps > 0 THEN 'rubber_stamp'
      WHEN starts_with(key, 'approver/') AND approvals_share > $approver_share_max THEN 'overloaded'
      WHEN key = 'all' AND expired_undecided > 0 THEN 'expired_undecided'
    END AS why
  FROM judged
)
SELECT
  key,
  CASE WHEN why IS NULL THEN 'information' ELSE 'warning' END AS verdict,
  why,
  requests,
  approved,
  denied,
  CASE WHEN has_people THEN by_machine END AS by_machine,
  undecided,
  expired_undecided,
  round(approvals_share, 4) AS approvals_share,
  rubber_stamps,
  round(decided_s_p50, 1) AS decided_s_p50,
  round(decided_s_p90, 1) AS decided_s_p90,
  round(decided_s_p95, 1) AS decided_s_p95,
  round(decided_s_max, 1) AS decided_s_max,
  round(approved_s_mean, 1) AS approved_s_mean,
  round(approved_s_p50, 1) AS approved_s_p50,
  round(approved_s_p90, 1) AS approved_s_p90,
  round(approved_s_p95, 1) AS approved_s_p95,
  round(approved_s_max, 1) AS approved_s_max,
  evidence
FROM named
ORDER BY key
