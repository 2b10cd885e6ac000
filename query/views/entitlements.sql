-- One row is one role of one person at the gateways, held without asking (static) or by an access request (jit). A
-- role that a person has both ways is two rows.
--
-- subject           the person, by the identity table
-- subject_kind      human | bot | system, where a gateway says so
-- role              the role, as the gateway names it
-- origin            static: it was in effect on events that carry no access request, or on those of a request that did
--                   not ask for it | jit: an approved access request gave it
-- first_seen_at, last_seen_at
--                   of a static role, when an event first and last told of it; of a jit role, of its approvals besides
-- expires_at        of a jit role, the latest end of its requests; of a static role null: nothing says that it ends
-- request_ids       of a jit role, the requests that gave it
-- first_used_at, last_used_at
--                   starts of the first and the latest session with the role in effect, or under one of the requests
-- first_used_without_request_at, used_without_request_at
--                   the same of sessions that carry no access request
-- absent_since      of a static role that no gateway names any more that had told of it: the latest login, which shows
--                   that
-- evidence          the events that told of it first and last, and used it last
WITH told AS (
  -- Few different rows: people log in and work with the same roles again and again.
  SELECT
    source,
    cluster,
    person(actor) AS subject,
    actor_roles,
    request_ids,
    array_to_string(request_ids, ' ') AS carried,
    max(actor_kind) AS actor_kind,
    min(at) AS first_at,
    max(at) AS last_at,
    max(at) FILTER (WHERE kind = 'login') AS login_at,
    min(coalesce(session_started_at, at)) FILTER (WHERE kind IN ('session.start', 'session.end')) AS first_used_at,
    max(coalesce(session_started_at, at)) FILTER (WHERE kind IN ('session.start', 'session.end')) AS used_at,
    first_value(event_id ORDER BY at, event_id) AS first_event,
    last_value(event_id ORDER BY at, event_id) AS last_event,
    last_value(event_id ORDER BY at, event_id) FILTER (WHERE kind IN ('session.start', 'session.end')) AS used_event
  FROM (
    SELECT *, coalesce(occurred_at, broker_at, ingested_at) AS at
    FROM events
    WHERE kind IN ('login', 'session.start', 'session.end', 'credential.issue')
      AND actor IS NOT NULL
      AND (actor_roles IS NOT NULL OR request_ids IS NOT NULL)
      AND coalesce(outcome, 'success') NOT IN ('failure', 'deny')
  )
  GROUP BY source, cluster, person(actor), actor_roles, request_ids
),
requests AS (
  SELECT source, request_id, text_set(make_array(roles, granted_roles)) AS asked FROM access_requests
),
-- What the requests that an event carries asked for. Of one whose creation never came, nobody knows.
carried AS (
  SELECT
    c.source, c.carried,
    text_union(r.asked) AS asked,
    bool_or(r.request_id IS NULL OR r.asked IS NULL) AS unknown
  FROM (
    SELECT DISTINCT source, carried, unnest(request_ids) AS request_id FROM told WHERE request_ids IS NOT NULL
  ) c
  LEFT JOIN requests r ON r.source = c.source AND r.request_id = c.request_id
  GROUP BY c.source, c.carried
),
roles AS (
  SELECT
    t.*,
    CASE
      WHEN t.carried IS NULL THEN 'static'
      WHEN coalesce(array_has(c.asked, t.role), false) THEN 'jit'
      WHEN NOT c.unknown THEN 'static'
    END AS origin
  FROM (SELECT *, unnest(actor_roles) AS role FROM told WHERE actor_roles IS NOT NULL) t
  LEFT JOIN carried c ON c.source = t.source AND c.carried = t.carried
),
-- A role on events of an unknown request is that request's, unless the same person has it without one.
settled AS (
  SELECT
    source, cluster, subject, actor_kind, role, first_at, last_at, first_used_at, used_at,
    CASE WHEN carried IS NULL THEN first_used_at END AS first_without_at,
    CASE WHEN carried IS NULL THEN used_at END AS used_without_at,
    first_event, last_event, used_event,
    coalesce(origin, CASE
      WHEN coalesce(bool_or(origin = 'static') OVER (PARTITION BY subject, role), false) THEN 'static' ELSE 'jit'
    END) AS origin,
    CAST(NULL AS VARCHAR) AS request_id,
    arrow_cast(NULL, 'Timestamp(Microsecond, Some("UTC"))') AS expires_at
  FROM roles
  UNION ALL
  -- What approved requests gave, also where no event tells the roles that were in effect.
  SELECT
    g.source, g.cluster, g.subject, NULL, g.role, g.approved_at AS first_at, g.approved_at AS last_at,
    u.first_used_at, u.used_at, NULL, NULL, g.approved_event_id, CAST(NULL AS VARCHAR) AS last_event, u.used_event,
    'jit', g.request_id, g.ends_at
  FROM role_grants g
  LEFT JOIN (
    SELECT
      source, request_id, min(first_used_at) AS first_used_at, max(used_at) AS used_at, max(used_event) AS used_event
    FROM (
      SELECT source, first_used_at, used_at, used_event, unnest(request_ids) AS request_id
      FROM told
      WHERE used_at IS NOT NULL AND request_ids IS NOT NULL
    )
    GROUP BY source, request_id
  ) u ON u.source = g.source AND u.request_id = g.request_id
),
-- A login tells all roles of its gateway: one that is not among them has been taken away there.
logins AS (
  SELECT source, cluster, subject, max(login_at) AS login_at
  FROM told
  WHERE request_ids IS NULL AND actor_roles IS NOT NULL
  GROUP BY source, cluster, subject
),
places AS (
  SELECT
    s.source, s.cluster, s.subject, s.role, s.origin,
    max(s.actor_kind) AS actor_kind,
    min(s.first_used_at) AS first_used_at,
    min(s.first_without_at) AS first_without_at,
    max(s.used_without_at) AS used_without_at,
    min(s.first_at) AS first_at,
    max(s.last_at) AS last_at,
    max(s.used_at) AS used_at,
    max(s.expires_at) AS expires_at,
    text_union(s.request_id) AS request_ids,
    first_value(s.first_event ORDER BY s.first_at, s.first_event) AS first_event,
    last_value(s.last_event ORDER BY s.last_at, s.last_event) AS last_event,
    last_value(s.used_event ORDER BY s.used_at NULLS FIRST, s.used_event NULLS FIRST) AS used_event
  FROM settled s
  GROUP BY s.source, s.cluster, s.subject, s.role, s.origin
)
SELECT
  p.subject,
  max(p.actor_kind) AS subject_kind,
  p.role,
  p.origin,
  min(p.first_at) AS first_seen_at,
  max(p.last_at) AS last_seen_at,
  max(p.expires_at) AS expires_at,
  text_union(p.request_ids) AS request_ids,
  min(p.first_used_at) AS first_used_at,
  max(p.used_at) AS last_used_at,
  min(p.first_without_at) AS first_used_without_request_at,
  max(p.used_without_at) AS used_without_request_at,
  CASE WHEN p.origin = 'static' AND bool_and(coalesce(l.login_at > p.last_at, false)) THEN max(l.login_at) END
    AS absent_since,
  text_set(make_array(text_union(p.first_event), text_union(p.last_event), text_union(p.used_event))) AS evidence
FROM places p
LEFT JOIN logins l
  ON l.source = p.source AND l.subject = p.subject AND l.cluster IS NOT DISTINCT FROM p.cluster
GROUP BY p.subject, p.role, p.origin
