#!/usr/bin/env python3
"""Compares what Custody makes of recordings with a reading of its own.

    recordings.py --custody PATH [--fixtures ../shared/fixtures]

Every recording below `replay` and `teleport` of the fixtures is imported into a fresh ledger and exported again. What
comes out is compared with what this script reads in the files by the public definitions of their formats; it shares no
code with Custody and takes nothing from its answers. Compared are

- outputs, inputs, markers (a signal is one) and exit statuses: their number, order, times and bytes;
- the sizes that the terminal had, where the format has them, and from when;
- the duration, the bytes of output and their SHA-256 (`--as raw`, `--as json`);
- the exports as asciicast 2 and 3 and as ttyrec, which are read again like any other file.

Times may differ by TOLERANCE_US. What this reading finds wrong with a file Custody has to name too, and the other way
round. A row is 0, or says what differs; what differs and Custody does not name is a failure (exit status 1). Files that
are no recordings, and recordings that are broken on purpose, are listed apart with what Custody said.

Bare terminal output has no times and no container. It is put into a typescript of `script`, whose frames and seconds
the row then tells; those rows say so.

The same session, recorded by several recorders, is shown at the same times (`--as text --to T`, and the screen of
`--as json --from T --to T`).

Standard library only. Without the fixtures it says that it was skipped.
"""

import argparse
import base64
import bisect
import gzip
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

TOLERANCE_US = 10

# asciicast 3 has milliseconds.
TOLERANCE_V3_US = 510

MILLION = 1_000_000


class Broken(Exception):
    """A file is not what its format's definition says."""


class Event(NamedTuple):
    us: Fraction | None  # since the start; None where the file does not say it
    code: str  # o, i, m, x
    data: bytes


@dataclass
class Reading:
    """A recording, as it was read."""

    events: list[Event] = field(default_factory=list)
    sizes: list[tuple[Fraction, str]] = field(default_factory=list)  # COLSxROWS from when on
    us: Fraction = Fraction(0)  # duration
    wrong: list[str] = field(default_factory=list)

    def add(self, us: Fraction | None, code: str, data: bytes) -> None:
        if us is not None:
            if us < self.us:
                self.wrong.append(f"time runs backwards at event {len(self.events) + 1}")
            self.us = max(self.us, us)
        if code == "r":
            self.resize(us, data.decode())
        else:
            self.events.append(Event(us, code, data))

    def resize(self, us: Fraction | None, size: str) -> None:
        """Formats restate sizes as they like; what counts is when the size changed."""
        if not self.sizes or self.sizes[-1][1] != size:
            self.sizes.append((us if us is not None else self.us, size))

    @property
    def output(self) -> bytes:
        return b"".join(event.data for event in self.events if event.code == "o")


# ---- reading the formats ---------------------------------------------------------------------------------------------


def seconds(number) -> Fraction:
    """Microseconds of a JSON number of seconds."""
    if isinstance(number, bool) or not isinstance(number, (int, Decimal)) or number < 0:
        raise Broken(f"{json.dumps(number, default=str)} is no time")
    return Fraction(number) * MILLION


def parse_json(text: str | bytes):
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, UnicodeDecodeError) as error:
        raise Broken(f"not JSON: {error}") from None


def size_of(cols, rows) -> str:
    if not (isinstance(cols, int) and isinstance(rows, int) and cols > 0 and rows > 0):
        raise Broken("no size")
    return f"{cols}x{rows}"


def asciicast_1(document) -> Reading:
    reading = Reading()
    reading.resize(Fraction(0), size_of(document.get("width"), document.get("height")))
    now = Fraction(0)
    for event in document["stdout"]:
        if len(event) != 2 or not isinstance(event[1], str):
            raise Broken("an event is not a delay and a text")
        now += seconds(event[0])
        reading.add(now, "o", event[1].encode())
    return reading


def asciicast(data: bytes) -> Reading:
    if not data.lstrip().startswith(b"{"):
        raise Broken("no asciicast")
    lines = data.decode().split("\n")
    try:
        header = parse_json(lines[0])
    except Broken:
        document = parse_json(data)
        if document.get("version") != 1:
            raise Broken(f"asciicast version {document.get('version')}") from None
        return asciicast_1(document)
    version = header.get("version")
    if version == 1:
        return asciicast_1(header)
    reading = Reading()
    if version == 2:
        reading.resize(Fraction(0), size_of(header.get("width"), header.get("height")))
    elif version == 3:
        term = header.get("term", {})
        reading.resize(Fraction(0), size_of(term.get("cols"), term.get("rows")))
    else:
        raise Broken(f"asciicast version {version}")
    now = Fraction(0)
    for number, line in enumerate(lines[1:], 2):
        if not line.strip() or (version == 3 and line.startswith("#")):
            continue
        event = parse_json(line)
        if not isinstance(event, list) or len(event) != 3 or not isinstance(event[1], str):
            raise Broken(f"line {number} is no event")
        time, code, text = event
        now = seconds(time) + (now if version == 3 else 0)
        if code not in ("o", "i", "r", "m", "x"):
            reading.us = max(reading.us, now)
            continue
        if not isinstance(text, str):
            raise Broken(f"the data of line {number} are no text")
        if code == "r" and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
            raise Broken(f"line {number} has no size")
        reading.add(now, code, text.encode())
    return reading


