-- title = "Shared accounts, and machine accounts used by hand"
-- version = 1
-- question = "Which accounts did several people use, and which machine accounts did somebody use interactively?"
-- population = "Every account on a target that sessions of the period used, and every session of a machine account that began in it"
-- controls = ["PCI 8.2.2", "PCI 8.6.1", "ISO A.5.16", "SOC2 CC6.1"]
-- sessions = "period"
--
-- [columns]
-- key = "The session; or account, target and login"
-- verdict = "pass, exception, warning, information or na"
-- why = "Code of the reason, see the list of reasons"
-- item = "account or session"
-- source = "The gateway's system"
-- target = "What the account is on"
-- login = "The account on the target"
-- persons = "People and machines who used it"
-- sessions = "Number of sessions"
-- session_id = "The session, where it is one"
-- interactive = "Whether the session had a terminal, where the gateway says so"
-- first_at = "When the session, or the first of the account's, began"
-- last_at = "When the session ended, or the last of the account's began"
-- duration_s = "Seconds that the session lasted"
-- reason = "The reason that was given for the session itself"
-- owner = "Who answers for it: of a listed account its owner, of a machine its manager"
-- justification = "Why the account is shared, by the list of shared accounts"
-- evidence = "Events of the session's start and end"
--
-- [why]
-- machine_interactive = "Somebody worked at a terminal as a machine"
-- terminal_not_told = "A session of a machine, and nothing says whether it had a terminal"
-- several_persons = "Several people used one account, which is not on the list of shared accounts"
-- no_justification = "A shared account is on the list, and without a justification or an owner"
-- listed = "The account is on the list of shared accounts, with a justification"
-- nobody_known = "Nothing says who used the account"
WITH population AS (
  SELECT
    s.*,
    i.manager,
    -- Who the export does not know is a machine if the gateway says so.
    coalesce(i.kind = 'service', s.actor_kind IN ('bot', 'system'), false) AS is_machine
  FROM sessions s
  LEFT JOIN (
    SELECT person(person) AS person, max(kind) AS kind, max(manager) AS manager FROM identities GROUP BY person(person)
  ) i ON i.person = s.person
  WHERE s.started_at >= $from AND s.started_at < $to
),
listed AS (
  SELECT login, min(owner) AS owner, min(justification) AS justification FROM shared_accounts GROUP BY login
),
accounts AS (
  SELECT
    target,
    login,
    text_union(source) AS sources,
    text_union(person) AS persons,
    text_union(CASE WHEN NOT is_machine THEN person END) AS humans,
    count(*) AS sessions,
    min(started_at) AS first_at,
    max(started_at) AS last_at
  FROM population
  WHERE login IS NOT NULL
  GROUP BY target, login
),
items AS (
  SELECT
    concat_ws('/', 'account', coalesce(a.target, '?'), a.login) AS key,
    'account' AS item,
    array_to_string(a.sources, ', ') AS source,
    a.target, a.login, a.persons, a.sessions,
    CAST(NULL AS VARCHAR) AS session_id,
    CAST(NULL AS BOOLEAN) AS interactive,
    a.first_at, a.last_at,
    CAST(NULL AS BIGINT) AS duration_s,
    CAST(NULL AS VARCHAR) AS reason,
    l.owner, l.justification,
    arrow_cast(NULL, 'List(Utf8)') AS evidence,
    CASE
      WHEN l.login IS NOT NULL AND (l.owner IS NULL OR l.justification IS NULL) THEN 'no_justification'
      WHEN l.login IS NOT NULL THEN 'listed'
      WHEN a.persons IS NULL THEN 'nobody_known'
      WHEN coalesce(array_length(a.humans), 0) > 1 THEN 'several_persons'
    END AS why
  FROM accounts a
  LEFT JOIN listed l ON l.login = a.login
  UNION ALL
  SELECT
    p.key, 'session', p.source, p.target, p.login, make_array(p.person), 1,
    p.session_id, p.interactive, p.started_at, p.ended_at, p.duration_ms / 1000, p.reason, p.manager, NULL, p.evidence,
    CASE
      WHEN p.interactive THEN 'machine_interactive'
      -- Teleport says it with every end of a session; what others leave out says nothing.
      WHEN p.source <> 'teleport' OR p.interactive IS NULL THEN 'terminal_not_told'
    END
  FROM population p
  WHERE p.is_machine
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why = 'machine_interactive' THEN 'exception'
    WHEN why IN ('several_persons', 'no_justification') THEN 'warning'
    WHEN why = 'listed' THEN 'information'
    ELSE 'na'
  END AS verdict,
  why,
  item,
  source,
  target,
  login,
  persons,
  sessions,
  session_id,
  interactive,
  first_at,
  last_at,
  duration_s,
  reason,
  owner,
  justification,
  evidence
FROM items
ORDER BY item, target, login, first_at, key
