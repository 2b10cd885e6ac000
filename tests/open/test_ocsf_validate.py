"""`ocsf_validate.py` finds what is wrong, and nothing else.

    python3 -B -m unittest discover -s tests/open -p 'test_ocsf*.py'
"""

import copy
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import ocsf_validate

PROGRAM = pathlib.Path(__file__).parent / "ocsf_validate.py"
VALIDATOR = ocsf_validate.Validator(json.loads(ocsf_validate.SCHEMA.read_text(encoding="utf-8")))

SESSION = {
    "class_uid": 4007, "class_name": "SSH Activity", "category_uid": 4, "category_name": "Network Activity",
    "activity_id": 2, "activity_name": "Close", "type_uid": 400702, "severity_id": 1, "severity": "Informational",
    "status_id": 1, "status": "Success", "time": 1748854800120,
    "metadata": {
        "version": "1.8.0", "profiles": ["host"], "uid": "e-1", "product": {"name": "X", "vendor_name": "Y"},
    },
    "actor": {"user": {"name": "alice", "type_id": 1, "type": "User"}, "session": {"uid": "s-1"}},
    "src_endpoint": {"ip": "203.0.113.10", "port": 50339},
    "observables": [
        {"name": "src_endpoint.ip", "type_id": 2, "type": "IP Address", "value": "203.0.113.10"},
    ],
    "unmapped": {"anything": {"at": ["all", None]}},
}

FINDING = {
    "class_uid": 2003, "class_name": "Compliance Finding", "category_uid": 2, "category_name": "Findings",
    "activity_id": 1, "activity_name": "Create", "type_uid": 200301, "severity_id": 3, "severity": "Medium",
    "status_id": 1, "status": "New", "time": 1748854800120,
    "metadata": {
        "version": "1.8.0", "profiles": ["security_control"], "uid": "e-2",
        "product": {"name": "X", "vendor_name": "Y"},
    },
    "action_id": 3, "action": "Observed", "disposition_id": 19, "disposition": "Alert", "is_alert": True,
    "finding_info": {"uid": "R02/s-1", "types": ["a", "b"], "analytic": {"uid": "R02", "type_id": 1, "type": "Rule"}},
    "compliance": {"status_id": 3, "status": "Fail", "standards": ["SOC2"]},
    "evidences": [{"actor": {"user": {"name": "alice"}}}],
    "observables": [
        {"name": "evidences[0].actor.user.name", "type_id": 4, "type": "User Name", "value": "alice"},
    ],
}

GONE = object()

