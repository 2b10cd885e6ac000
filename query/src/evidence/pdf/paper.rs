//! Typesetting: styled text that wraps, tables that break over pages, and the PDF that comes of it.
//!
//! Whatever a text holds, it stays inside its column: words that are too long are broken, and what has no glyph, no
//! width or a will of its own (controls, marks that turn the direction of reading) is shown by its number.

use std::collections::BTreeMap;
use std::io::Write;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Datelike, Timelike, Utc};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Date, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use subsetter::GlyphRemapper;
use ttf_parser::GlyphId;

use crate::evidence::EvidenceError;
use crate::text;

// A4, in points of 1/72 inch.
const PAGE_WIDTH: f32 = 595.28;
const PAGE_HEIGHT: f32 = 841.89;
const TOP: f32 = 78.0;
const BOTTOM: f32 = 70.0;
/// The left edge of everything.
pub(super) const LEFT: f32 = 62.0;
/// How wide everything may be.
pub(super) const WIDTH: f32 = PAGE_WIDTH - 2.0 * LEFT;

const CELL_GAP: f32 = 10.0;
const ROW_PAD: f32 = 3.6;
const LABEL_WIDTH: f32 = 58.0;
/// Cells, paragraphs and labels are cut after so many lines.
const CELL_LINES: usize = 9;
const PARAGRAPH_LINES: usize = 12;
/// A row is cut before it is as high as a page.
const ROW_LINES: usize = 50;
const ONE_LINE: usize = 1;

pub(super) type Colour = [f32; 3];
pub(super) const INK: Colour = [0.11, 0.15, 0.19];
pub(super) const GREY: Colour = [0.42, 0.47, 0.52];
pub(super) const ACCENT: Colour = [0.09, 0.27, 0.42];
const HAIRLINE: Colour = [0.85, 0.88, 0.90];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    Sans,
    Bold,
    Mono,
}

/// How text looks: its face, its size, the distance of its lines, its colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) face: Face,
    pub(super) size: f32,
    pub(super) lead: f32,
    pub(super) colour: Colour,
}

impl Style {
    pub(super) const fn new(face: Face, size: f32, lead: f32, colour: Colour) -> Self {
        Self { face, size, lead, colour }
    }
}

const HEAD: Style = Style::new(Face::Bold, 7.0, 10.0, ACCENT);
const MARGIN: Style = Style::new(Face::Sans, 7.0, 10.0, GREY);
const LABEL: Style = Style::new(Face::Sans, 7.0, 10.2, GREY);

/// A column of a table.
pub(super) struct Column {
    title: &'static str,
    width: f32,
    right: bool,
}

impl Column {
    pub(super) const fn new(title: &'static str, width: f32) -> Self {
        Self { title, width, right: false }
    }

    pub(super) const fn right(title: &'static str, width: f32) -> Self {
        Self { title, width, right: true }
    }

    /// What is left for text: numbers stand at the right edge, all else keeps away from what follows.
    fn text_width(&self) -> f32 {
        if self.right { self.width } else { self.width - CELL_GAP }
    }
}

/// A paragraph in a cell, maybe with a label to its left.
pub(super) struct Block {
    label: Option<String>,
    style: Style,
    text: String,
}

impl Block {
    pub(super) fn new(style: Style, text: impl Into<String>) -> Self {
        Self { label: None, style, text: text.into() }
    }

    pub(super) fn labelled(label: impl Into<String>, style: Style, text: impl Into<String>) -> Self {
        Self { label: Some(label.into()), style, text: text.into() }
    }
}

/// A line of a cell as it is drawn: label, style, text.
type Line = (String, Style, String);

struct Font {
    name: &'static str,
    data: &'static [u8],
    face: ttf_parser::Face<'static>,
    /// DejaVu is wide; its condensed cut is the same letters, narrower.
    stretch: f32,
    /// The glyphs in use: the others are left out of the file.
    glyphs: GlyphRemapper,
    letters: BTreeMap<u16, char>,
}

