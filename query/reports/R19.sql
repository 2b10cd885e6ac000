-- title = "Access of people who have left"
-- version = 1
-- question = "Did anybody use their access after they had left?"
-- population = "Sessions that began in the period, decisions on access requests, and each day on which a person used their account otherwise: logged in, got a credential, asked for access, was allowed something by a policy (people of the export alone), or watched a recording"
-- controls = ["SOC2 CC6.2", "PCI 8.2.5", "HIPAA 164.308(a)(3)(ii)(C)", "ISO A.5.18"]
-- sessions = "period"
--
-- [parameters.grace_s]
-- type = "integer"
-- default = 0
-- help = "Seconds after the person left within which use still counts as before"
--
-- [parameters.accounts]
-- type = "boolean"
-- default = false
-- help = "A login, a credential or a request after the person left is an exception too, even where nothing was reached with it"
--
-- [columns]
-- key = "The session, the decision's event, or person, day and sort of use"
-- verdict = "pass, exception, warning, information or na"
-- why = "Code of the reason, see the list of reasons"
-- person = "Whose access it was, the same whatever system names them"
-- person_kind = "Employee, vendor or machine, by the export of the identity provider"
-- terminated_at = "When the person left, by that export"
-- what = "What was done: session, decision on a request, login, credential.issue, request.create, policy.decision, recording.access"
-- source = "The system that tells of it"
-- session_id = "The session, where it is one"
-- target = "What it was done to, where that is told"
-- first_at = "When it happened; of a day, the first time"
-- last_at = "When it ended, or the last time of the day"
-- days_after = "Days from leaving to the last time; negative before"
-- evidence = "Events of the use: of a day, the first and the last"
--
-- [why]
-- session_after_leaving = "The session began after the person had left"
-- went_on = "The session began before the person left, and went on after"
-- decision_after_leaving = "The person decided on an access request after leaving"
-- allowed_after_leaving = "A policy allowed something to the person after they had left"
-- watched_after_leaving = "The person watched a recording after leaving"
-- account_in_use = "The account was used or asked for after the person had left; what was reached with it are the sessions"
-- no_end = "The session began before the person left, and nothing tells when it ended"
-- unknown_person = "The export of the identity provider does not know the person"
-- no_export = "There is no export of the identity provider to compare with"
-- no_person = "Nothing says who it was"
WITH uses AS (
  SELECT
    key,
    'session' AS what,
    source, person, session_id, target,
    started_at AS first_at,
    coalesce(ended_at, CASE WHEN state = 'running' THEN CAST($as_of AS TIMESTAMP(6) WITH TIME ZONE) END) AS last_at,
    evidence
  FROM sessions
  WHERE started_at >= $from AND started_at < $to
  UNION ALL
  SELECT
    CASE
      WHEN kind IN ('request.review', 'request.update') THEN concat_ws('/', event_id, decider)
      ELSE concat_ws('/', source, coalesce(decider, '?'), CAST(CAST(at AS DATE) AS VARCHAR), kind)
    END,
    CASE WHEN kind IN ('request.review', 'request.update') THEN 'decision on a request' ELSE kind END AS what,
    source, decider, NULL,
    min(target), min(at), max(at),
    text_set(make_array(
      make_array(first_value(event_id ORDER BY at, event_id)), make_array(last_value(event_id ORDER BY at, event_id))
    ))
  FROM (
    SELECT
      kind, source, event_id, target,
      coalesce(occurred_at, broker_at, ingested_at) AS at,
      person(CASE WHEN kind = 'request.update' THEN coalesce(delegator, actor) ELSE actor END) AS decider
    FROM events
    WHERE kind IN ('request.review', 'request.update', 'request.create', 'login', 'credential.issue', 'policy.decision',
        'recording.access')
      -- What was refused was no use of an access.
      AND coalesce(outcome, 'success') IN ('success', 'allow')
      -- Policies decide on machines and on customers too, of whom no export tells.
      AND (kind <> 'policy.decision' OR person(actor) IN (SELECT person(person) FROM identities))
  )
  WHERE at >= $from AND at < $to
  GROUP BY 1, 2, source, decider
),
people AS (
  SELECT
    person(person) AS person,
    max(kind) AS kind,
    -- Who is there twice, by two names, has left when both have.
    CASE WHEN count(*) = count(terminated_at) THEN max(terminated_at) END AS terminated_at
  FROM identities
  GROUP BY person(person)
),
judged AS (
  SELECT
    u.key, u.what, u.source, u.person, u.session_id, u.target, u.first_at, u.last_at,
    u.evidence,
    p.kind AS person_kind,
    p.terminated_at,
    CASE
      WHEN (SELECT count(*) FROM identities) = 0 THEN 'no_export'
      WHEN u.person IS NULL THEN 'no_person'
      WHEN p.person IS NULL THEN 'unknown_person'
      WHEN p.terminated_at IS NULL OR p.terminated_at > $as_of THEN NULL
      WHEN CAST(u.last_at AS BIGINT) <= CAST(p.terminated_at AS BIGINT) + $grace_s * 1000000 THEN NULL
      WHEN u.what = 'session' AND u.last_at IS NULL AND CAST(u.first_at AS BIGINT) <= CAST(p.terminated_at AS BIGINT)
        THEN 'no_end'
      WHEN u.what = 'session' AND CAST(u.first_at AS BIGINT) <= CAST(p.terminated_at AS BIGINT) + $grace_s * 1000000
        THEN 'went_on'
      WHEN u.what = 'session' THEN 'session_after_leaving'
      WHEN u.what = 'decision on a request' THEN 'decision_after_leaving'
      WHEN u.what = 'policy.decision' THEN 'allowed_after_leaving'
      WHEN u.what = 'recording.access' THEN 'watched_after_leaving'
      ELSE 'account_in_use'
    END AS why
  FROM uses u
  LEFT JOIN people p ON p.person = u.person
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('session_after_leaving', 'decision_after_leaving', 'allowed_after_leaving', 'watched_after_leaving')
      THEN 'exception'
    WHEN why = 'went_on' THEN 'warning'
    WHEN why = 'account_in_use' THEN CASE WHEN CAST($accounts AS BOOLEAN) THEN 'exception' ELSE 'information' END
    ELSE 'na'
  END AS verdict,
  why,
  person,
  person_kind,
  terminated_at,
  what,
  source,
  session_id,
  target,
  first_at,
  last_at,
  (CAST(coalesce(last_at, first_at) AS BIGINT) - CAST(terminated_at AS BIGINT)) / 86400000000.0 AS days_after,
  evidence
FROM judged
ORDER BY person, first_at, key
