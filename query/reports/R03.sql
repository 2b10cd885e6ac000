-- title = "Self-approval and conflicted approval"
-- version = 1
-- question = "Was each access request approved by someone other than the requester, independent of them, and by enough people?"
-- population = "Access requests that were approved in the period"
-- controls = ["SOC2 CC6.3", "ISO A.5.3", "NIST AC-5"]
--
-- [parameters.approvers_min]
-- type = "integer"
-- default = 1
-- help = "Number of different persons who have to approve a request"
--
-- [parameters.two_approver_roles]
-- type = "text"
-- default = ""
-- help = "Roles that two persons have to approve, separated by commas"
--
-- [parameters.reciprocal_max]
-- type = "integer"
-- default = 3
-- help = "Two persons may approve each other's requests so often in the period, each way, without a warning"
--
-- [parameters.break_glass_role]
-- type = "text"
-- default = "%break-glass%"
-- help = "LIKE pattern of the roles whose approval by a plugin is meant to be, and is judged by R09"
--
-- [columns]
-- key = "The request: source/request id"
-- verdict = "pass | exception | warning | information | na | excluded"
-- why = "What is wrong with the approval, see the codes; empty for a pass"
-- source = "Gateway that the request was made at"
-- request_id = "The gateway's id of the request"
-- requester = "Who asked, by the identity table"
-- roles = "Roles that were given"
-- target = "What access was asked for, where the gateway names one thing"
-- approval_method = "review: votes | update: set by an administrator or a plugin"
-- approvers = "Who approved, by the identity table"
-- humans = "How many of them are persons of the people list"
-- machines = "How many of them are machines by the people list"
-- unknown = "How many of them the people list does not know"
-- needed = "How many persons have to approve"
-- both_ways = "How often the requester and an approver approved each other's requests in the period, each way"
-- created_at = "When the request was made"
-- approved_at = "When it was approved first"
-- evidence = "Events of the request's creation, of every vote and of every change of its state"
--
-- [why]
-- self_approval = "The requester is one of those who approved, by whatever name"
-- own_report = "An approver reports to the requester"
-- machine_approval = "No person approved: only machines, or somebody unknown by setting the state past the reviewers"
-- too_few_approvers = "Fewer persons approved than have to"
-- reciprocal = "The requester and an approver approve each other's requests more often than allowed for"
-- break_glass = "A plugin let the requester in by a break-glass role; R09 judges whether that was reviewed"
-- requester_unknown = "The request's creation is not in the ledger, so nobody knows who asked"
-- approver_unknown = "The people list does not know an approver (or is empty): neither person or machine nor whom they report to can be told"
WITH settings AS (
  -- Everything that is in scope as one pattern over lines of kind:name, null where nothing is listed; the LIKE pattern
  -- as one over lines of roles; whether anybody is known.
  SELECT
    (SELECT '\n(' || string_agg(
      kind || ':' || replace(regexp_replace(name, '([.+?^$(){}|\[\]\\])', '\\\1', 'g'), '*', '.*'), '|'
    ) || ')\n' FROM privileged) AS scope,
    '(?m)^' || replace(replace(
      regexp_replace(CAST($break_glass_role AS VARCHAR), '([.+?^$(){}|\[\]\\*])', '\\\1', 'g'), '%', '.*'), '_', '.') || '$' AS break_glass,
    string_to_array(regexp_replace(CAST($two_approver_roles AS VARCHAR), '\s*,\s*', ',', 'g'), ',') AS two_approver_roles,
    (SELECT count(*) > 0 FROM identities) AS has_people
),
requests AS (
  SELECT
    source, request_id, target, approval_method, created_at, approved_at, self_approved, created_event_id,
    person(requester) AS requester,
    coalesce(granted_roles, roles) AS roles,
    text_set(make_array(person(approvers))) AS approvers
  FROM access_requests
  WHERE approved_at >= $from AND approved_at < $to
),
-- One row for each approver of a request.
approvals AS (
  SELECT
    a.*,
    i.kind,
    a.approver <> a.requester AND person(i.manager) = a.requester AS is_report,
    -- How often the two approved each other: the same pair, whoever asked.
    least(
      count(CASE WHEN a.requester < a.approver THEN 1 END) OVER pair,
      count(CASE WHEN a.requester > a.approver THEN 1 END) OVER pair
    ) AS both_ways
  FROM (SELECT *, unnest(coalesce(approvers, make_array(CAST(NULL AS VARCHAR)))) AS approver FROM requests) a
  LEFT JOIN identities i ON i.person = a.approver
  WINDOW pair AS (PARTITION BY least(a.requester, a.approver), greatest(a.requester, a.approver))
),
counted AS (
  SELECT
    source, request_id, requester, roles, target, approval_method, approvers, created_at, approved_at, self_approved,
    created_event_id,
    count(*) FILTER (WHERE kind IN ('human', 'vendor')) AS humans,
    count(*) FILTER (WHERE kind = 'service') AS machines,
    count(*) FILTER (WHERE coalesce(kind, '') NOT IN ('human', 'vendor', 'service')) AS unknown,
    coalesce(bool_or(is_report), false) AS own_report,
    max(both_ways) AS both_ways
  FROM approvals
  GROUP BY ALL
),
votes AS (
  SELECT source, request_id, text_union(event_id) AS event_ids FROM reviews GROUP BY source, request_id
),
weighed AS (
  SELECT
    c.*,
    s.has_people,
    greatest(CAST($approvers_min AS BIGINT), CASE WHEN array_has_any(c.roles, s.two_approver_roles) THEN 2 ELSE 0 END) AS needed,
    coalesce(regexp_like(array_to_string(c.roles, chr(10)), s.break_glass), false) AS break_glass,
    s.scope IS NULL OR c.target IS NULL AND c.roles IS NULL OR regexp_like(
      concat_ws(chr(10), '', 'target:' || c.target, '',
        'role:' || array_to_string(c.roles, chr(10) || chr(10) || 'role:'), ''),
      s.scope
    ) AS in_scope,
    text_set(make_array(make_array(c.created_event_id), v.event_ids)) AS evidence
  FROM counted c
  CROSS JOIN settings s
  LEFT JOIN votes v ON v.source = c.source AND v.request_id = c.request_id
),
judged AS (
  SELECT
    *,
    CASE
      WHEN NOT in_scope THEN NULL
      WHEN requester IS NULL THEN 'requester_unknown'
      WHEN self_approved THEN 'self_approval'
      WHEN own_report THEN 'own_report'
      -- What a person sets is no plugin's approval: it is judged like any other.
      WHEN break_glass AND approval_method = 'update' AND humans = 0 THEN 'break_glass'
      WHEN humans = 0 AND (unknown = 0 OR approval_method = 'update' AND has_people) THEN 'machine_approval'
      WHEN humans + unknown < needed THEN 'too_few_approvers'
      WHEN unknown > 0 THEN 'approver_unknown'
      WHEN both_ways > $reciprocal_max THEN 'reciprocal'
    END AS why
  FROM weighed
)
SELECT
  concat_ws('/', source, request_id) AS key,
  CASE
    WHEN NOT in_scope THEN 'excluded'
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('requester_unknown', 'approver_unknown') THEN 'na'
    WHEN why = 'reciprocal' THEN 'warning'
    WHEN why = 'break_glass' THEN 'information'
    ELSE 'exception'
  END AS verdict,
  why,
  source, request_id, requester, roles, target, approval_method, approvers, humans, machines, unknown, needed, both_ways,
  created_at, approved_at, evidence
FROM judged
ORDER BY approved_at, key
