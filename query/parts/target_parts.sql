-- One row is what the recordings of one day of ingestion say of the names of one target.
--
-- date, target   the day, and the target
-- target_names   the target and its other names: Boundary's recordings tell those of a target and of its host
SELECT
  date,
  target,
  text_union(make_array(target, json_get_str(detail, 'Target', 'Name'), json_get_str(detail, 'StaticHost', 'Name')))
    AS target_names
FROM events
WHERE kind = 'session.activity' AND source_type = 'bsr.session-meta' AND target IS NOT NULL
GROUP BY date, target
