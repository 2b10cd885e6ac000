#!/usr/bin/env python3
"""Cuts out of the published Elastic Common Schema what Custody's documents are tested against.

    git clone --branch v9.4.0 https://github.com/elastic/ecs
    tests/open/ecs_schema.py ecs > forward/src/schema/ecs-9.4.0.json

Takes the folder of a checkout. Prints the fields of the field sets that are used with their types, a list where a field
has several values, and the values that `event.kind`, `category`, `type` and `outcome` may have, with the types that go
with each category. Needs nothing but Python.
"""

import csv
import json
import pathlib
import sys

VERSION = "9.4.0"

FIELD_SETS = [
    "base", "agent", "destination", "ecs", "event", "host", "network", "observer", "process", "related", "rule", "source",
    "user",
]

# Fields deeper than this belong to things that no event tells of.
PARTS_MAX = 3

HEADER = {
    "source": "https://github.com/elastic/ecs, tag v9.4.0, cut down by tests/open/ecs_schema.py",
    "licence": "Apache-2.0, Elasticsearch B.V. (LICENSE.txt and NOTICE.txt of the source)",
}


def fields(folder):
    """Name of a field to its type, or to a list with its type."""
    with open(folder / "generated/csv/fields.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Field_Set"] in FIELD_SETS]
    return {
        row["Field"]: [row["Type"]] if row["Normalization"] == "array" else row["Type"]
        for row in rows
        if row["Field"].count(".") < PARTS_MAX
    }


def allowed_values(folder):
    """Field of `event` to its allowed values; of a category to the types that are expected with it.

    Reads the few lines of YAML that matter by their depth: a field at two spaces, a value at eight, a type at twelve.
    """
    found = {}
    field = value = None
    for line in (folder / "schemas/event.yml").read_text(encoding="utf-8").splitlines():
        if line.startswith("    - name: "):
            field = line.split(": ", 1)[1].strip()
        elif line.startswith("        - name: "):
            value = line.split(": ", 1)[1].strip()
            found.setdefault(field, {})[value] = []
        elif line.startswith("            - ") and value is not None:
            found[field][value].append(line.split("- ", 1)[1].strip())
    return found


def main():
    folder = pathlib.Path(sys.argv[1])
    version = (folder / "version").read_text(encoding="utf-8").strip()
    if version != VERSION:
        sys.exit(f"the checkout is of version {version}, not {VERSION}")
    values = allowed_values(folder)
    for name in ("kind", "category", "type", "outcome"):
        if name not in values:
            sys.exit(f"no values of event.{name} were found: the file is not laid out as it was")
    out = {
        **HEADER,
        "version": version,
        "fields": fields(folder),
        "event": {
            "category": values["category"],
            **{name: sorted(values[name]) for name in ("kind", "outcome", "type")},
        },
    }
    print(json.dumps(out, indent=0))


if __name__ == "__main__":
    main()
