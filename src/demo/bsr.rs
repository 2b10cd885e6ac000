//! Recordings of the sample Boundary cluster: containers as its workers leave them in their storage
//! (formats/boundary-opa-hoop.md §3).
//!
//! They have checksums and no signatures, since there is no KMS: as far as that goes, they verify.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use custody_schemas::time::Micros;
use flate2::Crc;
use serde_json::{Value, json};

use super::boundary::{ENDPOINT, HOST, PROJECT, Session, TARGET};
use super::pty::Shown;
use super::scripts::Recording;
use super::teleport::rfc3339;

const MAGIC: &[u8; 8] = b"\x89BSR\r\n\x1a\n";

/// From the connection to the first output.
const FIRST_OUTPUT: Micros = 80_000;

/// Writes the recording of a session into a folder. It gets its name, `<sr_id>.bsr`, when all of it is there.
pub(super) fn write_recording(folder: &Path, session: &Session, recording: &Recording) -> io::Result<PathBuf> {
    let [recording_id, connection_id, channel_id] = ["sr", "cr", "chr"].map(|prefix| session.id(prefix));
    let unfinished = folder.join(format!("unfinished-{recording_id}"));
    let [connection, channel] = [format!("{connection_id}.connection"), format!("{channel_id}.channel")];
    let (start, end) = (session.connected_at, session.disconnected_at);
    let (start_time, end_time) = (rfc3339(start), rfc3339(end));
    let bytes_down = recording.output_len();

    let mut dir = Directory::create(unfinished.clone())?;
    dir.json("session-meta.json", &meta(session))?;
    dir.file(
        "session-recording.meta",
        format!("id: {recording_id}\nprotocol: BSSH\nconnection: {connection}\n").as_bytes(),
    )?;
    let summary = json!({
        "ConnectionCount": 1, "EndTime": end_time, "Errors": null, "Id": recording_id, "StartTime": start_time,
    });
    dir.json("session-recording-summary.json", &summary)?;
    dir.close()?;

    let path = unfinished.join(connection);
    let mut dir = Directory::create(path.clone())?;
    let mut inbound = Stream::begin(session, INBOUND);
    let window = Message::named("session").number(3, 2_097_152).number(4, 32_768);
    inbound.chunk(b"SESS", start, &window.0);
    dir.file("requests-inbound.data", &inbound.end(end))?;
    dir.file("requests-outbound.data", &Stream::begin(session, OUTBOUND).end(end))?;
    let meta = format!("id: {connection_id}\nrequests: inbound\nrequests: outbound\nchannel: {channel}\n");
    dir.file("connection-recording.meta", meta.as_bytes())?;
    let summary = json!({
        "BytesDown": bytes_down, "BytesUp": 0, "ChannelCount": 1, "EndTime": end_time, "Errors": null,
        "Id": connection_id, "StartTime": start_time,
    });
    dir.json("connection-recording-summary.json", &summary)?;
    dir.close()?;

    let mut dir = Directory::create(path.join(channel))?;
    for (name, bytes) in streams(session, recording) {
        dir.file(name, &bytes)?;
    }
    let meta = format!(
        "id: {channel_id}\nchannelType: session\nmessages: inbound\nmessages: outbound\nrequests: inbound\n\
         requests: outbound\n"
    );
    dir.file("channel-recording.meta", meta.as_bytes())?;
    let summary = json!({
        "ChannelSummary": {
            "BytesDown": bytes_down, "BytesUp": 0, "ChannelType": "session", "ConnectionRecordingId": connection_id,
            "EndTime": end_time, "Id": channel_id, "StartTime": start_time,
        },
        "ExecProgram": "", "FileTransferDirection": "not applicable", "SessionProgram": "shell", "SubsystemName": "",
    });
    dir.json("channel-recording-summary.json", &summary)?;
    dir.close()?;

    let container = folder.join(format!("{recording_id}.bsr"));
    fs::rename(unfinished, &container)?;
    Ok(container)
}

