//! A ledger that is damaged, foreign, full or forbidden: a clear error that names the file, and nothing is touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::custody::{Custody, binary, say, stderr};

/// A small ledger, made without a broker: a recording is imported several times under other names.
fn ledger(folder: &Path) -> PathBuf {
    let data = folder.join("ledger");
    for number in 0..5 {
        let cast = folder.join(format!("{number}.cast"));
        let lines =
            [json!({"version": 2, "width": 80, "height": 24}), json!([0.5, "o", format!("session {number}\r\n")])];
        fs::write(&cast, lines.map(|line| line.to_string()).join("\n")).expect("a recording");
        let output = binary().arg("--data").arg(&data).arg("import").arg(&cast).output().expect("the custody binary");
        assert!(output.status.success(), "{}", stderr(&output));
    }
    data
}

fn entry(version: u64) -> String {
    format!("events/_delta_log/{version:020}.json")
}

/// A data file of `events`.
fn data_file(data: &Path) -> PathBuf {
    let day = fs::read_dir(data.join("events")).expect("a folder").find_map(|entry| {
        let path = entry.expect("an entry").path();
        path.file_name()?.to_str()?.starts_with("date=").then_some(path)
    });
    let mut files: Vec<_> =
        fs::read_dir(day.expect("a day")).expect("a folder").map(|f| f.expect("a file").path()).collect();
    files.sort();
    files.remove(0)
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => {
                found.insert(path.clone(), fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn damage_is_named_and_nothing_is_repaired_in_silence() {
    type Harm = fn(&Path);
    // What is done to the ledger; what the error has to say; whether opening the tables is enough to notice.
    let cases: [(&str, Harm, &[&str], bool); 8] = [
        (
            "an entry is garbage",
            |data| fs::write(data.join(entry(3)), "{garbage").unwrap(),
            &["00003.json is damaged"],
            true,
        ),
        (
            "an entry is torn",
            |data| {
                let file = fs::File::options().write(true).open(data.join(entry(3))).unwrap();
                file.set_len(100).unwrap();
            },
            &["00003.json is damaged"],
            true,
        ),
        ("an entry is gone", |data| fs::remove_file(data.join(entry(2))).unwrap(), &["00002.json is missing"], true),
        (
            "the checkpoint is gone",
            |data| fs::write(data.join("events/_delta_log/_last_checkpoint"), r#"{"version":3,"size":9}"#).unwrap(),
            &["_last_checkpoint names a checkpoint of version 3, and that is missing"],
            true,
        ),
        (
            "the table is of a newer kind",
            |data| {
                let path = data.join(entry(0));
                let text = fs::read_to_string(&path).unwrap();
                fs::write(path, text.replace(r#""minReaderVersion":1"#, r#""minReaderVersion":9"#)).unwrap();
            },
            &["reader version 9", "newer than this"],
            true,
        ),
        (
            "a column has another type",
            |data| {
                let path = data.join(entry(0));
                let text = fs::read_to_string(&path).unwrap();
                let column = r#"{\"name\":\"index\",\"type\":\"integer\""#;
                assert!(text.contains(column));
                fs::write(path, text.replace(column, &column.replace("integer", "long"))).unwrap();
            },
            &["other columns", "index is long"],
            true,
        ),
        ("a data file is gone", |data| fs::remove_file(data_file(data)).unwrap(), &[".parquet", "not found"], false),
        ("a data file is garbage", |data| fs::write(data_file(data), "not Parquet").unwrap(), &[".parquet"], false),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let sound = ledger(folder.path());
    for (what, harm, says, on_opening) in cases {
        let data = folder.path().join("harmed");
        let copied = Command::new("cp").arg("-a").arg(&sound).arg(&data).status().expect("cp");
        assert!(copied.success());
        harm(&data);
        let before = contents(&data);
        let custody = Custody::existing(&data);
        let ask = custody.run(["sql", "SELECT count(DISTINCT event_id) FROM events"]);
        assert_eq!(ask.status.code(), Some(3), "{what}: {}", stderr(&ask));
        let look = custody.run(["maintain"]);
        let write = custody.run(["import", &folder.path().join("0.cast").to_string_lossy()]);
        for (command, output) in [("sql", &ask), ("maintain", &look), ("import", &write)] {
            if command != "sql" && !on_opening {
                continue;
            }
            let said = stderr(output);
            assert_eq!(output.status.code(), Some(3), "{what}: {command}: {said}");
            assert_eq!(said.trim().lines().count(), 1, "{what}: {command} says more than one line: {said}");
            for text in says {
                assert!(said.contains(text), "{what}: {command}: {said}");
            }
        }
        if on_opening {
            assert_eq!(contents(&data), before, "{what}: something was written");
        }
        fs::remove_dir_all(&data).expect("a folder");
    }
}

#[test]
fn foreign_files_are_neither_read_nor_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = ledger(folder.path());
    let custody = Custody::existing(&data);
    let events = custody.count("events");
    let foreign = ["notes.txt", "events/notes.txt", "events/_delta_log/notes.txt", "events/date=1999-01-01/x.parquet"];
    for file in foreign {
        fs::create_dir_all(data.join(file).parent().expect("a folder")).expect("a folder");
        fs::write(data.join(file), "somebody's").expect("a file");
    }
    assert_eq!(custody.count("events"), events);
    custody.stdout(["maintain"]);
    assert_eq!(custody.count("events"), events);
    for file in foreign {
        assert_eq!(fs::read_to_string(data.join(file)).expect(file), "somebody's");
    }
}

/// Whoever runs the tests may be allowed everything; nobody is not.
const NOBODY: u32 = 65534;

#[test]
fn a_folder_that_may_not_be_read_or_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    let data = ledger(folder.path());
    let may_choose = chown(&data, Some(NOBODY), None).is_ok();
    if !may_choose {
        return say(
            "\nSKIPPED: a_folder_that_may_not_be_read_or_written_is_named: only root can act as another user\n",
        );
    }
    // The binary may lie where nobody may go.
    let here = folder.path().join("custody");
    let built = binary().get_program().to_owned();
    fs::hard_link(&built, &here).or_else(|_| fs::copy(&built, &here).map(drop)).expect("a copy of the binary");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&here);
        command
            .env("CUSTODY_ACTIVITY__RECORD", "false")
            .arg("--data")
            .arg(&data)
            .args(arguments)
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/");
        command.output().expect("the custody binary")
    };
    // Its files belong to another: they can be read, if nobody has to write down who does, and nothing can be added.
    let read = as_nobody(&["sql", "SELECT count(*) FROM events"]);
    assert!(read.status.success(), "{}", stderr(&read));
    fs::write(folder.path().join("new.cast"), "{\"version\":2,\"width\":9,\"height\":9}\n[1,\"o\",\"new\"]")
        .expect("a file");
    let write = as_nobody(&["import", &folder.path().join("new.cast").to_string_lossy()]);
    let said = stderr(&write) + &String::from_utf8_lossy(&write.stdout);
    assert!(!write.status.success() && said.contains("Permission denied") && said.contains("records"), "{said}");
    // And here they cannot even be read.
    fs::set_permissions(data.join("events/_delta_log"), fs::Permissions::from_mode(0o700)).expect("permissions");
    let read = as_nobody(&["sql", "SELECT count(*) FROM events"]);
    let said = stderr(&read);
    assert_eq!(read.status.code(), Some(3), "{said}");
    assert!(said.contains("Permission denied") && said.contains("events/_delta_log"), "{said}");
}

#[test]
fn a_full_disk_is_told_and_leaves_the_ledger_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = folder.path().join("small");
    fs::create_dir(&small).expect("a folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&small).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return say("\nSKIPPED: a_full_disk_is_told_and_leaves_the_ledger_as_it_was: a small disk cannot be mounted\n");
    }
    let asked = std::panic::catch_unwind(|| {
        let data = ledger(&small);
        let recording = Custody::existing(&data);
        let events = recording.count("events");
        let custody = Custody::existing(&data).section("[activity]\nrecord = false\n");
        let mut rest = fs::File::create(small.join("rest")).expect("a file");
        let full = std::io::copy(&mut std::io::repeat(1), &mut rest).expect_err("it ends some time");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        drop(rest);
        fs::write(folder.path().join("new.cast"), "{\"version\":2,\"width\":9,\"height\":9}\n[1,\"o\",\"new\"]")
            .expect("a file");
        let write = custody.run(["import", &folder.path().join("new.cast").to_string_lossy()]);
        let said = stderr(&write) + &String::from_utf8_lossy(&write.stdout);
        assert!(!write.status.success() && said.contains("No space left on device"), "{said}");
        // What cannot be written down is not answered, unless that is wanted.
        let refused = recording.run(["sql", "SELECT 1"]);
        assert_eq!(refused.status.code(), Some(3));
        assert!(stderr(&refused).contains("activity.record = false"), "{}", stderr(&refused));
        assert_eq!(custody.count("events"), events);
        fs::remove_file(small.join("rest")).expect("a file");
        custody.stdout(["import", &folder.path().join("new.cast").to_string_lossy()]);
        assert!(custody.count("events") > events);
    });
    let unmounted = Command::new("umount").arg(&small).status().expect("umount");
    assert!(unmounted.success());
    if let Err(failed) = asked {
        std::panic::resume_unwind(failed);
    }
}
