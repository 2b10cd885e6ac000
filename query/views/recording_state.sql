-- One row is one session: whether its recording is here, whole, and how far it can be trusted.
--
-- key, source, cluster, session_id, person, target, started_at, ended_at
--                     the session, see `sessions`
-- recording_state     recorded: it is here, and nothing is known to be wrong with it; of a database or an application,
--                     what was asked is here as events
--                     incomplete: it is here, and parts are missing
--                     unverifiable: it is here, and a check of it failed
--                     missing: the gateway says that it is recorded, the session is over, and it is not here
--                     running: the same, and the session is not over
--                     not_required: the gateway says that it is not recorded
--                     unknown: it is not here, and nobody says whether it was recorded
-- why                 what the state rests on, in words
-- integrity           how far an imported recording could be verified; null for one that was only streamed
-- output_bytes        bytes that the terminal showed; pieces that were delivered twice count twice
-- missing_bytes       bytes of output in holes between the pieces that are here, by the source's own count; null where
--                     the source does not count
-- missing_events      positions in the session's stream between the first and the last that is here at which nothing is;
--                     null where the source does not number them
-- first_frame_at, last_frame_at
--                     wall clock of the recording
-- unrecorded_tail_ms  from the last piece to the session's end: with nothing on the screen, or with a recorder that was
--                     cut off
-- evidence            the events of the session's start and end
WITH pieces AS (
  SELECT source, session_id, missing(bytes) AS missing_bytes
  FROM recording_parts
  GROUP BY source, session_id
),
-- A session's stream has its events and its pieces, numbered together.
numbered AS (
  SELECT source, session_id, missing(numbers) AS missing_events
  FROM (
    SELECT source, session_id, numbers FROM number_parts
    UNION ALL
    SELECT source, session_id, numbers FROM session_parts
  )
  GROUP BY source, session_id
),
-- Of a database or an application there is no terminal: what is recorded is what was asked of it, and those are events.
asked AS (
  SELECT source, session_id, sum(questions) AS questions
  FROM session_parts
  GROUP BY source, session_id
),
imported AS (
  SELECT
    json_get_str(detail, 'source') AS source,
    session_id,
    -- Of several imports the least trusted says how far the recording can be: the pieces of all are in it.
    min(CASE integrity
      WHEN 'failed' THEN 1 WHEN 'incomplete' THEN 2 WHEN 'complete' THEN 3 WHEN 'checksums' THEN 4
      WHEN 'self_signed' THEN 5 WHEN 'authentic' THEN 6
    END) AS level,
    text_union(json_get_str(detail, 'findings', 0, 'kind')) AS findings
  FROM events
  WHERE kind = 'import' AND session_id IS NOT NULL AND integrity IS NOT NULL
    -- One that could not be decrypted gave no pieces; the same object may have been imported since with its key.
    AND json_get_str(detail, 'cut') IS DISTINCT FROM 'sealed'
  GROUP BY json_get_str(detail, 'source'), session_id
),
known AS (
  SELECT
    s.key, s.source, s.cluster, s.session_id, s.person, s.target, s.started_at, s.ended_at, s.state, s.recorded, s.uploaded,
    s.recording_ids, s.recording, s.output_bytes, s.first_frame_at, s.last_frame_at, s.evidence,
    CASE i.level
      WHEN 1 THEN 'failed' WHEN 2 THEN 'incomplete' WHEN 3 THEN 'complete' WHEN 4 THEN 'checksums'
      WHEN 5 THEN 'self_signed' WHEN 6 THEN 'authentic'
    END AS integrity,
    array_to_string(i.findings, ', ') AS finding,
    p.missing_bytes,
    CASE WHEN s.output_bytes > 0 THEN n.missing_events END AS missing_events,
    coalesce(a.questions, 0) AS questions,
    s.uploaded OR coalesce(s.recorded, false) OR s.recording_ids IS NOT NULL AS announced
  FROM sessions s
  LEFT JOIN pieces p ON p.source = s.source AND p.session_id = s.session_id
  LEFT JOIN numbered n ON n.source = s.source AND n.session_id = s.session_id
  LEFT JOIN asked a ON a.source = s.source AND a.session_id = s.session_id
  LEFT JOIN imported i ON i.source = s.source AND i.session_id = s.session_id
)
SELECT
  key,
  source,
  cluster,
  session_id,
  person,
  target,
  started_at,
  ended_at,
  CASE
    WHEN recording = 'recorded' AND integrity = 'failed' THEN 'unverifiable'
    WHEN recording = 'recorded' AND (missing_bytes > 0 OR missing_events > 0 OR integrity = 'incomplete') THEN 'incomplete'
    WHEN recording = 'recorded' THEN 'recorded'
    WHEN questions > 0 THEN 'recorded'
    WHEN recorded = false AND NOT uploaded THEN 'not_required'
    WHEN announced AND state = 'running' THEN 'running'
    WHEN announced THEN 'missing'
    ELSE 'unknown'
  END AS recording_state,
  CASE
    WHEN recording = 'recorded' AND integrity = 'failed' THEN concat('a check of the imported recording failed: ', finding)
    WHEN recording = 'recorded' AND missing_bytes > 0
      THEN concat(missing_bytes, ' bytes of output are missing between pieces that are here')
    WHEN recording = 'recorded' AND missing_events > 0
      THEN concat(missing_events, ' events of the session''s stream are missing between those that are here')
    WHEN recording = 'recorded' AND integrity = 'incomplete' THEN concat('the imported recording is incomplete: ', finding)
    WHEN recording = 'recorded' THEN 'its recording is here'
    WHEN questions > 0 THEN concat('it has no terminal; what was asked is here in ', questions, ' events')
    WHEN recorded = false AND NOT uploaded THEN 'the gateway says that the session is not recorded'
    WHEN uploaded THEN 'the gateway says that the recording is stored; it is not here'
    WHEN announced THEN 'the gateway says that the session is recorded; it is not here'
    ELSE 'nothing says whether the session was recorded'
  END AS why,
  integrity,
  output_bytes,
  missing_bytes,
  missing_events,
  first_frame_at,
  last_frame_at,
  CASE WHEN recording = 'recorded' AND ended_at > last_frame_at
    THEN (CAST(ended_at AS BIGINT) - CAST(last_frame_at AS BIGINT)) / 1000
  END AS unrecorded_tail_ms,
  evidence
FROM known
