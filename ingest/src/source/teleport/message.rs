//! Teleport's protobuf messages as the flat JSON objects that its event handler would send of them.
//!
//! What a recording holds are messages of `events.proto`, each one field of a `OneOf`. A table says of every message
//! which number has which name in JSON; an embedded message has no name, its fields stand beside those around it.
//! A field of protobuf that is zero is absent. Those that Teleport prints nevertheless are printed here too, so that a
//! recording and the audit stream tell of one event with one object.
//!
//! Numbers and names are those of Teleport 8 to 19. The numbers of the `OneOf` from 200 on differ between versions, and
//! are not read.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use custody_schemas::record::{DecodeError, ErrorKind};
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::source::object::NESTING_MAX;

/// Number of an `OneOf` that is output of a terminal.
pub(super) const SESSION_PRINT: u32 = 7;
/// Number of an `OneOf` that is a picture of a desktop.
pub(super) const DESKTOP_RECORDING: u32 = 69;

/// Bound on the fields of one message of the table.
const FIELDS_MAX: usize = 24;

type Message = &'static [Field];

/// A field of a message.
#[derive(Debug)]
struct Field {
    number: u32,
    /// The name in JSON.
    name: &'static str,
    of: Type,
}

#[derive(Debug, Clone, Copy)]
enum Type {
    Text,
    Texts,
    Bytes,
    /// A signed number, or one of an enum.
    Int {
        /// Whether zero is printed.
        always: bool,
    },
    Uint {
        always: bool,
    },
    Flag {
        always: bool,
    },
    Time,
    /// A map of texts.
    Map,
    /// A map of lists of texts.
    Traits,
    /// Any JSON.
    Struct,
    /// A number that can be absent, and is null then.
    Wrapped,
    /// A message whose fields stand in this one.
    Flat(Message),
    Object(Message),
    Objects(Message),
}

const fn field(number: u32, name: &'static str, of: Type) -> Field {
    Field { number, name, of }
}
const fn text(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Text)
}
const fn texts(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Texts)
}
const fn int(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Int { always: true })
}
const fn int_if(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Int { always: false })
}
const fn uint(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Uint { always: true })
}
const fn uint_if(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Uint { always: false })
}
const fn flag(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Flag { always: true })
}
const fn flag_if(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Flag { always: false })
}
const fn time(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Time)
}
const fn map(number: u32, name: &'static str) -> Field {
    field(number, name, Type::Map)
}
const fn flat(number: u32, message: Message) -> Field {
    field(number, "", Type::Flat(message))
}
const fn object(number: u32, name: &'static str, message: Message) -> Field {
    field(number, name, Type::Object(message))
}

const METADATA: Message =
    &[int(1, "ei"), text(2, "event"), text(3, "uid"), text(4, "code"), time(5, "time"), text(6, "cluster_name")];
const USER: Message = &[
    text(1, "user"),
    text(2, "login"),
    text(3, "impersonator"),
    text(4, "aws_role_arn"),
    texts(5, "access_requests"),
    text(6, "azure_identity"),
    text(7, "gcp_service_account"),
    object(8, "trusted_device", DEVICE),
    text(9, "required_private_key_policy"),
    int_if(10, "user_kind"),
    text(11, "bot_name"),
    text(12, "bot_instance_id"),
    int_if(13, "user_origin"),
    texts(14, "user_roles"),
    field(15, "user_traits", Type::Traits),
    text(16, "user_cluster_name"),
    text(18, "beam_id"),
    text(19, "bot_scope_of_origin"),
];
const DEVICE: Message = &[text(1, "device_id"), int_if(2, "os_type"), text(3, "asset_tag"), text(4, "credential_id")];
const SESSION: Message = &[text(1, "sid"), text(2, "with_mfa"), text(3, "private_key_policy")];
const SERVER: Message = &[
    text(1, "namespace"),
    text(2, "server_id"),
    text(3, "server_hostname"),
    text(4, "server_addr"),
    map(5, "server_labels"),
    text(6, "forwarded_by"),
    text(7, "server_sub_kind"),
    text(8, "server_version"),
];
const CONNECTION: Message = &[text(1, "addr.local"), text(2, "addr.remote"), text(3, "proto")];
const CLIENT: Message = &[text(1, "user_agent")];
const KUBERNETES: Message = &[
    text(1, "kubernetes_cluster"),
    texts(2, "kubernetes_users"),
    texts(3, "kubernetes_groups"),
    map(4, "kubernetes_labels"),
];
const POD: Message = &[
    text(1, "kubernetes_pod_name"),
    text(2, "kubernetes_pod_namespace"),
    text(3, "kubernetes_container_name"),
    text(4, "kubernetes_container_image"),
    text(5, "kubernetes_node_name"),
];
const STATUS: Message = &[flag(1, "success"), text(2, "error"), text(3, "message")];
const RESOURCE: Message =
    &[text(1, "name"), time(2, "expires"), text(3, "updated_by"), text(4, "ttl"), text(5, "scope")];
