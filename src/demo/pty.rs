//! Records real commands in a pseudo terminal.
//!
//! A [`Script`] is what a person does at a terminal. [`record`] starts a shell in a terminal of its own, types the
//! script key by key, and hands over what the terminal shows, in the pieces in which it came. Waiting is for something
//! to happen (the prompt is back, the screen is quiet), always with a deadline, and never longer than a moment after a
//! stop is asked for.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// The longest wait without a look at the stop flag.
const TICK: Duration = Duration::from_millis(50);

/// A screen on which nothing changed for so long has been drawn.
const QUIET: Duration = Duration::from_millis(300);

/// The longest wait for the echo of a key: many keys of a full-screen program have none.
const ECHO: Duration = Duration::from_millis(25);

/// The longest wait for one step of a script.
const STEP_MAX: Duration = Duration::from_secs(5);

/// The longest time that a recording at [`Pace::Quick`] really takes.
const QUICK_MAX: Duration = Duration::from_secs(12);

/// How long a shell that was asked to go may take.
const LEAVE_MAX: Duration = Duration::from_millis(300);

/// Output that is searched for the prompt, from the last line that was entered.
const SEEN_MAX: usize = 64 * 1024;

/// The end of every prompt of ours, and nothing that the scripts' commands print.
const PROMPT_END: &[u8] = b"\x1b[0m$ ";

/// What one person does at one terminal.
pub(super) struct Script {
    /// `user@host`, as the prompt shows it.
    pub(super) prompt: &'static str,
    /// Columns and rows at the beginning.
    pub(super) size: (u16, u16),
    /// What is in the home directory.
    pub(super) files: &'static [File],
    /// What is done, in order. The shell is left at the end.
    pub(super) steps: Vec<Step>,
}

/// A file in the home directory of a script.
pub(super) struct File {
    /// Path below the home directory.
    pub(super) path: &'static str,
    /// Content.
    pub(super) text: &'static str,
    /// Whether it is a program.
    pub(super) is_program: bool,
}

/// One step of a script.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A line is typed and entered.
    Line(&'static str, Until),
    /// Keys are typed, and the screen comes to rest.
    Keys(&'static str),
    /// The window gets another size: columns and rows.
    Resize(u16, u16),
    /// Nobody types.
    Idle(Duration),
}

/// What is waited for after a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// The shell's prompt.
    Prompt,
    /// A text on the screen: the prompt of another program.
    Shows(&'static str),
    /// A screen that has been drawn.
    Quiet,
}

/// How time passes in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The times in which a person types and thinks are on the recording's clock and are not waited for.
    Quick,
    /// As long as it takes.
    Real,
}

/// A timed piece of what a terminal showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Time since the chunk before, or since the terminal was opened, in microseconds.
    pub(super) delay_us: i64,
    /// What happened.
    pub(super) shown: Shown,
}

/// What happened at a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// Bytes as they were read: they may end inside a character or an escape sequence.
    Output(Vec<u8>),
    /// The window got a size: columns and rows.
    Resize(u16, u16),
}

/// How a recording ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// Exit status of the shell.
    pub(super) status: u32,
    /// Why the script was not played to its end.
    pub(super) cut: Option<&'static str>,
}

/// Plays a script in a new terminal and hands over what it shows.
///
/// # Errors
///
/// No terminal, no scratch directory or no shell could be had. A script that does not get to its end is not an error,
/// see [`Ended::cut`].
pub(super) fn record(
    script: &Script,
    pace: Pace,
    stop: &AtomicBool,
    on_chunk: &mut dyn FnMut(Chunk),
) -> io::Result<Ended> {
    let scratch = Scratch::new(script.files)?;
    let mut terminal = Terminal::open(script, pace, stop, &scratch, on_chunk)?;
    let cut = terminal.play(&script.steps).err();
    Ok(Ended { status: terminal.close(cut)?, cut: cut.and_then(Halt::reason) })
}

/// The first of these programs that is on the search path.
pub(super) fn first_installed(names: &[&'static str]) -> Option<&'static str> {
    let path = std::env::var_os("PATH")?;
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().copied().find(|name| directories.iter().any(|directory| directory.join(name).is_file()))
}

/// Why a script stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halt {
    /// Somebody asked for it.
    Stopped,
    /// The shell is gone.
    Gone,
    /// Something that should have been shown was not.
    Late,
}

impl Halt {
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Stopped => Some("stopped"),
            Self::Gone => Some("the shell ended early"),
            Self::Late => Some("the terminal did not answer in time"),
        }
    }
}

/// A home directory for one recording, removed with everything in it.
struct Scratch {
    home: PathBuf,
}

