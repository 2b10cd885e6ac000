//! Which commands were given to a shell.

use avt::observer::{Observation, Observer, ShellEvent, ShellTracker};
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

#[derive(Default)]
pub(super) struct Commands {
    shell: ShellTracker,
    /// A shell tells itself where its commands are: nothing is guessed.
    is_told: bool,
    /// The command that runs, of those that the shell tells.
    running: Option<Command>,
    /// Lines that have left the screen at its top.
    evicted: u64,
    waiting: Option<Waiting>,
    found: Vec<Command>,
}

/// A prompt at which the cursor stood.
struct Waiting {
    /// The number of its line, those counted that have left the screen.
    line: u64,
    /// What stood before the cursor.
    prompt: String,
    /// Its text, as far as it has left the screen.
    left: Option<String>,
    /// The next row to leave is of the same line.
    is_leaving: bool,
}

impl Waiting {
    fn leave(&mut self, number: u64, line: &Line) {
        if number == self.line || self.is_leaving {
            self.left.get_or_insert_default().extend(line.chars());
            self.is_leaving = line.is_wrapped();
        }
    }

    /// The text of its line.
    fn text(&self, terminal: &Terminal, evicted: u64) -> String {
        let row = usize::try_from(self.line.saturating_sub(evicted)).unwrap_or(usize::MAX);
        let mut text = self.left.clone().unwrap_or_default();
        if self.left.is_none() || self.is_leaving {
            for line in terminal.screen().visible_lines().skip(row) {
                text.extend(line.chars());
                if !line.is_wrapped() {
                    break;
                }
            }
        }
        // The blank behind the prompt stays: of an empty command it is all that is there.
        let typed = visible(&text);
        if self.prompt.trim_end() == typed { self.prompt.clone() } else { typed }
    }
}

impl Commands {
    pub(super) fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        if matches!(operation, Operation::Resize { .. }) {
            // Lines get other numbers.
            self.waiting = None;
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

    pub(super) fn end(&mut self, context: &mut Observation<'_>, time_us: i64) {
        for event in self.shell.end(context) {
            self.is_told = true;
            match event {
                ShellEvent::PromptStarted(_) | ShellEvent::CommandCancelled { .. } => self.over(None, None),
                ShellEvent::CommandSubmitted(command) => {
                    self.over(None, None);
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

    /// Looks for prompts, where no shell tells.
    pub(super) fn read(&mut self, terminal: &Terminal, time_us: i64) {
        if self.is_told || terminal.active_screen_kind() != ScreenKind::Primary {
            return;
        }
        let (row, col) = (terminal.cursor().row, terminal.cursor().col);
        let here = self.evicted + row as u64;
        if let Some(waiting) = self.waiting.take() {
            let text = waiting.text(terminal, self.evicted);
            let typed = text.strip_prefix(waiting.prompt.as_str()).map(str::trim);
            match typed {
                // Somebody still types, or the line is long and the cursor is on its next row.
                Some(_) if here == waiting.line => {
                    self.waiting = Some(waiting);
                    return;
                }
                Some(typed) if here > waiting.line && !typed.is_empty() => {
                    let (text, source) = (typed.to_owned(), CommandSource::Prompt);
                    self.found.push(Command { at_us: time_us, until_us: None, text, exit_status: None, source });
                }
                _ => {}
            }
        }
        let Some(line) = terminal.screen().line(row) else { return };
        let cells = |from, count| line.cells().iter().skip(from).take(count).filter(|cell| cell.width() > 0);
        let before: String = cells(0, col).map(|cell| printable(cell.char())).collect();
        if looks_like_a_prompt(&before) && cells(col, usize::MAX).all(|cell| cell.char() == ' ') {
            self.waiting = Some(Waiting { line: here, prompt: before, left: None, is_leaving: false });
        }
    }

    pub(super) fn finish(&mut self) {
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
