-- title = "Access of vendors and other third parties"
-- version = 1
-- question = "Did third parties get in only while access was enabled for them, with somebody answering for them, and is there a record of what they did?"
-- population = "Sessions that vendors began in the period; also those of whoever the people list does not know"
-- controls = ["PCI 8.2.7", "SOC2 CC6.6", "ISO A.5.19"]
-- sessions = "period"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass | exception | warning | information | na | excluded"
-- why = "What is wrong or to be known, see the codes; empty for a pass"
-- source = "Gateway"
-- session_id = "The gateway's id of the session"
-- person = "Whose session it was, by the identity table"
-- sponsor = "Who answers for the vendor: the manager in the people list"
-- target = "What it was opened to"
-- login = "Account on the target"
-- started_at = "When it began"
-- ended_at = "When it ended; empty while it runs, or where the end was never told"
-- reason = "Why access was asked for, else why the session was opened"
-- request_ids = "Requests that it is linked to other than by inference"
-- decision_ids = "Decisions of a policy that it is linked to other than by inference"
-- link_methods = "How it is linked to what gave access"
-- approvers = "Who or what said yes"
-- enabled_from = "When access was enabled: the approval"
-- enabled_until = "Until when; empty where nothing says so"
-- outside_s = "Seconds of the session before access was enabled and after its end"
-- recording_state = "Whether the recording is here, whole and verified: see the view recording_state"
-- watched_by = "Who has watched the recording so far, the vendor not counted"
-- evidence = "Events of the session, of its links, and of the watching of its recording"
--
-- [why]
-- no_people = "The people list is empty: who is a third party cannot be told"
-- person_unknown = "The people list does not know the person: whether this is a third party cannot be told"
-- no_approval = "Nothing but standing access let the vendor in: no request and no decision approved it"
-- outside_window = "Approved, but a part of the session is before the approval or after its end; R05 and R06 judge that"
-- no_window_end = "Approved, and nothing says until when"
-- no_sponsor = "The people list names nobody who answers for the vendor"
-- not_recorded = "What the vendor did cannot be looked at: no recording is here, or what is here failed a check"
-- recording_unknown = "No recording is here, and the gateway does not say whether there is one"
-- refused = "The gateway refused the session: nobody got in"
WITH people AS (
  SELECT count(*) > 0 AS listed FROM identities
),
watched AS (
  SELECT source, session_id, text_union(viewer) AS viewers, text_union(evidence) AS evidence
  FROM recording_access
  WHERE own_session IS DISTINCT FROM true AND at <= $as_of
  GROUP BY source, session_id
),
vendor_sessions AS (
  SELECT
    a.*,
    p.listed,
    i.kind IS NOT NULL AS is_known,
    person(i.manager) AS sponsor,
    -- Of a session that runs, what is past; where the end was never told, up to its last trace.
    coalesce(a.ended_at, CASE a.state WHEN 'running' THEN greatest(CAST($as_of AS TIMESTAMP(6)), a.started_at) END, a.last_seen_at, a.started_at)
      AS seen_until
  FROM session_approval a
  CROSS JOIN people p
  LEFT JOIN identities i ON i.person = a.person
  WHERE a.started_at >= $from AND a.started_at < $to
    AND (i.kind = 'vendor' OR i.kind IS NULL AND a.actor_kind IS DISTINCT FROM 'bot')
),
joined AS (
  SELECT
    v.*,
    r.recording_state,
    w.viewers,
    text_set(make_array(v.evidence, w.evidence)) AS all_evidence,
    CASE WHEN NOT v.approved_before_start
      THEN CAST(least(v.approved_at, v.seen_until) AS BIGINT) - CAST(v.started_at AS BIGINT) ELSE 0
    END + CASE WHEN v.access_expires_at < v.seen_until
      THEN CAST(v.seen_until AS BIGINT) - CAST(greatest(v.access_expires_at, v.started_at) AS BIGINT) ELSE 0
    END AS outside_us
  FROM vendor_sessions v
  LEFT JOIN recording_state r
    ON r.source = v.source AND r.session_id = v.session_id AND r.cluster IS NOT DISTINCT FROM v.cluster
  LEFT JOIN watched w ON w.source = v.source AND w.session_id = v.session_id
),
judged AS (
  SELECT
    *,
    CASE
      WHEN NOT in_scope THEN NULL
      WHEN NOT listed THEN 'no_people'
      WHEN NOT is_known THEN 'person_unknown'
      WHEN refused THEN 'refused'
      WHEN approved_at IS NULL THEN 'no_approval'
      WHEN NOT approved_before_start OR seen_until > access_expires_at THEN 'outside_window'
      WHEN sponsor IS NULL THEN 'no_sponsor'
      WHEN recording_state IN ('missing', 'not_required', 'unverifiable') THEN 'not_recorded'
      WHEN coalesce(recording_state, 'unknown') = 'unknown' THEN 'recording_unknown'
      WHEN access_expires_at IS NULL THEN 'no_window_end'
    END AS why
  FROM joined
)
SELECT
  key,
  CASE
    WHEN NOT in_scope THEN 'excluded'
    WHEN why IS NULL THEN 'pass'
    WHEN why = 'no_approval' THEN 'exception'
    WHEN why IN ('no_sponsor', 'not_recorded') THEN 'warning'
    WHEN why IN ('outside_window', 'no_window_end', 'refused') THEN 'information'
    ELSE 'na'
  END AS verdict,
  why,
  source, session_id, person, sponsor, target, login, started_at, ended_at, reason, request_ids, decision_ids,
  link_methods, approvers,
  approved_at AS enabled_from,
  access_expires_at AS enabled_until,
  CASE WHEN approved_at IS NOT NULL THEN outside_us / 1e6 END AS outside_s,
  recording_state,
  viewers AS watched_by,
  all_evidence AS evidence
FROM judged
ORDER BY started_at, key
