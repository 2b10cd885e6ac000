-- title = "Hours of active credentials"
-- version = 1
-- question = "For how many hours of each week did each person hold access that had been asked for, and is that becoming less?"
-- population = "Persons who held access by request in the period, by ISO week"
-- controls = ["SOC2 CC6.3", "ISO A.8.2", "NIST AC-2(2)"]
-- sessions = "requests"
--
-- [columns]
-- key = "The person and the week: person/week"
-- verdict = "information"
-- why = "How far the hours can be trusted, see the codes; empty where nothing is missing"
-- person = "Who held the access, by the identity table"
-- week = "The ISO week (UTC)"
-- week_from = "The Monday on which it begins"
-- hours = "Hours in which at least one approval, credential or session of a request was active; what overlaps counts once"
-- approved_hours = "Of these, hours that an approval covered"
-- outside_hours = "The rest: credentials and sessions before an approval or after its end"
-- approvals = "Approvals that were active in the week"
-- credentials = "Credentials for requests that were"
-- sessions = "Sessions under requests that were"
-- endless = "Approvals and credentials of the week that state no end: they count for nothing, their sessions do"
-- hours_before = "Hours of the week before; 0 where the person had none, empty for the first week of the period"
-- change = "hours less hours_before"
-- evidence = "Events of the approvals and credentials"
--
-- [why]
-- endless = "Some approval or credential states no end: how long it was active cannot be told"
WITH RECURSIVE period AS (
  SELECT
    arrow_cast($from, 'Timestamp(Microsecond, Some("UTC"))') AS from_at,
    least(
      arrow_cast($to, 'Timestamp(Microsecond, Some("UTC"))'), arrow_cast($as_of, 'Timestamp(Microsecond, Some("UTC"))')
    ) AS to_at
),
-- The weeks of the period: a year has few.
weeks AS (
  SELECT from_at, to_at, date_trunc('week', from_at) AS week FROM period
  UNION ALL
  SELECT from_at, to_at, week + INTERVAL '7 days' FROM weeks WHERE week + INTERVAL '7 days' < to_at
),
requests AS (
  SELECT
    source, request_id, requester, approved_at, approved_event_id,
    least(expires_at, closed_at) AS expires_at
  FROM access_requests
  WHERE approved_at IS NOT NULL
),
held AS (
  SELECT
    'approval' AS kind, person(requester) AS person, approved_at AS begins, expires_at AS ends,
    approved_event_id AS event_id
  FROM requests
  UNION ALL
  -- Credentials for a request. Those without one are standing access: M02.
  SELECT 'credential', person(actor), coalesce(occurred_at, broker_at, ingested_at), expires_at, event_id
  FROM events
  WHERE kind = 'credential.issue' AND request_ids IS NOT NULL AND coalesce(outcome, 'success') NOT IN ('failure', 'deny')
  UNION ALL
  SELECT
    'session',
    s.person,
    -- hoop's sessions begin with the asking; nobody is in before the approval.
    CASE s.source WHEN 'hoop' THEN greatest(r.approved_at, s.started_at) ELSE s.started_at END,
    coalesce(s.ended_at, CASE s.state WHEN 'running' THEN CAST($as_of AS TIMESTAMP(6)) END, s.last_frame_at, s.started_at),
    concat_ws('/', s.source, s.cluster, s.session_id)
  FROM (SELECT *, unnest(request_ids) AS request_id FROM sessions WHERE request_ids IS NOT NULL) s
  LEFT JOIN requests r ON r.source = s.source AND r.request_id = s.request_id
  WHERE s.source <> 'hoop' OR r.approved_at IS NOT NULL
),
parts AS (
  SELECT
    h.kind, h.person, h.event_id, w.week,
    w.from_at >= w.week AS is_first,
    greatest(h.begins, w.week, w.from_at) AS begins,
    least(h.ends, w.week + INTERVAL '7 days', w.to_at) AS ends,
    h.ends IS NULL AS is_endless
  FROM held h
  JOIN weeks w
    ON h.begins < least(w.week + INTERVAL '7 days', w.to_at)
    AND (h.ends > greatest(w.week, w.from_at) OR h.begins >= greatest(w.week, w.from_at))
  WHERE h.person IS NOT NULL
),
-- What of each part no earlier one has covered; what has no end covers nothing.
laid AS (
  SELECT
    kind, person, event_id, week, is_first, is_endless,
    CASE WHEN NOT is_endless THEN
      greatest(CAST(ends AS BIGINT) - CAST(greatest(begins, max(CASE WHEN NOT is_endless THEN ends END) OVER earlier) AS BIGINT), 0)
    END AS us,
    CASE WHEN NOT is_endless AND kind = 'approval' THEN
      greatest(CAST(ends AS BIGINT) - CAST(greatest(
        begins, max(CASE WHEN NOT is_endless AND kind = 'approval' THEN ends END) OVER earlier
      ) AS BIGINT), 0)
    END AS approved_us
  FROM parts
  WINDOW earlier AS (
    PARTITION BY person, week ORDER BY begins, ends, kind, event_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  )
),
summed AS (
  SELECT
    person,
    week,
    is_first,
    coalesce(sum(us), 0) AS us,
    coalesce(sum(approved_us), 0) AS approved_us,
    count(DISTINCT CASE kind WHEN 'approval' THEN event_id END) AS approvals,
    count(DISTINCT CASE kind WHEN 'credential' THEN event_id END) AS credentials,
    count(DISTINCT CASE kind WHEN 'session' THEN event_id END) AS sessions,
    count(DISTINCT CASE WHEN is_endless THEN event_id END) AS endless,
    text_union(CASE WHEN kind <> 'session' THEN event_id END) AS evidence
  FROM laid
  GROUP BY person, week, is_first
),
compared AS (
  SELECT
    *,
    CASE
      WHEN is_first THEN NULL
      WHEN lag(week) OVER (PARTITION BY person ORDER BY week) = week - INTERVAL '7 days'
        THEN lag(us) OVER (PARTITION BY person ORDER BY week)
      ELSE 0
    END AS us_before
  FROM summed
)
SELECT
  concat_ws('/', person, to_char(week, '%G-W%V')) AS key,
  'information' AS verdict,
  CASE WHEN endless > 0 THEN 'endless' END AS why,
  person,
  to_char(week, '%G-W%V') AS week,
  week AS week_from,
  round(us / 3600e6, 3) AS hours,
  round(approved_us / 3600e6, 3) AS approved_hours,
  round((us - approved_us) / 3600e6, 3) AS outside_hours,
  approvals, credentials, sessions, endless,
  round(us_before / 3600e6, 3) AS hours_before,
  round((us - us_before) / 3600e6, 3) AS change,
  evidence
FROM compared
ORDER BY week_from, key
