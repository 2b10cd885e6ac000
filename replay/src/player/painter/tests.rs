use custody_schemas::frame::Code;
use proptest::prelude::*;

use super::*;
use crate::recording::Timed;
use crate::screen::tests::soup;
use crate::size::Size;

fn show(screen: &mut Screen, output: &str) {
    screen.apply(&Timed { time_us: 0, at: None, code: Code::Output, data: output.as_bytes().to_vec() });
}

/// Cells as the painter should show them in a terminal of this size.
fn expected(screen: &Screen, cols: usize, rows: usize) -> Vec<Vec<Cell>> {
    let mut expected: Vec<Vec<Cell>> = screen.rows().take(rows).map(|row| crop(row, cols)).collect();
    if let Some((col, row)) = screen.cursor()
        && let Some(row) = expected.get_mut(row)
    {
        show_cursor(row, col, cols);
    }
    expected
}

#[test]
fn only_changed_rows_are_painted() {
    let mut screen = Screen::new(Size { cols: 10, rows: 3 });
    let mut painter = Painter::new(20, 4, 1);
    show(&mut screen, "one\r\ntwo\r\n");
    let first = painter.paint(&screen, &["status".to_owned()]);
    assert!(first.contains("one") && first.contains("two") && first.contains("status"));
    assert_eq!(painter.paint(&screen, &["status".to_owned()]), "");
    show(&mut screen, "\x1b[2;1HTWO");
    let next = painter.paint(&screen, &["status".to_owned()]);
    assert!(next.contains("TWO") && !next.contains("one") && !next.contains("status"), "{next:?}");
}

#[test]
fn nothing_recorded_acts_on_the_viewers_terminal() {
    let mut screen = Screen::new(Size { cols: 40, rows: 3 });
    show(&mut screen, "\x1b]52;c;aGk=\x07\x1b]0;title\x07\x1b[6n\x1b[c\x1bP$qm\x1b\\\u{9b}5n\x1b[?1003h\x1b[3Jok");
    let painted = Painter::new(40, 4, 1).paint(&screen, &["\x1b]0;session\x07\u{9b}6n".to_owned()]);
    assert!(painted.contains("ok"));
    // What is left beside text are the positions, attributes and erasures that the painter writes.
    for sequence in painted.split('\x1b').skip(1) {
        let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        let numbers = &sequence[1..end];
        assert!(sequence.starts_with('[') && "HmK".contains(&sequence[end..=end]), "{sequence:?}");
        assert!(numbers.chars().all(|c| c.is_ascii_digit() || c == ';'), "{sequence:?}");
    }
    assert!(painted.chars().all(|c| c == '\x1b' || !c.is_control()));
}

#[test]
fn a_wide_character_is_not_cut_in_two() {
    let mut screen = Screen::new(Size { cols: 10, rows: 1 });
    show(&mut screen, "\x1b[?25labc界");
    let painted = Painter::new(4, 2, 1).paint(&screen, &["a long status".to_owned()]);
    assert!(painted.contains("abc\x1b") && !painted.contains('界') && painted.contains("a lo"), "{painted:?}");
    assert_eq!(Painter::new(0, 0, 1).paint(&screen, &["status".to_owned()]), "\x1b[1;1H\x1b[0m\x1b[0m");
}

proptest! {
    /// The painter's output, shown by another terminal, is the screen.
    #[test]
    fn prop_what_is_painted_is_what_was_shown(events in soup(), cols in 1..30u16, rows in 2..12u16) {
        let mut screen = Screen::new(Size { cols: 20, rows: 8 });
        let mut painter = Painter::new(cols, rows, 1);
        let mut viewer = Screen::new(Size { cols, rows });
        let (cols, rows) = (usize::from(cols), usize::from(rows) - 1);
        for (n, event) in events.iter().enumerate() {
            screen.apply(event);
            if n % 3 != 0 {
                continue;
            }
            show(&mut viewer, &painter.paint(&screen, &["status".to_owned()]));
            let shown: Vec<Vec<Cell>> = viewer.rows().collect();
            prop_assert!(shown.last().unwrap()[0].pen.is_inverse());
            for (row, expected) in expected(&screen, cols, rows).iter().enumerate() {
                prop_assert_eq!(&shown[row][..expected.len()], expected.as_slice(), "row {}", row);
                let blank = shown[row][expected.len()..].iter().all(|c| c.character == ' ' && c.pen.is_default());
                prop_assert!(blank, "row {} is longer than the recorded one", row);
            }
        }
    }
}
