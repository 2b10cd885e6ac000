//! A recording in the formats of other tools.

mod asciicast;
mod text;

pub use asciicast::{asciicast_v2, asciicast_v3};
pub use text::text;

#[cfg(test)]
mod tests;
