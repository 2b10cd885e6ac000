-- One row is one text that was on the screen of a recorded session, as long as it was there unchanged. Rows that the
-- terminal wrapped are one text; what was typed or printed bit by bit is one text.
--
-- source, session_id, channel
--                     the recording, see `recording_index`; run is the look at it
-- from_us, till_us    when it came and when it went, in microseconds since the start of the recording
-- shown_at            wall clock of from_us, where it is known
-- row                 row of the screen on which it was last, from 0
-- alternate           it was on the alternate screen, that of editors and pagers
-- text                the text, without characters that would act on a terminal
SELECT
  texts.date AS date,
  texts.run AS run,
  texts.source AS source,
  texts.session_id AS session_id,
  texts.channel AS channel,
  from_us,
  till_us,
  arrow_cast(CAST(started_at AS BIGINT) + from_us, 'Timestamp(Microsecond, Some("UTC"))') AS shown_at,
  texts.row AS row,
  alternate,
  text
FROM indexed_texts AS texts
JOIN (SELECT run, started_at FROM recording_index) AS looked ON looked.run = texts.run
