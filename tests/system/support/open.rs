//! The ledger as engines read it that share no code with Custody: `tests/open/read_ledger.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::custody::{say, skip, stderr};

/// The Python with other engines that `make open-reader` fetches.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("CUSTODY_CACHE").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache/custody")));
    let python = cache.unwrap_or_default().join("open-reader/bin/python");
    if python.is_file() {
        return Some(python);
    }
    skip(test, &format!("no other engines, `make open-reader` fetches them: {} is not there", python.display()));
    None
}

/// The Python with Apache Spark that `make spark` fetches.
pub(crate) fn spark(test: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/open/spark-fetch.sh");
    let output = Command::new("bash").arg(script).output().expect("bash");
    if output.status.success() {
        return Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    say(&format!("\nSKIPPED: {test}: no Spark: {}\n", stderr(&output).trim()));
    None
}

/// What they find in each table; `None` where they are not to be had, which is said loudly.
pub(crate) fn read(test: &str, ledger: &Path) -> Option<Value> {
    read_with(test, ledger, &[])
}

/// The same of a ledger on an object store that is reached by these variables.
pub(crate) fn read_with(test: &str, ledger: &Path, variables: &[(&str, String)]) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/open/read_ledger.py");
    let output = Command::new(python(test)?)
        .arg(script)
        .arg(ledger)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("Python");
    assert!(output.status.success(), "{}", stderr(&output));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}
