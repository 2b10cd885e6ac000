//! Terminals and time: from the frames of a recorded session to something that a person can look at.
//!
//! A [`Recording`] is a header, a size and a list of timed events; everything else is a small function over it. Nothing
//! here knows where frames come from, and only [`player`] does I/O.
//!
//! - [`line`]: one line of an asciicast stream, as a message carries it.
//! - [`recording`]: the frames of a session, in any order, as one timeline, with what is wrong with it; and parts of it.
//! - [`pace`]: shorter idle times and other speeds.
//! - [`encode`]: a recording as asciicast 2 or 3, ttyrec, JSON, bare bytes, text, or a web page that plays it.
//! - [`screen`]: what the terminal showed at a time.
//! - [`index`]: keyframes, every text that was on the screen, and commands.
//! - [`live`]: a recording that goes on, as those see it who watch.
//! - [`player`]: shows a recording in the viewer's terminal.
//!
//! All of it is hostile input. Bytes may be anything, times are brought into `0..=`[`recording::TIME_US_MAX`], and the
//! emulated terminal is never larger than [`Size::EMULATED_MAX`].

mod emulator;
pub mod encode;
pub mod header;
pub mod index;
pub mod line;
pub mod live;
pub mod pace;
pub mod player;
pub mod recording;
pub mod screen;
pub mod size;
pub mod utf8;

pub use header::Header;
pub use recording::{Channel, Cut, Finding, Place, Recording, State, StreamKey, Timed, channels};
pub use size::Size;

#[cfg(test)]
mod fixtures;
