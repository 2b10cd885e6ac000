-- title = "Break-glass use"
-- version = 1
-- question = "Was each use of emergency access looked at afterwards, in time, by someone else, and does it name an incident?"
-- population = "Requests for a break-glass role that were approved in the period, and sessions of the period that had such a role without a request for it"
-- controls = ["SOC2 CC7.3", "SOC2 CC7.4", "SOC2 CC8.1", "HIPAA 164.312(a)(2)(ii)"]
-- sessions = "requests"
--
-- [parameters.break_glass_role]
-- type = "text"
-- default = "%break-glass%"
-- help = "LIKE pattern of the roles of emergency access"
--
-- [parameters.review_hours]
-- type = "number"
-- default = 24.0
-- help = "Hours from the end of the use within which it has to be reviewed"
--
-- [columns]
-- key = "The use: source/request id, or source/session id where nobody asked"
-- verdict = "exception | information | na"
-- why = "What came of the use, see the codes"
-- source = "Gateway"
-- request_id = "The request; empty for a session that had the role without one"
-- person = "Who used it, by the identity table"
-- roles = "Break-glass roles among others that were given, or were in effect"
-- reason = "The reason as it was written"
-- incident_ids = "Tickets that the reason names"
-- approved_by = "Who or what let them in"
-- approved_at = "When"
-- sessions = "Number of sessions"
-- session_ids = "The sessions"
-- targets = "What they were opened to"
-- first_session_at = "When the first began"
-- used_until = "When the use was over: the last session's end; of a session without an end, the end of the access, or its last trace where nobody asked; without a session, the approval"
-- review_due_at = "Until when it has to be reviewed"
-- reviewed_by = "The first person other than the user who reviewed it after it was over"
-- reviewed_at = "When"
-- review_hours = "Hours from the end of the use to the review"
-- outcome = "The reviewer's vote"
-- comment = "What the reviewer wrote"
-- evidence = "Events of the request, its reviews and its sessions"
--
-- [why]
-- reviewed = "Reviewed in time by another person, and an incident is named"
-- in_use = "The access is in use: there is nothing to review yet"
-- unreviewed = "Nobody has reviewed it since it was over (`review_due_at` says whether time is left)"
-- self_reviewed = "Nobody but the user has reviewed it"
-- machine_reviewed = "No person has reviewed it: a machine has"
-- reviewer_unknown = "The people list does not know the reviewer (or is empty): whether that is a person cannot be told"
-- reviewed_late = "Reviewed after the time for it was over"
-- no_incident = "Reviewed in time, and no incident is named"
WITH settings AS (
  -- The LIKE pattern as one over lines of roles.
  SELECT
    '(?m)^' || replace(replace(
      regexp_replace(CAST($break_glass_role AS VARCHAR), '([.+?^$(){}|\[\]\\*])', '\\\1', 'g'), '%', '.*'), '_', '.') || '$' AS break_glass
),
requests AS (
  SELECT
    r.source, r.request_id, r.reason, r.tickets, r.approvers, r.approved_at, r.created_event_id, r.approved_event_id,
    person(r.requester) AS requester,
    coalesce(r.granted_roles, r.roles) AS roles,
    least(r.expires_at, r.closed_at) AS expires_at
  FROM access_requests r
  CROSS JOIN settings s
  WHERE r.approved_at IS NOT NULL
    AND regexp_like(array_to_string(coalesce(r.granted_roles, r.roles), chr(10)), s.break_glass)
),
sessions_of AS (
  SELECT
    source, key, session_id, person, target, started_at, ended_at, last_seen_at, roles, reason, tickets, evidence,
    unnest(coalesce(request_ids, make_array(CAST(NULL AS VARCHAR)))) AS request_id
  FROM session_approval
  WHERE NOT refused
),
-- Each session of each request; requests without one; sessions without a request for such a role.
both AS (
  SELECT
    CASE WHEN r.request_id IS NULL THEN s.key ELSE concat_ws('/', r.source, r.request_id) END AS key,
    coalesce(r.source, s.source) AS source,
    r.request_id,
    coalesce(r.requester, s.person) AS person,
    s.person AS session_person,
    r.request_id IS NOT NULL AS is_asked,
    coalesce(r.roles, s.roles) AS roles,
    CASE WHEN r.request_id IS NULL THEN s.reason ELSE r.reason END AS reason,
    CASE WHEN r.request_id IS NULL THEN s.tickets ELSE r.tickets END AS tickets,
    person(r.approvers) AS approvers,
    r.approved_at,
    s.session_id, s.target, s.started_at,
    -- A session whose end was never told lasts no longer than the access.
    CASE
      WHEN s.key IS NULL THEN r.approved_at
      WHEN r.request_id IS NULL THEN coalesce(s.ended_at, s.last_seen_at, s.started_at)
      ELSE coalesce(s.ended_at, greatest(s.last_seen_at, least(r.expires_at, CAST($as_of AS TIMESTAMP(6)))))
    END AS used_until,
    r.created_event_id, r.approved_event_id, s.evidence,
    count(r.request_id) OVER (PARTITION BY s.key) AS requests
  FROM requests r
  FULL JOIN sessions_of s ON s.source = r.source AND s.request_id = r.request_id
),
uses AS (
  SELECT
    b.key,
    b.source,
    b.request_id,
    b.person,
    min(b.roles) AS roles,
    min(b.reason) AS reason,
    text_union(b.tickets) AS incident_ids,
    text_union(b.approvers) AS approved_by,
    min(b.approved_at) AS approved_at,
    count(DISTINCT b.session_id) AS sessions,
    text_union(b.session_id) AS session_ids,
    text_union(b.target) AS targets,
    min(b.started_at) AS first_session_at,
    max(b.used_until) AS used_until,
    text_union(b.session_person) AS users,
    text_set(make_array(
      text_union(b.created_event_id), text_union(b.approved_event_id), text_union(b.evidence)
    )) AS evidence
  FROM both b
  CROSS JOIN settings s
  WHERE b.is_asked OR b.requests = 0 AND regexp_like(array_to_string(b.roles, chr(10)), s.break_glass)
  GROUP BY b.key, b.source, b.request_id, b.person
  HAVING coalesce(min(b.approved_at), min(b.started_at)) >= $from
    AND coalesce(min(b.approved_at), min(b.started_at)) < $to
),
-- Each use with what was said of it after it was over; a vote before that let them in.
seen AS (
  SELECT
    u.*,
    v.event_id, v.at, v.vote, v.comment,
    person(v.reviewer) AS reviewer,
    CASE
      WHEN v.event_id IS NULL THEN NULL
      WHEN person(v.reviewer) = u.person OR coalesce(array_has(u.users, person(v.reviewer)), false) THEN 'user'
      WHEN i.kind IN ('human', 'vendor') THEN 'other'
      WHEN i.kind = 'service' THEN 'machine'
      ELSE 'unknown'
    END AS by
  FROM uses u
  LEFT JOIN reviews v
    ON v.source = u.source AND v.request_id = u.request_id AND v.method = 'review'
    AND v.at >= u.used_until AND v.at <= $as_of
  LEFT JOIN identities i ON i.person = person(v.reviewer)
),
reviewed AS (
  SELECT
    key, source, request_id, person, roles, reason, incident_ids, approved_by, approved_at, sessions, session_ids, targets,
    first_session_at, used_until,
    used_until + CAST(concat(CAST($review_hours AS DOUBLE), ' hours') AS INTERVAL) AS review_due_at,
    first_value(reviewer ORDER BY at, event_id) FILTER (WHERE by = 'other') AS reviewed_by,
    min(at) FILTER (WHERE by = 'other') AS reviewed_at,
    first_value(vote ORDER BY at, event_id) FILTER (WHERE by = 'other') AS outcome,
    first_value(comment ORDER BY at, event_id) FILTER (WHERE by = 'other') AS comment,
    bool_or(by = 'unknown') AS by_unknown,
    bool_or(by = 'user') AS by_user,
    bool_or(by = 'machine') AS by_machine,
    text_set(make_array(evidence, text_union(event_id))) AS evidence
  FROM seen
  GROUP BY
    key, source, request_id, person, roles, reason, incident_ids, approved_by, approved_at, sessions, session_ids, targets,
    first_session_at, used_until, evidence
),
judged AS (
  SELECT
    *,
    CASE
      WHEN used_until >= $as_of THEN 'in_use'
      WHEN reviewed_at > review_due_at THEN 'reviewed_late'
      WHEN reviewed_at IS NOT NULL AND incident_ids IS NULL THEN 'no_incident'
      WHEN reviewed_at IS NOT NULL THEN 'reviewed'
      WHEN by_unknown THEN 'reviewer_unknown'
      WHEN by_user THEN 'self_reviewed'
      WHEN by_machine THEN 'machine_reviewed'
      ELSE 'unreviewed'
    END AS why
  FROM reviewed
)
SELECT
  key,
  CASE
    WHEN why IN ('reviewed', 'in_use') THEN 'information'
    WHEN why = 'reviewer_unknown' THEN 'na'
    ELSE 'exception'
  END AS verdict,
  why,
  source, request_id, person, roles, reason, incident_ids, approved_by, approved_at, sessions, session_ids, targets,
  first_session_at, used_until, review_due_at, reviewed_by, reviewed_at,
  round((CAST(reviewed_at AS BIGINT) - CAST(used_until AS BIGINT)) / 3600e6, 2) AS review_hours,
  outcome, comment, evidence
FROM judged
ORDER BY coalesce(approved_at, first_session_at), key
