-- title = "User access review"
-- version = 1
-- question = "Who holds which role, and should they keep it?"
-- population = "Every role that a person held at the date of the report, and those that were taken away in the period"
-- controls = ["PCI 7.2.4", "SOC2 CC6.3", "ISO A.5.18", "NIST AC-2"]
--
-- [parameters.unused_days]
-- type = "integer"
-- default = 90
-- help = "A role that no session used for so many days is pointed out"
--
-- [columns]
-- key = "The person, the role, and how it is held: person/role/static or jit"
-- verdict = "information: to be decided; pass: taken away; na: the person is not known"
-- why = "What the reviewer should know, see the list of reasons"
-- subject = "The person, the same whatever system names them"
-- subject_kind = "Employee, vendor or machine, by the export of the identity provider"
-- team = "Team, by that export"
-- owner = "Who should decide: the person's manager, by that export"
-- role = "The role, as the gateway names it"
-- origin = "static: held without asking; jit: given by an approved access request"
-- is_privileged = "Whether the role is listed as privileged; empty where no roles are listed"
-- first_seen_at = "When the role was first seen in effect, or first approved"
-- last_seen_at = "When it was last seen in effect, or last approved"
-- last_used_at = "Start of the latest session with the role in effect, or under a request that gave it"
-- days_unused = "Whole days from then to the date of the report; 0 where it was used since"
-- expires_at = "End of the access, where it has one"
-- request_ids = "Requests that gave it"
-- terminated_at = "When the person left"
-- removed_at = "Latest login, at which the role was no longer there: proof that it was taken away"
-- decision = "For the reviewer: keep, remove or modify"
-- decided_by = "For the reviewer: who decided"
-- decided_at = "For the reviewer: when"
-- evidence = "Events that tell of the role first and last, and of its latest use"
--
-- [why]
-- left = "The person has left"
-- unknown_person = "The export of the identity provider does not know the person"
-- no_export = "There is no export of the identity provider: nobody knows who should decide"
-- never_used = "No session used the role"
-- unused = "No session used the role for long"
-- machine = "A machine's role: to be decided by whoever answers for the machine"
-- vendor = "Held by somebody from outside"
-- to_decide = "In use, by a person of the company"
-- removed = "Taken away in the period"
WITH people AS (
  SELECT
    person(person) AS person,
    max(kind) AS kind,
    max(team) AS team,
    max(manager) AS manager,
    CASE WHEN count(*) = count(terminated_at) THEN max(terminated_at) END AS terminated_at
  FROM identities
  GROUP BY person(person)
),
-- What was open at the date of the report, whatever was asked for since.
given AS (
  SELECT subject, role, max(ends_at) AS open_until, count(*) AS open_requests
  FROM role_grants
  WHERE approved_at < $as_of AND (ends_at IS NULL OR ends_at > $as_of)
  GROUP BY subject, role
),
held AS (
  SELECT
    e.*,
    o.open_until,
    p.name IS NOT NULL AS is_listed,
    row_number() OVER (PARTITION BY e.subject, e.role, e.origin) AS nth
  FROM entitlements e
  -- A few rules, whose `*` stands for any end. What several of them name is several equal rows, of which one is kept.
  LEFT JOIN privileged p
    ON p.kind = 'role'
    AND (e.role = p.name OR (ends_with(p.name, '*') AND starts_with(e.role, rtrim(p.name, '*'))))
  LEFT JOIN given o ON e.origin = 'jit' AND o.subject = e.subject AND o.role = e.role
  WHERE e.first_seen_at < $as_of
    -- Access that has ended is none, and what was taken away before the period was reviewed then.
    AND (e.origin = 'static' OR o.open_requests IS NOT NULL)
    AND (e.absent_since IS NULL OR e.absent_since >= $from)
),
judged AS (
  SELECT
    h.*,
    p.kind, p.team, p.manager, p.terminated_at,
    greatest((CAST($as_of AS BIGINT) - CAST(h.last_used_at AS BIGINT)) / 86400000000, 0) AS days_unused,
    CASE
      WHEN h.absent_since < $as_of THEN 'removed'
      WHEN (SELECT count(*) FROM identities) = 0 THEN 'no_export'
      WHEN p.person IS NULL THEN 'unknown_person'
      WHEN p.terminated_at <= $as_of THEN 'left'
      WHEN coalesce(h.first_used_at >= $as_of, true) THEN 'never_used'
      WHEN (CAST($as_of AS BIGINT) - CAST(h.last_used_at AS BIGINT)) / 86400000000 >= $unused_days THEN 'unused'
      WHEN p.kind = 'service' THEN 'machine'
      WHEN p.kind = 'vendor' THEN 'vendor'
      ELSE 'to_decide'
    END AS why
  FROM held h
  LEFT JOIN people p ON p.person = h.subject
  WHERE h.nth = 1
)
SELECT
  concat_ws('/', subject, role, origin) AS key,
  CASE why WHEN 'removed' THEN 'pass' WHEN 'unknown_person' THEN 'na' WHEN 'no_export' THEN 'na' ELSE 'information' END
    AS verdict,
  why,
  subject,
  coalesce(kind, subject_kind) AS subject_kind,
  team,
  manager AS owner,
  role,
  origin,
  CASE WHEN (SELECT count(*) FROM privileged WHERE kind = 'role') > 0 THEN is_listed END AS is_privileged,
  first_seen_at,
  last_seen_at,
  last_used_at,
  days_unused,
  open_until AS expires_at,
  request_ids,
  terminated_at,
  CASE WHEN why = 'removed' THEN absent_since END AS removed_at,
  CAST(NULL AS VARCHAR) AS decision,
  CAST(NULL AS VARCHAR) AS decided_by,
  CAST(NULL AS TIMESTAMP(6) WITH TIME ZONE) AS decided_at,
  evidence
FROM judged
ORDER BY owner, subject, role, origin, key
