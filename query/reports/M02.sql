-- title = "Standing privileged grants"
-- version = 1
-- question = "How many people hold and use privileged roles without asking for them, and is that becoming less?"
-- population = "Privileged roles that somebody held in the period without an access request, by ISO week (every role, where nothing is listed as privileged)"
-- controls = ["SOC2 CC6.3", "ISO A.8.2", "NIST AC-6(5)"]
--
-- [columns]
-- key = "The role and the week: role/week"
-- verdict = "information | excluded"
-- why = "Always empty: a metric"
-- role = "The role, as the gateways name it"
-- week = "The ISO week (UTC)"
-- week_from = "The Monday on which it begins"
-- holders = "People who were seen with it in the week: at a login, with a credential, in a session"
-- users = "People who opened a session with it and without a request"
-- machines = "How many of the holders a gateway calls a machine"
-- holder_names = "The people who were seen with it, by the identity table"
-- user_names = "The people who used it"
-- sessions = "Sessions that were opened with it and without a request"
-- holders_before = "Holders in the week before; 0 where there were none, empty for the first week of the period"
-- users_before = "Users in the week before, likewise"
-- evidence = "The first event of the week that told of it, for each holder"
--
-- [why]
WITH period AS (
  SELECT arrow_cast($from, 'Timestamp(Microsecond, Some("UTC"))') AS from_at
),
settings AS (
  -- Everything that is in scope as one pattern over lines of kind:name, null where nothing is listed.
  SELECT
    (SELECT '\n(' || string_agg(
      kind || ':' || replace(regexp_replace(name, '([.+?^$(){}|\[\]\\])', '\\\1', 'g'), '*', '.*'), '|'
    ) || ')\n' FROM privileged) AS scope
),
told AS (
  -- Few different rows: people log in and work with the same roles again and again. What carries a request may have its
  -- roles among the others, so it tells nothing here.
  SELECT
    person(actor) AS person,
    actor_roles,
    date_trunc('week', at) AS week,
    max(actor_kind) AS actor_kind,
    count(DISTINCT CASE kind WHEN 'session.start' THEN concat_ws('/', source, session_id) END) AS sessions,
    first_value(event_id ORDER BY at, event_id) AS first_event
  FROM (
    SELECT *, coalesce(occurred_at, broker_at, ingested_at) AS at
    FROM events
    WHERE kind IN ('login', 'session.start', 'credential.issue')
      AND actor IS NOT NULL
      AND actor_roles IS NOT NULL
      AND request_ids IS NULL
      AND coalesce(outcome, 'success') NOT IN ('failure', 'deny')
  )
  WHERE at >= $from AND at < $to
  GROUP BY person(actor), actor_roles, date_trunc('week', at)
),
counted AS (
  SELECT
    role,
    week,
    count(DISTINCT person) AS holders,
    count(DISTINCT CASE WHEN sessions > 0 THEN person END) AS users,
    count(DISTINCT CASE WHEN actor_kind = 'bot' THEN person END) AS machines,
    text_union(person) AS holder_names,
    text_union(CASE WHEN sessions > 0 THEN person END) AS user_names,
    sum(sessions) AS sessions,
    text_union(first_event) AS evidence
  FROM (SELECT *, unnest(actor_roles) AS role FROM told)
  GROUP BY role, week
),
compared AS (
  SELECT
    c.*,
    c.week <= p.from_at AS is_first,
    coalesce(lag(week) OVER weeks = week - INTERVAL '7 days', false) AS has_before,
    lag(holders) OVER weeks AS holders_before,
    lag(users) OVER weeks AS users_before
  FROM counted c
  CROSS JOIN period p
  WINDOW weeks AS (PARTITION BY role ORDER BY week)
)
SELECT
  concat_ws('/', role, to_char(week, '%G-W%V')) AS key,
  CASE WHEN s.scope IS NULL OR regexp_like(concat(chr(10), 'role:', role, chr(10)), s.scope) THEN 'information'
    ELSE 'excluded'
  END AS verdict,
  CAST(NULL AS VARCHAR) AS why,
  role,
  to_char(week, '%G-W%V') AS week,
  week AS week_from,
  holders, users, machines, holder_names, user_names, sessions,
  CASE WHEN has_before THEN holders_before WHEN NOT is_first THEN 0 END AS holders_before,
  CASE WHEN has_before THEN users_before WHEN NOT is_first THEN 0 END AS users_before,
  evidence
FROM compared
CROSS JOIN settings s
ORDER BY week_from, key