const BPF: Message = &[uint(1, "pid"), uint(2, "cgroup_id"), text(3, "program"), uint_if(4, "audit_session_id")];
const COMMAND: Message = &[text(1, "command"), text(2, "exitCode"), text(3, "exitError")];
const MFA_DEVICE: Message = &[
    text(1, "mfa_device_name"),
    text(2, "mfa_device_uuid"),
    text(3, "mfa_device_type"),
    flag_if(4, "mfa_via_browser"),
];
const APP: Message = &[text(1, "app_uri"), text(2, "app_public_addr"), map(3, "app_labels"), text(4, "app_name")];
const AWS: Message = &[text(1, "aws_region"), text(2, "aws_service"), text(3, "aws_host"), text(4, "aws_assumed_role")];
const DATABASE: Message = &[
    text(1, "db_service"),
    text(2, "db_protocol"),
    text(3, "db_uri"),
    text(4, "db_name"),
    text(5, "db_user"),
    map(6, "db_labels"),
    text(7, "db_aws_region"),
    text(8, "db_aws_redshift_cluster_id"),
    text(9, "db_gcp_project_id"),
    text(10, "db_gcp_instance_id"),
    texts(11, "db_roles"),
    text(12, "db_type"),
    text(13, "db_origin"),
];
const RESOURCE_ID: Message = &[text(1, "cluster"), text(2, "kind"), text(3, "name"), text(4, "sub_resource")];

const M: Field = flat(1, METADATA);
const U: Field = flat(2, USER);
const S: Field = flat(3, SESSION);
/// Metadata, user, session and database: what every event of a database begins with.
const D: Field = flat(4, DATABASE);

/// What of a message that is not known can be read: all of them begin with the metadata.
const UNKNOWN_MESSAGE: Message = &[M];

const LOGIN: Message = &[
    M,
    U,
    flat(3, STATUS),
    text(4, "method"),
    field(5, "attributes", Type::Struct),
    object(6, "mfa_device", MFA_DEVICE),
    flat(7, CLIENT),
    flat(8, CONNECTION),
    texts(9, "applied_login_rules"),
    text(10, "connector_id"),
];
const SESSION_START: Message = &[
    M,
    U,
    S,
    flat(4, SERVER),
    flat(5, CONNECTION),
    text(6, "size"),
    flat(7, KUBERNETES),
    flat(8, POD),
    texts(9, "initial_command"),
    text(10, "session_recording"),
    // Where the requests stood before they became part of the user; whichever of the two is there is printed.
    texts(11, "access_requests"),
    texts(12, "invited"),
    text(13, "reason"),
];
const SESSION_JOIN: Message = &[M, U, S, flat(4, SERVER), flat(5, CONNECTION), flat(6, KUBERNETES)];
const SESSION_REJECT: Message = &[M, U, flat(3, SERVER), flat(4, CONNECTION), text(5, "reason"), int(6, "max")];
const RESIZE: Message =
    &[M, U, S, flat(4, CONNECTION), flat(5, SERVER), text(6, "size"), flat(7, KUBERNETES), flat(8, POD)];
const SESSION_END: Message = &[
    M,
    U,
    S,
    flat(4, CONNECTION),
    flat(5, SERVER),
    flag(6, "enhanced_recording"),
    flag(7, "interactive"),
    texts(8, "participants"),
    time(9, "session_start"),
    time(10, "session_stop"),
    flat(11, KUBERNETES),
    flat(12, POD),
    texts(13, "initial_command"),
    text(14, "session_recording"),
];
const SESSION_COMMAND: Message = &[
    M,
    U,
    S,
    flat(4, SERVER),
    flat(5, BPF),
    uint(6, "ppid"),
    text(7, "path"),
    texts(8, "argv"),
    int(9, "return_code"),
];
const SESSION_DISK: Message =
    &[M, U, S, flat(4, SERVER), flat(5, BPF), text(6, "path"), int(7, "flags"), int(8, "return_code")];
