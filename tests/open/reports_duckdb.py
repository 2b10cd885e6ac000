r"""Runs Custody's reports with DuckDB over the same Delta files: what its own engine is measured beside.

    reports_duckdb.py --config CUSTODY.TOML --from RFC3339 --to RFC3339 [--reports R01,R02] [--runs N] [--memory 4GB]
                      [--threads N] [--timeout SECONDS] [--sql FOLDER]

There is no second copy of the reports. Views and reports are the product's own text, the SQL under `query/`, written
for DataFusion in the dialect of PostgreSQL. What DuckDB spells differently is rewritten by the short list REWRITES;
what only Custody or DataFusion has is a macro of MACROS, overloaded by type where the function is. `deltalake` reads
the Delta log and says which files are in a table; DuckDB reads those Parquet files.

For each report one line of JSON: report, rows, cold_seconds, warm_seconds, error. Cold is a connection of its own, from
opening it to the last row as Arrow: Delta logs are read, reference data is loaded, and the views that the report uses
are made. The page cache is left as it is. Warm is the same query again on that connection, --runs times. A query that
takes longer than --timeout is interrupted; the error is "timeout". The last line is peak_rss_bytes, of the process.

Rows, keys, verdicts and reasons are Custody's. They can differ where
- `\s`, `\w` or `\b` of a regular expression meets letters beyond ASCII, which DuckDB's library does not know there;
- a field of JSON has another type than expected: Custody takes it for missing, DuckDB makes text or a number of it;
- `tickets.pattern` matches more than letters, digits, `-` and `_`.
"""

import argparse
import json
import re
import resource
import tempfile
import threading
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import duckdb
from arro3.core import Table
from deltalake import DeltaTable

TABLES = ("records", "events", "frames", "activity")

TICKET_PATTERN = "[A-Z][A-Z0-9]+-[0-9]+"

# Key in [reference] of the configuration, the table, and its columns.
REFERENCE = [
    (
        "people",
        "identities",
        "person VARCHAR, kind VARCHAR, team VARCHAR, manager VARCHAR, hired_at TIMESTAMPTZ, terminated_at TIMESTAMPTZ, "
        "aliases VARCHAR",
    ),
    (
        "approvers",
        "approver_authority",
        "approver VARCHAR, scope_kind VARCHAR, scope VARCHAR, valid_from TIMESTAMPTZ, valid_to TIMESTAMPTZ",
    ),
    ("shared_accounts", "shared_accounts", "login VARCHAR, owner VARCHAR, justification VARCHAR"),
    ("privileged", "privileged", "kind VARCHAR, name VARCHAR"),
]

# What stands between a pair of parentheses, with up to five pairs inside one another.
INSIDE = r"[^()]*"
for _ in range(5):
    INSIDE = rf"(?:[^()]|\({INSIDE}\))*"

# Names that are keywords to DuckDB, behind what they are not looked for in: literals, quoted names, comments. In the
# product's text keywords are in capitals and names in small letters.
NAMES = re.compile(r"""('(?:[^']|'')*'|"[^"]*")|--[^\n]*|\b(at|both|by)\b""")

# From the product's text to DuckDB's.
REWRITES = [
    # Takes any number of arguments, which no macro does.
    (r"\bmake_array\(", "list_value("),
    # The aggregates; to DuckDB these are names of window functions.
    (r"\b(first|last)_value\(", r"\1("),
    # A macro takes no FILTER. These aggregates pass over nulls, so that it is the same.
    (
        rf"\b(text_union|spans)\(({INSIDE}?)(, 1)?\)\s+FILTER\s*\(\s*WHERE\s+({INSIDE})\)",
        r"\1(CASE WHEN \4 THEN \2 END\3)",
    ),
    # Between timestamps and numbers, which are microseconds since 1970; what is excepted is a number already. (A macro
    # cannot tell by the type: of an aggregate it is not known yet where a macro is chosen.)
    (rf"\bCAST\((?!NULL |sum\(|decisions |\$(?!from|to|as_of))({INSIDE}?) AS BIGINT\)", r"epoch_us(\1)"),
    (rf"\barrow_cast\((m(?:in|ax)\({INSIDE}\)), 'Timestamp\({INSIDE}\)'\)", r"make_timestamptz(\1)"),
    (rf"\barrow_cast\(({INSIDE}?), 'Timestamp\({INSIDE}\)'\)", r"CAST(\1 AS TIMESTAMPTZ)"),
    # A timestamp as text is in RFC 3339.
    (rf"\bCAST\((?!NULL )({INSIDE}?) AS VARCHAR\)", r"to_varchar(\1)"),
    # Types by other names.
    (r"\barrow_cast\(NULL, 'List\(Utf8\)'\)", "CAST(NULL AS VARCHAR[])"),
    (r"\bTIMESTAMP\(6\)(?: WITH TIME ZONE)?", "TIMESTAMPTZ"),
    # Comes in hexadecimal by itself.
    (r"\bencode\((sha256\(\w+\)), 'hex'\)", r"\1"),
]

