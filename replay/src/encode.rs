//! A recording in the formats of other tools, and as one file that a browser shows.
//!
//! A part of a recording ([`Recording::cut`](crate::Recording::cut)) begins with the screen that was there. What is made
//! to be played or read begins with it too; [`raw()`] has only what was recorded, and [`json()`] keeps it apart.

mod asciicast;
mod html;
mod json;
mod raw;
mod segment;
mod tame;
mod text;
mod transcript;
mod ttyrec;

pub use asciicast::{asciicast_v2, asciicast_v3};
pub use html::{Facts, html};
pub use json::json;
pub use raw::raw;
pub use segment::{PLAYABLE_BYTES_MAX, TooLarge, segment};
pub(crate) use tame::Tame;
pub use text::text;
pub use transcript::transcript;
pub use ttyrec::ttyrec;

#[cfg(test)]
mod tests;
