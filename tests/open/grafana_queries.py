#!/usr/bin/env python3
"""Asks every query of the Grafana dashboards at the real endpoints, as Grafana would.

    grafana_queries.py --wire HOST:PORT --metrics URL [--metrics URL…] [DASHBOARD.json…]

SQL goes over PostgreSQL's wire by `psql -c`: one simple query without parameters, which is what Grafana sends
whichever driver it has (lib/pq without arguments; pgx's PgConn().Exec). Each query is asked three times: with every
variable at All, with every value that the variables' own queries give, and with a name that nobody has and that has to
be quoted. What the panel needs of the answer is checked: types, a time column in order, the columns that overrides and
links name. Links are followed for one row.

An expression of PromQL is taken apart: every selector in it must find a series in an answer of /metrics, and every
label that it groups by or shows must be one of theirs. With --prometheus a real Prometheus is asked too.

One line a query; exit status 1 if any fails. Standard library only, and psql.
"""

import argparse
import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DASHBOARDS = REPOSITORY / "dashboards/grafana/dashboards"

# Values of a variable that are asked for at once.
VALUES_MAX = 100
# What a hostile person is called, and what is likely to break a query that quotes by hand.
HOSTILE = "o'noor \"x\\ %_;--"

# Counted when it happens for the first time, and not in /metrics before. The name is looked up in the source.
ONLY_AFTER_IT_HAPPENED = {
    "custody_ingest_store_failures_total",
    "custody_maintain_failures_total",
    "custody_index_failures_total",
    "custody_forward_failures_total",
    "custody_collect_refused_total",
}
# Only where messages are pushed, or events forwarded: a test that has neither says so (--without).
PARTS = ("collect", "forward")

# Made by Prometheus itself for each target, with the labels of the target.
OF_PROMETHEUS = {"up": {"job", "instance"}}


class Wrong(Exception):
    """What is wrong with a query or its answer, in words."""


# ------------------------------------------------------------------------------------------------------------ variables


@dataclass
class Range:
    """The time range of a dashboard, in milliseconds since 1970, as Grafana's front end sends it."""

    from_ms: int
    to_ms: int

    def rfc3339(self, ms: int) -> str:
        """Go's time.RFC3339Nano in UTC: no zeros at the end of the fraction, and no fraction that is zero."""
        whole = datetime.fromtimestamp(ms // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        fraction = f".{ms % 1000:03}".rstrip("0").rstrip(".")
        return f"{whole}{fraction}Z"


@dataclass
class Value:
    """What a variable is set to: texts, or a text that is put in as it is (`allValue` of All)."""

    values: list[str]
    multi: bool = True
    raw: str | None = None


def formatted(value: Value, how: str) -> str:
    """`${name:how}`: @grafana/scenes, formatRegistry. A custom All is put in as it is (CustomAllValue)."""
    if value.raw is not None:
        return value.raw
    if how == "raw":
        return ",".join(value.values)
    if how == "sqlstring":
        raise Wrong("sqlstring puts a backslash before a double quote, which makes another name of it in PostgreSQL")
    raise Wrong(f"the format {how!r} of a variable is not known here")


def in_sql(value: Value) -> str:
    """A variable in SQL: interpolateVariable of the PostgreSQL data source, and of @grafana/sql before it."""
    if value.raw is not None:
        return value.raw
    doubled = [text.replace("'", "''") for text in value.values]
    # Of several (`multi`, also where one is chosen) each gets its quotes: quoteLiteral. One alone gets none.
    return ",".join(f"'{text}'" for text in doubled) if value.multi else doubled[0]


def in_promql(value: Value) -> str:
    """A variable in PromQL, several values: (a|b), what means something in a regular expression escaped."""
    return value.raw if value.raw is not None else "(" + "|".join(re.escape(text) for text in value.values) + ")"


# $name, ${name} and ${name:format}; [[name]] is the old way and refused. @grafana/scenes, VARIABLE_REGEX.
VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}")


def with_variables(text: str, variables: dict[str, Value], default: Callable[[Value], str]) -> str:
    """Puts the dashboard's variables into a text; `default` formats those that name no format. Others are left."""
    if re.search(r"\[\[\w+", text):
        raise Wrong("[[name]] is written ${name}")

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in variables:
            return found[0]
        return formatted(variables[name], found[3]) if found[3] else default(variables[name])

    return VARIABLE.sub(one, text)


# ------------------------------------------------------------------------------------------------------------ intervals

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}


