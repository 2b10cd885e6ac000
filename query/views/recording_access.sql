-- One row is one watching of the recording of one session, or one attempt at it: who, whose session, when. One that was
-- delivered twice is one row; so is one of which Boundary tells in two parts, the asking and the answer.
--
-- source, cluster, event_id  the fact
-- at                  when, by the gateway's clock
-- viewer              who watched, by the identity table
-- viewer_kind         human | bot | system, where the gateway says so
-- viewer_roles        roles of the viewer in effect
-- verb                what was done with it, in the gateway's words
-- outcome             how it ended, where the gateway says so
-- reason, ticket      why, where the gateway asks for that
-- remote_addr         address of the viewer
-- session_id          the session that was recorded: as told, else the one that has the recording
-- recording_id        the recording, where the gateway names it by an id of its own
-- session_person, participants
--                     whose session it was, and everyone who was in it, by the identity table; null where the session
--                     is not known. Where several sessions claim one recording, its watching is a row of each
-- target, session_started_at
--                     of that session
-- claim               1, unless several sessions claim the recording: the session that has the name, then the one that began
--                     first, is the first
-- own_session         the viewer was in the session that they watched; null where that cannot be told
-- evidence            the events that tell of it
WITH parts AS (
  SELECT
    *,
    coalesce(occurred_at, broker_at, ingested_at) AS at,
    -- The number of the request, which both its parts have.
    CASE WHEN source = 'boundary' THEN coalesce(source_code, event_id) ELSE event_id END AS asking,
    -- Another content under the same id is another watching: nobody hides one behind the id of another.
    CASE WHEN source <> 'boundary' THEN concat_ws(' ', actor, session_id) END AS told
  FROM events
  WHERE kind = 'recording.access'
),
watched AS (
  SELECT
    source,
    cluster,
    min(event_id) AS event_id,
    min(at) AS at,
    min(actor) AS actor,
    min(actor_kind) AS actor_kind,
    text_union(actor_roles) AS actor_roles,
    min(coalesce(action, source_type)) AS verb,
    min(outcome) AS outcome,
    min(reason) AS reason,
    min(ticket) AS ticket,
    min(remote_addr) AS remote_addr,
    min(session_id) AS session_id,
    min(recording_id) AS recording_id,
    text_union(event_id) AS evidence
  FROM parts
  GROUP BY source, cluster, asking, told
),
-- Sessions are few beside events. Each goes by its id, and by the ids of its recordings.
names AS (
  SELECT source, session_id AS name, session_id, person, participants, target, started_at FROM sessions
  UNION ALL
  SELECT source, unnest(recording_ids), session_id, person, participants, target, started_at
  FROM sessions
  WHERE recording_ids IS NOT NULL
),
-- A name that two clusters use is both's: whoever was in either was in it.
named AS (
  SELECT
    source,
    name,
    session_id,
    min(person) AS person,
    text_union(person) AS persons,
    text_union(participants) AS participants,
    min(target) AS target,
    min(started_at) AS started_at
  FROM names
  GROUP BY source, name, session_id
)
SELECT
  w.source,
  w.cluster,
  w.event_id,
  w.at,
  person(w.actor) AS viewer,
  w.actor_kind AS viewer_kind,
  w.actor_roles AS viewer_roles,
  w.verb,
  w.outcome,
  w.reason,
  w.ticket,
  w.remote_addr,
  coalesce(n.session_id, w.session_id) AS session_id,
  w.recording_id,
  n.person AS session_person,
  person(n.participants) AS participants,
  n.target,
  n.started_at AS session_started_at,
  row_number() OVER (
    PARTITION BY w.source, w.cluster, w.event_id, w.actor, w.session_id, w.recording_id
    ORDER BY n.session_id <> n.name, n.started_at, n.session_id
  ) AS claim,
  array_has(text_set(make_array(n.persons, person(n.participants))), person(w.actor)) AS own_session,
  w.evidence
FROM watched w
LEFT JOIN named n ON n.source = w.source AND n.name = coalesce(w.session_id, w.recording_id)
