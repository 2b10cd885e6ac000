-- title = "Multi-factor authentication and strength of credentials"
-- version = 1
-- question = "Which sessions and logins had no second factor, and which credentials last too long?"
-- population = "Sessions that began in the period; each way in which a person logged in; the longest credential of each person and day"
-- controls = ["SOC2 CC6.6", "PCI 8.4.2", "PCI 8.6.3", "NIST IA-2(1)"]
-- sessions = "period"
--
-- [parameters.mfa_required]
-- type = "boolean"
-- default = false
-- help = "A session or login of a person for which no gateway tells of a second factor is an exception. Without it, it cannot be judged: a gateway that leaves this to the identity provider never tells"
--
-- [parameters.credential_max_s]
-- type = "integer"
-- default = 43200
-- help = "Seconds that a credential may last"
--
-- [columns]
-- key = "The session; or login, system, person and way; or credential, system, person and day"
-- verdict = "pass, exception, warning, na or excluded"
-- why = "Code of the reason, see the list of reasons"
-- item = "session, login or credential"
-- source = "The gateway's system"
-- person = "Whose it is, the same whatever system names them"
-- person_kind = "Person or machine, by the export of the identity provider, else by the gateway"
-- session_id = "The session, where it is one"
-- target = "What the session was opened to"
-- way = "How it was logged in, in the words of the gateway"
-- mfa_device = "The device of the second factor; hardware key where the key itself asks for a touch or a PIN"
-- first_at = "When it began, or the first login, or the credential's issue"
-- last_at = "The latest login"
-- lasts_s = "Seconds that the longest credential of the day lasts"
-- evidence = "Events that tell of it"
--
-- [why]
-- not_told = "Nothing tells whether there was a second factor"
-- no_mfa = "A second factor is required, and nothing tells of one"
-- local_login = "Logged in with an account of the gateway itself, not of the identity provider, with a second factor"
-- local_without_mfa = "Logged in with an account of the gateway itself, with no second factor"
-- long_lived = "A credential lasts longer than it may"
-- no_end = "Nothing tells when the credential ends"
-- machine = "A machine, which has no second factor"
-- out_of_scope = "The target is not among those that are listed as privileged"
WITH people AS (
  SELECT person(person) AS person, max(kind) AS kind FROM identities GROUP BY person(person)
),
-- A second factor is told on the session's own events, or on a credential of the request that the session carries.
told AS (
  SELECT
    source,
    kind,
    source_type,
    event_id,
    session_id,
    request_ids,
    coalesce(occurred_at, broker_at, ingested_at) AS at,
    person(actor) AS person,
    actor_kind,
    expires_at,
    coalesce(mfa_device, CASE
      WHEN regexp_like(json_get_str(detail, 'private_key_policy'), 'touch|pin') THEN 'hardware key'
    END) AS mfa_device,
    CASE WHEN kind = 'login' THEN CASE source WHEN 'boundary' THEN target ELSE action END END AS way
  FROM events
  WHERE kind IN ('session.start', 'session.end', 'credential.issue', 'login')
    AND coalesce(outcome, 'success') = 'success'
),
-- Only what has a second factor, which is less than what there is.
credentials AS (
  SELECT source, request_id, min(mfa_device) AS mfa_device, min(event_id) AS event_id
  FROM (
    SELECT source, mfa_device, event_id, unnest(request_ids) AS request_id
    FROM told
    WHERE kind = 'credential.issue' AND mfa_device IS NOT NULL AND request_ids IS NOT NULL
  )
  GROUP BY source, request_id
),
carried AS (
  SELECT t.source, t.session_id, min(c.mfa_device) AS mfa_device, text_union(c.event_id) AS evidence
  FROM (
    SELECT DISTINCT source, session_id, unnest(request_ids) AS request_id
    FROM told
    WHERE kind = 'session.start' AND session_id IS NOT NULL AND request_ids IS NOT NULL
  ) t
  JOIN credentials c ON c.source = t.source AND c.request_id = t.request_id
  GROUP BY t.source, t.session_id
),
own AS (
  SELECT source, session_id, min(mfa_device) AS mfa_device, text_union(event_id) AS evidence
  FROM told
  WHERE kind IN ('session.start', 'session.end') AND session_id IS NOT NULL
  GROUP BY source, session_id
),
items AS (
  SELECT
    s.key,
    'session' AS item,
    s.source, s.person, s.actor_kind, s.session_id, s.target,
    CAST(NULL AS VARCHAR) AS way,
    coalesce(o.mfa_device, c.mfa_device) AS mfa_device,
    s.started_at AS first_at,
    CAST(NULL AS TIMESTAMP(6) WITH TIME ZONE) AS last_at,
    CAST(NULL AS BIGINT) AS lasts_s,
    text_set(make_array(o.evidence, c.evidence)) AS evidence,
    false AS is_local,
    (SELECT count(*) FROM privileged WHERE kind = 'target') > 0 AND NOT coalesce(t.is_privileged, false) AS is_out
  FROM sessions s
  LEFT JOIN own o ON o.source = s.source AND o.session_id = s.session_id
  LEFT JOIN carried c ON c.source = s.source AND c.session_id = s.session_id
  LEFT JOIN targets t ON t.target = s.target
  WHERE s.started_at >= $from AND s.started_at < $to
  UNION ALL
  SELECT
    concat_ws('/', 'login', source, coalesce(person, '?'), way, CASE WHEN mfa_device IS NULL THEN 'no mfa' ELSE 'mfa' END),
    'login', source, person, max(actor_kind), NULL, NULL, way, min(mfa_device), min(at), max(at), NULL,
    text_set(make_array(
      make_array(first_value(event_id ORDER BY at, event_id)), make_array(last_value(event_id ORDER BY at, event_id))
    )),
    -- Passwords that the gateway keeps itself. A way that is not told is not one of them.
    coalesce(CASE source WHEN 'teleport' THEN way = 'local' WHEN 'boundary' THEN starts_with(way, 'ampw_') END, false),
    false
  FROM told
  WHERE kind = 'login' AND source_type NOT IN ('auth', 'bot.join', 'instance.join') AND at >= $from AND at < $to
  GROUP BY source, person, way, mfa_device IS NULL
  UNION ALL
  SELECT
    concat_ws('/', 'credential', source, coalesce(person, '?'), CAST(CAST(at AS DATE) AS VARCHAR)),
    'credential', source, person, max(actor_kind), NULL, NULL, NULL, min(mfa_device), min(at), max(at),
    max((CAST(expires_at AS BIGINT) - CAST(at AS BIGINT)) / 1000000),
    make_array(first_value(event_id ORDER BY expires_at DESC NULLS LAST, event_id)),
    false,
    false
  FROM told
  WHERE kind = 'credential.issue' AND at >= $from AND at < $to
  GROUP BY source, person, CAST(at AS DATE)
),
judged AS (
  SELECT
    i.*,
    coalesce(p.kind, i.actor_kind) AS person_kind,
    CASE
      WHEN i.is_out THEN 'out_of_scope'
      WHEN i.item = 'credential' AND i.lasts_s > $credential_max_s THEN 'long_lived'
      WHEN i.item = 'credential' AND i.lasts_s IS NULL THEN 'no_end'
      WHEN i.item = 'credential' THEN NULL
      WHEN coalesce(p.kind = 'service', i.actor_kind IN ('bot', 'system'), false) THEN 'machine'
      WHEN i.is_local AND i.mfa_device IS NULL THEN 'local_without_mfa'
      WHEN i.is_local THEN 'local_login'
      WHEN i.mfa_device IS NOT NULL THEN NULL
      WHEN CAST($mfa_required AS BOOLEAN) THEN 'no_mfa'
      ELSE 'not_told'
    END AS why
  FROM items i
  LEFT JOIN people p ON p.person = i.person
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('no_mfa', 'local_without_mfa', 'long_lived') THEN 'exception'
    WHEN why = 'local_login' THEN 'warning'
    WHEN why IN ('machine', 'out_of_scope') THEN 'excluded'
    ELSE 'na'
  END AS verdict,
  why,
  item,
  source,
  person,
  person_kind,
  session_id,
  target,
  way,
  mfa_device,
  first_at,
  last_at,
  lasts_s,
  evidence
FROM judged
ORDER BY item, first_at, key
