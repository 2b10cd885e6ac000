//! Chunks: what a `.data` file of a Boundary session recording is made of.
//!
//! A chunk is, big-endian: the length of its data (4 bytes), protocol (4), type (4), direction (1), Unix seconds (8),
//! nanoseconds (4), the data, and the CRC-32 of all that but the length (4). The file begins with [`MAGIC`], its first
//! chunk is `HEAD`, and its last one is `DONE` when the recording was closed.

use custody_schemas::time::Micros;
use flate2::Crc;

/// The first bytes of every `.data` file.
pub(crate) const MAGIC: [u8; 8] = *b"\x89BSR\r\n\x1a\n";

/// Number of bytes before a chunk's data.
pub(crate) const FIXED_BYTES: usize = 25;

/// Number of bytes of the CRC after the data.
const CRC_BYTES: usize = 4;

/// Bound on the data of a chunk; Boundary refuses more.
const DATA_BYTES_MAX: u32 = 6_400_000;

/// Seconds since 1970 beyond which a time is not an instant (the end of the year 9999).
const SECONDS_MAX: u64 = 253_402_300_799;

/// The type of a file's first chunk.
pub(crate) const HEAD: [u8; 4] = *b"HEAD";

/// The type of a file's last chunk.
pub(crate) const DONE: [u8; 4] = *b"DONE";

/// Why bytes are not a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end before the chunk does.
    Cut,
    /// The declared length is beyond what Boundary writes.
    TooLong,
    /// Neither inbound nor outbound.
    Direction,
    /// More nanoseconds than a second has.
    Nanoseconds,
    /// The checksum is of other bytes.
    Crc,
}

impl Fault {
    /// What is wrong with "a chunk", for a person.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Cut => "is cut off",
            Self::TooLong => "declares more data than a chunk can have",
            Self::Direction => "has no valid direction",
            Self::Nanoseconds => "has no valid time",
            Self::Crc => "has a checksum of other bytes",
        }
    }
}

/// A chunk, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// `BSSH` in recordings of SSH.
    pub(crate) protocol: [u8; 4],
    /// What the data are.
    pub(crate) kind: [u8; 4],
    /// From the client to the target.
    pub(crate) is_inbound: bool,
    /// When; `None` when that is no instant of a calendar.
    pub(crate) at: Option<Micros>,
    /// The data as they stand, compressed or not.
    pub(crate) data: &'a [u8],
}

/// What a `HEAD` says of the chunks after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// They are as they were recorded.
    None,
    /// The data of each are a gzip member of their own.
    Gzip,
}

impl Compression {
    /// Reads the data of a `HEAD`: compression, encryption (there is none), and the session's id.
    pub(crate) fn of_head(data: &[u8]) -> Option<Self> {
        match data {
            [0, 0, ..] => Some(Self::None),
            [1, 0, ..] => Some(Self::Gzip),
            _ => None,
        }
    }

    /// The name in a record's header.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
        }
    }
}

/// Number of bytes of the whole chunk that begins with `fixed`.
pub(crate) fn size(fixed: &[u8; FIXED_BYTES]) -> Result<usize, Fault> {
    let (len, _) = take(fixed)?;
    match u32::from_be_bytes(len) {
        len @ 0..=DATA_BYTES_MAX => Ok(FIXED_BYTES + len as usize + CRC_BYTES),
        _ => Err(Fault::TooLong),
    }
}

/// Reads the chunk at the beginning of `bytes`; returns the bytes after it too.
pub(crate) fn split(bytes: &[u8]) -> Result<(Chunk<'_>, &[u8]), Fault> {
    let fixed = bytes.first_chunk().ok_or(Fault::Cut)?;
    let (whole, rest) = bytes.split_at_checked(size(fixed)?).ok_or(Fault::Cut)?;
    let (summed, crc) = whole.split_last_chunk().ok_or(Fault::Cut)?;
    let (_, summed): ([u8; 4], _) = take(summed)?;
    let mut sum = Crc::new();
    sum.update(summed);
    if sum.sum() != u32::from_be_bytes(*crc) {
        return Err(Fault::Crc);
    }
    let (protocol, after) = take(summed)?;
    let (kind, after) = take(after)?;
    let ([direction], after) = take(after)?;
    let (seconds, after) = take(after)?;
    let (nanos, data) = take(after)?;
    let is_inbound = match direction {
        1 => true,
        2 => false,
        _ => return Err(Fault::Direction),
    };
    let nanos = u32::from_be_bytes(nanos);
    if nanos > 999_999_999 {
        return Err(Fault::Nanoseconds);
    }
    let seconds = Some(u64::from_be_bytes(seconds)).filter(|seconds| *seconds <= SECONDS_MAX);
    let at = seconds.map(|seconds| seconds as Micros * 1_000_000 + Micros::from(nanos / 1000));
    Ok((Chunk { protocol, kind, is_inbound, at, data }, rest))
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Fault> {
    bytes.split_first_chunk().map(|(first, rest)| (*first, rest)).ok_or(Fault::Cut)
}

/// Bound on the chunks of one file that have one and the same place: positions have room for this many.
const CHUNKS_AT_ONE_PLACE: u64 = 512;

/// Places the chunks of one file among those of the others by their time, and never before a chunk of the same file
/// that stands before them, even where the worker's clock was set back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// Place of the last chunk, in microseconds: its time, or that of a later one before it in the file.
    pub(crate) last: Option<Micros>,
}

