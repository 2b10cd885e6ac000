#!/usr/bin/env python3
"""Ships the lines of a file to Elasticsearch's bulk API with what Debian has: what `custody bench forward` is beside.

    shippers.py --lines FILE --url URL

For each shipper prints a line of JSON when all lines have arrived: {"shipper", "events", "seconds", "cpu_seconds",
"rss_bytes_max"}; {"shipper", "error"} where it does not run here. `GET URL/received` says how many have arrived.

- syslog-ng: a file source and the `http` destination, one worker, batches of 2000 lines or 5 MB.
- rsyslog: `imfile` and `omelasticsearch` in bulk mode, a queue of 100 000 in memory, batches of 2000.

Both send the lines as they are, uncompressed and without the events' own ids: they read no ledger, look nothing up, and what
they send twice is there twice. The daemons are those of fetch.sh. Standard library only.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

INDEX = "logs-custody.event-default"
SECONDS_MAX = 600

SYSLOG_NG = """@version: 3.38
options { stats-freq(0); log-msg-size(1048576); };
source lines { file("@LINES@" flags(no-parse) follow-freq(0.1) log-fetch-limit(2000) log-iw-size(20000)); };
destination bulk {
    http(
        url("@URL@/_bulk") method("POST") headers("Content-Type: application/x-ndjson")
        batch-lines(2000) batch-bytes(5000000) batch-timeout(100) workers(1)
        body("{\\"create\\":{\\"_index\\":\\"@INDEX@\\"}}\\n$MSG\\n") delimiter("")
    );
};
log { source(lines); destination(bulk); flags(flow-control); };
"""

RSYSLOG = """global(workDirectory="@DIR@" maxMessageSize="1m" parser.escapeControlCharactersOnReceive="off")
module(load="imfile" mode="inotify")
module(load="omelasticsearch")
template(name="line" type="list") { property(name="msg") }
# What is created has to have an id.
template(name="id" type="list") { property(name="uuid") }
main_queue(queue.type="linkedList" queue.size="100000" queue.dequeueBatchSize="2000")
input(type="imfile" file="@LINES@" tag="lines" readMode="0" ruleset="ship")
ruleset(name="ship") {
    action(
        type="omelasticsearch" server="@SERVER@" serverport="@PORT@" template="line" searchIndex="@INDEX@" searchType=""
        bulkmode="on" writeoperation="create" bulkid="id" dynbulkid="on" maxbytes="5m" action.resumeRetryCount="-1"
        queue.type="linkedList" queue.size="100000" queue.dequeueBatchSize="2000"
    )
}
"""


def daemons() -> Path:
    fetch = Path(__file__).with_name("fetch.sh")
    return Path(subprocess.run([fetch], stdout=subprocess.PIPE, check=True, text=True).stdout.strip())


def received(url: str) -> int:
    with urlopen(f"{url}/received", timeout=10) as answer:
        return int(answer.read())


def ship(command: list[str], url: str, events: int, log: Path) -> dict[str, object]:
    before, began = received(url), time.monotonic()
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        while (arrived := received(url) - before) < events:
            if child.poll() is not None or time.monotonic() - began > SECONDS_MAX:
                said = log.read_text(errors="replace").strip().splitlines()
                why = f"{arrived} of {events} events arrived: {' '.join(said[-3:])[:500]}"
                return {"error": why}
            time.sleep(0.02)
        seconds = time.monotonic() - began
        own = Path(f"/proc/{child.pid}")
        rss = next(line for line in (own / "status").read_text().splitlines() if line.startswith("VmHWM:"))
        # Behind the parenthesis that ends the name, the twelfth and thirteenth field are its time and the kernel's.
        times = (own / "stat").read_text().rpartition(")")[2].split()[11:13]
        cpu = sum(int(ticks) for ticks in times) / os.sysconf("SC_CLK_TCK")
        return {
            "events": arrived,
            "seconds": round(seconds, 3),
            "cpu_seconds": cpu,
            "rss_bytes_max": int(rss.split()[1]) * 1024,
        }
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
        child.wait()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lines", type=Path, required=True)
    arguments.add_argument("--url", required=True)
    args = arguments.parse_args()
    with args.lines.open("rb") as lines:
        events = sum(1 for _ in lines)
    there, to = daemons(), urlsplit(args.url)
    for shipper in ("syslog-ng", "rsyslog"):
        with tempfile.TemporaryDirectory(prefix="custody-shipper-") as name:
            folder = Path(name)
            config = folder / "config"
            text = SYSLOG_NG if shipper == "syslog-ng" else RSYSLOG
            values = {"LINES": args.lines, "URL": args.url, "INDEX": INDEX, "DIR": folder}
            for word, value in {**values, "SERVER": to.hostname, "PORT": to.port}.items():
                text = text.replace(f"@{word}@", str(value))
            config.write_text(text)
            if shipper == "syslog-ng":
                state = [f"--{what}={folder / what}" for what in ("persist-file", "pidfile", "control")]
                command = [str(there / "syslog-ng"), "--foreground", "--no-caps", f"--cfgfile={config}", *state]
            else:
                command = [str(there / "rsyslogd"), "-n", "-f", str(config), "-i", str(folder / "pid")]
            print(json.dumps({"shipper": shipper, **ship(command, args.url, events, folder / "log")}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
