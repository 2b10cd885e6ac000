-- One row is one finding that Custody raised without being asked, as it was told last: see [watch] in the configuration.
--
-- finding       its name, the same for ever: report/key
-- report, key   the report that found it (or `silent`: a source from which nothing comes), and the row of it
-- state         open | changed: something about it is another than when it was raised | closed: it is over
-- title         of the report
-- why, explanation
--               why, in the report's codes and in words
-- session_id, person
--               whom it is about, where it is about a session
-- handled       what somebody has said of it: explained | accepted | remediated | open again; see `exceptions`
-- raised_at     when it was raised first
-- told_at       when it was told last
-- told          how often
-- evidence      events that it rests on, 20 at most
-- event_id      the event that told of it last
WITH told AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY correlation_id ORDER BY "offset" DESC) AS age,
    count(*) OVER (PARTITION BY correlation_id) AS told
  FROM events
  WHERE source = 'custody' AND kind = 'finding'
)
SELECT
  correlation_id AS finding,
  detail ->> 'report' AS report,
  target AS key,
  detail ->> 'state' AS state,
  action AS title,
  json_get_json(detail, 'why') AS why,
  reason AS explanation,
  session_id,
  detail ->> 'person' AS person,
  detail ->> 'handled' AS handled,
  arrow_cast(detail ->> 'raised_at', 'Timestamp(Microsecond, Some("UTC"))') AS raised_at,
  occurred_at AS told_at,
  told,
  json_get_json(detail, 'evidence') AS evidence,
  event_id
FROM told
WHERE age = 1
