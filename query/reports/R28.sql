-- title = "Worksheet: the attributes of each session"
-- version = 1
-- question = "Does each session pass the tests of an auditor: request, approval, approver, reason, window and scope, recording, second factor?"
-- population = "Sessions that began in the period"
-- controls = ["SOC2 CC6.1", "SOC2 CC6.2", "SOC2 CC6.3", "SOC2 CC6.6", "ISO A.8.2", "PCI 7.2.3", "NIST AC-6"]
-- sessions = "period"
--
-- [parameters.grace_s]
-- type = "integer"
-- default = 300
-- help = "Seconds past the end of the access that a session may go on"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass: no attribute fails; exception: one fails; information: a machine account without a request; na: the request is not known"
-- why = "The first attribute that fails"
-- person = "Who opened it, by the identity table"
-- login = "Account on the target"
-- target = "What it was opened to"
-- started_at = "When it began"
-- ended_at = "When it ended; empty while it runs, or when no end is known"
-- a_request_exists = "A request or a policy decision is linked to it (an inferred one does not count)"
-- b_approved_before_start = "It was approved no later than it began"
-- c_approver_authorised_not_requester = "Every approver had the authority when they approved, and none is the person themselves; na where a policy approved"
-- d_reason_or_ticket = "A reason or a ticket was given (whether it is a good one: R08)"
-- e_inside_window_and_scope = "It stayed inside the approved time and targets (roles: R07)"
-- f_recording_here = "Its recording is here, and whole; na where the gateway records none, or does not say"
-- g_mfa = "The gateway names a second factor of the session; na where it names none, which does not mean that there was none"
-- request_ids = "Access requests that it is linked to"
-- decision_ids = "Policy decisions that it is linked to"
-- reason = "The reason that was given"
-- tickets = "Tickets that were given"
-- approvers = "Who approved"
-- approved_at = "When it was approved"
-- access_expires_at = "End of the approved access"
-- recording_state = "State of the recording"
-- evidence = "Events of the session, its requests and decisions"
--
-- [why]
-- a_request_exists = "No request and no decision is linked to it"
-- b_approved_before_start = "The approval is missing, or came after it had begun"
-- c_approver_authorised_not_requester = "An approver was the person themselves, or had no authority then"
-- d_reason_or_ticket = "Neither a reason nor a ticket was given"
-- e_inside_window_and_scope = "It left the approved time or targets"
-- f_recording_here = "Its recording is missing, has holes, or failed a check"
-- request_unknown = "It names a request of which nothing was received"
-- person_unknown = "What is linked names somebody else, and the identity table does not know this person: it may be the same one"
-- machine_account = "A machine account worked without a request: R21 judges it"
-- out_of_scope = "Neither its target nor its roles are listed as privileged"
-- refused = "The gateway let nobody in"
WITH tested AS (
  SELECT
    s.*,
    r.recording_state,
    CASE
      WHEN s.refused THEN 'refused'
      WHEN NOT s.in_scope THEN 'out_of_scope'
      WHEN NOT s.has_link AND (s.actor_kind = 'bot' OR p.kind = 'service') THEN 'machine_account'
      -- Named, and neither made nor decided as far as is known.
      WHEN s.request_ids IS NOT NULL AND s.request_states IS NULL AND s.approved_at IS NULL THEN 'request_unknown'
      -- Somebody else's, or this person's by a name that the identity table lacks.
      WHEN s.for_another AND s.approved_at IS NULL AND p.person IS NULL THEN 'person_unknown'
    END AS untested,
    CASE WHEN s.has_link THEN 'pass' ELSE 'fail' END AS a,
    CASE WHEN NOT s.has_link THEN 'na' WHEN s.approved_before_start THEN 'pass' ELSE 'fail' END AS b,
    CASE
      WHEN NOT s.has_link THEN 'na'
      WHEN length(trim(s.reason)) > 0 OR s.tickets IS NOT NULL THEN 'pass'
      ELSE 'fail'
    END AS d,
    CASE
      WHEN s.approved_at IS NULL THEN 'na'
      WHEN s.started_at >= s.access_expires_at
        OR CAST(coalesce(s.ended_at, s.last_seen_at) AS BIGINT) - CAST(s.access_expires_at AS BIGINT)
          > $grace_s * 1000000 THEN 'fail'
      -- Gateways have ids where people and policies have names; the one says nothing of the other.
      WHEN NOT array_has_any(s.approved_targets, s.target_names)
        THEN CASE WHEN regexp_like(
          concat_ws(' ', s.target, array_to_string(s.approved_targets, ' ')),
          '(^| )([a-z]+_[A-Za-z0-9]{8,}|[0-9a-f]{8}-[0-9a-f-]{27})( |$)'
        ) THEN 'na' ELSE 'fail' END
      WHEN s.access_expires_at IS NULL THEN 'na'
      -- It is open, or its end was lost.
      WHEN s.ended_at IS NULL AND $as_of > s.access_expires_at THEN 'na'
      ELSE 'pass'
    END AS e,
    CASE
      WHEN r.recording_state = 'recorded' THEN 'pass'
      WHEN r.recording_state IN ('missing', 'incomplete', 'unverifiable') THEN 'fail'
      ELSE 'na'
    END AS f,
    CASE WHEN s.mfa_device IS NOT NULL THEN 'pass' ELSE 'na' END AS g
  FROM session_approval s
  LEFT JOIN identities p ON p.person = s.person
  LEFT JOIN recording_state r
    ON r.source = s.source AND r.session_id = s.session_id AND r.cluster IS NOT DISTINCT FROM s.cluster
  WHERE s.started_at >= $from AND s.started_at < $to
),
-- One row is a session and one of its approvers.
asked AS (
  SELECT *,
    unnest(coalesce(approvers, make_array(CAST(NULL AS VARCHAR)))) AS approver,
    chr(10) || array_to_string(approved_roles, chr(10) || chr(10)) || chr(10) AS role_lines,
    chr(10) || array_to_string(text_set(make_array(approved_targets, target_names)), chr(10) || chr(10)) || chr(10)
      AS target_lines
  FROM tested
),
authorised AS (
  SELECT
    t.key, t.untested, t.person, t.login, t.target, t.started_at, t.ended_at, t.a, t.b, t.d, t.e, t.f, t.g,
    t.request_ids, t.decision_ids, t.reason, t.tickets, t.approvers, t.approved_at, t.approved_by,
    t.access_expires_at, t.recording_state, t.evidence, t.approver,
    bool_or(person(t.approver) = t.person) AS is_own,
    bool_or(h.terminated_at <= t.approved_at) AS has_left,
    -- Where a scope ends in a star, what begins so is in it.
    bool_or(
      (u.valid_from IS NULL OR u.valid_from <= t.approved_at) AND (u.valid_to IS NULL OR u.valid_to > t.approved_at)
      AND (
        u.scope_kind = 'any'
        OR strpos(
          CASE u.scope_kind WHEN 'role' THEN t.role_lines WHEN 'target' THEN t.target_lines END,
          chr(10) || rtrim(u.scope, '*') || CASE WHEN u.scope LIKE '%*' THEN '' ELSE chr(10) END
        ) > 0
      )
    ) AS has_authority
  FROM asked t
  LEFT JOIN approver_authority u ON person(u.approver) = person(t.approver)
  LEFT JOIN identities h ON h.person = person(t.approver)
  GROUP BY
    t.key, t.untested, t.person, t.login, t.target, t.started_at, t.ended_at, t.a, t.b, t.d, t.e, t.f, t.g,
    t.request_ids, t.decision_ids, t.reason, t.tickets, t.approvers, t.approved_at, t.approved_by,
    t.access_expires_at, t.recording_state, t.evidence, t.approver
),
whole AS (
  SELECT
    key, untested, person, login, target, started_at, ended_at, a, b, d, e, f, g, request_ids, decision_ids, reason,
    tickets, approvers, approved_at, access_expires_at, recording_state, evidence,
    CASE
      WHEN approved_at IS NULL OR approved_by = 'policy' OR approvers IS NULL THEN 'na'
      WHEN bool_or(is_own) OR coalesce(bool_or(has_left), false) THEN 'fail'
      -- Nothing says who may approve.
      WHEN NOT known.authority THEN 'na'
      WHEN bool_and(coalesce(has_authority, false)) THEN 'pass'
      ELSE 'fail'
    END AS c
  FROM authorised
  CROSS JOIN (SELECT count(*) > 0 AS authority FROM approver_authority) known
  GROUP BY
    key, untested, person, login, target, started_at, ended_at, a, b, d, e, f, g, request_ids, decision_ids, reason,
    tickets, approvers, approved_at, approved_by, access_expires_at, recording_state, evidence, known.authority
),
judged AS (
  SELECT
    *,
    CASE
      WHEN untested IS NOT NULL THEN untested
      WHEN a = 'fail' THEN 'a_request_exists'
      WHEN b = 'fail' THEN 'b_approved_before_start'
      WHEN c = 'fail' THEN 'c_approver_authorised_not_requester'
      WHEN d = 'fail' THEN 'd_reason_or_ticket'
      WHEN e = 'fail' THEN 'e_inside_window_and_scope'
      WHEN f = 'fail' THEN 'f_recording_here'
    END AS why
  FROM whole
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('refused', 'out_of_scope') THEN 'excluded'
    WHEN why = 'machine_account' THEN 'information'
    WHEN why IN ('request_unknown', 'person_unknown') THEN 'na'
    ELSE 'exception'
  END AS verdict,
  why,
  person, login, target, started_at, ended_at,
  CASE WHEN untested IS NULL THEN a ELSE 'na' END AS a_request_exists,
  CASE WHEN untested IS NULL THEN b ELSE 'na' END AS b_approved_before_start,
  CASE WHEN untested IS NULL THEN c ELSE 'na' END AS c_approver_authorised_not_requester,
  CASE WHEN untested IS NULL THEN d ELSE 'na' END AS d_reason_or_ticket,
  CASE WHEN untested IS NULL THEN e ELSE 'na' END AS e_inside_window_and_scope,
  CASE WHEN untested IS NULL THEN f ELSE 'na' END AS f_recording_here,
  CASE WHEN untested IS NULL THEN g ELSE 'na' END AS g_mfa,
  request_ids, decision_ids, reason, tickets, approvers, approved_at, access_expires_at, recording_state,
  evidence
FROM judged
ORDER BY started_at, key
