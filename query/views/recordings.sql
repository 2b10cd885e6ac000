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
-- topics            the Kafka topics that the frames came from
SELECT
  source,
  cluster,
  session_id,
  count(*) AS frames,
  sum(output_bytes) AS output_bytes,
  min(coalesce(first_at, CASE WHEN NOT starts_with(topic, 'import/') THEN ingested_at END)) AS first_at,
  max(coalesce(last_at, CASE WHEN NOT starts_with(topic, 'import/') THEN ingested_at END)) AS last_at,
  bool_or(strpos(codes, 'h') > 0) AS has_header,
  bool_or(strpos(codes, 'i') > 0) AS has_input,
  bool_or(strpos(codes, 'e') > 0) AS has_end,
  text_union(topic) AS topics
FROM frames
GROUP BY source, cluster, session_id