const SESSION_NETWORK: Message = &[
    M,
    U,
    S,
    flat(4, SERVER),
    flat(5, BPF),
    text(6, "src_addr"),
    text(7, "dst_addr"),
    int(8, "dst_port"),
    int(9, "version"),
    int(10, "operation"),
    int(11, "action"),
];
const SESSION_DATA: Message = &[M, U, S, flat(4, SERVER), flat(5, CONNECTION), uint(6, "tx"), uint(7, "rx")];
const SESSION_LEAVE: Message = &[M, U, S, flat(4, SERVER), flat(5, CONNECTION)];
const PORT: Message = &[M, U, flat(3, CONNECTION), flat(4, STATUS), text(5, "addr"), flat(6, KUBERNETES), flat(7, POD)];
const X11: Message = &[M, U, flat(3, CONNECTION), flat(4, STATUS)];
const SCP: Message = &[
    M,
    U,
    flat(3, CONNECTION),
    flat(4, SESSION),
    flat(5, SERVER),
    flat(6, COMMAND),
    text(7, "path"),
    text(8, "action"),
];
const EXEC: Message = &[
    M,
    U,
    flat(3, CONNECTION),
    flat(4, SESSION),
    flat(5, SERVER),
    flat(6, COMMAND),
    flat(7, KUBERNETES),
    flat(8, POD),
];
const SUBSYSTEM: Message = &[M, U, flat(3, CONNECTION), text(4, "name"), text(5, "exitError"), flat(6, SERVER)];
const DISCONNECT: Message = &[M, U, flat(3, CONNECTION), flat(4, SERVER), text(5, "reason")];
const AUTH: Message = &[M, U, flat(3, CONNECTION), flat(4, STATUS), flat(5, SERVER), flat(6, APP)];
const ACCESS_REQUEST: Message = &[
    M,
    U,
    flat(3, RESOURCE),
    texts(4, "roles"),
    text(5, "id"),
    text(6, "state"),
    text(7, "delegator"),
    text(8, "reason"),
    field(9, "annotations", Type::Struct),
    text(10, "reviewer"),
    text(11, "proposed_state"),
    field(12, "resource_ids", Type::Objects(RESOURCE_ID)),
    time(13, "max_duration"),
    text(15, "promoted_access_list_name"),
    time(16, "assume_start_time"),
    texts(17, "resource_names"),
    text(19, "submitted_by"),
];
const ACCESS_REQUEST_DELETE: Message = &[M, U, text(3, "id")];
const ACCESS_REQUEST_EXPIRE: Message = &[M, flat(2, RESOURCE), text(3, "id"), time(4, "expiry")];
const KUBE_REQUEST: Message = &[
    M,
    U,
    flat(3, CONNECTION),
    flat(4, SERVER),
    text(5, "request_path"),
    text(6, "verb"),
    text(7, "resource_api_group"),
    text(8, "resource_namespace"),
    text(9, "resource_kind"),
    text(10, "resource_name"),
    int(11, "response_code"),
    flat(12, KUBERNETES),
];
const APP_START: Message = &[M, U, S, flat(4, SERVER), flat(5, CONNECTION), text(7, "public_addr"), flat(8, APP)];
const APP_CHUNK: Message = &[M, U, S, flat(4, SERVER), flat(5, CONNECTION), text(6, "session_chunk_id"), flat(7, APP)];
const APP_REQUEST: Message =
    &[M, uint(2, "status_code"), text(3, "path"), text(4, "raw_query"), text(5, "method"), flat(6, APP), flat(7, AWS)];
const APP_END: Message = &[M, U, S, flat(4, SERVER), flat(5, CONNECTION), flat(6, APP)];
const APP_DYNAMODB: Message = &[
    M,
    U,
    flat(3, APP),
    flat(4, AWS),
    text(5, "session_chunk_id"),
    uint(6, "status_code"),
    text(7, "path"),
    text(8, "raw_query"),
    text(9, "method"),
    text(10, "target"),
    field(11, "body", Type::Struct),
];
const DB_START: Message = &[
    M,
    U,
    S,
    flat(4, SERVER),
    flat(5, CONNECTION),
    flat(6, STATUS),
    flat(7, DATABASE),
    uint_if(8, "postgres_pid"),
    flat(9, CLIENT),
];
const DB_END: Message =
    &[M, U, S, D, time(5, "session_start"), time(6, "session_stop"), flat(7, CONNECTION), texts(8, "participants")];