impl Font {
    fn new(name: &'static str, data: &'static [u8], stretch: f32) -> Result<Self, EvidenceError> {
        let face = ttf_parser::Face::parse(data, 0).map_err(|_| EvidenceError::Document("a font is damaged"))?;
        Ok(Self { name, data, face, stretch, glyphs: GlyphRemapper::new(), letters: BTreeMap::new() })
    }

    /// A glyph's width in thousandths of the size, before it is condensed.
    fn units(&self, glyph: GlyphId) -> f32 {
        f32::from(self.face.glyph_hor_advance(glyph).unwrap_or(0)) * 1000.0 / f32::from(self.face.units_per_em())
    }

    fn width(&self, letter: char, size: f32) -> f32 {
        self.face.glyph_index(letter).map_or(0.0, |glyph| self.units(glyph)) * size * self.stretch / 1000.0
    }

    /// Whether a letter can be drawn, is seen, and does nothing to others.
    fn shows(&self, letter: char) -> bool {
        let Some(glyph) = self.face.glyph_index(letter) else { return false };
        // Accents have no width of their own, but they are seen.
        let accent = ('\u{300}'..='\u{36f}').contains(&letter);
        let plain = text::visible(letter.encode_utf8(&mut [0; 4])).starts_with(letter) && letter != '\u{ad}';
        plain && (accent || self.units(glyph) > 0.0)
    }

    /// The text's glyphs as the PDF names them.
    fn encode(&mut self, text: &str) -> Vec<u8> {
        let mut codes = Vec::with_capacity(text.len() * 2);
        for letter in text.chars() {
            let Some(glyph) = self.face.glyph_index(letter) else { continue };
            let code = self.glyphs.remap(glyph.0);
            self.letters.entry(code).or_insert(letter);
            codes.extend(code.to_be_bytes());
        }
        codes
    }
}

/// Pages that are being filled, from top to bottom.
pub(super) struct Paper {
    sans: Font,
    bold: Font,
    mono: Font,
    pages: Vec<Content>,
    /// How far from the top of the page the next line begins.
    y: f32,
    /// Where the chapters begin: title, page, distance from the top.
    marks: Vec<(String, usize, f32)>,
}

impl Paper {
    pub(super) fn new() -> Result<Self, EvidenceError> {
        Ok(Self {
            sans: Font::new("DejaVuSans", include_bytes!("../fonts/DejaVuSans.ttf"), 0.92)?,
            bold: Font::new("DejaVuSans-Bold", include_bytes!("../fonts/DejaVuSans-Bold.ttf"), 0.90)?,
            mono: Font::new("DejaVuSansMono", include_bytes!("../fonts/DejaVuSansMono.ttf"), 0.92)?,
            pages: vec![Content::new()],
            y: TOP,
            marks: Vec::new(),
        })
    }

    pub(super) fn page(&mut self) {
        self.pages.push(Content::new());
        self.y = TOP;
    }

    /// Begins a new page unless so much room is left on this one.
    pub(super) fn room(&mut self, height: f32) {
        if self.y + height > PAGE_HEIGHT - BOTTOM && self.y > TOP {
            self.page();
        }
    }

    pub(super) fn gap(&mut self, height: f32) {
        self.y += height;
    }

    /// Puts a chapter into the outline, here.
    pub(super) fn mark(&mut self, title: &str) {
        self.marks.push((text::visible(title).into_owned(), self.pages.len() - 1, self.y));
    }

    /// A paragraph over the whole width, cut where it is no longer one.
    pub(super) fn paragraph(&mut self, style: Style, text: &str) {
        for line in self.wrap(style, text, WIDTH, PARAGRAPH_LINES) {
            self.room(style.lead);
            self.y += style.lead;
            self.draw(LEFT, self.y, style, &line);
        }
    }

