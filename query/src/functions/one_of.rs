//! Whether a value is one of many.
//!
//! `value IN (…)` is a node of the plan for every value, and each rule of the optimiser goes over all of them: for some hundred
//! that takes longer than to run the plan. What a list of few has in return, that files are passed over by their statistics,
//! DataFusion leaves out for more than twenty as well.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Literal, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

/// Values that stand in the plan itself.
const LISTED_MAX: usize = 20;

/// The condition that a text is one of these; as with `IN`, null where there is no text.
pub(crate) fn is_one_of<'t>(text: Expr, texts: impl IntoIterator<Item = &'t str>) -> Expr {
    let texts: HashSet<&str> = texts.into_iter().collect();
    condition(text, texts, |texts| Values::Texts(texts.into_iter().map(Box::from).collect()))
}

/// The same of whole numbers.
pub(crate) fn is_one_of_numbers(number: Expr, numbers: impl IntoIterator<Item = i64>) -> Expr {
    condition(number, numbers.into_iter().collect(), Values::Numbers)
}

fn condition<T: Literal>(value: Expr, of: HashSet<T>, many: impl FnOnce(HashSet<T>) -> Values) -> Expr {
    match of.len() {
        0 => lit(false),
        1..=LISTED_MAX => value.in_list(of.into_iter().map(lit).collect(), false),
        _ => {
            let one_of = OneOf { values: Arc::new(many(of)), signature: Signature::any(1, Volatility::Immutable) };
            ScalarUDF::new_from_impl(one_of).call(vec![value])
        }
    }
}

/// The texts of which a condition asks a column to be one, in whichever way it says so; `None` where it asks something else.
pub(crate) fn texts_asked<'e>(condition: &'e Expr, column: &str) -> Option<Vec<&'e str>> {
    let is_it = |expr: &Expr| matches!(expr, Expr::Column(of) if of.name == column);
    let text = |expr: &'e Expr| match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    };
    let (mut texts, mut rest) = (Vec::new(), vec![condition]);
    while let Some(condition) = rest.pop() {
        match condition {
            Expr::BinaryExpr(either) if either.op == Operator::Or => rest.extend([&*either.left, &*either.right]),
            Expr::BinaryExpr(is) if is.op == Operator::Eq && is_it(&is.left) => texts.push(text(&is.right)?),
            Expr::InList(list) if !list.negated && is_it(&list.expr) => {
                for one in &list.list {
                    texts.push(text(one)?);
                }
            }
            Expr::ScalarFunction(call) if matches!(call.args.as_slice(), [one] if is_it(one)) => {
                match call.func.inner().downcast_ref::<OneOf>()?.values.as_ref() {
                    Values::Texts(of) => texts.extend(of.iter().map(AsRef::as_ref)),
                    Values::Numbers(_) => return None,
                }
            }
            _ => return None,
        }
    }
    Some(texts)
}

#[derive(Debug)]
struct OneOf {
    values: Arc<Values>,
    signature: Signature,
}

#[derive(Debug)]
enum Values {
    Texts(HashSet<Box<str>>),
    Numbers(HashSet<i64>),
}

/// Plans are compared and hashed all the time; a set is only ever the same as itself.
impl PartialEq for OneOf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.values, &other.values)
    }
}

impl Eq for OneOf {}

impl Hash for OneOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.values).hash(state);
    }
}

impl ScalarUDFImpl for OneOf {
    fn name(&self) -> &str {
        "is_one_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [array] = arrays.as_slice() else {
            return exec_err!("is_one_of was called with {} arguments", arrays.len());
        };
        let is_there: BooleanArray = match self.values.as_ref() {
            Values::Texts(texts) => {
                let array = cast(array, &DataType::Utf8)?;
                array.as_string::<i32>().iter().map(|text| Some(texts.contains(text?))).collect()
            }
            Values::Numbers(numbers) => {
                let array = cast(array, &DataType::Int64)?;
                array.as_primitive::<Int64Type>().iter().map(|number| Some(numbers.contains(&number?))).collect()
            }
        };
        Ok(ColumnarValue::Array(Arc::new(is_there)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use arrow::datatypes::Field;
    use arrow::record_batch::RecordBatch;
    use datafusion::prelude::{SessionContext, ident};

    use super::*;

    #[test]
    fn texts_are_told_from_whatever_asks_for_them() {
        let many: Vec<String> = (0..50).map(|number| format!("t{number}")).collect();
        let id = || ident("id");
        let cases = [
            (id().eq(lit("a")), Some(vec!["a"])),
            (id().eq(lit("a")).or(id().eq(lit("b"))), Some(vec!["a", "b"])),
            (id().in_list(vec![lit("a"), lit("b")], false), Some(vec!["a", "b"])),
            (is_one_of(id(), ["a"]).or(id().eq(lit("b"))), Some(vec!["a", "b"])),
            (is_one_of(id(), many.iter().map(String::as_str)), Some(many.iter().map(String::as_str).collect())),
            (id().in_list(vec![lit("a"), ident("other")], false), None),
            (id().in_list(vec![lit("a")], true), None),
            (id().not_eq(lit("a")), None),
            (id().eq(lit("a")).or(ident("other").eq(lit("b"))), None),
            (id().eq(lit("a")).and(ident("other").eq(lit("b"))), None),
            (ident("other").eq(lit("a")), None),
            (is_one_of(ident("other"), many.iter().map(String::as_str)), None),
            (is_one_of_numbers(id(), 0..50), None),
            (id().eq(lit(datafusion::common::ScalarValue::Utf8(None))), None),
        ];
        for (condition, expected) in cases {
            let found = texts_asked(&condition, "id").map(|mut texts| {
                texts.sort_unstable();
                texts
            });
            let expected = expected.map(|mut texts| {
                texts.sort_unstable();
                texts
            });
            assert_eq!(found, expected, "{condition}");
        }
    }

    #[tokio::test]
    async fn many_are_found_as_few_are() {
        let texts = StringArray::from(vec![Some("t0"), None, Some("t9"), Some("t40"), Some("x"), Some("")]);
        let as_views = cast(&texts, &DataType::Utf8View).unwrap();
        let numbers = Int32Array::from(vec![Some(0), None, Some(9), Some(40), Some(-1), Some(-2)]);
        let columns = [("utf8", Arc::new(texts) as ArrayRef), ("views", as_views), ("numbers", Arc::new(numbers))];
        for (of, column) in columns {
            let schema = arrow::datatypes::Schema::new(vec![Field::new("value", column.data_type().clone(), true)]);
            let rows = RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap();
            for (count, expected) in [(0, 0), (1, 1), (20, 2), (21, 2), (1000, 3)] {
                let many: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
                let condition = match of {
                    "numbers" => is_one_of_numbers(ident("value"), 0..count),
                    _ => is_one_of(ident("value"), many.iter().map(String::as_str)),
                };
                let context = SessionContext::new();
                let found = context.read_batch(rows.clone()).unwrap().filter(condition.clone()).unwrap();
                assert_eq!(found.count().await.unwrap(), expected, "{of}, {count}");
                // What is null is neither there nor not there.
                let others = context.read_batch(rows.clone()).unwrap().filter(condition.is_not_true()).unwrap();
                assert_eq!(others.count().await.unwrap(), 6 - expected, "{of}, {count}");
            }
        }
    }
}
