//! What no gateway of the story publishes: the people of the directory, who may approve, which accounts are shared.

use std::fmt::Write as _;

use custody_schemas::time::{Micros, to_rfc3339};

use super::teleport::{ALICE, BOB, CAROL, CI_BOT, DAVE, ERIN, Person};

const HOUR: Micros = 3_600_000_000;

/// `[reference] people`. Erin leaves on day 3 at 12:00.
pub(super) fn people(monday: Micros) -> String {
    let left = to_rfc3339(monday + (2 * 24 + 12) * HOUR);
    let mut text = "person,kind,team,manager,hired_at,terminated_at,aliases\n".to_owned();
    let people: [(&Person, &str, &str, &str, &str, &str); 6] = [
        (&ALICE, "human", "devops-team", BOB.user, "2024-01-08T00:00:00Z", ""),
        (&BOB, "human", "devops-team", "", "2022-03-01T00:00:00Z", ""),
        (&CAROL, "human", "security", "", "2021-09-01T00:00:00Z", ""),
        (&DAVE, "vendor", "developers", BOB.user, "2025-02-03T00:00:00Z", ""),
        (&ERIN, "human", "developers", BOB.user, "2023-05-02T00:00:00Z", &left),
        (&CI_BOT, "service", "devops-team", BOB.user, "2022-03-01T00:00:00Z", ""),
    ];
    for (person, kind, team, manager, hired_at, terminated_at) in people {
        let alias = person.boundary_id.unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{},{kind},{team},{manager},{hired_at},{terminated_at},{alias}", person.user);
    }
    text
}

/// `[reference] approvers`. The plugin opens the emergency path, and nothing else.
pub(super) fn approvers() -> String {
    format!(
        "approver,scope_kind,scope,valid_from,valid_to\n\
         {},any,*,2022-03-01T00:00:00Z,\n\
         {},any,*,2021-09-01T00:00:00Z,\n\
         break-glass-plugin,role,break-glass-admin,2022-03-01T00:00:00Z,\n",
        BOB.user, CAROL.user
    )
}

/// `[reference] shared_accounts`.
pub(super) fn shared_accounts() -> String {
    format!("login,owner,justification\napp_admin,{},database administration through the gateway\n", BOB.user)
}
