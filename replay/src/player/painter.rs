//! A screen as text and attributes for the viewer's terminal, changed rows only.

use std::fmt::Write;

use avt::{Color, Pen};

use custody_schemas::frame::Code;

use crate::recording::Timed;
use crate::screen::{Cell, Screen, printable};
use crate::size::Size;

/// What the viewer's terminal shows.
pub(super) struct Painter {
    cols: usize,
    /// Rows for the screen; the lines of the player's state are below them.
    rows: usize,
    /// What was painted; `None` where that is not known.
    painted: Vec<Option<Vec<Cell>>>,
    status: Vec<Option<String>>,
}

impl Painter {
    /// For a terminal of this size, of whose content nothing is known, with so many lines of state.
    pub(super) fn new(cols: u16, rows: u16, lines: usize) -> Self {
        let rows = usize::from(rows).saturating_sub(lines);
        Self { cols: cols.into(), rows, painted: vec![None; rows], status: vec![None; lines] }
    }

    /// What has to be written for the terminal to show a screen and the last of these lines. It holds no control characters but
    /// those that are written here.
    pub(super) fn paint(&mut self, screen: &Screen, status: &[String]) -> String {
        let mut out = String::new();
        let cursor = screen.cursor();
        let mut rows = screen.rows();
        for (n, painted) in self.painted.iter_mut().enumerate() {
            let mut row = crop(rows.next().unwrap_or_default(), self.cols);
            if let Some((col, _)) = cursor.filter(|(_, row)| *row == n) {
                show_cursor(&mut row, col, self.cols);
            }
            if painted.as_ref() != Some(&row) {
                paint_row(n, &row, self.cols, &mut out);
                *painted = Some(row);
            }
        }
        out + &self.paint_status(status)
    }

    /// The same of the lines alone.
    pub(super) fn paint_status(&mut self, status: &[String]) -> String {
        let mut out = String::new();
        let shown = status.get(status.len().saturating_sub(self.status.len())..).unwrap_or_default();
        for (n, (painted, line)) in self.status.iter_mut().zip(shown).enumerate() {
            if painted.as_ref() != Some(line) {
                paint_row(self.rows + n, &bar(line, self.cols), self.cols, &mut out);
                *painted = Some(line.clone());
            }
        }
        out
    }
}

/// A line of the player's own: as wide as the terminal, inverted.
fn bar(line: &str, cols: usize) -> Vec<Cell> {
    let mut pen = Pen::default();
    pen.set_inverse();
    // A terminal knows how wide characters are; on this one none of the line goes to a second row.
    let mut screen = Screen::new(Size { cols: u16::try_from(cols * 2).unwrap_or(u16::MAX), rows: 1 });
    let text: String = line.chars().take(cols).map(printable).collect();
    screen.apply(&Timed { time_us: 0, at: None, code: Code::Output, data: text.into_bytes() });
    let row = screen.rows().next().unwrap_or_default();
    crop(row.into_iter().map(|cell| Cell { pen, ..cell }).collect(), cols)
}

/// The cells that fit into `cols` columns. A character that is cut in two becomes a blank.
fn crop(mut row: Vec<Cell>, cols: usize) -> Vec<Cell> {
    let mut col = 0;
    let fits = row.iter().take_while(|cell| {
        col += usize::from(cell.width);
        col <= cols
    });
    let fits = fits.count();
    let cut = row.get(fits).copied();
    row.truncate(fits);
    let width: usize = row.iter().map(|cell| usize::from(cell.width)).sum();
    if let Some(cell) = cut
        && width < cols
    {
        row.push(Cell { character: ' ', width: 1, ..cell });
    }
    row
}

/// Inverts the cell that the cursor is on. A cursor beyond the last column is shown on it, as terminals do.
fn show_cursor(row: &mut [Cell], col: usize, cols: usize) {
    let mut end = 0;
    let last = row.len().checked_sub(1);
    let at = row.iter().position(|cell| {
        end += usize::from(cell.width);
        col < end
    });
    let at = at.or(last.filter(|_| col <= cols.min(end)));
    if let Some(cell) = at.and_then(|n| row.get_mut(n)) {
        if cell.pen.is_inverse() { cell.pen.unset_inverse() } else { cell.pen.set_inverse() }
    }
}

fn paint_row(n: usize, row: &[Cell], cols: usize, out: &mut String) {
    let mut pen = Pen::default();
    let mut col = 0;
    go_to(n, 0, out);
    out.push_str("\x1b[0m");
    let blank = row.iter().rev().take_while(|cell| cell.character == ' ' && cell.pen.is_default()).count();
    for cell in row.iter().take(row.len() - blank) {
        if cell.pen != pen {
            set_pen(&cell.pen, out);
            pen = cell.pen;
        }
        out.push(cell.character);
        col += usize::from(cell.width);
        // The two terminals may not agree on how wide such a character is.
        if !cell.character.is_ascii() {
            go_to(n, col, out);
        }
    }
    out.push_str("\x1b[0m");
    // Not in the last column: what was just written there would be erased.
    if col < cols {
        out.push_str("\x1b[K");
    }
}

// Writing to a string cannot fail.

fn go_to(row: usize, col: usize, out: &mut String) {
    let _ = write!(out, "\x1b[{};{}H", row + 1, col + 1);
}

fn set_pen(pen: &Pen, out: &mut String) {
    out.push_str("\x1b[0");
    let attributes = [
        (pen.is_bold(), 1),
        (pen.is_faint(), 2),
        (pen.is_italic(), 3),
        (pen.is_underline(), 4),
        (pen.is_blink(), 5),
        (pen.is_inverse(), 7),
        (pen.is_strikethrough(), 9),
    ];
    for (_, number) in attributes.iter().filter(|(set, _)| *set) {
        let _ = write!(out, ";{number}");
    }
    for (color, ground) in [(pen.foreground(), 38), (pen.background(), 48)] {
        let _ = match color {
            Some(Color::Indexed(number)) => write!(out, ";{ground};5;{number}"),
            Some(Color::RGB(rgb)) => write!(out, ";{ground};2;{};{};{}", rgb.r, rgb.g, rgb.b),
            None => Ok(()),
        };
    }
    out.push('m');
}

#[cfg(test)]
mod tests;
