-- One row is one session, with what approved it.
--
-- What is inferred is told and counts for nothing: it approves no session.
--
-- key, source, cluster, session_id, person, actor, actor_kind, target, login, protocol, started_at, ended_at, state
--                       the session, see `sessions`
-- target_names          the target with its other names: Boundary's recordings tell those of a target and of its host
-- recording             recorded | announced | none, see `sessions`
-- in_scope              its target, or a role of its own or of its approval, is listed in `privileged`; also when nothing
--                       is listed, or the target is not known
-- refused               the gateway says of each start that it failed: nobody got in
-- roles, remote_addr, mfa_device
--                       of whoever opened it, by its start and its end
-- last_seen_at          its last trace by the source's clock: an event (not the upload, which comes after the end) or a
--                       piece of its recording
-- request_ids, decision_ids
--                       what it is linked to, other than by inference
-- inferred_ids          requests and decisions that are inferred
-- link_methods          how, see `session_access`; all methods, 'none' alone where there is no link
-- has_link, has_inferred
--                       a link that is not inferred, one that is
-- for_another           a linked request or decision was made for another person, which does not approve this one
-- request_states        states of the linked requests
-- reason, tickets       of the approval, else of another link, else the session's own
-- approvers             everyone who said yes
-- requested_roles       roles that the linked requests ask for
-- approved_roles, approved_targets
--                       what was approved: roles (those granted instead, where there are any), and targets
-- allowed_by_policy     a decision is linked that allowed
-- approved_at           the earliest approval among those that had not ended by the start, else the earliest of all
-- approved_by           how that was given: review | update | policy (a decision that allowed)
-- approved_before_start approved_at is no later than the start; null where either is unknown. A session of hoop.dev
--                       starts when it is asked for: there, no later than its end
-- in_force_at_start     approved_before_start, and the approval had not ended by the start, or states no end
-- access_expires_at     the latest end of the approvals; null where none states one
-- evidence              events of the session, of its links, and of the requests' creation and approval
WITH facts AS (
  SELECT
    source,
    session_id,
    text_union(roles) AS roles,
    min(remote_addr) AS remote_addr,
    min(mfa_device) AS mfa_device,
    text_union(event_ids) AS event_ids,
    coalesce(bool_and(refused), false) AS refused,
    max(seen_at) AS last_at
  FROM session_parts
  WHERE said
  GROUP BY source, session_id
),
links AS (
  SELECT
    a.source, a.cluster, a.session_id, a.request_id, a.decision_id, a.reason, a.tickets, a.approvers,
    a.access_expires_at, a.link_method, a.link_event_ids,
    a.link_method NOT IN ('inferred', 'none') AS firm,
    coalesce(person(a.reason_by) <> person(a.actor), false) AS for_another,
    CASE WHEN NOT coalesce(person(a.reason_by) <> person(a.actor), false) THEN a.approved_at END AS approved_at,
    coalesce(a.access_expires_at <= a.started_at, false) AS over,
    coalesce(CASE WHEN a.decision_id IS NOT NULL THEN 'policy' ELSE r.approval_method END, '') AS approved_by,
    r.state,
    r.roles AS requested_roles,
    coalesce(r.granted_roles, r.roles) AS approved_roles,
    -- Several resources are one text: kind/name, kind/name/part.
    CASE WHEN a.decision_id IS NOT NULL THEN make_array(d.target)
      WHEN strpos(r.target, ', ') = 0 THEN make_array(r.target)
      ELSE string_to_array(regexp_replace(r.target, '(^|, )[a-z_]+/([^/,]+)[^,]*', '\1\2', 'g'), ', ')
    END AS targets,
    r.created_event_id,
    r.approved_event_id
  FROM session_access a
  LEFT JOIN access_requests r
    -- As `session_access` does: a ticket leads to requests of other gateways, and so does a stream of any other.
    ON r.request_id = a.request_id AND (r.source = a.source OR a.source = 'asciicast' OR a.link_method = 'ticket')
  LEFT JOIN (
    SELECT coalesce(decision_id, event_id) AS decision_id, min(target) AS target
    FROM policy_decisions
    WHERE outcome = 'allow'
    GROUP BY coalesce(decision_id, event_id)
  ) d ON d.decision_id = a.decision_id
),
names AS (
  SELECT target, text_union(target_names) AS target_names FROM target_parts GROUP BY target
),
approvals AS (
  SELECT
    source,
    cluster,
    session_id,
    text_union(request_id) FILTER (WHERE firm) AS request_ids,
    text_union(decision_id) FILTER (WHERE firm) AS decision_ids,
    text_union(coalesce(request_id, decision_id)) FILTER (WHERE NOT firm) AS inferred_ids,
    text_union(link_method) AS link_methods,
    bool_or(firm) AS has_link,
    bool_or(link_method = 'inferred') AS has_inferred,
    bool_or(firm AND for_another) AS for_another,
    text_union(state) FILTER (WHERE firm) AS request_states,
    text_union(requested_roles) FILTER (WHERE firm) AS requested_roles,
    text_union(approved_roles) FILTER (WHERE firm AND approved_at IS NOT NULL) AS approved_roles,
    text_union(targets) FILTER (WHERE firm AND approved_at IS NOT NULL) AS approved_targets,
    bool_or(firm AND decision_id IS NOT NULL AND approved_at IS NOT NULL) AS allowed_by_policy,
    -- The earliest approval's, and those without an approval last.
    first_value(reason ORDER BY over, approved_at NULLS LAST, reason) FILTER (WHERE firm AND reason IS NOT NULL)
      AS reason,
    text_union(tickets) FILTER (WHERE firm) AS tickets,
    text_union(approvers) FILTER (WHERE firm AND approved_at IS NOT NULL) AS approvers,
    first_value(approved_at ORDER BY over, approved_at, approved_by) FILTER (WHERE firm AND approved_at IS NOT NULL)
      AS approved_at,
    first_value(approved_by ORDER BY over, approved_at, approved_by) FILTER (WHERE firm AND approved_at IS NOT NULL)
      AS approved_by,
    bool_and(over) FILTER (WHERE firm AND approved_at IS NOT NULL) AS over,
    max(access_expires_at) FILTER (WHERE firm AND approved_at IS NOT NULL) AS access_expires_at,
    text_union(link_event_ids) AS link_event_ids,
    text_union(created_event_id) FILTER (WHERE firm) AS created_event_ids,
    text_union(approved_event_id) FILTER (WHERE firm) AS approved_event_ids
  FROM links
  GROUP BY source, cluster, session_id
),
-- All that is listed as one pattern over lines of kind:name; null where nothing is.
scope AS (
  SELECT
    '\n(' || string_agg(
      kind || ':' || replace(regexp_replace(name, '([.+?^$(){}|\[\]\\])', '\\\1', 'g'), '*', '.*'), '|'
    ) || ')\n' AS pattern
  FROM privileged
),
judged AS (
  SELECT
    s.key, s.source, s.cluster, s.session_id, s.person, s.actor, s.actor_kind, s.target, s.login, s.protocol,
    s.started_at, s.ended_at, s.state, s.recording,
    coalesce(n.target_names, CASE WHEN s.target IS NOT NULL THEN make_array(s.target) END) AS target_names,
    f.roles, f.remote_addr, f.mfa_device, f.refused,
    greatest(f.last_at, s.last_frame_at) AS last_seen_at,
    a.request_ids, a.decision_ids, a.inferred_ids, a.link_methods, a.has_link, a.has_inferred, a.for_another,
    a.request_states, a.requested_roles, a.approved_roles, a.approved_targets, a.allowed_by_policy,
    coalesce(a.reason, s.reason) AS reason,
    text_set(make_array(a.tickets, tickets(s.reason))) AS tickets,
    a.approvers, a.approved_at, nullif(a.approved_by, '') AS approved_by,
    -- hoop lets nobody in before the approval: while such a session is open, the approval came in time.
    a.approved_at <= CASE
      WHEN s.source = 'hoop' AND a.request_ids IS NOT NULL THEN coalesce(s.ended_at, a.approved_at)
      ELSE s.started_at
    END AS approved_before_start,
    a.over,
    a.access_expires_at,
    text_set(make_array(f.event_ids, a.link_event_ids, a.created_event_ids, a.approved_event_ids)) AS evidence
  FROM sessions s
  LEFT JOIN approvals a
    ON a.source = s.source AND a.session_id = s.session_id AND a.cluster IS NOT DISTINCT FROM s.cluster
  LEFT JOIN names n ON s.source = 'boundary' AND n.target = s.target
  LEFT JOIN facts f ON f.source = s.source AND f.session_id = s.session_id
)
SELECT
  key,
  source, cluster, session_id, person, actor, actor_kind, target, target_names, login, protocol, started_at, ended_at,
  state, recording,
  pattern IS NULL OR target IS NULL OR regexp_like(
    concat_ws(
      chr(10),
      '',
      'target:' || array_to_string(target_names, chr(10) || chr(10) || 'target:'),
      '',
      'role:' || array_to_string(text_set(make_array(roles, approved_roles)), chr(10) || chr(10) || 'role:'),
      ''
    ),
    pattern
  ) AS in_scope,
  coalesce(refused, false) AS refused,
  roles, remote_addr, mfa_device, last_seen_at,
  request_ids, decision_ids, inferred_ids, link_methods, has_link, has_inferred, for_another, request_states,
  reason, tickets, approvers, requested_roles, approved_roles, approved_targets, allowed_by_policy,
  approved_at, approved_by, approved_before_start,
  CASE WHEN NOT has_link THEN false ELSE approved_before_start AND NOT over END AS in_force_at_start,
  access_expires_at, evidence
FROM judged
CROSS JOIN scope
