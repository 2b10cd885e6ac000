-- title = "Sessions explained"
-- version = 1
-- question = "For which share of the sessions is it known what gave access, and how is it known?"
-- population = "Sessions that began in the period, by ISO week and by how they are linked to what gave access"
-- controls = ["SOC2 CC2.1", "SOC2 CC6.3"]
-- sessions = "period"
--
-- [columns]
-- key = "The week and the method: week/method"
-- verdict = "information | excluded (sessions on targets that are out of the configured scope)"
-- why = "Always empty: a metric"
-- week = "The ISO week (UTC)"
-- week_from = "The Monday on which it begins"
-- link_method = "explicit: the session carries the id of a request or of a decision | gateway_review: the gateway itself reviewed it, or opened a window for it | policy: a decision names the session | ticket: the same person and ticket | inferred: the same person and time, likely and not certain | none: nothing was found. Of several, the first in this order"
-- explained = "Whether such a link explains a session; an inferred one does not"
-- sessions = "Sessions of the week so linked"
-- share = "Their share (0 to 1) of the sessions of the week"
-- approved = "How many of them have an approval that is linked to them other than by inference"
-- week_sessions = "Sessions of the week"
-- week_explained = "How many of them are explained"
-- week_explained_share = "Their share (0 to 1): the figure to watch"
-- share_before = "That share in the week before; empty where it had no sessions, and for the first week of the period"
-- evidence = "Always empty: the sessions are in R01"
--
-- [why]
WITH linked AS (
  SELECT
    date_trunc('week', started_at) AS week,
    in_scope,
    CASE
      WHEN array_has(link_methods, 'explicit') THEN 'explicit'
      WHEN array_has(link_methods, 'gateway_review') THEN 'gateway_review'
      WHEN array_has(link_methods, 'policy') THEN 'policy'
      WHEN array_has(link_methods, 'ticket') THEN 'ticket'
      WHEN array_has(link_methods, 'inferred') THEN 'inferred'
      ELSE 'none'
    END AS link_method,
    approved_at
  FROM session_approval
  WHERE started_at >= $from AND started_at < $to
),
counted AS (
  SELECT
    week,
    in_scope,
    link_method,
    link_method NOT IN ('inferred', 'none') AS explained,
    count(*) AS sessions,
    count(approved_at) AS approved
  FROM linked
  GROUP BY week, in_scope, link_method
),
weeks AS (
  SELECT
    *,
    CAST(sum(sessions) OVER weekly AS BIGINT) AS week_sessions,
    CAST(sum(CASE WHEN explained THEN sessions ELSE 0 END) OVER weekly AS BIGINT) AS week_explained
  FROM counted
  WINDOW weekly AS (PARTITION BY week, in_scope)
),
compared AS (
  SELECT
    *,
    -- All rows of a week have the same share: the one of the week before is that of the last row before this week.
    last_value(CAST(week_explained AS DOUBLE) / week_sessions) OVER before AS share_before
  FROM weeks
  WINDOW before AS (
    PARTITION BY in_scope ORDER BY week
    RANGE BETWEEN INTERVAL '7 days' PRECEDING AND INTERVAL '7 days' PRECEDING
  )
)
SELECT
  concat(to_char(week, '%G-W%V'), '/', link_method, CASE WHEN NOT in_scope THEN '/excluded' ELSE '' END) AS key,
  CASE WHEN in_scope THEN 'information' ELSE 'excluded' END AS verdict,
  CAST(NULL AS VARCHAR) AS why,
  to_char(week, '%G-W%V') AS week,
  week AS week_from,
  link_method,
  explained,
  sessions,
  round(CAST(sessions AS DOUBLE) / week_sessions, 4) AS share,
  approved,
  week_sessions,
  week_explained,
  round(CAST(week_explained AS DOUBLE) / week_sessions, 4) AS week_explained_share,
  round(share_before, 4) AS share_before,
  text_set(make_array(make_array(CAST(NULL AS VARCHAR)))) AS evidence
FROM compared
ORDER BY week_from, in_scope DESC, week, key
