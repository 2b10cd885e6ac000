//! Which commands were given to a shell.

use avt::observer::{Observation, Observer, ShellEvent, ShellTracker};
use avt::parser::{Function, Osc, ShellIntegration};
use avt::{Line, Operation, ScreenKind, Terminal};

use super::lines::visible;
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

/// The longest line with a prompt that is read, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Commands {
    shell: ShellTracker,
    /// The command that runs, of those that the shell tells.
    running: Option<Command>,
    /// Lines that have left the screen at its top.
    evicted: u64,
    waiting: Option<Waiting>,
    /// A command that the shell may still tell better.
    guessed: Option<Command>,
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
    fn leave(&mut self, number: u64, line: &Line) {
        let goes_on = self.left.is_some() && number > self.line;
        if number == self.line || goes_on {
            let left = self.left.get_or_insert_default();
            if left.len() < LINE_BYTES_MAX {
                left.extend(line.chars());
            }
        }
    }

    /// What stands behind it, as long as the cursor is on its line.
    fn typed(&self, terminal: &Terminal, evicted: u64) -> Option<String> {
        let cursor = terminal.cursor();
        let first = usize::try_from(self.line.saturating_sub(evicted)).ok()?;
        let mut text = self.left.clone().unwrap_or_default();
        for (row, line) in terminal.screen().visible_lines().enumerate().skip(first) {
            text.extend(line.chars());
            if !line.is_wrapped() {
                let text: String = text.trim_end().chars().map(printable).collect();
                let typed = match text.strip_prefix(self.prompt.trim_end()) {
                    Some(typed) if (first..=row).contains(&cursor.row) => typed,
                    _ => return None,
                };
                return Some(visible(typed));
            }
            if text.len() > LINE_BYTES_MAX {
                return None;
            }
        }
        None
    }
}

impl Commands {
    pub(super) fn before(&mut self, context: &mut Observation<'_>, operation: &Operation, time_us: i64) {
        match operation {
            // Lines get other numbers.
            Operation::Resize { .. } => self.waiting = None,
            // Enter.
            Operation::Function(Function::Lf | Function::Nel) => self.entered(context.terminal(), time_us),
            // It would look at the marks of all prompts at each.
            Operation::Function(Function::Osc(Osc::ShellIntegration(ShellIntegration::PromptStart))) => {
                self.told(context, time_us);
                self.shell = ShellTracker::new();
            }
            Operation::Function(_) => {}
        }
        self.shell.before(context, operation);
    }

    pub(super) fn evicted(&mut self, context: &mut Observation<'_>, line: &Line) {
        self.shell.evicted(context, line);
        if let Some(waiting) = &mut self.waiting {
            waiting.leave(self.evicted, line);
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
            self.found.push(Command { until_us, exit_status, ..command });
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
        self.found.extend(self.guessed.take());
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
