//! Changes of what rules access: what was changed, and how it is said in words.
//!
//! Teleport names such an event after the thing and what was done with it: `access_list.member.create`, `role.updated`,
//! `lock.deleted`.

use custody_schemas::event::Text;

use crate::source::object::{Object, text};

/// The things, by the beginning of the event type, longest first; the fields that name one; and what it is as the target
/// of an event.
const THINGS: &[(&str, &[&str], &str)] = &[
    ("access_list.member.", &["access_list_name", "name"], "access_list"),
    ("access_list.", &["name", "access_list_name"], "access_list"),
    ("access_path_changed", &[], "config"),
    ("app.", &["name", "app_name"], "app"),
    ("auth_preference.", &[], "config"),
    ("autoupdate_", &["name"], "config"),
    ("bot.", &["name", "bot_name"], "bot"),
    ("bot_instance.", &["name", "bot_instance_id"], "bot"),
    ("cluster_networking_config.", &[], "config"),
    ("crown_jewel.", &["name"], "config"),
    ("db.", &["name", "db_service"], "database"),
    ("desktop.", &["name", "desktop_name"], "desktop"),
    ("device.", DEVICE_NAMES, "device"),
    ("discovery_config.", &["name"], "config"),
    ("dynamic_windows_desktop.", &["name"], "desktop"),
    ("external_audit_storage.", &["name"], "config"),
    ("git_server.", &["name"], "config"),
    ("github.", &["name"], "connector"),
    ("health_check_config.", &["name"], "config"),
    ("integration.", &["name"], "integration"),
    ("join_token.", &["name"], "token"),
    ("kube.", &["name"], "kubernetes"),
    ("lock.", &["name"], "lock"),
    ("login_rule.", &["name"], "login_rule"),
    ("mfa.", &["mfa_device_name", "mfa_device_uuid"], "mfa_device"),
    ("network_restrictions.", &["name"], "config"),
    ("oidc.", &["name"], "connector"),
    ("plugin.", &["name"], "integration"),
    ("privilege_token.", &["name"], "user"),
    ("provision_token.", &["name"], "token"),
    ("recovery_token.", &["name"], "user"),
    ("reset_password_token.", &["name"], "user"),
    ("role.", &["name"], "role"),
    ("saml.idp.service.provider.", &["name", "service_provider_entity_id"], "service_provider"),
    ("saml.", &["name"], "connector"),
    ("session_recording_config.", &[], "config"),
    ("spiffe_federation.", &["name"], "config"),
    ("static_host_user.", &["name"], "user"),
    ("trusted_cluster.", &["name"], "trusted_cluster"),
    ("trusted_cluster_token.", &["name"], "token"),
    ("upgradewindowstart.", &[], "config"),
    ("user.", &["name"], "user"),
    ("user_task.", &["name"], "config"),
    ("windows_desktop.", &["name", "desktop_name"], "desktop"),
    ("workload_identity.", &["name"], "config"),
    ("workload_identity_x509_issuer_override.", &["name"], "config"),
];

/// What a device is known by.
const DEVICE_NAMES: &[&str] = &["device.asset_tag", "device.device_id"];

/// What is done with a thing, by the last part of the event type, in the words for it.
const VERBS: &[(&str, &str)] = &[
    ("add", "add"),
    ("create", "create"),
    ("created", "create"),
    ("delete", "delete"),
    ("delete_all", "delete all"),
    ("delete_all_for_access_list", "delete all"),
    ("delete_all_members", "delete all"),
    ("deleted", "delete"),
    ("disable", "disable"),
    ("enable", "enable"),
    ("enroll", "enroll"),
    ("password_change", "change password of"),
    ("review", "review"),
    ("update", "update"),
    ("updated", "update"),
    ("upsert", "upsert"),
];

/// What a lock may be about.
const LOCKED: [(&str, &str); 11] = [
    ("user", "user"),
    ("role", "role"),
    ("login", "login"),
    ("server_id", "node"),
    ("node", "node"),
    ("mfa_device", "mfa_device"),
    ("windows_desktop", "desktop"),
    ("access_request", "access_request"),
    ("device", "device"),
    ("bot_instance_id", "bot"),
    ("join_token", "token"),
];

/// A change, by the type of its event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'t> {
    verb: &'static str,
    /// The event type without the verb.
    thing: &'t str,
    names: &'static [&'static str],
    target_kind: &'static str,
}

impl<'t> Change<'t> {
    /// The change that an event type tells of, if it is one.
    pub(super) fn of(event_type: &'t str) -> Option<Self> {
        let (_, names, target_kind) = *THINGS.iter().find(|(prefix, ..)| event_type.starts_with(prefix))?;
        let (thing, verb) = event_type.rsplit_once('.')?;
        let (_, verb) = *VERBS.iter().find(|(last, _)| *last == verb)?;
        Some(Self { verb, thing, names, target_kind })
    }

    /// What was done, in words.
    pub(super) fn action(self) -> String {
        [self.verb, " ", &self.thing.replace(['.', '_'], " ")].concat()
    }

    /// What was changed, and what that is. Where it has no name of its own (there is one in a cluster), its type.
    pub(super) fn target<'a>(self, object: &mut Object<'a>) -> (Text<'a>, &'static str) {
        if self.target_kind == "lock"
            && let Some(locked) = locked(object)
        {
            return locked;
        }
        if self.target_kind == "device"
            && let Some(device) = device(object)
        {
            return device;
        }
        let name = self.names.iter().find_map(|name| object.text(name));
        (name.unwrap_or_else(|| Text::Owned(self.thing.to_owned())), self.target_kind)
    }
}

/// The device that an event is about.
pub(super) fn device<'a>(object: &Object<'a>) -> Option<(Text<'a>, &'static str)> {
    DEVICE_NAMES.iter().find_map(|path| Some((object.json_at(path).and_then(text)?, "device")))
}

/// What a lock is about. Newer clusters put it one deeper as well.
fn locked<'a>(object: &Object<'a>) -> Option<(Text<'a>, &'static str)> {
    ["target", "lock.target"].iter().find_map(|path| {
        let target = Object::parse(object.json_at(path)?)?;
        LOCKED.iter().find_map(|(name, kind)| Some((target.json(name).and_then(text)?, *kind)))
    })
}

/// The members of an access list that a change is about; they stay in the detail with the rest that is said of them.
pub(super) fn members<'a>(object: &Object<'a>) -> Vec<Text<'a>> {
    let named =
        object.json("members").and_then(|json| serde_json::from_str::<Vec<&serde_json::value::RawValue>>(json).ok());
    let named = named.unwrap_or_default();
    let named = named.iter().filter_map(|member| Object::parse(member.get())?.json("member_name").and_then(text));
    let removed = object.json("removed_members").and_then(crate::source::object::texts).unwrap_or_default();
    named.chain(removed).collect()
}
