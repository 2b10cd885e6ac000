//! Watching a recording that goes on.

use custody_schemas::frame::{Code, Frame};

use crate::emulator::Emulator;
use crate::encode::Tame;
use crate::index::Segment;
use crate::recording::{Reader, StreamKey, Timed};
use crate::size::Size;
use crate::utf8::Decoder;

/// What somebody who watches is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// What the terminal is now, whatever it was: `init` makes an empty one of this size so.
    Screen {
        /// When, in microseconds since the start of the recording.
        time_us: i64,
        /// Its size.
        size: Size,
        /// Escape sequences.
        init: String,
    },
    /// It shows this text.
    Output {
        /// See above.
        time_us: i64,
        /// Characters and sequences that were cut go with the text that ends them.
        text: String,
    },
    /// This was typed.
    Input {
        /// See above.
        time_us: i64,
        /// What.
        text: String,
    },
    /// It is over.
    Ended,
}

/// What is told at once has no more text, in bytes: the screen says the same.
const TOLD_BYTES_MAX: usize = 8 << 20;

/// A recording as far as it has come.
pub struct Live {
    reader: Reader,
    /// Pieces with lower numbers were shown.
    next_seq: i64,
    /// Pieces with lower numbers are there, some of them in frames that the reader holds.
    there_seq: i64,
    /// The piece with the highest number that there can be was shown.
    is_full: bool,
    emulator: Option<Emulator>,
    tame: Tame,
    output: Decoder,
    input: Decoder,
    size: Size,
    time_us: i64,
}

impl Live {
    /// From its start.
    pub fn new(key: StreamKey) -> Self {
        Self {
            reader: Reader::new(key),
            next_seq: i64::MIN,
            there_seq: i64::MIN,
            is_full: false,
            emulator: None,
            tame: Tame::default(),
            output: Decoder::default(),
            input: Decoder::default(),
            size: Size::DEFAULT,
            time_us: 0,
        }
    }

    /// From a segment on.
    pub fn resumed(key: StreamKey, segment: &Segment) -> Self {
        let mut live = Self::new(key.clone());
        // Without an event nothing is known of where to go on.
        if segment.events > 0 {
            live.reader = Reader::resumed(key, segment.place);
            live.next_seq = segment.place.seq;
            live.time_us = segment.place.reached_us;
            live.show(Emulator::restored(segment.size, &segment.init, &segment.tail));
        }
        live
    }

    /// Number of the next piece.
    pub fn next_seq(&self) -> i64 {
        self.next_seq
    }

    /// Whether the stream says that it is over.
    pub fn ended(&self) -> bool {
        self.reader.ended()
    }

    /// Takes what came and tells nothing of it, see [`push`](Self::push): the [`screen`](Self::screen) says it.
    pub fn catch_up(&mut self, frames: Vec<Frame>, until_seq: Option<i64>) {
        for event in self.read(frames, until_seq) {
            self.advance(&event);
        }
    }

    /// What came, as far as the pieces go that are there, but none from the number `until_seq` on. A piece that comes later
    /// than one with a higher number is not shown: it is in the recording when that is played. Where the size has changed,
    /// and where it is much, the screen is told as it is at last.
    pub fn push(&mut self, frames: Vec<Frame>, until_seq: Option<i64>) -> Vec<Shown> {
        let is_new = self.emulator.is_none();
        let (ended, events) = (self.ended(), self.read(frames, until_seq));
        let (mut shown, mut bytes, mut is_anew) = (Vec::new(), 0, is_new && !events.is_empty());
        for event in events {
            let told = self.advance(&event);
            is_anew |= event.code == Code::Resize && self.emulator.as_ref().is_some_and(|of| of.size() != self.size);
            bytes += event.data.len();
            if bytes > TOLD_BYTES_MAX {
                is_anew = true;
                shown.clear();
                bytes = 0;
            }
            shown.extend(told);
        }
        if is_anew {
            shown.retain(|shown| matches!(shown, Shown::Input { .. }));
            shown.push(self.screen());
        }
        if self.ended() && !ended {
            shown.push(Shown::Ended);
        }
        shown
    }

