#!/usr/bin/env python3
"""Checks OCSF events against the published schema, without Custody.

    tests/open/ocsf_validate.py events/date=2025-06-02/*.ndjson.gz
    cat events.ndjson | tests/open/ocsf_validate.py

Reads an event a line from the files, plain or compressed with gzip, or from standard input, and says how many there are of
each class and activity and what is wrong with them: attributes that are missing, unknown, deprecated or of a profile that
the event does not name; values of another type, outside of their range or enumeration, or not as the type's pattern says;
constraints of objects; numbers that do not agree with each other; an observable that is not what it points to. Ends with 1
where anything is wrong. Needs nothing but Python, and forward/src/schema/ocsf-1.8.0.json, which tests/open/ocsf_schema.py
cuts out of the published schema. An attribute whose type is an object that was not cut out is said to be unknown.
"""

import argparse
import collections
import gzip
import json
import pathlib
import re
import sys

SCHEMA = pathlib.Path(__file__).parents[2] / "forward/src/schema/ocsf-1.8.0.json"

INTEGERS = {"integer_t": 2**31, "long_t": 2**63}

PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class Validator:
    """A schema that was cut out, and what is wrong with events by it."""

    def __init__(self, schema):
        self.types = schema["types"]
        self.objects = schema["objects"]
        self.version = schema["version"]
        self.classes = {of["class_uid"]: of for of in schema["classes"].values()}
        # Where Python's `$` lets a line break follow, nothing may.
        regexes = {name: of["regex"] for name, of in self.types.items() if "regex" in of}
        self.patterns = {name: re.compile(re.sub(r"\$$", r"\\Z", regex)) for name, regex in regexes.items()}

    def faults(self, event):
        """What is wrong with an event: pairs of a path and a text."""
        if not isinstance(event, dict):
            return [("", "no object")]
        uid = event.get("class_uid")
        of = self.classes.get(uid) if type(uid) is int else None
        if of is None:
            return [("class_uid", f"no class {shown(uid)}")]
        faults = []
        profiles = self.profiles(of, event, faults)
        for name, expected in [
            ("class_name", of["caption"]),
            ("category_uid", of["category_uid"]),
            ("category_name", of["category_name"]),
        ]:
            if name in event and not same(event[name], expected):
                faults.append((name, f"{shown(event[name])} is not {shown(expected)}"))
        if type(event.get("activity_id")) is int and not same(event.get("type_uid"), uid * 100 + event["activity_id"]):
            faults.append(("type_uid", f"{shown(event.get('type_uid'))} is not {uid * 100 + event['activity_id']}"))
        metadata = event.get("metadata")
        if isinstance(metadata, dict) and metadata.get("version") != self.version:
            faults.append(("metadata.version", f"{shown(metadata.get('version'))} is not {self.version}"))
        self.object("", of, event, profiles, faults)
        observables = event.get("observables")
        for number, observable in enumerate(observables if isinstance(observables, list) else []):
            if not isinstance(observable, dict) or not isinstance(observable.get("name"), str):
                continue
            if "value" in observable and not same(at(event, observable["name"]), observable["value"]):
                faults.append((f"observables[{number}]", f"is not what is at {observable['name']}"))
        return faults

    def profiles(self, of, event, faults):
        """The profiles that the event names, those of its class alone."""
        metadata = event.get("metadata")
        named = metadata.get("profiles", []) if isinstance(metadata, dict) else []
        named = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
        for name in named:
            if name not in of.get("profiles", []):
                faults.append(("metadata.profiles", f"the class has no profile {shown(name)}"))
        return set(named)

    def object(self, path, of, value, profiles, faults):
        """What is wrong with the members of an object."""
        attributes = of["attributes"]
        for name, member in value.items():
            inside = f"{path}.{name}" if path else name
            attribute = attributes.get(name)
            if attribute is None:
                faults.append((inside, "no such attribute"))
                continue
            if attribute.get("deprecated"):
                faults.append((inside, "deprecated"))
            if attribute.get("profile", None) not in {None, *profiles}:
                faults.append((inside, f"of the profile {attribute['profile']}, which is not named"))
            self.attribute(inside, name, attribute, member, value, profiles, faults)
        for name, attribute in attributes.items():
            applies = attribute.get("profile") is None or attribute["profile"] in profiles
            if applies and attribute.get("requirement") == "required" and name not in value:
                faults.append((path, f"{name} is required"))
        for constraint, names in of.get("constraints", {}).items():
            present = sum(name in value for name in names)
            if not {"at_least_one": present >= 1, "just_one": present == 1}.get(constraint, False):
                faults.append((path, f"{constraint} of {', '.join(names)}, not {present}"))

    def attribute(self, path, name, attribute, value, beside, profiles, faults):
        """What is wrong with a value, or each of a list, and with the name beside its number."""
        if attribute.get("array"):
            if not isinstance(value, list) or not value:
                faults.append((path, f"no list, or an empty one: {shown(value)}"))
                return
            values = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
        else:
            values = [(path, value)]
        for place, item in values:
            self.value(place, attribute["type"], item, profiles, faults)
            enumeration = attribute.get("enum")
            if enumeration is None:
                continue
            caption = enumeration.get(str(item)) if type(item) in (int, str) else None
            if caption is None:
                faults.append((place, f"{shown(item)} is none of its values"))
                continue
            sibling = attribute.get("sibling")
            if sibling is None:
                continue
            # The name beside a number is its caption; of Other it is the source's own word, and has to be there.
            if item == 99 and sibling not in beside:
                faults.append((place, f"is Other, and {sibling} does not say what"))
            elif item != 99 and beside.get(sibling, caption) != caption:
                faults.append((place, f"{sibling} is {shown(beside[sibling])}, not {shown(caption)}"))

    def value(self, path, name, value, profiles, faults):
        """What is wrong with one value of a type."""
        about = self.types.get(name)
        if about is None:
            of = self.objects.get(name)
            if of is None:
                faults.append((path, f"no object {name} is known"))
            elif not isinstance(value, dict):
                faults.append((path, f"{shown(value)} is no object"))
            elif of["attributes"]:
                self.object(path, of, value, profiles, faults)
            return
        base = about.get("base", name)
        if base in INTEGERS:
            fits = type(value) is int and -INTEGERS[base] <= value < INTEGERS[base]
        elif base == "boolean_t":
            fits = type(value) is bool
        elif base == "float_t":
            fits = type(value) in (int, float)
        elif base == "string_t":
            fits = isinstance(value, str) and value != ""
        else:
            fits = base == "json_t"
        if not fits:
            faults.append((path, f"{shown(value)} is no {name}"))
            return
        low, high = about.get("range", (None, None))
        if low is not None and not low <= value <= high:
            faults.append((path, f"{value} is not between {low} and {high}"))
        if "max_len" in about and len(value) > about["max_len"]:
            faults.append((path, f"{shown(value)} has more than {about['max_len']} characters"))
        if name in self.patterns and not self.patterns[name].search(value):
            faults.append((path, f"{shown(value)} is no {name}"))


