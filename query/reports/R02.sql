-- title = "Sessions without an approval in force"
-- version = 1
-- question = "Which sessions began without an approval that was in force?"
-- population = "Sessions that began in the period"
-- controls = ["SOC2 CC6.2", "SOC2 CC6.3", "PCI 7.2.3", "ISO A.8.2", "NIST AC-6"]
-- sessions = "period"
--
-- [parameters.grace_s]
-- type = "integer"
-- default = 0
-- help = "Seconds after the start within which an approval still counts"
--
-- [parameters.break_glass_role]
-- type = "text"
-- default = "%break-glass%"
-- help = "LIKE pattern of the roles of emergency access"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass: an approval was in force at the start; exception: none was"
-- why = "What is wrong, or worth knowing"
-- person = "Who opened it, by the identity table"
-- actor = "Who opened it, as the gateway names them"
-- login = "Account on the target"
-- target = "What it was opened to"
-- protocol = "How"
-- started_at = "When it began"
-- ended_at = "When it ended; empty while it runs, or when no end is known"
-- link_methods = "How it is linked to requests and decisions"
-- request_ids = "Access requests that it is linked to"
-- decision_ids = "Policy decisions that it is linked to"
-- inferred_ids = "Requests and decisions that are likely and not certain; they clear nothing"
-- request_states = "States of the linked requests"
-- approved_at = "When it was approved"
-- approved_by = "How: review, update (without a vote), policy"
-- approvers = "Who approved"
-- access_expires_at = "End of the approved access"
-- evidence = "Events of the session, its requests and decisions"
--
-- [why]
-- no_link = "Nothing links the session to a request or a decision"
-- inferred_only = "A request or a decision is likely the session's, by person and time alone; that clears nothing"
-- approved_after_start = "The approval came after the session had begun: R05 judges it"
-- access_over = "The approval had ended, or was taken back, before the session began"
-- for_another = "The linked request or decision was made for another person"
-- person_unknown = "The linked request or decision names somebody else, and the identity table does not know this person: it may be the same one"
-- request_denied = "The linked request was denied or taken back, and never approved before"
-- request_pending = "Nobody had decided on the linked request"
-- not_allowed = "The linked policy decision did not allow it"
-- request_unknown = "The session names a request of which nothing was received"
-- break_glass = "Approved by the emergency path: R09 judges it"
-- machine_account = "A machine account worked without a request: R21 judges it"
-- out_of_scope = "Neither its target nor its roles are listed as privileged"
-- refused = "The gateway let nobody in"
WITH judged AS (
  SELECT
    s.*,
    CASE
      WHEN s.refused THEN 'refused'
      WHEN NOT s.in_scope THEN 'out_of_scope'
      WHEN s.in_force_at_start
        OR (s.approved_at > s.started_at
          AND CAST(s.approved_at AS BIGINT) - CAST(s.started_at AS BIGINT) <= $grace_s * 1000000)
        THEN CASE
          WHEN chr(10) || array_to_string(s.approved_roles, chr(10) || chr(10)) || chr(10)
            LIKE '%' || chr(10) || $break_glass_role || chr(10) || '%' THEN 'break_glass'
        END
      WHEN NOT s.has_link AND (s.actor_kind = 'bot' OR p.kind = 'service') THEN 'machine_account'
      WHEN NOT s.has_link AND s.has_inferred THEN 'inferred_only'
      WHEN NOT s.has_link THEN 'no_link'
      WHEN NOT s.approved_before_start THEN 'approved_after_start'
      WHEN s.approved_before_start THEN 'access_over'
      WHEN s.for_another THEN CASE WHEN p.person IS NULL THEN 'person_unknown' ELSE 'for_another' END
      WHEN array_has_any(s.request_states, make_array('DENIED', 'REVOKED')) THEN 'request_denied'
      WHEN s.request_states IS NOT NULL THEN 'request_pending'
      WHEN s.decision_ids IS NOT NULL THEN 'not_allowed'
      ELSE 'request_unknown'
    END AS why
  FROM session_approval s
  LEFT JOIN identities p ON p.person = s.person
  WHERE s.started_at >= $from AND s.started_at < $to
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('refused', 'out_of_scope') THEN 'excluded'
    WHEN why IN ('break_glass', 'machine_account', 'approved_after_start') THEN 'information'
    WHEN why IN ('request_unknown', 'person_unknown') THEN 'na'
    ELSE 'exception'
  END AS verdict,
  why,
  person, actor, login, target, protocol, started_at, ended_at,
  link_methods, request_ids, decision_ids, inferred_ids, request_states,
  approved_at, approved_by, approvers, access_expires_at,
  evidence
FROM judged
ORDER BY started_at, key
