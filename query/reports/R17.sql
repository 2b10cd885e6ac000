-- title = "Access to the audit log itself"
-- version = 1
-- question = "Who asked Custody what, and what did they take away?"
-- population = "Everything that Custody was asked in the period, by its own record"
-- controls = ["PCI 10.2.1.3", "NIST AU-9", "NIST AU-12", "SOC2 CC6.7"]
--
-- [parameters.bulk_rows]
-- type = "integer"
-- default = 100000
-- help = "An answer of at least this many rows is pointed out"
--
-- [parameters.reason_required]
-- type = "boolean"
-- default = false
-- help = "An export, a replay or an evidence pack without a reason is an exception"
--
-- [columns]
-- key = "When, who, what sort of question and about what; numbered where that is not unique"
-- verdict = "pass, exception, warning, information or na"
-- why = "Code of the reason, see the list of reasons"
-- at = "When it was asked"
-- person = "Who asked, the same whatever system names them"
-- verb = "What sort of question it was: sql, report, evidence, replay, export, show"
-- object = "What it was about: a report, a session, a file"
-- sql = "The statement, where one was given"
-- sql_sha256 = "SHA-256 of the statement, so that equal ones are seen at a glance"
-- rows = "Rows of the answer"
-- bytes = "Bytes of the answer"
-- outcome = "done, refused, failed, or cut at a limit"
-- reason = "Why, as the person said"
-- detail = "What else is known"
-- evidence = "Empty: Custody's own record is not made of events"
--
-- [why]
-- leaver = "The person had left before"
-- unknown_person = "The export of the identity provider does not know the person"
-- no_person = "Nothing says who asked"
-- no_reason = "A reason is required for taking something away, and none was given"
-- refused = "Custody refused"
-- failed = "The question could not be answered"
-- bulk = "A large answer was taken away"
-- cut = "The answer was cut at a limit"
WITH asked AS (
  SELECT
    a.*,
    person(a.actor) AS person,
    row_number() OVER (
      PARTITION BY a.at, a.actor, a.verb, a.object ORDER BY a.sql, a.outcome, a.reason, a.detail, a."rows", a.bytes
    ) AS nth
  FROM custody_activity a
  WHERE a.at >= $from AND a.at < $to
),
judged AS (
  SELECT
    a.*,
    CASE
      WHEN a.person IS NULL THEN 'no_person'
      WHEN a.at > i.terminated_at THEN 'leaver'
      WHEN a.outcome = 'refused' THEN 'refused'
      WHEN $reason_required AND a.reason IS NULL AND a.outcome <> 'failed'
        AND a.verb IN ('export', 'replay', 'evidence') THEN 'no_reason'
      WHEN (SELECT count(*) FROM identities) > 0 AND i.person IS NULL THEN 'unknown_person'
      WHEN a.outcome = 'failed' THEN 'failed'
      WHEN a."rows" >= $bulk_rows THEN 'bulk'
      WHEN a.outcome = 'cut' THEN 'cut'
    END AS why
  FROM asked a
  LEFT JOIN (
    SELECT person(person) AS person, max(terminated_at) AS terminated_at FROM identities GROUP BY person(person)
  ) i ON i.person = a.person
)
SELECT
  concat_ws('/', CAST(at AS VARCHAR), coalesce(actor, '?'), verb, object, CASE WHEN nth > 1 THEN nth END) AS key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('leaver', 'no_reason') THEN 'exception'
    WHEN why IN ('refused', 'unknown_person') THEN 'warning'
    WHEN why = 'no_person' THEN 'na'
    ELSE 'information'
  END AS verdict,
  why,
  at,
  person,
  verb,
  object,
  sql,
  encode(sha256(sql), 'hex') AS sql_sha256,
  "rows",
  bytes,
  outcome,
  reason,
  detail,
  arrow_cast(NULL, 'List(Utf8)') AS evidence
FROM judged
ORDER BY at, key
