-- One row is one event of one day of ingestion, as it is: every event but what was done inside of sessions.
--
-- Of a session its bounds and its recording are told once, what was done in it a thousand times. Whoever asks for events
-- of other kinds than those that are missing here gets them from here: see `outline` in `query/src/table.rs`.
SELECT *
FROM events
WHERE kind NOT IN ('session.activity', 'session.join', 'session.leave', 'other')
