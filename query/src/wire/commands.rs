//! What concerns the session alone: transactions, settings, prepared statements by name.
//!
//! These are answered here and never reach the engine. A setting can be set when it is on the list; most are remembered
//! and change nothing, because clients set them out of habit.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::error::Refusal;
use crate::engine::AsOf;
use crate::pg_catalog::functions::SETTINGS;
use crate::text::visible;

/// One statement of a text that may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) sql: String,
    /// What it asks of the session; `None` for the ledger.
    pub(super) command: Option<Command>,
    /// Characters of the text before it.
    pub(super) before: usize,
}

/// Something that the session answers by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Begin,
    Commit,
    Rollback,
    /// Points within a transaction that only reads: their end changes nothing.
    Savepoint(&'static str),
    /// Back to such a point, from where a failed transaction goes on.
    RollbackTo,
    /// A name, and a value unless it goes back to what it was.
    Set(String, Option<String>),
    /// The kind of the transactions to come, of which there is one.
    SetTransaction,
    Show(String),
    ShowAll,
    ResetAll,
    Discard(String),
    /// A prepared statement, or all.
    Deallocate(Option<String>),
    /// A portal, or all.
    Close(Option<String>),
    Listen(&'static str),
}

/// Cuts a text into statements, and tells those of the session.
///
/// # Errors
///
/// 42601 where it cannot be read.
pub(super) fn split(sql: &str) -> Result<Vec<Part>, Refusal> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().map_err(|error| {
        let mut refusal = Refusal::new("42601", error.message.clone());
        refusal.position = Some(Place::of(sql).characters(error.location));
        refusal
    })?;
    let mut place = Place::of(sql);
    let (mut parts, mut words, mut start, mut before) = (Vec::new(), Vec::new(), 0, 0);
    for token in tokens {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => {
                let end = place.byte(token.span.start);
                parts.extend(part(sql.get(start..end).unwrap_or_default(), &words, before));
                words.clear();
                (start, before) = (end + 1, place.character);
            }
            token => words.push(token),
        }
    }
    parts.extend(part(sql.get(start..).unwrap_or_default(), &words, before));
    Ok(parts)
}

/// Turns lines and columns, asked for in their order, into offsets.
struct Place<'s> {
    rest: std::str::CharIndices<'s>,
    at: (u64, u64),
    byte: usize,
    character: usize,
}

impl<'s> Place<'s> {
    fn of(sql: &'s str) -> Self {
        Self { rest: sql.char_indices(), at: (1, 1), byte: 0, character: 1 }
    }

    fn byte(&mut self, location: Location) -> usize {
        while self.at < (location.line, location.column) {
            let Some((byte, character)) = self.rest.next() else { break };
            self.byte = byte + character.len_utf8();
            self.character += 1;
            self.at = if character == '\n' { (self.at.0 + 1, 1) } else { (self.at.0, self.at.1 + 1) };
        }
        self.byte
    }

    fn characters(mut self, location: Location) -> usize {
        self.byte(location);
        self.character
    }
}

fn part(sql: &str, words: &[Token], before: usize) -> Option<Part> {
    (!words.is_empty()).then(|| Part { sql: sql.to_owned(), command: command(words), before })
}

/// The keyword that a token is, in capitals.
fn keyword(token: Option<&Token>) -> String {
    match token {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    }
}

fn command(words: &[Token]) -> Option<Command> {
    let first = keyword(words.first());
    let second = keyword(words.get(1));
    let name = |at: usize| words.get(at).map(text_of);
    let or_all = |at: usize| if keyword(words.get(at)) == "ALL" { None } else { name(at) };
    Some(match (first.as_str(), second.as_str()) {
        ("BEGIN", _) | ("START", "TRANSACTION") => Command::Begin,
        ("COMMIT" | "END", _) => Command::Commit,
        ("ROLLBACK" | "ABORT", _) if words.iter().any(|word| keyword(Some(word)) == "TO") => Command::RollbackTo,
        ("ROLLBACK" | "ABORT", _) => Command::Rollback,
        ("SAVEPOINT", _) => Command::Savepoint("SAVEPOINT"),
        ("RELEASE", _) => Command::Savepoint("RELEASE"),
        ("LISTEN", _) => Command::Listen("LISTEN"),
        ("UNLISTEN", _) => Command::Listen("UNLISTEN"),
        ("DISCARD", _) => Command::Discard(second),
        ("DEALLOCATE", "PREPARE") => Command::Deallocate(or_all(2)),
        ("DEALLOCATE", _) => Command::Deallocate(or_all(1)),
        ("CLOSE", _) => Command::Close(or_all(1)),
        ("RESET", "ALL") => Command::ResetAll,
        ("RESET", _) => Command::Set(setting(words.get(1..)?)?.0, None),
        ("SHOW", "ALL") if words.len() == 2 => Command::ShowAll,
        ("SHOW", "TRANSACTION") => Command::Show("transaction_isolation".to_owned()),
        ("SHOW", "TIME") => Command::Show("timezone".to_owned()),
        ("SHOW", "SESSION") => Command::Show("session_authorization".to_owned()),
        // What the engine shows itself.
        ("SHOW", "TABLES" | "COLUMNS" | "FUNCTIONS" | "FULL" | "EXTENDED") => return None,
        ("SHOW", _) => {
            let (name, rest) = setting(words.get(1..)?)?;
            if !rest.is_empty() {
                return None;
            }
            Command::Show(name)
        }
        ("SET", _) => set(words.get(1..)?)?,
        _ => return None,
    })
}