    /// What the terminal is now. Text that follows goes on from there.
    pub fn screen(&mut self) -> Shown {
        let Some(emulator) = self.emulator.take() else {
            return Shown::Screen { time_us: self.time_us, size: self.size, init: String::new() };
        };
        let init = self.show(emulator);
        Shown::Screen { time_us: self.time_us, size: self.size, init }
    }

    fn read(&mut self, frames: Vec<Frame>, until_seq: Option<i64>) -> Vec<Timed> {
        let last = frames.iter().flat_map(|frame| &frame.pieces).map(|piece| piece.seq).max();
        self.there_seq = self.there_seq.max(last.map_or(i64::MIN, |last| last.saturating_add(1)));
        if self.is_full {
            return Vec::new();
        }
        self.is_full = until_seq.is_none() && last == Some(i64::MAX);
        self.next_seq = self.there_seq.min(until_seq.unwrap_or(i64::MAX)).max(self.next_seq);
        let events = self.reader.push_now(frames, (!self.is_full).then_some(self.next_seq));
        if self.emulator.is_none() && !events.is_empty() {
            let emulator = Emulator::new(self.reader.size());
            self.show(emulator);
        }
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// Goes on with this terminal. Returns what makes an empty one so.
    fn show(&mut self, emulator: Emulator) -> String {
        let (init, tail) = emulator.dump();
        self.size = emulator.size();
        (self.tame, self.output) = (Tame::default(), Decoder::default());
        self.output.push(&tail, &mut String::new());
        self.emulator = Some(emulator);
        self.tame.tamed(&init, self.size)
    }

    fn advance(&mut self, event: &Timed) -> Option<Shown> {
        self.time_us = event.time_us;
        if let Some(emulator) = &mut self.emulator {
            emulator.apply(event, ());
        }
        let (time_us, mut text) = (event.time_us, String::new());
        match event.code {
            Code::Output => {
                self.output.push(&event.data, &mut text);
                let text = self.tame.tamed(&text, self.size);
                (!text.is_empty()).then_some(Shown::Output { time_us, text })
            }
            Code::Input => {
                self.input.push(&event.data, &mut text);
                (!text.is_empty()).then_some(Shown::Input { time_us, text })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use custody_schemas::frame::Clock;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{frame, piece};
    use crate::index::Indexer;
    use crate::recording::{Place, Recording};
    use crate::screen::Screen;

    fn pieces() -> impl Strategy<Value = Vec<(Code, &'static str)>> {
        let output =
            prop::sample::select(vec!["ab", "\x1b[2", "J", "\r\n", "語", "\x1b[31m", "\x1b[?1049h", "\x1b[9999", "b"]);
        let size = prop::sample::select(vec!["10x3", "4x9", "?"]);
        let one = prop_oneof![
            6 => output.prop_map(|text| (Code::Output, text)),
            1 => size.prop_map(|size| (Code::Resize, size)),
            1 => Just((Code::Input, "q")),
            1 => Just((Code::Header, "{}")),
        ];
        prop::collection::vec(one, 1..30)
    }

    proptest! {
        #[test]
        fn prop_whoever_comes_late_sees_what_those_see_who_were_there(
            pieces in pieces(),
            cuts in prop::collection::vec(any::<bool>(), 30),
            late in 0..30_usize,
        ) {
            let frames: Vec<Frame> = (0..).zip(&pieces).map(|(seq, (code, data))| {
                let one = custody_schemas::frame::FramePiece { time_us: Some(seq * 1000), ..piece(*code, seq, data.len()) };
                frame(Clock::SinceStart, vec![(one, data.as_bytes())])
            }).collect();
            let key = StreamKey::of(&frames[0]);
            let whole = Recording::from_frames("s", frames.clone());
            let mut expected = Screen::new(whole.size);
            whole.events.iter().for_each(|event| expected.apply(event));
            let expected = (expected.size(), expected.cursor(), expected.rows().collect::<Vec<_>>());

            let watch = |mut live: Live, frames: &[Frame], mut terminal: Option<Screen>| {
                let mut window = Vec::new();
                let mut pushed = Vec::new();
                for (frame, cut) in frames.iter().zip(cuts.iter().chain(std::iter::repeat(&true))) {
                    window.push(frame.clone());
                    if *cut {
                        // Some of it at first, as somebody does who resumes.
                        let middle = window.get(window.len() / 2).map(|frame| frame.pieces[0].seq);
                        pushed.extend(live.push(std::mem::take(&mut window), middle));
                        pushed.extend(live.push(Vec::new(), None));
                    }
                }
                pushed.extend(live.push(window, None));
                for shown in pushed {
                    match shown {
                        Shown::Screen { size, init, .. } => terminal = Some(Screen::with(size, &init)),
                        Shown::Output { text, time_us } => {
                            let data = text.into();
                            terminal.as_mut().unwrap().apply(&Timed { time_us, at: None, code: Code::Output, data });
                        }
                        Shown::Input { .. } | Shown::Ended => {}
                    }
                }
                terminal
            };
            let of = |screen: Screen| (screen.size(), screen.cursor(), screen.rows().collect::<Vec<_>>());
            if let Some(seen) = watch(Live::new(key.clone()), &frames, None) {
                // The size at the start is known when an event is: later resizes of the same frames may say another.
                if seen.size() == expected.0 {
                    prop_assert_eq!(of(seen), expected.clone());
                }
            }

            // From a segment in the middle, with a screen to begin with.
            let late = late.min(whole.events.len());
            if late == 0 || late >= frames.len() {
                return Ok(());
            }
            let mut before = Indexer::new(whole.size);
            whole.events.iter().take(late).for_each(|event| before.push(event));
            let mut emulator = Emulator::new(whole.size);
            for event in whole.events.iter().take(late) {
                let _ = emulator.apply(event, ());
            }
            let (init, tail) = emulator.dump();
            if !emulator.is_same(&Emulator::restored(emulator.size(), &init, &tail)) {
                return Ok(());
            }
            let next = whole.events.get(late).map_or(i64::MAX, |event| event.time_us / 1000);
            let place = Place { seq: next, reached_us: whole.events[late - 1].time_us, ..Place::default() };
            let segment = Segment { size: emulator.size(), init, tail, place, events: 1, ..before.open() };
            let mut live = Live::resumed(key, &segment);
            let Shown::Screen { size, init, .. } = live.screen() else { unreachable!() };
            let terminal = Some(Screen::with(size, &init));
            let rest: Vec<Frame> = frames.iter().filter(|frame| frame.pieces[0].seq >= next).cloned().collect();
            let seen = watch(live, &rest, terminal).unwrap();
            prop_assert_eq!(of(seen), expected);
        }
    }

    fn one(code: Code, seq: i64, data: &str) -> Frame {
        let piece = custody_schemas::frame::FramePiece { time_us: Some(0), ..piece(code, seq, data.len()) };
        frame(Clock::SinceStart, vec![(piece, data.as_bytes())])
    }

    #[test]
    fn resizes_are_told_once_and_the_end_is() {
        let mut live = Live::new(StreamKey::of(&one(Code::Output, 0, "a")));
        let full = "x".repeat(400_000);
        let storm = (1..4000).map(|seq| one(Code::Resize, seq, &format!("1000x{}", 400 + seq % 2)));
        let frames: Vec<Frame> = [one(Code::Output, 0, &full)].into_iter().chain(storm).collect();
        assert!(matches!(live.push(frames, None).as_slice(), [Shown::Screen { .. }]));
        assert_eq!(live.push(vec![one(Code::Resize, 4000, "1000x401")], None), []);
        assert_eq!(live.push(vec![one(Code::Exit, 4001, "0")], None), [Shown::Ended]);
        assert!(live.ended());
        // A marker after the end begins nothing anew.
        assert_eq!(live.push(vec![one(Code::Marker, 4002, "m")], None), []);
        assert!(live.ended());
        // The highest number is shown, once.
        let last = || vec![one(Code::Output, i64::MAX, "last")];
        assert!(matches!(live.push(last(), None).as_slice(), [Shown::Output { text, .. }] if text == "last"));
        assert_eq!(live.push(last(), None), []);
    }
}
