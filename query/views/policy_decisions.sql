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
  expires_at,
  count(*) AS deliveries
FROM events
WHERE kind = 'policy.decision'
GROUP BY
  source, cluster, event_id, decision_id, occurred_at, actor, action, target, target_kind, outcome, policy_path,
  policy_revision, reason, ticket, session_id, expires_at