def ttyrec(data: bytes) -> Reading:
    reading = Reading()
    if not data:
        raise Broken("empty")
    start = None
    at = 0
    while at < len(data):
        if len(data) - at < 12:
            raise Broken("the last frame is cut off in its header")
        sec, usec, length = struct.unpack_from("<III", data, at)
        payload = data[at + 12 : at + 12 + length]
        if usec >= MILLION:
            raise Broken(f"{usec} microseconds in a second: not the framing of ttyrec")
        if len(payload) < length:
            raise Broken(f"the last frame is cut off: {len(payload)} of {length} bytes")
        if start is None:
            start = sec * MILLION + usec
            asked = re.search(rb"\x1b\[8;(\d+);(\d+)t", payload)
            if asked:
                reading.resize(Fraction(0), f"{int(asked[2])}x{int(asked[1])}")
        reading.add(Fraction(sec * MILLION + usec - start), "o", payload)
        at += 12 + length
    return reading


def script(timing: bytes, typescript: bytes) -> Reading:
    """util-linux `script`, both forms; input and output are in the one file, in the order of the timing."""
    reading = Reading()
    head, _, data = typescript.partition(b"\n")
    if not head.startswith(b"Script started on "):
        raise Broken("the typescript has no first line")
    size = {name: int(value) for name, value in re.findall(r'(COLUMNS|LINES)="(\d+)"', head.decode())}
    now = Fraction(0)
    at = 0
    for line in timing.decode().splitlines():
        words = line.split(" ")
        if words[0] not in ("O", "I", "S", "H"):
            words = ["O", *words]
        kind, delay, rest = words[0], words[1], words[2:]
        now += Fraction(delay) * MILLION
        reading.us = max(reading.us, now)
        if kind in "OI":
            length = int(rest[0])
            if len(data) - at < length:
                raise Broken("the typescript is too short")
            reading.add(now, kind.lower(), data[at : at + length])
            at += length
        elif kind == "S":
            named = dict(word.split("=") for word in rest[1:] if "=" in word)
            if rest[0] == "SIGWINCH" and {"ROWS", "COLS"} <= named.keys():
                reading.add(now, "r", f"{int(named['COLS'])}x{int(named['ROWS'])}".encode())
            else:
                reading.add(now, "m", " ".join(rest).encode())
        elif rest[0] in ("COLUMNS", "LINES"):
            size[rest[0]] = int(rest[1])
        elif rest[0] == "EXIT_CODE":
            reading.add(now, "x", rest[1].encode())
    if "COLUMNS" in size and "LINES" in size:
        start = f"{size['COLUMNS']}x{size['LINES']}"
        later, reading.sizes = reading.sizes, []
        for us, size in [(Fraction(0), start), *later]:
            reading.resize(us, size)
    rest = data[at:]
    done = re.fullmatch(rb'\nScript done on [^\n]*?(?:\[COMMAND_EXIT_CODE="(\d+)"\])?\n', rest)
    if rest and not done:
        raise Broken("bytes that no timing line tells of")
    if done and done[1] and not any(event.code == "x" for event in reading.events):
        reading.add(now, "x", done[1])
    return reading


def sudo(folder: Path) -> Reading:
    def file(name: str) -> bytes:
        path = folder / name
        data = path.read_bytes() if path.exists() else b""
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data

    reading = Reading()
    fields = file("log").decode().splitlines()[0].split(":")
    reading.resize(Fraction(0), f"{int(fields[6])}x{int(fields[5])}")
    streams = {number: file(name) for number, name in enumerate(("stdin", "stdout", "stderr", "ttyin", "ttyout"))}
    used = Counter()
    now = Fraction(0)
    for line in file("timing").decode().splitlines():
        kind, delay, *rest = line.split()
        now += Fraction(delay.replace(",", ".")) * MILLION
        reading.us = max(reading.us, now)
        if kind in "01234":
            stream, length = int(kind), int(rest[0])
            data = streams[stream][used[stream] : used[stream] + length]
            if len(data) < length:
                reading.wrong.append(f"stream {stream} ends too early")
            used[stream] += length
            reading.add(now, "i" if kind in "03" else "o", data)
        elif kind == "5":
            reading.add(now, "r", f"{int(rest[1])}x{int(rest[0])}".encode())
        elif kind == "7":
            reading.add(now, "m", rest[0].encode())
        else:
            raise Broken(f"a timing line of type {kind}")
    for stream, data in streams.items():
        if used[stream] < len(data):
            reading.wrong.append(f"{len(data) - used[stream]} bytes of stream {stream} are in no timing line")
    return reading


