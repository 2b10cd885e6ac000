//! SQL functions that DataFusion lacks and the ledger needs.
//!
//! | function | gives |
//! |---|---|
//! | `utf8_lossy(bytes)` | the bytes as text, what is no UTF-8 as `�` |
//! | `printable(bytes, n)` | the first `n` bytes as text that a terminal shows and does not obey |
//! | `byte_length(bytes)` | number of bytes, also of a binary value (`octet_length` takes text alone) |
//! | `tickets(text)` | list of the tickets that a text names (`INC-4711`), sorted, each once; null when it names none |
//! | `person(text)` | the person of the identity table whose name or alias a text is, else the text; also of lists |
//! | `text_set(lists)` | union of a list of lists of text: sorted, each once, no nulls; null when nothing is in it |
//! | `text_union(text)` | aggregate: the different texts of a column of text or lists of text; else as `text_set` |
//! | `spans(positions, lengths)` | aggregate: which places pieces take that begin and last so; a list of numbers |
//! | `missing(spans)` | aggregate: how much lies in the holes between spans |
//!
//! Those of `datafusion-functions-json` are there too: `json_get_str(detail, 'url')`, `detail ->> 'url'`.

mod one_of;
mod spans;
mod text_union;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

pub(crate) use self::one_of::{is_one_of, is_one_of_numbers, texts_asked};
use self::spans::SpanFunction;
use self::text_union::TextUnion;
use self::words::WordFunction;
pub(crate) use self::words::Words;
pub use self::words::{TICKET_PATTERN, Vocabulary};
use crate::text;

/// Makes every function of this module known to a context.
pub(crate) fn register(context: &mut SessionContext, words: &Arc<Words>) -> Result<()> {
    datafusion_functions_json::register_all(context)?;
    for function in Function::ALL {
        let arguments = if function == Function::Printable { 2 } else { 1 };
        let signature = Signature::any(arguments, Volatility::Immutable);
        context.register_udf(ScalarUDF::new_from_impl(LedgerFunction { function, signature }));
    }
    for function in WordFunction::all(words) {
        context.register_udf(ScalarUDF::new_from_impl(function));
    }
    context.register_udaf(AggregateUDF::new_from_impl(TextUnion::new()));
    for function in SpanFunction::all() {
        context.register_udaf(AggregateUDF::new_from_impl(function));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Utf8Lossy,
    Printable,
    ByteLength,
    TextSet,
}

impl Function {
    const ALL: [Self; 4] = [Self::Utf8Lossy, Self::Printable, Self::ByteLength, Self::TextSet];
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LedgerFunction {
    function: Function,
    signature: Signature,
}

impl ScalarUDFImpl for LedgerFunction {
    fn name(&self) -> &str {
        match self.function {
            Function::Utf8Lossy => "utf8_lossy",
            Function::Printable => "printable",
            Function::ByteLength => "byte_length",
            Function::TextSet => "text_set",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let expected = match (self.function, arguments) {
            (Function::Utf8Lossy | Function::ByteLength, [of]) if is_bytes(of) => None,
            (Function::Printable, [of, count]) if is_bytes(of) && (count.is_integer() || count.is_null()) => None,
            (Function::TextSet, [of]) if is_list_of(of, |inner| is_list_of(inner, |_| true)) || of.is_null() => None,
            (Function::Utf8Lossy | Function::ByteLength, _) => Some("binary or text"),
            (Function::Printable, _) => Some("binary or text, and a number of bytes"),
            (Function::TextSet, _) => Some("a list of lists of text"),
        };
        if let Some(expected) = expected {
            return plan_err!("{} takes {expected}", self.name());
        }
        Ok(match self.function {
            Function::Utf8Lossy | Function::Printable => DataType::Utf8,
            Function::ByteLength => DataType::Int64,
            Function::TextSet => text_lists(),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let result: ArrayRef = match (self.function, arrays.as_slice()) {
            (Function::Utf8Lossy, [bytes]) => {
                let bytes = cast(bytes, &DataType::Binary)?;
                let texts = bytes.as_binary::<i32>().iter().map(|value| value.map(String::from_utf8_lossy));
                Arc::new(texts.collect::<StringArray>())
            }
            (Function::Printable, [bytes, counts]) => {
                let (bytes, counts) = (cast(bytes, &DataType::Binary)?, cast(counts, &DataType::Int64)?);
                let rows = bytes.as_binary::<i32>().iter().zip(counts.as_primitive::<Int64Type>());
                Arc::new(rows.map(|(value, count)| Some(printable(value?, count?))).collect::<StringArray>())
            }
            (Function::ByteLength, [bytes]) => {
                let bytes = cast(bytes, &DataType::Binary)?;
                // The length of an array's element fits in an i32.
                let lengths = bytes.as_binary::<i32>().iter().map(|value| value.map(|value| value.len() as i64));
                Arc::new(lengths.collect::<Int64Array>())
            }
            (Function::TextSet, [lists]) => {
                let lists = cast(lists, &DataType::new_list(text_lists(), true))?;
                sets(lists.as_list::<i32>().iter().map(|lists| lists.as_ref().map(texts_of).into_iter().flatten()))
            }
            _ => return exec_err!("{} was called with {} arguments", self.name(), arrays.len()),
        };
        Ok(ColumnarValue::Array(result))
    }
}

fn is_bytes(of: &DataType) -> bool {
    of.is_binary() || of.is_string() || of.is_null()
}

/// A list of texts: what the functions take and give.
fn text_lists() -> DataType {
    DataType::new_list(DataType::Utf8, true)
}

fn is_list_of(of: &DataType, element: impl Fn(&DataType) -> bool) -> bool {
    match of {
        DataType::List(field) | DataType::LargeList(field) => element(field.data_type()) || field.data_type().is_null(),
        _ => false,
    }
}

/// The texts in a list array.
fn texts_of(lists: &ArrayRef) -> Vec<String> {
    let texts = |list: ArrayRef| list.as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>();
    lists.as_list::<i32>().iter().flatten().flat_map(texts).collect()
}

fn printable(bytes: &[u8], count: i64) -> String {
    let count = usize::try_from(count).unwrap_or_default();
    let head = String::from_utf8_lossy(bytes.get(..count).unwrap_or(bytes));
    let shown = text::visible(&head);
    if count < bytes.len() { format!("{shown}…") } else { shown.into_owned() }
}

/// A list array with, for each row, the texts sorted and each once; null where there are none.
fn sets<T: AsRef<str> + Ord>(rows: impl Iterator<Item = impl Iterator<Item = T>>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in rows {
        let set: BTreeSet<T> = row.collect();
        for text in &set {
            lists.values().append_value(text);
        }
        lists.append(!set.is_empty());
    }
    Arc::new(lists.finish())
}
