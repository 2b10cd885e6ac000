//! The size of a terminal.

use std::fmt;

use serde::Serialize;

/// Columns and rows as they were recorded, unclamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Number of columns.
    pub cols: u16,
    /// Number of rows.
    pub rows: u16,
}

impl Size {
    /// Stands where a recording does not say how large its terminal was.
    pub const DEFAULT: Self = Self { cols: 80, rows: 24 };

    /// The largest terminal that is emulated. A recording may claim 65535x65535, which would be 100 GB of cells.
    pub const EMULATED_MAX: Self = Self { cols: 1000, rows: 500 };

    /// Reads `COLSxROWS`. `None` when it is something else, or when a number is 0 (recorders write 0 for a size that
    /// they could not find out).
    pub fn parse(text: &str) -> Option<Self> {
        let (cols, rows) = text.split_once('x')?;
        Self { cols: cols.parse().ok()?, rows: rows.parse().ok()? }.known()
    }

    /// The size, unless one of its numbers is 0.
    pub(crate) fn known(self) -> Option<Self> {
        (self.cols > 0 && self.rows > 0).then_some(self)
    }

    /// The size as it is emulated: within `2x1` and [`EMULATED_MAX`](Self::EMULATED_MAX). A wide character takes two
    /// columns, and the terminal of browsers fails where there is only one.
    pub fn emulated(self) -> Self {
        let Self { cols, rows } = Self::EMULATED_MAX;
        Self { cols: self.cols.clamp(2, cols), rows: self.rows.clamp(1, rows) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.cols, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_strictly_and_emulated_within_bounds() {
        assert_eq!(Size::parse("120x40"), Some(Size { cols: 120, rows: 40 }));
        for text in ["", "x", "80", "80x", "80x0", "0x24", "-1x24", "80x24x1", "80 x 24", "65536x1", "80:24"] {
            assert_eq!(Size::parse(text), None, "{text:?}");
        }
        assert_eq!(Size { cols: u16::MAX, rows: 0 }.emulated(), Size { cols: 1000, rows: 1 });
        assert_eq!(Size { cols: 1, rows: 1 }.emulated(), Size { cols: 2, rows: 1 });
        assert_eq!(Size::DEFAULT.to_string(), "80x24");
    }
}
