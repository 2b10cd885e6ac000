#!/usr/bin/env python3
"""Receives what Custody forwards, by the letter of each protocol, and fails on demand.

    receiver.py --listen hec --listen bulk=9200 --listen syslog-tls [--state DIR] [--no-keep] [--ack] [--https] …

Listens on 127.0.0.1, on a free port or on the one that is named, and prints one line of JSON when it is ready:
{"control": PORT, "ports": {"hec": PORT, …}, "pid": N, "state": DIR, "tls": {"ca": FILE, "client": FILE, …}}.
Ends on SIGTERM, on SIGINT, and when standard input closes (not with --detached). Standard library only; certificates
for syslog-tls and --https are made by the `openssl` command, in DIR/tls. `receiver.py --certificates DIR` does only
that, for the daemons whose configurations are beside this file (fetch.sh brings them).

Protocols, and what is held against them:

- hec          Splunk's HTTP Event Collector: POST /services/collector/event and /services/collector, concatenated JSON,
               gzip; the token; codes 2-7 and 10-15; with --ack channels and POST /services/collector/ack, where true is
               said once; GET /services/collector/health/1.0. As in Splunk, what stands before an event that is refused
               (`invalid-event-number`) is accepted.
- bulk         Elasticsearch and OpenSearch: POST /_bulk and /INDEX/_bulk, NDJSON, gzip; a data stream (logs-*-*, and
               what a template says) takes only `create` with @timestamp; a status for each item, 409 for an _id that is
               there; PUT, GET, HEAD and DELETE /_index_template/NAME; GET /. Mappings are not applied.
- webhook      POST anywhere: Custody-Delivery-Id, Custody-Timestamp (Unix seconds, five minutes), Custody-Signature
               `v1=hex(HMAC-SHA256(secret, timestamp "." body))`, one or several with commas between them; the body as
               it was sent is what is signed; a JSON array, or NDJSON.
- sentinel     Azure Monitor's Logs Ingestion API: POST /TENANT/oauth2/v2.0/token with client credentials, then POST
               /dataCollectionRules/ID/streams/STREAM?api-version=2023-01-01; a JSON array, gzip, 1048576 bytes at most
               as sent and as unpacked.
- syslog-udp, syslog-tcp, syslog-tls   RFC 5424, over RFC 5426, RFC 6587 (octet counting, or LF) and RFC 5425 (octet
               counting only, and close_notify at the end).

What an event is called: HEC `fields.event_id`, or as in webhook and sentinel; these `event_id`, `metadata.uid` or
`EventId`; bulk `_id`; syslog the parameter eventId of the element custody@NUMBER.

Whatever is accepted is a line of DIR/PROTOCOL.ndjson before it is answered, {"id": …, "body": …} (bulk: "index", too):
a receiver that was killed goes on with the same DIR, and 409 with it. (Acks of HEC and tokens are forgotten.) Memory
holds ids and where each line is. With --no-keep the lines have no bodies.

The control port speaks plain HTTP and JSON:

    GET  /received[?protocol=P][&ids=0]   for each protocol: requests, refused, bytes (as sent), events, distinct,
                                          duplicates, conflicts (409), largest (event, in bytes), connections,
                                          problems_count, problems (the first 1000, as text), ids in order of arrival
    GET  /events?protocol=P[&from=N][&limit=M]   the lines themselves, as an array
    GET  /faults                          what is still to come
    POST /faults                          {"protocol": P, "next": [FAULT, …], "always": FAULT, "poison": REGEX,
                                          "clear": true}; null takes `always` or `poison` away again

A refusal that a fault asked for is no problem, one that the sender brought about is. Each FAULT of `next` is for one
request (of syslog: one message) and goes before `always`. Its members, which combine:

    status: 503           is answered in the protocol's words; nothing is accepted
    retry_after: 1        the header with it
    redirect: URL         307; nothing is accepted
    close: before_read | before_reply    the connection is closed, nothing is accepted
    accept_then_close: true              accepted, and closed without an answer
    stall_seconds: 5      accepted (unless there is a status), and answered late; syslog: reads nothing for that long
    reset_mid_frame: true the connection is reset with a part of the body, or the frame, read
    partial: [{"match": REGEX, "status": 429}]   the events whose raw JSON matches are refused: bulk those items, hec
                          from the first on, webhook and sentinel the whole request
    reply_bytes: N        the answer is padded to N bytes
    ack: "never" | SECONDS               hec: when the ackId of this request becomes true
    after: N              N requests go well first
    on: events | ack | health | token | other    which requests are meant; events unless said otherwise

`poison` is a `partial` with 400 that stays. Syslog over TCP has close, accept_then_close, stall_seconds,
reset_mid_frame and after; over UDP nothing.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

HTTP_PROTOCOLS = ("hec", "bulk", "webhook", "sentinel")
SYSLOG_PROTOCOLS = ("syslog-udp", "syslog-tcp", "syslog-tls")
PROTOCOLS = HTTP_PROTOCOLS + SYSLOG_PROTOCOLS

PROBLEMS_MAX = 1000
HEAD_MAX = 65_536
BODY_MAX = 100 << 20  # Elasticsearch's http.max_content_length.
SENTINEL_MAX = 1_048_576
SENTINEL_VALUE_MAX = 65_536
FRAME_MAX = 1 << 20
WEBHOOK_AGE_MAX_S = 300

stopping = threading.Event()


# --- What was received ------------------------------------------------------------------------------------------------


class Event(NamedTuple):
    id: str | None
    body: str  # JSON on one line
    index: str | None = None  # bulk only


class Store:
    """The events of one protocol: their lines in a file; their ids, and what was counted, in memory."""

    def __init__(self, path: Path, keep: bool) -> None:
        self.lock = threading.Lock()
        self.requests = self.refused = self.bytes = self.conflicts = self.largest = self.connections = 0
        self.problems: list[str] = []
        self.problems_count = 0
        self.ids: list[str | None] = []
        self.distinct: set[str] = set()
        self.documents: set[tuple[str | None, str]] = set()
        self._keep = keep
        self._ends = array("Q")
        self._file = open(path, "a+b", buffering=0)
        self._load()

    def _load(self) -> None:
        end = 0
        self._file.seek(0)
        with open(self._file.fileno(), "rb", closefd=False) as file:
            for line in file:
                # A line without an end was never acknowledged.
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                event = json.loads(line)
                self._remember(event["id"], event.get("index"), end)
        if self._file.seek(0, os.SEEK_END) != end:
            self._file.truncate(end)

    def _remember(self, event_id: str | None, index: str | None, end: int) -> None:
        self.ids.append(event_id)
        self._ends.append(end)
        if event_id is not None:
            self.distinct.add(event_id)
            if index is not None:
                self.documents.add((index, event_id))

    def accept(self, events: list[Event]) -> None:
        """Makes events durable. The caller holds the lock."""
        lines = []
        end = self._ends[-1] if self._ends else 0
        for event in events:
            where = "" if event.index is None else f',"index":{json.dumps(event.index)}'
            body = f',"body":{event.body}' if self._keep else ""
            line = f'{{"id":{json.dumps(event.id)}{where}{body}}}\n'.encode()
            self.largest = max(self.largest, len(event.body))
            lines.append(line)
            end += len(line)
            self._remember(event.id, event.index, end)
        data = b"".join(lines)
        while data:
            data = data[self._file.write(data) :]

    def problem(self, text: str) -> None:
        with self.lock:
            self.problems_count += 1
            if len(self.problems) < PROBLEMS_MAX:
                self.problems.append(text[:500])

    def received(self, with_ids: bool) -> dict:
        with self.lock:
            known = [event_id for event_id in self.ids if event_id is not None]
            answer = {
                name: getattr(self, name)
                for name in ("requests", "refused", "bytes", "conflicts", "largest", "connections", "problems_count")
            }
            answer |= {
                "events": len(self.ids),
                "distinct": len(self.distinct),
                "duplicates": len(known) - len(self.distinct),
                "problems": list(self.problems),
            }
            return answer | ({"ids": list(self.ids)} if with_ids else {})

    def lines(self, first: int, limit: int | None) -> bytes:
        """Lines from the FIRST on, as a JSON array."""
        with self.lock:
            last = len(self.ids) if limit is None else min(first + limit, len(self.ids))
            if first >= last:
                return b"[]"
            start = self._ends[first - 1] if first else 0
            data = os.pread(self._file.fileno(), self._ends[last - 1] - start, start)
        return b"[" + b",".join(data.split(b"\n")[:-1]) + b"]"


# --- Faults -----------------------------------------------------------------------------------------------------------

Rules = list[tuple[re.Pattern, int]]


def is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0


def is_status(value: Any) -> bool:
    return type(value) is int and 200 <= value <= 599


def are_rules(value: Any) -> bool:
    return bool([re.compile(rule["match"]) for rule in value]) and all(is_status(rule["status"]) for rule in value)


# The members of a fault, and their values: what is not understood must not look like what was survived.
SYSLOG_FAULTS: dict[str, Callable[[Any], bool]] = {
    "close": lambda value: value in ("before_read", "before_reply"),
    "accept_then_close": lambda value: value is True,
    "reset_mid_frame": lambda value: value is True,
    "stall_seconds": is_seconds,
    "after": is_count,
}
HTTP_FAULTS = SYSLOG_FAULTS | {
    "status": is_status,
    "retry_after": lambda value: isinstance(value, (int, str)),
    "redirect": lambda value: isinstance(value, str),
    "partial": are_rules,
    "reply_bytes": is_count,
    "on": lambda value: value in ("events", "ack", "health", "token", "other"),
}
HEC_FAULTS = HTTP_FAULTS | {"ack": lambda value: value == "never" or is_seconds(value)}


class Faults:
    """What one protocol has been told to do wrong."""

    def __init__(self, protocol: str) -> None:
        self._lock = threading.Lock()
        self._next: list[dict] = []
        self._always: dict | None = None
        self._poison: str | None = None
        self.any = False
        streams = dict.fromkeys(("syslog-tcp", "syslog-tls"), SYSLOG_FAULTS)
        self._members = ({"hec": HEC_FAULTS, "syslog-udp": {}} | streams).get(protocol, HTTP_FAULTS)
        self._can_poison = protocol in HTTP_PROTOCOLS

    def set(self, order: dict) -> None:
        """Takes an order of the control port. Raises ValueError for what this protocol does not have."""
        if unknown := set(order) - {"protocol", "next", "always", "poison", "clear"}:
            raise ValueError(f"unknown: {sorted(unknown)}")
        faults = list(order.get("next") or []) + [fault for fault in [order.get("always")] if fault]
        for fault in faults:
            for name, value in fault.items():
                if name not in self._members or not self._members[name](value):
                    raise ValueError(f"not a fault of {order['protocol']}: {name}: {value!r}")
        if order.get("poison") is not None:
            if not self._can_poison:
                raise ValueError(f"{order['protocol']} refuses no single event")
            re.compile(order["poison"])
        with self._lock:
            if order.get("clear"):
                self._next, self._always, self._poison = [], None, None
            self._next += order.get("next") or []
            self._always = order.get("always", self._always)
            self._poison = order.get("poison", self._poison)
            self.any = bool(self._next or self._always or self._poison)

    def left(self) -> dict:
        with self._lock:
            return {"next": list(self._next), "always": self._always, "poison": self._poison}

    def take(self, kind: str = "events") -> dict:
        """The fault for this request; empty if it is to go well."""
        if not self.any:
            return {}
        with self._lock:
            for n, fault in enumerate(self._next):
                if fault.get("on", "events") != kind:
                    continue
                if fault.get("after", 0) > 0:
                    self._next[n] = fault | {"after": fault["after"] - 1}
                    return {}
                return self._next.pop(n)
            always = self._always
            if always and always.get("on", "events") == kind:
                if always.get("after", 0) > 0:
                    self._always = always | {"after": always["after"] - 1}
                    return {}
                return always
            return {}

    def rules(self, fault: dict) -> Rules:
        rules = [(re.compile(rule["match"]), rule["status"]) for rule in fault.get("partial", ())]
        poison = self._poison
        return rules + ([(re.compile(poison), 400)] if poison else [])


def refused_by(rules: Rules, raw: str) -> int | None:
    return next((status for pattern, status in rules if pattern.search(raw)), None)


# --- JSON, strictly ---------------------------------------------------------------------------------------------------


class Malformed(ValueError):
    """A body is not what its format asks for; `at` is the index of the first bad event."""

    def __init__(self, reason: str, at: int = 0) -> None:
        super().__init__(reason)
        self.at = at


def members(pairs: list[tuple[str, Any]]) -> dict:
    of = dict(pairs)
    if len(of) != len(pairs):
        raise ValueError("a name is twice in an object")
    return of


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=members, parse_constant=no_constant)
WHITESPACE = re.compile(r"[ \t\n\r]*")
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def decode(text: str, start: int, at: int = 0) -> tuple[Any, int]:
    """One JSON value of text, and where it ends."""
    try:
        value, end = DECODER.raw_decode(text, start)
        # Half a pair can be written in JSON, but nobody can store it as UTF-8.
        if SURROGATE.search(text, start, end):
            json.dumps(value, ensure_ascii=False).encode()
        return value, end
    except RecursionError:
        raise Malformed("nested too deeply", at) from None
    except ValueError as error:
        raise Malformed(str(error), at) from None


def one_line(text: str) -> str:
    """JSON without line ends, which between tokens are only space."""
    return text if "\n" not in text and "\r" not in text else text.replace("\r", " ").replace("\n", " ")


def concatenated(text: str) -> Iterator[tuple[str, Any]]:
    """JSON values one after the other, each with its text."""
    here, at = WHITESPACE.match(text).end(), 0
    while here < len(text):
        value, end = decode(text, here, at)
        yield one_line(text[here:end]), value
        here, at = WHITESPACE.match(text, end).end(), at + 1


def elements(text: str) -> Iterator[tuple[str, Any]]:
    """The elements of a JSON array, each with its text."""
    skip = WHITESPACE.match
    here = skip(text).end()
    if text[here : here + 1] != "[":
        raise Malformed("not a JSON array")
    here, at = skip(text, here + 1).end(), 0
    if text[here : here + 1] == "]":
        here += 1
    else:
        while True:
            value, end = decode(text, here, at)
            yield one_line(text[here:end]), value
            here, at = skip(text, end).end(), at + 1
            separator, here = text[here : here + 1], here + 1
            if separator == "]":
                break
            if separator != ",":
                raise Malformed("neither a comma nor the end follows an element", at)
            here = skip(text, here).end()
    if skip(text, here).end() != len(text):
        raise Malformed("something follows the array", at)


def ndjson(text: str) -> Iterator[tuple[str, Any]]:
    """The lines of NDJSON, each with its value."""
    if text and not text.endswith("\n"):
        raise Malformed("the last line has no end")
    for at, line in enumerate(text.split("\n")[:-1]):
        value, end = decode(line, 0, at)
        if end != len(line):
            raise Malformed("a line is more than one value", at)
        yield line, value


def text_of(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error}") from None


def string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def id_of(event: Any) -> str | None:
    """What an event calls itself in the schemas that have no place of the protocol for it."""
    if not isinstance(event, dict):
        return None
    metadata = event.get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, dict) else None
    return string(event.get("event_id")) or string(uid) or string(event.get("EventId"))


# --- HTTP -------------------------------------------------------------------------------------------------------------


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes  # as it was sent

    def unpacked(self) -> bytes:
        """The body without its content coding."""
        coding = self.headers.get("content-encoding", "identity").lower()
        if coding == "identity":
            return self.body
        if coding != "gzip":
            raise Malformed(f"content coding {coding}")
        unpacker = zlib.decompressobj(wbits=31)
        try:
            data = unpacker.decompress(self.body, BODY_MAX)
        except zlib.error as error:
            raise Malformed(f"gzip: {error}") from None
        if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
            raise Malformed("gzip: cut off, or something follows, or it is too large")
        return data

    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Reply(NamedTuple):
    status: int
    body: dict | list | bytes | None = None
    headers: dict[str, str] = {}


class Hangup(Exception):
    """The connection is over."""


REASONS = {
    200: "OK", 201: "Created", 204: "No Content", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 410: "Gone",
    413: "Content Too Large", 415: "Unsupported Media Type", 429: "Too Many Requests", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


def reset(connection: socket.socket) -> None:
    """Closes with RST."""
    # A TLS socket must not say goodbye first; what is below it can be closed without.
    plain = socket.socket(fileno=connection.detach())
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()


def head_of(stream: BinaryIO) -> tuple[str, str, dict[str, list[str]], dict[str, str]] | None:
    """Request line and headers; None where the connection ends between requests."""
    line = stream.readline(HEAD_MAX)
    if not line:
        return None
    words = line.decode("latin-1").rstrip("\r\n").split(" ")
    if not line.endswith(b"\r\n") or len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise Malformed(f"not a request line: {line[:80]!r}")
    headers: dict[str, str] = {}
    size = len(line)
    while (line := stream.readline(HEAD_MAX)) != b"\r\n":
        size += len(line)
        name, colon, value = line.decode("latin-1").partition(":")
        if not line.endswith(b"\r\n") or not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise Malformed(f"not a header: {line[:80]!r}")
        if size > HEAD_MAX:
            raise Malformed("the head is too large")
        if name.lower() in headers:
            raise Malformed(f"the header {name} is there twice")
        headers[name.lower()] = value.strip()
    if words[2] == "HTTP/1.1" and "host" not in headers:
        raise Malformed("no Host")
    if words[2] == "HTTP/1.0":
        headers.setdefault("connection", "close")
    target = urlsplit(words[1])
    return words[0], unquote(target.path), parse_qs(target.query, keep_blank_values=True), headers


def body_of(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers:
            raise Malformed("a transfer coding that is not chunked, or a length beside it")
        parts = []
        total = 0
        while True:
            line = stream.readline(HEAD_MAX)
            if not re.fullmatch(rb"[0-9a-fA-F]{1,8}(;[^\r\n]*)?\r\n", line):
                raise Malformed(f"not a chunk: {line[:80]!r}")
            size = int(line.partition(b";")[0], 16)
            total += size
            if total > BODY_MAX:
                raise Malformed("the body is too large")
            data = stream.read(size + 2)
            if len(data) != size + 2 or not data.endswith(b"\r\n"):
                raise Malformed("a chunk is cut off")
            if size == 0:
                return b"".join(parts)
            parts.append(data[:-2])
    length = length_of(headers)
    body = stream.read(length)
    if len(body) != length:
        raise Malformed(f"the body ends after {len(body)} of {length} bytes")
    return body


def length_of(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > BODY_MAX:
        raise Malformed(f"Content-Length {text[:20]}")
    return int(text)


def send(connection: socket.socket, method: str, reply: Reply, padding: int = 0) -> None:
    if padding and reply.status == 204:
        reply = reply._replace(status=200)
    body = reply.body
    headers = dict(reply.headers)
    if isinstance(body, (dict, list)):
        if padding and isinstance(body, dict):
            body = body | {"padding": "x" * max(0, padding - len(json.dumps(body)) - len(', "padding": ""'))}
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    body = body or b""
    if padding and len(body) < padding:
        body += b" " * (padding - len(body))
    if reply.status != 204:
        headers["Content-Length"] = str(len(body))
    lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Other')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    connection.sendall(head if method == "HEAD" or reply.status == 204 else head + body)


class Service:
    """One protocol over HTTP: what kind a request is, how it is answered, and how it is refused."""

    def __init__(self, name: str, store: Store, faults: Faults, options: argparse.Namespace) -> None:
        self.name, self.store, self.faults, self.options = name, store, faults, options

    def kind(self, method: str, path: str) -> str:
        raise NotImplementedError

    def answer(self, kind: str, request: Request, fault: dict) -> Reply:
        raise NotImplementedError

    def refusal(self, status: int) -> Reply:
        """What the protocol says with a status that a fault asked for."""
        raise NotImplementedError

    def problem(self, text: str) -> None:
        self.store.problem(f"{self.name}: {text}")

    def nameless(self, event_id: str | None) -> None:
        if event_id is None:
            self.problem("an event has no id")


def converse(connection: socket.socket, service: Service) -> None:
    """Answers the requests of one connection until it ends."""
    with connection.makefile("rb", buffering=1 << 16) as stream:
        while not stopping.is_set():
            try:
                head = head_of(stream)
                if head is None:
                    return
                method, path, query, headers = head
                kind = service.kind(method, path)
                fault = service.faults.take(kind)
                if fault.get("close") == "before_read":
                    raise Hangup
                if headers.get("expect", "").lower() == "100-continue":
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                if fault.get("reset_mid_frame"):
                    stream.read1(max(1, length_of(headers) // 2))
                    reset(connection)
                    raise Hangup
                request = Request(method, path, query, headers, body_of(stream, headers))
            except Malformed as error:
                service.problem(f"HTTP: {error}")
                send(connection, "", Reply(400, {"error": str(error)}, {"Connection": "close"}))
                return
            with service.store.lock:
                service.store.requests += kind == "events"
                service.store.bytes += len(request.body)
            if fault.get("close") == "before_reply":
                raise Hangup
            if "redirect" in fault:
                reply = Reply(307, None, {"Location": fault["redirect"]})
            elif "status" in fault:
                reply = service.refusal(fault["status"])
            else:
                reply = service.answer(kind, request, fault)
            with service.store.lock:
                service.store.refused += kind == "events" and reply.status >= 300
            if "retry_after" in fault:
                reply = reply._replace(headers=reply.headers | {"Retry-After": str(fault["retry_after"])})
            if "stall_seconds" in fault:
                stopping.wait(fault["stall_seconds"])
            if fault.get("accept_then_close"):
                raise Hangup
            send(connection, method, reply, fault.get("reply_bytes", 0))
            if headers.get("connection", "").lower() == "close":
                return


# --- Splunk HEC -------------------------------------------------------------------------------------------------------

# help.splunk.com, "Troubleshoot HTTP Event Collector": code -> status and text.
HEC_CODES = {
    0: (200, "Success"),
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    17: (200, "HEC is healthy"),
    18: (503, "HEC is unhealthy, queues are full"),
}
HEC_BY_STATUS = {400: 6, 401: 3, 403: 4, 500: 8, 503: 9}
HEC_MEMBERS = {"time", "host", "source", "sourcetype", "index", "event", "fields"}
GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
EPOCH = re.compile(r"[0-9]{9,10}(\.[0-9]{1,9})?")


class Hec(Service):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()
        # Of each channel: the next ackId, and when those that were not asked for yet become true (None: never).
        self._next_ack: dict[str, int] = {}
        self._pending: dict[str, dict[int, float | None]] = {}

    def kind(self, method: str, path: str) -> str:
        if path in ("/services/collector/event", "/services/collector/event/1.0", "/services/collector"):
            return "events"
        if path == "/services/collector/ack":
            return "ack"
        return "health" if path in ("/services/collector/health", "/services/collector/health/1.0") else "other"

    def code(self, code: int, **more: Any) -> Reply:
        status, text = HEC_CODES[code]
        return Reply(status, {"text": text, "code": code} | {name.replace("_", "-"): of for name, of in more.items()})

    def wrong(self, code: int, why: str, **more: Any) -> Reply:
        self.problem(f"{HEC_CODES[code][1]}: {why}")
        return self.code(code, **more)

    def refusal(self, status: int) -> Reply:
        code = HEC_BY_STATUS.get(status)
        return self.code(code) if code else Reply(status, b"<html>refused</html>", {"Content-Type": "text/html"})

    def answer(self, kind: str, request: Request, fault: dict) -> Reply:
        if kind == "health":
            return self.code(17)
        if kind == "other":
            self.problem(f"{request.method} {request.path}")
            return Reply(404, {"text": "The requested URL was not found on this server.", "code": 404})
        if request.method != "POST":
            self.problem(f"{request.method} {request.path}")
            return Reply(405)
        authorization = request.headers.get("authorization")
        if authorization is None:
            return self.wrong(2, "no Authorization")
        scheme, _, token = authorization.partition(" ")
        if scheme != "Splunk":
            return self.wrong(3, f"the scheme is {scheme[:20]}")
        if not hmac.compare_digest(token.encode(), self.options.hec_token.encode()):
            return self.wrong(4, "another token")
        channel = request.headers.get("x-splunk-request-channel") or (request.query.get("channel") or [None])[0]
        if kind == "ack" and not self.options.ack:
            return self.wrong(14, "the token has no acks")
        if self.options.ack and channel is None:
            return self.wrong(10, request.path)
        if channel is not None and not GUID.fullmatch(channel):
            return self.wrong(11, channel)
        if kind == "ack":
            return self._acks(request, channel)
        return self._events(request, channel, fault)

    def _events(self, request: Request, channel: str | None, fault: dict) -> Reply:
        rules = self.faults.rules(fault)
        accepted: list[Event] = []
        reply = None
        try:
            text = text_of(request.unpacked())
            for raw, envelope in concatenated(text):
                if (status := refused_by(rules, raw)) is not None:
                    reply = self.refusal(status)
                    if isinstance(reply.body, dict):
                        reply.body["invalid-event-number"] = len(accepted)
                    break
                if (wrong := self._check(envelope, len(raw.encode()))) is not None:
                    code, why = wrong
                    reply = self.wrong(code, why, invalid_event_number=len(accepted))
                    break
                fields, event = envelope.get("fields"), envelope["event"]
                event_id = string(fields.get("event_id")) if fields else None
                event_id = event_id or id_of(event)
                self.nameless(event_id)
                accepted.append(Event(event_id, raw))
        except Malformed as error:
            reply = self.wrong(6, str(error), invalid_event_number=len(accepted))
        if not accepted and reply is None:
            return self.wrong(5, "an empty body")
        with self.store.lock:
            self.store.accept(accepted)
        if reply is not None:
            return reply
        return self.code(0, **({"ackId": self._new_ack(channel, fault)} if self.options.ack else {}))

    def _check(self, envelope: Any, size: int) -> tuple[int, str] | None:
        """The code that an event is refused with, and why."""
        if not isinstance(envelope, dict):
            return 6, "not an object"
        if unknown := set(envelope) - HEC_MEMBERS:
            self.problem(f"members that HEC does not have: {sorted(unknown)}")
        if "event" not in envelope or envelope["event"] is None:
            return 12, "no event"
        if envelope["event"] in ("", {}, []):
            return 13, "a blank event"
        index = envelope.get("index")
        if self.options.hec_index and index is not None and index not in self.options.hec_index:
            return 7, str(index)
        fields = envelope.get("fields")
        if fields is not None and not (isinstance(fields, dict) and all(map(flat, fields.values()))):
            return 15, "fields are not flat"
        moment = envelope.get("time")
        if isinstance(moment, bool) or not EPOCH.fullmatch(moment if isinstance(moment, str) else repr(moment)):
            self.problem(f"time is not in seconds since 1970: {moment!r}")
        for name in ("host", "source", "sourcetype", "index"):
            if name in envelope and string(envelope[name]) is None:
                self.problem(f"{name} is not a text")
        if self.options.hec_truncate and size > self.options.hec_truncate:
            self.problem(f"an event of {size} bytes would be truncated at {self.options.hec_truncate}")
        return None

    def _new_ack(self, channel: str, fault: dict) -> int:
        when = fault.get("ack", 0)
        with self._lock:
            ack = self._next_ack.get(channel, 0)
            self._next_ack[channel] = ack + 1
            at = None if when == "never" else time.monotonic() + float(when)
            self._pending.setdefault(channel, {})[ack] = at
        return ack

    def _acks(self, request: Request, channel: str) -> Reply:
        try:
            asked, end = decode(text_of(request.unpacked()).strip(), 0)
            acks = asked["acks"]
            if set(asked) != {"acks"} or not all(type(ack) is int for ack in acks):
                raise Malformed("acks are not integers")
        except (Malformed, KeyError, TypeError) as error:
            return self.wrong(6, f"{request.path}: {error}")
        now = time.monotonic()
        answer = {}
        with self._lock:
            pending = self._pending.get(channel, {})
            for ack in acks:
                at = pending.get(ack)
                answer[str(ack)] = at is not None and at <= now
                # It is said once.
                if answer[str(ack)]:
                    del pending[ack]
        return Reply(200, {"acks": answer})


def flat(value: Any) -> bool:
    """Whether HEC takes it as the value of an indexed field."""
    if isinstance(value, list):
        return all(isinstance(of, (str, int, float)) for of in value)
    return isinstance(value, (str, int, float))


# --- Elasticsearch, OpenSearch ----------------------------------------------------------------------------------------

INDEX = re.compile(r"[^-_+A-Z\\/*?\"<>| ,#:.][^A-Z\\/*?\"<>| ,#:]{0,254}")
TEMPLATE = re.compile(r"/_index_template/([^/]+)")
TEMPLATE_MEMBERS = {"index_patterns", "template", "data_stream", "priority", "composed_of", "version", "_meta"}
TEMPLATE_MEMBERS |= {"allow_auto_create", "ignore_missing_component_templates", "deprecated"}
BULK_ERRORS = {
    400: ("document_parsing_exception", "[1:1] failed to parse"),
    403: ("cluster_block_exception", "index blocked by: [FORBIDDEN/8/index write (api)];"),
    404: ("index_not_found_exception", "no such index"),
    409: ("version_conflict_engine_exception", "version conflict, document already exists (current version [1])"),
    429: ("es_rejected_execution_exception", "rejected execution of coordinating operation"),
    503: ("unavailable_shards_exception", "primary shard is not active"),
}


class Bulk(Service):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._templates_file = Path(self.options.state) / "bulk-templates.json"
        self._templates: dict[str, dict] = {}
        if self._templates_file.exists():
            self._templates = json.loads(self._templates_file.read_text())
        # ES and OpenSearch have it built in, with the priority 100.
        self._built_in = {"index_patterns": ["logs-*-*"], "data_stream": {}, "priority": 100}
        self._logins: set[str] = set()
        if self.options.basic:
            self._logins.add("Basic " + base64.b64encode(self.options.basic.encode()).decode())
        if self.options.api_key:
            self._logins.add("ApiKey " + base64.b64encode(self.options.api_key.encode()).decode())

    def kind(self, method: str, path: str) -> str:
        if path == "/_bulk" or path.endswith("/_bulk"):
            return "events"
        return "health" if path == "/" else "other"

    def error(self, status: int, kind: str, reason: str) -> Reply:
        cause = {"type": kind, "reason": reason}
        return Reply(status, {"error": {"root_cause": [cause]} | cause, "status": status})

    def wrong(self, status: int, kind: str, reason: str) -> Reply:
        self.problem(reason)
        return self.error(status, kind, reason)

    def refusal(self, status: int) -> Reply:
        if status == 413:
            return Reply(413)
        kind, reason = BULK_ERRORS.get(status, ("exception", "refused"))
        return self.error(status, kind, reason)

    def answer(self, kind: str, request: Request, fault: dict) -> Reply:
        if self._logins and request.headers.get("authorization") not in self._logins:
            reply = self.wrong(401, "security_exception", "missing or wrong authentication credentials")
            return reply._replace(headers={"WWW-Authenticate": 'Basic realm="security", charset="UTF-8"'})
        if kind == "health" and request.method in ("GET", "HEAD"):
            version = {"number": "9.1.0", "build_flavor": "default", "lucene_version": "10.2.2"}
            about = {"name": "receiver", "cluster_name": "receiver", "version": version}
            return Reply(200, about | {"tagline": "You Know, for Search"}, {"X-Elastic-Product": "Elasticsearch"})
        if kind == "events" and request.method in ("POST", "PUT"):
            return self._bulk(request, fault)
        if template := TEMPLATE.fullmatch(request.path):
            return self._template(template[1], request)
        return self.wrong(405, "illegal_argument_exception", f"no handler for {request.method} {request.path}")

    def _template(self, name: str, request: Request) -> Reply:
        if request.method in ("GET", "HEAD", "DELETE"):
            if name not in self._templates:
                return self.error(404, "resource_not_found_exception", f"index template matching [{name}] not found")
            if request.method != "DELETE":
                found = {"name": name, "index_template": self._templates[name]}
                return Reply(200, {"index_templates": [found]})
            del self._templates[name]
        elif request.method in ("PUT", "POST"):
            try:
                text = text_of(request.unpacked())
                template, end = decode(text, WHITESPACE.match(text).end())
                if text[end:].strip() or not isinstance(template, dict):
                    raise Malformed("not one JSON object")
            except Malformed as error:
                return self.wrong(400, "parse_exception", f"template {name}: {error}")
            if unknown := set(template) - TEMPLATE_MEMBERS:
                return self.wrong(400, "x_content_parse_exception", f"template {name}: unknown field {sorted(unknown)}")
            if not template.get("index_patterns"):
                return self.wrong(400, "x_content_parse_exception", f"template {name}: no [index_patterns]")
            for other, of in self._templates.items():
                if other != name and of.get("priority", 0) == template.get("priority", 0):
                    if set(of["index_patterns"]) & set(template["index_patterns"]):
                        reason = f"template {name} has the patterns and the priority of {other}"
                        return self.wrong(400, "illegal_argument_exception", reason)
            self._templates[name] = template
        else:
            return self.wrong(405, "illegal_argument_exception", f"no handler for {request.method} {request.path}")
        self._templates_file.write_text(json.dumps(self._templates))
        return Reply(200, {"acknowledged": True})

    def _is_data_stream(self, index: str) -> bool:
        fitting = [
            template
            for template in [self._built_in, *self._templates.values()]
            if any(fnmatchcase(index, pattern) for pattern in template["index_patterns"])
        ]
        return bool(fitting) and "data_stream" in max(fitting, key=lambda template: template.get("priority", 0))

    def _bulk(self, request: Request, fault: dict) -> Reply:
        if request.media_type() not in ("application/x-ndjson", "application/json"):
            return self.wrong(406, "media_type_header_exception", f"Content-Type [{request.media_type()}]")
        rules = self.faults.rules(fault)
        started = time.monotonic()
        default = request.path.strip("/").removesuffix("_bulk").strip("/") or None
        streams: dict[str, bool] = {}
        actions = []
        try:
            text = text_of(request.unpacked())
            if text and not text.endswith("\n"):
                raise Malformed("The bulk request must be terminated by a newline [\\n]")
            lines = iter(text.split("\n")[:-1])
            for number, line in enumerate(lines):
                actions.append((*self._action(line, number, default), next(lines, None)))
                if actions[-1][-1] is None:
                    raise Malformed("an action has no source")
            if not actions:
                raise Malformed("request body is required")
        except Malformed as error:
            return self.wrong(400, "illegal_argument_exception", str(error))

        checked = []
        for operation, index, event_id, raw in actions:
            if index not in streams:
                streams[index] = self._is_data_stream(index)
            status, reason = self._check(operation, streams[index], index, event_id, raw)
            if reason:
                self.problem(reason)
            status = status or refused_by(rules, raw)
            checked.append((operation, index, event_id, raw, status, reason))

        items = []
        accepted = []
        errors = False
        with self.store.lock:
            for operation, index, event_id, raw, status, reason in checked:
                key = (index, event_id)
                there = key in self.store.documents
                if status is None and operation == "create" and there:
                    status, reason = 409, f"[{event_id}]: {BULK_ERRORS[409][1]}"
                    self.store.conflicts += 1
                result = {"_index": index, "_id": event_id}
                if status is None:
                    self.store.documents.add(key)
                    accepted.append(Event(event_id, raw, index))
                    result |= {"_version": 1, "result": "updated" if there else "created", "_primary_term": 1}
                    result |= {"_seq_no": len(self.store.ids) + len(accepted) - 1}
                    result |= {"_shards": {"total": 1, "successful": 1, "failed": 0}, "status": 200 if there else 201}
                else:
                    errors = True
                    kind, words = BULK_ERRORS.get(status, ("exception", "refused"))
                    result |= {"status": status, "error": {"type": kind, "reason": reason or words}}
                items.append({operation: result})
            self.store.accept(accepted)
        took = int((time.monotonic() - started) * 1000)
        return Reply(200, {"took": took, "errors": errors, "items": items})

    def _action(self, line: str, number: int, default: str | None) -> tuple[str, str, str]:
        what, end = decode(line, 0, number)
        if end != len(line) or not isinstance(what, dict) or len(what) != 1:
            raise Malformed(f"Malformed action/metadata line [{number + 1}]")
        operation, of = next(iter(what.items()))
        if operation not in ("create", "index"):
            # Evidence is only ever added; what changes or deletes it is refused here although the API has it.
            raise Malformed(f"Malformed action/metadata line [{number + 1}]: [{operation}] adds nothing")
        if not isinstance(of, dict) or set(of) - {"_index", "_id", "require_data_stream", "require_alias", "pipeline"}:
            raise Malformed(f"Malformed action/metadata line [{number + 1}]: {line[:200]}")
        index = of.get("_index", default)
        if not isinstance(index, str) or not INDEX.fullmatch(index):
            raise Malformed(f"Invalid index name [{index}]")
        event_id = of.get("_id")
        if event_id is None:
            self.nameless(None)
            event_id = secrets.token_urlsafe(15)
        if not isinstance(event_id, str) or not 0 < len(event_id.encode()) <= 512:
            raise Malformed(f"an _id is not a text of 1 to 512 bytes: {str(event_id)[:80]}")
        return operation, index, event_id

    def _check(
        self, operation: str, stream: bool, index: str, event_id: str, raw: str
    ) -> tuple[int | None, str | None]:
        """The status that an item is refused with, and why."""
        if stream and operation != "create":
            return 400, f"[{index}]: only write ops with an op_type of create are allowed in data streams"
        try:
            document, end = decode(raw, 0)
            if end != len(raw) or not isinstance(document, dict):
                raise Malformed("not one JSON object")
        except Malformed as error:
            return 400, f"[{event_id}]: failed to parse: {error}"
        if stream and not isinstance(document.get("@timestamp"), (str, int)):
            return 400, f"[{event_id}]: data stream timestamp field [@timestamp] is missing"
        return None, None


# --- Webhook ----------------------------------------------------------------------------------------------------------

SIGNATURE = re.compile(r"v1=[0-9a-f]{64}")


class Webhook(Service):
    def kind(self, method: str, path: str) -> str:
        return "events"

    def refusal(self, status: int) -> Reply:
        return Reply(status, {"error": "refused"})

    def wrong(self, status: int, why: str) -> Reply:
        self.problem(why)
        return Reply(status, {"error": why})

    def answer(self, kind: str, request: Request, fault: dict) -> Reply:
        if request.method != "POST":
            return self.wrong(405, request.method)
        if why := self._unsigned(request.headers, request.body):
            return self.wrong(401, why)
        values = {"application/json": elements, "application/x-ndjson": ndjson}.get(request.media_type())
        if values is None:
            return self.wrong(415, f"Content-Type {request.media_type()!r}")
        return take_all(self, request, values, self.faults.rules(fault), Reply(200, {}))

    def _unsigned(self, headers: dict[str, str], body: bytes) -> str | None:
        """Why a request is not believed."""
        if not re.fullmatch(r"[!-~]{1,128}", headers.get("custody-delivery-id", "")):
            return "no Custody-Delivery-Id"
        at = headers.get("custody-timestamp", "")
        if not re.fullmatch(r"[0-9]{1,12}", at) or abs(time.time() - int(at)) > WEBHOOK_AGE_MAX_S:
            return f"Custody-Timestamp is not the time: {at[:40]!r}"
        signatures = [part.strip() for part in headers.get("custody-signature", "").split(",")]
        if not all(SIGNATURE.fullmatch(signature) for signature in signatures):
            return "Custody-Signature is not a list of v1=HEX"
        for secret in self.options.webhook_secret:
            good = "v1=" + hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
            if any(hmac.compare_digest(good, signature) for signature in signatures):
                return None
        return "no signature is right"


def take_all(service: Service, request: Request, values: Callable, rules: Rules, done: Reply) -> Reply:
    """Accepts the events of a request, all of them or none."""
    accepted = []
    try:
        for raw, event in values(text_of(request.unpacked())):
            if not isinstance(event, dict):
                raise Malformed("an event is not an object")
            if (status := refused_by(rules, raw)) is not None:
                return service.refusal(status)
            event_id = id_of(event)
            service.nameless(event_id)
            if service.name == "sentinel":
                if string(event.get("TimeGenerated")) is None:
                    service.problem("a row has no TimeGenerated")
                for name, value in event.items() if len(raw) > SENTINEL_VALUE_MAX else ():
                    text = value if isinstance(value, str) else json.dumps(value)
                    if len(text.encode()) > SENTINEL_VALUE_MAX:
                        service.problem(f"{name} would be truncated at {SENTINEL_VALUE_MAX} bytes")
            accepted.append(Event(event_id, raw))
    except Malformed as error:
        service.problem(str(error))
        return service.refusal(400)
    if not accepted:
        service.problem("a request without events")
    with service.store.lock:
        service.store.accept(accepted)
    return done


# --- Microsoft Sentinel -----------------------------------------------------------------------------------------------

TOKEN = re.compile(r"/([^/]+)/oauth2/v2\.0/token")
STREAM = re.compile(r"/dataCollectionRules/(dcr-[0-9a-zA-Z]+)/streams/([A-Za-z0-9_-]+)")
SCOPE = "https://monitor.azure.com/.default"
SENTINEL_ERRORS = {
    400: "InvalidRequest",
    401: "AuthenticationFailed",
    403: "OperationFailed",
    404: "NotFound",
    413: "ContentLengthLimitExceeded",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}


class Sentinel(Service):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tokens: dict[str, float] = {}

    def kind(self, method: str, path: str) -> str:
        if TOKEN.fullmatch(path):
            return "token"
        return "events" if STREAM.fullmatch(path) else "other"

    def error(self, status: int, message: str) -> Reply:
        code = SENTINEL_ERRORS.get(status, "InternalServerError")
        return Reply(status, {"error": {"code": code, "message": message}}, {"x-ms-error-code": code})

    def wrong(self, status: int, message: str) -> Reply:
        self.problem(message)
        return self.error(status, message)

    def refusal(self, status: int) -> Reply:
        return self.error(status, "refused")

    def answer(self, kind: str, request: Request, fault: dict) -> Reply:
        if request.method != "POST":
            return self.wrong(405, f"{request.method} {request.path}")
        if kind == "token":
            return self._token(request)
        if kind == "other":
            return self.wrong(404, f"no such path: {request.path}")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens:
            return self.wrong(401, "no token that was given here")
        if self._tokens[token] < time.monotonic():
            # A token that ends on its way is nobody's mistake.
            return self.error(401, "the token has expired")
        if request.query.get("api-version") != ["2023-01-01"]:
            return self.wrong(400, f"api-version is {request.query.get('api-version')}")
        if request.media_type() != "application/json":
            return self.wrong(415, f"Content-Type {request.media_type()!r}")
        try:
            size = max(len(request.body), len(request.unpacked()))
        except Malformed as error:
            return self.wrong(400, str(error))
        if size > SENTINEL_MAX:
            maximum = f"Maximum allowed content length: {SENTINEL_MAX} bytes (1 MB)."
            return self.wrong(413, f"{maximum} Provided content length: {size} bytes.")
        return take_all(self, request, elements, self.faults.rules(fault), Reply(204))

    def _token(self, request: Request) -> Reply:
        form = parse_qs(request.body.decode("latin-1"))

        def wrong(status: int, error: str, why: str) -> Reply:
            self.problem(f"token: {why}")
            return Reply(status, {"error": error, "error_description": why})

        if request.media_type() != "application/x-www-form-urlencoded":
            return wrong(400, "invalid_request", f"Content-Type {request.media_type()!r}")
        if form.get("grant_type") != ["client_credentials"]:
            return wrong(400, "unsupported_grant_type", f"AADSTS70003: grant_type is {form.get('grant_type')}")
        if form.get("scope") != [SCOPE]:
            return wrong(400, "invalid_scope", f"AADSTS70011: scope is {form.get('scope')}")
        if [*form.get("client_id", []), *form.get("client_secret", [])] != self.options.client.split(":", 1):
            return wrong(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + self.options.token_seconds
        seconds = self.options.token_seconds
        answer = {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}
        return Reply(200, answer, {"Cache-Control": "no-store, no-cache"})


# --- Syslog -----------------------------------------------------------------------------------------------------------

# RFC 5424, section 6. Names are printable ASCII without space; an SD-NAME has no = ] " either.
HEADER = re.compile(
    rb"<(0|[1-9][0-9]{0,2})>1 (-|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    rb"(?:Z|[+-][0-9]{2}:[0-9]{2})) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) "
)
SD_ID = re.compile(rb"\[([!#-<>-\\^-~]{1,32})")
SD_PARAM = re.compile(rb' ([!#-<>-\\^-~]{1,32})="([^"\\\]]*(?:\\["\\\]][^"\\\]]*)*)"')
SD_ESCAPE = re.compile(r'\\(["\\\]])')
REGISTERED = {"timeQuality", "origin", "meta"}
PRIVATE = re.compile(r"[^@]+@[0-9]+(?:\.[0-9]+)*")
CUSTODY = re.compile(r"custody@[0-9]+(?:\.[0-9]+)*")
BOM = b"\xef\xbb\xbf"


def syslog_message(data: bytes) -> tuple[dict, list[str]]:
    """A message of RFC 5424, and what is wrong with it although it can be read. Raises Malformed if it cannot."""
    problems = []
    header = HEADER.match(data)
    if not header:
        raise Malformed(f"not a header of RFC 5424: {data[:120]!r}")
    priority = int(header[1])
    if priority > 191:
        raise Malformed(f"PRI is {priority}")
    timestamp, host, app, process, message_id = (part.decode() for part in header.groups()[1:])
    if timestamp != "-":
        try:
            datetime.fromisoformat(timestamp)
        except ValueError as error:
            raise Malformed(f"TIMESTAMP {timestamp}: {error}") from None
    here = header.end()
    structured: dict[str, dict] = {}
    if data[here : here + 1] == b"-":
        here += 1
    else:
        while element := SD_ID.match(data, here):
            name = element[1].decode()
            if name in structured:
                raise Malformed(f"the SD-ID {name} is there twice")
            if name not in REGISTERED and not PRIVATE.fullmatch(name):
                problems.append(f"the SD-ID {name} is neither registered nor NAME@NUMBER")
            parameters = structured[name] = {}
            here = element.end()
            while parameter := SD_PARAM.match(data, here):
                key = parameter[1].decode()
                try:
                    value = parameter[2].decode()
                except UnicodeDecodeError:
                    raise Malformed(f"the parameter {key} is not UTF-8") from None
                if "\\" in value:
                    value = SD_ESCAPE.sub(r"\1", value)
                # A parameter may be there several times.
                if key in parameters:
                    before = parameters[key]
                    value = [*before, value] if isinstance(before, list) else [before, value]
                parameters[key] = value
                here = parameter.end()
            if data[here : here + 1] != b"]":
                raise Malformed(f"not a parameter of {name}: {data[here : here + 120]!r}")
            here += 1
        if not structured:
            raise Malformed(f"not structured data: {data[here : here + 120]!r}")
    rest = data[here:]
    if rest and not rest.startswith(b" "):
        raise Malformed(f"no space before the message: {rest[:80]!r}")
    rest = rest[1:]
    bom = rest.startswith(BOM)
    if bom:
        rest = rest[len(BOM) :]
    try:
        text = rest.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the message is not UTF-8: {error}") from None
    if not bom and not rest.isascii():
        problems.append("the message is UTF-8 without a byte order mark")
    if BOM in rest:
        problems.append("a byte order mark is within the message")
    if rest.endswith((b"\n", b"\r")):
        problems.append("the message ends with a line end")
    body = {
        "facility": priority >> 3, "severity": priority & 7, "timestamp": timestamp, "hostname": host, "app_name": app,
        "procid": process, "msgid": message_id, "structured_data": structured, "bom": bom, "message": text,
    }  # fmt: skip
    return body, problems


class Framer:
    """Cuts a stream into messages, RFC 6587: by counted octets, or by LF; the first octet of a frame tells."""

    def __init__(self, framing: str | None) -> None:
        self._framing = framing
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now. Raises Malformed where the stream cannot be followed any more."""
        buffer = self._buffer
        buffer += data
        here = 0
        try:
            while here < len(buffer):
                first = buffer[here]
                counted = 0x31 <= first <= 0x39
                if not counted and first != 0x3C:
                    raise Malformed(f"neither MSG-LEN nor a message: {bytes(buffer[here : here + 40])!r}")
                framing = "octet" if counted else "lf"
                if self._framing is None:
                    self._framing = framing
                if framing != self._framing:
                    raise Malformed(f"a frame by {framing}, expected {self._framing}")
                if counted:
                    space = buffer.find(b" ", here, here + 11)
                    digits = bytes(buffer[here:space] if space > 0 else buffer[here : here + 11])
                    if not digits.isdigit() or (space < 0 and len(digits) > 10):
                        raise Malformed(f"not a MSG-LEN: {digits!r}")
                    if space < 0:
                        return
                    start, end = space + 1, space + 1 + int(digits)
                    after = end
                else:
                    start, end = here, buffer.find(b"\n", here)
                    after = end + 1
                    if end < 0 and len(buffer) - here <= FRAME_MAX:
                        return
                if end < 0 or end - start > FRAME_MAX:
                    raise Malformed(f"a message of more than {FRAME_MAX} bytes")
                if end > len(buffer):
                    return
                message = bytes(buffer[start:end])
                here = after
                yield message
        finally:
            del buffer[:here]

    def left(self) -> int:
        """Octets of a frame that never came whole."""
        return len(self._buffer)


