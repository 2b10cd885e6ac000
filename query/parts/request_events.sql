-- One row is one event that tells of an access request.
--
-- date        the day of ingestion
-- request_id  the request; null where the event names none
-- at          when it happened, as far as anything says
-- The others are columns of `events`.
SELECT
  date,
  source,
  cluster,
  event_id,
  kind,
  actor,
  delegator,
  reason,
  request_state,
  proposed_state,
  requested_roles,
  expires_at,
  target,
  action,
  request_ids[1] AS request_id,
  occurred_at,
  coalesce(occurred_at, broker_at, ingested_at) AS at
FROM events
WHERE kind IN ('request.create', 'request.review', 'request.update', 'request.delete', 'request.expire')
