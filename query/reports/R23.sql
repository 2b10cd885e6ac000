-- title = "Privileged activity of interest"
-- version = 1
-- question = "In which sessions was something done that somebody should look at?"
-- population = "Sessions that began in the period: one row for each rule that a session hits, one row for a session whose commands hit none. Commands and queries that name no session are rows of their own where they hit a rule"
-- controls = ["SOC2 CC7.2", "NIST AU-6", "PCI 10.2.1.2", "ISO A.8.15"]
-- sessions = "period"
--
-- [parameters.business_from]
-- type = "integer"
-- default = 540
-- help = "Minute of the UTC day at which business hours begin"
--
-- [parameters.business_to]
-- type = "integer"
-- default = 1020
-- help = "Minute of the UTC day at which they are over: that minute is outside"
--
-- [parameters.business_days]
-- type = "text"
-- default = "1,2,3,4,5"
-- help = "Days of business, Monday is 1"
--
-- [columns]
-- key = "The session, or the event of a command that names none, and the rule that it hits"
-- verdict = "exception, warning or information by the rule; pass without a hit; na where there is nothing to look at"
-- why = "Id of the rule, or why nothing can be said"
-- rule = "Id of the rule"
-- rule_version = "Version of the rule"
-- source = "The gateway's system"
-- session_id = "The gateway's id of the session"
-- person = "Whose session it was"
-- target = "What it was opened to"
-- started_at = "When it began; of a command that names no session, when it was given"
-- hits = "Number of different events that hit the rule"
-- first_at = "First of them; empty for the rule on business hours"
-- last_at = "Last of them"
-- snippet = "The first of them, shortened, with what looks like a secret replaced"
-- evidence = "Up to ten events that hit the rule, or those of the session's start and end"
--
-- [why]
-- root_shell = "A shell of the administrator or of another user was opened from within"
-- history_wipe = "The shell's history was cleared, or switched off"
-- log_tampering = "Logging or auditing was stopped, or logs were removed"
-- remote_shell = "A shell was connected to the network, or something from the network was run as it came"
-- mass_select = "A whole table was read: no condition and no limit"
-- key_material = "Keys or passwords were read, copied or written in the clear"
-- off_hours = "The session began outside business hours"
-- nothing_told = "No command and no query of the session is told: what was done is in its recording alone"
WITH rules(rule, version, verdict) AS (
  VALUES
    ('root_shell', 1, 'warning'),
    ('history_wipe', 1, 'exception'),
    ('log_tampering', 1, 'exception'),
    ('remote_shell', 1, 'exception'),
    ('mass_select', 1, 'warning'),
    ('key_material', 1, 'exception'),
    ('off_hours', 1, 'information')
),
population AS (
  SELECT
    s.key, s.source, s.session_id, s.person, s.target, s.started_at, s.evidence,
    -- A session is looked at twice: at what was done in it, and at when it was, where that is a finding.
    unnest(CASE
      WHEN date_part('hour', s.started_at) * 60 + date_part('minute', s.started_at) < $business_from
        OR date_part('hour', s.started_at) * 60 + date_part('minute', s.started_at) >= $business_to
        OR NOT array_has(
          string_to_array(replace(CAST($business_days AS VARCHAR), ' ', ''), ','),
          CAST(date_part('isodow', s.started_at) AS VARCHAR)
        )
        THEN make_array('commands', 'off_hours')
      ELSE make_array('commands')
    END) AS look
  FROM sessions s
  WHERE s.started_at >= $from AND s.started_at < $to
),
found AS (
  SELECT
    coalesce(h.alone, p.key) AS item,
    coalesce(p.source, h.source) AS source,
    p.session_id, p.person, p.target,
    coalesce(p.started_at, h.first_at) AS started_at,
    h.source IS NOT NULL AS is_told,
    CASE WHEN p.look = 'off_hours' THEN p.look ELSE h.rule END AS rule,
    CASE WHEN p.look = 'off_hours' THEN 1 ELSE h.hits END AS hits,
    h.first_at, h.last_at, h.action,
    coalesce(h.evidence, p.evidence) AS evidence
  FROM population p
  FULL JOIN command_hits h ON h.source = p.source AND h.session_id = p.session_id AND p.look = 'commands'
  -- Of hits without a session of the population, those that name none are kept.
  WHERE p.source IS NOT NULL OR (h.session_id IS NULL AND h.first_at >= $from AND h.first_at < $to)
)
SELECT
  concat_ws('/', f.item, f.rule) AS key,
  CASE
    -- A rule that has no verdict above is a finding all the same.
    WHEN f.rule IS NOT NULL THEN coalesce(r.verdict, 'exception')
    WHEN f.is_told THEN 'pass'
    ELSE 'na'
  END AS verdict,
  coalesce(f.rule, CASE WHEN NOT f.is_told THEN 'nothing_told' END) AS why,
  f.rule,
  r.version AS rule_version,
  f.source,
  f.session_id,
  f.person,
  f.target,
  f.started_at,
  f.hits,
  f.first_at,
  f.last_at,
  printable(regexp_replace(
    f.action, '(?i)((?:secret|token|passw(?:or)?d|key)\w*["'']?\s*[=:]\s*|-----BEGIN [A-Z ]*PRIVATE KEY)\S+', '\1***', 'g'
  ), 120) AS snippet,
  f.evidence
FROM found f
LEFT JOIN rules r ON r.rule = f.rule
ORDER BY f.started_at, key
