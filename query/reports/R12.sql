-- title = "Denied, then got in"
-- version = 1
-- question = "Who was refused access, and got it soon after without a new approval?"
-- population = "Refusals in the period: decisions of a policy engine that did not allow, and requests that were denied"
-- controls = ["SOC2 CC7.2", "SOC2 CC7.3", "PCI 10.2.1.4", "NIST AC-6(9)"]
-- sessions = "period + window_s"
--
-- [parameters.window_s]
-- type = "integer"
-- default = 3600
-- help = "Seconds after the refusal within which a session counts as getting in"
--
-- [columns]
-- key = "The refusal: the event id of the decision, or request/source/request id"
-- verdict = "pass: nothing followed; exception: got in without a new approval; information: a new approval came in between; na: the refusal does not say who or what"
-- why = "What followed"
-- refusal = "decision or request"
-- denied_at = "When it was refused"
-- person = "Who was refused, by the identity table"
-- denied = "What was refused: a target, or roles"
-- denied_by = "Policy path and revision, or the people who denied the request"
-- sessions = "Sessions of the same person on the same target, or with the same role, within the window"
-- got_in_at = "When the first of them began that no new approval explains, else the first of all"
-- delay_s = "Seconds from the refusal to it"
-- gateway = "Where it was"
-- approved_at = "When it was approved, if at all"
-- approvers = "Who approved it"
-- evidence = "Events of the refusal, the sessions and their approvals"
--
-- [why]
-- no_approval = "Got in, and nothing approved the session"
-- earlier_approval = "Got in under an approval that is older than the refusal"
-- later_approval = "Got in, and the approval came only after the session had begun"
-- approved_between = "Got in under an approval that came between the refusal and the session"
-- not_named = "The refusal does not say who was refused, or what"
WITH refusals AS (
  SELECT
    event_id AS key, 'decision' AS refusal, occurred_at AS denied_at, person(actor) AS person,
    make_array(target) AS items, nullif(concat_ws('@', policy_path, policy_revision), '') AS denied_by, event_id
  FROM policy_decisions
  -- A policy without an answer: whoever asked is expected to refuse.
  WHERE outcome IN ('deny', 'undefined', 'error') AND occurred_at >= $from AND occurred_at < $to
  UNION ALL
  SELECT
    concat_ws('/', 'request', r.source, r.request_id), 'request', d.denied_at, person(r.requester),
    -- A role is no target, even if one is called so.
    CASE WHEN r.target IS NOT NULL THEN make_array(r.target)
      ELSE string_to_array('role ' || array_to_string(r.roles, chr(10) || 'role '), chr(10))
    END,
    array_to_string(r.deniers, ', '), d.event_id
  FROM (
    SELECT source, request_id, min(at) AS denied_at, first_value(event_id ORDER BY at, event_id) AS event_id
    FROM reviews
    WHERE state = 'DENIED'
    GROUP BY source, request_id
  ) d
  JOIN access_requests r ON r.source = d.source AND r.request_id = d.request_id
  WHERE d.denied_at >= $from AND d.denied_at < $to
),
-- Buckets as wide as the window: a session within the window is in the refusal's bucket or the next.
asked AS (
  SELECT *, unnest(make_array(bucket, bucket + 1)) AS near
  FROM (
    SELECT *, unnest(items) AS item, CAST(denied_at AS BIGINT) / (greatest($window_s, 1) * 1000000) AS bucket
    FROM refusals
  )
),
used AS (
  SELECT
    *,
    unnest(text_set(make_array(
      target_names,
      string_to_array('role ' || array_to_string(roles, chr(10) || 'role '), chr(10))
    ))) AS item,
    CAST(started_at AS BIGINT) / (greatest($window_s, 1) * 1000000) AS bucket
  FROM session_approval
  WHERE started_at > $from AND NOT refused
    AND CAST(started_at AS BIGINT) <= CAST($to AS BIGINT) + $window_s * 1000000
),
got_in AS (
  SELECT
    a.key, a.denied_at, s.key AS session, s.started_at, s.source, s.approved_at, s.approvers, s.evidence,
    CASE
      WHEN s.approved_at IS NULL THEN 'no_approval'
      WHEN NOT s.approved_before_start THEN 'later_approval'
      WHEN s.approved_at <= a.denied_at THEN 'earlier_approval'
      ELSE 'approved_between'
    END AS why,
    NOT coalesce(s.approved_before_start AND s.approved_at > a.denied_at, false) AS is_unexplained
  FROM asked a
  JOIN used s ON s.person = a.person AND s.item = a.item AND s.bucket = a.near
  WHERE s.started_at > a.denied_at
    AND CAST(s.started_at AS BIGINT) - CAST(a.denied_at AS BIGINT) <= $window_s * 1000000
),
followed AS (
  SELECT
    key,
    text_union(session) AS sessions,
    text_union(evidence) AS session_evidence,
    first_value(why ORDER BY is_unexplained DESC, started_at, session) AS why,
    first_value(started_at ORDER BY is_unexplained DESC, started_at, session) AS got_in_at,
    first_value(source ORDER BY is_unexplained DESC, started_at, session) AS gateway,
    first_value(approved_at ORDER BY is_unexplained DESC, started_at, session) AS approved_at,
    first_value(approvers ORDER BY is_unexplained DESC, started_at, session) AS approvers
  FROM got_in
  GROUP BY key
),
-- Two contents under one event id are one refusal here, and each was looked for.
whole AS (
  SELECT
    key,
    min(refusal) AS refusal,
    min(denied_at) AS denied_at,
    min(person) AS person,
    text_union(items) AS denied,
    min(denied_by) AS denied_by,
    text_union(event_id) AS event_ids
  FROM refusals
  GROUP BY key
)
SELECT
  w.key,
  CASE
    WHEN f.why = 'approved_between' THEN 'information'
    WHEN f.why IS NOT NULL THEN 'exception'
    WHEN w.person IS NULL OR w.denied IS NULL THEN 'na'
    ELSE 'pass'
  END AS verdict,
  CASE WHEN f.why IS NULL AND (w.person IS NULL OR w.denied IS NULL) THEN 'not_named' ELSE f.why END AS why,
  w.refusal, w.denied_at, w.person, w.denied, w.denied_by,
  f.sessions, f.got_in_at,
  (CAST(f.got_in_at AS BIGINT) - CAST(w.denied_at AS BIGINT)) / 1000000.0 AS delay_s,
  f.gateway, f.approved_at, f.approvers,
  text_set(make_array(w.event_ids, f.session_evidence)) AS evidence
FROM whole w
LEFT JOIN followed f ON f.key = w.key
ORDER BY w.denied_at, w.key
