//! The index template that is shipped, against what is written in ECS.

use std::sync::LazyLock;

use proptest::test_runner::TestCaseError;

use super::*;
use crate::sink::receiver::Receiver;

const TEXT: &str = include_str!("../../../../packaging/elasticsearch/custody-index-template.json");

static MAPPINGS: LazyLock<Value> = LazyLock::new(|| parsed(TEXT)["template"]["mappings"].clone());

/// Whether Elasticsearch would give a string of this path a mapping by itself, and the same for every such path.
fn has_dynamic_template(path: &str) -> bool {
    let templates = MAPPINGS["dynamic_templates"].as_array().unwrap().iter();
    let mut patterns = templates.flat_map(|of| of.as_object().unwrap().values()).map(|of| of["path_match"].as_str());
    patterns.any(|pattern| path.starts_with(pattern.unwrap().strip_suffix('*').unwrap()))
}

/// What of a document would not be found, or would be refused.
fn faults(path: &str, value: &Value, mapping: &Value, faults: &mut Vec<String>) {
    let of = mapping.get("type").and_then(Value::as_str);
    let fits = match (of, value) {
        (_, Value::Array(values)) => {
            return values.iter().for_each(|value| self::faults(path, value, mapping, faults));
        }
        (Some("flattened"), Value::Object(_)) => true,
        (None | Some("object"), Value::Object(members)) => {
            for (name, value) in members {
                let path = format!("{path}{}{name}", if path.is_empty() { "" } else { "." });
                match mapping["properties"].get(name) {
                    Some(mapping) => self::faults(&path, value, mapping, faults),
                    None if value.is_string() && has_dynamic_template(&path) => {}
                    None => faults.push(format!("{path}: no mapping for {value}")),
                }
            }
            return;
        }
        (Some("keyword" | "match_only_text" | "wildcard"), value) => value.is_string(),
        (Some("date"), value) => value.as_str().is_some_and(|text| text.len() >= 27 || text.ends_with("us")),
        (Some("ip"), value) => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        (Some("long"), value) => value.is_i64(),
        (Some("boolean"), value) => value.is_boolean(),
        _ => false,
    };
    if !fits {
        faults.push(format!("{path}: {of:?} for {value}"));
    }
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let document = parsed(&Schema::Ecs.write(&case.notice(), UNLIMITED));
    let mut found = Vec::new();
    faults("", &document, &MAPPINGS, &mut found);
    prop_assert_eq!(found, Vec::<String>::new());
    Ok(())
}

#[test]
fn every_field_of_the_examples_has_a_mapping() {
    for case in
        corpus::examples().into_iter().map(|(_, case)| case).chain([full(), corpus::finding(), corpus::heartbeat()])
    {
        check(&case).unwrap();
    }
}

proptest! {
    #![proptest_config(at_least(512))]

    #[test]
    fn every_field_has_a_mapping(case in case()) {
        check(&case)?;
    }
}

#[test]
fn fields_of_ecs_have_the_types_of_ecs() {
    fn visit(path: &str, mapping: &Value, ecs: &Value) {
        for (name, of) in mapping["properties"].as_object().unwrap() {
            let path = format!("{path}{}{name}", if path.is_empty() { "" } else { "." });
            match of.get("type").and_then(Value::as_str) {
                _ if path == "custody" => {}
                None => visit(&path, of, ecs),
                Some(of) => {
                    let published = match &ecs["fields"][&path] {
                        Value::Array(of) => of[0].clone(),
                        of => of.clone(),
                    };
                    assert_eq!(published, of, "{path}");
                }
            }
        }
    }
    visit("", &MAPPINGS, &parsed(include_str!("../ecs-9.4.0.json")));
    // So many fields that they stay below the limit, whatever comes.
    fn count(mapping: &Value) -> u64 {
        let properties = mapping["properties"].as_object();
        properties.map_or(1, |of| of.values().map(count).sum::<u64>() + 1)
    }
    let limit = parsed(TEXT)["template"]["settings"]["index.mapping.total_fields.limit"].as_u64().unwrap();
    assert!(count(&MAPPINGS) * 2 < limit, "{}", count(&MAPPINGS));
}

#[test]
fn what_could_be_anything_is_one_field() {
    let detail = &MAPPINGS["properties"]["custody"]["properties"]["detail"];
    assert_eq!(detail, &json!({ "type": "flattened", "depth_limit": 100, "ignore_above": 1024 }));
    assert_eq!(MAPPINGS["dynamic"], false);
    assert_eq!(MAPPINGS["date_detection"], false);
}

#[tokio::test]
async fn a_receiver_takes_it() {
    let Some(receiver) = Receiver::start(&["--listen", "bulk"]) else { return };
    let url = format!("{}/_index_template/custody", receiver.url("bulk"));
    let sent = reqwest::Client::new().put(url).header("content-type", "application/json").body(TEXT).send().await;
    assert!(sent.unwrap().status().is_success());
    assert_eq!(receiver.problems("bulk").await, json!([]));
}
