-- One row is one source system's instance: whether it still sends, and whether what it sends can be the whole. Each source
-- has one row besides whose cluster is null, for what names no instance.
--
-- source, cluster       the instance
-- events                number of events, each delivery counted
-- last_ingested_at      when the newest of them was taken in; null where there are none
-- last_event_at         the latest time that the source itself gave
-- silent_s              seconds since the newest was taken in
-- duplicates            deliveries of facts that were there already
-- conflicting_ids       event ids under which the source told different things
-- audit_events          events that are audit events where a source sends others too (Boundary); else all of them
-- audit_off             the source tells of requests that it served and never of one in an audit event: its audit is
--                       switched off, or not sent
-- errors                records of the source that could not be decoded; in the row whose cluster is null, since what cannot
--                       be decoded names no instance
-- missing_bytes, missing_events
--                       of all its recordings that are here, see `recording_state`
-- recordings_missing    sessions whose recording was announced and is not here
WITH told AS (
  SELECT
    source,
    cluster,
    count(*) AS events,
    max(ingested_at) AS last_ingested_at,
    max(occurred_at) AS last_event_at,
    count(*) FILTER (
      WHERE source <> 'boundary'
        OR source_type NOT IN ('observation', 'system', 'error') AND NOT starts_with(source_type, 'bsr.')
    ) AS audit_events,
    count(*) FILTER (WHERE source = 'boundary' AND source_type = 'observation') AS observations
  FROM events
  WHERE source <> 'custody'
  GROUP BY source, cluster
),
repeated AS (
  SELECT
    source,
    cluster,
    sum(deliveries - 1) AS duplicates,
    count(DISTINCT CASE WHEN conflicting_id THEN event_id END) AS conflicting_ids
  FROM unique_events
  GROUP BY source, cluster
),
failed AS (
  SELECT source, count(*) AS errors FROM dead_letters GROUP BY source
),
recorded AS (
  SELECT
    source,
    cluster,
    sum(missing_bytes) AS missing_bytes,
    sum(missing_events) AS missing_events,
    count(*) FILTER (WHERE recording_state = 'missing') AS recordings_missing
  FROM recording_state
  GROUP BY source, cluster
),
-- Everything that has sent anything: also a source of which nothing could be decoded, or of which only recordings came.
every AS (
  SELECT source, cluster FROM told
  UNION
  SELECT source, cluster FROM recorded
  UNION
  SELECT source, CAST(NULL AS VARCHAR) FROM records WHERE source <> 'custody' GROUP BY source
)
SELECT
  e.source,
  e.cluster,
  coalesce(t.events, 0) AS events,
  t.last_ingested_at,
  t.last_event_at,
  CAST(date_part('epoch', now() - t.last_ingested_at) AS BIGINT) AS silent_s,
  coalesce(r.duplicates, 0) AS duplicates,
  coalesce(r.conflicting_ids, 0) AS conflicting_ids,
  coalesce(t.audit_events, 0) AS audit_events,
  coalesce(t.audit_events = 0 AND t.observations > 0, false) AS audit_off,
  CASE WHEN e.cluster IS NULL THEN coalesce(f.errors, 0) END AS errors,
  coalesce(m.missing_bytes, 0) AS missing_bytes,
  coalesce(m.missing_events, 0) AS missing_events,
  coalesce(m.recordings_missing, 0) AS recordings_missing
FROM every e
LEFT JOIN told t ON t.source = e.source AND t.cluster IS NOT DISTINCT FROM e.cluster
LEFT JOIN repeated r ON r.source = e.source AND r.cluster IS NOT DISTINCT FROM e.cluster
LEFT JOIN failed f ON f.source = e.source
LEFT JOIN recorded m ON m.source = e.source AND m.cluster IS NOT DISTINCT FROM e.cluster
