-- title = "Approvers without authority"
-- version = 1
-- question = "Was everyone who approved access entitled to approve it at that time?"
-- population = "Approvals given in the period: each vote for an access request, and each time its state was set to approved; also a vote after the access was granted"
-- controls = ["PCI 7.2.3", "SOC2 CC6.3", "ISO A.5.18"]
--
-- [columns]
-- key = "The approval: source/request id/approver/time"
-- verdict = "pass | exception | na | excluded"
-- why = "What is wrong with the approver's authority, see the codes; empty for a clean pass"
-- source = "Gateway that the request was made at"
-- request_id = "The gateway's id of the request"
-- requester = "Who asked, by the identity table"
-- roles = "Roles that were given: what the approver has to be entitled to approve"
-- target = "What access was asked for, where the gateway names one thing"
-- approver = "Who approved, by the identity table; of a plugin that acted for a person, the person"
-- method = "review: a vote | update: an administrator or a plugin set the state"
-- decided_at = "When they approved"
-- authority = "What the approver was entitled to approve then, as kind:scope"
-- not_covered = "Roles that none of it covers; empty where the target or everything is covered"
-- terminated_at = "When the approver left, by the people list"
-- evidence = "Events of the approval and of the request's creation"
--
-- [why]
-- no_authority = "The list of authorities has no entry for the approver"
-- not_covered = "The approver may approve other things, not this"
-- not_in_force = "An entry covers it, and was not in force when they approved"
-- approver_left = "The approver had left when they approved"
-- leaver_unchecked = "The authority covers it; whether the approver had left cannot be told: the people list does not know them"
-- no_authority_list = "The list of authorities is empty"
-- scope_unknown = "Neither the roles nor the target of the request are known, and the approver may not approve everything"
-- approver_unknown = "The gateway does not say who approved"
WITH settings AS (
  -- Everything that is in scope as one pattern over lines of kind:name, null where nothing is listed.
  SELECT
    (SELECT '\n(' || string_agg(
      kind || ':' || replace(regexp_replace(name, '([.+?^$(){}|\[\]\\])', '\\\1', 'g'), '*', '.*'), '|'
    ) || ')\n' FROM privileged) AS scope,
    (SELECT count(*) > 0 FROM approver_authority) AS has_authorities
),
votes AS (
  SELECT
    v.source,
    v.request_id,
    v.method,
    v.event_id,
    person(CASE v.method WHEN 'update' THEN coalesce(v.delegator, v.reviewer) ELSE v.reviewer END) AS approver,
    coalesce(v.at, r.approved_at) AS decided_at,
    person(r.requester) AS requester,
    coalesce(r.granted_roles, r.roles) AS roles,
    r.target,
    r.created_event_id
  FROM reviews v
  JOIN access_requests r ON r.source = v.source AND r.request_id = v.request_id
  WHERE v.vote = 'APPROVED' OR v.method = 'update' AND v.state = 'APPROVED'
),
approvals AS (
  SELECT
    source, request_id, requester, roles, target, approver, decided_at,
    min(method) AS method,
    text_set(make_array(text_union(event_id), text_union(created_event_id))) AS evidence
  FROM votes
  WHERE decided_at >= $from AND decided_at < $to
  GROUP BY source, request_id, requester, roles, target, approver, decided_at
),
-- What an approver may approve, as a pattern over kind:name; everything matches that of any.
authorities AS (
  SELECT
    person(approver) AS approver,
    valid_from,
    valid_to,
    CASE WHEN scope_kind = 'any' THEN 'any' ELSE concat_ws(':', scope_kind, scope) END AS scope,
    CASE WHEN scope_kind = 'any' THEN '.*'
      ELSE scope_kind || ':' || replace(regexp_replace(scope, '([.+?^$(){}|\[\]\\])', '\\\1', 'g'), '*', '.*')
    END AS pattern
  FROM approver_authority
),
entitled AS (
  SELECT
    a.source, a.request_id, a.requester, a.roles, a.target, a.approver, a.decided_at, a.method, a.evidence,
    text_union(u.scope) FILTER (
      WHERE coalesce(u.valid_from <= a.decided_at, true) AND coalesce(a.decided_at < u.valid_to, true)
    ) AS authority,
    '(?m)^(' || string_agg(u.pattern, '|' ORDER BY u.pattern) FILTER (
      WHERE coalesce(u.valid_from <= a.decided_at, true) AND coalesce(a.decided_at < u.valid_to, true)
    ) || ')$' AS held,
    '(?m)^(' || string_agg(u.pattern, '|' ORDER BY u.pattern) || ')$' AS listed
  FROM approvals a
  LEFT JOIN authorities u ON u.approver = a.approver
  GROUP BY a.source, a.request_id, a.requester, a.roles, a.target, a.approver, a.decided_at, a.method, a.evidence
),
-- One authority covers the target, or all roles are covered each by one: what is left of their lines is not.
covered AS (
  SELECT
    *,
    regexp_like(coalesce('target:' || target, ''), held) AS target_held,
    regexp_like(coalesce('target:' || target, ''), listed) AS target_listed,
    btrim(regexp_replace(lines, coalesce(held, '^$'), '', 'g'), chr(10)) AS left_over,
    btrim(regexp_replace(lines, coalesce(listed, '^$'), '', 'g'), chr(10)) AS left_unlisted
  FROM (SELECT *, 'role:' || array_to_string(roles, chr(10) || 'role:') AS lines FROM entitled)
),
judged AS (
  SELECT
    c.*,
    i.terminated_at,
    s.scope IS NULL OR c.target IS NULL AND c.roles IS NULL OR regexp_like(
      concat_ws(chr(10), '', 'target:' || c.target, '',
        'role:' || array_to_string(c.roles, chr(10) || chr(10) || 'role:'), ''),
      s.scope
    ) AS in_scope,
    CASE
      WHEN c.approver IS NULL THEN 'approver_unknown'
      WHEN i.terminated_at <= c.decided_at THEN 'approver_left'
      WHEN NOT s.has_authorities THEN 'no_authority_list'
      WHEN c.listed IS NULL THEN 'no_authority'
      WHEN c.target_held OR c.left_over = '' THEN CASE WHEN i.person IS NULL THEN 'leaver_unchecked' END
      WHEN c.target_listed OR c.left_unlisted = '' THEN 'not_in_force'
      WHEN c.target IS NULL AND c.roles IS NULL THEN 'scope_unknown'
      ELSE 'not_covered'
    END AS why
  FROM covered c
  CROSS JOIN settings s
  LEFT JOIN identities i ON i.person = c.approver
)
SELECT
  concat_ws('/', source, request_id, coalesce(approver, '?'), CAST(decided_at AS VARCHAR)) AS key,
  CASE
    WHEN NOT in_scope THEN 'excluded'
    WHEN why IS NULL OR why = 'leaver_unchecked' THEN 'pass'
    WHEN why IN ('approver_unknown', 'no_authority_list', 'scope_unknown') THEN 'na'
    ELSE 'exception'
  END AS verdict,
  CASE WHEN in_scope THEN why END AS why,
  source, request_id, requester, roles, target, approver, method, decided_at, authority,
  CASE WHEN NOT coalesce(target_held, false)
    THEN string_to_array(substr(regexp_replace(nullif(left_over, ''), '(^|\n+)role:', chr(10), 'g'), 2), chr(10))
  END AS not_covered,
  terminated_at, evidence
FROM judged
ORDER BY decided_at, key
