//! The functions whose meaning is configured: what a ticket looks like, and who is who.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use regex::Regex;

use super::{is_list_of, sets, text_lists};
use crate::error::QueryError;
use crate::reference::ReferencePaths;

/// What a ticket's id looks like when nobody says otherwise: capital letters and digits, a hyphen, digits (`INC-4711`).
pub const TICKET_PATTERN: &str = "[A-Z][A-Z0-9]+-[0-9]+";

/// What words mean in an organisation.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// Persons, and the other names by which systems know each.
    pub people: HashMap<String, Vec<String>>,
    /// Regular expression of a ticket's id.
    pub ticket_pattern: String,
    /// Files with what gateways do not publish.
    pub reference: ReferencePaths,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self { people: HashMap::new(), ticket_pattern: TICKET_PATTERN.to_owned(), reference: ReferencePaths::default() }
    }
}

/// A vocabulary, ready for use.
#[derive(Debug)]
pub(crate) struct Words {
    /// The person behind each alias.
    person: HashMap<String, String>,
    ticket: Regex,
}

impl Words {
    /// # Errors
    ///
    /// [`QueryError::Invalid`] for a pattern that is none, or an alias of two persons.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Self, QueryError> {
        let pattern = &vocabulary.ticket_pattern;
        let ticket = Regex::new(pattern)
            .map_err(|error| QueryError::Invalid(format!("tickets.pattern is no regular expression: {error}")))?;
        let mut person: HashMap<String, String> = HashMap::new();
        for (name, aliases) in &vocabulary.people {
            for alias in aliases.iter().chain([name]) {
                if let Some(other) = person.insert(alias.clone(), name.clone())
                    && other != *name
                {
                    return Err(QueryError::Invalid(format!("identities: {alias:?} is both {name:?} and {other:?}")));
                }
            }
        }
        Ok(Self { person, ticket })
    }

    /// The tickets that a text names, in the order of the text: what the pattern matches, not inside a longer word.
    fn tickets<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let in_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
        self.ticket.find_iter(text).filter_map(move |found| {
            let (before, after) = (text.get(..found.start())?, text.get(found.end()..)?);
            let is_word = !before.ends_with(in_word) && !after.starts_with(in_word) && !found.is_empty();
            is_word.then_some(found.as_str())
        })
    }

    /// Who is behind a name.
    pub(crate) fn person<'a>(&'a self, name: &'a str) -> &'a str {
        self.person.get(name).map_or(name, String::as_str)
    }

    /// All names behind which one of these persons is.
    pub(crate) fn names_of<'a>(&'a self, persons: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        let known = self.person.iter().filter(|(_, person)| persons.contains(person.as_str()));
        let unknown = persons.iter().copied().filter(|person| !self.person.contains_key(*person));
        known.map(|(name, _)| name.as_str()).chain(unknown).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Tickets,
    Person,
}

/// `tickets` or `person`.
#[derive(Debug)]
pub(super) struct WordFunction {
    of: Of,
    words: Arc<Words>,
    signature: Signature,
}

impl WordFunction {
    pub(super) fn all(words: &Arc<Words>) -> [Self; 2] {
        let signature = Signature::any(1, Volatility::Immutable);
        [Of::Tickets, Of::Person].map(|of| Self { of, words: words.clone(), signature: signature.clone() })
    }
}

// Two functions are the same when they use the same words; the planner asks.
impl PartialEq for WordFunction {
    fn eq(&self, other: &Self) -> bool {
        self.of == other.of && Arc::ptr_eq(&self.words, &other.words)
    }
}

impl Eq for WordFunction {}

impl Hash for WordFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.of.hash(state);
        Arc::as_ptr(&self.words).hash(state);
    }
}

fn is_text(of: &DataType) -> bool {
    of.is_string() || of.is_null()
}

