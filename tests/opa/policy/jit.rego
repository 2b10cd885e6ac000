# Just-in-time access to production: somebody else approved, the approval is still valid, and it is either business hours
# or there is an incident ticket.
package custody.jit

default allow := false

allow if {
	approval_is_valid
	in_business_hours
}

allow if {
	approval_is_valid
	has_incident_ticket
}

# What callers ask for: the answer with what it rests on.
decision := object.union(
	{"allow": allow, "denied_because": [why | some why in denials]},
	{key: value | some key, value in approval},
)

approval := {"approver": input.approval.approver, "approved_at": input.approval.granted_at} if {
	allow
} else := {}

denials contains "the approval is missing or over" if not approval_is_valid

denials contains "outside business hours without an incident ticket" if {
	not in_business_hours
	not has_incident_ticket
}

approval_is_valid if {
	input.approval.approver != input.requester
	granted_ns := time.parse_rfc3339_ns(input.approval.granted_at)
	granted_ns <= at_ns
	at_ns <= granted_ns + time.parse_duration_ns(input.approval.valid_duration)
}

# Monday to Friday, 09:00 to 17:00 UTC, the end exclusive.
in_business_hours if {
	not time.weekday([at_ns, "UTC"]) in {"Saturday", "Sunday"}
	[hour, _, _] := time.clock([at_ns, "UTC"])
	hour >= 9
	hour < 17
}

has_incident_ticket if {
	input.context.attributes.reason_type == "incident"
	regex.match(`^INC-[0-9]+$`, input.context.attributes.reason_id)
}

at_ns := time.parse_rfc3339_ns(input.context.time)