def journal(data: bytes) -> list[bytes]:
    """The MESSAGE fields of a journal in the export format."""
    messages = []
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        line = data[at:] if end < 0 else data[at:end]
        at += len(line) + 1
        name, is_text, value = line.partition(b"=")
        if line and not is_text:
            (length,) = struct.unpack_from("<Q", data, at)
            value, at = data[at + 8 : at + 8 + length], at + 8 + length + 1
        if name == b"MESSAGE":
            messages.append(value)
    return messages


def tlog(data: bytes) -> dict[str, Reading]:
    lines = data.splitlines() if data.startswith(b"{") else journal(data)
    readings: dict[str, Reading] = {}
    last: dict[str, int] = {}
    for line in lines:
        if not line.startswith(b"{"):
            continue
        message = parse_json(line)
        if not {"ver", "rec", "id", "pos", "timing"} <= message.keys():
            continue
        reading = readings.setdefault(message["rec"], Reading())
        expected = last.get(message["rec"], 0) + 1
        if message["id"] != expected:
            reading.wrong.append(f"message {expected} is missing")
        last[message["rec"]] = message["id"]
        tlog_message(message, reading)
    return readings


def tlog_message(message: dict, reading: Reading) -> None:
    texts = {"o": message.get("out_txt", ""), "i": message.get("in_txt", "")}
    raws = {"o": bytes(message.get("out_bin", [])), "i": bytes(message.get("in_bin", []))}
    now = Fraction(message["pos"]) * 1000
    timing = message["timing"]
    token = re.compile(r"\+(\d+)|([<>])(\d+)|([\[\]])(\d+)/(\d+)|=(\d+)x(\d+)")
    at = 0
    while at < len(timing):
        match = token.match(timing, at)
        if not match:
            break
        at = match.end()
        delay, arrow, chars, bracket, skipped, taken, cols, rows = match.groups()
        if delay:
            now += int(delay) * 1000
            # A pause after which nothing comes is no time of the session's.
        elif arrow:
            code = "o" if arrow == ">" else "i"
            text, texts[code] = texts[code][: int(chars)], texts[code][int(chars) :]
            reading.add(now, code, text.encode())
        elif bracket:
            code = "o" if bracket == "]" else "i"
            texts[code] = texts[code][int(skipped) :]
            raw, raws[code] = raws[code][: int(taken)], raws[code][int(taken) :]
            reading.add(now, code, raw)
        else:
            reading.add(now, "r", f"{int(cols)}x{int(rows)}".encode())
    if at < len(timing) or any(texts.values()):
        reading.wrong.append(f"the timing of message {message['id']} is {timing[at:at + 20]!r}")
        for code in ("i", "o"):
            if texts[code]:
                reading.add(None, code, texts[code].encode())


def teleport_events(events: list[dict], stream: bytes | None) -> Reading:
    """Events of a session as JSON. The data of prints are in them, or in the stream beside."""

    def wall(event: dict) -> Fraction:
        return Fraction(round(datetime.fromisoformat(event["time"]).timestamp() * MILLION))

    timed = []
    for event in events:
        if event["event"] == "print":
            offset, length = event["offset"], event["bytes"]
            data = stream[offset : offset + length] if stream is not None else base64.b64decode(event["data"])
            if len(data) != length:
                raise Broken("a print is too short")
            timed.append(("o", wall(event), event["ms"], data))
        elif event["event"] in ("session.start", "resize"):
            timed.append(("r", wall(event), None, event["size"].replace(":", "x").encode()))
        elif event["event"] == "session.end":
            timed.append(("end", wall(event), None, b""))
    return teleport_timeline(timed)


def teleport_timeline(timed: list[tuple[str, Fraction, int | None, bytes]]) -> Reading:
    """Time counts in `ms` from the first print; what has none is placed by its wall clock against it."""
    zero = next((wall - ms * 1000 for code, wall, ms, _ in timed if code == "o"), timed[0][1])
    reading = Reading()
    for code, wall, ms, data in timed:
        us = Fraction(ms * 1000) if ms is not None else max(wall - zero, reading.us)
        if code == "end":
            reading.us = max(reading.us, us)
        else:
            reading.add(us, code, data)
    return reading


