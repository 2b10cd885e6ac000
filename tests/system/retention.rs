//! Rows leave the ledger only by a policy, by the day, and not without a trace.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::custody::{Custody, binary, stderr};

/// A ledger whose rows came in on a day that is long over.
fn old_ledger(folder: &Path) -> std::path::PathBuf {
    let data = folder.join("ledger");
    let cast = folder.join("old.cast");
    fs::write(&cast, "{\"version\":2,\"width\":80,\"height\":24}\n[0.5,\"o\",\"old\\r\\n\"]").expect("a recording");
    let output = binary().arg("--data").arg(&data).arg("import").arg(&cast).output().expect("the custody binary");
    assert!(output.status.success(), "{}", stderr(&output));
    for table in ["records", "events", "frames"] {
        let folder = data.join(table);
        let mut days = fs::read_dir(&folder).expect("a folder").filter_map(|entry| {
            let name = entry.expect("an entry").file_name().into_string().expect("text");
            name.starts_with("date=").then_some(name)
        });
        let (Some(today), None) = (days.next(), days.next()) else { panic!("one day: run at midnight?") };
        fs::rename(folder.join(&today), folder.join("date=2020-02-29")).expect("a folder");
        let day = today.strip_prefix("date=").expect("a day");
        for entry in fs::read_dir(folder.join("_delta_log")).expect("a log") {
            let entry = entry.expect("an entry").path();
            let text = fs::read_to_string(&entry).expect("an entry");
            let text = text
                .replace(&today, "date=2020-02-29")
                .replace(&format!(r#""date":"{day}""#), r#""date":"2020-02-29""#);
            fs::write(entry, text).expect("an entry");
        }
    }
    data
}

#[test]
fn days_leave_by_a_policy_that_is_an_event_before_and_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = old_ledger(folder.path());
    let frames = |custody: &Custody| custody.count("frames");
    let custody = Custody::existing(&data);
    assert_eq!(frames(&custody), 1);
    let records = custody.count("records");
    // Without a policy nothing leaves, however old it is.
    custody.stdout(["maintain"]);
    assert_eq!((frames(&custody), custody.count("records")), (1, records));
    // A number without a policy is refused.
    let refused = Custody::existing(&data).section("[retention]\nframes_days = 365\n").run(["maintain"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("retention.policy"), "{}", stderr(&refused));

    let policy = "[retention]\npolicy = \"RET-7: recordings for a year\"\nframes_days = 365\n";
    let custody = Custody::existing(&data).section(policy);
    let said = custody.stdout(["maintain", "--dry-run"]);
    assert!(said.contains("2020-02-29 to 2020-02-29: 1 rows"), "{said}");
    assert_eq!(frames(&custody), 1);
    custody.stdout(["maintain"]);
    assert_eq!((frames(&custody), custody.count("records WHERE topic LIKE 'import/%'")), (0, records));
    let told = custody.sql(
        "SELECT action, target, reason, outcome, detail ->> 'first_day' AS first_day, detail ->> 'rows' AS rows \
         FROM events WHERE kind = 'retention' ORDER BY source_type",
    );
    let event = |action: &str, outcome: Value| {
        json!({ "action": action, "target": "frames", "reason": "RET-7: recordings for a year", "outcome": outcome,
                "first_day": "2020-02-29", "rows": "1" })
    };
    let without_null = |mut row: Value| {
        row.as_object_mut().expect("a row").retain(|_, value| !value.is_null());
        row
    };
    let expected = [event("retention begun", Value::Null), event("retention done", json!("success"))];
    assert_eq!(
        told.into_iter().map(without_null).collect::<Vec<_>>(),
        expected.into_iter().map(without_null).collect::<Vec<_>>()
    );
    // Done once; and the same object imported again is known still, and not read again.
    custody.stdout(["maintain"]);
    assert_eq!(custody.count("events WHERE kind = 'retention'"), 2);
    custody.stdout(["import", &folder.path().join("old.cast").to_string_lossy()]);
    assert_eq!(frames(&custody), 0);
}
