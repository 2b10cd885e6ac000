-- title = "Missing or weak reasons"
-- version = 1
-- question = "Does each access request say why access was needed, in words that mean something, and name a ticket?"
-- population = "Access requests that were made in the period (approved in it, where their creation is not in the ledger)"
-- controls = ["SOC2 CC6.3", "SOC2 CC8.1", "PCI 8.2.2", "ISO A.8.2"]
--
-- [parameters.reason_chars_min]
-- type = "integer"
-- default = 10
-- help = "A reason that names no ticket has at least so many characters"
--
-- [parameters.weak_reasons]
-- type = "text"
-- default = "test, testing, tests, asdf, qwerty, foo, bar, x, xx, xxx, abc, 123, na, n a, none, no, nothing, tbd, todo, reason, access, need access, needed, work, working, debug, debugging, fix, urgent, asap, please, as discussed, see above"
-- help = "Reasons that mean nothing, separated by commas: small letters, with a space for whatever is neither letter nor digit"
--
-- [parameters.reuse_max]
-- type = "integer"
-- default = 3
-- help = "A person may give the same reason so often in the period without a warning"
--
-- [parameters.ticket_required]
-- type = "boolean"
-- default = false
-- help = "A request without a ticket is an exception rather than a warning"
--
-- [columns]
-- key = "The request: source/request id"
-- verdict = "pass | exception | warning | information (nobody approved it) | na | excluded"
-- why = "What is wrong with the reason, see the codes; empty for a pass"
-- source = "Gateway that the request was made at"
-- request_id = "The gateway's id of the request"
-- requester = "Who asked, by the identity table"
-- roles = "Roles that were asked for"
-- target = "What access was asked for, where the gateway names one thing"
-- reason = "The reason as it was written"
-- chars = "Its length in characters; a run of blanks is one, those around it none"
-- uses = "How many requests of that person in the period give this reason"
-- tickets = "Tickets that it names"
-- state = "What became of the request"
-- created_at = "When it was made"
-- evidence = "Events of its creation and its approval"
--
-- [why]
-- no_reason = "No reason was given, or nothing but blanks"
-- weak_reason = "The reason is one of those that mean nothing"
-- short_reason = "The reason is shorter than it may be, and names no ticket"
-- no_ticket = "The reason names no ticket"
-- reused_reason = "The same person gives the same reason more often than allowed for"
-- creation_missing = "The request's creation, which has the reason, is not in the ledger"
WITH settings AS (
  -- Everything that is in scope as one pattern over lines of kind:name, null where nothing is listed.
  SELECT
    (SELECT '\n(' || string_agg(
      kind || ':' || replace(regexp_replace(name, '([.+?^$(){}|\[\]\\])', '\\\1', 'g'), '*', '.*'), '|'
    ) || ')\n' FROM privileged) AS scope,
    string_to_array(regexp_replace(CAST($weak_reasons AS VARCHAR), '\s*,\s*', ',', 'g'), ',') AS weak_reasons
),
requests AS (
  SELECT
    r.source, r.request_id, r.roles, r.target, r.tickets, r.state, r.created_at, r.approved_at,
    r.created_event_id, r.approved_event_id,
    person(r.requester) AS requester,
    r.reason,
    character_length(btrim(regexp_replace(r.reason, '\s+', ' ', 'g'))) AS chars,
    -- Letters and digits alone tell one reason from another.
    btrim(regexp_replace(lower(r.reason), '[^\pL\pN]+', ' ', 'g')) AS words
  FROM access_requests r
  WHERE coalesce(r.created_at, r.approved_at) >= $from AND coalesce(r.created_at, r.approved_at) < $to
),
judged AS (
  SELECT
    *,
    CASE
      WHEN created_at IS NULL THEN 'creation_missing'
      WHEN coalesce(chars, 0) = 0 THEN 'no_reason'
      WHEN words = '' OR array_has(weak_reasons, words) THEN 'weak_reason'
      WHEN tickets IS NULL AND chars < $reason_chars_min THEN 'short_reason'
      WHEN tickets IS NULL THEN 'no_ticket'
      WHEN uses > $reuse_max THEN 'reused_reason'
    END AS why
  FROM (
    SELECT
      r.*,
      s.weak_reasons,
      count(*) OVER (PARTITION BY r.requester, r.words) AS uses,
      s.scope IS NULL OR r.target IS NULL AND r.roles IS NULL OR regexp_like(
        concat_ws(chr(10), '', 'target:' || r.target, '',
          'role:' || array_to_string(r.roles, chr(10) || chr(10) || 'role:'), ''),
        s.scope
      ) AS in_scope
    FROM requests r
    CROSS JOIN settings s
  )
)
SELECT
  concat_ws('/', source, request_id) AS key,
  CASE
    WHEN NOT in_scope THEN 'excluded'
    WHEN why IS NULL THEN 'pass'
    WHEN why = 'creation_missing' THEN 'na'
    WHEN approved_at IS NULL THEN 'information'
    WHEN why = 'reused_reason' OR why = 'no_ticket' AND NOT CAST($ticket_required AS BOOLEAN) THEN 'warning'
    ELSE 'exception'
  END AS verdict,
  CASE WHEN in_scope THEN why END AS why,
  source, request_id, requester, roles, target, reason, chars, uses, tickets, state, created_at,
  text_set(make_array(make_array(created_event_id), make_array(approved_event_id))) AS evidence
FROM judged
ORDER BY created_at, key
