//! The aggregate `missing`: how much lies in the holes between pieces.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::is_list_of;

/// The aggregate; see the [module](super) of functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Missing {
    signature: Signature,
}

impl Missing {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

fn numbers() -> DataType {
    DataType::new_list(DataType::Int64, true)
}

fn is_numbers(of: &DataType) -> bool {
    of.is_integer() || of.is_null() || is_list_of(of, DataType::is_integer)
}

impl AggregateUDFImpl for Missing {
    fn name(&self) -> &str {
        "missing"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [starts, lens] if is_numbers(starts) && is_numbers(lens) => Ok(DataType::Int64),
            _ => plan_err!("missing takes positions and lengths: numbers or lists of numbers"),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}_spans", arguments.name), numbers(), true))])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Spans::default()))
    }
}

/// What is there: the first and the end of each span, none touching another. A recording that is whole is one span.
#[derive(Debug, Default)]
struct Spans(BTreeMap<i64, i64>);

impl Spans {
    fn add(&mut self, start: i64, len: i64) {
        let (mut start, mut end) = (start, start.saturating_add(len.max(0)));
        if let Some((before, until)) = self.0.range(..=start).next_back().map(|(before, until)| (*before, *until))
            && until >= start
        {
            (start, end) = (before, end.max(until));
        }
        while let Some((next, until)) = self.0.range(start..=end).next().map(|(next, until)| (*next, *until)) {
            self.0.remove(&next);
            end = end.max(until);
        }
        self.0.insert(start, end);
    }

    fn missing(&self) -> Option<i64> {
        let (first, _) = self.0.first_key_value()?;
        let (_, end) = self.0.last_key_value()?;
        let there = self.0.iter().fold(0, |sum: i64, (start, end)| sum.saturating_add(end.saturating_sub(*start)));
        Some(end.saturating_sub(*first).saturating_sub(there))
    }
}

/// The numbers of each row.
fn rows(values: &ArrayRef) -> Result<Vec<Vec<Option<i64>>>> {
    Ok(match values.data_type() {
        DataType::List(_) | DataType::LargeList(_) => {
            let lists = cast(values, &numbers())?;
            let list = |list: ArrayRef| list.as_primitive::<Int64Type>().iter().collect();
            lists.as_list::<i32>().iter().map(|row| row.map(list).unwrap_or_default()).collect()
        }
        _ => cast(values, &DataType::Int64)?.as_primitive::<Int64Type>().iter().map(|number| vec![number]).collect(),
    })
}

impl Accumulator for Spans {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [starts, lens] = values else {
            return exec_err!("missing was called with {} arguments", values.len());
        };
        for (starts, lens) in rows(starts)?.into_iter().zip(rows(lens)?) {
            for (start, len) in starts.into_iter().zip(lens) {
                if let (Some(start), Some(len)) = (start, len) {
                    self.add(start, len);
                }
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(states) = states.first() else { return Ok(()) };
        for spans in rows(states)? {
            for span in spans.as_chunks::<2>().0 {
                if let [Some(start), Some(end)] = span {
                    self.add(*start, end.saturating_sub(*start));
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(self.missing()))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let bounds: Int64Array = self.0.iter().flat_map(|(start, end)| [*start, *end]).collect();
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(bounds)).with_nullable(true).build_list_scalar()])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.len() * 2 * size_of::<(i64, i64)>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holes_are_counted_between_the_first_and_the_last_piece() {
        type Case<'a> = (&'a [(i64, i64)], Option<i64>);
        let cases: [Case<'_>; 7] = [
            (&[], None),
            (&[(5, 3)], Some(0)),
            (&[(0, 3), (3, 2)], Some(0)),
            (&[(0, 3), (5, 2)], Some(2)),
            (&[(5, 2), (0, 3), (0, 3)], Some(2)),
            (&[(0, 10), (2, 3), (12, 1)], Some(2)),
            (&[(0, -5), (i64::MAX, 7)], Some(i64::MAX)),
        ];
        for (pieces, expected) in cases {
            let mut spans = Spans::default();
            pieces.iter().for_each(|(start, len)| spans.add(*start, *len));
            assert_eq!(spans.missing(), expected, "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_pieces_does_not_matter(pieces in prop::collection::vec((0..60_i64, 0..9_i64), 1..20)) {
            let mut there = [false; 70];
            let mut spans = Spans::default();
            for (start, len) in &pieces {
                spans.add(*start, *len);
                (*start..*start + *len).for_each(|at| there[at as usize] = true);
            }
            let first = pieces.iter().map(|(start, _)| *start).min().unwrap();
            let end = pieces.iter().map(|(start, len)| start + len).max().unwrap();
            let holes = (first..end).filter(|at| !there[*at as usize]).count() as i64;
            prop_assert_eq!(spans.missing(), Some(holes));
        }
    }
}
