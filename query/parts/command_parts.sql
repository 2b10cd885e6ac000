-- One row is one rule that commands and queries of one session hit on one day of ingestion. What was asked in a session
-- and hit none is a row without a rule; a command that names no session is a row of its own where it hits one.
--
-- date, source, session_id  the day, and the session
-- alone                     the event, where it names no session
-- rule                      see `R23`, which says the rule's version: one that is changed here gets another there
-- event_ids                 the events that hit it
-- first_at, last_at         the first and the last of their times
-- first_event_id, first_action
--                           the first of them, and what was said there
SELECT
  date,
  source,
  session_id,
  alone,
  rule,
  text_union(CASE WHEN rule IS NOT NULL THEN event_id END) AS event_ids,
  min(CASE WHEN rule IS NOT NULL THEN at END) AS first_at,
  max(CASE WHEN rule IS NOT NULL THEN at END) AS last_at,
  first_value(event_id ORDER BY at, event_id, action) FILTER (WHERE rule IS NOT NULL) AS first_event_id,
  first_value(action ORDER BY at, event_id, action) FILTER (WHERE rule IS NOT NULL) AS first_action
FROM (
  SELECT
    date, source, session_id, event_id, action,
    coalesce(occurred_at, broker_at, ingested_at) AS at,
    CASE WHEN session_id IS NULL THEN event_id END AS alone,
    -- No rule is a name as well, or there would be no row.
    nullif(unnest(string_to_array(coalesce(nullif(concat_ws(' ',
      CASE WHEN regexp_like(action,
        '(?i)(^|[\s/;&|])sudo\s+(-[ugh]\s*\S+\s+|-\S+\s+)*(su|bash|sh|zsh|-i|-s)(\s|$)'
        || '|(^|[\s/;&|])su(\s+-l?)?(\s+root)?\s*$')
        THEN 'root_shell' END,
      CASE WHEN regexp_like(action,
        '(?i)\bhistory\s+-[a-z]*[cw]|unset\s+HISTFILE|HISTFILE=(/dev/null|\s|$)|HIST(FILE)?SIZE=0|set\s+\+o\s+history'
        || '|(rm|shred|truncate|ln)\s.*_history\b|>\s*\S*_history\b')
        THEN 'history_wipe' END,
      CASE WHEN regexp_like(action,
        '(?i)(stop|disable|mask|kill|killall|pkill)\s.*\b(auditd|r?syslogd?|syslog-ng|(systemd-)?journald|teleport|osqueryd?)\b'
        || '|\bservice\s+(auditd|r?syslog|teleport)\s+stop|auditctl\s+(-e\s*0|-D)'
        || '|(rm|shred|truncate)\s.*/var/log/|>\s*/var/log/|journalctl\s.*--vacuum')
        THEN 'log_tampering' END,
      CASE WHEN regexp_like(action,
        '(?i)(^|[\s/;&|])(nc|ncat|netcat|socat)\s.*(-[a-z]*[ec]\b|exec:|/bin/\w*sh)|/dev/(tcp|udp)/'
        || '|\b(curl|wget)\s.*\|\s*(sudo\s+)?(\S*/)?(ba|z|da|k)?sh\b|sh\s+(-c\s+)?[''"<($]+\s*(curl|wget)\b')
        THEN 'remote_shell' END,
      CASE WHEN regexp_like(action, '(?i)^\s*select\s+(\w+\.)?\*\s+from\s')
        AND NOT regexp_like(action, '(?i)\b(where|limit|fetch\s+(first|next)|top)\b')
        THEN 'mass_select' END,
      CASE WHEN regexp_like(action,
        '(?i)-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|AWS_SECRET_ACCESS_KEY\s*='
        || '|(cat|cp|scp|less|more|head|tail|base64|vim?|nano|curl|upload|download)\s'
        || '.*(\bid_(rsa|dsa|ecdsa|ed25519)(\s|$)|/etc/g?shadow\b|\.aws/credentials|\.kube/config|\.(pem|p12|pgpass)\b)')
        THEN 'key_material' END
    ), ''), '-'), ' ')), '-') AS rule
  FROM events
  WHERE kind = 'session.activity' AND action IS NOT NULL
    -- What Boundary's workers say of themselves is no command.
    AND NOT (source = 'boundary' AND source_type = 'system')
)
WHERE session_id IS NOT NULL OR rule IS NOT NULL
GROUP BY date, source, session_id, alone, rule