const DB_QUERY: Message = &[M, U, S, D, text(5, "db_query"), texts(6, "db_query_parameters"), flat(7, STATUS)];
const DB_RESULT: Message = &[M, U, S, D, flat(5, STATUS), uint_if(6, "affected_records")];
const DB_ALONE: Message = &[M, U, S, D];
const POSTGRES_PARSE: Message = &[M, U, S, D, text(5, "statement_name"), text(6, "query")];
const POSTGRES_BIND: Message = &[M, U, S, D, text(5, "statement_name"), text(6, "portal_name"), texts(7, "parameters")];
const POSTGRES_EXECUTE: Message = &[M, U, S, D, text(5, "portal_name")];
const POSTGRES_CLOSE: Message = &[M, U, S, D, text(5, "statement_name"), text(6, "portal_name")];
const POSTGRES_FUNCTION: Message = &[M, U, S, D, uint(5, "function_oid"), texts(6, "function_args")];
const MYSQL_PREPARE: Message = &[M, U, S, D, text(5, "query")];
const MYSQL_EXECUTE: Message = &[M, U, S, D, uint(5, "statement_id"), texts(6, "parameters")];
const MYSQL_LONG_DATA: Message = &[M, U, S, D, uint(5, "statement_id"), uint(6, "parameter_id"), uint(7, "data_size")];
const MYSQL_STATEMENT: Message = &[M, U, S, D, uint(5, "statement_id")];
const MYSQL_FETCH: Message = &[M, U, S, D, uint(5, "statement_id"), uint(6, "rows_count")];
const MYSQL_SCHEMA: Message = &[M, U, S, D, text(5, "schema_name")];
const MYSQL_KILL: Message = &[M, U, S, D, uint(5, "process_id")];
const MYSQL_REFRESH: Message = &[M, U, S, D, text(5, "subcommand")];
const SQLSERVER: Message = &[M, U, S, D, text(5, "proc_name"), texts(6, "parameters")];
const MALFORMED_PACKET: Message = &[M, U, S, D, field(5, "payload", Type::Bytes)];
/// Elasticsearch and OpenSearch.
const SEARCH: Message = &[
    M,
    U,
    S,
    D,
    text(5, "path"),
    text(6, "raw_query"),
    text(7, "method"),
    field(8, "body", Type::Bytes),
    field(9, "headers", Type::Traits),
    int(10, "category"),
    text(11, "target"),
    text(12, "query"),
    uint(13, "status_code"),
];
const DYNAMODB: Message = &[
    M,
    U,
    S,
    D,
    uint(5, "status_code"),
    text(6, "path"),
    text(7, "raw_query"),
    text(8, "method"),
    text(9, "target"),
    field(10, "body", Type::Struct),
];
const CASSANDRA_VALUE: Message = &[uint_if(1, "type"), field(2, "contents", Type::Bytes)];
const CASSANDRA_CHILD: Message = &[text(1, "id"), text(2, "query"), field(3, "values", Type::Objects(CASSANDRA_VALUE))];
const CASSANDRA_BATCH: Message = &[
    M,
    U,
    S,
    D,
    text(5, "consistency"),
    text(6, "keyspace"),
    text(7, "batch_type"),
    field(8, "children", Type::Objects(CASSANDRA_CHILD)),
];
const CASSANDRA_PREPARE: Message = &[M, U, S, D, text(5, "query"), text(6, "keyspace")];
const CASSANDRA_REGISTER: Message = &[M, U, S, D, texts(5, "event_types")];
const CASSANDRA_EXECUTE: Message = &[M, U, S, D, text(5, "query_id")];
const UPLOAD: Message = &[M, flat(2, SESSION), text(5, "url")];
const MFA_CHANGE: Message = &[M, U, flat(3, MFA_DEVICE), flat(4, CONNECTION)];
const DESKTOP_START: Message = &[
    M,
    U,
    S,
    flat(4, CONNECTION),
    flat(5, STATUS),
    text(6, "windows_desktop_service"),
    text(7, "desktop_addr"),
    text(8, "windows_domain"),
    text(9, "windows_user"),
    map(10, "desktop_labels"),
    text(11, "desktop_name"),
    flag_if(12, "allow_user_creation"),
    flag_if(13, "nla"),
];
const DESKTOP_END: Message = &[
    M,
    U,
    S,
    text(4, "windows_desktop_service"),
    text(5, "desktop_addr"),
    text(6, "windows_domain"),
    text(7, "windows_user"),
    map(8, "desktop_labels"),
    time(9, "session_start"),
    time(10, "session_stop"),
    text(11, "desktop_name"),
    flag(12, "recorded"),
    texts(13, "participants"),
    flat(14, CONNECTION),
];
const CLIPBOARD: Message =
    &[M, U, S, flat(4, CONNECTION), text(5, "desktop_addr"), int(6, "length"), text(7, "desktop_name")];