def parsed_interval(text: str) -> int:
    """grafana-plugin-sdk-go, gtime.ParseInterval: a number and a unit, or Go's durations. In milliseconds."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Wrong(f"{text!r} is no interval")
    return sum(int(number) * _UNITS_MS[unit] for number, unit in parts)


def interval_text(ms: int) -> str:
    """@grafana/data, rangeUtil.secondsToHms: in the largest unit that goes into it, cut off."""
    for unit in ("y", "d", "h", "m", "s"):
        if ms >= _UNITS_MS[unit]:
            return f"{ms // _UNITS_MS[unit]}{unit}"
    return f"{ms or 1}ms"


# @grafana/data, rangeUtil.roundInterval: below each limit, that interval; both in milliseconds.
_ROUNDED = [
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1500, 1000), (3500, 2000),
    (7500, 5000), (12500, 10_000), (17500, 15_000), (25000, 20_000), (45000, 30_000), (90000, 60_000),
    (210_000, 120_000), (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000),
    (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000),
    (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000),
    (3_628_800_000, 2_592_000_000),
]  # fmt: skip


def panel_interval(range_: Range, points: int, least: str | None) -> int:
    """@grafana/data, rangeUtil.calculateInterval, with the least interval of the panel."""
    exact = (range_.to_ms - range_.from_ms) / points
    rounded = next((interval for limit, interval in _ROUNDED if exact < limit), 31_536_000_000)
    return max(rounded, parsed_interval(least.lstrip(">")) if least else 0)


# -------------------------------------------------------------------------------------------------------- macros of SQL

# grafana, pkg/tsdb/grafana-postgresql-datasource/macros.go, sExpr.
MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")


def go_number(seconds: float) -> str:
    """Go's %v of a float64 of seconds, as far as intervals go (no exponent below 1e21)."""
    return str(int(seconds)) if seconds == int(seconds) else repr(seconds)


def _macro(name: str, arguments: list[str], range_: Range) -> str:
    """macros.go, evaluateMacro, without TimescaleDB. What the dashboards do not use is not known here."""
    if name in ("__timeFilter", "__time", "__timeEpoch") and not arguments[0]:
        raise Wrong(f"${name} needs a column")
    if name == "__timeFilter":
        return f"{arguments[0]} BETWEEN '{range_.rfc3339(range_.from_ms)}' AND '{range_.rfc3339(range_.to_ms)}'"
    if name == "__timeFrom":
        return f"'{range_.rfc3339(range_.from_ms)}'"
    if name == "__timeTo":
        return f"'{range_.rfc3339(range_.to_ms)}'"
    if name == "__time":
        return f'{arguments[0]} AS "time"'
    if name == "__timeEpoch":
        return f'extract(epoch from {arguments[0]}) as "time"'
    if name in ("__timeGroup", "__timeGroupAlias"):
        if len(arguments) < 2:
            raise Wrong(f"${name} needs a column and an interval")
        # The third says what stands where there are no rows: NULL, previous, or a number. Grafana fills it in.
        if len(arguments) == 3 and arguments[2] not in ("NULL", "previous"):
            float(arguments[2])
        seconds = go_number(parsed_interval(arguments[1].strip("'")) / 1000)
        group = f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}"
        return f'{group} AS "time"' if name == "__timeGroupAlias" else group
    raise Wrong(f"the macro ${name} is not known")