/// `[SESSION | LOCAL] name { = | TO } value, ...`, and the forms with words of their own.
fn set(words: &[Token]) -> Option<Command> {
    let first = keyword(words.first());
    match (first.as_str(), keyword(words.get(1)).as_str()) {
        ("SESSION", "CHARACTERISTICS") | ("TRANSACTION", _) => return Some(Command::SetTransaction),
        ("SESSION" | "LOCAL", "AUTHORIZATION") => return Some(Command::Set("session_authorization".to_owned(), None)),
        // It would end with the transaction, and there is none.
        ("LOCAL", _) if keyword(words.get(1)) == "CUSTODY" => {
            return Some(Command::Set("custody.as_of".to_owned(), Some("(SET LOCAL)".to_owned())));
        }
        ("SESSION" | "LOCAL", _) => return set(words.get(1..)?),
        ("TIME", "ZONE") => return Some(Command::Set("timezone".to_owned(), value(words.get(2..)?))),
        ("NAMES", _) => return Some(Command::Set("client_encoding".to_owned(), value(words.get(1..)?))),
        ("ROLE", _) => return Some(Command::Set("role".to_owned(), value(words.get(1..)?))),
        _ => {}
    }
    let (name, rest) = setting(words)?;
    match rest.first()? {
        Token::Eq => Some(Command::Set(name, value(rest.get(1..)?))),
        word if keyword(Some(word)) == "TO" => Some(Command::Set(name, value(rest.get(1..)?))),
        _ => None,
    }
}

/// The name of a setting, which may have points in it, and what comes after it.
fn setting(words: &[Token]) -> Option<(String, &[Token])> {
    let mut name = text_of(words.first()?).to_ascii_lowercase();
    let mut rest = words.get(1..)?;
    while let [Token::Period, word, ..] = rest {
        name = format!("{name}.{}", text_of(word).to_ascii_lowercase());
        rest = rest.get(2..)?;
    }
    Some((name, rest))
}

/// The value of a setting; `None` for its default.
fn value(words: &[Token]) -> Option<String> {
    match words {
        [] => None,
        [word] if keyword(Some(word)) == "DEFAULT" => None,
        words => {
            let mut value = String::new();
            for word in words {
                match word {
                    Token::Comma => value.push_str(", "),
                    word => value.push_str(&text_of(word)),
                }
            }
            Some(value)
        }
    }
}

fn text_of(token: &Token) -> String {
    match token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) => text.clone(),
        token => token.to_string(),
    }
}

/// A row of `SHOW`: name and value.
pub(super) type Shown = (String, String);

/// The settings of a session.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, String>,
    /// The bound of the server: a session may have less time than that, never more.
    time: Option<Duration>,
}

impl Settings {
    pub(super) fn new(user: &str, time: Option<Duration>) -> Self {
        let mut values: BTreeMap<&'static str, String> =
            SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        values.insert("session_authorization", user.to_owned());
        values.insert("statement_timeout", milliseconds(time));
        Self { values, time }
    }