# An event, the path of what is changed in it, the value it gets, and where the fault is and how it begins.
WRONG = [
    (SESSION, ("class_uid",), 1, "class_uid", "no class 1"),
    (SESSION, ("class_uid",), True, "class_uid", "no class true"),
    (SESSION, ("class_uid",), GONE, "class_uid", "no class null"),
    (SESSION, ("class_name",), "SSH", "class_name", '"SSH" is not "SSH Activity"'),
    (SESSION, ("category_uid",), 3, "category_uid", "3 is not 4"),
    (SESSION, ("type_uid",), 400701, "type_uid", "400701 is not 400702"),
    (SESSION, ("type_uid",), GONE, "", "type_uid is required"),
    (SESSION, ("time",), GONE, "", "time is required"),
    (SESSION, ("time",), "now", "time", '"now" is no timestamp_t'),
    (SESSION, ("time",), 1.5, "time", "1.5 is no timestamp_t"),
    (SESSION, ("time",), 2**63, "time", "9223372036854775808 is no timestamp_t"),
    (SESSION, ("severity_id",), 7, "severity_id", "7 is none of its values"),
    (SESSION, ("severity_id",), True, "severity_id", "true is no integer_t"),
    (SESSION, ("severity",), "Low", "severity_id", 'severity is "Low", not "Informational"'),
    (SESSION, ("status",), GONE, None, None),
    (SESSION, ("activity_id",), 99, "type_uid", "400702 is not 400799"),
    (SESSION, ("colour",), "red", "colour", "no such attribute"),
    (SESSION, ("actor", "colour"), "red", "actor.colour", "no such attribute"),
    (SESSION, ("message",), "", "message", '"" is no string_t'),
    (SESSION, ("message",), None, "message", "null is no string_t"),
    (SESSION, ("metadata",), "x", "metadata", '"x" is no object'),
    (SESSION, ("metadata", "version"), "1.7.0", "metadata.version", '"1.7.0" is not 1.8.0'),
    (SESSION, ("metadata", "product"), GONE, "metadata", "product is required"),
    (SESSION, ("metadata", "product"), {}, "metadata.product", "at_least_one of"),
    (SESSION, ("metadata", "profiles"), GONE, "actor", "of the profile host, which is not named"),
    (SESSION, ("metadata", "profiles"), [], "metadata.profiles", "no list, or an empty one"),
    (SESSION, ("metadata", "profiles"), ["host", "x"], "metadata.profiles", 'the class has no profile "x"'),
    (SESSION, ("metadata", "profiles"), ["host", "cloud"], "", "cloud is required"),
    (SESSION, ("metadata", "sequence"), 2**31, "metadata.sequence", "2147483648 is no integer_t"),
    (SESSION, ("src_endpoint",), {"port": 22}, "src_endpoint", "at_least_one of"),
    (SESSION, ("src_endpoint", "ip"), "10.0.0", "src_endpoint.ip", '"10.0.0" is no ip_t'),
    (SESSION, ("device",), {"type_id": 0, "uid": "d", "mac": "00:00:00:00:00:00"}, None, None),
    (SESSION, ("device",), {"type_id": 0, "uid": "d", "mac": "00:00:00:00:00:00\n"}, "device.mac", '"00:00:00:00:00:00\\n" is no'),
    (SESSION, ("src_endpoint", "port"), 65536, "src_endpoint.port", "65536 is not between 0 and 65535"),
    (SESSION, ("src_endpoint", "ip"), ["10.0.0.1"], "src_endpoint.ip", '["10.0.0.1"] is no ip_t'),
    (SESSION, ("actor", "user", "type"), "Bot", "actor.user.type_id", 'type is "Bot", not "User"'),
    (SESSION, ("actor", "user", "type_id"), 99, None, None),
    (SESSION, ("actor", "user"), {"name": "a", "type_id": 99}, "actor.user.type_id", "is Other, and type does not say"),
    (SESSION, ("observables", 0, "value"), "10.0.0.1", "observables[0]", "is not what is at src_endpoint.ip"),
    (SESSION, ("observables", 0, "name"), "src_endpoint[3]", "observables[0]", "is not what is at src_endpoint[3]"),
    (SESSION, ("observables",), {}, "observables", "no list, or an empty one: {}"),
    (SESSION, ("tls",), {"version": "1"}, "tls", "no object tls is known"),
    (SESSION, ("is_alert",), True, "is_alert", "of the profile security_control, which is not named"),
    (FINDING, ("finding_info",), GONE, "", "finding_info is required"),
    (FINDING, ("finding_info", "uid"), GONE, "finding_info", "uid is required"),
    (FINDING, ("finding_info", "types"), "a", "finding_info.types", 'no list, or an empty one: "a"'),
    (FINDING, ("finding_info", "types", 1), 7, "finding_info.types[1]", "7 is no string_t"),
    (FINDING, ("finding_info", "related_events"), [{}], "finding_info.related_events[0]", "uid is required"),
    (FINDING, ("finding_info", "analytic", "type_id"), GONE, "finding_info.analytic", "type_id is required"),
    (FINDING, ("compliance", "status_id"), 4, "compliance.status_id", "4 is none of its values"),
    (FINDING, ("evidences",), [{"uid": "e-1"}], "evidences[0]", "at_least_one of actor"),
    (FINDING, ("resource",), {"uid": "r"}, "resource", "deprecated"),
    (FINDING, ("is_alert",), 1, "is_alert", "1 is no boolean_t"),
]


