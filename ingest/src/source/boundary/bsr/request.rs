//! Requests: the protobuf messages in the chunks of an SSH recording (package `ssh.v1` of Boundary's recorder).
//!
//! Fields are declared as far as they are kept. That is all of them but one: the cookie of an X11 request lets its
//! holder onto the client's screen, so it is not even read. What a later version adds is passed over and stays in the
//! record.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::{DecodeError, Message};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A request of a client or a server, by the type of its chunk.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Request {
    Session(Session),
    X11(X11),
    ForwardedTcpip(ForwardedTcpip),
    DirectTcpip(DirectTcpip),
    Pty(Pty),
    Env(Env),
    Shell(Shell),
    Exec(Exec),
    Subsystem(Subsystem),
    WindowChange(WindowChange),
    X11Forward(X11Forward),
    XonXoff(XonXoff),
    Signal(Signal),
    ExitStatus(ExitStatus),
    ExitSignal(ExitSignal),
    Break(Break),
    TcpipForward(TcpipForward),
    CancelTcpipForward(TcpipForward),
    Unknown(Unknown),
}

impl Request {
    /// Reads the data of a chunk; `None` when its type is no request that is known.
    pub(super) fn read(kind: [u8; 4], data: &[u8]) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match &kind {
            b"SESS" => Self::Session(Message::decode(data)?),
            b"X11R" => Self::X11(Message::decode(data)?),
            b"FTCP" => Self::ForwardedTcpip(Message::decode(data)?),
            b"DTCP" => Self::DirectTcpip(Message::decode(data)?),
            b"PTYR" => Self::Pty(Message::decode(data)?),
            b"ENVR" => Self::Env(Message::decode(data)?),
            b"SHLL" => Self::Shell(Message::decode(data)?),
            b"EXEC" => Self::Exec(Message::decode(data)?),
            b"SUBS" => Self::Subsystem(Message::decode(data)?),
            b"WCHG" => Self::WindowChange(Message::decode(data)?),
            b"X11F" => Self::X11Forward(Message::decode(data)?),
            b"XOXO" => Self::XonXoff(Message::decode(data)?),
            b"SGNL" => Self::Signal(Message::decode(data)?),
            b"EXST" => Self::ExitStatus(Message::decode(data)?),
            b"EXSG" => Self::ExitSignal(Message::decode(data)?),
            b"BREK" => Self::Break(Message::decode(data)?),
            b"TCPF" => Self::TcpipForward(Message::decode(data)?),
            b"CTPF" => Self::CancelTcpipForward(Message::decode(data)?),
            b"UNKR" => Self::Unknown(Message::decode(data)?),
            _ => return Ok(None),
        }))
    }

    /// The name of the event type: SSH's own of the request.
    pub(super) fn source_type(&self) -> &'static str {
        match self {
            Self::Session(_) => "bsr.session",
            Self::X11(_) => "bsr.x11",
            Self::ForwardedTcpip(_) => "bsr.forwarded-tcpip",
            Self::DirectTcpip(_) => "bsr.direct-tcpip",
            Self::Pty(_) => "bsr.pty-req",
            Self::Env(_) => "bsr.env",
            Self::Shell(_) => "bsr.shell",
            Self::Exec(_) => "bsr.exec",
            Self::Subsystem(_) => "bsr.subsystem",
            Self::WindowChange(_) => "bsr.window-change",
            Self::X11Forward(_) => "bsr.x11-req",
            Self::XonXoff(_) => "bsr.xon-xoff",
            Self::Signal(_) => "bsr.signal",
            Self::ExitStatus(_) => "bsr.exit-status",
            Self::ExitSignal(_) => "bsr.exit-signal",
            Self::Break(_) => "bsr.break",
            Self::TcpipForward(_) => "bsr.tcpip-forward",
            Self::CancelTcpipForward(_) => "bsr.cancel-tcpip-forward",
            Self::Unknown(_) => "bsr.unknown",
        }
    }

    /// What was done, as one text: a command, the name of a subsystem, a variable or a signal, the end of a forwarding.
    pub(super) fn action(&self) -> Option<String> {
        let text = match self {
            Self::Exec(exec) => exec.command.clone(),
            Self::Subsystem(subsystem) => subsystem.subsystem_name.clone(),
            // The value may be a secret, and an action is read by more people than a detail.
            Self::Env(env) => env.variable_name.clone(),
            Self::Signal(signal) => signal.signal_name.clone(),
            Self::ExitSignal(signal) => signal.signal_name.clone(),
            Self::DirectTcpip(forward) => place(&forward.host, forward.port),
            Self::ForwardedTcpip(forward) => place(&forward.address, forward.port),
            Self::TcpipForward(forward) | Self::CancelTcpipForward(forward) => {
                place(&forward.address_to_bind, forward.port_to_bind)
            }
            Self::X11(x11) => place(&x11.originator_address, x11.originator_port),
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    /// The fields as an object.
    pub(super) fn fields(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// `host:port`, with brackets around an address of IPv6.
fn place(host: &str, port: u32) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

/// Opens a channel for a program.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Session {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(uint32, tag = "2")]
    sender_channel: u32,
    #[prost(uint32, tag = "3")]
    initial_window_size: u32,
    #[prost(uint32, tag = "4")]
    maximum_packet_size: u32,
}

/// Opens a channel for a program's window on the client's screen.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct X11 {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(uint32, tag = "2")]
    sender_channel: u32,
    #[prost(uint32, tag = "3")]
    initial_window_size: u32,
    #[prost(uint32, tag = "4")]
    maximum_packet_size: u32,
    #[prost(string, tag = "5")]
    originator_address: String,
    #[prost(uint32, tag = "6")]
    originator_port: u32,
}

/// Opens a channel from a port of the target to the client.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct ForwardedTcpip {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(uint32, tag = "2")]
    sender_channel: u32,
    #[prost(uint32, tag = "3")]
    initial_window_size: u32,
    #[prost(uint32, tag = "4")]
    maximum_packet_size: u32,
    #[prost(string, tag = "5")]
    address: String,
    #[prost(uint32, tag = "6")]
    port: u32,
    #[prost(string, tag = "7")]
    originator_ip_address: String,
    #[prost(uint32, tag = "8")]
    originator_port: u32,
}