def protobuf(data: bytes) -> list[tuple[int, int | bytes]]:
    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    fields = []
    at = 0
    while at < len(data):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            fields.append((number, varint()))
        elif wire == 2:
            length = varint()
            fields.append((number, data[at : at + length]))
            at += length
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            fields.append((number, data[at : at + width]))
            at += width
        else:
            raise Broken(f"wire type {wire}")
    return fields


def teleport_tar(data: bytes) -> Reading:
    """Parts, each a gzip stream of records with a length; parts may repeat events of those before."""
    timed = []
    seen, repeated = -1, 0
    at = 0
    while at < len(data):
        version, size, padding = struct.unpack_from(">QQQ", data, at)
        if version != 1:
            raise Broken(f"part version {version} is not read here")
        payload = data[at + 24 : at + 24 + size]
        at += 24 + size + padding
        records = gzip.decompress(payload) if payload else b""
        while records:
            (length,) = struct.unpack_from(">I", records)
            record, records = records[4 : 4 + length], records[4 + length :]
            for number, value in protobuf(record):
                message = dict(protobuf(value))
                metadata = dict(protobuf(message[1]))
                index = metadata.get(1, 0)
                if index <= seen:
                    repeated += 1
                    continue
                seen = index
                stamp = dict(protobuf(metadata[5]))
                wall = Fraction(stamp.get(1, 0) * MILLION) + Fraction(stamp.get(2, 0), 1000)
                if number == 7:
                    timed.append(("o", wall, message.get(5, 0), message.get(3, b"")))
                elif number in (5, 9):
                    timed.append(("r", wall, None, message[6].replace(b":", b"x")))
                elif number == 10:
                    timed.append(("end", wall, None, b""))
    reading = teleport_timeline(timed)
    if repeated:
        reading.wrong.append(f"{repeated} events are there twice")
    return reading


# ---- what there is ---------------------------------------------------------------------------------------------------


@dataclass
class Recording:
    """A recording of the fixtures: which files it is, what to import, and what was read in it."""

    format: str
    name: str
    path: Path
    readings: dict[str, Reading]  # by session; "" where the format names none
    files: list[Path]


def wrapped(temporary: Path, name: str, chunks: list[tuple[Fraction, bytes]], size: str | None) -> Path:
    """Bare output as a typescript of the classic form: (delay in seconds, bytes)."""
    folder = temporary / name.replace("/", "_")
    folder.mkdir()
    facts = ""
    if size:
        cols, rows = size.split("x")
        facts = f' [COMMAND="-" TERM="xterm" TTY="-" COLUMNS="{cols}" LINES="{rows}"]'
    (folder / "x.timing").write_text("".join(f"{float(delay):.6f} {len(data)}\n" for delay, data in chunks))
    (folder / "x").write_bytes(
        f"Script started on 2026-01-01 00:00:00+00:00{facts}\n".encode()
        + b"".join(data for _, data in chunks)
        + b"\nScript done on 2026-01-01 00:00:01+00:00\n"
    )
    return folder / "x.timing"


def wrapped_recording(temporary: Path, name: str, chunks, size, files: list[Path]) -> Recording:
    timing = wrapped(temporary, name, chunks, size)
    reading = script(timing.read_bytes(), timing.with_name("x").read_bytes())
    assert reading.output == b"".join(data for _, data in chunks)
    return Recording("bare output, in a typescript", name, timing, {"": reading}, files)


def chunks_of(data: bytes) -> list[tuple[Fraction, bytes]]:
    return [(Fraction(1, 1000), data[at : at + 4096]) for at in range(0, len(data), 4096)]


SUDO_FILES = ("log", "log.json", "timing", "stdin", "stdout", "stderr", "ttyin", "ttyout")