# As `visible` of query/src/text.rs: controls by their pictures, what changes the order of text by a sign.
CONTROLS = "".join(map(chr, [*range(1, 0x20), 0x7F]))
PICTURES = "".join(map(chr, [*range(0x2401, 0x2420), 0x2421]))
UNSEEN = r"[\x{80}-\x{9f}\x{61c}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2069}\x{feff}]"

# Functions of query/src/functions, and those of DataFusion that DuckDB lacks or has by another name.
MACROS = f"""
-- A list of nothing is null. (`nullif` has its argument in the plan twice, and four times where two are nested.)
CREATE MACRO sorted(texts) AS list_sort(list_aggregate(list_distinct(texts), 'list'));

CREATE MACRO text_set(lists) AS sorted(flatten(CAST(lists AS VARCHAR[][])));

CREATE MACRO text_union
  (texts VARCHAR) AS sorted(list(texts)),
  (lists VARCHAR[]) AS sorted(flatten(list(lists)));

CREATE MACRO person
  (name VARCHAR) AS coalesce(getvariable('persons')[name], name),
  (names VARCHAR[]) AS list_transform(names, lambda name: coalesce(getvariable('persons')[name], name));

-- A ticket is no part of a longer word: it is a whole one.
CREATE MACRO tickets(words) AS sorted(list_filter(
  regexp_extract_all(words, '[\\pL\\pN_-]+'), lambda word: regexp_full_match(word, getvariable('ticket'))
));

-- Spans are a list of numbers: the first place of a span and the one after its last, then those of the next. These are
-- not put together where they touch; what lies in the holes between them is the same.
CREATE MACRO piece(start, len) AS
  {{'start': CAST(start AS BIGINT), 'until': CAST(start + greatest(len, 0) AS BIGINT), 'missing': CAST(0 AS BIGINT)}};
CREATE MACRO pieces
  (start BIGINT, len BIGINT) AS list_distinct(list(piece(start, len)) FILTER (WHERE start + len IS NOT NULL)),
  (starts BIGINT[], lens BIGINT[]) AS list_distinct(flatten(list(
    list_filter(list_transform(list_zip(starts, lens), lambda p: piece(p[1], p[2])), lambda p: p.until IS NOT NULL)
  ) FILTER (WHERE starts IS NOT NULL AND lens IS NOT NULL)));
-- In the order of their beginnings, each is laid beside all that came before it.
CREATE MACRO holes(pieces STRUCT("start" BIGINT, "until" BIGINT, missing BIGINT)[]) AS list_reduce(
  nullif(list_sort(pieces), []),
  lambda laid, next: {{
    'start': next.start,
    'until': greatest(laid.until, next.until),
    'missing': laid.missing + greatest(next.start - laid.until, 0)
  }}
).missing;
CREATE MACRO spans
  (start BIGINT, len BIGINT) AS flatten(list_transform(pieces(start, len), lambda p: [p.start, p.until])),
  (starts BIGINT[], lens BIGINT[]) AS flatten(list_transform(pieces(starts, lens), lambda p: [p.start, p.until]));
CREATE MACRO missing(spans BIGINT[]) AS holes(list_transform(
  list_zip(flatten(list(spans))[1:-:2], flatten(list(spans))[2:-:2]), lambda p: piece(p[1], p[2] - p[1])
));

CREATE MACRO printable(words, count) AS
  regexp_replace(translate(left(words, count), '{CONTROLS}', '{PICTURES}'), '{UNSEEN}', chr(65533), 'g')
  || CASE WHEN length(words) > count THEN '…' ELSE '' END;

CREATE MACRO json_get_str
  (value, a) AS json_extract_string(value, concat('$.', a)),
  (value, a, b) AS json_extract_string(value, concat('$.', a, '.', b)),
  (value, a, b, c) AS json_extract_string(value, concat('$.', a, '[', b, '].', c));
CREATE MACRO json_get_int
  (value, a) AS TRY_CAST(json_extract_string(value, concat('$.', a)) AS BIGINT),
  (value, a, b) AS TRY_CAST(json_extract_string(value, concat('$.', a, '.', b)) AS BIGINT);
CREATE MACRO json_get_json(value, a) AS CAST(json_extract(value, concat('$.', a)) AS VARCHAR);
CREATE MACRO json_get_array(value, a) AS CAST(json_extract(value, concat('$.', a, '[*]')) AS VARCHAR[]);

-- RFC 3339 with as many groups of three decimals as are needed.
CREATE MACRO to_varchar
  (value TIMESTAMPTZ) AS regexp_replace(strftime(value, '%Y-%m-%dT%H:%M:%S.%f'), '(\\.000000|000)$', '') || 'Z',
  (value DATE) AS CAST(value AS VARCHAR), (value BIGINT) AS CAST(value AS VARCHAR), (value VARCHAR) AS value;

CREATE MACRO array_except(one, other) AS list_distinct(list_filter(one, lambda item: NOT list_contains(other, item)));
CREATE MACRO btrim(words) AS trim(words), (words, letters) AS trim(words, letters);
CREATE MACRO cardinality(list) AS len(list);
CREATE MACRO regexp_like(words, pattern) AS regexp_matches(words, pattern);
CREATE MACRO to_char(value, format) AS strftime(value, format);
"""


