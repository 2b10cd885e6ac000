-- One row is one decision of a policy engine. A decision that was uploaded twice is one row.
--
-- source, cluster, event_id     the fact
-- decision_id                   the engine's id of the decision
-- occurred_at                   when it was decided, by the engine's clock
-- actor, action, target, target_kind
--                               who asked to do what to what, by the decision's input
-- outcome                       allow | deny | undefined | error
-- policy_path, policy_revision  what decided: the "approver" of a decision
-- reason, ticket                what the input gives as reason and ticket
-- session_id                    the session that the input names
-- approver, approved_at         the person who had said yes before, and when, by the decision's input or result
-- correlation_id                the request that the decision was asked for, by its input
-- reason_withheld               the engine removed or replaced the reason or the ticket before it logged
-- expires_at                    end of the access, where the decision states it
-- deliveries                    how often it was delivered
SELECT
  source,
  cluster,
  event_id,
  decision_id,
  occurred_at,
  actor,
  action,
  target,
  target_kind,
  outcome,
  policy_path,
  policy_revision,
  reason,
  ticket,
  session_id,
  approver,
  approved_at,
  correlation_id,
  reason_withheld,
  expires_at,
  count(*) AS deliveries
FROM decision_events
GROUP BY
  source, cluster, event_id, decision_id, occurred_at, actor, action, target, target_kind, outcome, policy_path,
  policy_revision, reason, ticket, session_id, approver, approved_at, correlation_id, reason_withheld, expires_at
