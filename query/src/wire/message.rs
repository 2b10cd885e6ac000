//! The messages of PostgreSQL's protocol, version 3: taking apart what comes in, putting together what goes out.
//!
//! Whoever sends is not trusted. A message is bounded before anything is kept of it, and its parts are read from its own
//! bytes alone: what is too short, too long or no text ends the connection.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// A message may be this long once it is known who sends it.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Before, this is enough for every honest client.
pub(super) const OPENING_BYTES_MAX: usize = 8 * 1024;
/// Replies are collected up to here, then sent.
const FLUSH_BYTES: usize = 64 * 1024;

const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

/// Why a connection cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other side is gone.
    Gone,
    /// It does not speak the protocol.
    Malformed(&'static str),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Tls,
    Gss,
    Cancel { process: i32, secret: i32 },
    Startup { minor: u16, parameters: Vec<(String, String)> },
}

/// A prepared statement or a portal, by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Statement(String),
    Portal(String),
}

/// What a client sends after the start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Query(String),
    Parse {
        name: String,
        sql: String,
        types: Vec<i32>,
    },
    Bind {
        portal: String,
        statement: String,
        formats: Vec<i16>,
        values: Vec<Option<Bytes>>,
        results: Vec<i16>,
    },
    Describe(Target),
    Execute {
        portal: String,
        rows: i32,
    },
    Close(Target),
    Password(Bytes),
    Flush,
    Sync,
    Terminate,
    /// The call of a function by number, which nothing but old clients sends.
    Call,
    /// Data for a COPY, which is over when it is read.
    Copy,
}

/// What comes in.
pub(super) struct Inbox<R> {
    from: R,
    held: BytesMut,
}

impl<R: AsyncRead + Unpin> Inbox<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, held: BytesMut::new() }
    }

    /// The stream under it, if nothing was read ahead. What comes before encryption must not count as if it came after.
    pub(super) fn into_inner(self) -> Option<R> {
        self.held.is_empty().then_some(self.from)
    }

    /// Answers a request for encryption with one letter.
    pub(super) async fn answer(&mut self, letter: u8) -> io::Result<()>
    where
        R: AsyncWrite,
    {
        self.from.write_all(&[letter]).await?;
        self.from.flush().await
    }

    /// The two directions of a stream.
    pub(super) fn split(self) -> (Inbox<ReadHalf<R>>, Outbox<WriteHalf<R>>)
    where
        R: AsyncWrite,
    {
        let (from, to) = tokio::io::split(self.from);
        (Inbox { from, held: self.held }, Outbox::new(to))
    }

    /// The first message, which has no letter.
    pub(super) async fn opening(&mut self) -> Result<Opening, Broken> {
        let length = self.length(0, OPENING_BYTES_MAX).await?;
        let mut body = self.take(4, length).await?;
        let broken = Broken::Malformed("the start of the connection cannot be read");
        let Some(code) = body.i32() else { return Err(broken) };
        match code {
            SSL_REQUEST => Ok(Opening::Tls),
            GSS_REQUEST => Ok(Opening::Gss),
            CANCEL_REQUEST => match (body.i32(), body.i32()) {
                (Some(process), Some(secret)) => Ok(Opening::Cancel { process, secret }),
                _ => Err(broken),
            },
            _ if code >> 16 != 3 => Err(Broken::Malformed("only version 3 of the protocol is spoken here")),
            _ => {
                let mut parameters = Vec::new();
                loop {
                    match body.text() {
                        None => return Err(broken),
                        Some(name) if name.is_empty() => break,
                        Some(name) => {
                            parameters.push((name, body.text().ok_or(Broken::Malformed("a name has no value"))?))
                        }
                    }
                }
                Ok(Opening::Startup { minor: (code & 0xffff) as u16, parameters })
            }
        }
    }

    /// The next message. To give up waiting for it loses nothing.
    pub(super) async fn message(&mut self, bytes_max: usize) -> Result<Message, Broken> {
        let length = self.length(1, bytes_max).await?;
        let letter = self.held.first().copied().unwrap_or_default();
        let mut body = self.take(5, length).await?;
        let message = message(letter, &mut body);
        match message {
            Some(message) if body.0.is_empty() => Ok(message),
            _ => Err(Broken::Malformed("a message cannot be read")),
        }
    }

    /// Returns when the other side is gone. Until then what it sends is kept, as far as a message may be long.
    pub(super) async fn gone(&mut self) {
        while self.held.len() <= MESSAGE_BYTES_MAX {
            if self.fill().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Bytes of the body of the message that is next, whose length stands at `at`.
    async fn length(&mut self, at: usize, bytes_max: usize) -> Result<usize, Broken> {
        loop {
            if let Some(mut length) = self.held.get(at..at + 4) {
                return match usize::try_from(length.get_i32()) {
                    Ok(length) if length < 4 => Err(Broken::Malformed("a message has no length")),
                    Ok(length) if length > bytes_max => Err(Broken::Malformed("a message is too long")),
                    Ok(length) => Ok(length - 4),
                    Err(_) => Err(Broken::Malformed("a message has no length")),
                };
            }
            self.fill().await?;
        }
    }

    /// The body of the message that is next, after a head of so many bytes.
    async fn take(&mut self, head: usize, length: usize) -> Result<Body, Broken> {
        while self.held.len() < head + length {
            self.fill().await?;
        }
        self.held.advance(head);
        Ok(Body(self.held.split_to(length).freeze()))
    }

    async fn fill(&mut self) -> Result<(), Broken> {
        self.held.reserve(4096);
        match self.from.read_buf(&mut self.held).await? {
            0 => Err(Broken::Gone),
            _ => Ok(()),
        }
    }
}

fn message(letter: u8, body: &mut Body) -> Option<Message> {
    Some(match letter {
        b'Q' => Message::Query(body.text()?),
        b'P' => Message::Parse { name: body.text()?, sql: body.text()?, types: body.list(Body::i32)? },
        b'B' => Message::Bind {
            portal: body.text()?,
            statement: body.text()?,
            formats: body.list(Body::i16)?,
            values: body.list(Body::value)?,
            results: body.list(Body::i16)?,
        },
        b'D' => Message::Describe(body.target()?),
        b'E' => Message::Execute { portal: body.text()?, rows: body.i32()? },
        b'C' => Message::Close(body.target()?),
        b'p' => Message::Password(body.rest()),
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'F' => {
            body.rest();
            Message::Call
        }
        b'd' | b'c' | b'f' => {
            body.rest();
            Message::Copy
        }
        _ => return None,
    })
}

/// The bytes of one message, read from the front.
pub(super) struct Body(Bytes);

impl Body {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.0.len()).then(|| self.0.split_to(count))
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.bytes(4).map(|mut bytes| bytes.get_i32())
    }

    fn i16(&mut self) -> Option<i16> {
        self.bytes(2).map(|mut bytes| bytes.get_i16())
    }

    /// Text that ends with a zero byte.
    pub(super) fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.bytes(end + 1)?;
        String::from_utf8(text.get(..end)?.to_vec()).ok()
    }

    /// Bytes after their number; -1 stands for null.
    pub(super) fn value(&mut self) -> Option<Option<Bytes>> {
        match self.i32()? {
            -1 => Some(None),
            length => self.bytes(usize::try_from(length).ok()?).map(Some),
        }
    }

    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // Not collected into a vector of the announced size: the number is the sender's word.
        let count = u16::from_be_bytes(self.i16()?.to_be_bytes());
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn target(&mut self) -> Option<Target> {
        match self.bytes(1)?.first()? {
            b'S' => self.text().map(Target::Statement),
            b'P' => self.text().map(Target::Portal),
            _ => None,
        }
    }
}

