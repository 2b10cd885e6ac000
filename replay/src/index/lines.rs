//! Which texts were on the screen, and when.
//!
//! Rows are read when they have changed and nothing more happens for a while, and before something takes them from the
//! screen: a scroll, a clear, a line that is erased or written anew from its beginning. So what was scrolled through in
//! one go is found too. What rows hold moves as the terminal moves them.

use std::collections::HashMap;
use std::ops::Range;

use avt::observer::Observation;
use avt::parser::{DecMode, EdScope, ElScope, Function};
use avt::{Line, Operation, ScreenKind, Terminal};

use crate::screen::printable;

/// A text that grows or is edited is one text, unless it stood for so long, in microseconds: whoever looks for what stood
/// there is to land where it stood.
const STANDS_US: i64 = 2_000_000;

/// A longer text is several, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// So much of a text is also the beginning of the next, where a longer one is several: what is looked for may lie across.
const OVERLAP_BYTES: usize = 512;

/// So many cells are read for each byte of output, on the average: no recording can make reading it endless.
pub(super) const CELLS_PER_BYTE: i64 = 128;

/// Cells that may be read besides, and that can be saved up.
pub(super) const CELLS_FREE: i64 = 16 * 1024 * 1024;

/// A text that grows is a new one after so much time, in microseconds.
const GROWS_US: i64 = 10_000_000;

/// What a text takes besides its bytes.
const TEXT_BYTES: u64 = 128;

/// Texts have no more than so many bytes for each byte of output, and [`TEXT_BYTES_FREE`].
const TEXT_SHARE: u64 = 4;

/// What texts may take besides, in bytes.
const TEXT_BYTES_FREE: u64 = 16 * 1024 * 1024;

/// A line of text that was on the screen. Lines that the terminal wrapped are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenText {
    /// When it began to be there, in microseconds since the start of the recording.
    pub from_us: i64,
    /// Since when it read as it does; before that it was shorter.
    pub whole_us: i64,
    /// When it went: was scrolled away, changed, cleared or hidden by the other screen; of what was there at the end,
    /// when the recording ended.
    pub till_us: i64,
    /// Row of the screen on which it was last, from 0.
    pub row: u16,
    /// It was on the alternate screen, that of editors and pagers.
    pub is_alternate: bool,
    /// The text, without blanks at its end and without characters that would act on a terminal. Never empty.
    pub text: String,
}

/// What is on the screen.
pub(super) struct Lines {
    rows: Vec<Row>,
    is_alternate: bool,
    time_us: i64,
    /// The margins between which the terminal scrolls, as rows.
    margins: Range<usize>,
    /// What has left of the line that goes on at the top of the margins.
    above: Option<String>,
    /// The same, if the operation at hand scrolls.
    above_then: Option<String>,
    /// Rows that the operation at hand has changed: each time, and all of them.
    dirty: Vec<Range<usize>>,
    /// Texts that are no longer where they were, and when they went.
    gone: Vec<(Shown, i64)>,
    /// Rows with texts that were not there before.
    fresh: Vec<usize>,
    /// Cells that may still be read.
    credit: i64,
    /// Bytes that texts may still have.
    text_bytes_left: u64,
    missed: u64,
    found: Vec<ScreenText>,
    /// Kept for its memory.
    text: String,
}

/// A row of the screen.
#[derive(Debug, Clone, Default)]
struct Row {
    /// The line that begins on it, as it was read.
    shown: Option<Shown>,
    /// Number of rows of that line; 0 where none begins.
    covers: usize,
    /// When it changed, if it has changed since it was read.
    changed_us: Option<i64>,
}

#[derive(Debug, Clone)]
struct Shown {
    row: usize,
    text: String,
    from_us: i64,
    /// It reads like this since then.
    since_us: i64,
    /// It is what is left of a text that was there before and is known.
    is_rest: bool,
}

impl Shown {
    /// Whether what is added at a time makes it longer, instead of another text.
    fn goes_on(&self, time_us: i64) -> bool {
        time_us.saturating_sub(self.since_us) < STANDS_US && time_us.saturating_sub(self.from_us) < GROWS_US
    }
}

