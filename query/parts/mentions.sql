-- One row is one session that events of one day of ingestion name that are not its own: decisions, requests, findings. Those
-- that are its own are in `session_parts`.
--
-- date, source, session_id  the day, who names it, the session
SELECT DISTINCT date, source, session_id
FROM events
WHERE session_id IS NOT NULL
  AND kind NOT IN (
    'session.start', 'session.end', 'session.join', 'session.leave', 'session.upload', 'session.activity', 'other'
  )