/// The four files of the channel. What was typed is not among what the sample terminals keep.
fn streams(session: &Session, recording: &Recording) -> [(&'static str, Vec<u8>); 4] {
    let start = session.connected_at;
    let (cols, rows) = recording.size;
    let mut asked = Stream::begin(session, INBOUND);
    let terminal = Message::named("pty-req").number(2, 1).text(3, "xterm-256color");
    asked.chunk(b"PTYR", start + 1000, &terminal.number(4, cols.into()).number(5, rows.into()).0);
    asked.chunk(b"SHLL", start + 2000, &Message::named("shell").number(2, 1).0);
    let mut shown = Stream::begin(session, OUTBOUND);
    let mut at = start + FIRST_OUTPUT;
    for (index, chunk) in recording.chunks.iter().enumerate() {
        // The first output is where the recording's clock begins.
        at += if index == 0 { 0 } else { chunk.delay_us };
        match &chunk.shown {
            Shown::Output(bytes) => shown.chunk(b"DATA", at, bytes),
            Shown::Resize(cols, rows) => {
                let size = Message::named("window-change").number(3, (*cols).into()).number(4, (*rows).into());
                asked.chunk(b"WCHG", at, &size.0);
            }
        }
    }
    let end = session.disconnected_at.max(at);
    let mut answered = Stream::begin(session, OUTBOUND);
    // Status 0, which is not written.
    answered.chunk(b"EXST", end, &Message::named("exit-status").0);
    [
        ("messages-inbound.data", Stream::begin(session, INBOUND).end(end)),
        ("messages-outbound.data", shown.end(end)),
        ("requests-inbound.data", asked.end(end)),
        ("requests-outbound.data", answered.end(end)),
    ]
}

/// Who, and to what.
fn meta(session: &Session) -> Value {
    let scope = json!({ "Name": "prod", "ParentId": "o_prod000001", "PublicId": PROJECT, "Type": "project" });
    json!({
        "DynamicHost": null, "Endpoint": ENDPOINT, "PublicId": session.id("s"),
        "StaticHost": {
            "Address": "10.20.0.11", "Catalog": { "Name": "prod hosts", "ProjectId": PROJECT, "PublicId": "hcst_prod000001" },
            "Name": "prod-web-01", "PublicId": HOST,
        },
        "StaticUsernamePasswordCredentials": null,
        "Target": {
            "DefaultPort": 22, "EnableSessionRecording": true, "Name": "prod-web-01-ssh", "PublicId": TARGET,
            "Scope": scope, "SessionConnectionLimit": -1, "SessionMaxSeconds": 3600,
            "StorageBucketId": "sb_prod000001",
        },
        "User": {
            "Name": session.person.login, "PublicId": session.person.boundary_id,
            "Scope": { "Name": "global", "PublicId": "global", "Type": "global" },
        },
        "Worker": { "PublicId": "w_workera001", "Version": "0.21.0" },
    })
}

/// A directory that is being written, and the list of the checksums of its files.
struct Directory {
    path: PathBuf,
    sums: String,
}

impl Directory {
    fn create(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self { path, sums: String::new() })
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        for byte in digest(&SHA256, bytes).as_ref() {
            self.sums += &format!("{byte:02x}");
        }
        self.sums += &format!("  {name}\n");
        fs::write(self.path.join(name), bytes)
    }

    fn json(&mut self, name: &str, value: &Value) -> io::Result<()> {
        self.file(name, value.to_string().as_bytes())
    }

    fn close(self) -> io::Result<()> {
        fs::write(self.path.join("SHA256SUM"), self.sums)
    }
}

const INBOUND: u8 = 1;
const OUTBOUND: u8 = 2;

/// A `.data` file that is being written.
struct Stream {
    direction: u8,
    bytes: Vec<u8>,
}

impl Stream {
    fn begin(session: &Session, direction: u8) -> Self {
        let mut stream = Self { direction, bytes: MAGIC.to_vec() };
        // Neither compressed nor encrypted.
        let head = [&[0, 0], session.id("s").as_bytes()].concat();
        stream.chunk(b"HEAD", session.connected_at, &head);
        stream
    }

    fn chunk(&mut self, kind: &[u8; 4], at: Micros, data: &[u8]) {
        // What a terminal shows at once, and times of this century, are far from these bounds.
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let seconds = at.div_euclid(1_000_000).unsigned_abs();
        let nanos = u32::try_from(at.rem_euclid(1_000_000) * 1000).unwrap_or_default();
        let mut summed = [b"BSSH", kind.as_slice(), &[self.direction]].concat();
        summed.extend(seconds.to_be_bytes());
        summed.extend(nanos.to_be_bytes());
        summed.extend(data);
        let mut crc = Crc::new();
        crc.update(&summed);
        self.bytes.extend(len.to_be_bytes());
        self.bytes.extend(summed);
        self.bytes.extend(crc.sum().to_be_bytes());
    }

    fn end(mut self, at: Micros) -> Vec<u8> {
        self.chunk(b"DONE", at, b"");
        self.bytes
    }
}

/// A Protobuf message that is being written.
struct Message(Vec<u8>);

impl Message {
    /// An SSH request: its first field is its type.
    fn named(request_type: &str) -> Self {
        Self(Vec::new()).text(1, request_type)
    }

    fn text(mut self, field: u32, text: &str) -> Self {
        self.varint(field << 3 | 2);
        self.varint(u32::try_from(text.len()).unwrap_or_default());
        self.0.extend(text.as_bytes());
        self
    }

