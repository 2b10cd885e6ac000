-- One row is one record that could not be decoded, wholly or in part, and was not understood later either.
--
-- topic, partition, offset  where it stood; `records` has its bytes
-- broker_at, ingested_at    Kafka's time, and when Custody took it
-- source                    the source that the topic is mapped to
-- error_kind, error         class of the error, and what was expected
-- value_bytes               size of the value; null for a tombstone
-- preview                   the first 200 bytes of the value, with everything replaced that a terminal would obey
SELECT
  r.topic,
  r."partition",
  r."offset",
  r.broker_at,
  r.ingested_at,
  r.source,
  r.error_kind,
  r.error,
  byte_length(r.value) AS value_bytes,
  printable(r.value, 200) AS preview
FROM records r
WHERE r.error_kind IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM events e
  WHERE e.kind = 'redecode' AND e.topic = r.topic AND e."partition" = r."partition" AND e."offset" = r."offset"
)
