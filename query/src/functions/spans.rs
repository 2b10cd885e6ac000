//! The aggregates `spans`: which places pieces take, and `missing`: how much lies in the holes between them.
//!
//! Spans are a list of numbers: the first place of a span and the one after its last, then those of the next.

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

/// The aggregates; see the [module](super) of functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SpanFunction {
    gives: Gives,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Gives {
    /// `spans`
    Spans,
    /// `missing`
    Missing,
}

impl SpanFunction {
    pub(super) fn all() -> [Self; 2] {
        [(Gives::Spans, 2), (Gives::Missing, 1)]
            .map(|(gives, arguments)| Self { gives, signature: Signature::any(arguments, Volatility::Immutable) })
    }
}

fn numbers() -> DataType {
    DataType::new_list(DataType::Int64, true)
}

fn is_numbers(of: &DataType) -> bool {
    of.is_integer() || of.is_null() || is_list_of(of, DataType::is_integer)
}

impl AggregateUDFImpl for SpanFunction {
    fn name(&self) -> &str {
        match self.gives {
            Gives::Spans => "spans",
            Gives::Missing => "missing",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (self.gives, arguments) {
            (Gives::Spans, [starts, lens]) if is_numbers(starts) && is_numbers(lens) => Ok(numbers()),
            (Gives::Spans, _) => plan_err!("spans takes positions and lengths: numbers or lists of numbers"),
            (Gives::Missing, [spans]) if is_list_of(spans, DataType::is_integer) => Ok(DataType::Int64),
            (Gives::Missing, _) => plan_err!("missing takes spans: what the aggregate of that name gives"),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}_spans", arguments.name), numbers(), true))])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(match self.gives {
            Gives::Spans => Box::new(Spanned(Spans::default())),
            Gives::Missing => Box::new(Holes(Spans::default())),
        })
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

impl Spans {
    fn add_pieces(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [starts, lens] = values else {
            return exec_err!("spans was called with {} arguments", values.len());
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

    fn add_spans(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(spans) = values.first() else { return Ok(()) };
        for bounds in rows(spans)? {
            for bound in bounds.as_chunks::<2>().0 {
                if let [Some(start), Some(end)] = bound {
                    self.add(*start, end.saturating_sub(*start));
                }
            }
        }
        Ok(())
    }

    fn list(&self) -> ScalarValue {
        if self.0.is_empty() {
            return ScalarValue::new_null_list(DataType::Int64, true, 1);
        }
        let bounds: Int64Array = self.0.iter().flat_map(|(start, end)| [*start, *end]).collect();
        SingleRowListArrayBuilder::new(Arc::new(bounds)).with_nullable(true).build_list_scalar()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.len() * 2 * size_of::<(i64, i64)>()
    }
}

/// Where pieces are.
#[derive(Debug)]
struct Spanned(Spans);

impl Accumulator for Spanned {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.add_pieces(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.add_spans(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.0.list())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.0.list()])
    }

    fn size(&self) -> usize {
        self.0.bytes()
    }
}

/// What lies between spans.
#[derive(Debug)]
struct Holes(Spans);

impl Accumulator for Holes {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.add_spans(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.add_spans(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(self.0.missing()))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.0.list()])
    }

    fn size(&self) -> usize {
        self.0.bytes()
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
