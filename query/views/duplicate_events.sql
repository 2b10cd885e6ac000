-- One row is one extra delivery of a fact: identical to a delivery before it in every column that the source filled.
--
-- event_id, source, kind, session_id, occurred_at
--                         the fact, as in `unique_events`
-- topic, partition, offset, index, ingested_at
--                         the extra delivery
-- first_topic, first_partition, first_offset, first_index
--                         the delivery that `unique_events` shows
WITH repeated AS (
  SELECT
    event_id, source, kind, session_id, occurred_at,
    array_agg(
      named_struct('topic', topic, 'partition', "partition", 'offset', "offset", 'index', "index",
                   'ingested_at', ingested_at)
      ORDER BY topic, "partition", "offset", "index"
    ) AS deliveries
  FROM events
  GROUP BY
    event_id, source, cluster, occurred_at, kind, source_type, source_code, actor, actor_kind, actor_roles,
    delegator, action, target, target_kind, login, outcome, session_id, protocol, session_started_at,
    session_ended_at, participants, request_ids, reason, request_state, proposed_state, requested_roles,
    expires_at, decision_id, policy_path, policy_revision, ticket, approver, approved_at, correlation_id, recording_id,
    recorded, integrity, mfa_device, remote_addr, detail
  HAVING count(*) > 1
),
extra AS (
  SELECT
    event_id, source, kind, session_id, occurred_at,
    deliveries[1] AS first,
    unnest(array_pop_front(deliveries)) AS delivery
  FROM repeated
)
SELECT
  event_id,
  source,
  kind,
  session_id,
  occurred_at,
  delivery['topic'] AS topic,
  delivery['partition'] AS "partition",
  delivery['offset'] AS "offset",
  delivery['index'] AS "index",
  delivery['ingested_at'] AS ingested_at,
  first['topic'] AS first_topic,
  first['partition'] AS first_partition,
  first['offset'] AS first_offset,
  first['index'] AS first_index
FROM extra
