-- One row is one link between a session and what gave access to it: an access request or a policy decision. A session
-- with no link at all is one row with link_method 'none'.
--
-- source, cluster, session_id, actor, target, started_at, ended_at
--                       the session, see `sessions`
-- request_id, decision_id
--                       what it is linked to: the one or the other, both null for 'none'
-- reason, reason_by     why access was asked for, and whose words these are
-- approvers             who said yes; of a decision that allowed, the policy as path@revision, and the person that the
--                       decision names
-- approved_at           when it was approved, or decided
-- access_expires_at     until when
-- tickets               tickets of the request's reason, or of the decision
-- link_method           explicit: events of the session carry the request's id, or the id of the decision as their
--                       correlation id
--                       gateway_review: the gateway itself reviewed the session, or a session that its credentials come
--                       from, or opened a window for its user on its target
--                       policy: a decision names the session
--                       ticket: no explicit link; the session, or a decision linked to it, names the ticket of an
--                       approved request of the same person
--                       inferred: no explicit link; an approved request of the same person covers the session's start
--                       (leaf clusters lose the ids), or a decision allowed the same person on the same target near it.
--                       Likely, never certain
--                       none: nothing was found
-- link_facts            what the link rests on, in words
-- link_event_ids        the events that it rests on
-- approved_before_start approved no later than the session's start; null where either is unknown. A session of hoop.dev
--                       starts when it is asked for: there, no later than its end
-- ended_within_window   ended no later than the access did; null where either is unknown
--
-- The windows, each used once below:
--   a decision is near a session that starts from 1 minute before (clocks differ) to 15 minutes after it, and one whose
--   id the session carries is its own to 1 hour after it, else it is inferred;
--   a ticket is looked for from 1 day before the request's approval to 1 day after its end.
WITH carried AS (
  SELECT
    source,
    session_id,
    request_id,
    CASE
      WHEN min(start_event_id) IS NOT NULL THEN 'session.start'
      WHEN min(end_event_id) IS NOT NULL THEN 'session.end'
      ELSE min(other_kind)
    END AS kind,
    coalesce(min(start_event_id), min(end_event_id), min(other_event_id)) AS event_id
  FROM request_parts
  GROUP BY source, session_id, request_id
),
-- The session that a session's credentials come from: hoop names it where others name a request. Its owner can write
-- that, so it is believed of the same person on the same target while the access lasts.
lent AS (
  SELECT source, session_id, request_id, substr(request_id, 9) AS lender, event_id
  FROM carried
  WHERE source = 'hoop' AND request_id LIKE 'session:%'
),
lenders AS (
  SELECT DISTINCT source, session_id, actor, target, unnest(request_ids) AS request_id
  FROM events
  WHERE source = 'hoop' AND kind = 'session.start' AND request_ids IS NOT NULL
),
requested AS (
  SELECT
    source, cluster, session_id, actor, target, started_at, ended_at,
    unnest(coalesce(request_ids, make_array(CAST(NULL AS VARCHAR)))) AS request_id
  FROM sessions
),
correlated AS (
  SELECT
    source, cluster, session_id, actor, target, started_at, ended_at, unnest(correlation_ids) AS correlation_id
  FROM sessions
  WHERE correlation_ids IS NOT NULL
),
linked AS (
  -- Each request id that a session carries; where it carries none, the row that says 'none' unless another is found.
  SELECT
    s.source, s.cluster, s.session_id, s.actor, s.target, s.started_at, s.ended_at,
    s.request_id,
    CAST(NULL AS VARCHAR) AS decision_id,
    r.reason,
    r.requester AS reason_by,
    r.approvers,
    r.approved_at,
    least(r.expires_at, r.closed_at) AS access_expires_at,
    r.tickets,
    CASE
      WHEN s.request_id IS NULL THEN 'none'
      WHEN s.source = 'hoop' THEN 'gateway_review'
      ELSE 'explicit'
    END AS link_method,
    'request id on ' || c.kind AS link_facts,
    CASE WHEN c.event_id IS NOT NULL THEN make_array(c.event_id) END AS link_event_ids,
    tickets(CAST(NULL AS VARCHAR)) AS session_tickets,
    false AS covered,
    false AS opened
  FROM requested s
  LEFT JOIN carried c ON c.source = s.source AND c.session_id = s.session_id AND c.request_id = s.request_id
  -- A stream of any other gateway names the requests of the gateway before it.
  LEFT JOIN access_requests r ON r.request_id = s.request_id AND (r.source = s.source OR s.source = 'asciicast')
  WHERE s.request_id IS NULL OR NOT (s.source = 'hoop' AND s.request_id LIKE 'session:%')
  UNION ALL
  -- Requests of the session that the credentials come from.
  SELECT
    s.source, s.cluster, s.session_id, s.actor, s.target, s.started_at, s.ended_at,
    r.request_id,
    NULL,
    r.reason,
    r.requester,
    r.approvers,
    r.approved_at,
    least(r.expires_at, r.closed_at),
    r.tickets,
    CASE WHEN r.request_id IS NULL THEN 'none' ELSE 'gateway_review' END,
    CASE WHEN r.request_id IS NOT NULL
      THEN 'request id on session ' || l.lender || ', which its credentials come from'
    END,
    CASE WHEN r.request_id IS NOT NULL THEN make_array(l.event_id) END,
    NULL,
    false,
    false
  FROM requested s
  JOIN lent l ON l.source = s.source AND l.session_id = s.session_id AND l.request_id = s.request_id
  LEFT JOIN lenders c
    ON c.session_id = l.lender AND person(c.actor) = person(s.actor) AND c.target = s.target
  LEFT JOIN access_requests r ON r.source = c.source AND r.request_id = c.request_id
    AND s.started_at BETWEEN r.approved_at AND coalesce(least(r.expires_at, r.closed_at), s.started_at)
  UNION ALL
  -- Decisions that name the session.
  SELECT
    s.source, s.cluster, s.session_id, s.actor, s.target, s.started_at, s.ended_at,
    NULL,
    coalesce(d.decision_id, d.event_id),
    d.reason,
    d.actor,
    CASE WHEN d.outcome = 'allow'
      THEN text_set(make_array(make_array(concat_ws('@', d.policy_path, d.policy_revision)), make_array(d.approver)))
    END,
    CASE WHEN d.outcome = 'allow' THEN coalesce(d.approved_at, d.occurred_at) END,
    CASE WHEN d.outcome = 'allow' THEN d.expires_at END,
    text_set(make_array(tickets(d.reason), make_array(d.ticket))),
    'policy',
    'decision (' || d.outcome || ') names the session',
    make_array(d.event_id),
    NULL,
    false,
    false
  FROM sessions s
  JOIN policy_decisions d ON d.session_id = s.session_id
  UNION ALL
  -- Decisions whose id the session carries as its correlation id.
  SELECT
    s.source, s.cluster, s.session_id, s.actor, s.target, s.started_at, s.ended_at,
    NULL,
    d.decision_id,
    d.reason,
    d.actor,
    CASE WHEN d.outcome = 'allow'
      THEN text_set(make_array(make_array(concat_ws('@', d.policy_path, d.policy_revision)), make_array(d.approver)))
    END,
    CASE WHEN d.outcome = 'allow' THEN coalesce(d.approved_at, d.occurred_at) END,
    CASE WHEN d.outcome = 'allow' THEN d.expires_at END,
    text_set(make_array(tickets(d.reason), make_array(d.ticket))),
    CASE WHEN s.started_at BETWEEN d.occurred_at - INTERVAL '1 minute' AND d.occurred_at + INTERVAL '1 hour'
      THEN 'explicit' ELSE 'inferred'
    END,
    'the correlation id of the session is the id of the decision (' || d.outcome || ')'
      || CASE WHEN person(d.actor) <> person(s.actor) THEN ', asked for ' || d.actor ELSE '' END,
    make_array(d.event_id),
    NULL,
    false,
    false
  FROM correlated s
  JOIN policy_decisions d ON d.decision_id = s.correlation_id
  WHERE d.session_id IS DISTINCT FROM s.session_id
  UNION ALL
  -- Decisions that carry the same correlation id as the session.
  SELECT
    s.source, s.cluster, s.session_id, s.actor, s.target, s.started_at, s.ended_at,
    NULL,
    coalesce(d.decision_id, d.event_id),
    d.reason,
    d.actor,
    CASE WHEN d.outcome = 'allow'
      THEN text_set(make_array(make_array(concat_ws('@', d.policy_path, d.policy_revision)), make_array(d.approver)))
    END,
    CASE WHEN d.outcome = 'allow' THEN coalesce(d.approved_at, d.occurred_at) END,
    CASE WHEN d.outcome = 'allow' THEN d.expires_at END,
    text_set(make_array(tickets(d.reason), make_array(d.ticket))),
    CASE WHEN s.started_at BETWEEN d.occurred_at - INTERVAL '1 minute' AND d.occurred_at + INTERVAL '1 hour'
      THEN 'explicit' ELSE 'inferred'
    END,
    'session and decision (' || d.outcome || ') carry the same correlation id'
      || CASE WHEN person(d.actor) <> person(s.actor) THEN ', asked for ' || d.actor ELSE '' END,
    make_array(d.event_id),
    NULL,
    false,
    false
  FROM correlated s
  JOIN policy_decisions d ON d.correlation_id = s.correlation_id
  WHERE (d.session_id IS DISTINCT FROM s.session_id) AND (d.decision_id IS DISTINCT FROM s.correlation_id)
  UNION ALL
  -- Decisions that name no session and allowed the same person on the same target, near the session's start.
  SELECT
    s.source, s.cluster, s.session_id, s.actor, s.target, s.started_at, s.ended_at,
    NULL,
    coalesce(d.decision_id, d.event_id),
    d.reason,
    d.actor,
    text_set(make_array(make_array(concat_ws('@', d.policy_path, d.policy_revision)), make_array(d.approver))),
    coalesce(d.approved_at, d.occurred_at),
    d.expires_at,
    text_set(make_array(tickets(d.reason), make_array(d.ticket))),
    'near',
    'decision (allow) for the same person and target near the start',
    make_array(d.event_id),
    NULL,
    false,
    false
  FROM sessions s
  JOIN policy_decisions d ON person(d.actor) = s.person AND d.target = s.target
    AND s.started_at BETWEEN d.occurred_at - INTERVAL '1 minute' AND d.occurred_at + INTERVAL '15 minutes'
  WHERE d.session_id IS NULL AND d.outcome = 'allow'
  UNION ALL
  -- Approved requests of the same person, for sessions that carry no id: candidates, weighed below.
  SELECT
    s.source, s.cluster, s.session_id, s.actor, s.target, s.started_at, s.ended_at,
    r.request_id,
    NULL,
    r.reason,
    r.requester,
    r.approvers,
    r.approved_at,
    least(r.expires_at, r.closed_at),
    r.tickets,
    'candidate',
    NULL,
    make_array(r.approved_event_id),
    tickets(s.reason),
    r.source = s.source AND s.started_at BETWEEN r.approved_at AND least(r.expires_at, r.closed_at),
    r.standing AND r.source = s.source AND r.target = s.target
      AND s.started_at BETWEEN r.approved_at AND least(r.expires_at, r.closed_at)
  FROM sessions s
  JOIN access_requests r ON person(r.requester) = s.person
    AND s.started_at BETWEEN r.approved_at - INTERVAL '1 day'
      AND coalesce(least(r.expires_at, r.closed_at), r.approved_at) + INTERVAL '1 day'
  WHERE s.request_ids IS NULL
),
weighed AS (
  SELECT
    *,
    text_set(make_array(
      session_tickets,
      text_set(array_agg(CASE WHEN decision_id IS NOT NULL THEN tickets END)
        OVER (PARTITION BY source, cluster, session_id))
    )) AS named,
    -- Where a decision is known by its id, others near it are others.
    count(CASE WHEN link_method IN ('explicit', 'policy') THEN decision_id END)
      OVER (PARTITION BY source, cluster, session_id) AS exact_decisions,
    count(CASE WHEN link_method = 'near' THEN 1 END) OVER (PARTITION BY source, cluster, session_id) AS near_decisions
  FROM linked
),
settled AS (
  SELECT
    source, cluster, session_id, actor, target, started_at, ended_at, request_id, decision_id, reason, reason_by,
    approvers, approved_at, access_expires_at, tickets, link_event_ids,
    CASE
      WHEN link_method = 'near' THEN CASE WHEN exact_decisions = 0 THEN 'inferred' END
      WHEN link_method <> 'candidate' THEN link_method
      WHEN opened THEN 'gateway_review'
      WHEN array_has_any(tickets, named) THEN 'ticket'
      WHEN covered THEN 'inferred'
    END AS link_method,
    CASE
      WHEN link_method = 'near' AND near_decisions > 1
        THEN link_facts || ', one of ' || CAST(near_decisions AS VARCHAR)
      WHEN link_method <> 'candidate' THEN link_facts
      WHEN opened THEN 'the review opened a window for the same person on the same target, which covers the start'
      WHEN array_has_any(tickets, named)
        THEN 'same person and ticket ' || array_to_string(array_intersect(tickets, named), ', ')
      ELSE 'same person, and the access of the request covers the start'
    END AS link_facts
  FROM weighed
),
counted AS (
  SELECT *, count(nullif(link_method, 'none')) OVER (PARTITION BY source, cluster, session_id) AS links
  FROM settled
  WHERE link_method IS NOT NULL
)
SELECT
  source,
  cluster,
  session_id,
  actor,
  target,
  started_at,
  ended_at,
  request_id,
  decision_id,
  reason,
  reason_by,
  approvers,
  approved_at,
  access_expires_at,
  tickets,
  link_method,
  link_facts,
  link_event_ids,
  -- hoop's sessions begin with the asking: what counts is that the approval came before the work was over.
  approved_at <= CASE WHEN source = 'hoop' AND request_id IS NOT NULL THEN ended_at ELSE started_at END
    AS approved_before_start,
  ended_at <= access_expires_at AS ended_within_window
FROM counted
WHERE link_method <> 'none' OR links = 0