def look(fixtures: Path, temporary: Path) -> tuple[list[Recording], list[tuple[Path, str]]]:
    """The recordings, and every other file with why it is none."""
    recordings: list[Recording] = []
    apart: list[tuple[Path, str]] = []
    taken: set[Path] = set()

    def take(kind: str, path: Path, read, *files: Path) -> None:
        name = str(path.relative_to(fixtures))
        try:
            readings = read()
        except Broken as broken:
            apart.append((path, f"broken {kind}: {broken}"))
        else:
            recordings.append(Recording(kind, name, path, readings, [path, *files]))
        taken.update([path, *files])

    def one(read, *data):
        return lambda: {"": read(*data)}

    folders = [fixtures / "replay", fixtures / "teleport"]
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    for path in paths:
        if path in taken:
            continue
        name, beside = path.name, {other.name: other for other in path.parent.iterdir()}
        if {"timing", "log"} <= beside.keys():
            if not any(path.parent == recording.path for recording in recordings):
                folder = path.parent
                files = [beside[name] for name in SUDO_FILES if name in beside]
                take("sudo I/O log", folder, one(sudo, folder), *files)
            if path not in taken:
                apart.append((path, "an expectation beside a sudo I/O log"))
        elif name.endswith(".cast") or (name.endswith(".json") and is_asciicast_1(path)):
            version = re.search(rb'"version":\s*(\d)', path.read_bytes())
            kind = f"asciicast {version[1].decode()}"
            take(kind, path, one(asciicast, path.read_bytes()))
        elif name.endswith(".ttyrec"):
            take("ttyrec", path, one(ttyrec, path.read_bytes()))
        elif name.endswith(".ttyrec3"):
            apart.append((path, "ttyrec3, another format"))
        elif name.endswith(".timing") and path.with_suffix(".io") in beside.values():
            typescript = path.with_suffix(".io")
            take("script", path, one(script, path.read_bytes(), typescript.read_bytes()), typescript)
        elif name + ".timing.jsonl" in beside:
            told = beside[name + ".timing.jsonl"]
            data, at, before, chunks = path.read_bytes(), 0, Fraction(0), []
            for line in told.read_text().splitlines():
                time, length = json.loads(line, parse_float=Fraction)
                chunks.append((Fraction(time) - before, data[at : at + length]))
                at, before = at + length, Fraction(time)
            label = str(path.relative_to(fixtures))
            recordings.append(wrapped_recording(temporary, label, chunks, "100x30", [path, told]))
            taken.update([path, told])
        elif path.match("tlog/*/*.jsonl") or path.match("tlog/journal-*.txt"):
            take("tlog", path, lambda path=path: tlog(path.read_bytes()))
        elif name == "alacritty.recording" or path.match("avt-bench/*.gz"):
            data = path.read_bytes()
            data = gzip.decompress(data) if name.endswith(".gz") else data
            size = None
            if "size.json" in beside:
                told = json.loads(beside["size.json"].read_text())
                size = f"{told['columns']}x{told['screen_lines']}"
            label = str(path.relative_to(fixtures))
            recordings.append(wrapped_recording(temporary, label, chunks_of(data), size, [path]))
        elif path.match("teleport/derived/*.tar"):
            take("Teleport recording", path, one(teleport_tar, path.read_bytes()))
        elif name.endswith(".tty.events.json"):
            stream = path.with_name(name.replace(".events.json", ".stream"))
            read = one(teleport_events, json.loads(path.read_text()), stream.read_bytes())
            take("Teleport recording of 2019", path, read, stream)
        elif name.endswith("event-handler-session.ndjson"):
            events = [json.loads(line) for line in path.read_text().splitlines()]
            take("Teleport session stream", path, one(teleport_events, events, None))
    listed = taken | {file for recording in recordings for file in recording.files} | {path for path, _ in apart}
    apart.extend((path, "no recording") for path in paths if path not in listed)
    return recordings, sorted(apart)


def is_asciicast_1(path: Path) -> bool:
    """Whether it means to be one: an object with a version and outputs."""
    try:
        document = json.loads(path.read_text())
    except ValueError:
        return False
    return isinstance(document, dict) and {"version", "stdout"} <= document.keys()


# ---- what Custody makes of it ----------------------------------------------------------------------------------------


class Refused(Exception):
    """A command that should have worked did not."""


class Custody:
    """The binary, on a ledger of its own."""

    def __init__(self, binary: Path, folder: str):
        self.binary, self.folder = binary, folder

    def run(self, *arguments: str) -> tuple[int, bytes, str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("CUSTODY_")}
        command = [self.binary, "--data", f"{self.folder}/ledger", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, timeout=600, check=False)
        return done.returncode, done.stdout, done.stderr.decode(errors="replace").strip()

    def add(self, path: Path, *arguments: str) -> tuple[list[dict], list[str]]:
        """Imports, and gives the rows of the summary and what is said to be wrong."""
        status, out, err = self.run("import", str(path), "--json", *arguments)
        if status not in (0, 1):
            return [], [f"import: exit status {status}: {err}"]
        rows = [json.loads(line) for line in out.splitlines()]
        said = [note for row in rows for note in row["notes"]]
        said += [f"integrity: {row['integrity']}" for row in rows if row["integrity"] in ("incomplete", "failed")]
        return rows, said

    def sessions(self) -> list[str]:
        status, out, err = self.run("sql", "SELECT DISTINCT session_id FROM frames ORDER BY 1", "--format", "json")
        if status:
            raise Refused(f"custody sql: {err}")
        return [row["session_id"] for row in json.loads(out)]

    def export(self, session: str, format: str, *arguments: str) -> tuple[bytes, list[str]]:
        """What was exported, and what is said to be wrong with the recording."""
        status, out, err = self.run("export", session, "--as", format, *arguments)
        if status:
            raise Refused(f"export --as {format}: exit status {status}: {err}")
        return out, [line.removeprefix("custody: ") for line in err.splitlines()]


