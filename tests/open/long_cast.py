"""Writes an asciicast v2 of a long terminal session that nobody had, for measuring players and search.

    long_cast.py OUT.cast [--mb 1000] [--hours 8] [--seed 1]

--mb is what the programs wrote to the terminal, in 10^6 bytes; the file is larger, since it is JSON. The same arguments
give the same file. Memory does not depend on the size.

The session is a working day: commands typed key by key, coloured listings, tables with wide characters, a process
viewer and an editor on the alternate screen, builds line by line, logs in pieces as a pseudo terminal gives them (cut
anywhere, also within an escape sequence), pauses, sometimes a resize or a marker. What differs in real output differs
here (times, numbers, identifiers), and what is repeated there is repeated here.

At 75 % of the time a shell prints the line "needle-SEED payment approved", which is nowhere else. Ends with one line of
JSON: where the needle is, and what was written.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")

STARTED_AT = 1_793_610_000  # 2026-11-02T09:00:00Z, a Monday.
SIZES = [(120, 36), (160, 48), (100, 30), (80, 24)]
READ_MAX = 4095  # What Linux gives of a pseudo terminal at once.
BUFFER = 1 << 20

RESET = "\x1b[0m"
ALTERNATE, PRIMARY = "\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=", "\x1b[?1049l\x1b[23;0;0t\x1b[?1l\x1b>"
LEVELS = ["\x1b[32mINFO \x1b[0m"] * 12 + ["\x1b[36mDEBUG\x1b[0m"] * 5
LEVELS += ["\x1b[33mWARN \x1b[0m"] * 2 + ["\x1b[31mERROR\x1b[0m"]
ROUTES = ["GET /v1/orders/", "GET /v1/accounts/", "POST /v1/payments/", "PUT /v1/carts/", "GET /healthz?n="]
ROUTES += ["DELETE /v1/tokens/"]
PEOPLE = ["alice", "bob", "Zoë Müller", "山田 太郎", "김민수", "Łukasz", "Nguyễn Văn An", "ops-bot"]
PEOPLE += ["Иван Петров", "María"]
FILES = ["README.md", "Makefile", "src", "deploy.sh", "config.yaml", "payments.log", "notes-привет.txt", "résumé.pdf"]
FILES += ["図面.svg", "target"]
CRATES = ["serde", "tokio", "hyper", "arrow-array", "parquet", "ring", "rustls", "regex-automata", "object_store"]
CRATES += ["chrono", "libc", "syn"]
CODE = [
    "fn settle(order: &Order, at_us: i64) -> Result<Receipt, Error> {",
    "    let total = order.lines.iter().map(|line| line.price * line.count).sum::<u64>();",
    "    if total > LIMIT { return Err(Error::OverLimit { total }); }",
    "    // Two people have to approve what is above the limit.",
    "    let receipt = ledger.append(order.id, total)?;",
    '    tracing::info!(order = %order.id, total, "settled");',
    "    Ok(receipt)",
    "}",
    "",
]
TRACE = [
    "\x1b[31m  java.net.SocketTimeoutException: Read timed out\x1b[0m",
    "\x1b[31m    at com.example.payments.Client.charge(Client.java:214)\x1b[0m",
    "\x1b[31m    at com.example.payments.Worker.run(Worker.java:87)\x1b[0m",
]


def time_of_day(seconds: int) -> str:
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Cast:
    """An asciicast that is being written, with the clock of the session."""

    def __init__(self, file: TextIO, seed: int) -> None:
        self.size = SIZES[0]
        self.now_us = 0
        self.limit_us = 0
        self.bytes = 0
        self.events = 0
        self._file = file
        self._quote = json.JSONEncoder(ensure_ascii=False).encode
        self._lines: list[str] = []
        self._held = 0
        header: dict[str, object] = {"version": 2, "width": self.size[0], "height": self.size[1]}
        header |= {
            "timestamp": STARTED_AT,
            "title": f"long session {seed}",
            "env": {"SHELL": "/bin/bash", "TERM": "xterm-256color"},
        }
        file.write(json.dumps(header) + "\n")

    def wait(self, seconds: float) -> None:
        """Time goes on, but never over `limit_us`."""
        self.now_us = min(self.now_us + int(seconds * 1e6), self.limit_us)

    def output(self, text: str) -> None:
        self.bytes += len(text) if text.isascii() else len(text.encode())
        self._event("o", text)

    def resize(self, size: tuple[int, int]) -> None:
        self.size = size
        self._event("r", f"{size[0]}x{size[1]}")

    def marker(self, label: str) -> None:
        self._event("m", label)

    def flush(self) -> None:
        self._file.write("".join(self._lines))
        self._lines.clear()
        self._held = 0

    def _event(self, code: str, data: str) -> None:
        self.events += 1
        self._lines.append(f'[{self.now_us / 1e6:.6f}, "{code}", {self._quote(data)}]\n')
        self._held += len(data)
        if self._held > BUFFER:
            self.flush()


class Session:
    """Somebody at work. What people do ends when `room` says so; what machines do, when all its bytes are there."""

    def __init__(self, cast: Cast, seed: int) -> None:
        self.cast = cast
        self.random = random.Random(seed)
        self.until_us = 0
        self.until_bytes = 0
        self.logged_s = 0

    def room(self) -> bool:
        return self.cast.now_us < self.until_us and self.cast.bytes < self.until_bytes

    # Only these draw random numbers: other methods of `random` differ between versions of Python.

    def below(self, limit: int) -> int:
        return int(self.random.random() * limit)

    def one(self, choices: list[T]) -> T:
        return choices[int(self.random.random() * len(choices))]

    def shuffled(self, items: list[T]) -> list[T]:
        keys = [self.random.random() for _ in items]
        return [items[n] for n in sorted(range(len(items)), key=keys.__getitem__)]

    def clock(self) -> str:
        return time_of_day(STARTED_AT + self.cast.now_us // 1_000_000)

    def prompt(self) -> None:
        self.cast.wait(0.02)
        self.cast.output(
            "\x1b[?2004h\x1b]0;alice@web-3: ~/srv\x07\x1b[01;32malice@web-3\x1b[00m:\x1b[01;34m~/srv\x1b[00m$ "
        )

    def type(self, text: str) -> None:
        """Key by key, with a slip now and then."""
        for key in text:
            self.cast.wait(0.05 + 0.2 * self.random.random())
            if self.below(40) == 0:
                self.cast.output(self.one(["q", "w", "s"]))
                self.cast.wait(0.3)
                self.cast.output("\b\x1b[K")
            self.cast.output(key)

    def command(self, line: str, run: Callable[[], None]) -> None:
        self.cast.wait(1 + 20 * self.random.random())
        self.type(line)
        self.cast.wait(0.3)
        self.cast.output("\r\n\x1b[?2004l\r")
        self.cast.wait(0.03)
        run()
        self.prompt()

    # What is short: one event, or some.

    def listing(self) -> None:
        rows = [f"total {self.below(9000)}"]
        for name in FILES:
            colour, mode = ("01;34", "drwxr-xr-x") if name in ("src", "target") else ("00", "-rw-r--r--")
            colour, mode = ("01;32", "-rwxr-xr-x") if name.endswith(".sh") else (colour, mode)
            rows.append(
                f"{mode} {1 + self.below(9)} alice ops {self.below(10_000_000):>8} Nov  2 {self.clock()[:5]} "
                f"{RESET}\x1b[{colour}m{name}{RESET}"
            )
        self.cast.output("\r\n".join(rows) + "\r\n")

    def table(self) -> None:
        rows = [f" {'id':>8} │ {'customer':<16} │ {'amount':>12} │ state"]
        rows.append("─" * 10 + "┼" + "─" * 18 + "┼" + "─" * 14 + "┼───────")
        for _ in range(5 + self.below(30)):
            state = self.one(["paid ✅", "open", "refunded 💸"])
            amount = self.below(10**7) / 100
            rows.append(f" {self.below(10**8):>8} │ {self.one(PEOPLE):<16} │ {amount:>12.2f} │ {state}")
        self.cast.output("\r\n".join(rows) + f"\r\n({len(rows) - 2} rows)\r\n\r\n")

    def download(self) -> None:
        """Bars that are drawn over and over, the cursor going up."""
        layers = [f"{self.random.getrandbits(48):012x}" for _ in range(4)]
        self.cast.output("".join(f"{layer}: Waiting\r\n" for layer in layers))
        for percent in range(0, 101, 4):
            if not self.room():
                break
            self.cast.wait(0.1)
            bar = "=" * (percent // 4) + ">"
            rows = [
                f"{layer}: Downloading [{bar:<26}] {percent * n / 3:>7.2f}MB/{100 * n / 3:.2f}MB\x1b[K\r\n"
                for n, layer in enumerate(layers, start=1)
            ]
            self.cast.output(f"\x1b[{len(layers)}A" + "".join(rows))
        digest = self.random.getrandbits(64)
        self.cast.output(f"\x1b[32mStatus: Downloaded newer image, digest {digest:016x}{RESET}\r\n")

    def commit(self) -> None:
        self.cast.output(
            f"[main {self.random.getrandbits(28):07x}] Fix limit — by {self.one(PEOPLE)}\r\n"
            f" 1 file changed, {self.below(99)} insertions(+)\r\n"
        )

    # What is on the alternate screen.

    def watch(self) -> None:
        """Like top: the whole screen every second."""
        cast = self.cast
        users = ["root", "alice", "www-data", "postgres"]
        processes = [(1000 + self.below(60_000), self.one(users), name) for name in CRATES * 5]
        cast.output(ALTERNATE + "\x1b[?25l\x1b[H\x1b[2J")
        for second in range(120 + self.below(180)):
            if not self.room():
                break
            columns, rows = cast.size
            load, cpu = self.random.random() * 4, self.random.random() * 60
            lines = [
                f"top - {self.clock()} up 41 days,  3 users,  load average: {load:.2f}, 1.20, 0.98",
                f"Tasks: {len(processes)} total,   {1 + self.below(4)} running, {len(processes) - 2} sleeping",
                f"%Cpu(s): \x1b[1m{cpu:4.1f}{RESET} us,  2.1 sy,  0.0 ni, \x1b[1m{97.9 - cpu:4.1f}{RESET} id",
                f"MiB Mem : \x1b[1m15884.2{RESET} total, \x1b[1m{self.below(90000) / 10:7.1f}{RESET} free",
                "",
                f"\x1b[7m{'    PID USER      PR  NI     RES S  %CPU  %MEM     TIME+ COMMAND':<{columns}}{RESET}",
            ]
            busy = sorted(((self.random.random() ** 8 * 100, process) for process in processes), reverse=True)
            for share, (pid, user, name) in busy[: rows - len(lines)]:
                weight = "\x1b[1m" if share > 1 else ""
                lines.append(
                    f"{weight}{pid:>7} {user:<9} 20   0 {pid * 7 % 900_000:>7} S {share:5.1f} {pid % 90 / 10:5.1f} "
                    f"{second // 60:>4}:{second % 60:02}.{pid % 100:02} {name}{RESET}"
                )
            self.pieces("\x1b[H" + "\x1b[K\r\n".join(lines) + "\x1b[J")
            cast.wait(1)
        cast.output(f"\x1b[{cast.size[1]};1H\x1b[?25h" + PRIMARY)

    def edit(self) -> None:
        """Like vi: the cursor moves, text is typed, the text scrolls."""
        cast = self.cast
        columns, rows = cast.size
        text = [CODE[n % len(CODE)].replace("LIMIT", f"LIMIT_{n}") for n in range(400)]
        top, row = self.below(200), rows // 2

        def line(at: int) -> str:
            shown = text[at][: columns - 5].replace("let ", "\x1b[33mlet\x1b[39m ")
            shown = shown.replace("fn ", "\x1b[32mfn\x1b[39m ")
            return f"\x1b[33m{at + 1:>4}{RESET} {shown}\x1b[K"

        def status(mode: str) -> str:
            where = f"{top + row},6  {100 * top // len(text)}%"
            return f"\x1b[{rows};1H\x1b[7m{mode:<9} src/settle.rs  {where}\x1b[K{RESET}\x1b[{row};6H"

        cast.output(ALTERNATE + f"\x1b[1;{rows}r\x1b[H\x1b[2J")
        self.pieces("\r\n".join(line(top + n) for n in range(rows - 1)) + status("NORMAL"))
        for _ in range(40 + self.below(80)):
            if not self.room():
                break
            cast.wait(0.08 + 0.4 * self.random.random())
            what = self.below(10)
            if what < 4:
                row = 1 + self.below(rows - 1)
                cast.output(status("NORMAL"))
            elif what < 8 and top + rows < len(text):
                top += 1
                scrolled = f"\x1b[1;{rows - 1}r\x1b[{rows - 1};1H\n{line(top + rows - 2)}\x1b[1;{rows}r"
                cast.output(scrolled + status("NORMAL"))
            else:
                cast.output(status("INSERT"))
                added = f"let amount_{self.below(10**6)} = {self.below(10**6)};  // {self.one(PEOPLE)}"
                text[top + row - 1] = "    " + added
                cast.output(f"\x1b[{row};1H\x1b[33m{top + row:>4}{RESET}     \x1b[K")
                self.type(added)
                cast.output(f"\x1b[{row};1H{line(top + row - 1)}{status('NORMAL')}")
        cast.output(f"\x1b[{rows};1H\x1b[K:wq")
        cast.wait(0.4)
        size = sum(map(len, text))
        cast.output(f'\r"src/settle.rs" {len(text)}L, {size}B written\x1b[K' + PRIMARY)

    # What is as long as it has to be.

    def build(self) -> None:
        """Line by line, sometimes with a bar below."""
        cast, total, n = self.cast, 300 + self.below(900), 0
        pace = self.pace(bytes_per_second=100_000)
        while self.cast.bytes < self.until_bytes:
            n += 1
            name, x = self.one(CRATES), self.random.getrandbits(30)
            if n % 29 == 0:
                text = (
                    f"\x1b[1m\x1b[33mwarning{RESET}\x1b[1m: unused variable: `item_{x % 997}`{RESET}\r\n"
                    f"  \x1b[1m\x1b[34m-->{RESET} {name}/src/module_{x % 61}.rs:{x % 2111}:{x % 71}\r\n"
                    f"   \x1b[1m\x1b[34m|{RESET}         \x1b[33m^^^^^^{RESET} help: prefix it with `_`\r\n\r\n"
                )
            elif n % 3 == 0:
                done = n % total
                bar = "=" * (done * 25 // total)
                text = f"\x1b[1m\x1b[36m    Building{RESET} [{bar:<25}] {done}/{total}: {name}(build.rs)\x1b[K\r"
            else:
                version = f"{name}-{x % 4001} v{x % 9}.{x % 31}.{x % 7}"
                text = f"\x1b[1m\x1b[32m   Compiling{RESET} {version} (/home/alice/srv/{name}/{x:08x})\x1b[K\r\n"
            cast.output(text)
            cast.wait(len(text) * pace * 2 * self.random.random())
        cast.output(f"\x1b[1m\x1b[32m    Finished{RESET} `release` profile in {n / 7:.2f}s\x1b[K\r\n")

    def log(self) -> None:
        pace = self.pace(bytes_per_second=2_000_000)
        while self.cast.bytes < self.until_bytes:
            # Not much beyond what is left.
            lines = 1 + min(63, max(0, self.until_bytes - self.cast.bytes) // 160)
            self.pieces("".join(self.log_lines(lines)), pace)

    def log_lines(self, count: int) -> Iterator[str]:
        """What was logged in one second. No second is logged twice."""
        stamp = f"\x1b[90m2026-11-02T{time_of_day(self.logged_s)}"
        self.logged_s += 1
        for n in range(count):
            x = self.random.getrandbits(64)
            user = PEOPLE[x % 3 if x % 13 else x % 10]
            yield (
                f"{stamp}.{n * 15 + x % 13:03}Z{RESET} {LEVELS[x % 20]} payments[{x % 7 + 412}] req={x:016x} "
                f"{ROUTES[x % 6]}{x % 99991} {200 if x % 50 else 502} {x % 1811}ms user={user}\r\n"
            )
            if x % 400 == 0:
                yield from (f"{line}\r\n" for line in TRACE)

    def pace(self, bytes_per_second: int) -> float:
        """Seconds for a byte: as of the program, or faster if there is not so much time left."""
        left_s = max(0, self.until_us - self.cast.now_us) / 1e6
        return min(1 / bytes_per_second, 0.8 * left_s / max(1, self.until_bytes - self.cast.bytes))

    def pieces(self, text: str, pace: float = 0) -> None:
        """Text as a pseudo terminal gives it, so many seconds a byte."""
        for start in range(0, len(text), READ_MAX):
            piece = text[start : start + READ_MAX]
            self.cast.output(piece)
            self.cast.wait(len(piece) * pace * 2 * self.random.random())

    # The day.

    def work(self, hours: float, size: int, needle: str) -> float:
        """Gives when the needle was seen, in seconds.

        The day is cut into equal parts of some 20 minutes, of which some have up to ten times the output of others. A
        part begins with what people do, up to half of its bytes; builds and logs take the others; the rest of the time
        nothing happens.
        """
        cast = self.cast
        parts = 4 * max(1, round(hours * 3 / 4))
        end_us = int(hours * 3600e6)
        weights = [0.1 + self.random.random() for _ in range(parts)]
        needle_s = 0.0
        self.prompt()
        for part in range(parts):
            cast.now_us, cast.limit_us = end_us * part // parts, end_us * (part + 1) // parts
            if part == parts * 3 // 4:
                needle_s = cast.now_us / 1e6
                cast.output(f"\r\n{needle}\r\n")
                self.prompt()
            if part % 5 == 3:
                cast.resize(self.one(SIZES))
                self.prompt()
            if part % 4 == 2:
                cast.marker(f"deploy {part}")
            length_us = cast.limit_us - cast.now_us
            end_bytes = int(size * sum(weights[: part + 1]) / sum(weights))
            people = self.shuffled([self.shell, self.shell, self.top, self.vi])
            self.share(people, cast.limit_us - length_us * 4 // 10, (cast.bytes + end_bytes) // 2)
            machines = self.shuffled([self.make, self.journal, self.make, self.journal])
            self.share(machines, cast.limit_us - length_us // 10, end_bytes)
        cast.now_us = end_us
        cast.output("\r\nlogout\r\n")
        return needle_s

    def share(self, tasks: list[Callable[[], None]], until_us: int, until_bytes: int) -> None:
        """One after another, each with an equal share of what is left."""
        cast = self.cast
        for left in range(len(tasks), 0, -1):
            self.until_us = cast.now_us + (until_us - cast.now_us) // left
            self.until_bytes = cast.bytes + (until_bytes - cast.bytes) // left
            if self.cast.bytes < self.until_bytes:
                tasks[-left]()

    def shell(self) -> None:
        for _ in range(3 + self.below(6)):
            commands = [
                ("ls -la --color", self.listing),
                (f"psql -c 'select * from orders where id > {self.below(10**6)}'", self.table),
                (f"docker pull registry.example.com/payments:{self.below(1000)}", self.download),
                (f"cd ~/srv/{self.one(CRATES)}", lambda: None),
                (f"git commit -m 'Fix limit of order {self.below(10**5)}'", self.commit),
            ]
            if self.room():
                self.command(*self.one(commands))

    def top(self) -> None:
        self.command("top", self.watch)

    def vi(self) -> None:
        self.command("vi src/settle.rs", self.edit)

    def make(self) -> None:
        self.command("make release", self.build)

    def journal(self) -> None:
        self.command(f"journalctl -u payments --since {self.clock()[:5]}", self.log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--mb", type=float, default=1000)
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.mb <= 0 or arguments.hours <= 0:
        parser.error("--mb and --hours have to be more than nothing")
    needle = f"needle-{arguments.seed} payment approved"
    with open(arguments.out, "w", encoding="utf-8", newline="\n") as file:
        cast = Cast(file, arguments.seed)
        session = Session(cast, arguments.seed)
        needle_s = session.work(arguments.hours, int(arguments.mb * 1e6), needle)
        cast.flush()
    facts = {"needle": needle, "needle_s": needle_s, "output_bytes": cast.bytes, "events": cast.events}
    print(json.dumps(facts | {"duration_s": cast.now_us / 1e6}))


main()