    /// Short texts side by side: of each a small label, maybe with the colour that it has in a bar, and, below it, a
    /// value.
    pub(super) fn tiles(&mut self, value: Style, tiles: &[(&str, Option<Colour>, String)]) {
        const KEY: f32 = 5.0;
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let width = WIDTH / tiles.len().max(1) as f32;
        self.room(LABEL.lead + value.lead);
        for ((label, colour, text), place) in tiles.iter().zip(0_u8..) {
            let x = LEFT + width * f32::from(place);
            if let Some(colour) = colour {
                self.fill(x, self.y + LABEL.size - KEY, KEY, KEY, *colour);
            }
            let indent = if colour.is_some() { KEY + 3.5 } else { 0.0 };
            self.draw(x + indent, self.y + LABEL.size, LABEL, label);
            // A value that is too long for its tile becomes smaller, never shorter.
            let needed = self.measure(value, text).max(1.0);
            let size = value.size * ((width - CELL_GAP) / needed).min(1.0);
            self.draw(x, self.y + LABEL.size + value.lead, Style { size, ..value }, text);
        }
        self.y += LABEL.lead + value.lead;
    }

    /// A bar over the whole width whose parts are to each other as the numbers; nothing that exists is invisible.
    pub(super) fn bar(&mut self, height: f32, parts: &[(u64, Colour)]) {
        const THINNEST: f32 = 2.0;
        #[expect(clippy::cast_precision_loss, reason = "it is a drawing")]
        let share = |count: u64, whole: u64| count as f32 / whole.max(1) as f32;
        let whole = parts.iter().fold(0_u64, |whole, (count, _)| whole.saturating_add(*count));
        let widths = parts.iter().map(|(count, _)| match count {
            0 => 0.0,
            count => (share(*count, whole) * WIDTH).max(THINNEST),
        });
        let widths: Vec<f32> = widths.collect();
        let drawn = widths.iter().sum::<f32>().max(1.0);
        self.room(height);
        self.fill(LEFT, self.y + height / 2.0, WIDTH, 0.5, HAIRLINE);
        let mut x = LEFT;
        for ((_, colour), width) in parts.iter().zip(widths).filter(|(_, width)| *width > 0.0) {
            let width = width * (WIDTH / drawn).min(1.0);
            self.fill(x, self.y, width, height, *colour);
            x += width;
        }
        self.y += height;
    }

    /// A line across the page.
    pub(super) fn rule(&mut self, thickness: f32, width: f32, colour: Colour) {
        self.fill(LEFT, self.y, width, thickness, colour);
        self.y += thickness;
    }

    /// A table of cells, each of some paragraphs. Its header is repeated on every page; a table without titles has
    /// none. Rows are never torn apart.
    pub(super) fn table(&mut self, columns: &[Column], rows: &[Vec<Vec<Block>>]) {
        self.header(columns);
        for row in rows {
            let cells = columns.iter().zip(row).map(|(column, blocks)| self.lines(column, blocks)).collect::<Vec<_>>();
            self.line_up(columns, &cells);
        }
    }

    fn header(&mut self, columns: &[Column]) {
        if columns.iter().all(|column| column.title.is_empty()) {
            return;
        }
        // No header without its first rows below it.
        self.room(64.0);
        self.y += HEAD.lead;
        let mut x = LEFT;
        for column in columns {
            let indent = if column.right { column.text_width() - self.measure(HEAD, column.title) } else { 0.0 };
            self.draw(x + indent, self.y, HEAD, column.title);
            x += column.width;
        }
        self.y += 4.0;
        self.rule(0.8, WIDTH, ACCENT);
    }

