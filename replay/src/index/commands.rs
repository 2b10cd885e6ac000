//! Which commands were given to a shell.

use avt::observer::{Observation, Observer, ShellEvent, ShellTracker};
use avt::parser::{Function, Osc, ShellIntegration};
use avt::{Line, Operation, ScreenKind, Terminal};

use super::lines::{CELLS_FREE, CELLS_PER_BYTE, visible};
use crate::screen::printable;

/// How a command was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandSource {
    /// The shell said where it begins and ends (OSC 133).
    Shell,
    /// It stood behind something that looks like a prompt. A guess.
    Prompt,
}

impl CommandSource {
    /// Its name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "osc133",
            Self::Prompt => "prompt",
        }
    }
}

/// A command that was given to a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// When it was given, in microseconds since the start of the recording.
    pub at_us: i64,
    /// When it was over, where the shell said so.
    pub until_us: Option<i64>,
    /// What was typed, as it stood on the screen.
    pub text: String,
    /// Its exit status, where the shell said it.
    pub exit_status: Option<u8>,
    /// How it was found.
    pub source: CommandSource,
}

/// The longest prompt that is taken for one, in characters.
const PROMPT_CHARACTERS_MAX: usize = 120;

/// Commands of a recording take no more than this, in bytes.
const COMMANDS_BYTES_MAX: usize = 64 << 20;

/// What a command takes besides its text.
const COMMAND_BYTES: usize = 128;

/// The longest line with a prompt that is read, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Commands {
    shell: ShellTracker,
    /// The shell has told something.
    is_told: bool,
    /// The command that runs, of those that the shell tells.
    running: Option<Command>,
    /// Lines that have left the screen at its top.
    evicted: u64,
    waiting: Option<Waiting>,
    /// A command that the shell may still tell better.
    guessed: Option<Command>,
    /// Cells of which marks of the shell may still be looked up.
    credit: i64,
    /// Bytes of all commands.
    bytes: usize,
    missed: u64,
    found: Vec<Command>,
}

/// A prompt at which the cursor stood.
struct Waiting {
    /// The number of its first row, those counted that have left the screen.
    line: u64,
    /// What stood before the cursor.
    prompt: String,
    /// Its text, as far as it has left the screen.
    left: Option<String>,
}

impl Waiting {
    /// A row has left the screen; false when the line has with it.
    fn leave(&mut self, number: u64, line: &Line) -> bool {
        if number < self.line {
            return true;
        }
        let left = self.left.get_or_insert_default();
        left.extend(line.chars());
        line.is_wrapped() && left.len() < LINE_BYTES_MAX
    }

    /// What stands behind it, as long as the cursor is on its line.
    fn typed(&self, terminal: &Terminal, evicted: u64) -> Option<String> {
        let cursor = terminal.cursor();
        let first = usize::try_from(self.line.saturating_sub(evicted)).ok()?;
        let goes_on = |row| terminal.screen().line(row).is_some_and(Line::is_wrapped);
        let is_on_it = cursor.row >= first && (first..cursor.row).all(goes_on);
        if terminal.active_screen_kind() != ScreenKind::Primary || !is_on_it {
            return None;
        }
        let mut text = self.left.clone().unwrap_or_default();
        for line in terminal.screen().visible_lines().skip(first) {
            text.extend(line.chars());
            if !line.is_wrapped() {
                let text: String = text.trim_end().chars().map(printable).collect();
                return text.strip_prefix(self.prompt.trim_end()).map(visible);
            }
            if text.len() > LINE_BYTES_MAX {
                return None;
            }
        }
        None
    }
}

impl Commands {
    pub(super) fn new() -> Self {
        Self { credit: CELLS_FREE, ..Self::default() }
    }

    pub(super) fn before(&mut self, context: &mut Observation<'_>, operation: &Operation, time_us: i64) {
        match operation {
            // Lines get other numbers.
            Operation::Resize { .. } => self.waiting = None,
            // Enter.
            Operation::Function(Function::Lf | Function::Nel) => self.entered(context.terminal(), time_us),
            Operation::Function(Function::Osc(Osc::ShellIntegration(mark))) => {
                self.is_told = true;
                // Otherwise it would look at the marks of all prompts at each, and keep what it has to tell.
                self.told(context, time_us);
                let cells = context.terminal().size();
                self.credit -= (cells.0 * cells.1) as i64;
                if *mark == ShellIntegration::PromptStart || self.credit < 0 {
                    self.shell = ShellTracker::new();
                }
            }
            Operation::Function(_) => {}
        }
        // It would be asked about every character, and most shells tell nothing.
        if self.is_told {
            self.shell.before(context, operation);
        }
    }

