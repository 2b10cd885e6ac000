-- title = "Sessions beyond the approved scope"
-- version = 1
-- question = "Which sessions went to a target, or held a role, that was not approved?"
-- population = "Sessions that began in the period"
-- controls = ["SOC2 CC6.3", "ISO A.8.2", "PCI 7.2.3", "NIST AC-6"]
-- sessions = "period"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass: inside what was approved; exception: beyond; na: what was approved cannot be compared"
-- why = "What was beyond, or why it cannot be compared"
-- person = "Who opened it, by the identity table"
-- started_at = "When it began"
-- login = "Account on the target"
-- used_target = "What it was opened to"
-- approved_targets = "Targets that were approved; empty where roles alone were: what a role reaches is the gateway's to enforce"
-- used_roles = "Roles in effect in the session"
-- standing_roles = "Roles that the person holds without asking"
-- approved_roles = "Roles that were approved"
-- excess_roles = "Roles in effect that are neither approved nor standing"
-- requested_roles = "Roles that were asked for"
-- widened_roles = "Roles that an approver granted and nobody had asked for"
-- request_ids = "Access requests that it is linked to"
-- decision_ids = "Policy decisions that it is linked to"
-- evidence = "Events of the session, its requests and decisions"
--
-- [why]
-- other_target = "The session went to a target that was not approved"
-- excess_roles = "The session held roles that are neither approved nor held without asking"
-- widened_roles = "An approver granted roles that the request did not ask for"
-- no_standing_roles = "The session held roles that were not approved, and no event says which roles the person holds without asking"
-- other_naming = "The approval names its target in another way than the gateway does, so the two cannot be compared"
-- no_scope = "The approval names neither a target nor a role"
-- no_approval = "Nothing approved the session, so there is no scope: R02 judges it"
-- out_of_scope = "Neither its target nor its roles are listed as privileged"
-- refused = "The gateway let nobody in"
WITH standing AS (
  -- What is in effect without a request is held without asking. At some time: that it is revoked later is R10's matter.
  SELECT person(actor) AS person, text_union(actor_roles) AS standing_roles
  FROM events
  WHERE kind IN ('login', 'credential.issue', 'session.start') AND request_ids IS NULL AND actor_roles IS NOT NULL
    AND coalesce(outcome, 'success') NOT IN ('failure', 'deny')
  GROUP BY person(actor)
),
compared AS (
  SELECT
    s.*,
    t.standing_roles,
    nullif(
      array_except(array_except(s.roles, coalesce(s.approved_roles, make_array(''))),
        coalesce(t.standing_roles, make_array(''))),
      make_array()
    ) AS excess_roles,
    nullif(array_except(s.approved_roles, s.requested_roles), make_array()) AS widened_roles,
    NOT array_has_any(s.approved_targets, s.target_names) AS is_elsewhere,
    -- Gateways have ids where people and policies have names; the one says nothing of the other.
    cardinality(s.target_names) = 1
      AND regexp_like(s.target, '^([a-z]+_[A-Za-z0-9]{8,}|[0-9a-f]{8}-[0-9a-f-]{27})$') <> regexp_like(
        array_to_string(s.approved_targets, ' '), '(^| )([a-z]+_[A-Za-z0-9]{8,}|[0-9a-f]{8}-[0-9a-f-]{27})( |$)'
      ) AS is_other_naming
  FROM session_approval s
  LEFT JOIN standing t ON t.person = s.person
  WHERE s.started_at >= $from AND s.started_at < $to
),
judged AS (
  SELECT
    *,
    CASE
      WHEN refused THEN 'refused'
      WHEN NOT in_scope THEN 'out_of_scope'
      WHEN approved_at IS NULL THEN 'no_approval'
      WHEN is_elsewhere AND NOT is_other_naming THEN 'other_target'
      WHEN excess_roles IS NOT NULL AND approved_roles IS NOT NULL AND standing_roles IS NOT NULL THEN 'excess_roles'
      WHEN widened_roles IS NOT NULL THEN 'widened_roles'
      WHEN is_elsewhere THEN 'other_naming'
      WHEN excess_roles IS NOT NULL AND approved_roles IS NOT NULL THEN 'no_standing_roles'
      WHEN approved_roles IS NULL AND approved_targets IS NULL THEN 'no_scope'
    END AS why
  FROM compared
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('refused', 'out_of_scope') THEN 'excluded'
    WHEN why IN ('no_approval', 'other_naming', 'no_standing_roles', 'no_scope') THEN 'na'
    ELSE 'exception'
  END AS verdict,
  why,
  person, started_at, login, target AS used_target, approved_targets, roles AS used_roles, standing_roles,
  approved_roles, excess_roles, requested_roles, widened_roles, request_ids, decision_ids,
  evidence
FROM judged
ORDER BY started_at, key