impl Scratch {
    fn new(files: &[File]) -> io::Result<Self> {
        let scratch =
            Self { home: std::env::temp_dir().join(format!("custody-demo-{}", uuid::Uuid::new_v4().simple())) };
        // The name cannot be guessed and must not exist: nobody else has put anything there.
        std::fs::create_dir(&scratch.home)?;
        // Older than any session of a story: a listing of the directory is part of what it shows.
        let modified = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
        for file in files {
            let path = scratch.home.join(file.path);
            let directory = path.parent().unwrap_or(&scratch.home);
            std::fs::create_dir_all(directory)?;
            std::fs::write(&path, file.text)?;
            std::fs::File::options().write(true).open(&path)?.set_modified(modified)?;
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode = if file.is_program { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
                std::fs::File::open(directory)?.set_modified(modified)?;
            }
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.home) {
            tracing::debug!(path = %self.home.display(), %error, "a scratch directory could not be removed");
        }
    }
}

/// The command that starts a shell with a small environment of our own: nothing of the caller's but the search path.
fn shell(prompt: &str, home: &Path) -> CommandBuilder {
    let (mut command, prompt) = match first_installed(&["bash"]) {
        Some(bash) => {
            let mut command = CommandBuilder::new(bash);
            command.args(["--noprofile", "--norc"]);
            // The brackets tell the line editor which bytes take no room.
            (command, format!(r"\[\e[1;32m\]{prompt}\[\e[0m\]:\[\e[1;34m\]\w\[\e[0m\]$ "))
        }
        None => (CommandBuilder::new("sh"), format!("\x1b[1;32m{prompt}\x1b[0m:\x1b[1;34m~\x1b[0m$ ")),
    };
    let mut path = home.join("bin").into_os_string();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    command.env_clear();
    command.env("PATH", path);
    command.env("PS1", prompt);
    command.env("HOME", home);
    command.env("TERM", "xterm-256color");
    command.env("LANG", "C.UTF-8");
    command.env("HISTFILE", "/dev/null");
    command.env("BASH_SILENCE_DEPRECATION_WARNING", "1");
    command.cwd(home);
    command
}

/// A terminal with a shell in it, and the person before it.
struct Terminal<'a> {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    output: Receiver<(Instant, Vec<u8>)>,
    reader: JoinHandle<()>,
    child: Box<dyn Child + Send + Sync>,
    pace: Pace,
    stop: &'a AtomicBool,
    on_chunk: &'a mut dyn FnMut(Chunk),
    opened: Instant,
    /// Time on the recording's clock that did not really pass.
    pretended: Duration,
    /// Time of the last chunk on the recording's clock.
    last_us: i64,
    /// Output since the last line was entered.
    seen: Vec<u8>,
    /// Number of keys that were typed: makes their rhythm uneven, and the same every time.
    typed: u32,
}

impl<'a> Terminal<'a> {
    fn open(
        script: &Script,
        pace: Pace,
        stop: &'a AtomicBool,
        scratch: &Scratch,
        on_chunk: &'a mut dyn FnMut(Chunk),
    ) -> io::Result<Self> {
        let (cols, rows) = script.size;
        let pair = native_pty_system().openpty(pty_size(cols, rows)).map_err(io::Error::other)?;
        let source = pair.master.try_clone_reader().map_err(io::Error::other)?;
        let keys = pair.master.take_writer().map_err(io::Error::other)?;
        let mut child = pair.slave.spawn_command(shell(script.prompt, &scratch.home)).map_err(io::Error::other)?;
        // The shell has the only handle on its side, so that its end is the end of the output.
        drop(pair.slave);
        // Bounded: a terminal that floods waits for us, as it would for a slow screen.
        let (sender, output) = sync_channel(64);
        let reader = match std::thread::Builder::new().name("pty".to_owned()).spawn(move || read(source, &sender)) {
            Ok(reader) => reader,
            Err(error) => {
                child.kill()?;
                return Err(error);
            }
        };
        Ok(Self {
            master: pair.master,
            keys,
            output,
            reader,
            child,
            pace,
            stop,
            on_chunk,
            opened: Instant::now(),
            pretended: Duration::ZERO,
            last_us: 0,
            seen: Vec::new(),
            typed: 0,
        })
    }