/// Opens a channel from the client through the target to a third host.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct DirectTcpip {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(uint32, tag = "2")]
    sender_channel: u32,
    #[prost(uint32, tag = "3")]
    initial_window_size: u32,
    #[prost(uint32, tag = "4")]
    maximum_packet_size: u32,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(uint32, tag = "6")]
    port: u32,
    #[prost(string, tag = "7")]
    originator_ip_address: String,
    #[prost(uint32, tag = "8")]
    originator_port: u32,
}

/// Asks for a terminal.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Pty {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(string, tag = "3")]
    term_env_var: String,
    #[prost(uint32, tag = "4")]
    pub(super) terminal_width_characters: u32,
    #[prost(uint32, tag = "5")]
    pub(super) terminal_height_rows: u32,
    #[prost(uint32, tag = "6")]
    terminal_width_pixels: u32,
    #[prost(uint32, tag = "7")]
    terminal_height_pixels: u32,
    #[prost(bytes = "vec", tag = "8")]
    #[serde(serialize_with = "base64")]
    encoded_terminal_mode: Vec<u8>,
}

/// Sets a variable of the environment.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Env {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(string, tag = "3")]
    variable_name: String,
    #[prost(string, tag = "4")]
    variable_value: String,
}

/// Starts the account's shell.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Shell {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
}

/// Runs a command.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Exec {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(string, tag = "3")]
    #[serde(skip)]
    command: String,
}

/// Starts a subsystem, mostly `sftp`.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Subsystem {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(string, tag = "3")]
    #[serde(skip)]
    subsystem_name: String,
}

/// Tells the terminal's new size.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct WindowChange {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(uint32, tag = "3")]
    pub(super) terminal_width_columns: u32,
    #[prost(uint32, tag = "4")]
    pub(super) terminal_height_rows: u32,
    #[prost(uint32, tag = "5")]
    terminal_width_pixels: u32,
    #[prost(uint32, tag = "6")]
    terminal_height_pixels: u32,
}

/// Asks for X11 to be forwarded.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct X11Forward {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(bool, tag = "3")]
    single_connection: bool,
    #[prost(string, tag = "4")]
    x11_authentication_protocol: String,
    #[prost(uint32, tag = "6")]
    x11_screen_number: u32,
}

/// Tells whether the client does flow control.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct XonXoff {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(bool, tag = "3")]
    client_can_do: bool,
}

/// Sends the program a signal.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Signal {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(string, tag = "3")]
    #[serde(skip)]
    signal_name: String,
}

/// Tells how the program ended.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct ExitStatus {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(uint32, tag = "3")]
    pub(super) exit_status: u32,
}

/// Tells by which signal the program ended.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct ExitSignal {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(string, tag = "3")]
    #[serde(skip)]
    signal_name: String,
    #[prost(bool, tag = "4")]
    core_dumped: bool,
    #[prost(string, tag = "5")]
    error_message: String,
    #[prost(string, tag = "6")]
    language_tag: String,
}

/// Sends a break.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Break {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(uint32, tag = "3")]
    break_length_ms: u32,
}

/// Asks for a port of the target to be forwarded, or no longer.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct TcpipForward {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(string, tag = "3")]
    address_to_bind: String,
    #[prost(uint32, tag = "4")]
    port_to_bind: u32,
}

/// A request that the recorder did not know.
#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Unknown {
    #[prost(string, tag = "1")]
    request_type: String,
    #[prost(bool, tag = "2")]
    want_reply: bool,
    #[prost(bytes = "vec", tag = "3")]
    #[serde(serialize_with = "base64")]
    data: Vec<u8>,
}
