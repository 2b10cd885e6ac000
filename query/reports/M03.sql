-- title = "Time from request to access"
-- version = 1
-- question = "How long did each request wait for an answer, for its approval, and for the work that it was made for?"
-- population = "Access requests made in the period (approved in it, where their creation is not in the ledger)"
-- controls = ["SOC2 CC6.3", "ISO A.5.18"]
-- sessions = "requests"
--
-- [columns]
-- key = "The request: source/request id"
-- verdict = "information | na"
-- why = "What there is no time of, see the codes; empty where there is one of everything"
-- source = "Gateway that the request was made at"
-- request_id = "The gateway's id of the request"
-- requester = "Who asked, by the identity table"
-- roles = "Roles that were given, else asked for"
-- target = "What access was asked for, where the gateway names one thing"
-- created_at = "When it was made"
-- first_decision_at = "When it was first answered: by a vote, or by setting its state"
-- approved_at = "When it was approved"
-- first_session_at = "When the first session began that is linked to it other than by inference"
-- decided_s = "Seconds from the request to the first answer"
-- approved_s = "Seconds from the request to the approval"
-- session_s = "Seconds from the request to the first session"
-- approved_to_session_s = "Seconds from the approval to the first session; negative where the session came first"
-- evidence = "Events of the creation, of the first answers and of the approval"
--
-- [why]
-- creation_missing = "The request's creation is not in the ledger, so nobody knows since when it waited"
-- undecided = "Nobody has answered it"
-- not_approved = "It was answered, and not approved"
-- unused = "It was approved, and no session was opened with it"
WITH answers AS (
  SELECT source, request_id, min(at) AS first_at, first_value(event_id ORDER BY at, event_id) AS event_id
  FROM reviews
  WHERE at <= $as_of
    AND (vote IN ('APPROVED', 'DENIED') OR method = 'update' AND state IN ('APPROVED', 'DENIED', 'PROMOTED'))
  GROUP BY source, request_id
),
used AS (
  SELECT request_id, min(started_at) AS first_at
  FROM session_access
  WHERE request_id IS NOT NULL AND link_method <> 'inferred' AND started_at <= $as_of
  GROUP BY request_id
),
timed AS (
  SELECT
    r.source, r.request_id, r.target, r.created_at,
    person(r.requester) AS requester,
    coalesce(r.granted_roles, r.roles) AS roles,
    a.first_at AS first_decision_at,
    CASE WHEN r.approved_at <= $as_of THEN r.approved_at END AS approved_at,
    -- hoop's sessions begin with the asking; nobody is in before the approval.
    CASE WHEN r.source <> 'hoop' THEN u.first_at
      WHEN r.approved_at IS NOT NULL THEN greatest(u.first_at, r.approved_at)
    END AS first_session_at,
    text_set(make_array(
      make_array(r.created_event_id), make_array(a.event_id), make_array(r.approved_event_id)
    )) AS evidence
  FROM access_requests r
  LEFT JOIN answers a ON a.source = r.source AND a.request_id = r.request_id
  LEFT JOIN used u ON u.request_id = r.request_id
  WHERE coalesce(r.created_at, r.approved_at) >= $from AND coalesce(r.created_at, r.approved_at) < $to
)
SELECT
  concat_ws('/', source, request_id) AS key,
  CASE WHEN created_at IS NULL THEN 'na' ELSE 'information' END AS verdict,
  CASE
    WHEN created_at IS NULL THEN 'creation_missing'
    WHEN first_decision_at IS NULL THEN 'undecided'
    WHEN approved_at IS NULL THEN 'not_approved'
    WHEN first_session_at IS NULL THEN 'unused'
  END AS why,
  source, request_id, requester, roles, target, created_at, first_decision_at, approved_at, first_session_at,
  (CAST(first_decision_at AS BIGINT) - CAST(created_at AS BIGINT)) / 1e6 AS decided_s,
  (CAST(approved_at AS BIGINT) - CAST(created_at AS BIGINT)) / 1e6 AS approved_s,
  (CAST(first_session_at AS BIGINT) - CAST(created_at AS BIGINT)) / 1e6 AS session_s,
  (CAST(first_session_at AS BIGINT) - CAST(approved_at AS BIGINT)) / 1e6 AS approved_to_session_s,
  evidence
FROM timed
ORDER BY coalesce(created_at, approved_at), key
