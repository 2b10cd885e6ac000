//! Where a decision says who asked for what and why: pointers into the event, by configuration.
//!
//! All pointers are found in one walk over the event, which goes only where one of them leads.

use std::collections::BTreeMap;

use custody_schemas::event::Text;
use serde::{Deserialize, Serialize};

use super::super::json::Scanner;
use super::super::object::Object;

/// Bound on the names of one pointer, and so on how deep the walk goes.
const NAMES_MAX: usize = 16;

/// Bound on the pointers of a mapping.
const POINTERS_MAX: usize = 1000;

/// What a pointer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpaColumn {
    /// Who asks.
    Actor,
    /// What is asked for.
    Action,
    /// On what.
    Target,
    /// The reason, in words or by its sort.
    Reason,
    /// A ticket in a field of its own.
    Ticket,
    /// The session at the gateway.
    SessionId,
    /// Access requests, one or a list.
    RequestIds,
    /// The id that the caller gave the request at the gateway.
    CorrelationId,
    /// The person who said yes.
    Approver,
    /// When they did.
    ApprovedAt,
    /// When the access ends.
    ExpiresAt,
    /// When an approval was given that is valid for `valid_duration`.
    GrantedAt,
    /// How long that approval is valid: `1h30m`, `PT1H30M` or a number of seconds.
    ValidDuration,
    /// Whether a result that is an object allows.
    Allow,
}

impl OpaColumn {
    const COUNT: usize = Self::Allow as usize + 1;

    /// Where Custody looks when nobody says otherwise.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Actor => &[
                "/input/user",
                "/input/user/email",
                "/input/user/name",
                "/input/user/id",
                "/input/identity/user",
                "/input/identity/email",
                "/input/identity",
                "/input/subject",
                "/input/subject/email",
                "/input/subject/name",
                "/input/subject/id",
                "/input/principal",
                "/input/context/identity",
                "/input/context/identity/user",
                "/input/context/identity/email",
                "/input/context/identity/name",
                "/input/context/identity/id",
                "/input/requester",
            ],
            Self::Action => &["/input/action", "/input/action/name"],
            Self::Target => &[
                "/input/target",
                "/input/target/name",
                "/input/target/id",
                "/input/resource",
                "/input/resource/name",
                "/input/resource/id",
                "/input/context/target",
                "/input/context/target/name",
                "/input/context/target/id",
            ],
            Self::Reason => &[
                "/input/reason",
                "/input/reason/text",
                "/input/context/attributes/reason",
                "/input/justification",
                "/input/reason/type",
                "/input/context/attributes/reason_type",
                "/input/reason_type",
            ],
            Self::Ticket => {
                &["/input/context/attributes/reason_id", "/input/reason_id", "/input/reason/id", "/input/ticket"]
            }
            Self::SessionId => &["/input/session_id", "/input/session/id", "/input/sid", "/input/context/session_id"],
            Self::RequestIds => {
                &["/input/request_id", "/input/access_request", "/input/access_request/id", "/input/access_requests"]
            }
            Self::CorrelationId => &["/input/correlation_id", "/input/context/correlation_id"],
            Self::Approver => &["/result/approver", "/input/approval/approver", "/input/approval/approved_by"],
            Self::ApprovedAt => &["/result/approved_at", "/input/approval/approved_at"],
            Self::ExpiresAt => &["/result/expires_at", "/input/approval/expires_at"],
            Self::GrantedAt => &["/input/approval/granted_at"],
            Self::ValidDuration => &["/input/approval/valid_duration"],
            Self::Allow => &["/result/allow", "/result/allowed", "/result/result", "/result/decision"],
        }
    }

    fn all() -> [Self; Self::COUNT] {
        [
            Self::Actor,
            Self::Action,
            Self::Target,
            Self::Reason,
            Self::Ticket,
            Self::SessionId,
            Self::RequestIds,
            Self::CorrelationId,
            Self::Approver,
            Self::ApprovedAt,
            Self::ExpiresAt,
            Self::GrantedAt,
            Self::ValidDuration,
            Self::Allow,
        ]
    }
}