    /// The lines of a cell, cut to what a cell may hold.
    fn lines(&self, column: &Column, blocks: &[Block]) -> Vec<Line> {
        let mut lines = Vec::new();
        for block in blocks {
            let indent = if block.label.is_some() { LABEL_WIDTH } else { 0.0 };
            let width = column.text_width() - indent;
            let texts = self.wrap(block.style, &block.text, width, CELL_LINES);
            let mut label = block.label.as_deref().unwrap_or_default();
            for text in texts {
                let label = self.wrap(LABEL, std::mem::take(&mut label), LABEL_WIDTH - 4.0, ONE_LINE).concat();
                lines.push((label, block.style, text));
            }
        }
        if lines.len() > ROW_LINES {
            lines.truncate(ROW_LINES);
            if let Some((_, _, last)) = lines.last_mut() {
                *last = "…".to_owned();
            }
        }
        lines
    }

    /// Draws cells beside each other and a hairline below them.
    fn line_up(&mut self, columns: &[Column], cells: &[Vec<Line>]) {
        let height = |lines: &Vec<Line>| lines.iter().map(|(_, style, _)| style.lead).sum::<f32>();
        let height = cells.iter().map(height).fold(0.0, f32::max) + 2.0 * ROW_PAD;
        if self.y + height > PAGE_HEIGHT - BOTTOM && self.y > TOP {
            self.page();
            self.header(columns);
        }
        let mut x = LEFT;
        for (column, lines) in columns.iter().zip(cells) {
            let mut y = self.y + ROW_PAD;
            let labelled = lines.iter().any(|(label, ..)| !label.is_empty());
            for (label, style, text) in lines {
                y += style.lead;
                // Letters stand on the line; the room that a line has beyond them is shared above and below.
                let base = y - (style.lead - style.size) / 2.0 - style.size * 0.12;
                self.draw(x, base, LABEL, label);
                let indent = match (labelled, column.right) {
                    (true, _) => LABEL_WIDTH,
                    (false, true) => column.text_width() - self.measure(*style, text),
                    (false, false) => 0.0,
                };
                self.draw(x + indent, base, *style, text);
            }
            x += column.width;
        }
        self.y += height;
        self.fill(LEFT, self.y, WIDTH, 0.5, HAIRLINE);
    }

    fn font(&self, face: Face) -> &Font {
        match face {
            Face::Sans => &self.sans,
            Face::Bold => &self.bold,
            Face::Mono => &self.mono,
        }
    }

    fn measure(&self, style: Style, text: &str) -> f32 {
        let font = self.font(style.face);
        text.chars().map(|letter| font.width(letter, style.size)).sum()
    }

    /// The text in lines of a width, at most so many: the last one tells that there is more.
    ///
    /// A line is broken at a space, else within a name after a sign, else anywhere.
    fn wrap(&self, style: Style, text: &str, width: f32, lines_max: usize) -> Vec<String> {
        let font = self.font(style.face);
        let mut lines = Vec::new();
        let mut line = String::new();
        let mut used = 0.0;
        // Where the line may be broken, and how wide it is up to there: after a space; after a sign.
        let (mut space, mut sign) = ((0, 0.0), (0, 0.0));
        for letter in text.chars().flat_map(|letter| shown(font, letter)) {
            let advance = font.width(letter, style.size);
            if used + advance > width && letter != ' ' && !line.is_empty() {
                let (at, before) = match (space, sign) {
                    ((at, before), _) if at > 0 && before > width * 0.4 => (at, before),
                    (_, (at, before)) if at > 0 && before > width * 0.4 => (at, before),
                    _ => (line.len(), used),
                };
                let rest = line.split_off(at);
                lines.push(std::mem::replace(&mut line, rest));
                used -= before;
                (space, sign) = ((0, 0.0), (0, 0.0));
                if lines.len() == lines_max {
                    break;
                }
            }
            if letter == '[' {
                // The number of a letter that cannot be drawn stays in one piece.
                sign = (line.len(), used);
            }
            line.push(letter);
            used += advance;
            match letter {
                ' ' => space = (line.len(), used),
                '/' | '-' | '_' | '.' | ':' | '@' | ',' | ';' | '=' | '&' | '?' | '\\' => sign = (line.len(), used),
                _ => {}
            }
        }
        if lines.len() < lines_max {
            lines.push(line);
        } else if let Some(last) = lines.last_mut() {
            while self.measure(style, last) + font.width('…', style.size) > width && last.pop().is_some() {}
            last.truncate(last.trim_end().len());
            last.push('…');
        }
        lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
        lines
    }

