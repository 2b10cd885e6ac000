//! `docs/FORWARDING.md` says what is so.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::destination::Receiver;
use crate::schema::Schema;
use crate::schema::tests::corpus;

const PAGE: &str = include_str!("../../docs/FORWARDING.md");

/// The members of an object in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A member a line.
fn shown(text: &str) -> String {
    match serde_json::from_str::<Members>(text) {
        Err(_) => format!("```text\n{text}\n```\n"),
        Ok(Members(members)) => {
            let lines: Vec<String> = members.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
            format!("```json\n{{\n{}\n}}\n```\n", lines.join(",\n"))
        }
    }
}

#[test]
fn examples_are_what_is_written() {
    let case = corpus::full();
    let example =
        |schema: Schema| format!("`{}`:\n\n{}", schema.as_str(), shown(&schema.write(&case.notice(), usize::MAX)));
    let examples = Schema::ALL.map(example).join("\n");
    assert!(PAGE.contains(&examples), "is not in FORWARDING.md:\n{examples}=====");
}

#[test]
fn findings_and_heartbeats_are_shown_as_they_are_written() {
    let shown = [
        (Schema::Ocsf, corpus::finding()),
        (Schema::Ecs, corpus::finding()),
        (Schema::Cef, corpus::finding()),
        (Schema::Custody, corpus::heartbeat()),
    ]
    .map(|(schema, case)| format!("`{}`:\n\n{}", schema.as_str(), shown(&schema.write(&case.notice(), usize::MAX))))
    .join("\n");
    assert!(PAGE.contains(&shown), "is not in FORWARDING.md:\n{shown}=====");
}

/// Every name of a table, with those of the tables in it.
fn names(value: &toml::Value, path: &str, found: &mut BTreeSet<String>) {
    if let toml::Value::Table(table) = value {
        for (name, value) in table {
            let path = format!("{path}.{name}");
            names(value, &path, found);
            found.insert(path);
        }
    }
}

#[test]
fn destinations_are_understood() {
    let blocks: Vec<&str> = PAGE.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    let mut kinds = BTreeSet::new();
    for block in &blocks {
        let config: toml::Table = block.parse().unwrap();
        let [toml::Value::Table(table)] = config["forward"].as_array().unwrap().as_slice() else { panic!("{block}") };
        let mut table = table.clone();
        assert!(table.remove("name").is_some(), "{block}");
        // What every destination has, whoever receives, is the binary's.
        for name in ["kinds", "except_kinds", "where", "start", "mask"] {
            table.remove(name);
        }
        let schema = table.remove("schema").map(|name| Schema::from_name(name.as_str().unwrap()).unwrap());
        let receiver: Receiver = table.clone().try_into().unwrap_or_else(|error| panic!("{error}: {block}"));
        // What is not known would be left out.
        let (mut written, mut known) = (BTreeSet::new(), BTreeSet::new());
        names(&toml::Value::Table(table.clone()), "", &mut written);
        names(&toml::Value::try_from(&receiver).unwrap(), "", &mut known);
        assert_eq!(written.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "{block}");
        assert!(schema.unwrap_or(receiver.default_schema()).is_json() || table["kind"].as_str() == Some("syslog"));
        kinds.insert(table["kind"].as_str().unwrap().to_owned());
    }
    let all = ["elasticsearch", "files", "kafka", "sentinel", "splunk", "syslog", "webhook"];
    assert_eq!(kinds, all.map(str::to_owned).into());
    for (kind, schema) in [("webhook", "custody"), ("kafka", "custody"), ("elasticsearch", "ecs"), ("sentinel", "ocsf")]
    {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{schema}` |"))).unwrap();
        assert!(row.contains(&format!("`{kind}`")), "{row}");
    }
}
