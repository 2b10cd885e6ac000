//! Types of PostgreSQL, as far as a ledger has values of them.

use arrow::datatypes::{DataType, TimeUnit};

/// A type as PostgreSQL's catalogue knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PgType {
    /// Number by which clients know it.
    pub(crate) oid: i32,
    /// Name in `pg_type`.
    pub(crate) name: &'static str,
    /// Name in SQL.
    pub(crate) sql_name: &'static str,
    /// Bytes of a value; -1 for those that vary.
    pub(crate) length: i16,
    /// Category in `pg_type`.
    pub(crate) category: &'static str,
    /// Number of the type of arrays of it; 0 without.
    pub(crate) array: i32,
}

macro_rules! types {
    ($($constant:ident = $oid:literal $name:literal $sql:literal $length:literal $category:literal $array:literal;)*) => {
        $(
            pub(crate) const $constant: PgType = PgType {
                oid: $oid, name: $name, sql_name: $sql, length: $length, category: $category, array: $array,
            };
        )*
        /// Every type.
        pub(crate) const TYPES: &[PgType] = &[$($constant),*];
    };
}

types! {
    BOOL = 16 "bool" "boolean" 1 "B" 1000;
    BYTEA = 17 "bytea" "bytea" -1 "U" 1001;
    CHAR = 18 "char" "\"char\"" 1 "Z" 1002;
    NAME = 19 "name" "name" 64 "S" 1003;
    INT8 = 20 "int8" "bigint" 8 "N" 1016;
    INT2 = 21 "int2" "smallint" 2 "N" 1005;
    INT4 = 23 "int4" "integer" 4 "N" 1007;
    TEXT = 25 "text" "text" -1 "S" 1009;
    OID = 26 "oid" "oid" 4 "N" 1028;
    JSON = 114 "json" "json" -1 "U" 199;
    FLOAT4 = 700 "float4" "real" 4 "N" 1021;
    FLOAT8 = 701 "float8" "double precision" 8 "N" 1022;
    UNKNOWN = 705 "unknown" "unknown" -2 "X" 0;
    BPCHAR = 1042 "bpchar" "character" -1 "S" 1014;
    VARCHAR = 1043 "varchar" "character varying" -1 "S" 1015;
    DATE = 1082 "date" "date" 4 "D" 1182;
    TIME = 1083 "time" "time without time zone" 8 "D" 1183;
    TIMESTAMP = 1114 "timestamp" "timestamp without time zone" 8 "D" 1115;
    TIMESTAMPTZ = 1184 "timestamptz" "timestamp with time zone" 8 "D" 1185;
    INTERVAL = 1186 "interval" "interval" 16 "T" 1187;
    NUMERIC = 1700 "numeric" "numeric" -1 "N" 1231;
    UUID = 2950 "uuid" "uuid" 16 "U" 2951;
    JSONB = 3802 "jsonb" "jsonb" -1 "U" 3807;
}

/// What clients are told that a column is: a type, or an array of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnType {
    pub(crate) of: PgType,
    pub(crate) array: bool,
}

impl ColumnType {
    /// The type whose number a client gave.
    pub(crate) fn from_oid(oid: i32) -> Option<Self> {
        TYPES.iter().find_map(|of| match oid {
            0 => None,
            _ if of.oid == oid => Some(Self { of: *of, array: false }),
            _ if of.array == oid => Some(Self { of: *of, array: true }),
            _ => None,
        })
    }

    /// The number by which clients know it.
    pub(crate) fn oid(self) -> i32 {
        if self.array { self.of.array } else { self.of.oid }
    }

    /// Bytes of a value; -1 for those that vary.
    pub(crate) fn length(self) -> i16 {
        if self.array { -1 } else { self.of.length }
    }

    /// Name in SQL.
    pub(crate) fn sql_name(self) -> String {
        format!("{}{}", self.of.sql_name, if self.array { "[]" } else { "" })
    }

    /// How values of it are held in memory.
    pub(crate) fn arrow(self) -> DataType {
        let of = match self.of {
            BOOL => DataType::Boolean,
            BYTEA => DataType::Binary,
            INT2 => DataType::Int16,
            INT4 => DataType::Int32,
            INT8 | OID => DataType::Int64,
            FLOAT4 => DataType::Float32,
            FLOAT8 => DataType::Float64,
            NUMERIC => DataType::Decimal128(38, 10),
            DATE => DataType::Date32,
            TIME => DataType::Time64(TimeUnit::Microsecond),
            TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
            TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        };
        if self.array { DataType::new_list(of, true) } else { of }
    }
}

/// What clients are told that a type of arrow's is. What PostgreSQL lacks is text.
pub(crate) fn of_arrow(data_type: &DataType) -> ColumnType {
    use DataType as D;
    let of = match data_type {
        D::List(field) | D::LargeList(field) | D::FixedSizeList(field, _) | D::ListView(field) => {
            let inner = of_arrow(field.data_type());
            // PostgreSQL's arrays have one type whatever their dimensions; lists of lists are shown as text.
            return if inner.array {
                ColumnType { of: TEXT, array: false }
            } else {
                ColumnType { array: true, ..inner }
            };
        }
        D::Dictionary(_, values) => return of_arrow(values),
        D::Boolean => BOOL,
        D::Int8 | D::UInt8 | D::Int16 => INT2,
        D::UInt16 | D::Int32 => INT4,
        D::UInt32 | D::Int64 => INT8,
        D::UInt64 | D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..) => NUMERIC,
        D::Float16 | D::Float32 => FLOAT4,
        D::Float64 => FLOAT8,
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => BYTEA,
        D::Date32 | D::Date64 => DATE,
        D::Time32(_) | D::Time64(_) => TIME,
        D::Timestamp(_, None) => TIMESTAMP,
        D::Timestamp(_, Some(_)) => TIMESTAMPTZ,
        D::Interval(_) | D::Duration(_) => INTERVAL,
        _ => TEXT,
    };
    ColumnType { of, array: false }
}
