-- One row is one recording, as it was looked through last.
--
-- run                 number of the look
-- source, session_id, channel
--                     the recording; a session has several where its gateway records several channels
-- version             of what looked through it
-- indexed_at          when it was looked through; what came later is not in it
-- frames              number of rows in `frames` that the session had then
-- started_at, duration_us
--                     wall clock at its start, and time from there to its last piece, in microseconds
-- cols, rows          size of the terminal at its start
-- events, output_bytes, output_sha256
--                     number of its events; size and SHA-256 of its output
-- replaced_bytes      bytes of its output that are not UTF-8, and are shown as U+FFFD
-- ended               the stream says that it is over
-- findings            what is wrong with it, a line each; empty when nothing is
-- findings_us         when each of them is, in microseconds since the start; null where it is about all of it
-- texts, commands     numbers of rows in `screen_text` and `commands`
-- missed              texts that are not there because there were too many
-- error               why it could not be looked through
SELECT
  run, source, session_id, channel, indexed_at, version, frames, started_at, duration_us, cols, rows, events,
  output_bytes, output_sha256, replaced_bytes, ended, findings, findings_us, texts, commands, missed, error
FROM (
  SELECT
    *,
    row_number() OVER (
      PARTITION BY source, session_id, channel, error IS NULL ORDER BY version DESC, frames DESC, run DESC
    ) AS age,
    max(frames) OVER (PARTITION BY source, session_id) AS most
  FROM indexed_recordings
)
-- A failure is of all channels: it counts until somebody looks at more, and what was found before still counts.
WHERE age = 1 AND (error IS NULL OR frames = most)