def rewritten(sql: str) -> str:
    sql = NAMES.sub(lambda found: f'"{found[2]}"' if found[2] else found[1] or "", sql)
    for pattern, replacement in REWRITES:
        sql = re.sub(pattern, replacement, sql, flags=re.DOTALL)
    return sql


def literal(value: object) -> str:
    """A value in SQL, of the type that Custody binds."""
    match value:
        case bool():
            return str(value)
        case int():
            return f"CAST({value} AS BIGINT)"
        case float():
            return f"CAST({value!r} AS DOUBLE)"
        case datetime():
            return f"TIMESTAMPTZ '{value.isoformat()}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case list():
            return "[" + ", ".join(map(literal, value)) + "]"
    raise TypeError(f"{value!r} has no literal")


class Report:
    """A report's query with its parameters in place, and the views that it uses."""

    def __init__(self, id: str, folder: Path, period: dict[str, datetime]) -> None:
        self.id = id
        text = (folder / "reports" / f"{id}.sql").read_text()
        # The comment at its beginning is TOML and has what parameters are when nobody says otherwise.
        front = re.match(r"(?:--.*\n)*", text).group()
        parameters = tomllib.loads(re.sub(r"^-- ?", "", front, flags=re.MULTILINE)).get("parameters", {})
        values = period | {
            name: float(it["default"]) if it["type"] == "number" else it["default"] for name, it in parameters.items()
        }
        query = rewritten(text[len(front) :])
        self.sql = re.sub(r"\$([a-z_]+)", lambda found: literal(values[found[1]]), query)
        self.views: dict[str, str] = {}
        self.add_views(query, {file.stem: file for file in folder.glob("*/*.sql") if file.parent.name != "reports"})

    def add_views(self, sql: str, files: dict[str, Path]) -> None:
        """Adds the views that a query names, each after those that it uses itself."""
        for name in re.findall(r"\b(?:FROM|JOIN)\s+([a-z_]+)\b", sql):
            if name in files and name not in self.views:
                view = rewritten(files[name].read_text())
                self.add_views(view, files)
                self.views[name] = view


