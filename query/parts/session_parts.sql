-- One row is what the events of one day of ingestion say of one session.
--
-- Every column is an aggregate that may be taken again over several of its own values: over the days of a session it
-- gives what the events of all days give at once. What it says in words is said in `sessions`.
--
-- date, source, cluster, session_id
--                       the day, and the session; no cluster for Boundary, whose controllers and workers each tell a
--                       part of one session under their own names
-- said                  an event is among them that makes a session; those of the kind 'other' alone make none
-- start_*, end_*, inside_*, any_*
--                       the smallest text of the starts, of the ends, of what was done inside, of all
-- first_at, last_at     the first and the last of their times
-- seen_at               the last time by the source's clock, the upload left out
-- from_at, till_at      between these is every instant that a session could be said to begin, end or be seen at
-- event_ids, roles, remote_addr, mfa_device
--                       of the starts and ends
-- refused               each start failed; null where there is none
-- numbers               what the events are numbered within the session's stream, as spans
-- questions             events of databases and applications: what was asked there
WITH facts AS (
  SELECT
    date, source, kind, session_id, event_id, actor, actor_kind, actor_roles, login, target, target_kind, protocol,
    reason, participants, request_ids, correlation_id, recording_id, recorded, mfa_device, remote_addr, outcome,
    occurred_at, session_started_at, session_ended_at,
    CASE WHEN source <> 'boundary' THEN cluster END AS cluster,
    kind <> 'other' AS said,
    kind IN ('session.start', 'session.end') AS is_bound,
    -- When an object was imported says nothing of when it happened.
    coalesce(occurred_at, broker_at, CASE WHEN NOT starts_with(topic, 'import/') THEN ingested_at END) AS at,
    starts_with(topic, 'import/') AS imported,
    CASE WHEN kind = 'session.end' THEN strpos(detail, '"interactive":true') > 0 END AS interactive,
    CASE WHEN source = 'teleport' AND kind <> 'session.upload' THEN json_get_int(detail, 'ei') END AS number
  FROM events
  WHERE session_id IS NOT NULL
    AND kind IN (
      'session.start', 'session.end', 'session.join', 'session.leave', 'session.upload', 'session.activity', 'other'
    )
)
SELECT
  date,
  source,
  cluster,
  session_id,
  bool_or(said) AS said,
  min(actor) FILTER (WHERE kind = 'session.start') AS start_actor,
  min(actor) FILTER (WHERE kind = 'session.end') AS end_actor,
  min(actor) FILTER (WHERE kind = 'session.activity') AS inside_actor,
  min(actor_kind) FILTER (WHERE kind = 'session.start') AS start_actor_kind,
  min(actor_kind) FILTER (WHERE kind = 'session.end') AS end_actor_kind,
  min(actor_kind) FILTER (WHERE kind = 'session.activity') AS inside_actor_kind,
  min(login) FILTER (WHERE kind = 'session.start') AS start_login,
  min(login) FILTER (WHERE kind = 'session.end') AS end_login,
  min(login) FILTER (WHERE said) AS any_login,
  min(target) FILTER (WHERE kind = 'session.start') AS start_target,
  min(target) FILTER (WHERE kind = 'session.end') AS end_target,
  min(target) FILTER (WHERE said) AS any_target,
  min(target_kind) FILTER (WHERE kind = 'session.start') AS start_target_kind,
  min(target_kind) FILTER (WHERE kind = 'session.end') AS end_target_kind,
  min(target_kind) FILTER (WHERE said) AS any_target_kind,
  min(protocol) FILTER (WHERE kind = 'session.start') AS start_protocol,
  min(protocol) FILTER (WHERE kind = 'session.end') AS end_protocol,
  min(protocol) FILTER (WHERE said) AS any_protocol,
  min(reason) FILTER (WHERE kind = 'session.start') AS start_reason,
  min(reason) FILTER (WHERE said) AS any_reason,
  text_union(participants) FILTER (WHERE said) AS participants,
  text_union(actor) FILTER (WHERE said) AS actors,
  min(at) FILTER (WHERE kind = 'session.start') AS start_at,
  min(session_started_at) FILTER (WHERE said) AS stated_start_at,
  min(at) FILTER (WHERE said) AS first_at,
  max(at) FILTER (WHERE said) AS last_at,
  max(coalesce(session_ended_at, at)) FILTER (WHERE kind = 'session.end') AS end_at,
  max(at) FILTER (WHERE kind = 'session.upload') AS upload_at,
  max(occurred_at) FILTER (WHERE said AND kind <> 'session.upload') AS seen_at,
  min(least(at, session_started_at, session_ended_at)) AS from_at,
  max(greatest(at, session_started_at, session_ended_at)) AS till_at,
  bool_or(interactive) AS interactive,
  text_union(request_ids) FILTER (WHERE said) AS request_ids,
  text_union(correlation_id) FILTER (WHERE said) AS correlation_ids,
  text_union(recording_id) FILTER (WHERE said) AS recording_ids,
  bool_or(recorded) FILTER (WHERE said) AS recorded,
  bool_and(imported) FILTER (WHERE said) AS imported,
  text_union(event_id) FILTER (WHERE is_bound) AS event_ids,
  text_union(actor_roles) FILTER (WHERE is_bound) AS roles,
  min(remote_addr) FILTER (WHERE is_bound) AS remote_addr,
  min(mfa_device) FILTER (WHERE is_bound) AS mfa_device,
  bool_and(coalesce(outcome IN ('failure', 'deny'), false)) FILTER (WHERE kind = 'session.start') AS refused,
  spans(number, 1) FILTER (WHERE number BETWEEN 0 AND 2147483645) AS numbers,
  count(*) FILTER (WHERE kind = 'session.activity' AND target_kind IN ('database', 'app')) AS questions
FROM facts
GROUP BY date, source, cluster, session_id
