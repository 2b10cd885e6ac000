//! What PostgreSQL's clients ask of the catalogue, answered for the tables and views of the ledger.
//!
//! Tools look into `pg_catalog` before they show anything. Here are its relations as far as tools read them: those that
//! tell of tables, columns, types and settings have rows, computed when they are asked for; the others (indexes,
//! constraints, triggers, roles and their like) are there and always empty, because a ledger has nothing of the kind.
//! `information_schema` is the engine's own; `pg_catalog` is not listed in it.

pub(crate) mod functions;
pub(crate) mod types;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use custody_schemas::table::Table;
use datafusion::catalog::{CatalogProvider, MemTable, MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::Result;
use serde_json::{Value, json};

use self::types::TYPES;
use crate::views::VIEWS;

/// Name of the one database.
pub(crate) const DATABASE: &str = "custody";
/// Name of the schema of tables and views.
pub(crate) const SCHEMA: &str = "ledger";
/// Name of the catalogue's own schema.
pub(crate) const PG_CATALOG: &str = "pg_catalog";
/// The version of PostgreSQL whose protocol and catalogue this resembles.
pub(crate) const SERVER_VERSION: &str = "15.0";

const SCHEMA_OID: i32 = 2200;
const PG_CATALOG_OID: i32 = 11;
const INFORMATION_SCHEMA_OID: i32 = 13_000;
const OWNER_OID: i32 = 10;
const OWNER: &str = "custody";
/// PostgreSQL gives what users make numbers from here.
const FIRST_OID: i32 = 16_384;

/// Relations with rows, and their columns: `t` text, `i` integer, `s` smallint, `l` bigint, `f` real, `b` boolean, `a` array
/// of text, `v` array of smallint.
const FILLED: &[(&str, &str)] = &[
    ("pg_namespace", "oid:i nspname:t nspowner:i nspacl:a"),
    (
        "pg_class",
        "oid:i relname:t relnamespace:i reltype:i reloftype:i relowner:i relam:i relfilenode:i reltablespace:i relpages:i \
         reltuples:f relallvisible:i reltoastrelid:i relhasindex:b relisshared:b relpersistence:t relkind:t relnatts:s \
         relchecks:s relhasrules:b relhastriggers:b relhassubclass:b relrowsecurity:b relforcerowsecurity:b \
         relispopulated:b relreplident:t relispartition:b relrewrite:i relfrozenxid:i relminmxid:i relacl:a reloptions:a \
         relpartbound:t",
    ),
    (
        "pg_attribute",
        "attrelid:i attname:t atttypid:i attstattarget:i attlen:s attnum:s attndims:i attcacheoff:i atttypmod:i attbyval:b \
         attalign:t attstorage:t attcompression:t attnotnull:b atthasdef:b atthasmissing:b attidentity:t attgenerated:t \
         attisdropped:b attislocal:b attinhcount:i attcollation:i attacl:a attoptions:a attfdwoptions:a attmissingval:t",
    ),
    (
        "pg_type",
        "oid:i typname:t typnamespace:i typowner:i typlen:s typbyval:b typtype:t typcategory:t typispreferred:b \
         typisdefined:b typdelim:t typrelid:i typsubscript:t typelem:i typarray:i typinput:t typoutput:t typreceive:t \
         typsend:t typmodin:t typmodout:t typanalyze:t typalign:t typstorage:t typnotnull:b typbasetype:i typtypmod:i \
         typndims:i typcollation:i typdefaultbin:t typdefault:t typacl:a",
    ),
    (
        "pg_database",
        "oid:i datname:t datdba:i encoding:i datlocprovider:t datistemplate:b datallowconn:b datconnlimit:i \
         dattablespace:i datcollate:t datctype:t daticulocale:t datcollversion:t datfrozenxid:i datacl:a",
    ),
    (
        "pg_roles",
        "oid:i rolname:t rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b \
         rolconnlimit:i rolpassword:t rolvaliduntil:t rolbypassrls:b rolconfig:a",
    ),
    (
        "pg_user",
        "usename:t usesysid:i usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t valuntil:t useconfig:a",
    ),
    ("pg_am", "oid:i amname:t amhandler:t amtype:t"),
    ("pg_tablespace", "oid:i spcname:t spcowner:i spcacl:a spcoptions:a"),
    (
        "pg_tables",
        "schemaname:t tablename:t tableowner:t tablespace:t hasindexes:b hasrules:b hastriggers:b rowsecurity:b",
    ),
    ("pg_views", "schemaname:t viewname:t viewowner:t definition:t"),
    (
        "pg_settings",
        "name:t setting:t unit:t category:t short_desc:t extra_desc:t context:t vartype:t source:t min_val:t max_val:t \
         enumvals:a boot_val:t reset_val:t sourcefile:t sourceline:i pending_restart:b",
    ),
];

/// Relations that never have rows, and their columns.
const EMPTY: &[(&str, &str)] = &[
    ("pg_aggregate", "aggfnoid:i aggkind:t aggnumdirectargs:s"),
    ("pg_attrdef", "oid:i adrelid:i adnum:s adbin:t"),
    ("pg_auth_members", "roleid:i member:i grantor:i admin_option:b"),
    ("pg_cast", "oid:i castsource:i casttarget:i castfunc:i castcontext:t castmethod:t"),
    ("pg_collation", "oid:i collname:t collnamespace:i collowner:i collprovider:t collcollate:t collctype:t"),
    (
        "pg_constraint",
        "oid:i conname:t connamespace:i contype:t condeferrable:b condeferred:b convalidated:b conrelid:i contypid:i \
         conindid:i conparentid:i confrelid:i confupdtype:t confdeltype:t confmatchtype:t conislocal:b coninhcount:i \
         connoinherit:b conkey:v confkey:v conbin:t",
    ),
    ("pg_conversion", "oid:i conname:t connamespace:i conforencoding:i contoencoding:i condefault:b"),
    ("pg_db_role_setting", "setdatabase:i setrole:i setconfig:a"),
    ("pg_default_acl", "oid:i defaclrole:i defaclnamespace:i defaclobjtype:t defaclacl:a"),
    ("pg_depend", "classid:i objid:i objsubid:i refclassid:i refobjid:i refobjsubid:i deptype:t"),
    ("pg_description", "objoid:i classoid:i objsubid:i description:t"),
    ("pg_enum", "oid:i enumtypid:i enumsortorder:f enumlabel:t"),
    ("pg_event_trigger", "oid:i evtname:t evtevent:t evtowner:i evtfoid:i evtenabled:t evttags:a"),
    ("pg_extension", "oid:i extname:t extowner:i extnamespace:i extrelocatable:b extversion:t"),
    ("pg_foreign_data_wrapper", "oid:i fdwname:t fdwowner:i fdwhandler:i fdwvalidator:i fdwacl:a fdwoptions:a"),
    ("pg_foreign_server", "oid:i srvname:t srvowner:i srvfdw:i srvtype:t srvversion:t srvacl:a srvoptions:a"),
    ("pg_foreign_table", "ftrelid:i ftserver:i ftoptions:a"),
    ("pg_get_keywords", "word:t catcode:t catdesc:t"),
    (
        "pg_index",
        "indexrelid:i indrelid:i indnatts:s indnkeyatts:s indisunique:b indnullsnotdistinct:b indisprimary:b \
         indisexclusion:b indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b \
         indisreplident:b indkey:v indcollation:v indclass:v indoption:v indexprs:t indpred:t",
    ),
    ("pg_indexes", "schemaname:t tablename:t indexname:t tablespace:t indexdef:t"),
    ("pg_inherits", "inhrelid:i inhparent:i inhseqno:i inhdetachpending:b"),
    (
        "pg_language",
        "oid:i lanname:t lanowner:i lanispl:b lanpltrusted:b lanplcallfoid:i laninline:i lanvalidator:i lanacl:a",
    ),
    ("pg_locks", "locktype:t database:i relation:i pid:i mode:t granted:b"),
    ("pg_matviews", "schemaname:t matviewname:t matviewowner:t tablespace:t hasindexes:b ispopulated:b definition:t"),
    ("pg_opclass", "oid:i opcmethod:i opcname:t opcnamespace:i opcowner:i opcfamily:i opcintype:i opcdefault:b"),
    ("pg_operator", "oid:i oprname:t oprnamespace:i oprowner:i oprkind:t oprleft:i oprright:i oprresult:i oprcode:t"),
    ("pg_partitioned_table", "partrelid:i partstrat:t partnatts:s partdefid:i partattrs:v"),
    ("pg_policy", "oid:i polname:t polrelid:i polcmd:t polpermissive:b polroles:a polqual:t polwithcheck:t"),
    ("pg_prepared_statements", "name:t statement:t parameter_types:a from_sql:b"),
    (
        "pg_proc",
        "oid:i proname:t pronamespace:i proowner:i prolang:i procost:f prorows:f provariadic:i prokind:t prosecdef:b \
         proleakproof:b proisstrict:b proretset:b provolatile:t proparallel:t pronargs:s pronargdefaults:s prorettype:i \
         proargtypes:v proallargtypes:v proargmodes:a proargnames:a prosrc:t probin:t proconfig:a proacl:a",
    ),
    (
        "pg_publication",
        "oid:i pubname:t pubowner:i puballtables:b pubinsert:b pubupdate:b pubdelete:b pubtruncate:b pubviaroot:b",
    ),
    ("pg_publication_namespace", "oid:i pnpubid:i pnnspid:i"),
    ("pg_publication_rel", "oid:i prpubid:i prrelid:i prqual:t prattrs:v"),
    ("pg_range", "rngtypid:i rngsubtype:i rngmultitypid:i rngcollation:i rngsubopc:i rngcanonical:t rngsubdiff:t"),
    ("pg_rewrite", "oid:i rulename:t ev_class:i ev_type:t ev_enabled:t is_instead:b ev_qual:t ev_action:t"),
    ("pg_rules", "schemaname:t tablename:t rulename:t definition:t"),
    ("pg_sequence", "seqrelid:i seqtypid:i seqstart:l seqincrement:l seqmax:l seqmin:l seqcache:l seqcycle:b"),
    ("pg_sequences", "schemaname:t sequencename:t sequenceowner:t last_value:l"),
    ("pg_shdescription", "objoid:i classoid:i description:t"),
    ("pg_stat_activity", "datid:i datname:t pid:i usename:t application_name:t state:t query:t backend_type:t"),
    ("pg_stat_user_tables", "relid:i schemaname:t relname:t seq_scan:l n_live_tup:l n_dead_tup:l"),
    ("pg_statistic_ext", "oid:i stxrelid:i stxname:t stxnamespace:i stxowner:i stxstattarget:i stxkeys:v stxkind:a"),
    ("pg_stats", "schemaname:t tablename:t attname:t null_frac:f n_distinct:f"),
    ("pg_subscription", "oid:i subdbid:i subname:t subowner:i subenabled:b"),
    ("pg_timezone_names", "name:t abbrev:t utc_offset:t is_dst:b"),
    (
        "pg_trigger",
        "oid:i tgrelid:i tgparentid:i tgname:t tgfoid:i tgtype:s tgenabled:t tgisinternal:b tgconstrrelid:i \
         tgconstrindid:i tgconstraint:i tgdeferrable:b tginitdeferred:b tgnargs:s tgattr:v tgqual:t tgoldtable:t \
         tgnewtable:t",
    ),
    ("pg_ts_config", "oid:i cfgname:t cfgnamespace:i cfgowner:i cfgparser:i"),
    ("pg_user_mappings", "umid:i srvid:i srvname:t umuser:i usename:t umoptions:a"),
];

/// Whether a relation of `pg_catalog` of that name is there.
pub(crate) fn has_relation(name: &str) -> bool {
    FILLED.iter().chain(EMPTY).any(|(known, _)| *known == name)
}

/// Whether a relation of `pg_catalog` can never have rows.
pub(crate) fn is_always_empty(name: &str) -> bool {
    EMPTY.iter().any(|(known, _)| *known == name)
}

/// The number of a table or view of the ledger.
pub(crate) fn relation_oid(name: &str) -> Option<i32> {
    let names = Table::ALL.into_iter().map(Table::name).chain(VIEWS.iter().map(|view| view.name));
    (FIRST_OID..).zip(names).find_map(|(oid, known)| (known == name).then_some(oid))
}

/// The view of that number.
fn view(oid: i32) -> Option<&'static crate::View> {
    VIEWS.iter().find(|view| relation_oid(view.name) == Some(oid))
}

