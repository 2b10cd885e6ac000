-- title = "Gaps in recordings"
-- version = 1
-- question = "Which recordings have holes, begin late, or stop before their session does?"
-- population = "Sessions that began in the period"
-- controls = ["NIST AU-14", "ISO A.8.15", "SOC2 CC7.2", "PCI 10.2.1.2"]
-- sessions = "period"
--
-- [parameters.edge_s]
-- type = "integer"
-- default = 5
-- help = "Seconds at the beginning and at the end of a session that a recording may lack"
--
-- [parameters.edge_percent]
-- type = "number"
-- default = 2.0
-- help = "The same as a share of the session in percent: the greater of the two counts"
--
-- [columns]
-- key = "The session: source/session id"
-- verdict = "pass, exception, warning, na or excluded"
-- why = "Code of the reason, see the list of reasons"
-- source = "The gateway's system"
-- session_id = "The gateway's id of the session"
-- person = "Whose session it was"
-- target = "What it was opened to"
-- started_at = "When the session began"
-- ended_at = "When it ended"
-- recording_state = "State of its recording in the ledger"
-- facts = "What that state rests on, in words"
-- missing_bytes = "Bytes of output in holes, by the source's own count"
-- missing_events = "Positions of the session's stream at which nothing is, between the first and the last that is here"
-- holes = "Number of holes between pieces of output"
-- hole_from_at = "Last piece before the first hole"
-- hole_to_at = "First piece after the last hole"
-- hole_s = "Seconds without a piece around all holes together"
-- late_s = "Seconds from the session's start to the first piece of the recording"
-- tail_s = "Seconds from the last piece of the recording to the session's end"
-- covered_percent = "Share of the session between the first and the last piece that is not in a hole"
-- evidence = "Events of the session's start and end"
--
-- [why]
-- hole = "Pieces are missing between pieces that are here"
-- incomplete = "The imported recording is cut off, or files that it lists are not there"
-- starts_late = "The recording begins well after its session"
-- ends_early = "The recording ends well before its session: nothing was shown, or the recorder was cut off"
-- no_recording = "There is no recording here to look at: see the report on missing recordings"
-- no_terminal = "A session without a terminal, whose requests are here as events: there is no stream to have gaps"
-- out_of_scope = "The target is not among those that are listed as privileged"
-- running = "The session was not over by the date of the report"
WITH population AS (
  SELECT
    *,
    (CAST(ended_at AS BIGINT) - CAST(started_at AS BIGINT)) / 1000000.0 AS lasted_s,
    -- A session of hoop.dev begins when it is asked for, and is recorded from when it is let in.
    CASE WHEN source <> 'hoop' THEN (CAST(first_frame_at AS BIGINT) - CAST(started_at AS BIGINT)) / 1000000.0 END
      AS late_s,
    unrecorded_tail_ms / 1000.0 AS tail_s
  FROM recording_state
  WHERE started_at >= $from AND started_at < $to
),
-- Where the holes are, of the few recordings that have some: each piece says how much output was before it.
pieces AS (
  SELECT f.source, f.session_id, unnest(f.ats) AS at, unnest(f.positions) AS position, unnest(f.lens) AS len
  FROM frames f
  JOIN (SELECT source, session_id FROM population WHERE missing_bytes > 0) p
    ON p.source = f.source AND p.session_id = f.session_id
  WHERE f.clock = 'first_output'
),
reached AS (
  SELECT
    source, session_id, at, position,
    max(position + len) OVER before AS reached,
    max(at) OVER before AS before_at
  FROM pieces
  WHERE position IS NOT NULL
  WINDOW before AS (
    PARTITION BY source, session_id ORDER BY position, len, at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  )
),
holes AS (
  SELECT
    source,
    session_id,
    count(*) AS holes,
    arrow_cast(min(before_at), 'Timestamp(Microsecond, Some("UTC"))') AS hole_from_at,
    arrow_cast(max(at), 'Timestamp(Microsecond, Some("UTC"))') AS hole_to_at,
    sum(at - before_at) / 1000000.0 AS hole_s
  FROM reached
  WHERE position > reached
  GROUP BY source, session_id
),
judged AS (
  SELECT
    p.*, h.holes, h.hole_from_at, h.hole_to_at, h.hole_s,
    CASE
      WHEN (SELECT count(*) FROM privileged WHERE kind = 'target') > 0 AND NOT coalesce(s.is_privileged, false)
        THEN 'out_of_scope'
      WHEN p.recording_state NOT IN ('recorded', 'incomplete', 'unverifiable') THEN
        CASE WHEN p.recording_state = 'running' THEN 'running' ELSE 'no_recording' END
      WHEN p.missing_bytes > 0 OR p.missing_events > 0 THEN 'hole'
      WHEN p.recording_state = 'incomplete' THEN 'incomplete'
      WHEN p.first_frame_at IS NULL THEN 'no_terminal'
      WHEN p.ended_at IS NULL THEN 'running'
      WHEN p.late_s > greatest(CAST($edge_s AS DOUBLE), p.lasted_s * $edge_percent / 100) THEN 'starts_late'
      WHEN p.tail_s > greatest(CAST($edge_s AS DOUBLE), p.lasted_s * $edge_percent / 100) THEN 'ends_early'
    END AS reason
  FROM population p
  LEFT JOIN targets s ON s.target = p.target
  LEFT JOIN holes h ON h.source = p.source AND h.session_id = p.session_id
)
SELECT
  key,
  CASE
    WHEN reason IS NULL OR reason = 'no_terminal' THEN 'pass'
    WHEN reason IN ('hole', 'incomplete') THEN 'exception'
    WHEN reason IN ('starts_late', 'ends_early') THEN 'warning'
    WHEN reason = 'out_of_scope' THEN 'excluded'
    ELSE 'na'
  END AS verdict,
  reason AS why,
  source,
  session_id,
  person,
  target,
  started_at,
  ended_at,
  recording_state,
  why AS facts,
  missing_bytes,
  missing_events,
  holes,
  hole_from_at,
  hole_to_at,
  hole_s,
  late_s,
  tail_s,
  CASE WHEN recording_state IN ('recorded', 'incomplete') AND first_frame_at IS NOT NULL AND lasted_s > 0 THEN round(greatest(0, least(100,
    100 * (lasted_s - greatest(coalesce(late_s, 0), 0) - greatest(coalesce(tail_s, 0), 0) - coalesce(hole_s, 0)) / lasted_s
  )), 1) END AS covered_percent,
  evidence
FROM judged
ORDER BY started_at, key
