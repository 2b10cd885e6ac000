//! OCSF in Parquet, as Amazon Security Lake asks for it of custom sources
//! (<https://docs.aws.amazon.com/security-lake/latest/userguide/custom-sources.html>): one class a file, in the order of
//! `time`, compressed with Zstandard.
//!
//! Every file of a class has the same columns, whatever is in it: the attributes that [`schema::ocsf`](crate::schema::ocsf)
//! writes for that class, objects as structs, lists as lists. Times are milliseconds since 1970, as in OCSF. The columns
//! `unmapped` and `entity.data`, which are any JSON, are its text; so is, in `unmapped`, under its own name, whatever else
//! has no column or is of another type.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::sink::Item;

/// So many events are taken apart at once.
const ROWS: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Parquet(#[from] ParquetError),
}

/// The class of an event.
pub(super) fn class_of(body: &[u8]) -> Result<i64, String> {
    #[derive(Deserialize)]
    struct Class {
        class_uid: i64,
    }
    let class: Result<Class, _> = serde_json::from_slice(body);
    class.map(|of| of.class_uid).map_err(|error| format!("no event of OCSF: {error}"))
}

/// Events of one class as a file.
pub(super) fn encode(class: i64, items: &[Item]) -> Result<Vec<u8>, EncodeError> {
    let schema = schema(class);
    let by_time = SortingColumn { column_idx: 0, descending: false, nulls_first: false };
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_sorting_columns(Some(vec![by_time]))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
    let mut decoder = ReaderBuilder::new(schema.clone()).with_batch_size(ROWS).build_decoder()?;
    for items in items.chunks(ROWS) {
        let rows: Vec<Value> = items.iter().map(|item| row(&schema, &item.body)).collect::<Result<_, _>>()?;
        decoder.serialize(&rows)?;
        if let Some(batch) = decoder.flush()? {
            writer.write(&batch)?;
        }
    }
    Ok(writer.into_inner()?)
}

/// An event with what has no column in `unmapped`.
fn row(schema: &Schema, body: &[u8]) -> Result<Value, serde_json::Error> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body)?;
    let mut row = Map::new();
    let mut rest: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
    for (name, raw) in &members {
        // As it stands: it may have numbers that no type here holds.
        if name == UNMAPPED {
            continue;
        }
        let value = schema.field_with_name(name).ok().zip(serde_json::from_str::<Value>(raw.get()).ok());
        let left = match value {
            None => Some((*raw).to_owned()),
            Some((field, value)) => {
                let (fits, left) = divide(value, field.data_type());
                row.extend(fits.map(|value| (name.clone(), value)));
                left.map(|left| RawValue::from_string(left.to_string())).transpose()?
            }
        };
        rest.extend(left.map(|left| (name.clone(), left)));
    }
    let unmapped = members.get(UNMAPPED).map(|raw| raw.get());
    let unmapped = match rest.is_empty() {
        true => unmapped.map(str::to_owned),
        false => {
            let own: Option<BTreeMap<String, Box<RawValue>>> = unmapped.map(serde_json::from_str).transpose()?;
            for (mut name, raw) in own.unwrap_or_default() {
                while rest.contains_key(&name) {
                    name.push('_');
                }
                rest.insert(name, raw);
            }
            Some(serde_json::to_string(&rest)?)
        }
    };
    row.extend(unmapped.map(|text| (UNMAPPED.to_owned(), Value::String(text))));
    Ok(Value::Object(row))
}

const UNMAPPED: &str = "unmapped";

/// What of a value a column takes, and what is left.
fn divide(value: Value, to: &DataType) -> (Option<Value>, Option<Value>) {
    let is_small = |value: &Value| value.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
    match (to, value) {
        (DataType::Struct(fields), Value::Object(members)) => {
            let (mut fits, mut left) = (Map::new(), Map::new());
            for (name, value) in members {
                let (some, rest) = match fields.find(&name) {
                    Some((_, field)) => divide(value, field.data_type()),
                    None => (None, Some(value)),
                };
                fits.extend(some.map(|value| (name.clone(), value)));
                left.extend(rest.map(|value| (name, value)));
            }
            (Some(Value::Object(fits)), (!left.is_empty()).then_some(Value::Object(left)))
        }
        (DataType::List(item), Value::Array(values)) => {
            let parts: Vec<_> = values.iter().map(|value| divide(value.clone(), item.data_type())).collect();
            // A list is whole, or is not there.
            match parts.iter().all(|(fits, left)| fits.is_some() && left.is_none()) {
                true => (Some(parts.into_iter().filter_map(|(fits, _)| fits).collect()), None),
                false => (None, Some(Value::Array(values))),
            }
        }
        (DataType::Utf8, value @ Value::String(_)) => (Some(value), None),
        (DataType::Utf8, value @ (Value::Object(_) | Value::Array(_))) => {
            (Some(Value::String(value.to_string())), None)
        }
        (DataType::Boolean, value @ Value::Bool(_)) => (Some(value), None),
        (DataType::Int64, value) if value.is_i64() => (Some(value), None),
        (DataType::Int32, value) if is_small(&value) => (Some(value), None),
        (_, value) => (None, Some(value)),
    }
}

/// The columns of a class.
pub(super) fn schema(class: i64) -> SchemaRef {
    let fields: Fields = of_every_class().into_iter().chain(of_class(class)).collect();
    Arc::new(Schema::new(fields))
}

