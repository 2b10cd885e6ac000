-- title = "Retroactive approvals"
-- version = 1
-- question = "Which sessions were approved only after they had begun?"
-- population = "Sessions that began in the period"
-- controls = ["SOC2 CC6.2", "PCI 7.2.3", "ISO A.5.18", "NIST AC-6"]
-- sessions = "period"
--
-- [parameters.grace_s]
-- type = "integer"
-- default = 0
-- help = "Seconds after the start within which an approval is not late (clocks differ)"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass: approved by the start; exception: approved later; na: nothing approved it"
-- why = "How late the approval came, or why that cannot be said"
-- person = "Who opened it, by the identity table"
-- target = "What it was opened to"
-- started_at = "When it began"
-- ended_at = "When it ended; empty while it runs, or when no end is known"
-- approved_at = "When the approval came that covers the session"
-- late_s = "Seconds from the start to the approval; negative: it came before. A session of hoop.dev starts when it is asked for, and waits"
-- approved_by = "How it was approved: review, update (without a vote), policy"
-- approvers = "Who approved"
-- request_ids = "Access requests that it is linked to"
-- decision_ids = "Policy decisions that it is linked to"
-- evidence = "Events of the session, its requests and decisions"
--
-- [why]
-- approved_after_start = "The approval came while the session was under way"
-- approved_after_end = "The approval came when the session was already over"
-- no_approval = "Nothing approved the session, so nothing was late: R02 judges it"
-- out_of_scope = "Neither its target nor its roles are listed as privileged"
-- refused = "The gateway let nobody in"
WITH judged AS (
  SELECT
    *,
    (CAST(approved_at AS BIGINT) - CAST(started_at AS BIGINT)) / 1000000.0 AS late_s,
    CASE
      WHEN refused THEN 'refused'
      WHEN NOT in_scope THEN 'out_of_scope'
      WHEN approved_before_start IS NULL THEN 'no_approval'
      WHEN approved_before_start
        OR CAST(approved_at AS BIGINT) - CAST(started_at AS BIGINT) <= $grace_s * 1000000 THEN NULL
      WHEN approved_at >= ended_at THEN 'approved_after_end'
      ELSE 'approved_after_start'
    END AS why
  FROM session_approval
  WHERE started_at >= $from AND started_at < $to
)
SELECT
  key,
  CASE
    WHEN why IS NULL THEN 'pass'
    WHEN why IN ('refused', 'out_of_scope') THEN 'excluded'
    WHEN why = 'no_approval' THEN 'na'
    ELSE 'exception'
  END AS verdict,
  why,
  person, target, started_at, ended_at, approved_at, late_s, approved_by, approvers, request_ids, decision_ids,
  evidence
FROM judged
ORDER BY started_at, key
