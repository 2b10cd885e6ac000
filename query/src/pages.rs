//! Pages of rows in a fixed order: where one ended, the next begins. Rows that come in later shift nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, SortExpr, lit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::QueryError;
use crate::sessions::Time;

/// The largest number of rows on a page.
pub const PAGE_ROWS_MAX: usize = 1000;

/// A column of an order.
pub(crate) struct By {
    pub(crate) column: Expr,
    pub(crate) ascending: bool,
}

impl By {
    pub(crate) fn ascending(column: Expr) -> Self {
        Self { column, ascending: true }
    }

    pub(crate) fn descending(column: Expr) -> Self {
        Self { column, ascending: false }
    }
}

/// The order, for rows to be sorted. No column of it is null.
pub(crate) fn sorted(order: &[By]) -> Vec<SortExpr> {
    order.iter().map(|by| by.column.clone().sort(by.ascending, false)).collect()
}

/// The condition of the rows behind a place, which has a value for each column of the order.
pub(crate) fn behind(order: &[By], place: Vec<Expr>) -> Expr {
    order.iter().zip(place).rev().fold(lit(false), |behind, (By { column, ascending }, value)| {
        let further = if *ascending { column.clone().gt(value.clone()) } else { column.clone().lt(value.clone()) };
        further.or(column.clone().eq(value).and(behind))
    })
}

/// A place as a text that says nothing to whoever passes it on.
pub(crate) fn cursor<T: Serialize>(place: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::json!(place).to_string())
}

/// The place of a cursor.
pub(crate) fn place<T: DeserializeOwned>(cursor: &str) -> Result<T, QueryError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let place = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    place.ok_or_else(|| QueryError::Invalid("the cursor is not one that a page gave".to_owned()))
}

/// A page of these rows, which are one more than it has where there is another.
pub(crate) fn page<T>(mut rows: Vec<T>, count: usize, cursor: impl FnOnce(&T) -> String) -> (Vec<T>, Option<String>) {
    let more = rows.len() > count;
    rows.truncate(count);
    let next = rows.last().filter(|_| more).map(cursor);
    (rows, next)
}

pub(crate) fn instant(Time(at): Time) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into())))
}