/// A JSON pointer (RFC 6901) into a decision log event, such as `/input/user/email`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpaPointer {
    names: Vec<String>,
}

impl TryFrom<String> for OpaPointer {
    type Error = String;

    /// # Errors
    ///
    /// When the text is not a pointer to something inside the event.
    fn try_from(text: String) -> Result<Self, String> {
        let inner = text
            .strip_prefix('/')
            .filter(|inner| !inner.is_empty())
            .ok_or_else(|| format!("a JSON pointer begins with `/` and a name, as in `/input/user`: `{text}`"))?;
        let names: Vec<String> = inner.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
        if names.len() > NAMES_MAX {
            return Err(format!("a JSON pointer has at most {NAMES_MAX} names: `{text}`"));
        }
        Ok(Self { names })
    }
}

impl From<OpaPointer> for String {
    fn from(pointer: OpaPointer) -> Self {
        pointer.names.iter().map(|name| ["/", &name.replace('~', "~0").replace('/', "~1")].concat()).collect()
    }
}

/// Where each column is looked for; the first pointer that leads to a value counts.
type Places = BTreeMap<OpaColumn, Vec<OpaPointer>>;

/// The mapping as it is written in the configuration. A key that is no column is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    /// Other places for the policies under a path.
    #[serde(default)]
    paths: Vec<WrittenPath>,
    #[serde(flatten)]
    places: Places,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WrittenPath {
    /// Beginning of the policy paths that are meant, with or without a leading slash.
    prefix: String,
    #[serde(flatten)]
    places: Places,
}

/// What the events of Open Policy Agent mean: for each column the pointers at which it is looked for, first hit wins,
/// and other pointers for the policies whose path begins with a prefix (the longest that fits; columns that it does
/// not name are looked for in the general places).
///
/// ```toml
/// actor = ["/input/user/email", "/input/user/id"]
/// [[paths]]
/// prefix = "boundary/"
/// actor = ["/input/context/identity/email"]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct OpaMapping {
    written: Written,
    general: Lookup,
    /// Prefix and lookup, the longest prefix first.
    by_path: Vec<(String, Lookup)>,
}

impl Default for OpaMapping {
    fn default() -> Self {
        let places = BTreeMap::new();
        Self::compiled(Written { paths: Vec::new(), places })
    }
}

impl TryFrom<Written> for OpaMapping {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let all = written.paths.iter().map(|path| &path.places).chain([&written.places]);
        if all.flat_map(|places| places.values()).map(Vec::len).sum::<usize>() > POINTERS_MAX {
            return Err(format!("a mapping has at most {POINTERS_MAX} pointers"));
        }
        Ok(Self::compiled(written))
    }
}

impl From<OpaMapping> for Written {
    fn from(mapping: OpaMapping) -> Self {
        mapping.written
    }
}

impl OpaMapping {
    /// Columns that are not written are looked for in the usual places.
    fn compiled(mut written: Written) -> Self {
        for column in OpaColumn::all() {
            written.places.entry(column).or_insert_with(|| {
                // Every usual place is a pointer: the test of the defaults says so.
                column.usual().iter().filter_map(|text| OpaPointer::try_from((*text).to_owned()).ok()).collect()
            });
        }
        let mut by_path: Vec<(String, Lookup)> = written
            .paths
            .iter()
            .map(|path| {
                let mut places = written.places.clone();
                places.extend(path.places.clone());
                (path.prefix.trim_start_matches('/').to_owned(), Lookup::new(&places))
            })
            .collect();
        by_path.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self { general: Lookup::new(&written.places), written, by_path }
    }

    /// The places for a policy, by its path without a leading slash.
    pub(super) fn lookup(&self, policy_path: Option<&str>) -> &Lookup {
        let path = policy_path.unwrap_or_default();
        let special = self.by_path.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        special.map_or(&self.general, |(_, lookup)| lookup)
    }
}

/// Places that have been made ready for the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookup {
    root: Node,
    /// The names of each pointer.
    pointers: Vec<Vec<String>>,
    /// For each column the numbers of its pointers.
    columns: [Vec<usize>; OpaColumn::COUNT],
}

