-- One row is one role that one approved request gives: what was granted instead, where something was, else what was
-- asked for.
--
-- source, cluster, request_id  the request, see `access_requests`
-- subject                      who asked, by the identity table
-- role                         the role
-- approved_at, approved_event_id
--                              the approval
-- ends_at                      end of the access, by its own word or because it was taken back; null where it has none
SELECT
  source,
  cluster,
  request_id,
  person(requester) AS subject,
  unnest(coalesce(granted_roles, roles)) AS role,
  approved_at,
  approved_event_id,
  least(expires_at, closed_at) AS ends_at
FROM access_requests
WHERE approved_at IS NOT NULL AND coalesce(granted_roles, roles) IS NOT NULL