def exported_json(data: bytes) -> Reading:
    head, *lines = [json.loads(line) for line in data.splitlines()]
    reading = Reading()
    reading.resize(Fraction(0), f"{head['size']['cols']}x{head['size']['rows']}")
    for line in lines:
        content = line["text"].encode() if "text" in line else base64.b64decode(line["base64"])
        if line["code"] != "e":
            reading.add(Fraction(line["time_us"]), line["code"], content)
    reading.us = Fraction(head["duration_us"])
    return reading


def compare(expected: Reading, got: Reading, worst: list[Fraction]) -> list[str]:
    """What differs between the reading and the export as JSON."""
    differences = []
    names = {"o": "outputs", "i": "inputs", "m": "markers", "x": "exits"}
    counts = [Counter(event.code for event in reading.events) for reading in (expected, got)]
    for code, name in names.items():
        if counts[0][code] != counts[1][code]:
            differences.append(f"{name}: {counts[0][code]} expected, {counts[1][code]} exported")
    if not differences:
        pairs = list(zip(expected.events, got.events, strict=True))
        unlike = [n for n, (a, b) in enumerate(pairs, 1) if (a.code, a.data) != (b.code, b.data)]
        if unlike:
            differences.append(f"{len(unlike)} events have other content, the first is number {unlike[0]}")
        drifts = [abs(a.us - b.us) for a, b in pairs if a.us is not None]
        worst.extend(drifts)
        late = [n for n, drift in enumerate(drifts, 1) if drift > TOLERANCE_US]
        if late:
            differences.append(f"{len(late)} events at another time, by up to {float(max(drifts)) / MILLION:.6f} s")
    # Without a size in the file, players take what they like.
    if expected.sizes:
        same = len(expected.sizes) == len(got.sizes) and all(
            a[1] == b[1] and abs(a[0] - b[0]) <= TOLERANCE_US for a, b in zip(expected.sizes, got.sizes, strict=True)
        )
        if not same:
            shown = [", ".join(f"{s} at {float(us) / MILLION:.3f}" for us, s in r.sizes) for r in (expected, got)]
            differences.append(f"sizes: {shown[0]} expected, {shown[1]} exported")
    if abs(expected.us - got.us) > TOLERANCE_US:
        told = [f"{float(reading.us) / MILLION:.6f}" for reading in (expected, got)]
        differences.append(f"seconds: {told[0]} expected, {told[1]} exported")
    return differences


def compare_casts(expected: Reading, name: str, data: bytes, tolerance_us: int) -> list[str]:
    """What differs in an export as asciicast: bytes that are no text became U+FFFD."""
    try:
        got = asciicast(data)
    except Broken as broken:
        return [f"{name}: {broken}"]
    differences = []
    if got.output.decode() != expected.output.decode(errors="replace"):
        differences.append(f"{name}: other output")
    last, got_last = (max((e.us for e in r.events if e.us is not None), default=Fraction(0)) for r in (expected, got))
    if abs(last - got_last) > tolerance_us:
        differences.append(f"{name}: the last event is at {float(got_last) / MILLION:.6f} s")
    return differences


def compare_ttyrec(expected: Reading, data: bytes) -> list[str]:
    """The export has the size in frames of its own, and no frame without bytes."""
    is_size = re.compile(rb"\x1b\[8;\d+;\d+t").fullmatch
    try:
        got = [event.data for event in ttyrec(data).events if not is_size(event.data)]
    except Broken as broken:
        return [f"ttyrec: {broken}"]
    outputs = [e.data for e in expected.events if e.code == "o" and e.data and not is_size(e.data)]
    return [] if got == outputs else ["ttyrec: other frames"]


def compare_session(
    custody: Custody, session: str, reading: Reading, worst: list[Fraction]
) -> tuple[list[str], list[str]]:
    """What differs, and what Custody says is wrong."""
    raw, said = custody.export(session, "raw")
    differences = []
    if hashlib.sha256(raw).digest() != hashlib.sha256(reading.output).digest():
        differences.append(f"output: {len(reading.output)} B expected, {len(raw)} B exported, another SHA-256")
    differences += compare(reading, exported_json(custody.export(session, "json")[0]), worst)
    v2, v3 = custody.export(session, "asciicast-v2")[0], custody.export(session, "asciicast-v3")[0]
    differences += compare_casts(reading, "asciicast 2", v2, TOLERANCE_US)
    differences += compare_casts(reading, "asciicast 3", v3, TOLERANCE_V3_US)
    differences += compare_ttyrec(reading, custody.export(session, "ttyrec")[0])
    return differences, said


