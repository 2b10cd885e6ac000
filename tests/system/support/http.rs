//! As much of an HTTP/1.1 client as the tests need: one request on a connection of its own, answers with a length or in
//! chunks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    address: SocketAddr,
}

/// What it answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").expect("an answer")
    }

    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
            .expect("an answer")
    }

    /// # Errors
    ///
    /// Those of the connection, and an answer that is not HTTP.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            request += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        let exchange = || -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            stream.write_all(request.as_bytes())?;
            // A server may refuse a body before it has read it, and answers nevertheless.
            let _ = stream.write_all(body);
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Err(error) if answer.is_empty() => Err(error),
                _ => Ok(answer),
            }
        };
        parse(&exchange().map_err(|error| format!("{method} {path}: {error}"))?)
    }
}

/// Server-sent events, as they come.
pub(crate) struct Events {
    stream: BufReader<TcpStream>,
    pub(crate) status: u16,
    text: String,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sent {
    pub(crate) id: Option<String>,
    /// `message` where it has no name.
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Client {
    /// Asks for server-sent events; the answer goes on.
    pub(crate) fn events(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n", self.address);
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT).expect("a connection");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        stream.write_all(format!("{request}\r\n").as_bytes()).expect("a request");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("a status");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).expect("a header");
        }
        Events { stream, status, text: String::new() }
    }
}

impl Iterator for Events {
    type Item = Sent;

    /// Waits for the next; `None` at the end of the answer.
    fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let mut sent = Sent { name: "message".to_owned(), ..Sent::default() };
                let mut is_event = false;
                for line in event.lines() {
                    let (field, value) = line.split_once(':').expect("a field");
                    let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
                    is_event |= !field.is_empty();
                    match field {
                        "id" => sent.id = Some(value),
                        "event" => sent.name = value,
                        "data" => sent.data += &value,
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                // A comment keeps the connection.
                if is_event {
                    return Some(sent);
                }
                continue;
            }
            let mut size = String::new();
            self.stream.read_line(&mut size).expect("a chunk");
            let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk");
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).expect("a chunk");
            if size == 0 {
                return None;
            }
            self.text += std::str::from_utf8(&chunk[..size]).expect("text");
        }
    }
}

fn parse(answer: &[u8]) -> Result<Answer, String> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("an answer without an end of its head")?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|error| error.to_string())?;
    let mut body = answer[end + 4..].to_vec();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        body = unchunk(&body)?;
    } else if let Some(length) = headers.get("content-length")
        && length != &body.len().to_string()
    {
        return Err(format!("{} bytes of a body of {length}", body.len()));
    }
    Ok(Answer { status: status.ok_or("an answer without a status")?, headers, body })
}

fn unchunk(mut body: &[u8]) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|bytes| bytes == b"\r\n").ok_or("a chunk is cut off")?;
        let size = std::str::from_utf8(&body[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or("a chunk without a size")?;
        if size == 0 {
            return Ok(whole);
        }
        whole.extend(body.get(end + 2..end + 2 + size).ok_or("a chunk is cut off")?);
        body = body.get(end + 4 + size..).ok_or("a chunk is cut off")?;
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }
}

/// The samples of Prometheus' text format, by name and labels as written; every line has to be one, or a comment.
pub(crate) fn samples(metrics: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let name = series.split('{').next().unwrap_or_default();
        assert!(
            name.starts_with("custody_") && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{line}"
        );
        assert!(series.ends_with('}') == series.contains('{'), "{line}");
        let value = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

/// The sum of the samples of a name whose labels have all of these texts.
pub(crate) fn total(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let is_it =
        |series: &str| series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label));
    samples.iter().filter(|(series, _)| is_it(series)).map(|(_, value)| value).sum()
}