impl ScalarUDFImpl for WordFunction {
    fn name(&self) -> &str {
        match self.of {
            Of::Tickets => "tickets",
            Of::Person => "person",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (self.of, arguments) {
            (Of::Tickets, [of]) if is_text(of) => Ok(text_lists()),
            (Of::Person, [of]) if is_text(of) => Ok(DataType::Utf8),
            (Of::Person, [of]) if is_list_of(of, DataType::is_string) => Ok(text_lists()),
            (Of::Tickets, _) => plan_err!("tickets takes text"),
            (Of::Person, _) => plan_err!("person takes text or a list of text"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [values] = arrays.as_slice() else {
            return exec_err!("{} was called with {} arguments", self.name(), arrays.len());
        };
        let result: ArrayRef = match self.of {
            Of::Tickets => {
                let texts = cast(values, &DataType::Utf8)?;
                let texts = texts.as_string::<i32>().iter();
                sets(texts.map(|text| text.into_iter().flat_map(|text| self.words.tickets(text))))
            }
            Of::Person if is_text(values.data_type()) => {
                let names = cast(values, &DataType::Utf8)?;
                let persons = names.as_string::<i32>().iter().map(|name| name.map(|name| self.words.person(name)));
                Arc::new(persons.collect::<StringArray>())
            }
            Of::Person => {
                let lists = cast(values, &text_lists())?;
                let mut persons = ListBuilder::new(StringBuilder::new());
                for list in lists.as_list::<i32>().iter() {
                    for name in list.iter().flat_map(|list| list.as_string::<i32>().iter()) {
                        persons.values().append_option(name.map(|name| self.words.person(name)));
                    }
                    persons.append(list.is_some());
                }
                Arc::new(persons.finish())
            }
        };
        Ok(ColumnarValue::Array(result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pattern: &str, people: &[(&str, &[&str])]) -> Result<Words, QueryError> {
        let aliases = |aliases: &[&str]| aliases.iter().map(|alias| (*alias).to_owned()).collect();
        let people = people.iter().map(|(name, others)| ((*name).to_owned(), aliases(others))).collect();
        Words::new(&Vocabulary { people, ticket_pattern: pattern.to_owned(), ..Vocabulary::default() })
    }

    #[test]
    fn tickets_are_found_in_sentences() {
        let cases: [(&str, &str, &[&str]); 10] = [
            (TICKET_PATTERN, "INC-4711 restore replica", &["INC-4711"]),
            (TICKET_PATTERN, "latency, JIRA OPS-1412 (see OPS2-7.)", &["OPS-1412", "OPS2-7"]),
            (TICKET_PATTERN, "https://jira/browse/INC-1?x=SEC-2", &["INC-1", "SEC-2"]),
            (TICKET_PATTERN, "inc-1 X-1 INC-1a INC-1-2 xINC-1 INC_1-1 INC-", &[]),
            (TICKET_PATTERN, "éINC-1 INC-1é", &[]),
            (TICKET_PATTERN, "-1 - --", &[]),
            (TICKET_PATTERN, "", &[]),
            (r"CHG\d{7}", "CHG0012345, CHG1", &["CHG0012345"]),
            (r"#\d+", "fixes #17 (#18)", &["#17", "#18"]),
            ("", "nothing is a ticket", &[]),
        ];
        for (pattern, text, expected) in cases {
            let words = words(pattern, &[]).unwrap();
            assert_eq!(words.tickets(text).collect::<Vec<_>>(), expected, "{pattern} in {text}");
        }
    }

    #[test]
    fn a_person_is_one_under_every_name() {
        let words = words(TICKET_PATTERN, &[("alice", &["alice@example.com", "u_alice0001"])]).unwrap();
        for (name, person) in [("alice", "alice"), ("u_alice0001", "alice"), ("bob", "bob"), ("", "")] {
            assert_eq!(words.person(name), person, "{name}");
        }
        let names = |persons: &[&'static str]| Vec::from_iter(words.names_of(&persons.iter().copied().collect()));
        assert_eq!(names(&["alice", "bob"]), ["alice", "alice@example.com", "bob", "u_alice0001"]);
        assert_eq!(names(&["u_alice0001"]), [] as [&str; 0], "that is nobody's name for a person");
        assert_eq!(names(&[]), [] as [&str; 0]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(words("(", &[]).is_err());
        assert!(words(TICKET_PATTERN, &[("alice", &["a"]), ("bob", &["a"])]).is_err());
    }
}
