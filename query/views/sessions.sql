-- One row is one session of a person at a gateway, by its audit events, its recording, or both.
--
-- Everything is an aggregate over sets: duplicates, late facts and any order of arrival give the same row. Where events
-- disagree, the start's word goes before the end's, and that before all others'; among equals the smaller text.
--
-- key               source/session id, the same in every report; where two clusters have the id, the cluster stands between
-- source, cluster   the gateway; null for Boundary, whose hosts share their sessions. A recording whose shipper drops the cluster belongs to the session with its id
-- session_id        the gateway's id of the session
-- actor, actor_kind who opened it: of the start, else of the end, else of what was done inside
-- person            the actor by the identity table, the same whatever system names them
-- participants      everyone who was in it, whoever the events name: a second start under the same id adds its actor
-- login             account on the target
-- target, target_kind, protocol
--                   what it was opened to, and how
-- reason            the reason given for the session itself (not the access request's): with the start, else later
-- started_at        the start's own time, else the beginning that the end states, else the first trace of the session
-- ended_at          the end that the gateway states; else, when the recording is said to be complete, the last trace
-- duration_ms       from started_at to ended_at
-- state             ended (also when all that is known of it was imported) | running (a start and no end) | unknown (neither)
-- interactive       the gateway says whether it had a terminal
-- request_ids       every access request that its events carry
-- correlation_ids   ids that callers gave their requests at the gateway
-- recording_ids     the gateway's ids of its recordings
-- evidence          the events of its start and its end
-- recorded          the gateway says whether it records the session
-- uploaded          the gateway says that the recording is stored
-- recording         recorded (what was shown or typed is here) | announced (stored somewhere, not here) | none. The size of a
--                   terminal that an audit event tells is no recording
-- frames, output_bytes, first_frame_at, last_frame_at
--                   the recording, see `recordings`
WITH said AS (
  SELECT
    source,
    cluster,
    session_id,
    coalesce(min(start_actor), min(end_actor), min(inside_actor)) AS actor,
    coalesce(min(start_actor_kind), min(end_actor_kind), min(inside_actor_kind)) AS actor_kind,
    text_set(make_array(text_union(participants), text_union(actors))) AS participants,
    coalesce(min(start_login), min(end_login), min(any_login)) AS login,
    coalesce(min(start_target), min(end_target), min(any_target)) AS target,
    coalesce(min(start_target_kind), min(end_target_kind), min(any_target_kind)) AS target_kind,
    coalesce(min(start_protocol), min(end_protocol), min(any_protocol)) AS protocol,
    coalesce(min(start_reason), min(any_reason)) AS reason,
    min(start_at) AS start_at,
    min(stated_start_at) AS stated_start_at,
    min(first_at) AS first_at,
    max(end_at) AS end_at,
    max(upload_at) AS upload_at,
    bool_or(interactive) AS interactive,
    text_union(request_ids) AS request_ids,
    text_union(correlation_ids) AS correlation_ids,
    text_union(recording_ids) AS recording_ids,
    bool_or(recorded) AS recorded,
    bool_and(imported) AS imported,
    text_union(event_ids) AS evidence,
    CAST(NULL AS BIGINT) AS frames,
    CAST(NULL AS BIGINT) AS output_bytes,
    min(first_at) FILTER (WHERE false) AS first_frame_at,
    max(first_at) FILTER (WHERE false) AS last_frame_at,
    CAST(NULL AS BOOLEAN) AS has_header,
    CAST(NULL AS BOOLEAN) AS has_input,
    CAST(NULL AS BOOLEAN) AS has_end
  FROM session_parts
  WHERE said
  GROUP BY source, cluster, session_id
),
both AS (
  SELECT * FROM said
  UNION ALL
  SELECT
    source, cluster, session_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    frames, output_bytes, first_at AS first_frame_at, last_at AS last_frame_at, has_header, has_input, has_end
  FROM recordings
),
placed AS (
  SELECT
    *,
    coalesce(cluster, max(cluster) OVER of_id) AS place,
    min(cluster) OVER of_id <> max(cluster) OVER of_id AS is_shared
  FROM both
  WINDOW of_id AS (PARTITION BY source, session_id)
),
whole AS (
  SELECT
    source,
    place AS cluster,
    session_id,
    coalesce(bool_or(is_shared), false) AS is_shared,
    max(actor) AS actor,
    max(actor_kind) AS actor_kind,
    text_union(participants) AS participants,
    max(login) AS login,
    max(target) AS target,
    max(target_kind) AS target_kind,
    max(protocol) AS protocol,
    max(reason) AS reason,
    coalesce(min(start_at), min(stated_start_at), min(first_at), min(first_frame_at)) AS started_at,
    CASE
      WHEN max(end_at) IS NOT NULL THEN max(end_at)
      WHEN bool_or(has_end) THEN max(last_frame_at)
      WHEN max(upload_at) IS NOT NULL THEN coalesce(max(last_frame_at), max(upload_at))
    END AS ended_at,
    min(start_at) IS NOT NULL OR coalesce(bool_or(has_header), false) AS has_start,
    coalesce(bool_and(imported), false) AS imported,
    bool_or(interactive) AS interactive,
    text_union(request_ids) AS request_ids,
    text_union(correlation_ids) AS correlation_ids,
    text_union(recording_ids) AS recording_ids,
    bool_or(recorded) AS recorded,
    max(upload_at) IS NOT NULL AS uploaded,
    text_union(evidence) AS evidence,
    coalesce(sum(output_bytes), 0) > 0 OR coalesce(bool_or(has_input), false) AS is_recorded,
    coalesce(sum(frames), 0) AS frames,
    coalesce(sum(output_bytes), 0) AS output_bytes,
    min(first_frame_at) AS first_frame_at,
    max(last_frame_at) AS last_frame_at
  FROM placed
  GROUP BY source, place, session_id
)
SELECT
  CASE WHEN is_shared THEN concat_ws('/', source, cluster, session_id) ELSE concat_ws('/', source, session_id) END AS key,
  source,
  cluster,
  session_id,
  actor,
  actor_kind,
  person(actor) AS person,
  participants,
  login,
  target,
  target_kind,
  protocol,
  reason,
  started_at,
  ended_at,
  (CAST(ended_at AS BIGINT) - CAST(started_at AS BIGINT)) / 1000 AS duration_ms,
  CASE WHEN ended_at IS NOT NULL OR imported THEN 'ended' WHEN has_start THEN 'running' ELSE 'unknown' END AS state,
  interactive,
  request_ids,
  correlation_ids,
  recording_ids,
  recorded,
  uploaded,
  CASE WHEN is_recorded THEN 'recorded' WHEN uploaded THEN 'announced' ELSE 'none' END AS recording,
  frames,
  output_bytes,
  first_frame_at,
  last_frame_at,
  evidence
FROM whole
