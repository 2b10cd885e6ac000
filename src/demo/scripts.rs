//! What the people of the story do at their terminals, and the recordings of it.
//!
//! The shell, the terminal, the editor and commands like `ls`, `grep` and `df` are those of this machine, run for real.
//! The programs of a production host that a laptop does not have (`journalctl`, `kubectl`, `systemctl`, `psql`) are
//! stand-ins: small shell programs in the scratch directory that print what such a host would.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use super::pty::{Chunk, Ended, File, Pace, Script, Shown, Step, Until, first_installed, record};

/// Output beyond this is not kept of one recording.
const OUTPUT_MAX: usize = 4 * 1024 * 1024;

/// Programs that take the whole screen, the best one first.
const FULL_SCREEN: [&str; 4] = ["vim", "vi", "less", "nano"];

/// What every home directory holds.
const HOME: &[File] = &[
    file("app.log", include_str!("home/app.log")),
    file("deploy.yaml", include_str!("home/deploy.yaml")),
    file("notes.txt", include_str!("home/notes.txt")),
    program("bin/journalctl", include_str!("home/bin/journalctl")),
    program("bin/kubectl", include_str!("home/bin/kubectl")),
    program("bin/psql", include_str!("home/bin/psql")),
    program("bin/systemctl", include_str!("home/bin/systemctl")),
];

const fn file(path: &'static str, text: &'static str) -> File {
    File { path, text, is_program: false }
}

const fn program(path: &'static str, text: &'static str) -> File {
    File { path, text, is_program: true }
}

/// One recorded terminal session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recording {
    /// Columns and rows at the beginning.
    pub(super) size: (u16, u16),
    /// What the terminal showed.
    pub(super) chunks: Vec<Chunk>,
    /// What could not be recorded as it was meant, and why.
    pub(super) note: Option<String>,
}

impl Recording {
    /// Plays a script and keeps what it shows. Where no terminal can be had, the recording says so instead: a session
    /// without a recording would be a finding of its own.
    fn of(script: &Script, pace: Pace, stop: &AtomicBool) -> Self {
        let mut chunks = Vec::new();
        let mut len = 0;
        let ended = record(script, pace, stop, &mut |chunk| {
            if let Shown::Output(bytes) = &chunk.shown {
                len += bytes.len();
            }
            if len <= OUTPUT_MAX {
                chunks.push(chunk);
            }
        });
        match ended {
            Ok(Ended { cut, .. }) => Self { size: script.size, chunks, note: cut.map(str::to_owned) },
            Err(error) => Self::missing(script.size, error.to_string().replace('\n', " ")),
        }
    }

    fn missing(size: (u16, u16), why: String) -> Self {
        let output = format!("(no terminal could be recorded: {why})\r\n").into_bytes();
        Self { size, chunks: vec![Chunk { delay_us: 0, shown: Shown::Output(output) }], note: Some(why) }
    }

    /// Number of bytes that the terminal showed.
    pub(super) fn output_len(&self) -> usize {
        let len = |chunk: &Chunk| if let Shown::Output(bytes) = &chunk.shown { bytes.len() } else { 0 };
        self.chunks.iter().map(len).sum()
    }

    /// Time of the last chunk since the first, in microseconds.
    pub(super) fn duration_us(&self) -> i64 {
        self.chunks.iter().skip(1).map(|chunk| chunk.delay_us).sum()
    }
}

/// The recordings of the story, by the numbers of `scenario.md`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recordings {
    by_name: BTreeMap<&'static str, Recording>,
}

