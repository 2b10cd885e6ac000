#!/usr/bin/env python3
"""Cuts out of the published OCSF schema what Custody's events are tested against.

    git clone --branch v1.8.0 https://github.com/ocsf/ocsf-schema
    tests/open/ocsf_schema.py ocsf-schema > forward/src/schema/ocsf-1.8.0.json

Takes the folder of a checkout. Resolves `extends`, `$include`, the profiles that a class includes and the dictionary, and
prints the classes and objects that are used, with every attribute they have: its type, whether it is required, its
values, its profile. An attribute whose type is an object that is not listed here is printed with the name of that object:
using it fails the test until the object is listed. Descriptions are left out. Needs nothing but Python.
"""

import json
import pathlib
import sys

VERSION = "1.8.0"

# The schema itself spells the class of event logs like this.
CLASSES = [
    "base_event", "account_change", "api_activity", "authentication", "authorize_session", "compliance_finding",
    "datastore_activity", "detection_finding", "entity_management", "event_log_actvity", "file_activity", "file_hosting",
    "group_management", "network_activity", "process_activity", "rdp_activity", "ssh_activity", "tunnel_activity",
]

OBJECTS = [
    "actor", "analytic", "api", "authorization", "compliance", "database", "device", "evidences", "file", "finding_info",
    "group", "managed_entity", "metadata", "network_endpoint", "object", "observable", "policy", "process", "product",
    "query_info", "related_event", "request", "resource_details", "service", "session", "user",
]

HEADER = {
    "source": "https://github.com/ocsf/ocsf-schema, tag v1.8.0, cut down by tests/open/ocsf_schema.py",
    "licence": "Apache-2.0, Copyright OCSF a Series of LF Projects, LLC (LICENSE and NOTICE of the source)",
}


def merge(base, more):
    """The attributes of `base` with those of `more` laid over them, key by key; a key that is null goes away."""
    merged = {name: dict(attribute) for name, attribute in base.items()}
    for name, attribute in more.items():
        if name == "$include":
            continue
        into = merged.setdefault(name, {})
        for key, value in attribute.items():
            if key == "enum":
                into["enum"] = {**into.get("enum", {}), **value}
            elif value is None:
                into.pop(key, None)
            else:
                into[key] = value
    return merged


class Schema:
    """A checkout, read."""

    def __init__(self, folder):
        self.folder = folder
        self.dictionary = self.load("dictionary.json")
        self.categories = self.load("categories.json")["attributes"]
        self.events = self.named("events")
        self.objects = self.named("objects")

    def load(self, path):
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def named(self, folder):
        """Every definition under a folder by its name."""
        files = sorted((self.folder / folder).rglob("*.json"))
        definitions = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        return {definition["name"]: definition for definition in definitions}

    def included(self, attributes):
        """What the profiles that are named by `$include` bring, each attribute marked with its profile."""
        named = attributes.get("$include", [])
        found = {}
        for path in [named] if isinstance(named, str) else named:
            profile = self.load(path)
            annotated = {
                name: {**profile.get("annotations", {}), **attribute, "profile": profile["name"]}
                for name, attribute in profile["attributes"].items()
            }
            found = merge(found, annotated)
        return found

    def resolved(self, definitions, name):
        """Attributes, constraints, category and profiles of a definition and all that it extends."""
        own = definitions[name]
        parent = own.get("extends")
        whole = self.resolved(definitions, parent) if parent else {"attributes": {}}
        attributes = merge(whole["attributes"], self.included(own["attributes"]))
        return {
            **whole,
            **{key: own[key] for key in ("caption", "category", "uid", "constraints", "name") if key in own},
            "profiles": sorted(set(whole.get("profiles", [])) | set(own.get("profiles", []))),
            "attributes": merge(attributes, own["attributes"]),
        }

    def attribute(self, name, given):
        """An attribute as it is printed: the dictionary's word, and what the class or object says otherwise."""
        entry = self.dictionary["attributes"][name]
        enum = {**entry.get("enum", {}), **given.get("enum", {})}
        printed = {"type": entry["type"]}
        if entry.get("is_array"):
            printed["array"] = True
        if given.get("requirement", "optional") != "optional":
            printed["requirement"] = given["requirement"]
        if given.get("profile"):
            printed["profile"] = given["profile"]
        if "@deprecated" in given or "@deprecated" in entry:
            printed["deprecated"] = True
        if enum:
            printed["enum"] = {value: about["caption"] for value, about in enum.items()}
            if "sibling" in entry:
                printed["sibling"] = entry["sibling"]
        return printed

    def printed(self, definitions, name):
        whole = self.resolved(definitions, name)
        out = {"caption": whole["caption"]}
        if definitions is self.events:
            # The number of a class is its place in its category.
            category = self.categories.get(whole["category"], {"uid": 0, "caption": "Uncategorized"})
            out["category_uid"] = category["uid"]
            out["category_name"] = category["caption"]
            out["class_uid"] = category["uid"] * 1000 + whole.get("uid", 0)
        if whole["profiles"]:
            out["profiles"] = whole["profiles"]
        if whole.get("constraints"):
            out["constraints"] = whole["constraints"]
        out["attributes"] = {
            name: self.attribute(name, given) for name, given in sorted(whole["attributes"].items())
        }
        if definitions is self.events:
            # What the base event says of itself is not inherited.
            out["attributes"]["category_uid"]["enum"] = {str(out["category_uid"]): out["category_name"]}
            out["attributes"]["class_uid"]["enum"] = {str(out["class_uid"]): out["caption"]}
        return out

    def observables(self):
        """The values of `observable.type_id`: types, attributes and objects each name their own."""
        types = self.dictionary["types"]["attributes"].values()
        attributes = self.dictionary["attributes"].values()
        found = {}
        for about in [*types, *attributes, *self.objects.values()]:
            if "observable" in about:
                found[str(about["observable"])] = about["caption"]
        return found

    def type_of(self, about):
        """What values of a type must satisfy."""
        return {
            **({"base": about["type"]} if "type" in about else {}),
            **{key: about[key] for key in ("max_len", "range", "regex") if key in about},
        }


def main():
    schema = Schema(pathlib.Path(sys.argv[1]))
    version = schema.load("version.json")["version"]
    if version != VERSION:
        sys.exit(f"the checkout is of version {version}, not {VERSION}")
    types = schema.dictionary["types"]["attributes"]
    objects = {name: schema.printed(schema.objects, name) for name in sorted(OBJECTS)}
    objects["observable"]["attributes"]["type_id"]["enum"].update(schema.observables())
    out = {
        **HEADER,
        "version": version,
        "types": {name: schema.type_of(about) for name, about in sorted(types.items())},
        "classes": {name: schema.printed(schema.events, name) for name in sorted(CLASSES)},
        "objects": objects,
    }
    # A line for each definition: small, and a change of one is a change of one line.
    print("{")
    for key, value in out.items():
        comma = "" if key == "objects" else ","
        if isinstance(value, dict):
            print(f'  "{key}": {{')
            lines = [f'    "{name}": {json.dumps(about, separators=(",", ":"))}' for name, about in value.items()]
            print(",\n".join(lines))
            print(f"  }}{comma}")
        else:
            print(f'  "{key}": {json.dumps(value)}{comma}')
    print("}")


if __name__ == "__main__":
    main()
