-- One row is one partition of a topic: how much of it the ledger holds.
--
-- topic, partition          the partition
-- first_offset, last_offset smallest and largest offset that is kept
-- records                   number of rows
-- offsets                   number of different offsets: always equal to records, or something is in twice
-- missing                   offsets between first and last that are not there. Not by itself a loss: Kafka's
--                           transaction markers and compaction leave holes as well
-- errors                    records that could not be decoded
-- last_ingested_at          when the newest of them was taken from Kafka
SELECT
  topic,
  "partition",
  min("offset") AS first_offset,
  max("offset") AS last_offset,
  count(*) AS records,
  count(DISTINCT "offset") AS offsets,
  max("offset") - min("offset") + 1 - count(DISTINCT "offset") AS missing,
  count(error_kind) AS errors,
  max(ingested_at) AS last_ingested_at
FROM records
GROUP BY topic, "partition"
