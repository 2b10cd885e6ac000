//! The viewer's terminal while the player has it.

use std::cell::Cell;
use std::io::{self, Write};
use std::panic;
use std::sync::Once;

use crossterm::cursor::{Hide, Show};
use crossterm::style::ResetColor;
use crossterm::terminal::{
    DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};

thread_local! {
    /// Whether this thread has to give the terminal back. A panic of another thread does not end the player, so it
    /// must not take the terminal from it.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// Has the terminal in raw mode and on its alternate screen until it is dropped, or until its thread panics.
pub(super) struct Guard(());

impl Guard {
    pub(super) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        // The message of a panic has to come out on the ordinary screen.
        HOOK.call_once(|| {
            let report = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                report(info);
            }));
        });
        TAKEN.set(true);
        let guard = Self(());
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// Does as much as is possible: there is nobody left to report an error to.
fn restore() {
    // In a thread that is being torn down there is no player any more.
    if !TAKEN.try_with(|taken| taken.replace(false)).unwrap_or(false) {
        return;
    }
    let mut out = io::stdout();
    let _ = queue!(out, ResetColor, EnableLineWrap, Show, LeaveAlternateScreen);
    let _ = out.flush();
    let _ = disable_raw_mode();
}
