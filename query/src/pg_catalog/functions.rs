//! Functions that PostgreSQL's clients call beside reading the catalogue.
//!
//! Most answer the same for every argument: there is one schema, one owner, nobody may write, and no object has a
//! comment, a default or an index.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::types::{ColumnType, TYPES};
use super::{DATABASE, OWNER, SCHEMA, SERVER_VERSION, relation_oid, view};

/// Settings that clients look up, as they are where nothing was set: name and value.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("custody.as_of", ""),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("lc_collate", "C.UTF-8"),
    ("lc_ctype", "C.UTF-8"),
    ("lc_messages", "C.UTF-8"),
    ("lc_monetary", "C.UTF-8"),
    ("lc_numeric", "C.UTF-8"),
    ("lc_time", "C.UTF-8"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("row_security", "on"),
    ("search_path", SCHEMA),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150000"),
    ("session_authorization", OWNER),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_deferrable", "off"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// The text of `version()`.
pub(crate) fn version() -> String {
    format!("PostgreSQL {SERVER_VERSION} (Custody {})", env!("CARGO_PKG_VERSION"))
}

/// Makes every function of this module known to a context.
pub(crate) fn register(context: &SessionContext) {
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    let constant = |names: &[&'static str], value: &ScalarValue| {
        for name in names {
            context.register_udf(ScalarUDF::new_from_impl(Constant::new(name, value.clone())));
        }
    };
    constant(&["version"], &text(&version()));
    constant(&["current_database", "current_catalog"], &text(DATABASE));
    constant(&["current_schema"], &text(SCHEMA));
    constant(&["current_user", "session_user", "current_role", "user", "pg_get_userbyid"], &text(OWNER));
    constant(&["pg_encoding_to_char", "pg_client_encoding", "getdatabaseencoding"], &text("UTF8"));
    constant(&["pg_size_pretty"], &text("0 bytes"));
    constant(
        &[
            "pg_table_is_visible",
            "pg_type_is_visible",
            "pg_function_is_visible",
            "pg_operator_is_visible",
            "pg_opclass_is_visible",
            "pg_collation_is_visible",
            "pg_statistics_obj_is_visible",
        ],
        &ScalarValue::Boolean(Some(true)),
    );
    constant(
        &["pg_is_in_recovery", "pg_relation_is_publishable", "pg_is_other_temp_schema", "row_security_active"],
        &ScalarValue::Boolean(Some(false)),
    );
    constant(
        &[
            "pg_get_expr",
            "obj_description",
            "shobj_description",
            "col_description",
            "pg_get_indexdef",
            "pg_get_constraintdef",
            "pg_get_functiondef",
            "pg_get_triggerdef",
            "pg_get_ruledef",
            "pg_get_partkeydef",
            "pg_get_statisticsobjdef_columns",
            "pg_get_function_arguments",
            "pg_get_function_identity_arguments",
            "pg_get_function_result",
            "pg_get_serial_sequence",
            "pg_tablespace_location",
            "pg_relation_filepath",
            "inet_server_addr",
            "inet_client_addr",
        ],
        &ScalarValue::Utf8(None),
    );
    constant(&["pg_backend_pid", "pg_my_temp_schema", "inet_server_port"], &ScalarValue::Int32(Some(0)));
    constant(
        &[
            "pg_relation_size",
            "pg_table_size",
            "pg_total_relation_size",
            "pg_indexes_size",
            "pg_database_size",
            "txid_current",
        ],
        &ScalarValue::Int64(Some(0)),
    );
    for name in [
        "has_table_privilege",
        "has_any_column_privilege",
        "has_column_privilege",
        "has_schema_privilege",
        "has_database_privilege",
        "has_function_privilege",
        "has_sequence_privilege",
        "has_tablespace_privilege",
        "pg_has_role",
    ] {
        context.register_udf(ScalarUDF::new_from_impl(Function::new(name, DataType::Boolean, has_privilege)));
    }
    for function in [
        Function::new("current_schemas", DataType::new_list(DataType::Utf8, true), current_schemas),
        Function::new("current_setting", DataType::Utf8, current_setting),
        Function::new("format_type", DataType::Utf8, format_type),
        Function::new("pg_get_viewdef", DataType::Utf8, view_definition),
        Function::new("quote_ident", DataType::Utf8, |arguments| texts(arguments, |text| Some(quote_ident(text)))),
        Function::new("quote_literal", DataType::Utf8, |arguments| {
            texts(arguments, |text| Some(format!("'{}'", text.replace('\'', "''"))))
        }),
        // Nothing is set by a query. Clients clear the search path so, and are answered as PostgreSQL answers; whoever sets
        // anything else must not believe that it is.
        Function::new("set_config", DataType::Utf8, |arguments| {
            let names = texts(arguments, |name| Some(name.to_owned()))?;
            if names.as_string::<i32>().iter().flatten().any(|name| !name.eq_ignore_ascii_case("search_path")) {
                return exec_err!("set_config sets nothing here: write SET name = value");
            }
            texts(arguments.get(1..).unwrap_or_default(), |text| Some(text.to_owned()))
        }),
        Function::new("array_lower", DataType::Int32, |arguments| bound(arguments, |_| 1)),
        Function::new("array_upper", DataType::Int32, |arguments| bound(arguments, |length| length)),
        Function::new("parse_ident", DataType::new_list(DataType::Utf8, true), parse_ident),
        Function::new("to_regtype", DataType::Int32, |arguments| {
            let oid = |name: &str| TYPES.iter().find(|of| of.name == bare(name) || of.sql_name == name);
            let oids = texts(arguments, |name| Some(oid(name)?.oid.to_string()))?;
            Ok(cast(&oids, &DataType::Int32)?)
        }),
        Function::new("to_regclass", DataType::Int32, |arguments| {
            let oids = texts(arguments, |name| Some(relation_oid(bare(name))?.to_string()))?;
            Ok(cast(&oids, &DataType::Int32)?)
        }),
    ] {
        context.register_udf(ScalarUDF::new_from_impl(function));
    }
}

/// The name of a relation without its schema and quotes.
pub(crate) fn bare(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name).trim_matches('"')
}

