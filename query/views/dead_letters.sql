-- One row is one record that could not be decoded, wholly or in part.
--
-- topic, partition, offset  where it stood; `records` has its bytes
-- broker_at, ingested_at    Kafka's time, and when Custody took it
-- source                    the source that the topic is mapped to
-- error_kind, error         class of the error, and what was expected
-- value_bytes               size of the value; null for a tombstone
-- preview                   the first 200 bytes of the value, with everything replaced that a terminal would obey
SELECT
  topic,
  "partition",
  "offset",
  broker_at,
  ingested_at,
  source,
  error_kind,
  error,
  byte_length(value) AS value_bytes,
  printable(value, 200) AS preview
FROM records
WHERE error_kind IS NOT NULL