def same(one, other):
    """Whether two values are equal, and `true` is not 1."""
    return type(one) is type(other) and one == other


def shown(value):
    """A value as a short text that a terminal can show."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"


def at(event, path):
    """What stands at a path: `resources[0].uid`."""
    for name, number in PART.findall(path):
        try:
            event = event[int(number)] if number else event[name]
        except (IndexError, KeyError, TypeError):
            return None
    return event


def unique(pairs):
    """An object, unless it has a name twice: then receivers differ in what they read."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a name twice")
    return found


def no_constant(name):
    raise ValueError(f"{name} is no JSON")


def lines(paths):
    """Where each line is, and the line."""
    for path in paths or ["-"]:
        if path == "-":
            file = sys.stdin.buffer
        else:
            file = gzip.open(path) if path.endswith(".gz") else open(path, "rb")
        with file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", line


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("files", nargs="*", metavar="FILE", help="events, one a line; standard input where there is none")
    words.add_argument("--schema", type=pathlib.Path, default=SCHEMA, help="what ocsf_schema.py cut out")
    words.add_argument("--show", type=int, default=20, metavar="N", help="so many violations are shown (20)")
    words.add_argument("--expect", type=int, metavar="N", help="so many events there have to be")
    asked = words.parse_args()
    validator = Validator(json.loads(asked.schema.read_text(encoding="utf-8")))
    counts = collections.Counter()
    wrong = events = violations = 0
    for place, line in lines(asked.files):
        events += 1
        try:
            event = json.loads(line, object_pairs_hook=unique, parse_constant=no_constant)
            faults = validator.faults(event)
        except (ValueError, RecursionError) as error:
            event, faults = None, [("", f"not read: {error}")]
        if isinstance(event, dict):
            key = tuple(shown(event.get(name)) for name in ("class_uid", "class_name", "activity_id", "activity_name"))
            counts[key] += 1
        wrong += bool(faults)
        for path, fault in faults:
            violations += 1
            if violations <= asked.show:
                print(f"{place}: {path or '(event)'}: {fault}", file=sys.stderr)
    if violations > asked.show:
        print(f"and {violations - asked.show} more", file=sys.stderr)
    for (uid, name, activity, activity_name), count in sorted(counts.items()):
        print(f"{count:9} {uid:>5} {name.strip(chr(34))}: {activity} {activity_name.strip(chr(34))}")
    print(f"{events} events, {wrong} of them with {violations} violations")
    if asked.expect is not None and events != asked.expect:
        sys.exit(f"{events} events, not {asked.expect}")
    sys.exit(1 if violations or not events else 0)


if __name__ == "__main__":
    main()
