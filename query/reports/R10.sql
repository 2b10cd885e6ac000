-- title = "Standing privileged access"
-- version = 1
-- question = "Who holds privileged roles without having to ask for them?"
-- population = "Every role that a person was seen to hold at a gateway before the end of the period"
-- controls = ["SOC2 CC6.3", "ISO A.5.18", "ISO A.8.2", "NIST AC-6", "PCI 7.2.4"]
--
-- [parameters.long_days]
-- type = "integer"
-- default = 30
-- help = "A role given by a request for longer than this many days from the date of the report counts as standing"
--
-- [columns]
-- key = "The person, the role, and how it is held: person/role/static or jit"
-- verdict = "pass, exception, information or excluded"
-- why = "Code of the reason, see the list of reasons"
-- subject = "The person, the same whatever system names them"
-- role = "The role, as the gateway names it"
-- origin = "static: held without asking; jit: given by an approved access request"
-- granted_at = "First change of the person's account, as far as it is in the ledger, that names the role"
-- granted_by = "Who made that change"
-- first_seen_at = "When the role was first seen in effect, or first approved"
-- last_seen_at = "When it was last seen in effect, or last approved"
-- last_used_at = "Start of the latest session with the role in effect, or under a request that gave it"
-- used_without_request_at = "Start of the latest session with the role in effect that carries no access request"
-- days_unused = "Whole days from that latest session to the date of the report; 0 where it was used since"
-- expires_at = "End of the access that was open at the date of the report, where it has one"
-- owner = "Manager of the person, by the export of the identity provider"
-- evidence = "Events that tell of the role first and last, and of its latest use"
--
-- [why]
-- standing_privileged = "The role is listed as privileged, and the person holds it without asking"
-- used_without_request = "No roles are listed as privileged; with this one in effect the person had sessions that carry no access request"
-- long_jit = "The role was asked for, but for so long that it is as good as standing"
-- also_held_by_others = "In effect in sessions without a request, but others with it always came with a request: it is likely not what opened the door"
-- machine = "A machine's own role: held without asking by design, to be reviewed with its owner"
-- taken_away = "Held without asking before; a later login no longer names it"
-- not_open = "No approved request for the role was open at the date of the report"
-- not_privileged = "Roles are listed as privileged, and this one is not among them"
WITH held AS (
  SELECT
    e.*,
    i.manager AS owner,
    coalesce(i.kind = 'service', e.subject_kind IN ('bot', 'system'), false) AS is_machine,
    -- Somebody with this role has sessions, and never one without a request.
    coalesce(bool_or(
      e.last_used_at IS NOT NULL AND e.used_without_request_at IS NULL AND coalesce(e.subject_kind, 'human') = 'human'
    ) OVER (PARTITION BY e.role, e.origin), false) AS has_careful_holder,
    p.name IS NOT NULL AS is_listed,
    row_number() OVER (PARTITION BY e.subject, e.role, e.origin) AS nth
  FROM entitlements e
  -- A few rules, whose `*` stands for any end. What several of them name is several equal rows, of which one is kept.
  LEFT JOIN privileged p
    ON p.kind = 'role'
    AND (e.role = p.name OR (ends_with(p.name, '*') AND starts_with(e.role, rtrim(p.name, '*'))))
  LEFT JOIN (
    SELECT person(person) AS person, max(kind) AS kind, max(manager) AS manager FROM identities GROUP BY person(person)
  ) i ON i.person = e.subject
  WHERE e.first_seen_at < $as_of
),
-- What was open at the date of the report, whatever was asked for since.
given AS (
  SELECT subject, role, max(ends_at) AS open_until, count(*) AS open_requests
  FROM role_grants
  WHERE approved_at < $as_of AND (ends_at IS NULL OR ends_at > $as_of)
  GROUP BY subject, role
),
grants AS (
  SELECT
    person(target) AS subject,
    role,
    min(at) AS granted_at,
    first_value(actor ORDER BY at, event_id) AS granted_by
  FROM (
    SELECT
      target, actor, event_id,
      coalesce(occurred_at, broker_at, ingested_at) AS at,
      -- The elements are JSON, each with its quotes.
      trim(BOTH '"' FROM unnest(json_get_array(detail, 'roles'))) AS role
    FROM events
    WHERE kind = 'config.change' AND target_kind = 'user'
  )
  WHERE at < $as_of
  GROUP BY person(target), role
)
SELECT
  concat_ws('/', h.subject, h.role, h.origin) AS key,
  CASE why
    WHEN 'standing_privileged' THEN 'exception'
    WHEN 'used_without_request' THEN 'exception'
    WHEN 'long_jit' THEN 'exception'
    WHEN 'also_held_by_others' THEN 'information'
    WHEN 'machine' THEN 'information'
    WHEN 'not_privileged' THEN 'excluded'
    ELSE 'pass'
  END AS verdict,
  why,
  h.subject,
  h.role,
  h.origin,
  g.granted_at,
  g.granted_by,
  h.first_seen_at,
  h.last_seen_at,
  h.last_used_at,
  h.used_without_request_at,
  greatest((CAST($as_of AS BIGINT) - CAST(h.last_used_at AS BIGINT)) / 86400000000, 0) AS days_unused,
  h.open_until AS expires_at,
  h.owner,
  h.evidence
FROM (
  SELECT
    h.*,
    CASE WHEN h.origin = 'jit' THEN o.open_until END AS open_until,
    CASE
      WHEN (SELECT count(*) FROM privileged WHERE kind = 'role') > 0 AND NOT h.is_listed THEN 'not_privileged'
      WHEN h.absent_since < $as_of THEN 'taken_away'
      WHEN h.origin = 'jit' AND o.open_requests IS NULL THEN 'not_open'
      WHEN h.origin = 'jit'
        AND (CAST(o.open_until AS BIGINT) - CAST($as_of AS BIGINT)) / 86400000000 >= $long_days THEN 'long_jit'
      WHEN h.origin = 'jit' THEN NULL
      WHEN h.is_listed AND h.is_machine THEN 'machine'
      WHEN h.is_listed THEN 'standing_privileged'
      WHEN coalesce(h.first_used_without_request_at >= $as_of, true) THEN NULL
      WHEN h.is_machine THEN 'machine'
      WHEN h.has_careful_holder THEN 'also_held_by_others'
      ELSE 'used_without_request'
    END AS why
  FROM held h
  LEFT JOIN given o ON o.subject = h.subject AND o.role = h.role
  WHERE h.nth = 1
) h
LEFT JOIN grants g ON g.subject = h.subject AND g.role = h.role
ORDER BY h.subject, h.role, h.origin, key
