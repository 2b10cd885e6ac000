-- One row is one access request: who asked for what and why, what became of it, and who said yes.
--
-- Reviews, updates and the creation may come in any order, or not at all: what did not come is null.
--
-- source, cluster   the gateway
-- request_id        the gateway's id of the request
-- requester         who asked (the creation's actor)
-- target            what was asked for, where the gateway names one thing
-- roles             roles that were asked for
-- granted_roles     roles that an approver granted instead, where one did
-- reason, tickets   the requester's reason, and the tickets that it names
-- created_at        when it was made
-- standing          the approval opens a window for later sessions too (hoop's just-in-time reviews)
-- state             PENDING, or the latest of APPROVED, DENIED, PROMOTED, REVOKED by the source's clock
-- approved_at       when it first became APPROVED
-- approval_method   what approved first. review: reviewers' votes | update: set by an administrator or a plugin
-- approvers         of a review: everyone who had voted APPROVED by then; of an update: the person that the plugin
--                   acted for, else who set the state
-- updaters          who set the state APPROVED by an update, the plugin included
-- deniers           everyone who voted or set DENIED
-- self_approved     the requester is one of the approvers or updaters, by whatever name
-- expires_at        end of the access: by the approving event, else by the creation, else the latest that is known
-- closed_at         when an approved access was taken back before its end: denied, revoked or deleted after the approval
-- expired, deleted  the gateway said so
-- created_event_id, approved_event_id
--                   the events that the creation and the approval rest on
WITH facts AS (
  SELECT
    source, cluster, event_id, kind, actor, delegator, reason, request_state, proposed_state, requested_roles,
    expires_at, target, action, request_id, at
  FROM request_events
  WHERE request_id IS NOT NULL
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
    min(actor) FILTER (WHERE kind = 'request.create') AS requester,
    min(target) FILTER (WHERE kind = 'request.create') AS target,
    coalesce(bool_or(source = 'hoop' AND action = 'jit') FILTER (WHERE kind = 'request.create'), false) AS standing,
    text_union(requested_roles) FILTER (WHERE kind = 'request.create') AS roles,
    text_union(requested_roles) FILTER (WHERE kind <> 'request.create') AS granted_roles,
    min(reason) FILTER (WHERE kind = 'request.create') AS reason,
    min(at) FILTER (WHERE kind = 'request.create') AS created_at,
    max(at) FILTER (WHERE kind IN ('request.review', 'request.update') AND request_state = 'APPROVED')
      AS last_approved_at,
    max(at) FILTER (WHERE kind IN ('request.review', 'request.update') AND request_state = 'DENIED')
      AS last_denied_at,
    max(at) FILTER (WHERE kind IN ('request.review', 'request.update') AND request_state = 'PROMOTED')
      AS last_promoted_at,
    max(at) FILTER (WHERE kind IN ('request.review', 'request.update') AND request_state = 'REVOKED')
      AS last_revoked_at,
    min(reviewed_at) AS reviewed_at,
    min(updated_at) AS updated_at,
    text_union(actor)
      FILTER (WHERE kind = 'request.review' AND proposed_state = 'APPROVED' AND at <= reviewed_at) AS reviewers,
    text_union(coalesce(delegator, actor))
      FILTER (WHERE kind = 'request.update' AND request_state = 'APPROVED' AND at = updated_at) AS update_approvers,
    text_union(actor) FILTER (WHERE kind = 'request.update' AND request_state = 'APPROVED') AS updaters,
    text_union(coalesce(delegator, actor))
      FILTER (WHERE proposed_state = 'DENIED' OR (kind = 'request.update' AND request_state = 'DENIED')) AS deniers,
    coalesce(
      max(expires_at) FILTER (WHERE request_state = 'APPROVED' AND (at = reviewed_at OR at = updated_at)),
      max(expires_at) FILTER (WHERE kind = 'request.create'),
      max(expires_at)
    ) AS expires_at,
    min(at) FILTER (
      WHERE (request_state IN ('DENIED', 'REVOKED') OR kind = 'request.delete') AND at > least(reviewed_at, updated_at)
    ) AS closed_at,
    coalesce(bool_or(kind = 'request.expire'), false) AS expired,
    coalesce(bool_or(kind = 'request.delete'), false) AS deleted,
    min(event_id) FILTER (WHERE kind = 'request.create') AS created_event_id,
    min(event_id) FILTER (WHERE kind IN ('request.review', 'request.update') AND request_state = 'APPROVED'
      AND at = least(reviewed_at, updated_at)) AS approved_event_id
  FROM marked
  GROUP BY source, request_id
),
decided AS (
  SELECT
    *,
    -- Whichever approved first: a review of the morning after did not open the door.
    CASE
      WHEN updated_at IS NULL OR reviewed_at <= updated_at THEN reviewers
      ELSE update_approvers
    END AS approvers
  FROM whole
)
SELECT
  source,
  cluster,
  request_id,
  requester,
  target,
  standing,
  roles,
  granted_roles,
  reason,
  tickets(reason) AS tickets,
  created_at,
  CASE greatest(last_promoted_at, last_revoked_at, last_denied_at, last_approved_at)
    WHEN last_promoted_at THEN 'PROMOTED'
    WHEN last_revoked_at THEN 'REVOKED'
    WHEN last_denied_at THEN 'DENIED'
    WHEN last_approved_at THEN 'APPROVED'
    ELSE 'PENDING'
  END AS state,
  least(reviewed_at, updated_at) AS approved_at,
  CASE
    WHEN reviewed_at IS NULL AND updated_at IS NULL THEN NULL
    WHEN updated_at IS NULL OR reviewed_at <= updated_at THEN 'review'
    ELSE 'update'
  END AS approval_method,
  approvers,
  updaters,
  deniers,
  coalesce(array_has(person(approvers), person(requester)), false)
    OR coalesce(array_has(person(updaters), person(requester)), false) AS self_approved,
  expires_at,
  closed_at,
  expired,
  deleted,
  created_event_id,
  approved_event_id
FROM decided
