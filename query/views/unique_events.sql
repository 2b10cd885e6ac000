-- One row is one fact: an event with its identical redeliveries collapsed.
--
-- Identical means every column that the source filled. Two different contents under one event_id are two rows, so that
-- nobody hides a fact by writing another under its id.
--
-- (the columns of events) as in `events`
-- deliveries              how often it was delivered
-- conflicting_id          another content has the same event_id
-- broker_at, ingested_at  of the earliest delivery
-- topic, partition, offset, index
--                         coordinates of the first delivery, in their order
SELECT
  event_id, source, cluster, occurred_at, kind, source_type, source_code, actor, actor_kind, actor_roles, delegator,
  action, target, target_kind, login, outcome, session_id, protocol, session_started_at, session_ended_at,
  participants, request_ids, reason, request_state, proposed_state, requested_roles, expires_at, decision_id,
  policy_path, policy_revision, ticket, approver, approved_at, correlation_id, recording_id,
  recorded, integrity, mfa_device, remote_addr, detail,
  count(*) AS deliveries,
  count(*) OVER (PARTITION BY event_id) > 1 AS conflicting_id,
  min(broker_at) AS broker_at,
  min(ingested_at) AS ingested_at,
  first_value(topic ORDER BY topic, "partition", "offset", "index") AS topic,
  first_value("partition" ORDER BY topic, "partition", "offset", "index") AS "partition",
  first_value("offset" ORDER BY topic, "partition", "offset", "index") AS "offset",
  first_value("index" ORDER BY topic, "partition", "offset", "index") AS "index"
FROM events
GROUP BY
  event_id, source, cluster, occurred_at, kind, source_type, source_code, actor, actor_kind, actor_roles, delegator,
  action, target, target_kind, login, outcome, session_id, protocol, session_started_at, session_ended_at,
  participants, request_ids, reason, request_state, proposed_state, requested_roles, expires_at, decision_id,
  policy_path, policy_revision, ticket, approver, approved_at, correlation_id, recording_id,
  recorded, integrity, mfa_device, remote_addr, detail