const DIRECTORY_SHARE: Message = &[
    M,
    U,
    S,
    flat(4, CONNECTION),
    flat(5, STATUS),
    text(6, "desktop_addr"),
    text(7, "directory_name"),
    uint(8, "directory_id"),
    text(9, "desktop_name"),
];
const DIRECTORY_FILE: Message = &[
    M,
    U,
    S,
    flat(4, CONNECTION),
    flat(5, STATUS),
    text(6, "desktop_addr"),
    text(7, "directory_name"),
    uint(8, "directory_id"),
    text(9, "file_path"),
    uint(10, "length"),
    uint(11, "offset"),
    text(12, "desktop_name"),
];
const SESSION_CONNECT: Message = &[M, flat(2, SERVER), flat(3, CONNECTION)];
const UNKNOWN: Message = &[M, text(2, "unknown_event"), text(3, "unknown_code"), text(4, "data")];
const SFTP_ATTRIBUTES: Message = &[
    field(1, "file_size", Type::Wrapped),
    field(2, "uid", Type::Wrapped),
    field(3, "gid", Type::Wrapped),
    field(4, "permissions", Type::Wrapped),
    time(5, "access_time"),
    time(6, "modification_time"),
];
const SFTP: Message = &[
    M,
    U,
    flat(3, CONNECTION),
    flat(4, SESSION),
    flat(5, SERVER),
    text(6, "working_directory"),
    text(7, "path"),
    text(8, "target_path"),
    uint_if(9, "flags"),
    object(10, "attributes", SFTP_ATTRIBUTES),
    int(11, "action"),
    text(12, "error"),
];
const TRANSFER: Message = &[text(1, "path"), uint(2, "bytes_read"), uint(3, "bytes_written")];
const SFTP_SUMMARY: Message = &[
    M,
    U,
    flat(3, CONNECTION),
    flat(4, SESSION),
    flat(5, SERVER),
    field(6, "file_transfer_stats", Type::Objects(TRANSFER)),
];
const GIT_COMMAND: Message = &[M, U, flat(3, CONNECTION), flat(4, SESSION), flat(5, SERVER), flat(6, COMMAND)];
const RECORDING_ACCESS: Message = &[M, text(2, "sid"), flat(3, USER)];

/// The message of a number of the `OneOf`.
fn message(number: u32) -> Option<Message> {
    Some(match number {
        1 => LOGIN,
        5 => SESSION_START,
        6 => SESSION_JOIN,
        8 => SESSION_REJECT,
        9 => RESIZE,
        10 => SESSION_END,
        11 => SESSION_COMMAND,
        12 => SESSION_DISK,
        13 => SESSION_NETWORK,
        14 => SESSION_DATA,
        15 => SESSION_LEAVE,
        16 => PORT,
        17 => X11,
        18 => SCP,
        19 => EXEC,
        20 => SUBSYSTEM,
        21 => DISCONNECT,
        22 => AUTH,
        23 => ACCESS_REQUEST,
        36 => KUBE_REQUEST,
        37 => APP_START,
        38 => APP_CHUNK,
        39 => APP_REQUEST,
        40 => DB_START,
        41 => DB_END,
        42 => DB_QUERY,
        43 => UPLOAD,
        44 | 45 => MFA_CHANGE,
        59 => DESKTOP_START,
        60 => DESKTOP_END,
        61 => POSTGRES_PARSE,
        62 => POSTGRES_BIND,
        63 => POSTGRES_EXECUTE,
        64 => POSTGRES_CLOSE,
        65 => POSTGRES_FUNCTION,
        66 => ACCESS_REQUEST_DELETE,
        67 => SESSION_CONNECT,
        70 | 71 => CLIPBOARD,
        72 => MYSQL_PREPARE,
        73 | 78 => MYSQL_EXECUTE,
        74 => MYSQL_LONG_DATA,
        75 | 76 => MYSQL_STATEMENT,
        77 => MYSQL_FETCH,
        80 => UNKNOWN,
        81..=83 => MYSQL_SCHEMA,
        84 | 86 => DB_ALONE,
        85 => MYSQL_KILL,
        87 => MYSQL_REFRESH,
        89 => SQLSERVER,
        90 => MALFORMED_PACKET,
        91 => SFTP,
        93 => APP_END,
        94 => RECORDING_ACCESS,
        100 | 120 => SEARCH,
        101 => CASSANDRA_BATCH,
        102 => CASSANDRA_PREPARE,
        103 => CASSANDRA_REGISTER,
        104 => CASSANDRA_EXECUTE,
        105 => APP_DYNAMODB,
        106 => DIRECTORY_SHARE,
        107 | 108 => DIRECTORY_FILE,
        109 => DYNAMODB,
        158 => DB_ALONE,
        159 => DB_RESULT,
        191 => SFTP_SUMMARY,
        197 => GIT_COMMAND,
        199 => ACCESS_REQUEST_EXPIRE,
        _ => return None,
    })
}

