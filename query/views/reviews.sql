-- One row is one vote on an access request, or one change of its state other than by a vote.
--
-- source, cluster, event_id  the fact
-- request_id                 the request
-- method                     review: a vote | update: an administrator or a plugin set the state
-- reviewer                   who voted, or who set the state
-- delegator                  the person that a plugin acted for
-- vote                       what the reviewer voted; null for an update
-- state                      state of the request after it
-- comment                    the reviewer's reason (never the requester's)
-- at                         when, by the source's clock
-- expires_at                 end of the access, as this event states it
-- deliveries                 how often it was delivered
SELECT
  source,
  cluster,
  event_id,
  request_id,
  CASE kind WHEN 'request.review' THEN 'review' ELSE 'update' END AS method,
  actor AS reviewer,
  delegator,
  proposed_state AS vote,
  request_state AS state,
  reason AS comment,
  occurred_at AS at,
  expires_at,
  count(*) AS deliveries
FROM request_events
WHERE kind IN ('request.review', 'request.update')
GROUP BY
  source, cluster, event_id, request_id, kind, actor, delegator, proposed_state, request_state, reason, occurred_at,
  expires_at
