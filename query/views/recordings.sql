-- One row is the recording of one session: everything that its frames say, as received.
--
-- source, cluster   where it comes from; the cluster as the frames have it, which is null where the shipper drops it
-- session_id        the session that was recorded
-- frames            number of rows in `frames`
-- output_bytes      bytes that the terminal showed; pieces that were delivered twice count twice
-- first_at, last_at wall clock of the first and the last piece; when Custody got them, where no piece has a time and it was not imported
-- has_header        the stream's header came (sources that have one)
-- has_input         what was typed, or asked, is in it
-- has_end           the gateway said in the stream that the session is over
-- first_day, last_day
--                   the days on which Custody got its first and its last frame
-- topics            the Kafka topics that the frames came from
SELECT
  source,
  cluster,
  session_id,
  CAST(sum(frames) AS BIGINT) AS frames,
  CAST(sum(output_bytes) AS BIGINT) AS output_bytes,
  min(first_at) AS first_at,
  max(last_at) AS last_at,
  bool_or(has_header) AS has_header,
  bool_or(has_input) AS has_input,
  bool_or(has_end) AS has_end,
  min(date) AS first_day,
  max(date) AS last_day,
  text_union(topics) AS topics
FROM recording_parts
GROUP BY source, cluster, session_id
