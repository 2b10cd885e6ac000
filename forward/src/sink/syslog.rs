//! Syslog (RFC 5424) over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425). What is sent is made in
//! [`schema::syslog`](crate::schema::syslog).
//!
//! No receiver of syslog acknowledges anything: that bytes were taken by this machine's network says nothing of the other
//! end. What was sent last is therefore sent again after a connection has ended, and a connection is looked at before it
//! is used again, and at the end: what the other end has closed is noticed then. Still, a destination of this kind is best
//! effort: what lies in the network when this process is killed may be lost, and over UDP whatever the network loses.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{BatchSize, Item, Refusal, Reply, SendError, Sink};
use crate::destination::{Framing, Refused, SyslogSettings, Transport};

/// Of what was sent so recently nobody can know whether it arrived, when the connection ends.
const DOUBTFUL: Duration = Duration::from_secs(5);

/// And not of more than the networks of both machines may hold.
const DOUBTFUL_BYTES_MAX: usize = 16 << 20;

/// A server that refuses our certificate says so after the connection is made, as TLS 1.3 has it. One that says nothing
/// for so long does not.
const WELCOME: Duration = Duration::from_secs(1);

/// How long a receiver has to read what is left, at the end.
const GOODBYE: Duration = Duration::from_secs(5);

/// So much is given to the network at once.
const WRITE_BYTES: usize = 64 << 10;

/// The largest datagram of UDP over IPv4.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Sends to one receiver.
pub struct Syslog {
    settings: SyslogSettings,
    tls: Option<TlsConnector>,
    /// How long connecting and sending may take.
    pub(super) timeout: Duration,
    line: Mutex<Line>,
}

/// The connection, and what may be lost with it.
#[derive(Default)]
struct Line {
    open: Option<Open>,
    doubtful: VecDeque<(Instant, Bytes)>,
    doubtful_bytes: usize,
}

enum Open {
    Stream(Box<dyn Duplex>),
    Datagrams(UdpSocket),
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Syslog {
    /// # Errors
    ///
    /// [`Refused`] for settings that make no sense.
    pub fn new(settings: SyslogSettings) -> Result<Self, Refused> {
        if settings.transport != Transport::Tls && !settings.is_here() && !settings.unencrypted {
            return Err(Refused::new(format!(
                "syslog to {} is not encrypted: use transport = \"tls\", or say unencrypted = true",
                settings.host
            )));
        }
        if settings.facility > 23 {
            return Err(Refused::new(format!("facility {} is not one of 0 to 23", settings.facility)));
        }
        let tls = match settings.transport {
            Transport::Tls => Some(TlsConnector::from(Arc::new(settings.tls.client()?))),
            Transport::Tcp | Transport::Udp => None,
        };
        Ok(Self { settings, tls, timeout: Duration::from_secs(30), line: Mutex::default() })
    }

    async fn connect(&self) -> io::Result<Open> {
        let at = (self.settings.host.as_str(), self.settings.port);
        if self.settings.transport == Transport::Udp {
            let to = tokio::net::lookup_host(at).await?.next().ok_or_else(|| io::Error::other("no address"))?;
            let any = if to.is_ipv4() { SocketAddr::from(([0; 4], 0)) } else { SocketAddr::from(([0_u16; 8], 0)) };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(to).await?;
            return Ok(Open::Datagrams(socket));
        }
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Open::Stream(Box::new(stream))) };
        let name = ServerName::try_from(self.settings.host.clone()).map_err(io::Error::other)?;
        let mut stream = tls.connect(name, stream).await?;
        if let Ok(refused) = timeout(WELCOME, welcome(&mut stream)).await {
            refused?;
        }
        Ok(Open::Stream(Box::new(stream)))
    }

    async fn write(&self, line: &mut Line, items: &[&Item]) -> io::Result<()> {
        // A connection is put back when all is written. Where this is given up in between, half a message may be on its
        // way, and the next goes over another connection.
        let open = match line.open.take() {
            Some(mut open) => match open.end().await {
                None => Some(open),
                Some(error) if line.was_used_since(DOUBTFUL) => return Err(error),
                // An end after a silence is nothing to wait for.
                Some(_) => None,
            },
            None => None,
        };
        let (mut open, again) = match open {
            Some(open) => (open, Vec::new()),
            None => (self.connect().await?, line.doubtful.iter().map(|(_, body)| body.clone()).collect()),
        };
        let bodies = again.iter().chain(items.iter().map(|item| &item.body));
        match &mut open {
            Open::Datagrams(socket) => {
                for body in bodies {
                    socket.send(body).await?;
                }
            }
            Open::Stream(stream) => {
                let mut bytes = Vec::with_capacity(2 * WRITE_BYTES);
                for body in bodies {
                    match self.settings.framing {
                        Framing::Octets => {
                            bytes.extend_from_slice(format!("{} ", body.len()).as_bytes());
                            bytes.extend_from_slice(body);
                        }
                        Framing::Lines => {
                            bytes.extend_from_slice(body);
                            bytes.push(b'\n');
                        }
                    }
                    if bytes.len() >= WRITE_BYTES {
                        stream.write_all(&bytes).await?;
                        bytes.clear();
                    }
                }
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            }
        }
        line.open = Some(open);
        line.sent(items, !again.is_empty());
        Ok(())
    }
}