/// A name on the way of pointers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    children: BTreeMap<String, Node>,
    /// The number of the pointer that ends here.
    pointer: Option<usize>,
}

impl Lookup {
    fn new(places: &Places) -> Self {
        let mut lookup =
            Self { root: Node::default(), pointers: Vec::new(), columns: std::array::from_fn(|_| Vec::new()) };
        for (column, pointers) in places {
            for pointer in pointers {
                let node = pointer
                    .names
                    .iter()
                    .fold(&mut lookup.root, |node, name| node.children.entry(name.clone()).or_default());
                let number = *node.pointer.get_or_insert_with(|| {
                    lookup.pointers.push(pointer.names.clone());
                    lookup.pointers.len() - 1
                });
                if let Some(numbers) = lookup.columns.get_mut(*column as usize) {
                    numbers.push(number);
                }
            }
        }
        lookup
    }

    /// Finds what the pointers lead to in an event.
    pub(super) fn find<'l, 'a>(&'l self, event: &Object<'a>) -> Found<'l, 'a> {
        let mut values = vec![None; self.pointers.len()];
        for (name, node) in &self.root.children {
            if let Some(json) = event.json(name) {
                walk(node, json, &mut values);
            }
        }
        let lists = ["erased", "masked"].map(|name| match event.json(name) {
            None | Some("null") => Vec::new(),
            // A list that cannot be read may name anything.
            Some(json) => super::texts(json).unwrap_or_else(|| vec![Text::Borrowed("")]),
        });
        let withheld = lists.iter().flatten().map(|pointer| listed(pointer)).collect();
        Found { lookup: self, values, withheld }
    }
}

/// What the pointers of a lookup lead to in one event.
pub(super) struct Found<'l, 'a> {
    lookup: &'l Lookup,
    /// For each pointer the JSON text that it leads to.
    values: Vec<Option<&'a str>>,
    /// The pointers at which the engine removed or replaced something before it logged.
    withheld: Vec<Vec<(String, String)>>,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Nothing.
    Absent,
    /// Not what the policy saw: it was removed or replaced.
    Withheld,
    /// A JSON text.
    Value(&'a str),
}

impl<'a> Found<'_, 'a> {
    /// The places of a column in their order.
    pub(super) fn places(&self, column: OpaColumn) -> impl Iterator<Item = Place<'a>> {
        let numbers = self.lookup.columns.get(column as usize).into_iter().flatten();
        numbers.map(|number| {
            if self.lookup.pointers.get(*number).is_some_and(|names| self.overlaps(names)) {
                return Place::Withheld;
            }
            self.values.get(*number).copied().flatten().map_or(Place::Absent, Place::Value)
        })
    }

    /// Whether one of the listed pointers leads into what these names lead to, or these into what it does.
    fn overlaps(&self, names: &[String]) -> bool {
        let is_same = |((raw, plain), name): (&(String, String), &String)| raw == name || plain == name;
        self.withheld.iter().any(|listed| listed.iter().zip(names).all(is_same))
    }

    /// Whether a whole field of the event was removed or replaced.
    pub(super) fn is_field_withheld(&self, field: &str) -> bool {
        self.withheld
            .iter()
            .any(|listed| listed.is_empty() || matches!(listed.as_slice(), [(name, _)] if name == field))
    }

    /// What `read` makes of the first place of which it makes something. A place that was withheld is passed over.
    pub(super) fn first<T>(&self, column: OpaColumn, read: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        self.places(column).find_map(|place| match place {
            Place::Value(json) => read(json),
            Place::Absent | Place::Withheld => None,
        })
    }
}

/// The names of a pointer in `erased` or `masked`, each as it stands and without its escapes: these are those of URL
/// paths, not those of RFC 6901.
fn listed(pointer: &str) -> Vec<(String, String)> {
    pointer.split('/').skip(1).map(|name| (name.to_owned(), unescaped(name))).collect()
}

fn unescaped(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| after.get(..2)).flatten();
        match code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Notes what the pointers through a node lead to in a value.
