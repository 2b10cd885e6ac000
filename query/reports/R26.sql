-- title = "Changes to privilege and to the controls"
-- version = 1
-- question = "Who changed what rules access, or what watches it?"
-- population = "Changes of roles, users, locks, targets, connectors, policies and recording settings in the period; days that left the ledger by a policy; revisions of policy bundles that were first seen in it"
-- controls = ["PCI 10.2.1.5", "PCI 10.2.1.6", "SOC2 CC6.3", "SOC2 CC7.1", "SOC2 CC8.1"]
--
-- [parameters.ticket_required]
-- type = "boolean"
-- default = false
-- help = "A change that names no ticket is an exception. Few gateways have a place for one"
--
-- [columns]
-- key = "The event of the change; or policy, system and revision"
-- verdict = "exception, warning, information or na"
-- why = "Code of the reason, see the list of reasons"
-- at = "When it was changed; of a revision, when it was first seen deciding"
-- person = "Who changed it, the same whatever system names them"
-- action = "What was done, in words"
-- target = "What was changed"
-- target_kind = "What sort of thing that is"
-- source = "The system that tells of it"
-- outcome = "How it ended, where that is told"
-- reason = "Why, where that is told; of a retention, its policy"
-- tickets = "Tickets that the reason names"
-- previous = "Of a revision, the one that the same system was last seen deciding with before"
-- last_seen_at = "Of a revision, when it was last seen deciding"
-- detail = "What else the event says, as JSON: what was set"
-- evidence = "The event; of a revision, the first decision"
--
-- [why]
-- own_privilege = "The person changed what they themselves may do"
-- control_changed = "What records, locks out or authenticates was changed"
-- no_ticket = "A ticket is required, and the change names none"
-- nobody_named = "Nothing says who changed it"
-- changed = "What rules access was changed"
-- refused = "The change was refused or failed"
-- retention = "Whole days left a table of the ledger by a policy"
-- retention_unfinished = "Days were to leave the ledger, and nothing says that it was done"
-- new_revision = "The policy decided by a revision that was not seen before"
-- first_revision = "The first revision that the ledger knows of this policy engine: not necessarily a change"
WITH changes AS (
  SELECT
    event_id,
    min(coalesce(occurred_at, broker_at, ingested_at)) AS at,
    min(kind) AS kind,
    min(source) AS source,
    min(source_type) AS source_type,
    min(person(actor)) AS person,
    min(action) AS action,
    min(target) AS target,
    min(target_kind) AS target_kind,
    min(outcome) AS outcome,
    min(reason) AS reason,
    text_set(make_array(tickets(min(reason)), make_array(min(ticket)))) AS tickets,
    -- Their own account with what it may do, or a list that they are a member of by this.
    bool_or(
      person(target) = person(actor) AND target_kind = 'user'
        AND (json_get_json(detail, 'roles') IS NOT NULL OR json_get_json(detail, 'traits') IS NOT NULL)
      OR coalesce(array_has(person(participants), person(actor)), false)
    ) AS is_own,
    min(detail) AS detail
  FROM events
  WHERE kind IN ('config.change', 'retention')
  GROUP BY event_id
),
-- A policy engine has many instances, which come and go: a revision is new when none of them was seen with it before.
revisions AS (
  SELECT
    source,
    policy_revision,
    min(at) AS first_at,
    max(at) AS last_at,
    first_value(event_id ORDER BY at, event_id) AS event_id
  FROM (
    SELECT source, policy_revision, event_id, coalesce(occurred_at, broker_at, ingested_at) AS at
    FROM events
    WHERE kind = 'policy.decision' AND policy_revision IS NOT NULL
  )
  GROUP BY source, policy_revision
),
items AS (
  SELECT
    event_id AS key,
    at, person, action, target, target_kind, source, outcome, reason, tickets,
    CAST(NULL AS VARCHAR) AS previous,
    CAST(NULL AS TIMESTAMP(6) WITH TIME ZONE) AS last_seen_at,
    detail,
    make_array(event_id) AS evidence,
    CASE
      WHEN kind = 'retention' AND is_done THEN 'retention'
      WHEN kind = 'retention' THEN 'retention_unfinished'
      WHEN outcome IN ('failure', 'deny') THEN 'refused'
      WHEN person IS NULL THEN 'nobody_named'
      WHEN is_own THEN 'own_privilege'
      WHEN $ticket_required AND tickets IS NULL THEN 'no_ticket'
      WHEN is_control THEN 'control_changed'
      ELSE 'changed'
    END AS why
  FROM (
    SELECT
      *,
      -- What is begun and what is done are told apart by the event alone: the same table, from the same day.
      bool_or(source_type = 'retention.done')
        OVER (PARTITION BY kind, target, CASE WHEN kind = 'retention' THEN json_get_str(detail, 'first_day') END) AS is_done,
      coalesce(
        regexp_like(source_type,
          '^(session_recording_config|auth_preference|cluster_networking_config|external_audit_storage)[.]'
          || '|^(oidc|saml|github|login_rule|trusted_cluster|network_restrictions)[.]|^lock[.]delete'
          || '|^(session-recordings|storage-|auth-methods)'),
        false) AS is_control
    FROM changes
  )
  WHERE at >= $from AND at < $to
  UNION ALL
  SELECT
    concat_ws('/', 'revision', source, policy_revision), first_at, NULL, 'decide by another revision', policy_revision,
    'policy', source, NULL, NULL, NULL, previous, last_at, NULL, make_array(event_id),
    CASE WHEN previous IS NULL THEN 'first_revision' ELSE 'new_revision' END
  FROM (
    SELECT *, lag(policy_revision) OVER (PARTITION BY source ORDER BY first_at, policy_revision) AS previous
    FROM revisions
  )
  WHERE first_at >= $from AND first_at < $to
)
SELECT
  key,
  CASE
    WHEN why IN ('own_privilege', 'no_ticket') THEN 'exception'
    WHEN why IN ('control_changed', 'retention_unfinished') THEN 'warning'
    WHEN why = 'nobody_named' THEN 'na'
    ELSE 'information'
  END AS verdict,
  why,
  at,
  person,
  action,
  target,
  target_kind,
  source,
  outcome,
  reason,
  tickets,
  previous,
  last_seen_at,
  detail,
  evidence
FROM items
ORDER BY at, key
