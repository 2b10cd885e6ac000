-- title = "Sessions outside the approved window"
-- version = 1
-- question = "Which sessions began after the approved access had ended, or went on past its end?"
-- population = "Sessions that began in the period"
-- controls = ["SOC2 CC6.3", "ISO A.8.2", "ISO A.5.18", "NIST AC-2(2)"]
-- sessions = "period"
--
-- [parameters.grace_s]
-- type = "integer"
-- default = 300
-- help = "Seconds past the end of the access that a session may go on"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass: inside the window; exception: outside; warning: no end is known and the window is over; na: no window is known"
-- why = "What is wrong, or why it cannot be judged"
-- person = "Who opened it, by the identity table"
-- target = "What it was opened to"
-- state = "ended, running (a start and no end), unknown"
-- approved_at = "When the access was approved, which is when it began"
-- access_expires_at = "End of the approved access: as approved, or when it was taken back"
-- started_at = "When the session began"
-- ended_at = "When it ended; empty while it runs, or when no end is known"
-- last_seen_at = "Its last trace"
-- overrun_s = "Seconds from the end of the access to the end of the session, or to its last trace; negative: it ended before"
-- request_ids = "Access requests that it is linked to"
-- decision_ids = "Policy decisions that it is linked to"
-- evidence = "Events of the session, its requests and decisions"
--
-- [why]
-- started_after_window = "The session began when the approved access was over"
-- ended_after_window = "The session went on past the end of the approved access"
-- open_past_window = "No end of the session is known, and the approved access is over: it is open still, or its end was lost"
-- no_approval = "Nothing approved the session, so there is no window: R02 judges it"
-- no_window = "The approval does not say until when (a policy's decision lets in once)"
-- out_of_scope = "Neither its target nor its roles are listed as privileged"
-- refused = "The gateway let nobody in"
WITH measured AS (
  -- What began before its approval is R05's finding, and none of this report.
  SELECT
    *,
    coalesce(ended_at, last_seen_at, started_at) AS used_until,
    CAST(coalesce(ended_at, last_seen_at, started_at) AS BIGINT) - CAST(access_expires_at AS BIGINT) AS over_us
  FROM session_approval
  WHERE started_at >= $from AND started_at < $to
),
judged AS (
  SELECT
    *,
    CASE
      WHEN refused THEN 'refused'
      WHEN NOT in_scope THEN 'out_of_scope'
      WHEN approved_at IS NULL THEN 'no_approval'
      WHEN access_expires_at IS NULL THEN 'no_window'
      WHEN started_at >= access_expires_at THEN 'started_after_window'
      WHEN over_us > $grace_s * 1000000 THEN 'ended_after_window'
      WHEN ended_at IS NULL AND CAST($as_of AS BIGINT) - CAST(access_expires_at AS BIGINT) > $grace_s * 1000000
        THEN 'open_past_window'
    END AS why
  FROM measured
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('refused', 'out_of_scope') THEN 'excluded'
    WHEN why IN ('no_approval', 'no_window') THEN 'na'
    WHEN why = 'open_past_window' THEN 'warning'
    ELSE 'exception'
  END AS verdict,
  why,
  person, target, state, approved_at, access_expires_at, started_at, ended_at, last_seen_at,
  over_us / 1000000.0 AS overrun_s,
  request_ids, decision_ids, evidence
FROM judged
ORDER BY started_at, key
