-- title = "Dormant approvals and entitlements"
-- version = 1
-- question = "Which approvals were never used, and which standing roles has nobody used for long?"
-- population = "Access requests approved in the period, and roles that people hold without asking as of the report"
-- controls = ["PCI 8.2.6", "NIST AC-2(3)", "ISO A.5.18"]
-- sessions = "requests"
--
-- [parameters.dormant_days]
-- type = "integer"
-- default = 90
-- help = "A standing role that nobody has used for so many days is dormant"
--
-- [columns]
-- key = "The approval: source/request id; or the entitlement: entitlement/person/role"
-- verdict = "pass | exception | information | excluded"
-- why = "What is dormant, see the codes; empty where it was used"
-- kind = "approval | entitlement"
-- source = "Gateway that the request was made at"
-- request_id = "The request"
-- person = "Who may use it, by the identity table"
-- roles = "Roles that were given, or the one that is held"
-- target = "What access was given to, where the gateway names one thing"
-- reason = "Why it was asked for"
-- approvers = "Who approved"
-- granted_at = "When it was approved; of an entitlement, when it was seen first"
-- access_expires_at = "Until when it may be used, or might have been"
-- sessions = "Sessions linked to the request other than by inference"
-- inferred_sessions = "Sessions that are linked to it by inference alone, which does not count as use"
-- last_used_at = "The start of the latest session with it"
-- unused_days = "Days since then, or since it was granted where nobody ever used it"
-- evidence = "Events of the request's creation and approval; events that tell of the entitlement"
--
-- [why]
-- never_used = "Approved, and no session was opened with it before the access was over"
-- open = "Not used so far; the access is not over"
-- no_end = "Not used so far, and nothing says that the access ends"
-- dormant_entitlement = "Held without asking, and not used for longer than allowed for"
WITH settings AS (
  -- Everything that is in scope as one pattern over lines of kind:name, null where nothing is listed.
  SELECT
    (SELECT '\n(' || string_agg(
      kind || ':' || replace(regexp_replace(name, '([.+?^$(){}|\[\]\\])', '\\\1', 'g'), '*', '.*'), '|'
    ) || ')\n' FROM privileged) AS scope
),
used AS (
  SELECT
    request_id,
    count(DISTINCT CASE WHEN link_method <> 'inferred' THEN concat_ws('/', source, cluster, session_id) END) AS sessions,
    count(DISTINCT CASE WHEN link_method = 'inferred' THEN concat_ws('/', source, cluster, session_id) END)
      AS inferred_sessions,
    max(started_at) FILTER (WHERE link_method <> 'inferred') AS last_used_at
  FROM session_access
  WHERE request_id IS NOT NULL AND started_at <= $as_of
  GROUP BY request_id
),
items AS (
  SELECT
    concat_ws('/', r.source, r.request_id) AS key,
    'approval' AS kind,
    r.source,
    r.request_id,
    person(r.requester) AS person,
    coalesce(r.granted_roles, r.roles) AS roles,
    r.target,
    r.reason,
    person(r.approvers) AS approvers,
    r.approved_at AS granted_at,
    least(r.expires_at, r.closed_at) AS access_expires_at,
    coalesce(u.sessions, 0) AS sessions,
    coalesce(u.inferred_sessions, 0) AS inferred_sessions,
    u.last_used_at,
    text_set(make_array(make_array(r.created_event_id), make_array(r.approved_event_id))) AS evidence
  FROM access_requests r
  LEFT JOIN used u ON u.request_id = r.request_id
  WHERE r.approved_at >= $from AND r.approved_at < $to
  UNION ALL
  SELECT
    concat_ws('/', 'entitlement', subject, role),
    'entitlement',
    NULL,
    NULL,
    subject,
    make_array(role),
    NULL,
    NULL,
    NULL,
    first_seen_at,
    expires_at,
    NULL,
    NULL,
    last_used_at,
    evidence
  FROM entitlements
  WHERE origin = 'static' AND first_seen_at <= $as_of AND absent_since IS NULL
),
judged AS (
  SELECT
    i.*,
    (CAST(CAST($as_of AS TIMESTAMP(6)) AS BIGINT) - CAST(coalesce(i.last_used_at, i.granted_at) AS BIGINT)) / 86400e6 AS unused_days,
    s.scope IS NULL OR i.target IS NULL AND i.roles IS NULL OR regexp_like(
      concat_ws(chr(10), '', 'target:' || i.target, '',
        'role:' || array_to_string(i.roles, chr(10) || chr(10) || 'role:'), ''),
      s.scope
    ) AS in_scope
  FROM items i
  CROSS JOIN settings s
),
named AS (
  SELECT
    *,
    CASE
      WHEN NOT in_scope THEN NULL
      WHEN kind = 'entitlement' THEN CASE WHEN unused_days >= $dormant_days THEN 'dormant_entitlement' END
      WHEN sessions > 0 THEN NULL
      WHEN access_expires_at IS NULL THEN 'no_end'
      WHEN access_expires_at > $as_of THEN 'open'
      ELSE 'never_used'
    END AS why
  FROM judged
)
SELECT
  key,
  CASE
    WHEN NOT in_scope THEN 'excluded'
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('open', 'no_end') THEN 'information'
    ELSE 'exception'
  END AS verdict,
  why,
  kind, source, request_id, person, roles, target, reason, approvers, granted_at, access_expires_at, sessions,
  inferred_sessions, last_used_at, round(unused_days, 1) AS unused_days, evidence
FROM named
ORDER BY kind, granted_at, key