def expanded(sql: str, range_: Range, interval_ms: int, variables: dict[str, Value]) -> str:
    """A query as Grafana sends it to PostgreSQL."""
    # The front end: variables, and among them $__interval (public/app/features/query, PanelQueryRunner's scopedVars).
    sql = sql.replace("${__interval}", "$__interval").replace("$__interval_ms", str(interval_ms))
    sql = sql.replace("$__interval", interval_text(interval_ms))
    sql = with_variables(sql, variables, in_sql)
    # The back end: sqleng's Interpolate, then macros.go. Values of variables are in the text by then.
    sql = sql.replace("$__unixEpochFrom()", str(range_.from_ms // 1000)).replace(
        "$__unixEpochTo()", str(range_.to_ms // 1000)
    )
    whole = sql

    def one(found: re.Match[str]) -> str:
        name, arguments = found[1], [argument.strip(" ") for argument in found[2].split(",")]
        after = whole.find(found[0]) + len(found[0])
        # As before Grafana 5.3: with a comma right after it, $__timeGroup names its column.
        if name == "__timeGroup" and whole[after : after + 1] == ",":
            name = "__timeGroupAlias"
        return _macro(name, arguments, range_)

    return MACRO.sub(one, sql)


# ------------------------------------------------------------------------------------------------------------- the wire

NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric")
TIMES = ("timestamp with time zone", "timestamp without time zone", "date")
NULL = "\x02null"


@dataclass
class Answer:
    names: list[str]
    types: list[str]
    rows: list[list[str | None]]
    seconds: float

    def numbers(self) -> list[str]:
        return [name for name, type_ in zip(self.names, self.types, strict=True) if type_.startswith(NUMBERS)]

    def texts(self) -> list[str]:
        return [
            name for name, type_ in zip(self.names, self.types, strict=True) if type_ in ("text", "character varying")
        ]


class Wire:
    def __init__(self, connection: str) -> None:
        self.psql = [
            "psql",
            "-X",
            "-q",
            "--csv",
            "-v",
            "ON_ERROR_STOP=1",
            "-v",
            "VERBOSITY=verbose",
            "-P",
            f"null={NULL}",
            connection,
        ]

    def _run(self, arguments: list[str], text: str = "") -> list[list[str]]:
        done = subprocess.run(
            [*self.psql, *arguments], input=text, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            raise Wrong(" ".join(done.stderr.split()))
        return list(csv.reader(io.StringIO(done.stdout, newline="")))

    def types(self, sql: str) -> list[str]:
        """By psql's \\gdesc: the query is parsed and described, and not run."""
        return [row[1] for row in self._run([], sql + "\n\\gdesc\n")[1:]]

    def ask(self, sql: str, types: list[str]) -> Answer:
        """By -c, which takes the text as it is."""
        started = time.monotonic()
        names, *rows = self._run(["-c", sql])
        seconds = time.monotonic() - started
        if len(names) != len(types):
            raise Wrong(f"the columns {names} came, and {len(types)} were described")
        return Answer(names, types, [[None if cell == NULL else cell for cell in row] for row in rows], seconds)


def check_answer(answer: Answer, kind: str, format_: str) -> None:
    """What the data source and the panel need: sqleng/sql_engine.go, processFrame; data.LongToWide."""
    if len(set(answer.names)) != len(answer.names):
        raise Wrong(f"two columns have one name: {answer.names}")
    if format_ == "time_series":
        if "time" not in answer.names:
            raise Wrong(f"a time series needs a column `time`; there are {answer.names}")
        at = answer.names.index("time")
        if not answer.types[at].startswith(NUMBERS + TIMES):
            raise Wrong(f"the time is of type {answer.types[at]}")
        if not [name for name in answer.numbers() if name != "time"]:
            raise Wrong("a time series needs a number")
        series = [answer.names.index(name) for name in answer.texts()]
        times = [row[at] for row in answer.rows]
        if None in times:
            raise Wrong("a time is null")
        if answer.types[at].startswith(NUMBERS):
            order = [float(moment) for moment in times]
            # Seconds become milliseconds by their size: epochPrecisionToMS.
            if not all(1e9 <= moment < 1e10 for moment in order):
                raise Wrong("a time is not in seconds since 1970")
        else:
            order = times
        if order != sorted(order):
            raise Wrong("a time series has to come in the order of time")
        keys = [(row[at], *(row[column] for column in series)) for row in answer.rows]
        if len(set(keys)) != len(keys):
            raise Wrong("a series has two values at one time, of which Grafana shows one")
    elif kind in ("stat", "gauge", "bargauge", "piechart", "barchart"):
        if not answer.numbers():
            raise Wrong(f"a {kind} needs a number; the types are {answer.types}")
        if kind != "stat" and not answer.texts():
            raise Wrong(f"a {kind} needs a text that names each number")
    elif kind == "timeseries":
        raise Wrong("the format of a time series is time_series")


def named_columns(panel: dict) -> set[str]:
    """Columns that the panel's overrides and links name."""
    names = set()
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["id"] == "byName":
            names.add(override["matcher"]["options"])
    for url in links(panel):
        names.update(re.findall(r"\$\{__data\.fields\.(\w+)", url))
    return names


def links(panel: dict) -> list[str]:
    config = panel["fieldConfig"]
    properties = [
        entry for override in config["overrides"] for entry in override["properties"] if entry["id"] == "links"
    ]
    found = [link["url"] for entry in properties for link in entry["value"]]
    return found + [link["url"] for link in config["defaults"].get("links", [])]


def follow(url: str, answer: Answer, variables: dict[str, Value]) -> str | None:
    """Follows a link to Custody for the first row. Of a link to a dashboard only the encoding is checked."""
    for name, how in re.findall(r"\$\{__data\.fields\.(\w+)(?::(\w+))?\}", url):
        if how != "percentencode":
            # Grafana's own default (uriencode) leaves `&`, `#` and `/` of a hostile name as they are.
            raise Wrong(f"the link takes {name} without :percentencode")
    if not url.startswith("${custody") or not answer.rows:
        return None
    row = dict(zip(answer.names, answer.rows[0], strict=True))
    url = re.sub(
        r"\$\{__data\.fields\.(\w+):percentencode\}",
        lambda found: urllib.parse.quote(row[found[1]] or "", safe=""),
        url,
    )
    url = with_variables(url, variables, in_sql)
    try:
        # As a browser asks: a program is told that there is nothing of that name.
        page = urllib.request.Request(url, headers={"Accept": "text/html"})
        with urllib.request.urlopen(page, timeout=60) as response:
            response.read()
    except (urllib.error.URLError, OSError) as error:
        raise Wrong(f"{url}: {error}") from error
    return url


# --------------------------------------------------------------------------------------------------------------- PromQL


@dataclass
class Selector:
    """`name{label="value", …}`"""

    name: str
    matchers: list[tuple[str, str, str]] = field(default_factory=list)

    def finds(self, labels: dict[str, str]) -> bool:
        def matches(label: str, operator: str, value: str) -> bool:
            has = labels.get(label, "")
            if operator in ("=~", "!~"):
                return (re.fullmatch(value, has) is not None) == (operator == "=~")
            return (has == value) == (operator == "=")

        # `instance` and `job` are Prometheus' own, of the target.
        return all(matches(*matcher) for matcher in self.matchers if matcher[0] not in ("instance", "job"))


@dataclass
class Expression:
    selectors: list[Selector]
    labels: set[str]


_TOKEN = re.compile(
    r"""\s+|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<number>\d[\d.]*(?:e[+-]?\d+)?(?:ms|[smhdwy])?(?:\d+[smhdwy])*)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){}\[\],:@])""",
    re.VERBOSE,
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan", "atan2", "start", "end"}


def promql(expression: str) -> Expression:
    """The selectors of an expression, and the labels that it groups by. Not a parser: it knows where names stand."""
    tokens, at = [], 0
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if found is None:
            raise Wrong(f"{expression[at : at + 20]!r} is no PromQL")
        if found.lastgroup:
            tokens.append((found.lastgroup, found[0]))
        at = found.end()
    depth = 0
    for _, sign in (token for token in tokens if token[0] == "sign"):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            break
    if depth != 0:
        raise Wrong("its parentheses do not match")
    result, i = Expression([], set()), 0
    while i < len(tokens):
        kind, word = tokens[i]
        following = tokens[i + 1][1] if i + 1 < len(tokens) else ""
        i += 1
        if kind == "sign" and word == "[":
            while tokens[i][1] != "]":
                i += 1
        elif kind != "name" or word.lower() in _WORDS:
            continue
        elif word.lower() in _GROUPING:
            if following == "(":
                while tokens[i][1] != ")":
                    if tokens[i][0] == "name":
                        result.labels.add(tokens[i][1])
                    i += 1
        elif following != "(" and following.lower() not in _GROUPING:
            selector = Selector(word)
            if following == "{":
                i += 1
                while tokens[i][1] != "}":
                    if tokens[i][0] == "name":
                        selector.matchers.append((tokens[i][1], tokens[i + 1][1], tokens[i + 2][1][1:-1]))
                        i += 2
                    i += 1
            result.selectors.append(selector)
    if not result.selectors:
        raise Wrong("it asks for no metric")
    return result


def exposed(text: str) -> dict[str, list[dict[str, str]]]:
    """The series of an answer of /metrics, by name."""
    series: dict[str, list[dict[str, str]]] = {}
    for line in text.splitlines():
        found = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+", line)
        if found and not line.startswith("#"):
            labels = {
                name: value.replace('\\"', '"')
                for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or "")
            }
            series.setdefault(found[1], []).append(labels)
    return series


def check_promql(expression: str, legend: str, series: dict[str, list[dict[str, str]]], without: set[str]) -> str:
    """Checks an expression against what is exposed; says of which metrics nothing is there yet."""
    parsed, labels, absent = promql(expression), {"instance", "job"}, []
    for selector in parsed.selectors:
        if selector.name in OF_PROMETHEUS:
            labels |= OF_PROMETHEUS[selector.name]
        elif selector.name in series:
            if not any(selector.finds(of) for of in series[selector.name]):
                raise Wrong(f"no series of {selector.name} has {selector.matchers}")
            labels |= {label for of in series[selector.name] for label in of}
        elif selector.name in ONLY_AFTER_IT_HAPPENED or any(
            selector.name.startswith(f"custody_{part}_") for part in without
        ):
            in_source(selector.name)
            absent.append(selector.name)
        else:
            raise Wrong(f"no /metrics has {selector.name}")
    if not absent:
        unknown = (parsed.labels | set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))) - labels
        if unknown:
            raise Wrong(f"no series has the labels {sorted(unknown)}")
    return f"not counted yet: {', '.join(absent)}" if absent else ""


def in_source(metric: str) -> None:
    for file in REPOSITORY.rglob("*.rs"):
        if "target" not in file.parts and f'"{metric}"' in file.read_text(errors="replace"):
            return
    raise Wrong(f"nothing in the source counts {metric}")


# ----------------------------------------------------------------------------------------------------------- dashboards


class Run:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.failed, self.asked = arguments, 0, 0
        host, _, port = arguments.wire.rpartition(":")
        self.wire = Wire(f"host={host} port={port} user={arguments.user} dbname=custody application_name=grafana")
        self.series: dict[str, list[dict[str, str]]] = {}
        for url in arguments.metrics:
            with urllib.request.urlopen(url, timeout=60) as response:
                for name, found in exposed(response.read().decode()).items():
                    self.series.setdefault(name, []).extend(found)

    def line(self, dashboard: str, what: str, work: Callable[[], tuple[str, list[str]]]) -> list[str]:
        """Does one thing and prints one line on it; returns the values that it found, of a variable."""
        self.asked += 1
        try:
            told, values = work()
        except (Wrong, subprocess.TimeoutExpired, ValueError, LookupError) as why:
            self.failed += 1
            print(f"FAIL  {dashboard}  {what}: {why if isinstance(why, Wrong) else repr(why)}", flush=True)
            return []
        print(f"ok    {dashboard}  {what}: {told}", flush=True)
        return values

    def dashboard(self, path: Path) -> None:
        model = json.loads(path.read_text())
        now = int(time.time() * 1000)
        range_ = Range(now - parsed_interval(self.arguments.range), now)
        every: dict[str, Value] = {}
        picked: dict[str, Value] = {}
        nobody: dict[str, Value] = {}
        for variable in model["templating"]["list"]:
            name = variable["name"]
            if variable["type"] == "constant":
                value = self.arguments.custody if name == "custody" and self.arguments.custody else variable["query"]
                every[name] = picked[name] = nobody[name] = Value([value], multi=False)
            elif variable["type"] == "textbox":
                every[name] = picked[name] = Value([variable["query"]], multi=False)
                nobody[name] = Value([HOSTILE], multi=False)
            elif variable["datasource"]["type"] == "prometheus":
                self.line(path.stem, f"variable {name}", partial(self.label_values, variable["query"]["query"]))
            else:
                every[name] = Value([], raw=variable["allValue"])
                values = self.line(path.stem, f"variable {name}", partial(self.choices, variable["query"], range_))
                picked[name], nobody[name] = Value([*values[:VALUES_MAX], HOSTILE]), Value([HOSTILE])
        settings = (every, picked, nobody)
        for panel in model["panels"]:
            for target in panel["targets"]:
                what = f"{panel['title']} ({panel['type']}, {target['refId']})"
                if target["datasource"]["type"] == "prometheus":
                    work = partial(self.prometheus, target)
                else:
                    work = partial(self.sql, panel, target, range_, settings)
                self.line(path.stem, what, work)

    def label_values(self, query: str) -> tuple[str, list[str]]:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        if not found:
            raise Wrong(f"{query} is no label_values(metric, label)")
        check_promql(found[1], f"{{{{{found[2]}}}}}", self.series, set())
        return found[2], []

    def choices(self, query: str, range_: Range) -> tuple[str, list[str]]:
        sql = expanded(query, range_, 60_000, {})
        answer = self.wire.ask(sql, self.wire.types(sql))
        if answer.names != ["__text", "__value"] and len(answer.names) != 1:
            raise Wrong(f"a variable has one column, not {answer.names}")
        values = [row[-1] for row in answer.rows if row[-1] is not None]
        return f"{len(values)} values, {answer.seconds:.2f} s", values

    def sql(
        self, panel: dict, target: dict, range_: Range, settings: tuple[dict[str, Value], ...]
    ) -> tuple[str, list[str]]:
        interval = panel_interval(range_, panel.get("maxDataPoints", 1000), panel.get("interval"))
        queries = [expanded(target["rawSql"], range_, interval, variables) for variables in settings]
        types = self.wire.types(queries[0])
        answers = [self.wire.ask(sql, types) for sql in queries]
        for answer in answers:
            check_answer(answer, panel["type"], target["format"])
        answer = answers[0]
        # Of a time series, an override names a series, which is a value of the answer.
        if target["format"] == "table":
            missing = named_columns(panel) - set(answer.names)
            if missing:
                raise Wrong(f"overrides or links name {sorted(missing)}, which are no columns of {answer.names}")
        chosen = {
            name for name, value in settings[0].items() if value.raw is not None and f"${{{name}" in target["rawSql"]
        }
        if chosen and panel["type"] != "stat" and answers[2].rows:
            raise Wrong(f"of a name that nobody has it finds {len(answers[2].rows)} rows")
        if answer.rows and not answers[1].rows:
            raise Wrong("it finds rows with All, and none with every value")
        followed = [url for link in links(panel) if (url := follow(link, answer, settings[0]))]
        if not answer.rows and self.arguments.want_rows and panel["title"] not in self.arguments.may_be_empty:
            raise Wrong("no rows")
        told = f"{len(answer.rows)} rows, {answer.seconds:.2f} s"
        return (f"{told}, {followed[0]} is there" if followed else told), []

    def prometheus(self, target: dict) -> tuple[str, list[str]]:
        # Grafana's Prometheus data source, with a scrape interval of 15 s: $__rate_interval is at least four of them.
        expression = target["expr"]
        for macro, text in [("$__rate_interval", "1m0s"), ("$__range", self.arguments.range), ("$__interval", "15s")]:
            expression = expression.replace(macro, text)
        expression = with_variables(expression, {"instance": Value([], raw=".*")}, in_promql)
        if "$" in expression:
            raise Wrong(f"a variable is not known: {expression}")
        told = check_promql(expression, target["legendFormat"], self.series, set(self.arguments.without))
        if self.arguments.prometheus:
            told = ", ".join(filter(None, [told, self.ask_prometheus(expression)]))
        return told or "exposed", []

    def ask_prometheus(self, expression: str) -> str:
        url = f"{self.arguments.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                return f"{len(json.load(response)['data']['result'])} series in Prometheus"
        except urllib.error.HTTPError as error:
            raise Wrong(f"Prometheus says {error.code}: {error.read().decode(errors='replace')}") from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "dashboards", nargs="*", type=Path, help="JSON of dashboards; those of dashboards/grafana unless named"
    )
    parser.add_argument("--wire", required=True, metavar="HOST:PORT", help="Custody for clients of PostgreSQL")
    parser.add_argument(
        "--user", default="grafana", help="who asks (password: PGPASSWORD; TLS: PGSSLMODE and its like)"
    )
    parser.add_argument(
        "--metrics", required=True, action="append", metavar="URL", help="a /metrics; several for several processes"
    )
    parser.add_argument("--custody", metavar="URL", help="Custody over HTTP, where links to sessions are followed to")
    parser.add_argument("--prometheus", metavar="URL", help="a Prometheus that is to be asked every expression, too")
    parser.add_argument("--range", default="14d", help="how far back the dashboards look (14d)")
    parser.add_argument("--want-rows", action="store_true", help="a query of a panel that finds nothing fails")
    parser.add_argument(
        "--may-be-empty", action="append", default=[], metavar="TITLE", help="but not that of this panel"
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=PARTS, help="what is not run, so that it exposes nothing"
    )
    arguments = parser.parse_args()
    if shutil.which("psql") is None:
        sys.exit("psql is not installed (Debian: postgresql-client)")
    run = Run(arguments)
    for path in run.arguments.dashboards or sorted(DASHBOARDS.glob("*.json")):
        run.dashboard(path)
    print(f"{run.asked} queries, {run.failed} failed")
    return 1 if run.failed or not run.asked else 0


if __name__ == "__main__":
    sys.exit(main())
