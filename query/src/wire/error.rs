//! What a client is told when it does not get what it asked for: a sentence, and PostgreSQL's code for it.

use crate::error::QueryError;

/// Why something was not done. The connection goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// SQLSTATE.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Where in the statement, counted in characters from 1.
    pub(super) position: Option<usize>,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), position: None }
    }

    /// What the engine says about a statement.
    pub(super) fn of(error: QueryError, sql: &str) -> Self {
        if matches!(error, QueryError::Store(_) | QueryError::Internal(_)) {
            tracing::error!(%error, "a question could not be answered");
        }
        let code = match &error {
            QueryError::Invalid(message) => code_of(message),
            QueryError::Forbidden(_) => "42501",
            QueryError::Timeout(_) => "57014",
            QueryError::Resources(_) => "53200",
            QueryError::TooLarge { .. } => "54000",
            QueryError::Gone(_) => "58P01",
            QueryError::Reference(_) => "F0000",
            QueryError::Store(_) => "58030",
            QueryError::Internal(_) => "XX000",
        };
        let message = error.to_string();
        let position = position_in(&message, sql);
        Self { code, message, position }
    }
}

/// The engine has one kind of error for a wrong question; its words tell them apart. What is not known is a syntax error
/// or access rule violation, the class that all of them belong to.
fn code_of(message: &str) -> &'static str {
    let lower = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    if has(&["at line: ", "sql parser", "expected: ", "unterminated", "nested too deeply", "there is no sql statement"])
    {
        "42601"
    } else if has(&["no field named", "column not found"]) {
        "42703"
    } else if has(&["ambiguous reference"]) {
        "42702"
    } else if lower.contains("table '") && lower.contains("not found")
        || has(&["failed to resolve schema", "failed to resolve catalog"])
    {
        "42P01"
    } else if has(&["invalid function", "table function"]) {
        "42883"
    } else if has(&["divide by zero"]) {
        "22012"
    } else if has(&["overflow", "out of range"]) {
        "22003"
    } else if has(&["cannot cast", "cast error", "parser error", "error parsing"]) {
        "22P02"
    } else if has(&[
        "must be in the group by",
        "must appear in the group by",
        "could not be resolved from available columns",
    ]) {
        "42803"
    } else if has(&["not implemented", "unsupported", "not supported"]) {
        "0A000"
    } else if has(&["has more than"]) {
        "54000"
    } else {
        "42000"
    }
}

/// The place that an error of the parser names (`at Line: 1, Column: 8`), in characters.
fn position_in(message: &str, sql: &str) -> Option<usize> {
    let (_, place) = message.rsplit_once("at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().ok();
    let (line, column) = (digits(line)?, digits(column)?);
    let before: usize = sql.split_inclusive('\n').take(line.checked_sub(1)?).map(|line| line.chars().count()).sum();
    Some(before + column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters() {
        assert_eq!(position_in("Expected: x at Line: 2, Column: 3", "SELECT 'é',\n  x"), Some(15));
        assert_eq!(position_in("no field named x", "SELECT x"), None);
        assert_eq!(position_in("at Line: 0, Column: 0", "SELECT x"), None);
    }
}