/// What an operation may do to rows.
enum Effect {
    /// It takes rows at the top of a range, and moves those below up.
    Up(Range<usize>, usize),
    /// It takes rows at the bottom of a range, and moves those above down.
    Down(Range<usize>, usize),
    /// It takes what is on some rows.
    Erase(Range<usize>),
    /// It takes everything.
    All,
    /// It writes, or nothing.
    None,
}

impl Lines {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            rows: vec![Row::default(); rows],
            is_alternate: false,
            time_us: 0,
            margins: 0..rows,
            above: None,
            above_then: None,
            dirty: Vec::new(),
            gone: Vec::new(),
            fresh: Vec::new(),
            credit: CELLS_FREE,
            text_bytes_left: TEXT_BYTES_FREE,
            missed: 0,
            found: Vec::new(),
            text: String::new(),
        }
    }

    /// Something comes, at this time.
    pub(super) fn advance(&mut self, time_us: i64, output_bytes: usize) {
        self.time_us = time_us;
        let bytes = i64::try_from(output_bytes).unwrap_or(i64::MAX);
        self.credit = self.credit.min(CELLS_FREE).saturating_add(bytes.saturating_mul(CELLS_PER_BYTE));
        self.text_bytes_left = self.text_bytes_left.saturating_add(output_bytes as u64 * TEXT_SHARE);
    }

    /// Number of rows, or of texts, that went without being kept, because there were too many.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// Texts that come later begin at this time or after it.
    pub(super) fn settled_us(&self) -> i64 {
        let times = |row: &Row| [row.changed_us, row.shown.as_ref().map(|shown| shown.from_us)];
        self.rows.iter().flat_map(times).flatten().min().unwrap_or(self.time_us)
    }

    pub(super) fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        let terminal = context.terminal();
        self.dirty.clear();
        // By far the most.
        if let Operation::Function(Function::Print(_)) = operation
            && (1..terminal.size().0 - 1).contains(&terminal.cursor().col)
        {
            return;
        }
        let mut up = None;
        let gone = match self.effect(terminal, operation) {
            Effect::Up(range, n) => {
                let gone = range.start..range.start + n;
                up = Some((range, n));
                gone
            }
            Effect::Down(range, n) => range.end.saturating_sub(n)..range.end,
            Effect::Erase(range) => range,
            Effect::All => 0..self.rows.len(),
            Effect::None => return,
        };
        self.read_rows(terminal, gone.clone());
        let unread = self.rows.iter().take(gone.end).skip(gone.start).filter(|row| row.changed_us.is_some());
        self.missed += unread.count() as u64;
        if let Some((range, n)) = up.filter(|(range, _)| range.start == self.margins.start) {
            self.above_then = self.above_after(terminal, &range, n);
        }
    }

    /// What an operation may take, as the terminal does it (avt 0.19).
    fn effect(&self, terminal: &Terminal, operation: &Operation) -> Effect {
        let (cols, rows) = terminal.size();
        let (cursor, margins) = (terminal.cursor(), self.margins.clone());
        let here = cursor.row..cursor.row + 1;
        let times = |n: &u16, range: &Range<usize>| usize::from((*n).max(1)).min(range.len());
        let from_cursor = || if cursor.row < margins.end { cursor.row..margins.end } else { cursor.row..rows };
        let Operation::Function(function) = operation else { return Effect::All };
        match function {
            Function::Print(_) if cursor.col + 1 >= cols && cursor.row + 1 == margins.end => Effect::Up(margins, 1),
            // Below the margins it goes on over the row that it is on.
            Function::Print(_) if cursor.col == 0 || cursor.col + 1 >= cols && cursor.row + 1 == rows => {
                Effect::Erase(here)
            }
            Function::Lf | Function::Nel if cursor.row + 1 == margins.end => Effect::Up(margins, 1),
            Function::Ri if cursor.row == margins.start => Effect::Down(margins, 1),
            Function::Su(n) => Effect::Up(margins.clone(), times(n, &margins)),
            Function::Sd(n) => Effect::Down(margins.clone(), times(n, &margins)),
            Function::Dl(n) => Effect::Up(from_cursor(), times(n, &from_cursor())),
            Function::Il(n) => Effect::Down(from_cursor(), times(n, &from_cursor())),
            // To the right of what was just written stands what is to be erased: that is not one text.
            Function::El(ElScope::All | ElScope::ToLeft) => Effect::Erase(here),
            Function::El(ElScope::ToRight) | Function::Ech(_) | Function::Dch(_) if cursor.col == 0 => {
                Effect::Erase(here)
            }
            Function::Ed(EdScope::Below) => Effect::Erase(cursor.row + usize::from(cursor.col > 0)..rows),
            Function::Ed(EdScope::Above) => Effect::Erase(0..cursor.row + 1),
            Function::Ed(EdScope::All) | Function::Ris | Function::Decaln => Effect::All,
            Function::Rep(_) if self.margins.len() < 2 || cursor.row + 1 >= self.margins.end => Effect::All,
            Function::Rep(n) if usize::from(*n) + cursor.col >= cols => Effect::All,
            Function::Decset(modes) | Function::Decrst(modes) if modes.as_slice().iter().any(is_switch) => Effect::All,
            _ => Effect::None,
        }
    }

    pub(super) fn dirty(&mut self, rows: Range<usize>) {
        // "Repeat the last character" tells of each.
        match self.dirty.as_mut_slice() {
            [_, .., last] => *last = last.start.min(rows.start)..last.end.max(rows.end),
            _ => self.dirty.push(rows),
        }
    }

    pub(super) fn after(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        let terminal = context.terminal();
        let (_, rows) = terminal.size();
        // By far the most.
        if let (Operation::Function(Function::Print(_)), [range]) = (operation, self.dirty.as_slice())
            && self.is_as_before(terminal)
            && let Some(row) = self.rows.get_mut(range.start)
            && range.len() == 1
        {
            row.changed_us.get_or_insert(self.time_us);
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        self.apply(terminal, operation, &dirty);
        self.dirty = dirty;
        match operation {
            Operation::Function(Function::Decstbm(top, bottom)) => {
                let bottom = if *bottom == 0 { rows } else { usize::from(*bottom) };
                let top = usize::from((*top).max(1)) - 1;
                if top + 1 < bottom && bottom <= rows {
                    (self.margins, self.above) = (top..bottom, None);
                }
            }
            Operation::Function(Function::Decstr | Function::Ris) => (self.margins, self.above) = (0..rows, None),
            _ => {}
        }
    }

    fn apply(&mut self, terminal: &Terminal, operation: &Operation, dirty: &[Range<usize>]) {
        let Some(first) = dirty.first() else { return };
        let last = dirty.last().unwrap_or(first);
        let times = |n: &u16| usize::from((*n).max(1)).min(first.len());
        let Operation::Function(function) = operation else { return self.begin(terminal) };
        if !self.is_as_before(terminal) {
            return self.begin(terminal);
        }
        match function {
            Function::Lf | Function::Nel => self.up(first, 1),
            Function::Print(_) if dirty.len() > 1 => {
                self.up(first, 1);
                self.change(last, self.time_us);
            }
            Function::Su(n) | Function::Dl(n) => self.up(first, times(n)),
            Function::Ri => self.down(first, 1),
            Function::Sd(n) | Function::Il(n) => self.down(first, times(n)),
            Function::Ed(EdScope::All) | Function::Ris => self.clear(),
            // Where it scrolled, what is where is not known.
            Function::Rep(_) if dirty.iter().any(|range| range.len() > 1) => self.begin(terminal),
            _ => dirty.iter().for_each(|range| self.change(range, self.time_us)),
        }
    }

    /// Nothing is there any more.
    fn clear(&mut self) {
        for row in 0..self.rows.len() {
            self.leave(row);
        }
        self.rows.iter_mut().for_each(|row| row.changed_us = None);
        self.above = None;
        self.settle();
    }

    /// Whether it is the screen that it was, in its size.
    fn is_as_before(&self, terminal: &Terminal) -> bool {
        let is_alternate = terminal.active_screen_kind() == ScreenKind::Alternate;
        terminal.size().1 == self.rows.len() && is_alternate == self.is_alternate
    }

    /// Everything may be elsewhere.
    fn begin(&mut self, terminal: &Terminal) {
        let (_, rows) = terminal.size();
        let is_alternate = terminal.active_screen_kind() == ScreenKind::Alternate;
        for row in 0..self.rows.len() {
            self.leave(row);
        }
        if is_alternate != self.is_alternate {
            // A text does not move from one screen to the other.
            self.settle();
        }
        if rows != self.rows.len() {
            self.margins = 0..rows;
        }
        (self.above, self.is_alternate) = (None, is_alternate);
        self.rows.clear();
        self.rows.resize(rows, Row { changed_us: Some(self.time_us), ..Row::default() });
        self.read(terminal);
    }

    fn change(&mut self, rows: &Range<usize>, time_us: i64) {
        for row in self.rows.iter_mut().take(rows.end).skip(rows.start) {
            row.changed_us.get_or_insert(time_us);
        }
    }

    /// The text that begins on a row has gone from it.
    fn leave(&mut self, row: usize) {
        let Some(row) = self.rows.get_mut(row) else { return };
        row.covers = 0;
        self.gone.extend(row.shown.take().map(|shown| (shown, self.time_us)));
    }

    fn up(&mut self, range: &Range<usize>, n: usize) {
        let end = range.start + n;
        // Of a line that has not left whole, the rest goes on at the top.
        let mut rest = None;
        for row in range.start..end {
            let Some(of) = self.rows.get_mut(row) else { continue };
            if row + of.covers > end {
                rest = of.shown.take().map(|shown| (shown, row + of.covers - end));
            } else {
                self.leave(row);
            }
        }
        self.rotate(range, |rows| rows.rotate_left(n), range.end - n..range.end);
        for row in self.rows.iter_mut().take(range.end).skip(range.start) {
            if let Some(shown) = &mut row.shown {
                shown.row = shown.row.saturating_sub(n);
            }
        }
        if rest.is_some() {
            self.leave(range.start);
        }
        if let (Some((shown, covers)), Some(row)) = (rest, self.rows.get_mut(range.start)) {
            row.shown = Some(Shown { row: range.start, ..shown });
            row.covers = covers;
        }
        let above = self.above_then.take();
        if range.start == self.margins.start {
            self.above = above;
            self.cut_above(range.start);
        }
        self.settle();
    }

    fn down(&mut self, range: &Range<usize>, n: usize) {
        for row in range.end - n..range.end {
            self.leave(row);
        }
        self.rotate(range, |rows| rows.rotate_right(n), range.start..range.start + n);
        for row in self.rows.iter_mut().take(range.end).skip(range.start) {
            if let Some(shown) = &mut row.shown {
                shown.row += n;
            }
        }
        self.above = None;
        self.settle();
    }

    /// Moves rows; those that come in are empty. A line does not go on across the ends of a range that scrolls.
    fn rotate(&mut self, range: &Range<usize>, rotate: impl Fn(&mut [Row]), empty: Range<usize>) {
        let before = range.start.checked_sub(1).map(|row| self.first_row(row));
        let Some(rows) = self.rows.get_mut(range.clone()) else { return };
        rotate(rows);
        rows.iter_mut().rev().zip(1..).for_each(|(row, left)| row.covers = row.covers.min(left));
        self.rows.iter_mut().take(empty.end).skip(empty.start).for_each(|row| *row = Row::default());
        // What has gone up through the whole screen is whole.
        let is_whole = range.len() == self.rows.len() && empty.end == range.end;
        let last = range.end.checked_sub(1).filter(|_| !is_whole).map(|row| self.first_row(row));
        for row in [before, last].into_iter().flatten() {
            self.change(&(row..row + 1), self.time_us);
        }
    }

    /// The first row of the line that was on a row when it was read.
    fn first_row(&self, row: usize) -> usize {
        let starts = (0..=row).rev().find(|start| self.rows.get(*start).is_some_and(|row| row.covers > 0));
        starts.unwrap_or(row)
    }

    /// What will have left of the line at the top, when so many rows have left.
    fn above_after(&self, terminal: &Terminal, range: &Range<usize>, n: usize) -> Option<String> {
        let mut above = self.above.clone();
        for row in range.start..range.start + n {
            let line = terminal.screen().line(row)?;
            if line.is_wrapped() {
                read_cells(line, above.get_or_insert_default());
            } else {
                above = None;
            }
        }
        above
    }

    /// What has left of a line without an end is a text, and its last part the beginning of the next.
    fn cut_above(&mut self, row: usize) {
        let Some(above) = self.above.as_mut().filter(|above| above.len() >= TEXT_BYTES_MAX) else { return };
        let Some(shown) = self.rows.get_mut(row).and_then(|row| row.shown.as_mut()) else {
            // It could not be read.
            self.missed += 1;
            self.above = None;
            return;
        };
        let rest = above.split_off(above.floor_char_boundary(above.len() - OVERLAP_BYTES));
        let text = printables(std::mem::take(above)) + &printables(rest.clone());
        let piece = Shown { text, ..shown.clone() };
        (shown.text, shown.from_us, *above) = (printables(rest.clone()), self.time_us, rest);
        self.gone.push((piece, self.time_us));
    }

    /// Reads the rows that have changed.
    pub(super) fn read(&mut self, terminal: &Terminal) {
        self.read_rows(terminal, 0..self.rows.len());
    }

    fn read_rows(&mut self, terminal: &Terminal, rows: Range<usize>) {
        for row in rows {
            if self.rows.get(row).is_some_and(|row| row.changed_us.is_some()) && self.credit > 0 {
                self.read_line(terminal, row);
            }
        }
        self.settle();
    }

    /// Reads the line that a row is of.
    fn read_line(&mut self, terminal: &Terminal, row: usize) {
        let is_wrapped = |row: usize| terminal.screen().line(row).is_some_and(Line::is_wrapped);
        let start = (0..row).rev().take_while(|above| is_wrapped(*above)).last().unwrap_or(row);
        let end = (row..self.rows.len()).find(|row| !is_wrapped(*row)).map_or(self.rows.len(), |last| last + 1);
        let changed = self.rows.iter().take(end).skip(start).filter_map(|row| row.changed_us).min();
        let Some(changed_us) = changed else { return };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let mut is_plain = true;
        for line in (start..end).filter_map(|row| terminal.screen().line(row)) {
            self.credit -= line.len() as i64;
            is_plain &= read_cells(line, &mut text);
        }
        text.truncate(text.trim_end().len());
        let text = if is_plain { text } else { printables(text) };
        for row in start..end {
            let Some(of) = self.rows.get_mut(row) else { continue };
            of.changed_us = None;
            if row > start {
                // It was the beginning of another line.
                of.covers = 0;
                self.gone.extend(of.shown.take().map(|shown| (shown, changed_us)));
            }
        }
        let Some(first) = self.rows.get_mut(start) else { return };
        let old = first.shown.take();
        let covered = std::mem::replace(&mut first.covers, end - start);
        self.put(start, old, &text, changed_us);
        self.text = text;
        // What went on there is a line of its own now.
        if covered > end - start {
            self.change(&(end..start + covered), changed_us);
            if end < self.rows.len() {
                self.read_line(terminal, end);
            }
        }
    }

    /// A line reads like this now.
    fn put(&mut self, row: usize, old: Option<Shown>, text: &str, changed_us: i64) {
        let above = self.above.as_ref().filter(|_| row == self.margins.start);
        let mut whole = above.map(|above| printables(above.clone()) + text);
        if let Some(line) = &whole {
            self.credit -= line.len() as i64;
            // Only what goes on as it was is the same line.
            if !old.as_ref().is_some_and(|old| line.starts_with(&old.text)) {
                (self.above, whole) = (None, None);
            }
        }
        let text = whole.as_deref().unwrap_or(text);
        let (from_us, since_us) = (changed_us, changed_us);
        let new = match old {
            Some(old) if old.text == text => Some(old),
            Some(old) if text.starts_with(&old.text) && old.goes_on(changed_us) => {
                Some(Shown { text: text.to_owned(), since_us, is_rest: false, ..old })
            }
            Some(old) => {
                let is_rest = old.text.starts_with(text);
                self.gone.push((old, changed_us));
                self.fresh.push(row);
                Some(Shown { row, text: text.to_owned(), from_us, since_us, is_rest })
            }
            None => {
                self.fresh.push(row);
                Some(Shown { row, text: text.to_owned(), from_us, since_us, is_rest: false })
            }
        };
        if let Some(of) = self.rows.get_mut(row) {
            of.shown = new.filter(|new| !new.text.is_empty());
        }
    }

    /// What went in one place and came in another at once has moved. The rest is found.
    fn settle(&mut self) {
        let mut gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() && !self.fresh.is_empty() {
            // Of equal texts the upper one goes with the upper one.
            let mut by_text: HashMap<&str, Vec<usize>> = HashMap::new();
            for (at, (shown, _)) in gone.iter().enumerate().rev() {
                by_text.entry(&shown.text).or_default().push(at);
            }
            let mut moved = vec![false; gone.len()];
            for row in self.fresh.drain(..) {
                let Some(new) = self.rows.get_mut(row).and_then(|row| row.shown.as_mut()) else { continue };
                let Some(at) = by_text.get_mut(new.text.as_str()).and_then(Vec::pop) else { continue };
                if let Some((old, _)) = gone.get(at) {
                    (new.from_us, new.since_us, new.is_rest) = (old.from_us, old.since_us, old.is_rest);
                }
                if let Some(moved) = moved.get_mut(at) {
                    *moved = true;
                }
            }
            let mut moved = moved.into_iter();
            gone.retain(|_| !moved.next().unwrap_or_default());
        }
        self.fresh.clear();
        for (shown, till_us) in gone.drain(..) {
            self.find(shown, till_us);
        }
        // Kept for its memory.
        self.gone = gone;
    }

    /// The recording is over.
    pub(super) fn finish(&mut self, terminal: &Terminal) {
        self.read(terminal);
        for row in 0..self.rows.len() {
            self.leave(row);
        }
        self.settle();
    }

    pub(super) fn take(&mut self) -> Vec<ScreenText> {
        std::mem::take(&mut self.found)
    }

    fn find(&mut self, Shown { row, text, from_us, since_us, is_rest }: Shown, till_us: i64) {
        // What is left of a longer text is found with that; but where it stood, it stood.
        if is_rest && till_us.saturating_sub(from_us) < STANDS_US {
            return;
        }
        let row = u16::try_from(row).unwrap_or(u16::MAX);
        let of = ScreenText { from_us, whole_us: since_us, till_us, row, is_alternate: self.is_alternate, text };
        if of.text.len() <= TEXT_BYTES_MAX {
            self.keep(of);
            return;
        }
        let mut rest = of.text.as_str();
        loop {
            let piece = rest.get(..rest.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(rest);
            if !self.keep(ScreenText { text: piece.to_owned(), ..of }) || piece.len() == rest.len() {
                return;
            }
            rest = rest.get(rest.floor_char_boundary(piece.len() - OVERLAP_BYTES)..).unwrap_or_default();
        }
    }

    /// Keeps a text, unless there are too many.
    fn keep(&mut self, text: ScreenText) -> bool {
        match self.text_bytes_left.checked_sub(text.text.len() as u64 + TEXT_BYTES) {
            Some(left) => {
                self.text_bytes_left = left;
                self.found.push(text);
                true
            }
            None => {
                self.missed += 1;
                false
            }
        }
    }
}

fn is_switch(mode: &DecMode) -> bool {
    matches!(mode, DecMode::AltScreenBuffer | DecMode::SaveCursorAltScreenBuffer)
}

/// The characters of a row, without the blanks at the end of one that does not go on. Whether all are ASCII that may be
/// written anywhere.
fn read_cells(line: &Line, text: &mut String) -> bool {
    let cells = line.cells();
    let end = if line.is_wrapped() {
        cells.len()
    } else {
        cells.iter().rposition(|cell| cell.char() != ' ').map_or(0, |last| last + 1)
    };
    text.reserve(end);
    let mut is_plain = true;
    for cell in cells.iter().take(end).filter(|cell| cell.width() > 0) {
        is_plain &= matches!(cell.char(), ' '..='~');
        text.push(cell.char());
    }
    is_plain
}

fn printables(text: String) -> String {
    if text.chars().all(|character| printable(character) == character) {
        return text;
    }
    text.chars().map(printable).collect()
}

/// Text as it may be shown anywhere, no longer than a text.
pub(super) fn visible(text: &str) -> String {
    let text = text.trim_end();
    printables(text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned())
}