/// Which state the session is in, as the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    Idle,
    Open,
    Failed,
}

/// A column as the client is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) oid: i32,
    pub(super) length: i16,
    pub(super) binary: bool,
}

/// What goes out. It is sent when there is enough of it, or on [`flush`](Self::flush).
pub(super) struct Outbox<W> {
    to: W,
    held: BytesMut,
    sent: u64,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    fn new(to: W) -> Self {
        Self { to, held: BytesMut::new(), sent: 0 }
    }

    /// Bytes that were put in so far.
    pub(super) fn bytes(&self) -> u64 {
        self.sent.saturating_add(self.held.len() as u64)
    }

    /// Whether there is enough to send.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() >= FLUSH_BYTES
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.sent = self.sent.saturating_add(self.held.len() as u64);
        self.to.write_all(&self.held).await?;
        self.held.clear();
        self.to.flush().await
    }

    pub(super) async fn close(&mut self) {
        // Whoever is gone cannot be told goodbye.
        let _ = self.flush().await;
        let _ = self.to.shutdown().await;
    }

    pub(super) fn authentication(&mut self, code: i32, data: &[u8]) {
        self.put(b'R', |body| {
            body.put_i32(code);
            body.put_slice(data);
        });
    }

    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        self.put(b'S', |body| {
            put_text(body, name);
            put_text(body, value);
        });
    }

    pub(super) fn key(&mut self, process: i32, secret: i32) {
        self.put(b'K', |body| {
            body.put_i32(process);
            body.put_i32(secret);
        });
    }

    /// Says that only version 3.0 is spoken, and which options are not known.
    pub(super) fn negotiate(&mut self, unknown: &[&str]) {
        self.put(b'v', |body| {
            body.put_i32(3 << 16);
            body.put_i32(i32::try_from(unknown.len()).unwrap_or_default());
            for name in unknown {
                put_text(body, name);
            }
        });
    }

    pub(super) fn ready(&mut self, transaction: Transaction) {
        self.put(b'Z', |body| {
            body.put_u8(match transaction {
                Transaction::Idle => b'I',
                Transaction::Open => b'T',
                Transaction::Failed => b'E',
            });
        });
    }

    /// An error or a notice: its fields, each with its letter.
    pub(super) fn report(&mut self, error: bool, fields: &[(u8, &str)]) {
        self.put(if error { b'E' } else { b'N' }, |body| {
            for (letter, text) in fields {
                body.put_u8(*letter);
                put_text(body, text);
            }
            body.put_u8(0);
        });
    }

    pub(super) fn parse_complete(&mut self) {
        self.put(b'1', |_| {});
    }

    pub(super) fn bind_complete(&mut self) {
        self.put(b'2', |_| {});
    }

    pub(super) fn close_complete(&mut self) {
        self.put(b'3', |_| {});
    }

    pub(super) fn no_data(&mut self) {
        self.put(b'n', |_| {});
    }

    pub(super) fn suspended(&mut self) {
        self.put(b's', |_| {});
    }

    pub(super) fn empty(&mut self) {
        self.put(b'I', |_| {});
    }

    pub(super) fn complete(&mut self, tag: &str) {
        self.put(b'C', |body| put_text(body, tag));
    }

    pub(super) fn parameter_types(&mut self, types: &[i32]) {
        self.put(b't', |body| {
            put_count(body, types.len());
            for oid in types {
                body.put_i32(*oid);
            }
        });
    }

    pub(super) fn columns(&mut self, columns: &[Column]) {
        self.put(b'T', |body| {
            put_count(body, columns.len());
            for column in columns {
                put_text(body, &column.name);
                body.put_i32(0);
                body.put_i16(0);
                body.put_i32(column.oid);
                body.put_i16(column.length);
                body.put_i32(-1);
                body.put_i16(i16::from(column.binary));
            }
        });
    }

    /// A row: how many values it has, and what writes each.
    pub(super) fn row<E>(
        &mut self,
        values: usize,
        mut value: impl FnMut(usize, &mut BytesMut) -> Result<bool, E>,
    ) -> Result<(), E> {
        let start = self.held.len();
        self.held.put_u8(b'D');
        self.held.put_i32(0);
        put_count(&mut self.held, values);
        for index in 0..values {
            let at = self.held.len();
            self.held.put_i32(-1);
            match value(index, &mut self.held) {
                Ok(true) => put_length(&mut self.held, at, at + 4),
                Ok(false) => self.held.truncate(at + 4),
                Err(error) => {
                    self.held.truncate(start);
                    return Err(error);
                }
            }
        }
        put_length(&mut self.held, start + 1, start + 1);
        Ok(())
    }

    fn put(&mut self, letter: u8, body: impl FnOnce(&mut BytesMut)) {
        self.held.put_u8(letter);
        let at = self.held.len();
        self.held.put_i32(0);
        body(&mut self.held);
        put_length(&mut self.held, at, at);
    }
}