    /// Plays a script, and leaves the shell.
    fn play(&mut self, steps: &[Step]) -> Result<(), Halt> {
        self.wait(Until::Prompt)?;
        for step in steps {
            match *step {
                Step::Line(text, until) => {
                    self.pass(Duration::from_millis(900))?;
                    self.enter(text)?;
                    self.wait(until)?;
                }
                Step::Keys(keys) => {
                    for key in keys.chars() {
                        self.pass(Duration::from_millis(400))?;
                        self.press(key)?;
                    }
                    self.wait(Until::Quiet)?;
                }
                Step::Resize(cols, rows) => {
                    self.pass(Duration::from_millis(700))?;
                    self.resize(cols, rows)?;
                }
                Step::Idle(time) => self.pass(time)?,
            }
        }
        self.pass(Duration::from_millis(600))?;
        match self.enter("exit").and_then(|()| self.wait_for_end()) {
            Err(Halt::Gone) => Ok(()),
            other => other,
        }
    }

    /// Ends the shell, if it is still there, and everything that belongs to it. Returns its exit status.
    fn close(mut self, cut: Option<Halt>) -> io::Result<u32> {
        if matches!(cut, Some(Halt::Stopped | Halt::Late)) {
            self.leave();
        }
        let deadline = Instant::now() + LEAVE_MAX;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    self.child.kill()?;
                    break self.child.wait()?;
                }
            }
        };
        // Without a receiver the reader ends at its next piece, and without a shell there is none but the end.
        drop(self.output);
        drop(self.keys);
        drop(self.master);
        // Something that outlived the shell and its terminal's hang-up could hold the other side open for ever.
        let deadline = Instant::now() + LEAVE_MAX;
        while !self.reader.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.reader.is_finished() && self.reader.join().is_err() {
            return Err(io::Error::other("the reader of a terminal failed"));
        }
        Ok(status.exit_code())
    }

    /// Interrupts whatever runs and asks the shell to go, showing what it says to that.
    fn leave(&mut self) {
        let deadline = Instant::now() + LEAVE_MAX;
        if self.keys.write_all(b"\x03").is_err() {
            return;
        }
        let mut is_asked = false;
        while Instant::now() < deadline {
            match self.output.recv_timeout(TICK) {
                Ok((at, bytes)) => self.show(at, bytes),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if is_asked => {}
                Err(RecvTimeoutError::Timeout) => {
                    is_asked = true;
                    if self.keys.write_all(b"exit\r").is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn resize(&mut self, cols: u16, rows: u16) -> Result<(), Halt> {
        self.master.resize(pty_size(cols, rows)).map_err(|_| Halt::Gone)?;
        self.emit(Instant::now(), Shown::Resize(cols, rows));
        // The shell draws its prompt anew. What is typed before that would be drawn twice.
        self.wait(Until::Quiet)
    }

    fn enter(&mut self, text: &str) -> Result<(), Halt> {
        for key in text.chars() {
            // Between 60 and 180 ms, as people do.
            let uneven = self.typed.wrapping_mul(2_654_435_761) >> 25;
            self.pass(Duration::from_millis(60 + u64::from(uneven)))?;
            self.press(key)?;
        }
        self.pass(Duration::from_millis(250))?;
        self.seen.clear();
        self.press('\r')
    }

    /// Presses one key and sees its echo.
    fn press(&mut self, key: char) -> Result<(), Halt> {
        self.typed = self.typed.wrapping_add(1);
        let mut bytes = [0; 4];
        self.keys.write_all(key.encode_utf8(&mut bytes).as_bytes()).map_err(|_| Halt::Gone)?;
        self.pump(ECHO).map(|_| ())
    }

    /// Lets time pass, on the recording's clock alone where the pace allows.
    fn pass(&mut self, time: Duration) -> Result<(), Halt> {
        match self.pace {
            Pace::Quick => {
                while self.pump(Duration::ZERO)? {}
                self.pretended += time;
            }
            Pace::Real => {
                let until = Instant::now() + time;
                while Instant::now() < until {
                    self.pump(until.saturating_duration_since(Instant::now()))?;
                }
            }
        }
        Ok(())
    }

    /// Waits until something is there.
    fn wait(&mut self, until: Until) -> Result<(), Halt> {
        let deadline = Instant::now() + STEP_MAX;
        let mut quiet_since = Instant::now();
        loop {
            let is_there = match until {
                Until::Prompt => contains(&self.seen, PROMPT_END),
                Until::Shows(text) => contains(&self.seen, text.as_bytes()),
                Until::Quiet => quiet_since.elapsed() >= QUIET,
            };
            if is_there {
                return Ok(());
            }
            if Instant::now() >= deadline {
                // A screen that never rests has been drawn well enough.
                return if matches!(until, Until::Quiet) { Ok(()) } else { Err(Halt::Late) };
            }
            if self.pump(TICK)? {
                quiet_since = Instant::now();
            }
        }
    }

    /// Shows what the shell still says until it is [`Halt::Gone`].
    fn wait_for_end(&mut self) -> Result<(), Halt> {
        let deadline = Instant::now() + STEP_MAX;
        while Instant::now() < deadline {
            self.pump(TICK)?;
        }
        Err(Halt::Late)
    }

    /// Shows the next output, if it comes in time.
    fn pump(&mut self, time: Duration) -> Result<bool, Halt> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Halt::Stopped);
        }
        if self.pace == Pace::Quick && self.opened.elapsed() > QUICK_MAX {
            return Err(Halt::Late);
        }
        match self.output.recv_timeout(time.min(TICK)) {
            Ok((at, bytes)) => {
                self.show(at, bytes);
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(Halt::Gone),
        }
    }

    fn show(&mut self, at: Instant, bytes: Vec<u8>) {
        let excess = (self.seen.len() + bytes.len()).saturating_sub(SEEN_MAX);
        self.seen.drain(..excess.min(self.seen.len()));
        self.seen.extend_from_slice(&bytes);
        self.emit(at, Shown::Output(bytes));
    }

    fn emit(&mut self, at: Instant, shown: Shown) {
        let time = at.saturating_duration_since(self.opened) + self.pretended;
        let time_us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX).max(self.last_us);
        let delay_us = time_us - self.last_us;
        self.last_us = time_us;
        (self.on_chunk)(Chunk { delay_us, shown });
    }
}

