-- title = "Sessions without a policy decision, and drift between revisions"
-- version = 1
-- question = "Which sessions did no policy allow where one has to, and which question did two revisions of a policy answer differently?"
-- population = "Sessions that began in the period; questions (policy, person, action, target) that were decided in the period"
-- controls = ["SOC2 CC6.1", "SOC2 CC6.8", "SOC2 CC8.1", "NIST AC-3"]
-- sessions = "period"
--
-- [parameters.governed_sources]
-- type = "text"
-- default = "boundary"
-- help = "Gateways that let nobody in without asking the policy engine, separated by commas"
--
-- [columns]
-- key = "session/ and the session, or drift/, person, action, target and policy"
-- verdict = "pass: allowed, or decided alike; exception: not allowed, or one input decided differently; warning: decided differently on different inputs; na: who or what was asked about is not known"
-- why = "What is wrong"
-- check = "session or drift"
-- person = "Who opened the session, or who asked"
-- action = "What was asked for (drift)"
-- target = "What it was opened to, or asked for"
-- first_at = "Start of the session, or the first decision in the period"
-- last_at = "End of the session, or the last decision in the period"
-- policy = "Path of the policy (drift)"
-- decision_ids = "Decisions that the session is linked to"
-- allowing_revisions = "Revisions that always allowed it (drift)"
-- refusing_revisions = "Revisions that never allowed it (drift)"
-- decisions = "How often it was decided (drift)"
-- evidence = "Events of the session and its decisions; of a question, one decision of each revision"
--
-- [why]
-- no_decision = "No decision of the policy engine is linked to the session"
-- inferred_only = "A decision is likely the session's, by person, target and time alone; that clears nothing"
-- not_allowed = "A decision is linked to the session, and none that allowed this person"
-- person_unknown = "The linked decision names somebody else, and the identity table does not know this person: it may be the same one"
-- same_input = "The same input was allowed by one revision and refused by another"
-- other_input = "One revision always allowed it, another always refused; the inputs differ, so it need not be the policy"
-- not_named = "The decision does not say who asked, or for what target"
-- not_governed = "The gateway is not one that has to ask the policy engine"
-- out_of_scope = "Neither its target nor its roles are listed as privileged"
-- refused = "The gateway let nobody in"
WITH sessions_judged AS (
  SELECT
    s.*,
    CASE
      WHEN NOT array_has(string_to_array(replace($governed_sources, ' ', ''), ','), s.source) THEN 'not_governed'
      WHEN refused THEN 'refused'
      WHEN NOT in_scope THEN 'out_of_scope'
      WHEN coalesce(allowed_by_policy, false) THEN NULL
      WHEN for_another AND p.person IS NULL THEN 'person_unknown'
      WHEN decision_ids IS NOT NULL THEN 'not_allowed'
      WHEN has_inferred THEN 'inferred_only'
      ELSE 'no_decision'
    END AS why
  FROM session_approval s
  LEFT JOIN identities p ON p.person = s.person
  WHERE started_at >= $from AND started_at < $to
),
-- Each input by each revision: always allowed, never, or now so and now so (then it is no matter of the revision).
answers AS (
  SELECT
    policy_path,
    person(actor) AS person,
    action,
    target,
    policy_revision,
    -- Two keys in another order are the same input: the detail is canonical.
    json_get_json(detail, 'input') AS input,
    bool_and(coalesce(outcome = 'allow', false)) AS always,
    bool_or(coalesce(outcome = 'allow', false)) AS ever,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at,
    count(DISTINCT event_id) AS decisions,
    min(event_id) AS event_id
  FROM events
  WHERE kind = 'policy.decision' AND occurred_at >= $from AND occurred_at < $to
  GROUP BY policy_path, person(actor), action, target, policy_revision, json_get_json(detail, 'input')
),
by_input AS (
  SELECT *,
    input IS NOT NULL
      AND bool_or(always) OVER (PARTITION BY policy_path, person, action, target, input)
      AND bool_or(NOT ever) OVER (PARTITION BY policy_path, person, action, target, input) AS is_drift
  FROM answers
),
by_revision AS (
  SELECT
    policy_path, person, action, target, policy_revision,
    bool_and(always) AS always,
    bool_or(ever) AS ever,
    bool_or(is_drift) AS is_drift,
    min(first_at) AS first_at,
    max(last_at) AS last_at,
    sum(decisions) AS decisions,
    -- One decision of each revision is evidence enough; of those that drift, where there are any.
    first_value(event_id ORDER BY is_drift DESC, first_at, event_id) AS event_id
  FROM by_input
  GROUP BY policy_path, person, action, target, policy_revision
),
questions AS (
  SELECT
    policy_path, person, action, target,
    text_union(policy_revision) FILTER (WHERE always) AS allowing_revisions,
    text_union(policy_revision) FILTER (WHERE NOT ever) AS refusing_revisions,
    CASE
      WHEN person IS NULL OR target IS NULL THEN 'not_named'
      WHEN bool_or(is_drift) THEN 'same_input'
      WHEN bool_or(always) AND bool_or(NOT ever) THEN 'other_input'
    END AS why,
    min(first_at) AS first_at,
    max(last_at) AS last_at,
    sum(decisions) AS decisions,
    text_union(event_id) AS event_ids
  FROM by_revision
  GROUP BY policy_path, person, action, target
)
SELECT
  'session/' || key AS key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('not_governed', 'refused', 'out_of_scope') THEN 'excluded'
    WHEN why = 'person_unknown' THEN 'na'
    ELSE 'exception'
  END AS verdict,
  why,
  'session' AS "check",
  person,
  CAST(NULL AS VARCHAR) AS action,
  target,
  started_at AS first_at,
  ended_at AS last_at,
  CAST(NULL AS VARCHAR) AS policy,
  decision_ids,
  text_set(NULL) AS allowing_revisions,
  text_set(NULL) AS refusing_revisions,
  CAST(NULL AS BIGINT) AS decisions,
  evidence
FROM sessions_judged
UNION ALL
SELECT
  -- The policy last: its path has slashes of its own.
  concat_ws('/', 'drift', replace(coalesce(person, ''), '/', '%2F'), replace(coalesce(action, ''), '/', '%2F'),
    replace(coalesce(target, ''), '/', '%2F'), coalesce(policy_path, '')),
  CASE why
    WHEN 'not_named' THEN 'na' WHEN 'same_input' THEN 'exception' WHEN 'other_input' THEN 'warning' ELSE 'pass'
  END,
  why, 'drift', person, action, target, first_at, last_at, policy_path, text_set(NULL),
  allowing_revisions, refusing_revisions, CAST(decisions AS BIGINT), event_ids
FROM questions
ORDER BY "check", first_at, key
