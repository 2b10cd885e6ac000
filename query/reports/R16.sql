-- title = "Who watched which recording"
-- version = 1
-- question = "Who watched which recordings, and did anybody watch their own or without a reason?"
-- population = "Every watching of a recording in the period, and every attempt: at the gateways and through Custody"
-- controls = ["PCI 10.2.1.3", "ISO A.8.15", "SOC2 CC6.1", "NIST AU-12"]
--
-- [parameters.reason_required]
-- type = "boolean"
-- default = false
-- help = "A watching without a reason or ticket is an exception. Teleport and Boundary have no place for a reason and never tell one"
--
-- [columns]
-- key = "The watching: its event, or time, person, verb and object of Custody's own record"
-- verdict = "pass, exception, information or na"
-- why = "Code of the reason, see the list of reasons"
-- at = "When it was watched"
-- viewer = "Who watched, the same whatever system names them"
-- viewer_kind = "Person or machine, by the export of the identity provider, else by the gateway"
-- viewer_roles = "Roles of the viewer in effect"
-- place = "The gateway's system, or custody"
-- verb = "What was done with the recording, in the words of whoever tells it"
-- outcome = "How it ended, where that is told"
-- reason = "Why it was watched, where that is told"
-- ticket = "Ticket of the watching, where that is told"
-- session_id = "The session that was recorded"
-- session_person = "Whose session it was"
-- participants = "Everyone who was in that session"
-- target = "What that session was opened to"
-- session_started_at = "When that session began"
-- own_session = "Whether the viewer was in it"
-- remote_addr = "Address of the viewer"
-- evidence = "Events that tell of the watching"
--
-- [why]
-- own_session = "The viewer was in the session that they watched"
-- no_reason = "A reason is required, and none was given"
-- refused = "The attempt was refused or failed: nothing was seen"
-- unknown_session = "The recording belongs to no session in the ledger, so that nobody can tell whose it is"
-- unknown_viewer = "Nothing says who watched"
WITH watched AS (
  SELECT
    -- The event's id, with more where several different facts came under one id. It stays what it is when another
    -- session claims the recording later: that one's row has another.
    CASE
      WHEN count(*) FILTER (WHERE claim = 1) OVER (PARTITION BY event_id) > 1
        THEN concat_ws('/', event_id, viewer, session_id)
      WHEN claim = 1 THEN event_id
      ELSE concat_ws('/', event_id, session_id)
    END AS key,
    at, viewer, viewer_kind, viewer_roles, source AS place, verb, outcome, reason, ticket, session_id, session_person,
    participants, target, session_started_at, own_session, remote_addr, evidence
  FROM recording_access
  WHERE at >= $from AND at < $to
  UNION ALL
  -- What was replayed or exported by Custody itself. One id is one session, or it is not known which.
  SELECT
    concat_ws('/', 'custody', CAST(a.at AS VARCHAR), a.actor, a.verb, a.object),
    a.at, person(a.actor), NULL, NULL, 'custody', a.verb, min(a.outcome), min(a.reason), NULL, a.object,
    CASE WHEN count(DISTINCT s.source) = 1 THEN min(s.person) END,
    text_union(person(s.participants)),
    CASE WHEN count(DISTINCT s.source) = 1 THEN min(s.target) END,
    CASE WHEN count(DISTINCT s.source) = 1 THEN min(s.started_at) END,
    bool_or(s.person = person(a.actor) OR coalesce(array_has(person(s.participants), person(a.actor)), false)),
    NULL, NULL
  FROM custody_activity a
  LEFT JOIN sessions s ON s.session_id = a.object
  WHERE a.verb IN ('replay', 'export') AND a.at >= $from AND a.at < $to
  GROUP BY a.at, a.actor, a.verb, a.object
),
judged AS (
  SELECT
    w.*,
    i.kind AS person_kind,
    CASE
      WHEN w.outcome IN ('failure', 'deny', 'refused', 'failed') THEN 'refused'
      WHEN w.viewer IS NULL THEN 'unknown_viewer'
      WHEN w.own_session THEN 'own_session'
      WHEN $reason_required AND w.reason IS NULL AND w.ticket IS NULL THEN 'no_reason'
      WHEN w.own_session IS NULL THEN 'unknown_session'
    END AS why
  FROM watched w
  LEFT JOIN (SELECT person(person) AS person, max(kind) AS kind FROM identities GROUP BY person(person)) i
    ON i.person = w.viewer
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('own_session', 'no_reason') THEN 'exception'
    WHEN why = 'refused' THEN 'information'
    ELSE 'na'
  END AS verdict,
  why,
  at,
  viewer,
  coalesce(person_kind, viewer_kind) AS viewer_kind,
  viewer_roles,
  place,
  verb,
  outcome,
  reason,
  ticket,
  session_id,
  session_person,
  participants,
  target,
  session_started_at,
  own_session,
  remote_addr,
  evidence
FROM judged
ORDER BY at, key
