//! The ledger as engines read it that share no code with Custody: `tests/open/read_ledger.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::custody::{skip, stderr};

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

/// What they find in each table; `None` where they are not to be had, which is said loudly.
pub(crate) fn read(test: &str, ledger: &Path) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/open/read_ledger.py");
    let output = Command::new(python(test)?).arg(script).arg(ledger).output().expect("Python");
    assert!(output.status.success(), "{}", stderr(&output));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}
