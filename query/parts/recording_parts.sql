-- One row is what the pieces of one day of ingestion say of the recording of one session.
--
-- Every column is an aggregate that may be taken again over several of its own values.
--
-- date, source, cluster, session_id
--                       the day, and the session; the cluster as the pieces have it, which is null where the shipper
--                       drops it
-- frames, output_bytes, first_at, last_at, has_header, has_input, has_end, topics
--                       see `recordings`
-- bytes                 places of the pieces of output, as spans, where the source counts them
SELECT
  date,
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
  text_union(topic) AS topics,
  spans(positions, CASE WHEN clock = 'first_output' THEN lens END) AS bytes
FROM frames
GROUP BY date, source, cluster, session_id