impl Recordings {
    /// Plays every script of the story, all at once.
    pub(super) fn make(stop: &AtomicBool) -> Self {
        let scripts = week();
        let mut by_name: BTreeMap<_, _> = std::thread::scope(|scope| {
            let threads: Vec<_> = scripts
                .iter()
                .map(|(name, script)| (*name, script.size, scope.spawn(|| Recording::of(script, Pace::Quick, stop))))
                .collect();
            let recorded = |(name, size, thread): (_, _, ScopedJoinHandle<'_, Recording>)| {
                (name, thread.join().unwrap_or_else(|_| Recording::missing(size, "the recorder failed".to_owned())))
            };
            threads.into_iter().map(recorded).collect()
        });
        if first_installed(&FULL_SCREEN).is_none() {
            for name in ["S5", "S6"] {
                let note = "no full-screen program on this machine: a file is printed instead";
                if let Some(recording) = by_name.get_mut(name) {
                    recording.note.get_or_insert_with(|| note.to_owned());
                }
            }
        }
        Self { by_name }
    }

    /// The recording of a session of the story.
    pub(super) fn get(&self, name: &str) -> Option<&Recording> {
        self.by_name.get(name)
    }

    /// What could not be recorded as it was meant, with the name of the recording.
    pub(super) fn notes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_name.iter().filter_map(|(name, recording)| Some((*name, recording.note.as_deref()?)))
    }

    #[cfg(test)]
    pub(super) fn for_tests(chunks: &[Chunk]) -> Self {
        let recording = Recording { size: (100, 30), chunks: chunks.to_vec(), note: None };
        Self { by_name: week().into_iter().map(|(name, _)| (name, recording.clone())).collect() }
    }
}

/// Records a short piece of work at the pace of a person.
pub(super) fn record_live(number: usize, prompt: &'static str, stop: &AtomicBool) -> Recording {
    let command = match number % 3 {
        0 => "kubectl logs -n web-app-namespace deploy/dashboard --tail=5",
        1 => "systemctl status web-app",
        _ => "journalctl -u web-app -n 6 -o short-monotonic",
    };
    let steps = vec![run(command), Step::Idle(Duration::from_secs(1)), run("df -h ."), run("date -u")];
    Recording::of(&Script { prompt, size: (100, 30), files: HOME, steps }, Pace::Real, stop)
}

/// The session that runs while somebody looks: what the machine is doing, again and again.
pub(super) fn watch_machine(prompt: &'static str) -> Script {
    let watch = if first_installed(&["top"]).is_none() {
        "while :; do date -u; uptime; sleep 2; done"
    } else if cfg!(target_os = "macos") {
        "top -s 2"
    } else {
        "top -d 2"
    };
    let steps = vec![
        run("uptime"),
        Step::Line(watch, Until::Quiet),
        Step::Idle(Duration::from_secs(20)),
        Step::Resize(110, 32),
        Step::Idle(Duration::from_secs(30 * 60)),
        // Ends either of them.
        Step::Keys("\x03"),
    ];
    Script { prompt, size: (100, 30), files: HOME, steps }
}

fn run(command: &'static str) -> Step {
    Step::Line(command, Until::Prompt)
}

fn idle(seconds: u64) -> Step {
    Step::Idle(Duration::from_secs(seconds))
}

/// A full-screen program over `deploy.yaml`, with a time of nobody touching it in the middle. Not every machine has the
/// same one; without any the file is printed.
fn full_screen(seconds: u64) -> Vec<Step> {
    let open = |command| Step::Line(command, Until::Quiet);
    let leave = |keys| [Step::Keys(keys), Step::Line("", Until::Prompt)];
    match first_installed(&FULL_SCREEN) {
        Some(editor @ ("vim" | "vi")) => vec![
            open(if editor == "vim" { "vim deploy.yaml" } else { "vi deploy.yaml" }),
            Step::Keys("/replicas\r"),
            Step::Keys("wwcw3\x1b"),
            idle(seconds),
            Step::Keys("G"),
            Step::Line(":q!", Until::Prompt),
        ],
        Some("less") => {
            [vec![open("less deploy.yaml"), Step::Keys("jjG"), idle(seconds)], leave("q").to_vec()].concat()
        }
        Some(_) => [vec![open("nano deploy.yaml"), idle(seconds)], leave("\x18").to_vec()].concat(),
        None => vec![run("cat deploy.yaml"), idle(seconds)],
    }
}

