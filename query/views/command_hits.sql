-- One row is one rule of `R23` that commands and queries of one session hit, whenever that was. A session of which
-- commands are told that hit none is one row without a rule; a command that names no session and hits none is no row.
--
-- source, session_id   the session; no session where the command names none
-- alone                the event of a command that names no session
-- rule                 id of the rule
-- hits                 number of different events that hit it; null without a rule
-- first_at, last_at    the first and the last of their times
-- action               the first of them: what was said
-- evidence             up to ten of the events
WITH whole AS (
  SELECT
    source,
    session_id,
    alone,
    rule,
    text_union(event_ids) AS event_ids,
    min(first_at) AS first_at,
    max(last_at) AS last_at,
    first_value(first_action ORDER BY first_at, first_event_id, first_action) AS action
  FROM command_parts
  GROUP BY source, session_id, alone, rule
),
beside AS (
  SELECT *, max(rule) OVER (PARTITION BY source, session_id, alone) AS any_rule FROM whole
)
SELECT
  source,
  session_id,
  alone,
  rule,
  CAST(cardinality(event_ids) AS BIGINT) AS hits,
  first_at,
  last_at,
  action,
  array_slice(event_ids, 1, 10) AS evidence
FROM beside
WHERE rule IS NOT NULL OR any_rule IS NULL