class Syslog:
    """Takes messages of syslog, however they were carried."""

    def __init__(self, name: str, store: Store, faults: Faults) -> None:
        self.name, self.store, self.faults = name, store, faults

    def problem(self, text: str) -> None:
        self.store.problem(f"{self.name}: {text}")

    def accept(self, messages: list[bytes]) -> None:
        events = []
        for data in messages:
            try:
                body, problems = syslog_message(data)
            except Malformed as error:
                self.problem(str(error))
                with self.store.lock:
                    self.store.refused += 1
                continue
            for problem in problems:
                self.problem(problem)
            own = [of for name, of in body["structured_data"].items() if CUSTODY.fullmatch(name)]
            event_id = string(own[0].get("eventId")) if own else None
            if event_id is None:
                self.problem("an event has no id")
            events.append(Event(event_id, json.dumps(body)))
        with self.store.lock:
            self.store.requests += len(messages)
            self.store.bytes += sum(map(len, messages))
            self.store.accept(events)

    def take(self, framer: Framer, data: bytes, connection: socket.socket) -> None:
        """What came on a stream, with the faults that there are for it."""
        messages = []
        try:
            for message in framer.feed(data):
                fault = self.faults.take()
                if fault.get("reset_mid_frame") or "close" in fault:
                    self.accept(messages)
                    messages = []
                    if fault.get("reset_mid_frame"):
                        reset(connection)
                    raise Hangup
                messages.append(message)
                if "stall_seconds" in fault or fault.get("accept_then_close"):
                    self.accept(messages)
                    messages = []
                    stopping.wait(fault.get("stall_seconds", 0))
                    if fault.get("accept_then_close"):
                        raise Hangup
        finally:
            if messages:
                self.accept(messages)