def compare_recording(
    custody: Custody, recording: Recording, worst: list[Fraction]
) -> dict[str, tuple[list[str], list[str]]]:
    """Imports it. Of each session, what differs, and what Custody says is wrong."""
    _, said = custody.add(recording.path)
    try:
        sessions = custody.sessions()
        expected = sorted(recording.readings)
        if len(sessions) != len(expected) or expected not in (sessions, [""]):
            return {"": ([f"{len(expected)} sessions expected, made: {', '.join(sessions) or 'none'}"], said)}
        compared = {}
        for name, session in zip(expected, sessions, strict=True):
            differences, told = compare_session(custody, session, recording.readings[name], worst)
            compared[name] = differences, said + told
        return compared
    except Refused as refused:
        return {"": ([str(refused)], [])}


def verdict(differences: list[str], wrong: list[str], said: list[str]) -> tuple[str, bool]:
    """The cell of a row, and whether it is a failure."""
    told = "; ".join(dict.fromkeys(said))
    if not differences and not wrong and not said:
        return "0", False
    if not said:
        return "; ".join(differences or [f"not named: {what}" for what in wrong]), True
    if not differences and wrong:
        return f"0 (finding: {told})", False
    if differences:
        return f"{'; '.join(differences)} (finding: {told})", False
    return f"a finding without a cause: {told}", True


# ---- the same session by several recorders ---------------------------------------------------------------------------


SHOWN = 20

# In outer.raw a path was replaced by one of the same length after it was recorded; the other recorders have the first.
PATHS = ("/tmp/research", "/srv/ops-team")


class Shown(NamedTuple):
    text: str  # the lines up to there
    screen: str  # the escape sequences that make the screen that was there


def quiet_times(readings: dict[str, Reading]) -> list[Fraction]:
    """Times since the first output, about SHOWN of them over the session, at which each recorder has the same output
    behind it and nobody was in the middle of anything."""
    first = {name: next(e.us for e in r.events if e.code == "o") for name, r in readings.items()}
    outputs = {name: [(e.us - first[name], e.data) for e in r.events if e.code == "o"] for name, r in readings.items()}
    reference = [us for us, _ in next(iter(outputs.values()))]
    gaps = [(after - before, (after + before) / 2) for before, after in zip(reference, reference[1:])]
    window = reference[-1] / SHOWN

    def text_until(name: str, us: Fraction) -> str:
        return b"".join(data for at, data in outputs[name] if at <= us).decode(errors="replace").replace(*PATHS)

    def is_quiet(us: Fraction) -> bool:
        for name in outputs:
            at = bisect.bisect_right([at for at, _ in outputs[name]], us)
            if any(abs(outputs[name][n][0] - us) < 5000 for n in (at - 1, at) if 0 <= n < len(outputs[name])):
                return False
        return len({text_until(name, us) for name in outputs}) == 1

    times = []
    for number in range(SHOWN):
        inside = sorted((gap for gap in gaps if window * number <= gap[1] < window * (number + 1)), reverse=True)
        times += [us for _, us in inside[:20] if is_quiet(us)][:1]
    return times


