"""Tests of receiver.py: hand-written requests, good and bad, against a receiver in a process of its own.

    python3 -m unittest discover tests/siem

Standard library only; the cases of TLS need the `openssl` command.
"""

import base64
import gzip
import hashlib
import hmac
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

RECEIVER = Path(__file__).with_name("receiver.py")
TOKEN = "00000000-0000-4000-8000-000000000001"
CHANNEL = "0aa5c0b0-1111-4222-8333-444455556666"
SD = '[custody@32473 eventId="{}"]'


class Receiver:
    """A receiver that runs until it is stopped."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(RECEIVER), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        line = self.process.stdout.readline()
        self.ready = json.loads(line)
        self.ports = self.ready["ports"]

    def stop(self) -> int:
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        status, _, answer = exchange(self.ready["control"], method, path, json.dumps(body) if body else None)
        assert status == 200, answer
        return json.loads(answer)

    def received(self, protocol: str) -> dict:
        return self.control("GET", f"/received?protocol={protocol}")

    def fault(self, protocol: str, **order: Any) -> None:
        self.control("POST", "/faults", {"protocol": protocol, **order})

    def until(self, protocol: str, events: int) -> dict:
        """What was received once there are so many events: syslog answers nothing that could be waited for."""
        for _ in range(200):
            if (received := self.received(protocol))["events"] >= events:
                return received
            time.sleep(0.02)
        raise AssertionError(f"{received['events']} of {events} events came: {received['problems']}")

    def until_problem(self, protocol: str) -> list[str]:
        for _ in range(200):
            if problems := self.received(protocol)["problems"]:
                return problems
            time.sleep(0.02)
        raise AssertionError("nothing was found wrong")


def exchange(port: int, method: str, path: str, body: Any = None, headers: dict | None = None, seconds: float = 10):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


class Case(unittest.TestCase):
    arguments: ClassVar[list[str]] = []

    def setUp(self) -> None:
        self.receiver = Receiver(*self.arguments)

    def tearDown(self) -> None:
        self.assertEqual(self.receiver.stop(), 0)

    def assertClean(self, protocol: str, ids: list) -> None:
        received = self.receiver.received(protocol)
        self.assertEqual((received["ids"], received["problems"]), (ids, []))


def envelope(event_id: str, **more: Any) -> dict:
    return {"time": 1793610000.25, "event": {"n": 1}, "fields": {"event_id": event_id}} | more


class HecCase(Case):
    def post(self, body: Any, path: str = "/services/collector/event", **headers: str) -> tuple[int, dict]:
        if isinstance(body, list):
            body = "".join(map(json.dumps, body))
        all_headers = {"Authorization": f"Splunk {TOKEN}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        answer = exchange(self.receiver.ports["hec"], "POST", path, body, all_headers)
        return answer[0], json.loads(answer[2])


class Hec(HecCase):
    arguments: ClassVar = ["--listen", "hec", "--hec-index", "main"]

    def test_takes_what_is_right(self) -> None:
        plain = [envelope("a"), envelope("b", time="1793610000.250", index="main", host="h", source="s")]
        by_uid = [{"time": 1793610000, "event": {"metadata": {"uid": "c"}}}, {"time": 1, "event": {"event_id": "d"}}]
        self.assertEqual(self.post(plain), (200, {"text": "Success", "code": 0}))
        self.assertEqual(self.post(" \n" + "\n\n".join(map(json.dumps, by_uid[:1])) + "\n")[0], 200)
        zipped = gzip.compress(json.dumps(envelope("e", event="text")).encode())
        self.assertEqual(self.post(zipped, "/services/collector", Content_Encoding="gzip")[0], 200)
        self.assertClean("hec", ["a", "b", "c", "e"])
        lines = self.receiver.control("GET", "/events?protocol=hec&from=1&limit=2")
        self.assertEqual([line["id"] for line in lines], ["b", "c"])
        self.assertEqual(lines[0]["body"], plain[1])
        self.post([envelope("a")])
        received = self.receiver.received("hec")
        self.assertEqual((received["events"], received["distinct"], received["duplicates"]), (5, 4, 1))
        self.assertEqual((received["requests"], received["refused"]), (4, 0))

    def test_answers_what_is_wrong_with_its_code(self) -> None:
        ok = json.dumps(envelope("a"))
        cases = [
            ("", 400, 5, None),
            ("   ", 400, 5, None),
            ("{", 400, 6, 0),
            (ok + "{", 400, 6, 1),
            (f"[{ok}]", 400, 6, 0),
            (ok + "7", 400, 6, 1),
            (ok.replace("1}", "NaN}"), 400, 6, 0),
            (ok.replace('"n": 1', '"n": 1, "n": 2'), 400, 6, 0),
            (ok.replace('"n": 1', '"n": "\\ud800"'), 400, 6, 0),
            (ok.replace('"n": 1', '"n": "\n"'), 400, 6, 0),
            (ok.encode().replace(b"n", b"\xff", 1), 400, 6, 0),
            (b"\xef\xbb\xbf" + ok.encode(), 400, 6, 0),
            ("[" * 100_000, 400, 6, 0),
            (ok + json.dumps({"time": 1793610000}), 400, 12, 1),
            (json.dumps(envelope("a", event="")), 400, 13, 0),
            (json.dumps(envelope("a", index="other")), 400, 7, 0),
            (json.dumps(envelope("a", fields={"event_id": "a", "nested": {}})), 400, 15, 0),
        ]
        for body, status, code, number in cases:
            with self.subTest(body=body[:80]):
                got = self.post(body)
                self.assertEqual((got[0], got[1]["code"], got[1].get("invalid-event-number")), (status, code, number))
        # What stood before the bad one was taken.
        received = self.receiver.received("hec")
        self.assertEqual(received["ids"], ["a", "a", "a"])
        self.assertEqual((received["problems_count"], received["refused"]), (len(cases), len(cases)))

    def test_checks_the_token(self) -> None:
        for authorization, status, code in [
            (None, 401, 2),
            (f"Bearer {TOKEN}", 401, 3),
            (TOKEN, 401, 3),
            ("Splunk other", 403, 4),
        ]:
            headers = {"Authorization": authorization} if authorization else {}
            body = json.dumps(envelope("a"))
            answer = exchange(self.receiver.ports["hec"], "POST", "/services/collector", body, headers)
            self.assertEqual((answer[0], json.loads(answer[2])["code"]), (status, code))
        self.assertEqual(self.receiver.received("hec")["ids"], [])

    def test_names_what_it_takes_but_should_not_be_sent(self) -> None:
        for event in [
            envelope("a", time=1793610000250),
            envelope("a", time="now"),
            {"event": "no time", "fields": {"event_id": "a"}},
            envelope("a", severity=3),
            envelope("a", host=7),
            envelope("a", event="x" * 10_000),
            {"time": 1793610000, "event": {"no": "id"}},
        ]:
            with self.subTest(event=str(event)[:80]):
                before = self.receiver.received("hec")["problems_count"]
                self.assertEqual(self.post([event])[0], 200)
                self.assertEqual(self.receiver.received("hec")["problems_count"], before + 1)

    def test_gzip_that_is_cut_off_is_refused(self) -> None:
        zipped = gzip.compress(json.dumps(envelope("a")).encode())
        cases = [(zipped[:-4], "gzip"), (b"{}", "gzip"), (zipped + b"x", "gzip"), (zipped, "br"), (zipped, "")]
        for body, coding in cases:
            headers = {"Content_Encoding": coding} if coding else {}
            self.assertEqual(self.post(body, **headers)[1]["code"], 6)
        self.assertEqual(self.receiver.received("hec")["ids"], [])

    def test_other_paths(self) -> None:
        port = self.receiver.ports["hec"]
        status, _, body = exchange(port, "GET", "/services/collector/health/1.0")
        self.assertEqual((status, json.loads(body)), (200, {"text": "HEC is healthy", "code": 17}))
        self.assertEqual(exchange(port, "POST", "/services/collector/raw")[0], 404)
        self.assertEqual(exchange(port, "GET", "/services/collector")[0], 405)
        self.assertEqual(self.post('{"acks":[0]}', f"/services/collector/ack?channel={CHANNEL}")[1]["code"], 14)
        self.assertEqual(self.receiver.received("hec")["requests"], 1)


class HecAck(HecCase):
    arguments: ClassVar = ["--listen", "hec", "--ack"]

    def acks(self, *acks: int, channel: str = CHANNEL) -> dict:
        return self.post(json.dumps({"acks": acks}), f"/services/collector/ack?channel={channel}")[1].get("acks")

    def test_an_ack_is_said_once_and_of_its_channel(self) -> None:
        self.assertEqual(self.post([envelope("a")])[1]["code"], 10)
        self.assertEqual(self.post([envelope("a")], X_Splunk_Request_Channel="7")[1]["code"], 11)
        for n in range(2):
            answer = self.post([envelope("a")], X_Splunk_Request_Channel=CHANNEL)[1]
            self.assertEqual(answer, {"text": "Success", "code": 0, "ackId": n})
        other = CHANNEL.replace("0", "1")
        self.assertEqual(self.post([envelope("b")], f"/services/collector?channel={other}")[1]["ackId"], 0)
        self.assertEqual(self.acks(0, 1, 2), {"0": True, "1": True, "2": False})
        self.assertEqual(self.acks(0, 1), {"0": False, "1": False})
        self.assertEqual(self.acks(0, channel=other), {"0": True})
        for bad in ['{"acks":["0"]}', '{"acks":1}', "[]", "{}", '{"acks":[true]}']:
            self.assertEqual(self.post(bad, f"/services/collector/ack?channel={CHANNEL}")[1]["code"], 6)

    def test_acks_that_come_late_or_never(self) -> None:
        self.receiver.fault("hec", next=[{"ack": "never"}, {"ack": 0.3}])
        for _ in range(3):
            self.post([envelope("a")], X_Splunk_Request_Channel=CHANNEL)
        self.assertEqual(self.acks(0, 1, 2), {"0": False, "1": False, "2": True})
        time.sleep(0.35)
        self.assertEqual(self.acks(0, 1, 2), {"0": False, "1": True, "2": False})

    def test_a_fault_of_the_ack_path_leaves_events_alone(self) -> None:
        self.receiver.fault("hec", next=[{"on": "ack", "status": 503}])
        self.assertEqual(self.post([envelope("a")], X_Splunk_Request_Channel=CHANNEL)[0], 200)
        self.assertEqual(self.post('{"acks":[0]}', f"/services/collector/ack?channel={CHANNEL}")[0], 503)
        self.assertEqual(self.acks(0), {"0": True})


class Faults(HecCase):
    arguments: ClassVar = ["--listen", "hec"]

    def test_refusals(self) -> None:
        self.receiver.fault("hec", next=[{"status": 503, "retry_after": 1}, {"after": 1, "status": 413}])
        send = lambda: exchange(  # noqa: E731
            self.receiver.ports["hec"], "POST", "/services/collector", json.dumps(envelope("a")),
            {"Authorization": f"Splunk {TOKEN}"},
        )  # fmt: skip
        status, headers, body = send()
        self.assertEqual((status, headers["Retry-After"], json.loads(body)["code"]), (503, "1", 9))
        self.assertEqual([send()[0] for _ in range(3)], [200, 413, 200])
        self.receiver.fault("hec", always={"redirect": "http://169.254.169.254/"})
        status, headers, _ = send()
        self.assertEqual((status, headers["Location"]), (307, "http://169.254.169.254/"))
        self.receiver.fault("hec", always={"status": 429, "after": 1})
        self.assertEqual([send()[0] for _ in range(3)], [200, 429, 429])
        self.receiver.fault("hec", always=None, next=[{"reply_bytes": 1_000_000}])
        status, _, body = send()
        self.assertEqual((status, len(body), json.loads(body)["code"]), (200, 1_000_000, 0))
        # None of them is the sender's mistake.
        self.assertClean("hec", ["a"] * 4)

    def test_connections_that_end(self) -> None:
        for fault, accepted in [
            ({"close": "before_read"}, False),
            ({"close": "before_reply"}, False),
            ({"accept_then_close": True}, True),
            ({"reset_mid_frame": True}, False),
        ]:
            with self.subTest(fault):
                before = self.receiver.received("hec")["events"]
                self.receiver.fault("hec", next=[fault])
                with self.assertRaises((http.client.RemoteDisconnected, ConnectionError)):
                    self.post([envelope("a", event="x" * 300_000)])
                self.assertEqual(self.receiver.received("hec")["events"], before + accepted)

    def test_a_stall_is_after_acceptance(self) -> None:
        self.receiver.fault("hec", next=[{"stall_seconds": 1}])
        with self.assertRaises(TimeoutError):
            headers = {"Authorization": f"Splunk {TOKEN}"}
            body = json.dumps(envelope("a"))
            exchange(self.receiver.ports["hec"], "POST", "/services/collector", body, headers, seconds=0.3)
        self.assertClean("hec", ["a"])

    def test_poison(self) -> None:
        self.receiver.fault("hec", poison='"event_id": "b"')
        for _ in range(2):
            answer = self.post([envelope("a"), envelope("b"), envelope("c")])
            self.assertEqual((answer[0], answer[1]["code"], answer[1]["invalid-event-number"]), (400, 6, 1))
        self.receiver.fault("hec", poison=None)
        self.assertEqual(self.post([envelope("b")])[0], 200)
        self.assertClean("hec", ["a", "a", "b"])

    def test_an_order_that_is_not_understood_is_refused(self) -> None:
        for order in [
            {"protocol": "hec", "next": [{"statsu": 503}]},
            {"protocol": "hec", "next": [{"status": "503"}]},
            {"protocol": "hec", "always": {"close": "before"}},
            {"protocol": "hec", "next": [{"stall_seconds": -1}]},
            {"protocol": "hec", "nxt": []},
            {"protocol": "hec", "poison": "("},
            {"protocol": "hec", "next": [{"partial": [{"match": "x"}]}]},
            {"protocol": "bulk", "next": []},
            {},
        ]:
            status, _, _ = exchange(self.receiver.ready["control"], "POST", "/faults", json.dumps(order))
            self.assertEqual(status, 400, order)
        self.assertEqual(self.receiver.control("GET", "/faults")["hec"], {"next": [], "always": None, "poison": None})


class Http(HecCase):
    arguments: ClassVar = ["--listen", "hec"]

    def raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.receiver.ports["hec"]), 5) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(65_536):
                parts.append(part)
            return b"".join(parts)

    def test_keep_alive_chunks_and_expect(self) -> None:
        body = json.dumps(envelope("a")).encode()
        head = b"POST /services/collector HTTP/1.1\r\nHost: x\r\nAuthorization: Splunk " + TOKEN.encode() + b"\r\n"
        whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            10, body[:10], len(body) - 10, body[10:],
        )  # fmt: skip
        expecting = head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        answer = self.raw(whole + chunked + expecting)
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 3)
        self.assertEqual(answer.count(b"HTTP/1.1 100 Continue"), 1)
        self.assertEqual(self.receiver.received("hec")["connections"], 1)
        self.assertClean("hec", ["a"] * 3)

    def test_what_is_no_http_is_named(self) -> None:
        head = b"POST /services/collector HTTP/1.1\r\nHost: x\r\n"
        for data in [
            b"hello\r\n\r\n",
            b"POST / HTTP/1.1\r\n\r\n",
            head + b"Bad header: 1\r\n\r\n",
            head + b"Host: y\r\n\r\n",
            head + b"Content-Length: -1\r\n\r\n",
            head + b"Content-Length: 999999999999\r\n\r\n",
            head + b"Content-Length: 5\r\n\r\n{}",
            head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        ]:
            with self.subTest(data):
                before = self.receiver.received("hec")["problems_count"]
                self.assertTrue(self.raw(data).startswith(b"HTTP/1.1 400 "))
                self.assertEqual(self.receiver.received("hec")["problems_count"], before + 1)


STREAM = "logs-custody.session-default"


def actions(*documents: tuple[str, str, str]) -> str:
    """NDJSON of (operation, index, id)."""
    lines = []
    for operation, index, event_id in documents:
        lines.append(json.dumps({operation: {"_index": index, "_id": event_id}}))
        lines.append(json.dumps({"@timestamp": "2026-11-02T09:00:00Z", "event": {"id": event_id}}))
    return "".join(line + "\n" for line in lines)


class Bulk(Case):
    arguments: ClassVar = ["--listen", "bulk"]

    def post(self, body: Any, path: str = "/_bulk", **headers: str) -> tuple[int, dict]:
        headers = {"Content-Type": "application/x-ndjson"} | {n.replace("_", "-"): v for n, v in headers.items()}
        status, _, answer = exchange(self.receiver.ports["bulk"], "POST", path, body, headers)
        return status, json.loads(answer)

    def statuses(self, answer: tuple[int, dict]) -> list[int]:
        self.assertEqual(answer[0], 200, answer[1])
        return [item["status"] for items in answer[1]["items"] for item in items.values()]

    def test_a_conflict_is_what_is_there_already(self) -> None:
        first = self.post(actions(("create", STREAM, "a"), ("create", STREAM, "b")))
        self.assertEqual((self.statuses(first), first[1]["errors"]), ([201, 201], False))
        second = self.post(gzip.compress(actions(("create", STREAM, "b"), ("create", STREAM, "c")).encode()),
                           Content_Encoding="gzip")  # fmt: skip
        self.assertEqual((self.statuses(second), second[1]["errors"]), ([409, 201], True))
        error = second[1]["items"][0]["create"]["error"]
        self.assertEqual(error["type"], "version_conflict_engine_exception")
        # The same id in one body, and in another stream.
        twice = self.post(actions(("create", STREAM, "d"), ("create", STREAM, "d"), ("create", STREAM + "2", "d")))
        self.assertEqual(self.statuses(twice), [201, 409, 201])
        self.assertClean("bulk", ["a", "b", "c", "d", "d"])
        self.assertEqual(self.receiver.received("bulk")["conflicts"], 2)

    def test_the_index_of_the_path(self) -> None:
        body = '{"create":{"_id":"a"}}\n{"@timestamp":1}\n'
        self.assertEqual(self.statuses(self.post(body, f"/{STREAM}/_bulk")), [201])
        self.assertEqual(self.receiver.control("GET", "/events?protocol=bulk")[0]["index"], STREAM)

    def test_items_that_are_refused(self) -> None:
        head = json.dumps({"create": {"_index": STREAM, "_id": "a"}}) + "\n"
        self.assertEqual(self.statuses(self.post(actions(("index", STREAM, "a")))), [400])
        self.assertEqual(self.statuses(self.post(head + '{"no":"timestamp"}\n')), [400])
        self.assertEqual(self.statuses(self.post(head + "{broken\n")), [400])
        self.assertEqual(self.statuses(self.post(head + "[]\n")), [400])
        # An index that is no data stream takes both.
        twice = self.post(actions(("index", "plain", "a"), ("index", "plain", "a")))
        self.assertEqual(self.statuses(twice), [201, 200])
        self.assertEqual(self.receiver.received("bulk")["problems_count"], 4)

    def test_requests_that_are_refused(self) -> None:
        good = actions(("create", STREAM, "a"))
        for body in [
            "",
            good[:-1],
            good + '{"create":{}}\n',
            '{"create":{"_index":"UPPER","_id":"a"}}\n{}\n',
            '{"delete":{"_index":"x","_id":"a"}}\n',
            '{"create":{"_index":"x","_id":7}}\n{}\n',
            '{"create":{"_index":"x","_id":"' + "a" * 513 + '"}}\n{}\n',
            '{"create":{"_index":"x","_type":"_doc","_id":"a"}}\n{}\n',
            "[]\n{}\n",
        ]:
            with self.subTest(body[:80]):
                status, answer = self.post(body)
                self.assertEqual((status, answer["status"]), (400, 400))
                self.assertEqual(answer["error"]["type"], "illegal_argument_exception")
        self.assertEqual(self.post(good, Content_Type="text/plain")[0], 406)
        self.assertEqual(self.receiver.received("bulk")["ids"], [])

    def test_partial_failure_is_by_item_and_passes(self) -> None:
        body = actions(*[("create", STREAM, event_id) for event_id in "abc"])
        rules = [{"match": '"b"', "status": 429}, {"match": '"c"', "status": 503}]
        self.receiver.fault("bulk", next=[{"partial": rules}])
        self.assertEqual(self.statuses(self.post(body)), [201, 429, 503])
        self.assertEqual(self.statuses(self.post(body)), [409, 201, 201])
        self.receiver.fault("bulk", poison='"d"')
        self.assertEqual(self.statuses(self.post(actions(("create", STREAM, "d")))), [400])
        self.assertClean("bulk", ["a", "b", "c"])

    def test_templates(self) -> None:
        port = self.receiver.ports["bulk"]
        path = "/_index_template/custody"
        template = {"index_patterns": ["evidence-*"], "data_stream": {}, "priority": 200, "template": {}}
        json_type = {"Content-Type": "application/json"}
        self.assertEqual(exchange(port, "GET", path)[0], 404)
        self.assertEqual(self.statuses(self.post(actions(("index", "evidence-1", "a")))), [201])
        self.assertEqual(exchange(port, "PUT", path, json.dumps(template), json_type)[0], 200)
        self.assertEqual(self.statuses(self.post(actions(("index", "evidence-2", "a")))), [400])
        found = json.loads(exchange(port, "GET", path)[2])["index_templates"][0]
        self.assertEqual((found["name"], found["index_template"]), ("custody", template))
        for bad in [{"index_pattern": []}, {"index_patterns": []}, {"data_stream": {}}, []]:
            self.assertEqual(exchange(port, "PUT", path, json.dumps(bad), json_type)[0], 400)
        same = exchange(port, "PUT", "/_index_template/other", json.dumps(template), json_type)
        self.assertEqual(same[0], 400)
        version = json.loads(exchange(port, "GET", "/")[2])["version"]
        self.assertIn("number", version)


class BulkLogin(Case):
    arguments: ClassVar = ["--listen", "bulk", "--basic", "user:password", "--api-key", "id:key"]

    def test_basic_and_api_key(self) -> None:
        encoded = lambda text: base64.b64encode(text.encode()).decode()  # noqa: E731
        for authorization, status in [
            ("Basic " + encoded("user:password"), 200),
            ("ApiKey " + encoded("id:key"), 200),
            ("Basic " + encoded("user:other"), 401),
            ("ApiKey id:key", 401),
            ("", 401),
        ]:
            headers = {"Authorization": authorization}
            self.assertEqual(exchange(self.receiver.ports["bulk"], "GET", "/", None, headers)[0], status)


class Restart(unittest.TestCase):
    def test_a_killed_receiver_goes_on(self) -> None:
        with tempfile.TemporaryDirectory() as state:
            arguments = ["--state", state, "--listen"]
            receiver = Receiver(*arguments, "bulk")
            port = receiver.ports["bulk"]
            headers = {"Content-Type": "application/x-ndjson"}
            exchange(port, "POST", "/_bulk", actions(("create", STREAM, "a"), ("create", STREAM, "b")), headers)
            receiver.kill()
            with open(Path(state) / "bulk.ndjson", "ab") as file:
                file.write(b'{"id":"torn","index"')
            for ids, keep in ((["a", "b"], []), (["a", "b", "c"], ["--no-keep"])):
                receiver = Receiver(*arguments, f"bulk={port}", *keep)
                self.assertEqual(receiver.ports["bulk"], port)
                self.assertEqual(receiver.received("bulk")["ids"], ids)
                body = actions(("create", STREAM, "b"), ("create", STREAM, "c"))
                items = json.loads(exchange(port, "POST", "/_bulk", body, headers)[2])["items"]
                self.assertEqual([item["create"]["status"] for item in items], [409, 409 if "c" in ids else 201])
                self.assertEqual(receiver.stop(), 0)

    def test_ends_on_sigterm_and_keeps_no_bodies(self) -> None:
        with tempfile.TemporaryDirectory() as state:
            receiver = Receiver("--state", state, "--no-keep", "--detached", "--listen", "hec")
            headers = {"Authorization": f"Splunk {TOKEN}"}
            exchange(receiver.ports["hec"], "POST", "/services/collector", json.dumps(envelope("a")), headers)
            receiver.process.stdin.close()
            time.sleep(0.2)
            self.assertEqual(receiver.received("hec")["ids"], ["a"])
            receiver.process.send_signal(signal.SIGTERM)
            self.assertEqual(receiver.stop(), 0)
            self.assertEqual((Path(state) / "hec.ndjson").read_text(), '{"id":"a"}\n')


class Webhook(Case):
    arguments: ClassVar = ["--listen", "webhook", "--webhook-secret", "new", "--webhook-secret", "newer"]

    def post(self, body: str, secrets: tuple = ("new",), age: float = 0, signed: str | None = None, **headers: str):
        at = str(int(time.time() - age))
        of = (at + "." + (body if signed is None else signed)).encode()
        signatures = ["v1=" + hmac.new(secret.encode(), of, hashlib.sha256).hexdigest() for secret in secrets]
        own = {
            "Content-Type": "application/json",
            "Custody-Delivery-Id": "d-1",
            "Custody-Timestamp": at,
            "Custody-Signature": ",".join(signatures),
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        return exchange(self.receiver.ports["webhook"], "POST", "/any/where", body, own)[0]

    def test_takes_arrays_lines_and_two_signatures(self) -> None:
        self.assertEqual(self.post('[{"event_id":"a"}, {"metadata":{"uid":"b"}},\n{"EventId":"c"}]'), 200)
        self.assertEqual(self.post('{"event_id":"d"}\n', Content_Type="application/x-ndjson"), 200)
        self.assertEqual(self.post('[{"event_id":"e"}]', secrets=("old", "newer")), 200)
        self.assertClean("webhook", ["a", "b", "c", "d", "e"])

    def test_what_is_not_believed(self) -> None:
        good = '[{"event_id":"a"}]'
        cases = [
            (self.post(good, secrets=("old",)), 401),
            (self.post(good, signed=good + " "), 401),
            (self.post(good, age=400), 401),
            (self.post(good, age=-400), 401),
            (self.post(good, Custody_Timestamp="2026-11-02T09:00:00Z"), 401),
            (self.post(good, Custody_Signature="v1=00"), 401),
            (self.post(good, secrets=()), 401),
            (self.post(good, Custody_Delivery_Id=""), 401),
            (self.post(good, Content_Type="text/plain"), 415),
            (self.post('{"event_id":"a"}'), 400),
            (self.post('[{"event_id":"a"},]'), 400),
            (self.post('[{"event_id":"a"}] x'), 400),
            (self.post("[7]"), 400),
            (self.post('{"event_id":"a"}', Content_Type="application/x-ndjson"), 400),
        ]
        self.assertEqual([got for got, _ in cases], [wanted for _, wanted in cases])
        received = self.receiver.received("webhook")
        self.assertEqual((received["ids"], received["problems_count"]), ([], len(cases)))

    def test_gone_and_poison(self) -> None:
        self.receiver.fault("webhook", next=[{"status": 410}], poison="bad")
        good, bad = '[{"event_id":"a"}]', '[{"event_id":"a"},{"event_id":"bad"}]'
        self.assertEqual([self.post(good), self.post(bad), self.post(good)], [410, 400, 200])
        self.assertClean("webhook", ["a"])


class Sentinel(Case):
    arguments: ClassVar = ["--listen", "sentinel", "--token-seconds", "2"]
    path = "/dataCollectionRules/dcr-0123abc/streams/Custom-Custody?api-version=2023-01-01"

    def token(self, **more: str) -> tuple[int, dict]:
        form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "secret"}
        form |= {"scope": "https://monitor.azure.com/.default"} | more
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        port = self.receiver.ports["sentinel"]
        answer = exchange(port, "POST", "/tenant/oauth2/v2.0/token", urlencode(form), headers)
        return answer[0], json.loads(answer[2])

    def post(self, body: Any, token: str, path: str = path, **headers: str) -> tuple[int, str | None]:
        own = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = exchange(self.receiver.ports["sentinel"], "POST", path, body, own)
        return answer[0], json.loads(answer[2])["error"]["code"] if answer[2] else None

    def test_a_token_and_rows(self) -> None:
        status, answer = self.token()
        self.assertEqual((status, answer["token_type"], answer["expires_in"]), (200, "Bearer", 2))
        rows = json.dumps([{"TimeGenerated": "2026-11-02T09:00:00Z", "EventId": n} for n in "ab"])
        self.assertEqual(self.post(rows, answer["access_token"]), (204, None))
        self.assertEqual(
            self.post(gzip.compress(rows.encode()), answer["access_token"], Content_Encoding="gzip"), (204, None)
        )
        time.sleep(2.1)
        self.assertEqual(self.post(rows, answer["access_token"]), (401, "AuthenticationFailed"))
        self.assertClean("sentinel", ["a", "b"] * 2)

    def test_what_is_refused(self) -> None:
        for more, status, error in [
            ({"grant_type": "password"}, 400, "unsupported_grant_type"),
            ({"scope": "https://graph.microsoft.com/.default"}, 400, "invalid_scope"),
            ({"client_secret": "other"}, 401, "invalid_client"),
        ]:
            self.assertEqual((self.token(**more)[0], self.token(**more)[1]["error"]), (status, error))
        token = self.token()[1]["access_token"]
        row = {"TimeGenerated": "2026-11-02T09:00:00Z", "EventId": "a"}
        good = json.dumps([row])
        fits = json.dumps([row | {"x": ""}])
        limit = 1_048_576
        at_limit = json.dumps([row | {"x": "x" * (limit - len(fits))}])
        self.assertEqual(self.post(at_limit, token), (204, None))
        before = self.receiver.received("sentinel")["problems"]
        self.assertIn("x would be truncated at 65536 bytes", before[-1])
        over = at_limit + " "
        zipped = gzip.compress(over.encode())
        cases = [
            (self.post(over, token), (413, "ContentLengthLimitExceeded")),
            (self.post(zipped, token, Content_Encoding="gzip"), (413, "ContentLengthLimitExceeded")),
            (self.post(json.dumps(row), token), (400, "InvalidRequest")),
            (self.post(good, "other"), (401, "AuthenticationFailed")),
            (self.post(good, token, self.path.replace("2023-01-01", "2021-11-01-preview")), (400, "InvalidRequest")),
            (self.post(good, token, "/dataCollectionRules/x/streams/y"), (404, "NotFound")),
        ]  # fmt: skip
        self.assertEqual([got for got, _ in cases], [wanted for _, wanted in cases])
        self.assertEqual(self.receiver.received("sentinel")["ids"], ["a"])

    def test_a_fault_of_the_token(self) -> None:
        self.receiver.fault("sentinel", next=[{"on": "token", "status": 503}, {"status": 429, "retry_after": 3}])
        self.assertEqual(self.token()[0], 503)
        token = self.token()[1]["access_token"]
        row = json.dumps([{"TimeGenerated": "2026-11-02T09:00:00Z", "EventId": "a"}])
        self.assertEqual([self.post(row, token)[0] for _ in range(2)], [429, 204])


def message(event_id: str, text: str = "hello", bom: bool = False) -> bytes:
    header = "<110>1 2026-11-02T09:00:00.123456Z host custody 7 session.start"
    mark = "\ufeff" if bom else ""
    return f"{header} {SD.format(event_id)} {mark}{text}".encode()


def counted(*messages: bytes) -> bytes:
    return b"".join(b"%d %b" % (len(data), data) for data in messages)


class Syslog(Case):
    arguments: ClassVar = ["--listen", "syslog-tcp", "--listen", "syslog-udp"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.receiver.ports["syslog-tcp"]), 5)

    def send(self, data: bytes) -> None:
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(100):
                    pass
            except ConnectionError:
                pass

    def test_octets_that_are_counted(self) -> None:
        data = counted(message("a"), message("b", "two\nlines é", bom=True), message("c", ""), message("d", "1 <x>"))
        with self.connect() as connection:
            # However it is cut.
            for n in range(len(data)):
                connection.sendall(data[n : n + 1])
        self.receiver.until("syslog-tcp", 4)
        self.assertClean("syslog-tcp", ["a", "b", "c", "d"])
        bodies = [line["body"] for line in self.receiver.control("GET", "/events?protocol=syslog-tcp")]
        self.assertEqual([body["message"] for body in bodies], ["hello", "two\nlines é", "", "1 <x>"])
        self.assertEqual((bodies[1]["bom"], bodies[0]["bom"], bodies[0]["msgid"]), (True, False, "session.start"))
        self.assertEqual((bodies[0]["facility"], bodies[0]["severity"], bodies[0]["hostname"]), (13, 6, "host"))

    def test_lines(self) -> None:
        self.send(message("a") + b"\n" + message("b") + b"\n")
        self.assertClean("syslog-tcp", ["a", "b"])

    def test_structured_data(self) -> None:
        data = (
            rb'<0>1 - - - - - [custody@32473 eventId="a" q="\"\\\]=[x" k="1" k="2" e=""][origin ip="127.0.0.1"]'
            rb'[x@1 u="' + "é".encode() + rb'"]'
        )
        self.send(counted(data))
        body = self.receiver.control("GET", "/events?protocol=syslog-tcp")[0]["body"]
        own = {"eventId": "a", "q": '"\\]=[x', "k": ["1", "2"], "e": ""}
        others = {"origin": {"ip": "127.0.0.1"}, "x@1": {"u": "é"}}
        self.assertEqual(body["structured_data"], {"custody@32473": own} | others)
        self.assertClean("syslog-tcp", ["a"])

    def test_messages_that_are_refused(self) -> None:
        good = message("a").decode()
        time_of = "2026-11-02T09:00:00.123456Z"
        cases = [
            good.replace("<110>", "<192>"),
            good.replace("<110>", "<0110>"),
            good.replace("<110>", "<011>"),
            good.replace(">1 ", ">2 "),
            good.replace(time_of, "2026-11-02T09:00:00.1234567Z"),
            good.replace(time_of, "2026-11-02T09:00:60Z"),
            good.replace(time_of, "2026-02-30T09:00:00Z"),
            good.replace(time_of, "2026-11-02 09:00:00Z"),
            good.replace(time_of, "2026-11-02T09:00:00"),
            good.replace(time_of, "Nov  2 09:00:00"),
            good.replace("custody 7", "c" * 49 + " 7"),
            good.replace("host ", "h" * 256 + " "),
            good.replace(" 7 ", " " + "7" * 129 + " "),
            good.replace("session.start", "m" * 33),
            good.replace("host", "hést"),
            good.replace("host ", "host  "),
            good.replace('"a"', '"a]"'),
            good.replace('"a"', '"a\\n"'),
            good.replace('"a"', '"a"b"'),
            good.replace("eventId", "e" * 33),
            good.replace("] hello", "]hello"),
            good.replace("] hello", "] [x] hello").replace(" [custody", " custody"),
            good.replace("] hello", '][custody@32473 eventId="b"] hello'),
            good.replace(SD.format("a"), ""),
        ]
        for n, text in enumerate(cases):
            with self.subTest(text):
                self.send(counted(text.encode()))
                received = self.receiver.received("syslog-tcp")
                self.assertEqual((received["ids"], received["refused"], received["problems_count"]), ([], n + 1, n + 1))
        self.send(counted(message("a").replace(b"hello", b"\xff")))
        self.assertEqual(self.receiver.received("syslog-tcp")["refused"], len(cases) + 1)

    def test_messages_that_are_taken_but_wrong(self) -> None:
        cases = [
            message("a", "é"),
            message("a", "hello\n"),
            message("a", "x\ufeff"),
            message("a").replace(b"custody@32473", b"custody"),
            message("a").replace(b"custody@32473", b"other@32473"),
        ]
        for n, data in enumerate(cases):
            with self.subTest(data):
                before = self.receiver.received("syslog-tcp")["problems_count"]
                self.send(counted(data))
                received = self.receiver.received("syslog-tcp")
                self.assertEqual(received["events"], n + 1)
                self.assertGreater(received["problems_count"], before)

    def test_frames_that_cannot_be_followed(self) -> None:
        good = message("a")
        cases = [
            (counted(good) + b"x" + counted(good), 1),
            (counted(good) + b"\n" + counted(good), 1),
            (counted(good) + good + b"\n", 1),
            (good + b"\n" + counted(good), 1),
            (b"0" + counted(good), 0),
            (b"99999999999 " + good, 0),
            (b"12345678 " + good, 0),
            (b"%d  " % len(good) + good, 0),
            (counted(good) + counted(good)[:-1], 1),
            (good, 0),
        ]
        events = problems = 0
        for data, taken in cases:
            with self.subTest(data):
                self.send(data)
                received = self.receiver.received("syslog-tcp")
                events += taken
                self.assertEqual(received["events"], events)
                self.assertGreater(received["problems_count"], problems)
                problems = received["problems_count"]

    def test_faults_of_a_stream(self) -> None:
        self.receiver.fault("syslog-tcp", next=[{"after": 1, "reset_mid_frame": True}])
        with self.connect() as connection, self.assertRaises(ConnectionResetError):
            connection.sendall(counted(message("a"), message("b"), message("c")))
            connection.recv(1)
        self.assertClean("syslog-tcp", ["a"])
        self.receiver.fault("syslog-tcp", next=[{"close": "before_reply"}, {"after": 1, "accept_then_close": True}])
        for data in (counted(message("d")), counted(message("e"), message("f"), message("g"))):
            self.send(data)
        self.assertClean("syslog-tcp", ["a", "e", "f"])

    def test_datagrams(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", self.receiver.ports["syslog-udp"]))
            sender.send(message("a"))
            sender.send(message("b", "x" * 60_000))
            self.receiver.until("syslog-udp", 2)
            self.assertClean("syslog-udp", ["a", "b"])
            sender.send(counted(message("c")))
            self.assertIn("not a header", self.receiver.until_problem("syslog-udp")[0])


class Tls(unittest.TestCase):
    def tearDown(self) -> None:
        self.assertEqual(self.receiver.stop(), 0)

    def connect(self, protocol: str, client: bool = False) -> ssl.SSLSocket:
        tls = self.receiver.ready["tls"]
        context = ssl.create_default_context(cafile=tls["ca"])
        if client:
            context.load_cert_chain(tls["client"], tls["client_key"])
        plain = socket.create_connection(("127.0.0.1", self.receiver.ports[protocol]), 5)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def test_octets_are_counted_and_the_end_is_said(self) -> None:
        self.receiver = Receiver("--listen", "syslog-tls")
        with self.connect("syslog-tls") as connection:
            connection.sendall(counted(message("a"), message("b")))
            connection.unwrap().close()
        received = self.receiver.until("syslog-tls", 2)
        self.assertEqual((received["ids"], received["problems"]), (["a", "b"], []))
        with self.connect("syslog-tls") as connection:
            connection.sendall(counted(message("c")))
            socket.socket(fileno=connection.detach()).close()
        self.assertIn("without close_notify", self.receiver.until_problem("syslog-tls")[0])
        with self.connect("syslog-tls") as connection:
            connection.sendall(message("d") + b"\n")
            self.assertEqual(connection.recv(1), b"")
        received = self.receiver.received("syslog-tls")
        self.assertEqual(received["ids"], ["a", "b", "c"])
        self.assertIn("a frame by lf, expected octet", received["problems"][-1])

    def test_a_client_certificate(self) -> None:
        self.receiver = Receiver("--listen", "syslog-tls", "--client-ca", "own")
        with self.connect("syslog-tls", client=True) as connection:
            connection.sendall(counted(message("a")))
            connection.unwrap().close()
        self.receiver.until("syslog-tls", 1)
        with self.assertRaises(OSError), self.connect("syslog-tls") as connection:
            connection.sendall(counted(message("b")))
            connection.recv(1)
        self.assertIn("TLS", self.receiver.until_problem("syslog-tls")[0])
        self.assertEqual(self.receiver.received("syslog-tls")["ids"], ["a"])

    def test_https(self) -> None:
        self.receiver = Receiver("--listen", "hec", "--https")
        context = ssl.create_default_context(cafile=self.receiver.ready["tls"]["ca"])
        connection = http.client.HTTPSConnection("localhost", self.receiver.ports["hec"], context=context, timeout=5)
        self.receiver.fault("hec", next=[{"after": 1, "reset_mid_frame": True}])
        headers = {"Authorization": f"Splunk {TOKEN}"}
        connection.request("POST", "/services/collector", json.dumps(envelope("a")), headers)
        self.assertEqual(connection.getresponse().read(), b'{"text": "Success", "code": 0}')
        with self.assertRaises((OSError, http.client.HTTPException)):
            connection.request("POST", "/services/collector", json.dumps(envelope("b", event="x" * 500_000)), headers)
            connection.getresponse()
        connection.close()
        received = self.receiver.received("hec")
        self.assertEqual((received["ids"], received["problems"]), (["a"], []))


if __name__ == "__main__":
    unittest.main()