impl Line {
    fn was_used_since(&self, time: Duration) -> bool {
        self.doubtful.back().is_some_and(|(sent, _)| sent.elapsed() < time)
    }

    async fn say_goodbye(&mut self) -> io::Result<()> {
        if let Some(Open::Stream(mut stream)) = self.open.take() {
            stream.shutdown().await?;
            loop {
                match stream.read(&mut [0; 64]).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    // It left without the farewell of TLS, as many do.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(error),
                }
            }
        }
        self.doubtful.clear();
        self.doubtful_bytes = 0;
        Ok(())
    }

    /// Keeps what was sent now, and forgets what the same connection took long ago.
    fn sent(&mut self, items: &[&Item], all_again: bool) {
        let now = Instant::now();
        if all_again {
            self.doubtful.iter_mut().for_each(|(sent, _)| *sent = now);
        }
        for item in items {
            self.doubtful_bytes += item.body.len();
            self.doubtful.push_back((now, item.body.clone()));
        }
        while let Some((sent, body)) = self.doubtful.front()
            && (now.duration_since(*sent) >= DOUBTFUL || self.doubtful_bytes > DOUBTFUL_BYTES_MAX)
        {
            self.doubtful_bytes -= body.len();
            self.doubtful.pop_front();
        }
    }
}

impl Open {
    /// How the connection has ended, if it has. A receiver of syslog never says anything: one that does is none.
    async fn end(&mut self) -> Option<io::Error> {
        let Self::Stream(stream) = self else { return None };
        let mut some = [0; 64];
        match timeout(Duration::ZERO, stream.read(&mut some)).await {
            Err(_) => None,
            Ok(Ok(0)) => Some(io::Error::other("the receiver closed the connection: what was sent last is sent again")),
            Ok(Ok(_)) => Some(io::Error::other("the receiver answers, which is not syslog")),
            Ok(Err(error)) => Some(error),
        }
    }
}

/// Waits until a server shows that it took us, which it need not, or that it did not.
async fn welcome(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    if stream.get_ref().1.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return Ok(());
    }
    poll_fn(|context| {
        let mut some = [0; 64];
        match Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(&mut some)) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(io::Error::other("the receiver closed the connection"))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // It gives tickets to those alone whose certificate it has seen.
            Poll::Pending if stream.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn failed(error: &io::Error) -> SendError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired,
        )) => SendError::Unauthorised(error.to_string()),
        _ => SendError::transient(error.to_string()),
    }
}

#[async_trait]
impl Sink for Syslog {
    fn batch_size(&self) -> BatchSize {
        match self.settings.transport {
            Transport::Udp => BatchSize { bytes: DATAGRAM_BYTES_MAX, items: 1 },
            Transport::Tcp | Transport::Tls => BatchSize { bytes: 256_000, items: 200 },
        }
    }

    async fn send(&self, items: &[&Item]) -> Result<Reply, SendError> {
        if self.settings.transport == Transport::Udp && items.iter().any(|item| item.body.len() > DATAGRAM_BYTES_MAX) {
            let answer = format!("a datagram has at most {DATAGRAM_BYTES_MAX} bytes");
            return Err(SendError::TooLarge(Refusal { status: None, answer }));
        }
        let mut line = self.line.lock().await;
        match timeout(self.timeout, self.write(&mut line, items)).await {
            Ok(Ok(())) => Ok(Reply::default()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(SendError::transient(format!("not done after {} s", self.timeout.as_secs_f32()))),
        }
    }

    /// Says that nothing will follow, and waits until the receiver has read everything and closes as well. One that does
    /// not read everything gets it once more.
    async fn close(&self) {
        let mut line = self.line.lock().await;
        let _ = timeout(GOODBYE, async {
            while !line.doubtful.is_empty() {
                if self.write(&mut line, &[]).await.is_err() || line.say_goodbye().await.is_err() {
                    tokio::time::sleep(GOODBYE / 50).await;
                }
            }
        })
        .await;
        line.open = None;
    }
}