def read_stream(connection: socket.socket, syslog: Syslog, framing: str | None) -> None:
    framer = Framer(framing)
    while not stopping.is_set():
        try:
            data = connection.recv(1 << 16)
        except ssl.SSLEOFError:
            syslog.problem("TLS ended without close_notify")
            data = b""
        except ConnectionResetError:
            syslog.problem("the sender reset the connection")
            data = b""
        try:
            syslog.take(framer, data, connection)
        except Malformed as error:
            syslog.problem(str(error))
            return
        if not data:
            if framer.left():
                syslog.problem(f"the connection ended within a frame, {framer.left()} octets into it")
            return


def read_datagrams(server: socket.socket, syslog: Syslog) -> None:
    server.setblocking(False)
    while not stopping.is_set():
        if not select.select([server], [], [], 0.2)[0]:
            continue
        messages = []
        try:
            while len(messages) < 256:
                messages.append(server.recv(65_536))
        except BlockingIOError:
            pass
        syslog.accept(messages)


# --- Servers ----------------------------------------------------------------------------------------------------------


def make_certificates(folder: Path) -> dict[str, str]:
    """A certification authority, a certificate of it for the server and one for a client, unless they are there."""
    paths = {name: str(folder / f"{name}.pem") for name in ("ca", "server", "client")}
    paths |= {f"{name}_key": str(folder / f"{name}.key") for name in ("ca", "server", "client")}
    if not Path(paths["client"]).exists():
        folder.mkdir(parents=True, exist_ok=True)

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], check=True, capture_output=True)

        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", paths["ca_key"], "-out", paths["ca"], "-subj", "/CN=receiver CA",
                "-days", "30", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
        for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
            request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
            openssl("req", *key, "-keyout", paths[f"{name}_key"], "-out", str(request), "-subj", f"/CN={name}")
            names = "subjectAltName=DNS:localhost,IP:127.0.0.1\n" if name == "server" else ""
            extensions.write_text(f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n{names}")
            openssl("x509", "-req", "-in", str(request), "-CA", paths["ca"], "-CAkey", paths["ca_key"], "-days", "30",
                    "-CAcreateserial", "-extfile", str(extensions), "-out", paths[name])  # fmt: skip
    return {name: paths[name] for name in ("ca", "client", "client_key", "server", "server_key")}


def tls_context(folder: Path, client_ca: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def serve(server: socket.socket, talk: Callable, tls: ssl.SSLContext | None, store: Store) -> None:
    """Runs TALK for every connection, in a thread of its own."""

    def one(connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                try:
                    connection = tls.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
                except OSError as error:
                    store.problem(f"TLS: {error}")
                    return
            talk(connection)
            if tls:
                connection.unwrap()
        # Over HTTP many clients leave without close_notify, and the length of a body says that it is whole.
        except (Hangup, OSError):
            pass
        finally:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    while not stopping.is_set():
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with store.lock:
            store.connections += 1
        threading.Thread(target=one, args=(connection,), daemon=True).start()


def bind(kind: int, port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.SOCK_DGRAM:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    server.bind(("127.0.0.1", port))
    if kind == socket.SOCK_STREAM:
        server.listen(128)
    return server


class Control(Service):
    def __init__(self, stores: dict[str, Store], faults: dict[str, Faults], own: Store) -> None:
        super().__init__("control", own, Faults("control"), argparse.Namespace())
        self._stores, self._faults = stores, faults

    def kind(self, method: str, path: str) -> str:
        return "other"

    def answer(self, kind: str, request: Request, fault: dict) -> Reply:
        query = {name: values[0] for name, values in request.query.items()}
        try:
            match request.method, request.path:
                case "GET", "/received":
                    with_ids = query.get("ids") != "0"
                    if "protocol" in query:
                        return Reply(200, self._stores[query["protocol"]].received(with_ids))
                    return Reply(200, {name: store.received(with_ids) for name, store in self._stores.items()})
                case "GET", "/events":
                    limit = int(query["limit"]) if "limit" in query else None
                    lines = self._stores[query["protocol"]].lines(int(query.get("from", 0)), limit)
                    return Reply(200, lines, {"Content-Type": "application/json"})
                case "GET", "/faults":
                    return Reply(200, {name: faults.left() for name, faults in self._faults.items()})
                case "POST", "/faults":
                    order = json.loads(request.body)
                    self._faults[order["protocol"]].set(order)
                    return Reply(200, self._faults[order["protocol"]].left())
        except (ValueError, KeyError, TypeError, AttributeError, re.error) as error:
            return Reply(400, {"error": f"{type(error).__name__}: {error}"})
        return Reply(404, {"error": "GET /received, /events, /faults or POST /faults"})


SERVICES = {"hec": Hec, "bulk": Bulk, "webhook": Webhook, "sentinel": Sentinel}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="See the head of this file.")
    parser.add_argument("--listen", action="append", default=[], metavar="PROTOCOL[=PORT]", help=", ".join(PROTOCOLS))
    parser.add_argument("--control", type=int, default=0, metavar="PORT")
    parser.add_argument("--state", metavar="DIR", help="a temporary folder that is removed at the end unless given")
    parser.add_argument("--no-keep", action="store_true", help="keep ids and counts, no bodies")
    parser.add_argument("--detached", action="store_true", help="go on when standard input closes")
    parser.add_argument("--certificates", metavar="DIR", help="make certificates in DIR/tls, and nothing else")
    parser.add_argument("--https", action="store_true", help="serve the HTTP protocols over TLS")
    parser.add_argument("--client-ca", metavar="FILE", help="whose certificates TLS clients must have; own: ours")
    parser.add_argument("--framing", choices=("octet", "lf"), help="of syslog-tcp; either, but not both, unless given")
    parser.add_argument("--hec-token", default="00000000-0000-4000-8000-000000000001")
    parser.add_argument("--hec-index", action="append", metavar="NAME", help="the indexes the token allows; any")
    parser.add_argument("--hec-truncate", type=int, default=10_000, metavar="BYTES", help="its TRUNCATE; 0: none")
    parser.add_argument("--ack", action="store_true", help="hec: the token has indexer acknowledgment")
    parser.add_argument("--basic", metavar="USER:PASSWORD", help="bulk: asks for it")
    parser.add_argument("--api-key", metavar="ID:KEY", help="bulk: takes it too")
    parser.add_argument("--webhook-secret", action="append", metavar="SECRET", help="repeat to take several")
    parser.add_argument("--client", default="client:secret", metavar="ID:SECRET", help="sentinel")
    parser.add_argument("--token-seconds", type=int, default=3599, help="sentinel: how long a token is good")
    options = parser.parse_args()
    options.webhook_secret = options.webhook_secret or ["secret"]
    wanted = [name.partition("=")[0] for name in options.listen]
    if options.certificates:
        return options
    if not wanted or set(wanted) - set(PROTOCOLS) or len(set(wanted)) != len(wanted):
        parser.error(f"--listen takes {', '.join(PROTOCOLS)}, each once")
    return options


def run(options: argparse.Namespace) -> None:
    state = Path(options.state)
    state.mkdir(parents=True, exist_ok=True)
    wanted = dict(name.partition("=")[::2] for name in options.listen)
    secure = {name for name in wanted if name == "syslog-tls" or (options.https and name in HTTP_PROTOCOLS)}
    ready: dict[str, Any] = {}
    context = None
    if secure:
        ready["tls"] = make_certificates(state / "tls")
        client_ca = ready["tls"]["ca"] if options.client_ca == "own" else options.client_ca
        context = tls_context(state / "tls", client_ca)

    stores = {name: Store(state / f"{name}.ndjson", not options.no_keep) for name in wanted}
    faults = {name: Faults(name) for name in wanted}
    servers = []
    ports = {}

    def start(work: Callable, *of: Any) -> None:
        threading.Thread(target=work, args=of, daemon=True).start()

    for name, port in wanted.items():
        server = bind(socket.SOCK_DGRAM if name == "syslog-udp" else socket.SOCK_STREAM, int(port or 0))
        servers.append(server)
        ports[name] = server.getsockname()[1]
        tls = context if name in secure else None
        if name in SERVICES:
            service = SERVICES[name](name, stores[name], faults[name], options)
            start(serve, server, partial(converse, service=service), tls, stores[name])
            continue
        syslog = Syslog(name, stores[name], faults[name])
        if name == "syslog-udp":
            start(read_datagrams, server, syslog)
        else:
            framing = "octet" if name == "syslog-tls" else options.framing
            start(serve, server, partial(read_stream, syslog=syslog, framing=framing), tls, stores[name])

    control = Control(stores, faults, Store(Path(os.devnull), False))
    server = bind(socket.SOCK_STREAM, options.control)
    servers.append(server)
    start(serve, server, partial(converse, service=control), None, control.store)

    # A handler runs within the wait below, which holds a lock that `set` takes.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=stopping.set).start())
    ready |= {"control": server.getsockname()[1], "ports": ports, "state": str(state), "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    if not options.detached:

        def watch() -> None:
            while sys.stdin.buffer.read(1):
                pass
            stopping.set()

        start(watch)
    stopping.wait()
    # What is being written is finished; nothing new begins.
    for store in stores.values():
        store.lock.acquire()
    for server in servers:
        server.close()
    sys.stdout.flush()


def main() -> None:
    options = arguments()
    if options.certificates:
        print(json.dumps(make_certificates(Path(options.certificates) / "tls")))
        return
    if options.state:
        run(options)
    else:
        with tempfile.TemporaryDirectory(prefix="receiver-") as folder:
            options.state = folder
            run(options)
    # Threads may be within a read; there is nothing left for them to do.
    os._exit(0)


if __name__ == "__main__":
    main()
