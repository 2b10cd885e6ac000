-- One row is one access request that the events of one day of ingestion carry for one session.
--
-- date, source, session_id, request_id  the day, the session, the request
-- start_event_id, end_event_id          the smallest id of the starts and of the ends that carry it
-- other_kind, other_event_id            the smallest kind and the smallest id of all events that carry it
SELECT
  date,
  source,
  session_id,
  request_id,
  min(event_id) FILTER (WHERE kind = 'session.start') AS start_event_id,
  min(event_id) FILTER (WHERE kind = 'session.end') AS end_event_id,
  min(kind) AS other_kind,
  min(event_id) AS other_event_id
FROM (
  SELECT date, source, session_id, event_id, kind, unnest(request_ids) AS request_id
  FROM events
  WHERE session_id IS NOT NULL AND request_ids IS NOT NULL
    AND kind IN ('session.start', 'session.end', 'session.join', 'session.leave', 'session.upload', 'session.activity')
)
GROUP BY date, source, session_id, request_id