    /// Something comes: so many bytes of output.
    pub(super) fn advance(&mut self, output_bytes: usize) {
        let bytes = i64::try_from(output_bytes).unwrap_or(i64::MAX);
        self.credit = self.credit.min(CELLS_FREE).saturating_add(bytes.saturating_mul(CELLS_PER_BYTE));
    }

    /// Commands that went without being kept, because there were too many.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    fn find(&mut self, command: Command) {
        self.bytes += command.text.len() + COMMAND_BYTES;
        if self.bytes > COMMANDS_BYTES_MAX {
            self.missed += 1;
        } else {
            self.found.push(command);
        }
    }

    pub(super) fn evicted(&mut self, context: &mut Observation<'_>, line: &Line) {
        self.shell.evicted(context, line);
        let number = self.evicted;
        if self.waiting.as_mut().is_some_and(|waiting| !waiting.leave(number, line)) {
            self.waiting = None;
        }
        self.evicted += 1;
    }

    /// What the shell has told.
    pub(super) fn told(&mut self, context: &mut Observation<'_>, time_us: i64) {
        for event in self.shell.end(context) {
            match event {
                ShellEvent::PromptStarted(_) | ShellEvent::CommandCancelled { .. } => self.over(None, None),
                ShellEvent::CommandSubmitted(command) => {
                    self.over(None, None);
                    (self.waiting, self.guessed) = (None, None);
                    let text = command.text.map(|text| visible(&text)).unwrap_or_default();
                    let source = CommandSource::Shell;
                    self.running = Some(Command { at_us: time_us, until_us: None, text, exit_status: None, source });
                }
                ShellEvent::CommandFinished { exit_status, .. } => self.over(Some(time_us), exit_status),
            }
        }
    }

    fn over(&mut self, until_us: Option<i64>, exit_status: Option<u8>) {
        if let Some(command) = self.running.take() {
            self.find(Command { until_us, exit_status, ..command });
        }
    }

    /// The cursor leaves the row that it is on for the next.
    fn entered(&mut self, terminal: &Terminal, time_us: i64) {
        let Some(waiting) = &self.waiting else { return };
        let Some(typed) = waiting.typed(terminal, self.evicted) else { return };
        let text = typed.trim().to_owned();
        self.waiting = None;
        if !text.is_empty() {
            let source = CommandSource::Prompt;
            // A shell that tells says so in the same breath.
            self.guess();
            self.guessed = Some(Command { at_us: time_us, until_us: None, text, exit_status: None, source });
        }
    }

    /// What was guessed is not told better.
    fn guess(&mut self) {
        if let Some(guessed) = self.guessed.take() {
            self.find(guessed);
        }
    }

    /// Looks for a prompt.
    pub(super) fn read(&mut self, terminal: &Terminal) {
        self.guess();
        if terminal.active_screen_kind() != ScreenKind::Primary {
            return;
        }
        let (row, col) = (terminal.cursor().row, terminal.cursor().col);
        if self.waiting.as_ref().is_some_and(|waiting| waiting.typed(terminal, self.evicted).is_some()) {
            return;
        }
        self.waiting = None;
        let Some(line) = terminal.screen().line(row) else { return };
        let cells = |from, count| line.cells().iter().skip(from).take(count).filter(|cell| cell.width() > 0);
        let before: String = cells(0, col).map(|cell| printable(cell.char())).collect();
        if looks_like_a_prompt(&before) && cells(col, usize::MAX).all(|cell| cell.char() == ' ') {
            self.waiting = Some(Waiting { line: self.evicted + row as u64, prompt: before, left: None });
        }
    }

    pub(super) fn finish(&mut self) {
        self.guess();
        self.over(None, None);
    }

    pub(super) fn take(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.found)
    }
}

/// `user@host:~$ `, `[root@host /]# `, `mysql> `, `% `
fn looks_like_a_prompt(before: &str) -> bool {
    let Some(rest) = before.strip_suffix(' ') else { return false };
    rest.ends_with(['$', '#', '%', '>', '❯']) && rest.chars().count() <= PROMPT_CHARACTERS_MAX
}