fn pty_size(cols: u16, rows: u16) -> PtySize {
    PtySize { cols, rows, ..PtySize::default() }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Hands over what a terminal shows until it is closed, or nobody takes it any more.
fn read(mut source: Box<dyn Read + Send>, sender: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 8 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                if sender.send((Instant::now(), bytes)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // How other systems than Linux say that the other side is closed.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None`, said loudly, where there is no shell to test with.
    fn recorded(steps: Vec<Step>, pace: Pace, stop: &AtomicBool) -> Option<(Vec<Chunk>, Ended)> {
        let script = Script { prompt: "alice@prod-web-01", size: (90, 25), files: &[], steps };
        let mut chunks = Vec::new();
        match record(&script, pace, stop, &mut |chunk| chunks.push(chunk)) {
            Ok(ended) => Some((chunks, ended)),
            Err(error) => {
                eprintln!("SKIPPED: no terminal can be recorded here: {error}");
                None
            }
        }
    }

    fn text(chunks: &[Chunk]) -> String {
        let bytes: Vec<u8> = chunks
            .iter()
            .filter_map(|chunk| match &chunk.shown {
                Shown::Output(bytes) => Some(bytes.as_slice()),
                Shown::Resize(..) => None,
            })
            .collect::<Vec<_>>()
            .concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn commands_and_a_resize_are_recorded() {
        let steps = vec![
            Step::Line(r"printf 'caf\303\251 \033[31mred\033[0m\n'", Until::Prompt),
            Step::Idle(Duration::from_secs(3600)),
            Step::Resize(120, 40),
            Step::Line("stty size", Until::Prompt),
        ];
        let started = Instant::now();
        let Some((chunks, ended)) = recorded(steps, Pace::Quick, &AtomicBool::new(false)) else { return };
        let text = text(&chunks);
        assert_eq!(ended, Ended { status: 0, cut: None }, "{text}");
        assert!(text.contains("café \x1b[31mred\x1b[0m\r\n"), "{text}");
        assert!(text.contains("40 120\r\n"), "{text}");
        assert!(text.contains("alice@prod-web-01"), "{text}");
        assert!(chunks.iter().any(|chunk| chunk.shown == Shown::Resize(120, 40)));
        let duration_us: i64 = chunks.iter().map(|chunk| chunk.delay_us).sum();
        assert!(duration_us > 3_600_000_000, "an hour without keys is on the recording's clock: {duration_us}");
        assert!(started.elapsed() < QUICK_MAX, "and is not waited for");
    }

    #[test]
    fn a_stop_ends_whatever_runs() {
        let stop = AtomicBool::new(false);
        let took = std::thread::scope(|scope| {
            let recording = scope.spawn(|| {
                let steps = vec![Step::Line("sleep 600", Until::Quiet), Step::Idle(Duration::from_secs(600))];
                recorded(steps, Pace::Real, &stop)
            });
            std::thread::sleep(Duration::from_millis(2500));
            stop.store(true, Ordering::Relaxed);
            let asked = Instant::now();
            recording.join().unwrap().map(|(_, ended)| (asked.elapsed(), ended))
        });
        let Some((took, ended)) = took else { return };
        assert_eq!(ended.cut, Some("stopped"));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}
