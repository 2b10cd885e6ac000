-- One row is how the pieces of one day of ingestion are numbered within the stream of one session.
--
-- date, source, session_id  the day, and the session
-- numbers                   the numbers that are there, as spans
SELECT date, source, session_id, spans(number, 1) AS numbers
FROM (SELECT date, source, session_id, unnest(seqs) AS number FROM frames WHERE clock = 'first_output')
-- A session's stream has its events and its pieces, numbered together. What has a number beyond is none of it.
WHERE number BETWEEN 0 AND 2147483645
GROUP BY date, source, session_id
