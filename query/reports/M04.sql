-- title = "Latency of policy decisions"
-- version = 1
-- question = "How long do the policies take to decide, and does a new revision take longer?"
-- population = "Decisions of policy engines in the period, by path and revision of the policy"
-- controls = ["SOC2 CC7.2", "NIST AU-12"]
--
-- [columns]
-- key = "The policy: source/path@revision"
-- verdict = "information | na"
-- why = "Why there is no time, see the codes"
-- source = "The policy engine"
-- policy_path = "Path of the policy"
-- policy_revision = "Revision of what decided"
-- first_at = "The first decision in the period"
-- last_at = "The last"
-- decisions = "Number of decisions; one that was delivered twice counts once"
-- timed = "How many of them state how long they took"
-- instances = "Number of instances of the engine"
-- latency_ms_p50 = "Milliseconds that the engine took to answer: half of the decisions within"
-- latency_ms_p95 = "95 % within"
-- latency_ms_max = "All within"
-- eval_ms_p50 = "Milliseconds of these that the evaluation of the policy took: half of the decisions within"
-- eval_ms_p95 = "95 % within"
-- eval_ms_max = "All within"
-- evidence = "The event of the slowest decision"
--
-- [why]
-- not_stated = "No decision states how long it took: the engine leaves its metrics out, or has none"
WITH decisions AS (
  -- OPA's timers in nanoseconds: of the whole request where it came over HTTP, else of the evaluation.
  SELECT
    source,
    cluster,
    event_id,
    policy_path,
    policy_revision,
    coalesce(occurred_at, broker_at, ingested_at) AS at,
    json_get_int(detail, 'metrics', 'timer_rego_query_eval_ns') AS eval_ns,
    coalesce(
      json_get_int(detail, 'metrics', 'timer_server_handler_ns'),
      json_get_int(detail, 'metrics', 'timer_rego_query_eval_ns')
    ) AS latency_ns
  FROM events
  WHERE kind = 'policy.decision'
),
once AS (
  SELECT
    source, cluster, event_id, policy_path, policy_revision,
    min(at) AS at,
    max(eval_ns) AS eval_ns,
    max(latency_ns) AS latency_ns
  FROM decisions
  WHERE at >= $from AND at < $to
  GROUP BY source, cluster, event_id, policy_path, policy_revision
),
policies AS (
  SELECT
    source,
    policy_path,
    policy_revision,
    min(at) AS first_at,
    max(at) AS last_at,
    count(*) AS decisions,
    count(latency_ns) AS timed,
    count(DISTINCT cluster) AS instances,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ns / 1e6) AS latency_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ns / 1e6) AS latency_p95,
    max(latency_ns) / 1e6 AS latency_max,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY eval_ns / 1e6) AS eval_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY eval_ns / 1e6) AS eval_p95,
    max(eval_ns) / 1e6 AS eval_max,
    first_value(event_id ORDER BY latency_ns DESC NULLS LAST, at, event_id) FILTER (WHERE latency_ns IS NOT NULL)
      AS slowest
  FROM once
  GROUP BY source, policy_path, policy_revision
)
SELECT
  concat(source, '/', coalesce(policy_path, ''), '@', coalesce(policy_revision, '')) AS key,
  CASE WHEN timed > 0 THEN 'information' ELSE 'na' END AS verdict,
  CASE WHEN timed = 0 THEN 'not_stated' END AS why,
  source, policy_path, policy_revision, first_at, last_at, decisions, timed, instances,
  round(latency_p50, 3) AS latency_ms_p50,
  round(latency_p95, 3) AS latency_ms_p95,
  round(latency_max, 3) AS latency_ms_max,
  round(eval_p50, 3) AS eval_ms_p50,
  round(eval_p95, 3) AS eval_ms_p95,
  round(eval_max, 3) AS eval_ms_max,
  CASE WHEN slowest IS NOT NULL THEN make_array(slowest) END AS evidence
FROM policies
ORDER BY source, policy_path, policy_revision, key
