//! The aggregate `text_union`: the different texts of a column.
//!
//! `array_agg(DISTINCT …)` would do, at a cost of kilobytes a group; the views have a group for each session.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListBuilder, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::{is_list_of, text_lists};

/// The aggregate; see the [module](super) of functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TextUnion {
    signature: Signature,
}

impl TextUnion {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for TextUnion {
    fn name(&self) -> &str {
        "text_union"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [of] if of.is_string() || of.is_null() || is_list_of(of, DataType::is_string) => Ok(text_lists()),
            _ => plan_err!("text_union takes text or a list of text"),
        }
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Union::default()))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Unions::default()))
    }
}

/// Different texts in their order. Few: a session has a handful of participants, a request a handful of reviewers.
type Set = Vec<Box<str>>;

/// The sets of all groups. Input, state and result are of one kind: a list of texts a row.
#[derive(Debug, Default)]
struct Unions {
    sets: Vec<Set>,
    /// Bytes that the sets hold.
    bytes: usize,
}

impl Unions {
    fn add(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.sets.resize(group_count.max(self.sets.len()), Set::new());
        let [values] = values else {
            return exec_err!("text_union was called with {} arguments", values.len());
        };
        let taken = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        if matches!(values.data_type(), DataType::List(_) | DataType::LargeList(_)) {
            let lists = cast(values, &text_lists())?;
            for (row, (list, group)) in lists.as_list::<i32>().iter().zip(groups).enumerate() {
                if let Some(list) = list.filter(|_| taken(row)) {
                    list.as_string::<i32>().iter().flatten().for_each(|text| self.insert(*group, text));
                }
            }
        } else {
            let texts = cast(values, &DataType::Utf8)?;
            for (row, (text, group)) in texts.as_string::<i32>().iter().zip(groups).enumerate() {
                if let Some(text) = text.filter(|_| taken(row)) {
                    self.insert(*group, text);
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, group: usize, text: &str) {
        let Some(set) = self.sets.get_mut(group) else {
            return;
        };
        if let Err(place) = set.binary_search_by(|have| (**have).cmp(text)) {
            set.insert(place, text.into());
            self.bytes += text.len() + size_of::<Box<str>>();
        }
    }

    fn emit(&mut self, emit_to: EmitTo) -> ArrayRef {
        let emitted = emit_to.take_needed(&mut self.sets);
        self.bytes -= emitted.iter().flatten().map(|text| text.len() + size_of::<Box<str>>()).sum::<usize>();
        lists(&emitted)
    }

    fn bytes(&self) -> usize {
        self.bytes + self.sets.capacity() * size_of::<Set>()
    }
}

/// A row for each set; null where it is empty.
fn lists(sets: &[Set]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for set in sets {
        set.iter().for_each(|text| lists.values().append_value(text));
        lists.append(!set.is_empty());
    }
    Arc::new(lists.finish())
}

impl GroupsAccumulator for Unions {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.add(values, groups, filter, group_count)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], group_count: usize) -> Result<()> {
        self.add(values, groups, None, group_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.emit(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit_to)])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |values| values.len());
        let mut unions = Self::default();
        unions.add(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        Ok(vec![unions.emit(EmitTo::All)])
    }

    fn size(&self) -> usize {
        self.bytes()
    }
}

/// The set of everything.
#[derive(Debug, Default)]
struct Union(Unions);

impl Accumulator for Union {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.0.add(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.sets.resize(1, Set::new());
        ScalarValue::try_from_array(&lists(&self.0.sets), 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        self.0.bytes()
    }
}