/// A value as it stands in protobuf.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed64(u64),
    Fixed32,
}

impl<'a> Wire<'a> {
    pub(super) fn varint(self) -> Result<u64, DecodeError> {
        if let Self::Varint(value) = self { Ok(value) } else { Err(damaged()) }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], DecodeError> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(damaged()) }
    }
}

fn damaged() -> DecodeError {
    DecodeError::new(ErrorKind::UnexpectedShape, "a record is not a protobuf message of Teleport")
}

/// The fields of a message, up to the first that is none.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u32, Wire<'_>), DecodeError>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or_else(damaged))
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Wire<'a>)> {
    let (number, wire) = decode_key(rest).ok()?;
    let mut take = |len| {
        let (bytes, after) = rest.split_at_checked(len)?;
        *rest = after;
        Some(bytes)
    };
    let value = match wire {
        WireType::Varint => Wire::Varint(decode_varint(rest).ok()?),
        WireType::SixtyFourBit => Wire::Fixed64(u64::from_le_bytes(take(8)?.try_into().ok()?)),
        WireType::ThirtyTwoBit => take(4).map(|_| Wire::Fixed32)?,
        WireType::LengthDelimited => {
            let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
            let (bytes, after) = rest.split_at_checked(len)?;
            *rest = after;
            Wire::Bytes(bytes)
        }
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    Some((number, value))
}