/// The scripts of the story. How long they pretend to take has to fit into their sessions there.
fn week() -> Vec<(&'static str, Script)> {
    let script = |prompt, steps| Script { prompt, size: (100, 30), files: HOME, steps };
    vec![
        (
            "S1",
            script(
                "alice@prod-web-01",
                vec![
                    run("ls -l --color=always"),
                    idle(20),
                    run("journalctl -u web-app -n 6 -o short-monotonic"),
                    idle(140),
                    run("kubectl get pods -n web-app-namespace"),
                    idle(45),
                    Step::Resize(120, 36),
                    run("stty size"),
                    run("kubectl logs -n web-app-namespace deploy/dashboard --tail=5"),
                    idle(400),
                    run("grep --color=always -n 'upstream' app.log"),
                    idle(300),
                    run("df -h ."),
                    idle(200),
                ],
            ),
        ),
        (
            "S3",
            script(
                "dave@prod-web-01",
                vec![
                    run("uname -s"),
                    run("ls -lA --color=always"),
                    idle(120),
                    run("cat notes.txt"),
                    idle(300),
                    run("tail -n 4 app.log"),
                    idle(400),
                ],
            ),
        ),
        (
            "S4",
            script(
                "root@dashboard-6f9c7",
                vec![
                    run("ls --color=always"),
                    idle(90),
                    run("grep -c ' 200 ' app.log"),
                    idle(300),
                    run("seq -s ' ' 1 12"),
                ],
            ),
        ),
        (
            "S5",
            script(
                "dave@prod-web-01",
                [
                    vec![run("systemctl status web-app"), idle(200)],
                    full_screen(240),
                    vec![idle(300), run("tail -n 3 app.log")],
                ]
                .concat(),
            ),
        ),
        // The console that was left open: an editor on the alternate screen, and hours in which nobody came back.
        ("S6", script("alice@prod-web-01", [vec![run("ls --color=always"), idle(600)], full_screen(13_000)].concat())),
        (
            "S7",
            script("erin@prod-web-01", vec![run("ls -l --color=always"), idle(150), run("wc -l app.log"), idle(200)]),
        ),
        ("S9", script("dave@prod-web-01", vec![run("systemctl status web-app"), idle(240), run("tail -n 5 app.log")])),
        // The key is the one of AWS's own documentation, which opens nothing.
        (
            "S8",
            script(
                "root@prod-web-01",
                vec![
                    run("systemctl status web-app"),
                    idle(180),
                    run("journalctl -u web-app -n 6 -o short-monotonic"),
                    idle(240),
                    run("export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
                    idle(60),
                    Step::Resize(120, 36),
                    run("ls -l --color=always"),
                    idle(200),
                    run("systemctl restart web-app"),
                    idle(120),
                    run("systemctl status web-app"),
                ],
            ),
        ),
        ("S10", script("dave@prod-web-01", vec![run("tail -n 4 app.log"), idle(200), run("df -h .")])),
        (
            "S11",
            script(
                "alice@billing-db",
                vec![
                    Step::Line("psql billing", BILLING),
                    idle(90),
                    Step::Line("select id, state, amount from invoices where vat_rate is null;", BILLING),
                    idle(300),
                    Step::Line("begin;", BILLING),
                    Step::Line("update invoices set vat_rate = 0.19 where vat_rate is null;", BILLING),
                    idle(60),
                    Step::Line("commit;", BILLING),
                    run("\\q"),
                ],
            ),
        ),
        (
            "S11 later",
            script(
                "alice@billing-db",
                vec![
                    Step::Line("psql billing", BILLING),
                    Step::Line("select id, state, amount from invoices where id = 70415;", BILLING),
                    idle(120),
                    run("\\q"),
                ],
            ),
        ),
        (
            "S12",
            script(
                "carol@prod-web-01",
                vec![
                    Step::Line("psql web_app_db", Until::Shows("web_app_db=# ")),
                    idle(60),
                    Step::Line("select id, state, amount from payments where state = 'stuck';", PSQL),
                    idle(420),
                    Step::Line("begin;", PSQL),
                    Step::Line("update payments set state = 'retry' where state = 'stuck';", PSQL),
                    idle(90),
                    Step::Line("commit;", PSQL),
                    idle(200),
                    run("\\q"),
                    run("systemctl restart payments"),
                    idle(500),
                ],
            ),
        ),
        (
            "S13",
            script(
                "bob@prod-web-01",
                vec![
                    run("journalctl -u web-app -n 6 -o short-monotonic"),
                    idle(300),
                    run("systemctl restart web-app"),
                    idle(600),
                    run("systemctl status web-app"),
                ],
            ),
        ),
        ("S15", script("bot-ci@prod-web-01", vec![run("printf 'deploy %s\\n' 2.14.1"), idle(60), run("ps"), idle(90)])),
        (
            "S17",
            script(
                "alice@prod-web-01",
                vec![
                    run("ls --color=always"),
                    idle(50),
                    run("wc -c app.log"),
                    idle(25),
                    run("gzip -k app.log"),
                    idle(25),
                    run("ls -l --color=always app.log.gz"),
                    idle(25),
                    run("rm app.log.gz"),
                    idle(80),
                    run("tail -n 2 app.log"),
                    idle(120),
                ],
            ),
        ),
        ("S19", script("erin@prod-web-01", vec![run("echo test"), idle(40), run("date -u +%Z")])),
    ]
}

/// The prompt of the database's shell.
const PSQL: Until = Until::Shows("web_app_db=# ");
const BILLING: Until = Until::Shows("billing=# ");

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_story_is_recorded_in_seconds() {
        let started = Instant::now();
        let recordings = Recordings::make(&AtomicBool::new(false));
        let took = started.elapsed();
        let notes: Vec<_> = recordings.notes().filter(|(_, note)| !note.contains("full-screen")).collect();
        if first_installed(&["bash", "sh"]).is_none() {
            eprintln!("SKIPPED: no terminal can be recorded here: {notes:?}");
            return;
        }
        assert!(notes.is_empty(), "{notes:?}");
        assert!(took < Duration::from_secs(12), "{took:?}");
        for (name, recording) in &recordings.by_name {
            eprintln!("{name}: {} chunks, {} s", recording.chunks.len(), recording.duration_us() / 1_000_000);
        }
        let shown = |name| {
            let chunks = recordings.get(name).unwrap().chunks.iter();
            let bytes = chunks.filter_map(|chunk| match &chunk.shown {
                Shown::Output(bytes) => Some(bytes.as_slice()),
                Shown::Resize(..) => None,
            });
            String::from_utf8_lossy(&bytes.collect::<Vec<_>>().concat()).into_owned()
        };
        assert!(shown("S1").contains("36 120\r\n"), "{}", shown("S1"));
        assert!(shown("S1").contains("p95"), "{}", shown("S1"));
        assert!(shown("S8").contains("export AWS_SECRET_ACCESS_KEY="), "{}", shown("S8"));
        for name in ["S11", "S12"] {
            assert!(shown(name).contains("UPDATE 3"), "{}", shown(name));
        }
        let mut last = String::new();
        for message in super::super::story::messages(chrono::Utc::now().timestamp_micros(), &recordings) {
            let value = message.value.unwrap_or_default();
            let Ok(event) = serde_json::from_slice::<serde_json::Value>(&value) else { continue };
            match (message.topic.as_str(), event["event"].as_str(), event["time"].as_str()) {
                ("teleport.sessions", Some("print"), Some(time)) => last = time.to_owned(),
                ("teleport.sessions", Some("session.end"), Some(end)) => assert!(*last < *end, "{last} {event}"),
                _ => {}
            }
        }
        if first_installed(&["vim", "less", "nano"]).is_some() {
            assert!(shown("S6").contains("\x1b[?1049h"), "{}", shown("S6"));
        }
    }
}
