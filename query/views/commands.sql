-- One row is one command of a recorded session, as far as commands can be known from what was on its screen.
--
-- source, session_id, channel
--                     the recording, see `recording_index`; run is the look at it
-- at_us, until_us     when it was given and when it was over, in microseconds since the start of the recording; null where
--                     nothing says when it was over
-- given_at            wall clock of at_us, where it is known
-- exit_status         its exit status, where the shell said it
-- found_by            osc133: the shell said where its commands begin and end; prompt: it stood behind something that
--                     looks like a prompt, which is a guess
-- text                what was typed, as it stood on the screen
SELECT
  given.run AS run,
  given.source AS source,
  given.session_id AS session_id,
  given.channel AS channel,
  at_us,
  until_us,
  arrow_cast(CAST(looked.started_at AS BIGINT) + at_us, 'Timestamp(Microsecond, Some("UTC"))') AS given_at,
  exit_status,
  found_by,
  text
FROM indexed_commands AS given
JOIN recording_index AS looked
  ON looked.run = given.run AND looked.source = given.source AND looked.session_id = given.session_id