def open_ledger(config: dict, report: Report, settings: dict) -> duckdb.DuckDBPyConnection:
    """A connection with everything that the report needs."""
    db = duckdb.connect(config=settings | {"autoinstall_known_extensions": "false"})
    db.execute("SET TimeZone = 'UTC'; SET integer_division = true; SET default_null_order = 'postgres'")

    for name in TABLES:
        table = DeltaTable(Path(config["data"]) / name)
        if files := [unquote(file) for file in table.file_uris()]:
            db.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({literal(files)}, hive_partitioning = true)")
        else:
            db.register(name, Table.from_batches([], schema=table.schema().to_arrow()))

    for key, name, columns in REFERENCE:
        db.execute(f"CREATE TABLE {name} ({columns})")
        if file := config.get("reference", {}).get(key):
            read = "parquet(?)" if file.endswith(".parquet") else "csv(?, sep = ',', header = true, all_varchar = true)"
            db.execute(f"INSERT INTO {name} BY NAME SELECT * FROM read_{read}", [file])

    # Who is who: of the configuration, and of the people's other names.
    persons = {alias: person for person, aliases in config.get("identities", {}).items() for alias in aliases}
    for person, aliases in db.execute("SELECT person, aliases FROM identities WHERE aliases IS NOT NULL").fetchall():
        persons |= {alias.strip(): person for alias in aliases.split(";") if alias.strip()}
    names = [[*persons], [*persons.values()]]
    db.execute("SET VARIABLE persons = map(CAST(? AS VARCHAR[]), CAST(? AS VARCHAR[]))", names)
    db.execute("SET VARIABLE ticket = ?", [config.get("tickets", {}).get("pattern", TICKET_PATTERN)])

    db.execute(MACROS)
    for name, sql in report.views.items():
        db.execute(f"CREATE VIEW {name} AS {sql}")
    return db


def fetch(db: duckdb.DuckDBPyConnection, sql: str, timeout: float | None) -> Table:
    """All rows, unless that takes too long."""
    timer = threading.Timer(timeout, db.interrupt) if timeout else None
    if timer:
        timer.start()
    try:
        return Table.from_arrow(db.sql(sql))
    finally:
        if timer:
            timer.cancel()


def measure(config: dict, report: Report, settings: dict, runs: int, timeout: float | None) -> dict:
    measured = {"report": report.id, "rows": None, "cold_seconds": None, "warm_seconds": [], "error": None}
    started = time.monotonic()
    try:
        with open_ledger(config, report, settings) as db:
            measured["rows"] = fetch(db, report.sql, timeout).num_rows
            measured["cold_seconds"] = round(time.monotonic() - started, 4)
            for _ in range(runs):
                started = time.monotonic()
                fetch(db, report.sql, timeout)
                measured["warm_seconds"].append(round(time.monotonic() - started, 4))
    except duckdb.InterruptException:
        measured["error"] = "timeout"
    except Exception as error:
        measured["error"] = f"{type(error).__name__}: {error}"
    return measured


def main() -> None:
    arguments = argparse.ArgumentParser(description="Runs Custody's reports with DuckDB, and says how long they took.")
    arguments.add_argument("--config", type=Path, required=True, help="Custody's: where the ledger is, who is who")
    arguments.add_argument("--from", type=datetime.fromisoformat, required=True, dest="begin", metavar="RFC3339")
    arguments.add_argument("--to", type=datetime.fromisoformat, required=True, dest="end", metavar="RFC3339")
    arguments.add_argument("--reports", help="ids with commas between them; all where none are given")
    arguments.add_argument("--runs", type=int, default=3, help="warm runs of each report")
    arguments.add_argument("--memory", default="4GB")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--timeout", type=float, help="seconds that one run may take")
    arguments.add_argument("--sql", type=Path, default=Path(__file__).resolve().parents[2] / "query")
    args = arguments.parse_args()

    config = tomllib.loads(args.config.read_text())
    # What was open at the end of the period is open, or now where that is to come.
    period = {"from": args.begin, "to": args.end, "as_of": min(args.end, datetime.now(UTC))}
    every = sorted(file.stem for file in args.sql.glob("reports/*.sql"))
    with tempfile.TemporaryDirectory() as spill:
        settings = {"memory_limit": args.memory, "threads": args.threads, "temp_directory": spill}
        for id in args.reports.split(",") if args.reports else every:
            measured = measure(config, Report(id, args.sql, period), settings, args.runs, args.timeout)
            print(json.dumps(measured), flush=True)
    print(json.dumps({"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