def compare_screens(binary: Path, recordings: list[Recording], temporary: Path) -> tuple[list[str], int]:
    """Rows of a table, and the number of failures."""
    of = {recording.name.removeprefix("replay/own/nested/"): recording for recording in recordings}
    recorders = {
        "script": of["script.timing"],
        "pty": of["outer.raw"],
        "asciinema": of["asciinema-2.2.cast"],
        "ttyrec": of["session.ttyrec"],
    }
    readings = {name: recording.readings[""] for name, recording in recorders.items()}
    paths = {name: recording.path for name, recording in recorders.items()}
    # What script recorded, without what it alone knows: the sizes after the start, and the size at the start.
    before, chunks = Fraction(0), []
    for event in readings["script"].events:
        if event.code == "o":
            chunks.append(((event.us - before) / MILLION, event.data))
            before = event.us
    for name, size in (("script at 100x30", "100x30"), ("script at 80x24", "80x24")):
        paths[name] = wrapped(temporary, name, chunks, size)
        readings[name] = readings["script"]
    # Where sizes alone make a recorder show something else, it shows what script would without them.
    twins = {"pty": "script at 100x30", "asciinema": "script at 100x30", "ttyrec": "script at 80x24"}
    times = quiet_times({name: readings[name] for name in recorders})
    rows = ["| since the first output | size | pty | asciinema | ttyrec |", "|---|---|---|---|---|"]
    failures = 0 if len(times) >= SHOWN // 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        custody = Custody(binary, folder)
        for name, path in paths.items():
            custody.add(path, "--session-id", name.replace(" ", "-"))

        def shown(name: str, us: Fraction) -> Shown:
            first = next(event.us for event in readings[name].events if event.code == "o")
            at = f"{float((us + first) / MILLION):.6f}"
            session = name.replace(" ", "-")
            head = json.loads(custody.export(session, "json", "--from", at, "--to", at)[0].splitlines()[0])
            text = custody.export(session, "text", "--to", at)[0].decode()
            return Shown(text.replace(*PATHS), json.dumps(head["cut"]["screen"]).replace(*PATHS))

        for us in times:
            screens = {name: shown(name, us) for name in paths}
            since = us + next(event.us for event in readings["script"].events if event.code == "o")
            size = [size for at, size in readings["script"].sizes if at <= since][-1]
            cells = []
            for name, twin in twins.items():
                if screens[name] == screens["script"]:
                    cells.append("same")
                elif screens[name] == screens[twin]:
                    is_same = screens[name].screen == screens["script"].screen
                    cells.append(f"{'same screen, lines' if is_same else 'lines and screen'} as {twin}")
                else:
                    cells.append("DIFFERS")
                    failures += 1
            rows.append(f"| {float(us) / MILLION:.3f} | {size} | {' | '.join(cells)} |")
    return rows, failures


# ---- tables ----------------------------------------------------------------------------------------------------------


def cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--custody", type=Path, required=True)
    parser.add_argument("--fixtures", type=Path, default=Path("../shared/fixtures"))
    arguments = parser.parse_args()
    fixtures, binary = arguments.fixtures.resolve(), arguments.custody.resolve()
    if not (fixtures / "replay").is_dir():
        print(f"SKIPPED: there are no fixtures in {arguments.fixtures}")
        return

    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder)
        recordings, apart = look(fixtures, temporary)
        failures, totals, worst = 0, Counter(), [Fraction(0)]
        print("| format | file | frames | seconds | bytes of output | mismatch |\n|---|---|---|---|---|---|")
        for recording in recordings:
            with tempfile.TemporaryDirectory() as ledger:
                differences = compare_recording(Custody(binary, ledger), recording, worst)
            for name, (found, told) in differences.items():
                reading = recording.readings.get(name, Reading())
                mismatch, is_failure = verdict(found, reading.wrong, told)
                failures += is_failure
                frames, size = len(reading.events) + len(reading.sizes[1:]), len(reading.output)
                totals.update(rows=1, frames=frames, us=reading.us, bytes=size, exact=mismatch == "0")
                print(
                    f"| {recording.format} | {cell(recording.name)} | {frames} | {float(reading.us) / MILLION:.3f} "
                    f"| {size} | {cell(mismatch)} |"
                )
        print(
            f"| total | {totals['rows']} recordings | {totals['frames']} | {float(totals['us']) / MILLION:.3f} "
            f"| {totals['bytes']} | {totals['exact']} are 0, {totals['rows'] - totals['exact']} say more, "
            f"{failures} fail |"
        )
        print(f"\nNo time differs by more than {float(max(worst)):.1f} µs where none is told.\n")

        print("| no recording, or a broken one | why | what Custody said | recordings made |\n|---|---|---|---|")
        for path, why in apart:
            with tempfile.TemporaryDirectory() as ledger:
                custody = Custody(binary, ledger)
                rows, said = custody.add(path)
                formats = ", ".join(row["format"] for row in rows if row["format"])
                made = 0
                for session in custody.sessions() if formats else []:
                    try:
                        said += custody.export(session, "raw")[1]
                        made += 1
                    except Refused:
                        pass  # Frames that show nothing, as of an audit log with resizes.
            # Who makes a recording of what is none, or of one that is broken, has to say so.
            is_failure = made > 0 and not said
            failures += is_failure
            told = "; ".join(dict.fromkeys(said)) or "nothing"
            as_what = f"{formats}: " if formats else ""
            print(
                f"| {cell(str(path.relative_to(fixtures)))} | {cell(why)} | {cell(as_what + told)} "
                f"| {'NOT NAMED' if is_failure else made or ''} |"
            )

        print("\nThe session that four recorders recorded, at the same times, beside what `script` recorded:\n")
        rows, wrong = compare_screens(binary, recordings, temporary)
        print("\n".join(rows))
        failures += wrong
    print(f"\n{failures} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
