-- title = "Completeness of collection"
-- version = 1
-- question = "Is everything here that the sources sent, and did it come in time?"
-- population = "Each partition of a Kafka topic on each day on which messages were taken in, and each loss that was found"
-- controls = ["SOC2 CC2.1", "SOC2 CC7.2", "PCI 10.7.2", "NIST AU-5", "NIST AU-12"]
--
-- [parameters.lag_max_s]
-- type = "integer"
-- default = 3600
-- help = "Seconds from Kafka to the ledger that a message may take"
--
-- [parameters.skew_max_s]
-- type = "integer"
-- default = 300
-- help = "Seconds that a source's clock may be ahead of Kafka's"
--
-- [columns]
-- key = "Topic, partition and day; or the event of the loss"
-- verdict = "pass, exception, warning or information"
-- why = "Code of the reason, see the list of reasons"
-- topic = "The topic"
-- partition = "The partition"
-- date = "The UTC day on which the messages were taken in, or on which the loss was found"
-- source = "The source that the topic is mapped to"
-- first_offset = "Smallest offset of the day; of a loss, the first that is lost"
-- last_offset = "Largest offset of the day; of a loss, the last that is lost"
-- records = "Messages that are here"
-- expected = "Offsets from the first to the last"
-- missing = "Offsets between the first and the last of the day that are not here"
-- missing_before = "Offsets between the messages before this day and its first that are not here"
-- errors = "Messages that could not be decoded, wholly or in part; they are kept as they came"
-- max_lag_s = "Longest time from Kafka to the ledger"
-- skew_p50_s = "Of the source's events of the day: the time from the source's clock to Kafka's, middle"
-- skew_p95_s = "The same, of which 95 of 100 are not more"
-- skew_max_s = "The same, longest"
-- skew_min_s = "The same, shortest: negative where the source's clock is ahead"
-- evidence = "Of a loss, its event; messages have no events"
--
-- [why]
-- lost = "Messages were gone from Kafka before they were read"
-- twice = "More messages than offsets: something is in twice"
-- holes = "Offsets are not here. Transactions and compaction leave such holes as well: by itself this is no loss"
-- undecodable = "Messages could not be decoded; they are here as they came, and have no or not all events"
-- late = "Messages came into the ledger later than they may"
-- clock_ahead = "The source's clock is ahead of Kafka's by more than it may"
WITH days AS (
  -- Each message is read once, and nothing is counted that would have to be remembered. Those before the period are read
  -- too: a hole may be between them and its first.
  SELECT
    topic,
    "partition",
    date,
    ingested_at >= $from AS is_inside,
    min(source) AS source,
    min("offset") AS first_offset,
    max("offset") AS last_offset,
    count(*) AS records,
    count(error_kind) AS errors,
    max(CAST(ingested_at AS BIGINT) - CAST(broker_at AS BIGINT)) / 1000000 AS max_lag_s
  FROM records
  WHERE ingested_at < $to AND date <= CAST($to AS DATE)
    -- Objects at rest have no partition; each has its own check of whether it is whole.
    AND NOT starts_with(topic, 'import/')
  GROUP BY topic, "partition", date, ingested_at >= $from
),
followed AS (
  SELECT *, max(last_offset) OVER before AS before_offset
  FROM days
  WINDOW before AS (
    PARTITION BY topic, "partition" ORDER BY date, is_inside ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  )
),
-- Percentiles that do not depend on the order of reading: how many events there are of each whole second of skew.
seconds AS (
  SELECT source, date, skew_s, count(*) AS events
  FROM (
    SELECT source, date, (CAST(broker_at AS BIGINT) - CAST(occurred_at AS BIGINT)) / 1000000 AS skew_s
    FROM events
    WHERE ingested_at >= $from AND ingested_at < $to
      AND date >= CAST($from AS DATE) AND date <= CAST($to AS DATE)
      AND broker_at IS NOT NULL AND occurred_at IS NOT NULL
  )
  GROUP BY source, date, skew_s
),
skews AS (
  SELECT
    source,
    date,
    min(skew_s) FILTER (WHERE reached >= 0.50 * total) AS skew_p50_s,
    min(skew_s) FILTER (WHERE reached >= 0.95 * total) AS skew_p95_s,
    max(skew_s) AS skew_max_s,
    min(skew_s) AS skew_min_s
  FROM (
    SELECT
      source, date, skew_s,
      sum(events) OVER (PARTITION BY source, date ORDER BY skew_s) AS reached,
      sum(events) OVER (PARTITION BY source, date) AS total
    FROM seconds
  )
  GROUP BY source, date
),
items AS (
  SELECT
    concat_ws('/', f.topic, CAST(f."partition" AS VARCHAR), CAST(f.date AS VARCHAR)) AS key,
    f.topic, f."partition", f.date, f.source, f.first_offset, f.last_offset, f.records,
    f.last_offset - f.first_offset + 1 AS expected,
    greatest(f.last_offset - f.first_offset + 1 - f.records, 0) AS missing,
    greatest(f.first_offset - f.before_offset - 1, 0) AS missing_before,
    f.errors, f.max_lag_s, s.skew_p50_s, s.skew_p95_s, s.skew_max_s, s.skew_min_s,
    arrow_cast(NULL, 'List(Utf8)') AS evidence,
    CASE
      WHEN f.records > f.last_offset - f.first_offset + 1 THEN 'twice'
      WHEN f.records < f.last_offset - f.first_offset + 1 OR f.first_offset > f.before_offset + 1 THEN 'holes'
      WHEN f.errors > 0 THEN 'undecodable'
      WHEN f.max_lag_s > $lag_max_s THEN 'late'
      WHEN s.skew_min_s < -CAST($skew_max_s AS BIGINT) THEN 'clock_ahead'
    END AS why
  FROM followed f
  LEFT JOIN skews s ON s.source = f.source AND s.date = f.date
  WHERE f.is_inside
  UNION ALL
  SELECT
    event_id, min(topic), min("partition"), min(date), 'custody', min(first_lost), max(first_left) - 1,
    0, max(first_left) - min(first_lost), max(first_left) - min(first_lost), NULL,
    0, NULL, NULL, NULL, NULL, NULL,
    make_array(event_id),
    'lost'
  FROM (
    SELECT
      event_id,
      json_get_str(detail, 'topic') AS topic,
      json_get_int(detail, 'partition') AS "partition",
      json_get_int(detail, 'first_lost') AS first_lost,
      json_get_int(detail, 'first_left') AS first_left,
      CAST(coalesce(occurred_at, broker_at, ingested_at) AS DATE) AS date,
      coalesce(occurred_at, broker_at, ingested_at) AS at
    FROM events
    WHERE kind = 'loss'
  )
  WHERE at >= $from AND at < $to
  GROUP BY event_id
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('lost', 'twice') THEN 'exception'
    ELSE 'warning'
  END AS verdict,
  why,
  topic,
  "partition",
  date,
  source,
  first_offset,
  last_offset,
  records,
  expected,
  missing,
  missing_before,
  errors,
  max_lag_s,
  skew_p50_s,
  skew_p95_s,
  skew_max_s,
  skew_min_s,
  evidence
FROM items
ORDER BY topic, "partition", date, key