fn walk<'a>(node: &Node, json: &'a str, values: &mut [Option<&'a str>]) {
    if let Some(value) = node.pointer.and_then(|number| values.get_mut(number)) {
        *value = Some(json);
    }
    if node.children.is_empty() {
        return;
    }
    let mut scanner = Scanner::new(json);
    // The text has been read as JSON before; where a name cannot be told, nothing more is found.
    let _ = match json.as_bytes().first() {
        Some(b'{') => {
            let mut seen: Vec<&str> = Vec::new();
            scanner.object(|scanner, name| {
                let value = scanner.value()?.text;
                if let Some((name, child)) = node.children.get_key_value(name.as_ref()) {
                    if seen.contains(&name.as_str()) {
                        // Which of two is the fact cannot be known.
                        forget(child, values);
                    } else {
                        seen.push(name);
                        walk(child, value, values);
                    }
                }
                Some(())
            })
        }
        Some(b'[') => {
            let mut positions = 0_usize..;
            scanner.list(|scanner| {
                let value = scanner.value()?.text;
                if let Some(child) = node.children.get(&positions.next()?.to_string()) {
                    walk(child, value, values);
                }
                Some(())
            })
        }
        _ => None,
    };
}

/// Forgets what the pointers through a node lead to.
fn forget(node: &Node, values: &mut [Option<&str>]) {
    if let Some(value) = node.pointer.and_then(|number| values.get_mut(number)) {
        *value = None;
    }
    for child in node.children.values() {
        forget(child, values);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping(written: serde_json::Value) -> Result<OpaMapping, String> {
        serde_json::from_value(written).map_err(|error| error.to_string())
    }

    #[test]
    fn every_usual_place_is_a_pointer_and_the_defaults_are_printed_whole() {
        let default = OpaMapping::default();
        for column in OpaColumn::all() {
            assert_eq!(default.written.places[&column].len(), column.usual().len(), "{column:?}");
        }
        let printed = serde_json::to_value(&default).unwrap();
        assert_eq!(printed["actor"][0], "/input/user");
        assert_eq!(printed["allow"].as_array().unwrap().len(), 4);
        assert_eq!(mapping(printed).unwrap(), default);
        assert_eq!(mapping(json!({})).unwrap(), default);
    }

    #[test]
    fn mappings_that_say_nothing_sensible_are_refused() {
        let long = "/a".repeat(NAMES_MAX + 1);
        let many = vec!["/input/x"; POINTERS_MAX + 1];
        for written in [
            json!({"actr": ["/input/user"]}),
            json!({"actor": ["input.user"]}),
            json!({"actor": [""]}),
            json!({"actor": ["/"]}),
            json!({"actor": [long]}),
            json!({"actor": many}),
            json!({"actor": "/input/user"}),
            json!({"paths": [{"actor": ["/input/user"]}]}),
            json!({"paths": [{"prefix": "a", "actr": ["/input/user"]}]}),
        ] {
            assert!(mapping(written.clone()).is_err(), "{written}");
        }
    }

    #[test]
    fn pointers_are_followed_as_the_rfc_says() {
        let event =
            r#"{"input":{"a/b":{"m~n":1},"list":[{"x":"y"},2],"":3,"t":{"u":4,"u":5,"v":6},"0":7,"e":"\u0041"}}"#;
        let cases = [
            ("/input/a~1b/m~0n", Some("1")),
            ("/input/list/0/x", Some("\"y\"")),
            ("/input/list/1", Some("2")),
            ("/input/list/01", None),
            ("/input/list/-", None),
            ("/input/list/2", None),
            ("/input/", Some("3")),
            ("/input/0", Some("7")),
            ("/input/t/u", None),
            ("/input/t/v", Some("6")),
            ("/input/e", Some(r#""\u0041""#)),
            ("/input/e/x", None),
            ("/other", None),
        ];
        let object = Object::parse(event).unwrap();
        for (pointer, expected) in cases {
            let mapping = mapping(json!({"actor": [pointer]})).unwrap();
            let found = mapping.lookup(None).find(&object);
            assert_eq!(found.first(OpaColumn::Actor, Some), expected, "{pointer}");
        }
    }
}
