-- One row is one step in the life of an exception that a report found. Steps are only ever added; `latest` is the one that
-- counts.
--
-- report, key  the report, and the row of it, by its `key`
-- state        open | explained | accepted | remediated
-- note         why, in the words of whoever took the step
-- by, at       who took it, and when
-- latest       no step came after it
-- activity_id  the entry of `activity`
WITH steps AS (
  SELECT
    object AS report,
    detail ->> 'key' AS key,
    detail ->> 'state' AS state,
    reason AS note,
    actor AS "by",
    at,
    activity_id
  FROM activity
  WHERE verb = 'exception' AND outcome = 'done'
)
SELECT
  report,
  key,
  state,
  note,
  "by",
  at,
  row_number() OVER (PARTITION BY report, key ORDER BY at DESC, activity_id DESC) = 1 AS latest,
  activity_id
FROM steps
