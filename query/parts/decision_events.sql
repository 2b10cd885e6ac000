-- One row is one event that tells of a policy decision.
--
-- date             the day of ingestion
-- reason_withheld  see `policy_decisions`
-- The others are columns of `events`.
SELECT
  date,
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
  reason IS NULL AND ticket IS NULL AND coalesce(
    strpos(coalesce(json_get_json(detail, 'erased'), ''), 'reason') > 0
    OR strpos(coalesce(json_get_json(detail, 'masked'), ''), 'reason') > 0, false
  ) AS reason_withheld,
  expires_at
FROM events
WHERE kind = 'policy.decision'