    /// What a setting is.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.values.get(name.as_str()).map(String::as_str)
    }

    /// What a setting is.
    ///
    /// # Errors
    ///
    /// 42704 when there is none of that name.
    pub(super) fn show(&self, name: &str) -> Result<Shown, Refusal> {
        let value = self.get(name).ok_or_else(|| unknown(name))?;
        Ok((name.to_owned(), value.to_owned()))
    }

    /// Every setting.
    pub(super) fn all(&self) -> Vec<Shown> {
        self.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    /// How long a statement of this session may take.
    pub(super) fn time(&self) -> Option<Duration> {
        let own = self.get("statement_timeout").and_then(parse_time);
        match (own.filter(|own| !own.is_zero()), self.time) {
            (Some(own), Some(most)) => Some(own.min(most)),
            (own, most) => own.or(most),
        }
    }

    /// Sets what may be set, or sets it back. What is worth knowing about it is told.
    ///
    /// # Errors
    ///
    /// 42501 when it may not be set, 42704 when it is not known, 22023 when the value makes no sense here.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> Result<Option<String>, Refusal> {
        let name = name.to_ascii_lowercase();
        let Some((known, default)) = SETTINGS.iter().find(|(known, _)| *known == name) else {
            return match name.as_str() {
                // Settings of PostgreSQL's planner and log: nothing here could obey them.
                "jit"
                | "geqo"
                | "row_security"
                | "synchronous_commit"
                | "lc_messages"
                | "enable_seqscan"
                | "default_transaction_deferrable"
                | "xmloption"
                | "check_function_bodies" => Ok(None),
                _ if name.starts_with("datafusion.") || matches!(name.as_str(), "role") => Err(forbidden(&name)),
                _ => Err(unknown(&name)),
            };
        };
        let Some(value) = value else {
            let default = if *known == "statement_timeout" { milliseconds(self.time) } else { (*default).to_owned() };
            match *known {
                "session_authorization" => return Err(forbidden(known)),
                _ => self.values.insert(known, default),
            };
            return Ok(None);
        };
        if value.len() > 256 {
            return Err(invalid(known, "a value of at most 256 bytes"));
        }
        let lower = value.to_ascii_lowercase();
        let mut notice = None;
        let value = match *known {
            "application_name" => visible(value).into_owned(),
            "client_encoding" => match lower.replace(['-', '_', '\''], "").as_str() {
                "utf8" | "unicode" => "UTF8".to_owned(),
                _ => return Err(invalid(known, "UTF8")),
            },
            "datestyle" if lower.contains("iso") => "ISO, MDY".to_owned(),
            "datestyle" => return Err(invalid(known, "ISO")),
            "bytea_output" if lower != "hex" => return Err(invalid(known, "hex")),
            "intervalstyle" if lower != "postgres" => return Err(invalid(known, "postgres")),
            "standard_conforming_strings" if !matches!(lower.as_str(), "on" | "true" | "1") => {
                return Err(invalid(known, "on"));
            }
            "default_transaction_read_only" | "transaction_read_only"
                if !matches!(lower.as_str(), "on" | "true" | "1" | "yes") =>
            {
                notice = Some("the ledger is only read here".to_owned());
                "on".to_owned()
            }
            "timezone" => {
                if !matches!(lower.as_str(), "utc" | "etc/utc" | "gmt" | "z" | "+00:00" | "0") {
                    notice = Some("times are written in UTC whatever the time zone of the session is".to_owned());
                }
                "UTC".to_owned()
            }
            "statement_timeout" => {
                let asked = parse_time(value).ok_or_else(|| invalid(known, "a time in milliseconds"))?;
                if !asked.is_zero() && self.time.is_some_and(|most| asked <= most) {
                    milliseconds(Some(asked))
                } else {
                    if !asked.is_zero() && self.time.is_some() {
                        notice = Some(format!("a statement has at most {} ms here", milliseconds(self.time)));
                    }
                    milliseconds(if asked.is_zero() || self.time.is_some() { self.time } else { Some(asked) })
                }
            }
            "custody.as_of" => {
                if !value.is_empty() && value.parse::<AsOf>().is_err() {
                    return Err(invalid(known, "an instant like 2026-11-02T09:00:00Z, or versions of the tables"));
                }
                value.to_owned()
            }
            "extra_float_digits"
            | "search_path"
            | "client_min_messages"
            | "default_transaction_isolation"
            | "default_transaction_read_only"
            | "idle_in_transaction_session_timeout"
            | "lock_timeout"
            | "row_security"
            | "transaction_isolation"
            | "transaction_deferrable"
            | "transaction_read_only"
            | "bytea_output"
            | "intervalstyle"
            | "standard_conforming_strings"
            | "lc_messages"
            | "lc_monetary"
            | "lc_numeric"
            | "lc_time" => visible(value).into_owned(),
            _ => return Err(forbidden(known)),
        };
        self.values.insert(known, value);
        Ok(notice)
    }

    /// Sets everything back.
    pub(super) fn reset(&mut self) {
        let user = self.get("session_authorization").unwrap_or_default().to_owned();
        *self = Self::new(&user, self.time);
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::new("42704", format!("unrecognized configuration parameter \"{}\"", visible(name)))
}

fn forbidden(name: &str) -> Refusal {
    Refusal::new("42501", format!("{name} cannot be set: a session changes nothing of the engine"))
}

fn invalid(name: &str, expected: &str) -> Refusal {
    Refusal::new("22023", format!("{name} can only be {expected} here"))
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or(0, |time| time.as_millis()).to_string()
}