impl Order {
    /// The position of the chunk with this index in the file with this number (0 to 3): of its place in microseconds
    /// 2048 times, of its index what is left over by 512 four times, and the number of the file. `None` when the time
    /// is so late (after the year 2112) that there is no such number; the chunks after it are placed as if it were not
    /// there.
    ///
    /// So chunks of the four files of a channel are in the order of their times; of those with one time in one file
    /// the index decides; and since the place moves on by a microsecond at least where the index begins again at 0, the
    /// chunks of a file have the order of the file and a position each.
    pub(crate) fn position(&mut self, index: u64, at: Micros, file: i64) -> Option<i64> {
        let turn = index % CHUNKS_AT_ONE_PLACE;
        let earliest = self.last.map(|last| if turn == 0 { last.saturating_add(1) } else { last });
        let place = earliest.map_or(at, |earliest| earliest.max(at));
        let position = place.checked_mul(2048)?.checked_add(turn as i64 * 4 + file)?;
        self.last = Some(place);
        Some(position)
    }
}

#[cfg(test)]
mod tests {
    use custody_schemas::time::to_rfc3339;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::source::testing::fixture;

    #[test]
    fn upstreams_streams_are_read_or_refused_as_upstream_does() {
        let file = |name: &Value| fixture(&format!("boundary/bsr/chunks/{}", name.as_str().unwrap()));
        let Some(manifest) = fixture("boundary/bsr/chunks/manifest.json") else { return };
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let good = manifest["ok"].as_array().unwrap();
        assert_eq!(good.len(), 4);
        for case in good {
            let bytes = file(&case["file"]).unwrap();
            let mut rest = bytes.as_slice();
            for expected in case["chunks"].as_array().unwrap() {
                let (chunk, after) = split(rest).unwrap();
                rest = after;
                assert_eq!(chunk.protocol, *b"TEST");
                assert_eq!(chunk.kind, *expected["type"].as_str().unwrap().as_bytes());
                assert!(chunk.is_inbound);
                // Fourteen nanoseconds are no microsecond.
                assert_eq!(chunk.at.map(to_rfc3339).as_deref(), Some("2023-03-16T10:47:03.000000Z"));
                if chunk.kind == HEAD {
                    let compression = [Compression::None, Compression::Gzip];
                    let number = expected["compression"].as_u64().unwrap() as usize;
                    assert_eq!(Compression::of_head(chunk.data), Some(compression[number]));
                    assert_eq!(&chunk.data[2..], b"sess_123456789");
                }
            }
            assert!(rest.is_empty(), "{}", case["file"]);
        }
        // The two types that upstream does not know are chunks nevertheless.
        let refused = [
            ("unknown-chunk-type.bin", None),
            ("unknown-chunk-type-for-protocol.bin", None),
            ("chunk-missing-base-fields.bin", Some(Fault::Cut)),
            ("chunk-length-exceeds-max.bin", Some(Fault::TooLong)),
            ("chunk-missing-data.bin", Some(Fault::Cut)),
            ("chunk-partial-missing-data.bin", Some(Fault::Cut)),
            ("chunk-missing-crc.bin", Some(Fault::Cut)),
            ("chunk-partial-missing-crc.bin", Some(Fault::Cut)),
            ("chunk-crc-mismatch.bin", Some(Fault::Crc)),
            ("chunk-invalid-direction.bin", Some(Fault::Direction)),
        ];
        assert_eq!(manifest["error"].as_array().unwrap().len(), refused.len());
        for (case, (name, expected)) in manifest["error"].as_array().unwrap().iter().zip(refused) {
            assert_eq!(case["file"], name);
            assert_eq!(split(&file(&case["file"]).unwrap()).err(), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn positions_keep_the_order_of_the_file(
            steps in prop::collection::vec((-3_i64..4, 1..600_usize), 1..8),
            file in 0..4_i64,
        ) {
            let mut order = Order::default();
            let mut at = 1_764_583_200_000_000;
            let (mut index, mut last) = (0, None);
            for (step, chunks) in steps {
                at += step;
                for _ in 0..chunks {
                    let position = order.position(index, at, file);
                    prop_assert!(position.is_some() && position > last, "{:?} after {:?}", position, last);
                    prop_assert_eq!(position.map(|position| position % 4), Some(file));
                    (index, last) = (index + 1, position);
                }
            }
        }
    }

    #[test]
    fn files_are_ordered_by_time() {
        let at = |at, file| Order::default().position(7, at, file);
        assert_eq!(at(1_764_583_200_000_000, 3), Some(1_764_583_200_000_000 * 2048 + 7 * 4 + 3));
        assert!(at(1_764_583_200_000_000, 3) < at(1_764_583_200_000_001, 0));
        assert!(at(1_764_583_200_000_000, 2) < at(1_764_583_200_000_000, 3));
        assert_eq!(at(i64::MAX / 2048 + 1, 0), None);
    }
}