def changed(event, path, value):
    """A copy of an event with another value at a path."""
    event = copy.deepcopy(event)
    inside = event
    for part in path[:-1]:
        inside = inside[part]
    if value is GONE:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return event


def run(*arguments, given=b""):
    program = [sys.executable, "-B", str(PROGRAM), *map(str, arguments)]
    return subprocess.run(program, input=given, capture_output=True, timeout=60, check=False)


class Faults(unittest.TestCase):
    def test_what_is_right_is_found_right(self):
        self.assertEqual(VALIDATOR.faults(SESSION), [])
        self.assertEqual(VALIDATOR.faults(FINDING), [])

    def test_what_is_wrong_is_found(self):
        for event, path, value, where, fault in WRONG:
            with self.subTest(path=path, value=value):
                faults = VALIDATOR.faults(changed(event, path, value))
                if where is None:
                    self.assertEqual(faults, [])
                else:
                    found = [text for place, text in faults if place == where and text.startswith(fault)]
                    self.assertTrue(found, faults)

    def test_what_is_no_event_is_a_fault_too(self):
        for event in [None, [], "x", 7]:
            self.assertEqual(VALIDATOR.faults(event), [("", "no object")])

    def test_no_shape_of_json_ends_it(self):
        for value in [None, True, -1, 1.5, "x", [], [[]], {}, {"x": None}, [None]]:
            for event in (SESSION, FINDING):
                for name in event:
                    VALIDATOR.faults(changed(event, (name,), value))
                for name in event["metadata"]:
                    VALIDATOR.faults(changed(event, ("metadata", name), value))


class Program(unittest.TestCase):
    def test_files_and_standard_input_are_counted(self):
        text = "".join(json.dumps(event) + "\n" for event in [SESSION, FINDING, SESSION]).encode()
        with tempfile.TemporaryDirectory() as folder:
            plain, packed = pathlib.Path(folder, "a.ndjson"), pathlib.Path(folder, "b.ndjson.gz")
            plain.write_bytes(text)
            packed.write_bytes(gzip.compress(text))
            of_files = run(plain, packed)
        self.assertEqual((of_files.returncode, of_files.stderr), (0, b""))
        lines = of_files.stdout.decode().splitlines()
        self.assertEqual(
            [line.split() for line in lines],
            [
                "2 2003 Compliance Finding: 1 Create".split(),
                "4 4007 SSH Activity: 2 Close".split(),
                "6 events, 0 of them with 0 violations".split(),
            ],
        )
        of_input = run(given=text)
        self.assertEqual((of_input.returncode, of_input.stdout.splitlines()[-1][:8]), (0, b"3 events"))

    def test_the_first_violations_are_shown(self):
        wrong = json.dumps({**SESSION, "a": 1, "b": 2, "c": 3}).encode()
        ended = run("--show", 2, given=wrong + b"\n\n" + wrong)
        shown = ended.stderr.decode().splitlines()
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(shown, ["-:1: a: no such attribute", "-:1: b: no such attribute", "and 4 more"])
        self.assertTrue(ended.stdout.endswith(b"2 events, 2 of them with 6 violations\n"))

    def test_what_receivers_read_differently_is_a_violation(self):
        for line in [b"{", b'{"class_uid":0,"class_uid":0}', b'{"time":NaN}', b"\xff", b"[" * 100_000]:
            ended = run(given=line)
            self.assertEqual(ended.returncode, 1, ended)
            self.assertIn(b"(event): not read: ", ended.stderr)

    def test_nothing_is_not_right(self):
        self.assertEqual(run(given=b"").returncode, 1)
        text = json.dumps(SESSION).encode()
        self.assertEqual(run("--expect", 1, given=text).returncode, 0)
        self.assertEqual(run("--expect", 2, given=text).returncode, 1)


if __name__ == "__main__":
    unittest.main()