/// A number of milliseconds, or a number with `ms`, `s`, `min` or `h`.
fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(factor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sql: &str) -> Option<Command> {
        let parts = split(sql).unwrap();
        assert_eq!(parts.len(), 1, "{sql}");
        parts.into_iter().next().unwrap().command
    }

    #[test]
    fn a_text_is_cut_at_its_semicolons() {
        let sql = "SELECT ';', \"a;b\" -- ;\n; ; /* ; */ BEGIN;\nSELECT 'é', $$;$$; COMMIT";
        let parts = split(sql).unwrap();
        let texts: Vec<&str> = parts.iter().map(|part| part.sql.trim()).collect();
        assert_eq!(texts, ["SELECT ';', \"a;b\" -- ;", "/* ; */ BEGIN", "SELECT 'é', $$;$$", "COMMIT"]);
        let commands: Vec<bool> = parts.iter().map(|part| part.command.is_some()).collect();
        assert_eq!(commands, [false, true, false, true]);
        assert_eq!(split(" ; -- nothing\n").unwrap(), []);
        let refused = split("SELECT 1;\nSELECT 'x").unwrap_err();
        assert_eq!((refused.code, refused.position), ("42601", Some(18)));
    }

    #[test]
    fn what_concerns_the_session_is_known_in_every_form() {
        let set = |name: &str, value: Option<&str>| Some(Command::Set(name.to_owned(), value.map(str::to_owned)));
        let show = |name: &str| Some(Command::Show(name.to_owned()));
        for (sql, command) in [
            ("begin read only", Some(Command::Begin)),
            ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ", Some(Command::Begin)),
            ("END", Some(Command::Commit)),
            ("ROLLBACK TO SAVEPOINT x", Some(Command::RollbackTo)),
            ("SET extra_float_digits = 3", set("extra_float_digits", Some("3"))),
            ("SET SESSION DateStyle TO ISO, MDY", set("datestyle", Some("ISO, MDY"))),
            ("set local application_name to 'x; y'", set("application_name", Some("x; y"))),
            ("SET TIME ZONE 'Europe/Berlin'", set("timezone", Some("Europe/Berlin"))),
            ("SET NAMES 'UTF8'", set("client_encoding", Some("UTF8"))),
            ("SET custody.as_of = '2026-01-01'", set("custody.as_of", Some("2026-01-01"))),
            ("SET datafusion.execution.batch_size = 1", set("datafusion.execution.batch_size", Some("1"))),
            ("SET statement_timeout = DEFAULT", set("statement_timeout", None)),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Some(Command::SetTransaction)),
            ("RESET statement_timeout", set("statement_timeout", None)),
            ("SHOW TRANSACTION ISOLATION LEVEL", show("transaction_isolation")),
            ("show custody.as_of", show("custody.as_of")),
            ("SHOW TABLES", None),
            ("DISCARD ALL", Some(Command::Discard("ALL".to_owned()))),
            ("DEALLOCATE PREPARE a", Some(Command::Deallocate(Some("a".to_owned())))),
            ("SELECT 1", None),
            ("\"begin\"", None),
            ("INSERT INTO events SELECT 1", None),
        ] {
            assert_eq!(one(sql), command, "{sql}");
        }
    }

    #[test]
    fn only_what_is_on_the_list_can_be_set() {
        let mut settings = Settings::new("ann", Some(Duration::from_secs(60)));
        for (name, value, code) in [
            ("datafusion.execution.batch_size", "1", "42501"),
            ("role", "postgres", "42501"),
            ("session_authorization", "postgres", "42501"),
            ("server_version", "9.1", "42501"),
            ("max_identifier_length", "1", "42501"),
            ("nonsense", "1", "42704"),
            ("client_encoding", "LATIN1", "22023"),
            ("datestyle", "German", "22023"),
            ("bytea_output", "escape", "22023"),
            ("standard_conforming_strings", "off", "22023"),
            ("statement_timeout", "soon", "22023"),
        ] {
            assert_eq!(settings.set(name, Some(value)).unwrap_err().code, code, "{name}");
        }
        assert_eq!(settings.set("session_authorization", None).unwrap_err().code, "42501");
        assert_eq!(settings.set("Application_Name", Some("psql")).unwrap(), None);
        assert_eq!(settings.get("application_name"), Some("psql"));
        assert!(settings.set("TimeZone", Some("Europe/Berlin")).unwrap().is_some());
        assert_eq!(settings.get("TimeZone"), Some("UTC"));
    }

    #[test]
    fn time_can_only_be_made_less() {
        let mut settings = Settings::new("ann", Some(Duration::from_secs(60)));
        for (value, seconds, told) in [("1s", 1, false), ("0", 60, false), ("2min", 60, true), ("30000", 30, false)] {
            assert_eq!(settings.set("statement_timeout", Some(value)).unwrap().is_some(), told, "{value}");
            assert_eq!(settings.time(), Some(Duration::from_secs(seconds)), "{value}");
        }
        settings.reset();
        assert_eq!(settings.time(), Some(Duration::from_secs(60)));
        assert_eq!(Settings::new("ann", None).time(), None);
    }
}