/// A name as it has to be written in SQL.
pub(crate) fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A function of the texts in its first argument.
fn texts(arguments: &[ArrayRef], of: impl Fn(&str) -> Option<String>) -> Result<ArrayRef> {
    let Some(first) = arguments.first() else { return Ok(Arc::new(StringArray::new_null(1))) };
    let first = cast(first, &DataType::Utf8)?;
    Ok(Arc::new(first.as_string::<i32>().iter().map(|text| of(text?)).collect::<StringArray>()))
}

/// A function of the whole numbers in its first argument.
fn numbers(arguments: &[ArrayRef], of: impl Fn(i32) -> Option<String>) -> Result<ArrayRef> {
    let Some(first) = arguments.first() else { return Ok(Arc::new(StringArray::new_null(1))) };
    let first = cast(first, &DataType::Int32)?;
    Ok(Arc::new(first.as_primitive::<Int32Type>().iter().map(|number| of(number?)).collect::<StringArray>()))
}

/// Whether somebody may do what the last argument names: read, and nothing else.
fn has_privilege(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let reads = |privilege: &str| {
        let privilege = privilege.to_ascii_lowercase();
        let all =
            privilege.split(',').all(|one| matches!(one.trim(), "select" | "usage" | "connect" | "execute" | "member"));
        Some(all.to_string())
    };
    let last = arguments.last().cloned();
    Ok(cast(&texts(last.as_slice(), reads)?, &DataType::Boolean)?)
}

/// A bound of the first argument, which is an array; null where it is empty.
fn bound(arguments: &[ArrayRef], of: fn(i32) -> i32) -> Result<ArrayRef> {
    let lists = arguments.first().and_then(|lists| lists.as_list_opt::<i32>());
    let Some(lists) = lists else { return exec_err!("an array was expected") };
    let length = |list: Option<ArrayRef>| i32::try_from(list?.len()).ok().filter(|length| *length > 0);
    Ok(Arc::new(lists.iter().map(|list| length(list).map(of)).collect::<Int32Array>()))
}

/// The parts of a name.
fn parse_ident(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let names = texts(arguments, |name| Some(name.to_owned()))?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for name in names.as_string::<i32>() {
        lists.append_option(name.map(|name| name.split('.').map(|part| Some(part.trim_matches('"')))));
    }
    Ok(Arc::new(lists.finish()))
}

fn current_schemas(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let schemas = texts(arguments, |implicit| {
        Some(if implicit == "true" { format!("{},{SCHEMA}", super::PG_CATALOG) } else { SCHEMA.to_owned() })
    })?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for schemas in schemas.as_string::<i32>() {
        lists.append_option(schemas.map(|schemas| schemas.split(',').map(Some)));
    }
    Ok(Arc::new(lists.finish()))
}

fn current_setting(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    texts(arguments, |name| {
        let known = SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, value)| (*value).to_owned())
    })
}

fn format_type(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    numbers(arguments, |oid| Some(ColumnType::from_oid(oid).map_or_else(|| "???".to_owned(), ColumnType::sql_name)))
}

fn view_definition(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    numbers(arguments, |oid| Some(view(oid)?.sql.to_owned()))
}

/// A function that gives one value whatever it is asked.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Constant {
    fn new(name: &'static str, value: ScalarValue) -> Self {
        Self { name, value, signature: any_arguments() }
    }
}

fn any_arguments() -> Signature {
    use datafusion::logical_expr::TypeSignature;
    Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Stable)
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// A function of its arguments.
#[derive(Debug)]
struct Function {
    name: &'static str,
    result: DataType,
    of: fn(&[ArrayRef]) -> Result<ArrayRef>,
    signature: Signature,
}

impl Function {
    fn new(name: &'static str, result: DataType, of: fn(&[ArrayRef]) -> Result<ArrayRef>) -> Self {
        Self { name, result, of, signature: any_arguments() }
    }
}

// Functions of one name are one function: what they do cannot be compared.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl std::hash::Hash for Function {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let values = (self.of)(&ColumnarValue::values_to_arrays(&arguments.args)?)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?));
        }
        Ok(ColumnarValue::Array(values))
    }
}