    /// Draws a line of text; `y` is where its letters stand, from the top of the page.
    fn draw(&mut self, x: f32, y: f32, style: Style, text: &str) {
        let font = match style.face {
            Face::Sans => &mut self.sans,
            Face::Bold => &mut self.bold,
            Face::Mono => &mut self.mono,
        };
        let codes = font.encode(text);
        let Some(page) = self.pages.last_mut().filter(|_| !codes.is_empty()) else { return };
        let [red, green, blue] = style.colour;
        page.begin_text()
            .set_fill_rgb(red, green, blue)
            .set_font(resource(style.face), style.size)
            .set_horizontal_scaling(font.stretch * 100.0)
            .next_line(x, PAGE_HEIGHT - y)
            .show(Str(&codes))
            .end_text();
    }

    fn fill(&mut self, x: f32, y: f32, width: f32, height: f32, [red, green, blue]: Colour) {
        if let Some(page) = self.pages.last_mut() {
            page.set_fill_rgb(red, green, blue).rect(x, PAGE_HEIGHT - y - height, width, height).fill_nonzero();
        }
    }

    /// Puts what is on every page but the first into the margins, and the number of pages on all of them.
    fn margins(&mut self, above: [&str; 2], below: &str) {
        let half = WIDTH / 2.0 - CELL_GAP;
        let pages = std::mem::take(&mut self.pages);
        let count = pages.len();
        for (place, page) in pages.into_iter().enumerate() {
            self.pages.push(page);
            let number = format!("Page {} of {count}", place + 1);
            let line = |paper: &Self, text: &str| paper.wrap(MARGIN, text, half, ONE_LINE).concat();
            let right = |paper: &Self, text: &str| LEFT + WIDTH - paper.measure(MARGIN, text);
            if let ([left, entity], true) = (above.map(|text| line(self, text)), place > 0) {
                self.draw(LEFT, 44.0, MARGIN, &left);
                self.draw(right(self, &entity), 44.0, MARGIN, &entity);
                self.fill(LEFT, 52.0, WIDTH, 0.5, HAIRLINE);
            }
            self.draw(LEFT, PAGE_HEIGHT - 38.0, MARGIN, &line(self, below));
            self.draw(right(self, &number), PAGE_HEIGHT - 38.0, MARGIN, &number);
        }
    }

