-- title = "Recordings missing or not verifiable"
-- version = 1
-- question = "Which sessions should have a recording that is not here, or that failed a check?"
-- population = "Sessions that began in the period"
-- controls = ["NIST AU-14", "PCI 10.2.1.2", "ISO A.8.15", "SOC2 CC7.2"]
-- sessions = "period"
--
-- [parameters.grace_s]
-- type = "integer"
-- default = 3600
-- help = "Seconds after a session's end within which its recording may still be on its way"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass, exception, information, na or excluded"
-- why = "Code of the reason, see the list of reasons"
-- source = "The gateway's system"
-- cluster = "The instance of the gateway"
-- session_id = "The gateway's id of the session"
-- person = "Whose session it was"
-- target = "What it was opened to"
-- started_at = "When it began"
-- ended_at = "When it ended; empty while it runs"
-- recording_state = "State of its recording in the ledger"
-- facts = "What that state rests on, in words"
-- integrity = "How far an imported recording could be verified"
-- announced_at = "When the gateway said that the recording is stored"
-- object = "Where the gateway said that it is stored"
-- evidence = "Events of the session's start, end and upload"
--
-- [why]
-- missing = "The gateway says that the session is recorded, it is over, and its recording is not here"
-- check_failed = "The recording is here, and a check of it failed: it is not what was signed or listed"
-- not_recorded = "The gateway says that it did not record the session"
-- incomplete = "The recording is here and has holes: see the report on gaps"
-- running = "The session was not over by the date of the report"
-- on_its_way = "The session ended so shortly before the date of the report that its recording may still come"
-- not_told = "No recording is here, and nothing says whether the session was recorded"
-- out_of_scope = "The target is not among those that are listed as privileged"
WITH population AS (
  SELECT *
  FROM recording_state
  WHERE started_at >= $from AND started_at < $to
),
uploads AS (
  SELECT
    source,
    session_id,
    min(coalesce(occurred_at, broker_at, ingested_at)) AS announced_at,
    min(json_get_str(detail, 'url')) AS object,
    text_union(event_id) AS event_ids
  FROM events
  WHERE kind = 'session.upload' AND session_id IS NOT NULL
  GROUP BY source, session_id
),
judged AS (
  SELECT
    p.*,
    u.announced_at, u.object,
    text_set(make_array(p.evidence, u.event_ids)) AS event_ids,
    CASE
      WHEN (SELECT count(*) FROM privileged WHERE kind = 'target') > 0 AND NOT coalesce(s.is_privileged, false)
        THEN 'out_of_scope'
      WHEN p.recording_state = 'recorded' THEN NULL
      WHEN p.recording_state = 'incomplete' THEN 'incomplete'
      WHEN p.recording_state = 'unverifiable' THEN 'check_failed'
      WHEN p.recording_state = 'not_required' THEN 'not_recorded'
      WHEN p.recording_state = 'running' THEN 'running'
      WHEN p.recording_state = 'missing' AND CAST(p.ended_at AS BIGINT) + $grace_s * 1000000 > CAST($as_of AS BIGINT)
        THEN 'on_its_way'
      WHEN p.recording_state = 'missing' THEN 'missing'
      ELSE 'not_told'
    END AS reason
  FROM population p
  LEFT JOIN targets s ON s.target = p.target
  LEFT JOIN uploads u ON u.source = p.source AND u.session_id = p.session_id
)
SELECT
  key,
  CASE
    WHEN reason IS NULL THEN 'pass'
    WHEN reason IN ('missing', 'check_failed', 'not_recorded') THEN 'exception'
    WHEN reason = 'incomplete' THEN 'information'
    WHEN reason = 'out_of_scope' THEN 'excluded'
    ELSE 'na'
  END AS verdict,
  reason AS why,
  source,
  cluster,
  session_id,
  person,
  target,
  started_at,
  ended_at,
  recording_state,
  why AS facts,
  integrity,
  announced_at,
  object,
  event_ids AS evidence
FROM judged
ORDER BY started_at, key