/// The one catalogue: the ledger's tables and views, and `pg_catalog`.
#[derive(Debug)]
pub(crate) struct Catalog {
    ledger: Arc<dyn SchemaProvider>,
    pg_catalog: Arc<dyn SchemaProvider>,
}

impl Catalog {
    pub(crate) fn new(relations: &[(&'static str, Arc<dyn TableProvider>)]) -> Result<Self> {
        let ledger = MemorySchemaProvider::new();
        for (name, table) in relations {
            ledger.register_table((*name).to_owned(), table.clone())?;
        }
        let schemas = relations.iter().map(|(name, table)| (*name, table.schema())).collect();
        Ok(Self { ledger: Arc::new(ledger), pg_catalog: Arc::new(PgCatalog { relations: schemas }) })
    }
}

impl CatalogProvider for Catalog {
    /// Without `pg_catalog`: what is listed is what `information_schema` and `SHOW TABLES` tell of.
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            SCHEMA => Some(self.ledger.clone()),
            PG_CATALOG => Some(self.pg_catalog.clone()),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct PgCatalog {
    /// Tables and views with their columns.
    relations: Vec<(&'static str, SchemaRef)>,
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        FILLED.iter().chain(EMPTY).map(|(name, _)| (*name).to_owned()).collect()
    }

    fn table_exist(&self, name: &str) -> bool {
        has_relation(name)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some((_, columns)) = FILLED.iter().chain(EMPTY).find(|(known, _)| *known == name) else {
            return Ok(None);
        };
        let schema = columns_of(columns);
        let batches = rows(&schema, &self.rows(name))?;
        Ok(Some(Arc::new(MemTable::try_new(schema, vec![batches])?)))
    }
}

impl PgCatalog {
    /// The rows of a relation; a column that is not named is null.
    fn rows(&self, name: &str) -> Vec<Value> {
        match name {
            "pg_namespace" => {
                [(PG_CATALOG_OID, PG_CATALOG), (SCHEMA_OID, SCHEMA), (INFORMATION_SCHEMA_OID, "information_schema")]
                    .map(|(oid, name)| json!({"oid": oid, "nspname": name, "nspowner": OWNER_OID}))
                    .into()
            }
            "pg_class" => self.relations.iter().map(|(name, schema)| class(name, schema)).collect(),
            "pg_attribute" => self.relations.iter().flat_map(|(name, schema)| attributes(name, schema)).collect(),
            "pg_type" => TYPES.iter().flat_map(pg_types).collect(),
            "pg_database" => vec![json!({
                "oid": FIRST_OID - 1, "datname": DATABASE, "datdba": OWNER_OID, "encoding": 6, "datlocprovider": "c",
                "datistemplate": false, "datallowconn": true, "datconnlimit": -1, "dattablespace": 1663,
                "datcollate": "C.UTF-8", "datctype": "C.UTF-8", "datfrozenxid": 0
            })],
            "pg_roles" => vec![json!({
                "oid": OWNER_OID, "rolname": OWNER, "rolsuper": false, "rolinherit": true, "rolcreaterole": false,
                "rolcreatedb": false, "rolcanlogin": true, "rolreplication": false, "rolconnlimit": -1,
                "rolpassword": "********", "rolbypassrls": false
            })],
            "pg_user" => vec![json!({
                "usename": OWNER, "usesysid": OWNER_OID, "usecreatedb": false, "usesuper": false, "userepl": false,
                "usebypassrls": false, "passwd": "********"
            })],
            "pg_am" => vec![json!({"oid": 2, "amname": "heap", "amhandler": "-", "amtype": "t"})],
            "pg_tablespace" => vec![json!({"oid": 1663, "spcname": "pg_default", "spcowner": OWNER_OID})],
            "pg_tables" => Table::ALL
                .into_iter()
                .map(|table| {
                    json!({
                        "schemaname": SCHEMA, "tablename": table.name(), "tableowner": OWNER, "hasindexes": false,
                        "hasrules": false, "hastriggers": false, "rowsecurity": false
                    })
                })
                .collect(),
            "pg_views" => VIEWS
                .iter()
                .map(|view| {
                    json!({"schemaname": SCHEMA, "viewname": view.name, "viewowner": OWNER, "definition": view.sql})
                })
                .collect(),
            "pg_settings" => functions::SETTINGS
                .iter()
                .map(|(name, setting)| {
                    json!({
                        "name": name, "setting": setting, "context": "internal", "vartype": "string",
                        "source": "default", "boot_val": setting, "reset_val": setting, "pending_restart": false
                    })
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn class(name: &str, schema: &Schema) -> Value {
    let is_view = VIEWS.iter().any(|view| view.name == name);
    json!({
        "oid": relation_oid(name), "relname": name, "relnamespace": SCHEMA_OID, "reltype": 0, "reloftype": 0,
        "relowner": OWNER_OID, "relam": if is_view { 0 } else { 2 }, "relfilenode": 0, "reltablespace": 0,
        "relpages": 0, "reltuples": -1.0, "relallvisible": 0, "reltoastrelid": 0, "relhasindex": false,
        "relisshared": false, "relpersistence": "p", "relkind": if is_view { "v" } else { "r" },
        "relnatts": schema.fields().len(), "relchecks": 0, "relhasrules": is_view, "relhastriggers": false,
        "relhassubclass": false, "relrowsecurity": false, "relforcerowsecurity": false, "relispopulated": true,
        "relreplident": "n", "relispartition": false, "relrewrite": 0, "relfrozenxid": 0, "relminmxid": 0
    })
}

fn attributes(name: &str, schema: &Schema) -> Vec<Value> {
    let oid = relation_oid(name);
    let attribute = |(number, field): (usize, &Arc<Field>)| {
        let column = types::of_arrow(field.data_type());
        json!({
            "attrelid": oid, "attname": field.name(), "atttypid": column.oid(), "attstattarget": -1,
            "attlen": column.length(), "attnum": number + 1, "attndims": i32::from(column.array), "attcacheoff": -1,
            "atttypmod": -1, "attbyval": (1..=8).contains(&column.length()), "attalign": "i", "attstorage": "p",
            "attcompression": "", "attnotnull": !field.is_nullable(), "atthasdef": false, "atthasmissing": false,
            "attidentity": "", "attgenerated": "", "attisdropped": false, "attislocal": true, "attinhcount": 0,
            "attcollation": 0
        })
    };
    schema.fields().iter().enumerate().map(attribute).collect()
}

/// A type, and the type of arrays of it.
fn pg_types(of: &types::PgType) -> Vec<Value> {
    let row = |oid: i32, name: &str, length: i16, category: &str, element: i32, array: i32, input: &str| {
        json!({
            "oid": oid, "typname": name, "typnamespace": PG_CATALOG_OID, "typowner": OWNER_OID, "typlen": length,
            "typbyval": (1..=8).contains(&length), "typtype": if category == "X" { "p" } else { "b" },
            "typcategory": category, "typispreferred": false, "typisdefined": true, "typdelim": ",", "typrelid": 0,
            "typsubscript": if element == 0 { "-" } else { "array_subscript_handler" }, "typelem": element,
            "typarray": array, "typinput": format!("{input}in"), "typoutput": format!("{input}out"),
            "typreceive": format!("{input}recv"), "typsend": format!("{input}send"), "typmodin": "-", "typmodout": "-",
            "typanalyze": "-", "typalign": "i", "typstorage": "p", "typnotnull": false, "typbasetype": 0,
            "typtypmod": -1, "typndims": 0, "typcollation": 0
        })
    };
    let mut rows = vec![row(of.oid, of.name, of.length, of.category, 0, of.array, of.name)];
    if of.array != 0 {
        rows.push(row(of.array, &format!("_{}", of.name), -1, "A", of.oid, 0, "array_"));
    }
    rows
}

fn columns_of(columns: &str) -> SchemaRef {
    let field = |column: &str| {
        let (name, letter) = column.split_once(':').unwrap_or((column, "t"));
        let data_type = match letter {
            "i" => DataType::Int32,
            "s" => DataType::Int16,
            "l" => DataType::Int64,
            "f" => DataType::Float32,
            "b" => DataType::Boolean,
            "a" => DataType::new_list(DataType::Utf8, true),
            "v" => DataType::new_list(DataType::Int16, true),
            _ => DataType::Utf8,
        };
        Field::new(name, data_type, true)
    };
    Arc::new(Schema::new(columns.split_whitespace().map(field).collect::<Vec<_>>()))
}

fn rows(schema: &SchemaRef, rows: &[Value]) -> Result<Vec<RecordBatch>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut decoder = ReaderBuilder::new(schema.clone()).with_batch_size(rows.len()).build_decoder()?;
    decoder.serialize(rows)?;
    Ok(decoder.flush()?.into_iter().collect())
}