    /// The document. Its id is the hash of what is on its pages.
    pub(super) fn finish(
        mut self,
        title: &str,
        entity: &str,
        below: &str,
        tool: &str,
        created: Option<DateTime<Utc>>,
    ) -> Result<Vec<u8>, EvidenceError> {
        self.margins([title, entity], below);
        let mut refs = (1..).map(Ref::new);
        let mut next = || refs.next().unwrap_or(Ref::new(1));
        let mut pdf = Pdf::new();
        let (catalog, pages, outline, info) = (next(), next(), next(), next());
        let fonts = [Face::Sans, Face::Bold, Face::Mono].map(|face| (face, next()));
        for (face, id) in fonts {
            embed(&mut pdf, self.font(face), id, [next(), next(), next(), next()])?;
        }
        let contents = self.pages.into_iter().map(|page| page.finish().into_vec()).collect::<Vec<_>>();
        let hash = digest(&SHA256, &contents.concat());
        let id = hash.as_ref().iter().copied().take(16).collect::<Vec<_>>();
        pdf.set_file_id((id.clone(), id));

        let page_ids = contents.iter().map(|_| next()).collect::<Vec<_>>();
        pdf.pages(pages).kids(page_ids.iter().copied()).count(i32::try_from(page_ids.len()).unwrap_or(i32::MAX));
        for (page_id, content) in page_ids.iter().zip(&contents) {
            let content_id = next();
            let mut page = pdf.page(*page_id);
            page.media_box(Rect::new(0.0, 0.0, PAGE_WIDTH, PAGE_HEIGHT)).parent(pages).contents(content_id);
            let mut resources = page.resources();
            let mut names = resources.fonts();
            for (face, id) in fonts {
                names.pair(resource(face), id);
            }
            names.finish();
            resources.finish();
            page.finish();
            pdf.stream(content_id, &deflated(content)?).filter(Filter::FlateDecode);
        }

        let items = self.marks.iter().map(|_| next()).collect::<Vec<_>>();
        if let (Some(first), Some(last)) = (items.first(), items.last()) {
            let count = i32::try_from(items.len()).unwrap_or(i32::MAX);
            pdf.outline(outline).first(*first).last(*last).count(count);
        }
        for (place, (item, (title, page, y))) in items.iter().zip(&self.marks).enumerate() {
            let mut entry = pdf.outline_item(*item);
            entry.title(TextStr(title)).parent(outline);
            if let Some(before) = place.checked_sub(1).and_then(|before| items.get(before)) {
                entry.prev(*before);
            }
            if let Some(after) = items.get(place + 1) {
                entry.next(*after);
            }
            if let Some(page) = page_ids.get(*page) {
                entry.dest().page(*page).xyz(0.0, PAGE_HEIGHT - y + 20.0, None);
            }
        }

        let mut about = pdf.document_info(info);
        about.title(TextStr(&text::visible(title))).author(TextStr(&text::visible(entity)));
        about.producer(TextStr(&text::visible(tool)));
        if let Some(created) = created.and_then(date) {
            about.creation_date(created);
        }
        about.finish();
        let mut root = pdf.catalog(catalog);
        root.pages(pages).lang(TextStr("en"));
        if !items.is_empty() {
            root.outlines(outline);
        }
        root.viewer_preferences().display_doc_title(true);
        root.finish();
        Ok(pdf.finish())
    }
}

/// What is drawn for a letter: itself, or its number.
fn shown(font: &Font, letter: char) -> Vec<char> {
    match letter {
        '\n' => vec!['↵', ' '],
        letter if font.shows(letter) => vec![letter],
        letter => format!("[U+{:04X}]", u32::from(letter)).chars().collect(),
    }
}

/// The name of a face on the pages.
fn resource(face: Face) -> Name<'static> {
    Name(match face {
        Face::Sans => b"S",
        Face::Bold => b"B",
        Face::Mono => b"M",
    })
}

/// Puts the glyphs in use into the document, with what they mean, so that the text can be searched and copied.
fn embed(pdf: &mut Pdf, font: &Font, id: Ref, [cid, descriptor, file, cmap]: [Ref; 4]) -> Result<(), EvidenceError> {
    const SYSTEM: SystemInfo<'_> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
    let name = format!("CUSTOD+{}", font.name);
    let name = Name(name.as_bytes());
    let subset = subsetter::subset(font.data, 0, &font.glyphs)
        .map_err(|_| EvidenceError::Document("a font cannot be reduced to the glyphs in use"))?;

    pdf.type0_font(id).base_font(name).encoding_predefined(Name(b"Identity-H")).descendant_font(cid).to_unicode(cmap);
    let mut cid_font = pdf.cid_font(cid);
    cid_font.subtype(CidFontType::Type2).base_font(name).system_info(SYSTEM).font_descriptor(descriptor);
    cid_font.default_width(0.0).cid_to_gid_map_predefined(Name(b"Identity"));
    cid_font.widths().consecutive(0, font.glyphs.remapped_gids().map(|glyph| font.units(GlyphId(glyph))));
    cid_font.finish();

    let scale = 1000.0 / f32::from(font.face.units_per_em());
    let bounds = font.face.global_bounding_box();
    let [left, bottom, right, top] =
        [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max].map(|bound| f32::from(bound) * scale);
    let mut flags = FontFlags::NON_SYMBOLIC;
    flags.set(FontFlags::FIXED_PITCH, font.face.is_monospaced());
    pdf.font_descriptor(descriptor)
        .name(name)
        .flags(flags)
        .bbox(Rect::new(left, bottom, right, top))
        .italic_angle(0.0)
        .ascent(f32::from(font.face.ascender()) * scale)
        .descent(f32::from(font.face.descender()) * scale)
        .cap_height(f32::from(font.face.capital_height().unwrap_or(0)) * scale)
        .stem_v(if font.face.is_bold() { 160.0 } else { 90.0 })
        .font_file2(file);
    let length = i32::try_from(subset.len()).unwrap_or(i32::MAX);
    pdf.stream(file, &deflated(&subset)?).filter(Filter::FlateDecode).pair(Name(b"Length1"), length);

    let mut meanings = UnicodeCmap::<u16>::new(Name(b"Custody"), SYSTEM);
    for (code, letter) in &font.letters {
        meanings.pair(*code, *letter);
    }
    pdf.stream(cmap, &deflated(&meanings.finish())?).filter(Filter::FlateDecode);
    Ok(())
}

