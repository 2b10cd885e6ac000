-- One row is one thing that Custody was asked for: a question, a report, a replay, an export, a word on an exception.
--
-- It is written down before anything is answered; how it ended is written afterwards.
--
-- activity_id  its id
-- at           when it was asked
-- actor        who asked, as far as the way in tells
-- channel      the way in: cli | http | wire
-- remote_addr  address that it was asked from
-- verb         what was asked for: sql | report | evidence | sessions | show | replay | export | exception | ...
-- object       of what: a session, a report's id
-- reason       why, where somebody said so
-- sql          the statement, of SQL
-- outcome      done | cut (rows were left out) | refused | failed | cancelled; null where the end was not written: it still
--              goes on, or Custody was stopped
-- error        what was wrong with it
-- rows, bytes  what was answered
-- duration_ms  time that it took
-- detail       what else belongs to it, as JSON
SELECT
  activity_id,
  min(at) AS at,
  min(actor) AS actor,
  min(channel) AS channel,
  min(remote_addr) AS remote_addr,
  min(verb) AS verb,
  min(object) AS object,
  min(reason) AS reason,
  min(sql) AS sql,
  max(outcome) AS outcome,
  max(error) AS error,
  max(rows) AS "rows",
  max(bytes) AS bytes,
  max(duration_ms) AS duration_ms,
  max(detail) AS detail
FROM activity
GROUP BY activity_id