/// Writes at `at` how many bytes there are from `from` on.
pub(super) fn put_length(held: &mut BytesMut, at: usize, from: usize) {
    let length = i32::try_from(held.len().saturating_sub(from)).unwrap_or(i32::MAX);
    if let Some(place) = held.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn put_count(held: &mut BytesMut, count: usize) {
    held.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}

/// Text, and the zero byte that ends it; a zero byte within would end it too early.
fn put_text(held: &mut BytesMut, text: &str) {
    held.put_slice(text.split('\0').next().unwrap_or_default().as_bytes());
    held.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Message, Broken> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Inbox::new(bytes).message(MESSAGE_BYTES_MAX))
    }

    fn framed(letter: u8, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(body.len() + 4).unwrap();
        [&[letter], length.to_be_bytes().as_slice(), body].concat()
    }

    #[test]
    fn messages_are_read_whole_or_not_at_all() {
        let bind = framed(b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\0");
        let expected = Message::Bind {
            portal: "p".to_owned(),
            statement: "s".to_owned(),
            formats: vec![1],
            values: vec![Some(Bytes::from_static(b"hi")), None],
            results: Vec::new(),
        };
        assert_eq!(read(&bind).unwrap(), expected);
        // Every cut of the body, and a byte too many, is refused; none is a panic.
        for cut in 0..bind.len() - 5 {
            assert!(matches!(read(&framed(b'B', &bind[5..5 + cut])), Err(Broken::Malformed(_))), "{cut}");
        }
        assert!(matches!(read(&framed(b'S', b"x")), Err(Broken::Malformed(_))));
    }

    #[test]
    fn lengths_are_not_believed() {
        for length in [-1i32, 0, 3, i32::MAX, 2 << 20] {
            let bytes = [b"Q".as_slice(), &length.to_be_bytes(), b"SELECT 1\0"].concat();
            assert!(matches!(read(&bytes), Err(Broken::Malformed(_))), "{length}");
        }
        // A number of values that the message cannot have.
        assert!(matches!(read(&framed(b'B', b"\0\0\xff\xff")), Err(Broken::Malformed(_))));
        assert!(matches!(read(&framed(b'Q', b"\xff\xfe\0")), Err(Broken::Malformed(_))));
        assert!(matches!(read(&framed(b'~', b"")), Err(Broken::Malformed(_))));
    }
}