/// Seconds and nanoseconds of a `Timestamp`.
pub(super) fn timestamp(message: &[u8]) -> Result<(i64, u64), DecodeError> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in fields(message) {
        match field? {
            (1, value) => seconds = value.varint()? as i64,
            (2, value) => nanos = value.varint()?,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// The JSON object of an event.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) json: String,
    /// Whether the number is one that the table has.
    pub(super) is_known: bool,
}

/// Prints the message of a number of the `OneOf` as the event handler would. Of one that is not known, the metadata.
///
/// # Errors
///
/// When it is not a message of that kind, or nested too deep.
pub(super) fn print(number: u32, bytes: &[u8]) -> Result<Printed, DecodeError> {
    let known = message(number);
    let mut printer = Printer { out: String::with_capacity(bytes.len() * 2 + 256), names: Vec::new(), unknown: 0 };
    printer.out.push('{');
    printer.fields(known.unwrap_or(UNKNOWN_MESSAGE), bytes, true)?;
    if known.is_none() {
        printer.name("oneof", true);
        let _ = write!(printer.out, "{number}");
    } else if printer.unknown > 0 {
        let unknown = printer.unknown;
        printer.name("unknown_fields", true);
        let _ = write!(printer.out, "{unknown}");
    }
    printer.out.push('}');
    Ok(Printed { json: printer.out, is_known: known.is_some() })
}

struct Printer {
    out: String,
    /// Names of the outermost object so far.
    names: Vec<&'static str>,
    /// Number of fields that the table does not have.
    unknown: usize,
}

impl Printer {
    /// Begins a field; false when it is there already.
    fn name(&mut self, name: &'static str, is_outermost: bool) -> bool {
        if is_outermost {
            if self.names.contains(&name) {
                return false;
            }
            self.names.push(name);
        }
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        self.out.extend(["\"", name, "\":"]);
        true
    }

    fn fields(&mut self, message: Message, bytes: &[u8], is_outermost: bool) -> Result<(), DecodeError> {
        let mut values = [None; FIELDS_MAX];
        for field in fields(bytes) {
            let (number, value) = field?;
            match message.iter().zip(&mut values).find(|(field, _)| field.number == number) {
                Some((_, slot)) => *slot = Some(value),
                None => self.unknown += 1,
            }
        }
        for (field, value) in message.iter().zip(values) {
            self.field(field, value, bytes, is_outermost)?;
        }
        Ok(())
    }

    /// Prints a field whose last value is given; of a list, all of them are among the message's bytes.
    fn field(
        &mut self,
        field: &Field,
        value: Option<Wire<'_>>,
        bytes: &[u8],
        is_outermost: bool,
    ) -> Result<(), DecodeError> {
        let name = field.name;
        match (field.of, value) {
            (Type::Flat(message), value) => {
                self.fields(message, value.map_or(Ok(&[][..]), Wire::bytes)?, is_outermost)?;
            }
            (Type::Int { always }, value) => {
                let value = value.map_or(Ok(0), Wire::varint)? as i64;
                if (always || value != 0) && self.name(name, is_outermost) {
                    let _ = write!(self.out, "{value}");
                }
            }
            (Type::Uint { always }, value) => {
                let value = value.map_or(Ok(0), Wire::varint)?;
                if (always || value != 0) && self.name(name, is_outermost) {
                    let _ = write!(self.out, "{value}");
                }
            }
            (Type::Flag { always }, value) => {
                let value = value.map_or(Ok(0), Wire::varint)? != 0;
                if (always || value) && self.name(name, is_outermost) {
                    self.out.push_str(if value { "true" } else { "false" });
                }
            }
            (Type::Wrapped, None) => {
                if self.name(name, is_outermost) {
                    self.out.push_str("null");
                }
            }
            (_, None) => {}
            (Type::Text, Some(value)) => {
                if self.name(name, is_outermost) {
                    self.text(value.bytes()?);
                }
            }
            (Type::Bytes, Some(value)) => {
                if self.name(name, is_outermost) {
                    self.out.push('"');
                    STANDARD.encode_string(value.bytes()?, &mut self.out);
                    self.out.push('"');
                }
            }
            (Type::Time, Some(value)) => {
                let (seconds, nanos) = timestamp(value.bytes()?)?;
                if self.name(name, is_outermost) {
                    self.time(seconds, nanos);
                }
            }
            (Type::Wrapped, Some(value)) => {
                let mut number = 0;
                for field in fields(value.bytes()?) {
                    if let (1, value) = field? {
                        number = value.varint()?;
                    }
                }
                if self.name(name, is_outermost) {
                    let _ = write!(self.out, "{number}");
                }
            }
            (Type::Struct, Some(value)) => {
                if self.name(name, is_outermost) {
                    self.json_object(value.bytes()?, 1)?;
                }
            }
            (Type::Traits, Some(value)) => {
                if self.name(name, is_outermost) {
                    self.map(1, value.bytes()?, |printer, value| printer.texts(1, value))?;
                }
            }
            (Type::Map, Some(_)) => {
                if self.name(name, is_outermost) {
                    self.map(field.number, bytes, |printer, value| {
                        printer.text(value);
                        Ok(())
                    })?;
                }
            }
            (Type::Texts, Some(_)) => {
                if self.name(name, is_outermost) {
                    self.texts(field.number, bytes)?;
                }
            }
            (Type::Object(message), Some(value)) => {
                if self.name(name, is_outermost) {
                    self.object(message, value.bytes()?)?;
                }
            }
            (Type::Objects(message), Some(_)) => {
                if self.name(name, is_outermost) {
                    self.list(field.number, bytes, |printer, value| printer.object(message, value))?;
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, message: Message, bytes: &[u8]) -> Result<(), DecodeError> {
        self.out.push('{');
        self.fields(message, bytes, false)?;
        self.out.push('}');
        Ok(())
    }

    /// The fields of one number of a message, as a list.
    fn list(
        &mut self,
        number: u32,
        bytes: &[u8],
        mut element: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.out.push('[');
        for field in fields(bytes) {
            let (have, value) = field?;
            if have == number {
                if !self.out.ends_with('[') {
                    self.out.push(',');
                }
                element(self, value.bytes()?)?;
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn texts(&mut self, number: u32, bytes: &[u8]) -> Result<(), DecodeError> {
        self.list(number, bytes, |printer, value| {
            printer.text(value);
            Ok(())
        })
    }

    /// The entries of a map: messages of a key, which is 1, and a value, which is 2.
    fn map(
        &mut self,
        number: u32,
        bytes: &[u8],
        mut element: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.out.push('{');
        for field in fields(bytes) {
            let (have, entry) = field?;
            if have != number {
                continue;
            }
            let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
            for field in fields(entry.bytes()?) {
                match field? {
                    (1, wire) => key = wire.bytes()?,
                    (2, wire) => value = wire.bytes()?,
                    _ => {}
                }
            }
            if !self.out.ends_with('{') {
                self.out.push(',');
            }
            self.text(key);
            self.out.push(':');
            element(self, value)?;
        }
        self.out.push('}');
        Ok(())
    }

    /// A `Struct`: a map of texts to values.
    fn json_object(&mut self, bytes: &[u8], depth: usize) -> Result<(), DecodeError> {
        self.map(1, bytes, |printer, value| printer.json_value(value, depth + 1))
    }

    /// A `Value`: one of null, a number, a text, a truth value, a `Struct` and a list.
    fn json_value(&mut self, bytes: &[u8], depth: usize) -> Result<(), DecodeError> {
        if depth > NESTING_MAX {
            return Err(DecodeError::new(ErrorKind::TooLarge, format!("a value is nested deeper than {NESTING_MAX}")));
        }
        let mut last = None;
        for field in fields(bytes) {
            last = Some(field?);
        }
        match last {
            Some((2, Wire::Fixed64(bits))) => self.number(f64::from_bits(bits)),
            Some((3, value)) => self.text(value.bytes()?),
            Some((4, value)) => self.out.push_str(if value.varint()? != 0 { "true" } else { "false" }),
            Some((5, value)) => self.json_object(value.bytes()?, depth)?,
            Some((6, value)) => {
                self.list(1, value.bytes()?, |printer, element| printer.json_value(element, depth + 1))?;
            }
            _ => self.out.push_str("null"),
        }
        Ok(())
    }

    fn number(&mut self, number: f64) {
        let _ = if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
            write!(self.out, "{}", number as i64)
        } else {
            write!(self.out, "{}", serde_json::Value::from(number))
        };
    }

    /// A text; what is not UTF-8 in it becomes U+FFFD, as it does on its way through the event handler.
    fn text(&mut self, bytes: &[u8]) {
        self.out.push('"');
        for chunk in bytes.utf8_chunks() {
            self.escaped(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.out.push('\u{fffd}');
            }
        }
        self.out.push('"');
    }

    fn escaped(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
            let (plain, from) = rest.split_at(at);
            self.out.push_str(plain);
            let mut from = from.chars();
            match from.next() {
                Some('\n') => self.out.push_str("\\n"),
                Some('\r') => self.out.push_str("\\r"),
                Some('\t') => self.out.push_str("\\t"),
                Some(letter @ ('"' | '\\')) => self.out.extend(['\\', letter]),
                Some(control) => drop(write!(self.out, "\\u{:04x}", u32::from(control))),
                None => {}
            }
            rest = from.as_str();
        }
        self.out.push_str(rest);
    }

    /// An instant as RFC 3339, without zeros at the end of its fraction. One that no calendar has is its number, which
    /// is then refused as a number in JSON would be.
    fn time(&mut self, seconds: i64, nanos: u64) {
        let instant = u32::try_from(nanos).ok().and_then(|nanos| DateTime::from_timestamp(seconds, nanos));
        let Some(instant) = instant.filter(|_| nanos < 1_000_000_000) else {
            let _ = write!(self.out, "{seconds}");
            return;
        };
        let _ = write!(self.out, "\"{}", instant.format("%Y-%m-%dT%H:%M:%S"));
        if nanos > 0 {
            let fraction = format!(".{nanos:09}");
            self.out.push_str(fraction.trim_end_matches('0'));
        }
        self.out.push_str("Z\"");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Names of a message in JSON, those of the messages in it included.
    fn names(message: Message, names: &mut Vec<&'static str>) {
        for field in message {
            match field.of {
                Type::Flat(message) => self::names(message, names),
                _ => names.push(field.name),
            }
        }
    }

    #[test]
    fn the_table_names_nothing_twice_and_fits() {
        for number in 0..1000 {
            let Some(message) = message(number) else { continue };
            assert!(message.len() <= FIELDS_MAX, "{number}");
            let numbers: BTreeSet<u32> = message.iter().map(|field| field.number).collect();
            assert_eq!(numbers.len(), message.len(), "{number}");
            let mut all = Vec::new();
            names(message, &mut all);
            // The requests of a start have an old place and a new one.
            all.retain(|name| *name != "access_requests");
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{number}: {all:?}");
        }
    }
}