fn column(name: &str, of: DataType) -> FieldRef {
    Arc::new(Field::new(name, of, true))
}

fn text(name: &str) -> FieldRef {
    column(name, DataType::Utf8)
}

fn int(name: &str) -> FieldRef {
    column(name, DataType::Int32)
}

/// A time too.
fn long(name: &str) -> FieldRef {
    column(name, DataType::Int64)
}

fn flag(name: &str) -> FieldRef {
    column(name, DataType::Boolean)
}

fn object<const N: usize>(name: &str, fields: [FieldRef; N]) -> FieldRef {
    column(name, DataType::Struct(Fields::from_iter(fields)))
}

fn texts(name: &str) -> FieldRef {
    column(name, DataType::new_list(DataType::Utf8, true))
}

fn objects<const N: usize>(name: &str, fields: [FieldRef; N]) -> FieldRef {
    column(name, DataType::new_list(DataType::Struct(Fields::from_iter(fields)), true))
}

/// `time` is the first: files are in its order.
fn of_every_class() -> Vec<FieldRef> {
    vec![
        long("time"),
        int("class_uid"),
        text("class_name"),
        int("category_uid"),
        text("category_name"),
        int("activity_id"),
        text("activity_name"),
        long("type_uid"),
        int("severity_id"),
        text("severity"),
        int("status_id"),
        text("status"),
        text("status_detail"),
        long("start_time"),
        long("end_time"),
        long("duration"),
        text("message"),
        object(
            "metadata",
            [
                text("version"),
                object("product", [text("name"), text("vendor_name"), text("version")]),
                texts("profiles"),
                text("uid"),
                text("original_event_uid"),
                text("correlation_uid"),
                text("event_code"),
                text("log_name"),
                text("log_provider"),
                long("logged_time"),
                int("sequence"),
                flag("is_truncated"),
                int("untruncated_size"),
            ],
        ),
        object("actor", [user(), object("session", [text("uid"), long("created_time")])]),
        int("action_id"),
        text("action"),
        int("disposition_id"),
        text("disposition"),
        flag("is_alert"),
        objects("authorizations", [text("decision"), object("policy", [text("uid"), text("version")])]),
        objects("observables", [text("name"), int("type_id"), text("type"), text("value")]),
        text(UNMAPPED),
    ]
}

fn user() -> FieldRef {
    object("user", [text("name"), int("type_id"), text("type")])
}

fn session() -> FieldRef {
    object("session", [text("uid"), long("created_time"), long("expiration_time"), flag("is_mfa")])
}

fn from() -> FieldRef {
    object("src_endpoint", [text("ip"), int("port"), text("name"), text("hostname"), text("svc_name")])
}

fn to() -> FieldRef {
    object("dst_endpoint", [text("ip"), int("port"), text("name"), text("hostname")])
}

fn file() -> FieldRef {
    object("file", [text("name"), text("path"), text("uid"), int("type_id"), text("type")])
}

fn device() -> FieldRef {
    object("device", [text("hostname"), text("name"), int("type_id"), text("type")])
}

/// What a class has besides. One that is not known here has all of that in `unmapped`.
fn of_class(class: i64) -> Vec<FieldRef> {
    match class {
        1001 => vec![file(), device()],
        1007 => {
            let session = object("session", [text("uid"), long("created_time")]);
            vec![object("process", [int("pid"), text("cmd_line"), session]), device()]
        }
        1008 => vec![text("log_name"), text("log_provider"), from()],
        2003 | 2004 => {
            let analytic = [text("uid"), text("name"), text("version"), int("type_id"), text("type")];
            let info = [
                text("uid"),
                text("title"),
                text("desc"),
                texts("types"),
                long("created_time"),
                long("modified_time"),
                object("analytic", analytic),
                objects("related_events", [text("uid")]),
            ];
            let compliance =
                [text("control"), texts("standards"), texts("requirements"), int("status_id"), text("status")];
            let actor = object("actor", [user(), object("session", [text("uid"), long("created_time")])]);
            let compliance = (class == 2003).then(|| object("compliance", compliance));
            let found = [
                object("finding_info", info),
                objects("evidences", [actor]),
                objects("resources", [text("uid"), text("name"), text("type")]),
            ];
            found.into_iter().chain(compliance).collect()
        }
        3001 => vec![user(), from()],
        3002 => {
            let service = object("service", [text("name"), text("uid")]);
            vec![user(), session(), service, flag("is_mfa"), from(), to()]
        }
        3003 => vec![user(), texts("privileges"), session(), from(), to()],
        3004 => {
            let entity = [text("type"), int("type_id"), text("uid"), text("name"), text("data"), user()];
            vec![object("entity", entity), text("comment"), from()]
        }
        3006 => vec![object("group", [text("name"), text("type")]), user(), from()],
        4001 | 4005 | 4007 => vec![text("app_protocol_name"), from(), to()],
        4014 => vec![text("app_protocol_name"), session(), from(), to()],
        6003 => {
            let (service, request) = (object("service", [text("name")]), object("request", [text("uid")]));
            let api = object("api", [text("operation"), service, request]);
            vec![api, objects("resources", [text("name"), text("type")]), from()]
        }
        6005 => {
            let database = object("database", [text("name"), int("type_id"), text("type")]);
            let query = object("query_info", [text("uid"), text("query_string")]);
            vec![int("type_id"), text("type"), database, query, from()]
        }
        6006 => vec![file(), from(), to()],
        _ => Vec::new(),
    }
}
