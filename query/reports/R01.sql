-- title = "Population of privileged sessions"
-- version = 1
-- question = "Which sessions were there, of whom, where, and under what?"
-- population = "Sessions that began in the period, or began before it and were not over when it began"
-- controls = ["SOC2 CC6.1", "SOC2 CC6.6", "ISO A.8.2", "HIPAA 164.312(b)", "PCI 10.2.1.2", "NIST AU-14"]
-- sessions = "period"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass: whole; information: it is running; warning: a part of the story is missing; na: nobody is named"
-- why = "What is missing"
-- source = "Gateway"
-- cluster = "Instance of the gateway"
-- session_id = "The gateway's id of the session"
-- person = "Who opened it, by the identity table"
-- person_kind = "human, vendor, service: by the identity table, else as the gateway says (human, bot, system)"
-- actor = "Who opened it, as the gateway names them"
-- login = "Account on the target"
-- target = "What it was opened to"
-- protocol = "How"
-- remote_addr = "Where the connection came from"
-- mfa_device = "Second factor of the session, where the gateway names one; empty says nothing about the login"
-- roles = "Roles in effect"
-- started_at = "When it began"
-- ended_at = "When it ended"
-- duration_s = "Seconds from start to end"
-- state = "ended, running (a start and no end), unknown (neither)"
-- last_seen_at = "Its last trace"
-- link_methods = "How it is linked to requests and decisions"
-- request_ids = "Access requests that it is linked to"
-- decision_ids = "Policy decisions that it is linked to"
-- recording = "recorded (here), announced (said to be stored elsewhere), none: R14 judges it"
-- evidence = "Events of the session, its requests and decisions"
--
-- [why]
-- running = "It has begun and not ended"
-- no_start_no_end = "Events name it, and neither its start nor its end was received"
-- no_end = "It is over, and no end of it was received"
-- no_person = "No event says who opened it"
-- out_of_scope = "Neither its target nor its roles are listed as privileged"
-- refused = "The gateway let nobody in"
WITH judged AS (
  SELECT
    s.*,
    coalesce(p.kind, s.actor_kind) AS person_kind,
    CASE
      WHEN s.refused THEN 'refused'
      WHEN NOT s.in_scope THEN 'out_of_scope'
      WHEN s.person IS NULL THEN 'no_person'
      WHEN s.ended_at IS NOT NULL THEN NULL
      WHEN s.state = 'running' THEN 'running'
      WHEN s.state = 'unknown' THEN 'no_start_no_end'
      ELSE 'no_end'
    END AS why
  FROM session_approval s
  LEFT JOIN identities p ON p.person = s.person
  WHERE s.started_at < $to
    -- A session without an end lasts as long as there are traces of it, or until now if it is running.
    AND (
      s.started_at >= $from
      OR coalesce(s.ended_at, CASE WHEN s.state = 'running' THEN $as_of END, s.last_seen_at) > $from
    )
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('refused', 'out_of_scope') THEN 'excluded'
    WHEN why = 'no_person' THEN 'na'
    WHEN why = 'running' THEN 'information'
    ELSE 'warning'
  END AS verdict,
  why,
  source, cluster, session_id, person, person_kind, actor, login, target, protocol, remote_addr, mfa_device, roles,
  started_at, ended_at,
  (CAST(ended_at AS BIGINT) - CAST(started_at AS BIGINT)) / 1000000.0 AS duration_s,
  state, last_seen_at, link_methods, request_ids, decision_ids, recording,
  evidence
FROM judged
ORDER BY started_at, key
