//! The header of a recording: what is known of it besides its events.

use std::collections::BTreeMap;

use asciicast_rs::common;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::line::LineError;
use crate::size::Size;

/// A version of asciicast that is a stream of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Times are seconds since the start.
    V2,
    /// Times are seconds since the line before.
    V3,
}

impl Version {
    /// 2 or 3.
    pub fn number(self) -> i32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }

    /// The version of this number.
    pub fn from_number(number: i32) -> Option<Self> {
        [Self::V2, Self::V3].into_iter().find(|version| version.number() == number)
    }
}

/// What is known of a recording besides its events, whatever it was recorded by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Header {
    /// Title.
    pub title: Option<String>,
    /// Command line that was recorded.
    pub command: Option<String>,
    /// When it began: Unix time in seconds.
    pub timestamp: Option<i64>,
    /// Type of the terminal, e.g. `xterm-256color`. In version 2 it is the variable `TERM`.
    pub term_type: Option<String>,
    /// Name and version of the terminal, as it answered to XTVERSION.
    pub term_version: Option<String>,
    /// Captured environment variables, without `TERM`.
    pub env: BTreeMap<String, String>,
    /// Colours of the terminal.
    pub theme: Option<Theme>,
    /// The longest time without an event that the recorder wants players to wait, in microseconds.
    pub idle_time_limit_us: Option<i64>,
}

/// Colours of a terminal in the form `#rrggbb`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Theme {
    /// Colour of text.
    pub foreground: String,
    /// Colour of the background.
    pub background: String,
    /// The 8 or 16 numbered colours.
    pub palette: Vec<String>,
}

/// Reads the header line of an asciicast 2 or 3 stream.
///
/// Version and size have to be there. What is optional and cannot be read is left out: a recording is not lost for a
/// theme without colours. The size is as recorded, numbers above 65535 become 65535.
pub(crate) fn read(line: &str) -> Result<(Version, Size, Header), LineError> {
    let fields: Map<String, Value> = serde_json::from_str(line)?;
    let version = match fields.get("version").and_then(Value::as_u64) {
        Some(1) => return Err(LineError::Version1),
        Some(2) => Version::V2,
        Some(3) => Version::V3,
        Some(other) => return Err(LineError::Version(other)),
        None => return Err(LineError::WrongShape("a header without a version".to_owned())),
    };
    let empty = Map::new();
    let term = fields.get("term").and_then(Value::as_object).unwrap_or(&empty);
    let (cols, rows, theme) = match version {
        Version::V2 => (fields.get("width"), fields.get("height"), fields.get("theme")),
        Version::V3 => (term.get("cols"), term.get("rows"), term.get("theme")),
    };
    let (Some(cols), Some(rows)) = (dimension(cols), dimension(rows)) else {
        return Err(LineError::WrongShape("a header without a size".to_owned()));
    };

    let mut env = fields.get("env").map(variables).unwrap_or_default();
    let term_variable = env.remove("TERM");
    let header = Header {
        title: text(&fields, "title"),
        command: text(&fields, "command"),
        timestamp: fields.get("timestamp").and_then(Value::as_i64),
        term_type: text(term, "type").or(term_variable),
        term_version: text(term, "version"),
        env,
        theme: theme.and_then(read_theme),
        idle_time_limit_us: fields.get("idle_time_limit").and_then(Value::as_f64).and_then(crate::line::micros),
    };
    Ok((version, Size { cols, rows }, header))
}

fn dimension(value: Option<&Value>) -> Option<u16> {
    value?.as_u64().map(|number| u16::try_from(number).unwrap_or(u16::MAX))
}

fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    fields.get(name)?.as_str().map(str::to_owned)
}

/// Old recorders wrote `null` for a variable that was not set.
fn variables(env: &Value) -> BTreeMap<String, String> {
    let fields = env.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn read_theme(theme: &Value) -> Option<Theme> {
    let theme: common::Theme = serde_json::from_value(theme.clone()).ok()?;
    let hex = |color: &common::Rgb| format!("#{:02x}{:02x}{:02x}", color.r(), color.g(), color.b());
    Some(Theme {
        foreground: hex(&theme.fg),
        background: hex(&theme.bg),
        palette: theme.palette.iter().map(hex).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Is = fn(&LineError) -> bool;

    #[test]
    fn both_versions_say_the_same() {
        let v2 = r##"{"version":2,"width":96,"height":26,"timestamp":1506410422,"command":"bash","title":"t",
            "env":{"TERM":"xterm","SHELL":"/bin/sh","NONE":null},"idle_time_limit":2.5,
            "theme":{"fg":"#AAAAAA","bg":"#bbbbbb",
                "palette":"#000000:#111111:#222222:#333333:#444444:#555555:#666666:#777777"}}"##;
        let v3 = r##"{"version":3,"term":{"cols":96,"rows":26,"type":"xterm",
            "theme":{"fg":"#aaaaaa","bg":"#bbbbbb",
                "palette":"#000000:#111111:#222222:#333333:#444444:#555555:#666666:#777777"}},
            "timestamp":1506410422,"command":"bash","title":"t","env":{"SHELL":"/bin/sh"},"idle_time_limit":2.5}"##;
        let (version_2, size_2, header_2) = read(v2).unwrap();
        let (version_3, size_3, header_3) = read(v3).unwrap();
        assert_eq!((version_2, version_3), (Version::V2, Version::V3));
        assert_eq!(size_2, size_3);
        assert_eq!(header_2, header_3);
        assert_eq!(header_2.theme.unwrap().foreground, "#aaaaaa");
        assert_eq!(header_2.idle_time_limit_us, Some(2_500_000));
    }

    #[test]
    fn only_version_and_size_are_needed() {
        let odd = r#"{"version":2,"width":70000,"height":26,"theme":{},"env":[],"title":5,"timestamp":"x"}"#;
        assert_eq!(read(odd).unwrap(), (Version::V2, Size { cols: 65535, rows: 26 }, Header::default()));
    }

    #[test]
    fn what_is_not_a_header_says_why() {
        let cases: &[(&str, Is)] = &[
            (r#"{"version":1,"width":80,"height":24,"stdout":[]}"#, |e| matches!(e, LineError::Version1)),
            (r#"{"version":9}"#, |e| matches!(e, LineError::Version(9))),
            (r#"{"width":80,"height":24}"#, |e| matches!(e, LineError::WrongShape(_))),
            (r#"{"version":3,"width":80,"height":24}"#, |e| matches!(e, LineError::WrongShape(_))),
            (r#"{"version":2,"width":-80,"height":24}"#, |e| matches!(e, LineError::WrongShape(_))),
            (r#"{"version":2,"width":80"#, |e| matches!(e, LineError::NotJson(_))),
            ("[1]", |e| matches!(e, LineError::WrongShape(_))),
        ];
        for (line, expected) in cases {
            let error = read(line).unwrap_err();
            assert!(expected(&error), "{line}: {error}");
        }
    }
}
