-- One row is one text that was on the screen of a recorded session, as long as it was there unchanged. Rows that the
-- terminal wrapped are one text; what was typed or printed bit by bit is one text.
--
-- date                the day of ingestion of the recording's newest frame
-- source, session_id, channel
--                     the recording, see `recording_index`; run is the look at it
-- number              texts are numbered as they went from the screen
-- from_us, till_us    when it came and when it went, in microseconds since the start of the recording
-- whole_us            since when it read as it does; before that it was shorter
-- shown_at            wall clock of whole_us, where it is known
-- row                 row of the screen on which it was last, from 0
-- alternate           it was on the alternate screen, that of editors and pagers
-- text                the text, without characters that would act on a terminal
SELECT
  texts.date AS date,
  texts.run AS run,
  texts.source AS source,
  texts.session_id AS session_id,
  texts.channel AS channel,
  texts.number AS number,
  from_us,
  whole_us,
  till_us,
  arrow_cast(CAST(looked.started_at AS BIGINT) + whole_us, 'Timestamp(Microsecond, Some("UTC"))') AS shown_at,
  texts.row AS row,
  alternate,
  text
FROM indexed_texts AS texts
JOIN recording_index AS looked
  ON looked.run = texts.run AND looked.source = texts.source AND looked.session_id = texts.session_id
