//! A segment of a recording for a player in a browser.

use custody_schemas::frame::Code;
use serde_json::{Value, json};

use super::tame::Tame;
use crate::emulator::Emulator;
use crate::index::Segment;
use crate::recording::{Timed, resize};
use crate::size::Size;
use crate::utf8::Decoder;

/// What a segment is shown from would be larger than a browser should be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what a browser needs to show this part is larger than {} MB: `custody export` writes all of it", PLAYABLE_BYTES_MAX >> 20)]
pub struct TooLarge;

/// The most that a browser is given of one segment, in bytes of JSON.
pub const PLAYABLE_BYTES_MAX: usize = 32 << 20;

/// For the resizes of one segment no more cells are looked at.
const CELLS_MAX: usize = 64 << 20;

/// A segment for `driver.js`, as JSON: `{"cols", "rows", "init", "events": [[time_us, code, data]…]}`. `init` makes an empty
/// terminal of this size what it was. Events have times since the start of the recording, and are `"o"` and `"i"` with text
/// and `"r"` with `{"cols", "rows", "init"}`, which the terminal is then as.
///
/// A character or a sequence that was cut goes with the event that ends it. Bytes that are not UTF-8 are U+FFFD, and so is
/// a character that was being typed where a segment begins.
///
/// # Errors
///
/// [`TooLarge`]: resizes can take a whole screen each.
pub fn segment(of: &Segment, events: &[Timed], is_last: bool) -> Result<String, TooLarge> {
    let mut tame = Tame::default();
    let (mut output, mut input) = (Decoder::default(), Decoder::default());
    let mut text = String::new();
    output.push(&of.tail, &mut text);
    let init = tame.tamed(&of.init, of.size);
    // Only who knows the screen can say how it looks in another size.
    let is_resized = events.iter().any(|event| event.code == Code::Resize);
    let mut emulator = is_resized.then(|| Emulator::restored(of.size, &of.init, &of.tail));
    let mut size = of.size;
    let mut json = String::new();
    let mut cells = 0;
    let mut push = |time_us: i64, code: Code, data: Value| {
        let separator = if json.is_empty() { "" } else { "," };
        json.push_str(&format!("{separator}[{time_us},\"{}\",{data}]", code.as_char()));
        if json.len() > PLAYABLE_BYTES_MAX { Err(TooLarge) } else { Ok(()) }
    };
    for event in events {
        if let Some(emulator) = &mut emulator {
            emulator.apply(event, ());
        }
        text.clear();
        match event.code {
            Code::Output => {
                output.push(&event.data, &mut text);
                text = tame.tamed(&text, size);
            }
            Code::Input => input.push(&event.data, &mut text),
            Code::Resize if resize(&event.data).is_some() => {
                let Some(emulator) = emulator.as_ref().filter(|emulator| emulator.size() != size) else { continue };
                size = emulator.size();
                cells += usize::from(size.cols) * usize::from(size.rows);
                if cells > CELLS_MAX {
                    return Err(TooLarge);
                }
                let (init, tail) = emulator.dump();
                (tame, output) = (Tame::default(), Decoder::default());
                output.push(&tail, &mut text);
                let Size { cols, rows } = size;
                let init = tame.tamed(&init, size);
                push(event.time_us, event.code, json!({ "cols": cols, "rows": rows, "init": init }))?;
                continue;
            }
            _ => continue,
        }
        if !text.is_empty() {
            push(event.time_us, event.code, Value::from(text.as_str()))?;
        }
    }
    if is_last {
        for (decoder, code) in [(&mut output, Code::Output), (&mut input, Code::Input)] {
            text.clear();
            decoder.finish(&mut text);
            if code == Code::Output {
                text = tame.tamed(&text, size);
            }
            if !text.is_empty() {
                push(of.end_us, code, Value::from(text.as_str()))?;
            }
        }
    }
    let (Size { cols, rows }, init) = (of.size, Value::from(init));
    Ok(format!("{{\"cols\":{cols},\"rows\":{rows},\"init\":{init},\"events\":[{json}]}}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::Indexer;
    use crate::screen::Screen;

    /// A screen as a player begins it.
    fn begun(of: &Value) -> Screen {
        let size = |name: &str| u16::try_from(of[name].as_u64().unwrap()).unwrap();
        Screen::with(Size { cols: size("cols"), rows: size("rows") }, of["init"].as_str().unwrap())
    }

    /// What a player shows that begins with a segment's keyframe and applies its events up to a time.
    fn played(json: &Value, time_us: i64) -> Screen {
        let mut screen = begun(json);
        for event in json["events"].as_array().unwrap() {
            if event[0].as_i64().unwrap() > time_us {
                break;
            }
            match event[1].as_str().unwrap() {
                "r" => screen = begun(&event[2]),
                "o" => {
                    let data = event[2].as_str().unwrap().as_bytes().to_vec();
                    screen.apply(&Timed { time_us: 0, at: None, code: Code::Output, data });
                }
                code => assert_eq!(code, "i"),
            }
        }
        screen
    }

    fn shown(screen: &Screen) -> impl PartialEq + std::fmt::Debug + use<> {
        (screen.size(), screen.cursor(), screen.rows().collect::<Vec<_>>())
    }

    fn event() -> impl Strategy<Value = (Code, Vec<u8>)> {
        let hostile = prop::collection::vec(
            prop::sample::select(vec![
                &b"ab"[..],
                b"\x1b[2J",
                b"\xe4\xb8",
                b"\x96",
                b"\xff",
                b"\x1b[?1049h",
                b"\x1b[?1049l",
                b"\x1b[99",
                b"9b",
                b"\r\n",
                b"\x1b]0;t",
                b"\x07",
                b"\x1b[3;4H",
                b"\x1b7",
                b"\x1b8",
                b"\x1bc",
            ]),
            0..4,
        );
        prop_oneof![
            5 => hostile.prop_map(|pieces| (Code::Output, pieces.concat())),
            1 => prop::sample::select(vec!["10x3", "3x10", "1x1", "20x5", "x"]).prop_map(|size| (Code::Resize, size.into())),
            1 => Just((Code::Input, b"q".to_vec())),
            1 => Just((Code::Marker, b"m".to_vec())),
        ]
    }

    proptest! {
        #[test]
        fn prop_a_segment_shows_what_the_recording_shows(events in prop::collection::vec(event(), 1..30)) {
            let size = Size { cols: 12, rows: 4 };
            let events: Vec<Timed> = (0..).zip(events).map(|(n, (code, data))| Timed { time_us: n * 9_000_000, at: None, code, data }).collect();
            let mut indexer = Indexer::new(size);
            events.iter().for_each(|event| indexer.push(event));
            let segments = indexer.finish().segments;
            let mut screen = Screen::new(size);
            for (n, of) in segments.iter().enumerate() {
                let mine = &events[of.first_event..of.first_event + of.events];
                prop_assert_eq!(of.sha256, of.hash(mine));
                prop_assert_eq!(of.last_seq, (of.first_event + of.events) as i64 - 1);
                let json = serde_json::from_str(&segment(of, mine, n + 1 == segments.len()).unwrap()).unwrap();
                for event in mine {
                    screen.apply(event);
                    // The end of the recording shows that a character was cut.
                    if !std::ptr::eq(event, events.last().unwrap()) {
                        prop_assert_eq!(shown(&played(&json, event.time_us)), shown(&screen));
                    }
                }
            }
        }
    }

    #[test]
    fn what_no_browser_should_be_given_is_refused() {
        let events: Vec<Timed> = (0..4000)
            .map(|n| Timed { time_us: n, at: None, code: Code::Resize, data: format!("1000x{}", 400 + n % 2).into() })
            .collect();
        let mut full = vec![Timed { time_us: 0, at: None, code: Code::Output, data: "word ".repeat(80_000).into() }];
        full.extend(events);
        let of = Indexer::new(Size { cols: 1000, rows: 400 }).finish().segments.remove(0);
        assert_eq!(segment(&of, &full, true), Err(TooLarge));
    }
}