    fn number(mut self, field: u32, number: u32) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    fn varint(&mut self, mut number: u32) {
        while number > 0x7f {
            self.0.push((number & 0x7f | 0x80) as u8);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::pty::Chunk;
    use super::super::teleport::ALICE;
    use super::*;

    const START: Micros = 1_795_003_200_000_000;

    fn written() -> (tempfile::TempDir, PathBuf) {
        let session = Session {
            key: "0123456789".to_owned(),
            person: &ALICE,
            correlation_id: String::new(),
            authorized_at: START - 2_000_000,
            connected_at: START,
            disconnected_at: START + 60_000_000,
        };
        let chunk = |delay_us, shown| Chunk { delay_us, shown };
        let recording = Recording {
            size: (100, 30),
            chunks: vec![
                chunk(5_000, Shown::Output(b"$ ".to_vec())),
                chunk(1_000_000, Shown::Resize(120, 300)),
                chunk(500_000, Shown::Output(b"caf\xc3".to_vec())),
            ],
            note: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let container = write_recording(folder.path(), &session, &recording).unwrap();
        (folder, container)
    }

    /// The chunks of a `.data` file: type, microseconds since the connection, data.
    fn chunks(file: &Path) -> Vec<(String, Micros, Vec<u8>)> {
        let bytes = fs::read(file).unwrap();
        let mut rest = bytes.strip_prefix(MAGIC).unwrap();
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let number =
                |from: usize, to: usize| rest[from..to].iter().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
            let len = 25 + number(0, 4) as usize;
            let mut crc = Crc::new();
            crc.update(&rest[4..len]);
            assert_eq!(i64::from(crc.sum()), number(len, len + 4), "{}", file.display());
            assert_eq!(&rest[4..8], b"BSSH");
            let inbound = file.to_str().unwrap().ends_with("inbound.data");
            assert_eq!(rest[12], if inbound { 1 } else { 2 });
            let at = number(13, 21) * 1_000_000 + number(21, 25) / 1000;
            chunks.push((String::from_utf8_lossy(&rest[8..12]).into_owned(), at - START, rest[25..len].to_vec()));
            rest = &rest[len + 4..];
        }
        chunks
    }

    #[test]
    fn every_file_is_listed_with_its_checksum_and_nothing_else_is() {
        let (folder, container) = written();
        assert_eq!(container, folder.path().join("sr_0123456789.bsr"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
        let channel = "cr_0123456789.connection/chr_0123456789.channel";
        for (dir, files) in [("", 3), ("cr_0123456789.connection", 4), (channel, 6)] {
            let dir = container.join(dir);
            let list = fs::read_to_string(dir.join("SHA256SUM")).unwrap();
            let listed: BTreeSet<&str> = list.lines().map(|line| &line[66..]).collect();
            let entries = fs::read_dir(&dir).unwrap().map(Result::unwrap);
            let names = entries.filter(|entry| entry.file_type().unwrap().is_file()).map(|entry| entry.file_name());
            let names: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
            assert_eq!(listed.len(), files);
            assert!(names.iter().map(String::as_str).filter(|name| *name != "SHA256SUM").eq(listed), "{names:?}");
            for line in list.lines() {
                let sum = digest(&SHA256, &fs::read(dir.join(&line[66..])).unwrap());
                let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(line[..66], format!("{hex}  "));
            }
        }
    }

    #[test]
    fn the_streams_hold_what_the_terminal_showed() {
        let (_folder, container) = written();
        let channel = container.join("cr_0123456789.connection/chr_0123456789.channel");
        let of = |name: &str| chunks(&channel.join(name));
        let expect = |kind: &str, at, data: &[u8]| (kind.to_owned(), at, data.to_vec());
        let head = expect("HEAD", 0, b"\0\0s_0123456789");
        let done = expect("DONE", 60_000_000, b"");
        assert_eq!(
            of("messages-outbound.data"),
            [head.clone(), expect("DATA", 80_000, b"$ "), expect("DATA", 1_580_000, b"caf\xc3"), done.clone()]
        );
        assert_eq!(
            of("requests-inbound.data"),
            [
                head.clone(),
                expect("PTYR", 1000, b"\x0a\x07pty-req\x10\x01\x1a\x0exterm-256color\x20\x64\x28\x1e"),
                expect("SHLL", 2000, b"\x0a\x05shell\x10\x01"),
                // 300 needs two bytes.
                expect("WCHG", 1_080_000, b"\x0a\x0dwindow-change\x18\x78\x20\xac\x02"),
                done.clone(),
            ]
        );
        assert_eq!(
            of("requests-outbound.data"),
            [head.clone(), expect("EXST", 60_000_000, b"\x0a\x0bexit-status"), done.clone()]
        );
        assert_eq!(of("messages-inbound.data"), [head, done]);
        let meta: Value = serde_json::from_slice(&fs::read(container.join("session-meta.json")).unwrap()).unwrap();
        assert_eq!((&meta["PublicId"], &meta["User"]["PublicId"]), (&json!("s_0123456789"), &json!("u_alice0001")));
    }
}