fn deflated(bytes: &[u8]) -> Result<Vec<u8>, EvidenceError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn date(at: DateTime<Utc>) -> Option<Date> {
    let part = |part: u32| u8::try_from(part).ok();
    let date = Date::new(u16::try_from(at.year()).ok()?).month(part(at.month())?).day(part(at.day())?);
    let date = date.hour(part(at.hour())?).minute(part(at.minute())?).second(part(at.second())?);
    Some(date.utc_offset_hour(0).utc_offset_minute(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style::new(Face::Sans, 8.0, 10.0, INK);

    #[test]
    fn no_line_is_wider_than_its_column() {
        let paper = Paper::new().unwrap();
        let word = "x".repeat(10_000);
        for text in
            ["", " ", "a b", &word, "a-b/c_d ".repeat(900).as_str(), "\u{202e}\0😀".repeat(500).as_str(), "W\u{301}"]
        {
            for width in [12.0, 60.0, 300.0] {
                let lines = paper.wrap(STYLE, text, width, 9);
                assert!(lines.len() <= 9);
                assert!(lines.iter().all(|line| paper.measure(STYLE, line) <= width), "{lines:?}");
            }
        }
    }

    #[test]
    fn text_is_broken_at_spaces_then_at_signs_and_says_when_it_is_cut() {
        let paper = Paper::new().unwrap();
        let wrap = |text, lines| paper.wrap(STYLE, text, 60.0, lines);
        assert_eq!(wrap("not reviewed by anybody", 9), ["not reviewed by", "anybody"]);
        assert_eq!(wrap("teleport-main/session-of-alice", 9), ["teleport-main/", "session-of-alice"]);
        assert_eq!(wrap("teleport-main/session-of-alice", 1), ["teleport-main/…"]);
        assert_eq!(wrap("1234567890123456789", 9), ["123456789012", "3456789"]);
    }

    #[test]
    fn no_row_is_higher_than_a_page() {
        let mut paper = Paper::new().unwrap();
        let cell = (0..300).map(|n| Block::labelled("name", STYLE, n.to_string())).collect();
        let rows = [vec![cell], vec![vec![Block::new(STYLE, "after it")]]];
        paper.table(&[Column::new("Parameters", WIDTH)], &rows);
        assert!(paper.pages.len() == 1 && paper.y < PAGE_HEIGHT - BOTTOM, "{}", paper.y);
    }

    #[test]
    fn what_cannot_be_seen_is_shown_by_its_number() {
        let paper = Paper::new().unwrap();
        let shown = paper.wrap(STYLE, "a\u{202e}b\0c\n😀田\u{fe0f}\u{ad}é", 400.0, 9);
        assert_eq!(shown, ["a[U+202E]b[U+0000]c↵ 😀[U+7530][U+FE0F][U+00AD]é"]);
    }
}
