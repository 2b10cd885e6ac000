-- One row is one access request: who asked for what and why, what became of it, and who said yes.
--
-- Reviews, updates and the creation may come in any order, or not at all: what did not come is null.
--
-- source, cluster   the gateway
-- request_id        the gateway's id of the request
-- requester         who asked (the creation's actor)
-- roles             roles that were asked for
-- granted_roles     roles that an approver granted instead, where one did
-- reason, tickets   the requester's reason, and the tickets that it names
-- created_at        when it was made
-- state             PENDING, or the latest of APPROVED, DENIED, PROMOTED by the source's clock
-- approved_at       when it first became APPROVED
-- approval_method   review: reviewers' votes | update: set by an administrator or a plugin
-- approvers         of a review: everyone who had voted APPROVED by then; of an update: the person that the plugin acted
--                   for, else who set the state
-- updaters          who set the state APPROVED by an update, the plugin included
-- deniers           everyone who voted or set DENIED
-- self_approved     the requester is one of the approvers or updaters
-- expires_at        end of the access: by the approving event, else by the creation, else the latest that is known
-- expired, deleted  the gateway said so
-- created_event_id, approved_event_id
--                   the events that the creation and the approval rest on
WITH facts AS (
  SELECT
    source, cluster, event_id, kind, actor, delegator, reason, request_state, proposed_state, requested_roles, expires_at,
    request_ids[1] AS request_id,
    coalesce(occurred_at, broker_at, ingested_at) AS at
  FROM events
  WHERE kind IN ('request.create', 'request.review', 'request.update', 'request.delete', 'request.expire')
    AND request_ids[1] IS NOT NULL
),
marked AS (
  SELECT
    *,
    min(CASE WHEN kind = 'request.review' AND request_state = 'APPROVED' THEN at END) OVER request AS reviewed_at,
    min(CASE WHEN kind = 'request.update' AND request_state = 'APPROVED' THEN at END) OVER request AS updated_at
  FROM facts
  WINDOW request AS (PARTITION BY source, request_id)
),
whole AS (
  SELECT
    source,
    request_id,
    min(cluster) AS cluster,
    first_value(actor ORDER BY at, actor) FILTER (WHERE kind = 'request.create' AND actor IS NOT NULL) AS requester,
    text_set(array_agg(DISTINCT requested_roles)
      FILTER (WHERE kind = 'request.create' AND requested_roles IS NOT NULL)) AS roles,
    text_set(array_agg(DISTINCT requested_roles)
      FILTER (WHERE kind <> 'request.create' AND requested_roles IS NOT NULL)) AS granted_roles,
    first_value(reason ORDER BY at, reason) FILTER (WHERE kind = 'request.create' AND reason IS NOT NULL) AS reason,
    min(at) FILTER (WHERE kind = 'request.create') AS created_at,
    first_value(request_state ORDER BY at DESC, request_state DESC)
      FILTER (WHERE kind IN ('request.review', 'request.update')
        AND request_state IN ('APPROVED', 'DENIED', 'PROMOTED')) AS resolved_state,
    min(reviewed_at) AS reviewed_at,
    min(updated_at) AS updated_at,
    array_sort(array_agg(DISTINCT actor)
      FILTER (WHERE kind = 'request.review' AND proposed_state = 'APPROVED' AND at <= reviewed_at)) AS reviewers,
    array_sort(array_agg(DISTINCT coalesce(delegator, actor))
      FILTER (WHERE kind = 'request.update' AND request_state = 'APPROVED' AND at = updated_at)) AS update_approvers,
    array_sort(array_agg(DISTINCT actor)
      FILTER (WHERE kind = 'request.update' AND request_state = 'APPROVED' AND actor IS NOT NULL)) AS updaters,
    array_sort(array_agg(DISTINCT coalesce(delegator, actor))
      FILTER (WHERE (proposed_state = 'DENIED' OR (kind = 'request.update' AND request_state = 'DENIED'))
        AND coalesce(delegator, actor) IS NOT NULL)) AS deniers,
    coalesce(
      max(expires_at) FILTER (WHERE request_state = 'APPROVED' AND (at = reviewed_at OR at = updated_at)),
      max(expires_at) FILTER (WHERE kind = 'request.create'),
      max(expires_at)
    ) AS expires_at,
    coalesce(bool_or(kind = 'request.expire'), false) AS expired,
    coalesce(bool_or(kind = 'request.delete'), false) AS deleted,
    first_value(event_id ORDER BY at, event_id) FILTER (WHERE kind = 'request.create') AS created_event_id,
    first_value(event_id ORDER BY at, event_id)
      FILTER (WHERE kind IN ('request.review', 'request.update') AND request_state = 'APPROVED') AS approved_event_id
  FROM marked
  GROUP BY source, request_id
),
decided AS (
  SELECT
    *,
    CASE WHEN reviewed_at IS NOT NULL THEN reviewers ELSE update_approvers END AS approvers
  FROM whole
)
SELECT
  source,
  cluster,
  request_id,
  requester,
  roles,
  granted_roles,
  reason,
  tickets(reason) AS tickets,
  created_at,
  coalesce(resolved_state, 'PENDING') AS state,
  least(reviewed_at, updated_at) AS approved_at,
  CASE WHEN reviewed_at IS NOT NULL THEN 'review' WHEN updated_at IS NOT NULL THEN 'update' END AS approval_method,
  approvers,
  updaters,
  deniers,
  coalesce(array_has(approvers, requester), false) OR coalesce(array_has(updaters, requester), false) AS self_approved,
  expires_at,
  expired,
  deleted,
  created_event_id,
  approved_event_id
FROM decided
