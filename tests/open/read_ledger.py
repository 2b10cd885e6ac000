"""Opens a ledger with engines that are not Custody's, and prints what they find as JSON.

    read_ledger.py FOLDER|URL [TABLE…]  the tables are records, events and frames unless named

For each table: rows, distinct_offsets (of topic, partition and offset), and the lowest and highest offset as min and
max (null in an empty table). A row of `frames` covers several offsets; it counts by its first one, and max is the last.

Two engines, each for what it does by itself: `deltalake` reads the Delta log and says which files are in the table, and
DuckDB, which shares no code with it or with Custody, reads those Parquet files. The log keeps a count of rows for each
file; where that differs from what DuckDB counts, the exit status is 1. On an object store (s3://…, reached by the usual
variables) `deltalake` reads the rows too.
"""

import json
import sys
from pathlib import Path
from urllib.parse import unquote

import duckdb
from deltalake import DeltaTable, QueryBuilder

TABLES = ("records", "events", "frames")


def read(folder: Path) -> dict:
    table = DeltaTable(folder)
    names = {field.name for field in table.schema().fields}
    first, last = ("offset", "offset") if "offset" in names else ("first_offset", "last_offset")
    files = [unquote(file) for file in table.file_uris()]
    if not files:
        return {"rows": 0, "distinct_offsets": 0, "min": None, "max": None}

    # A session of its own: a ledger is read as it is, with nothing fetched and nothing written.
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as db:
        rows, distinct, lowest, highest = db.execute(
            f"""SELECT count(*), count(DISTINCT (topic, "partition", "{first}")), min("{first}"), max("{last}")
                FROM read_parquet(?, hive_partitioning = false)""",
            [files],
        ).fetchone()

    logged = table.count()
    if logged != rows:
        sys.exit(f"{folder}: the Delta log says {logged} rows, its Parquet files hold {rows}")
    return {"rows": rows, "distinct_offsets": distinct, "min": lowest, "max": highest}


def read_url(url: str) -> dict:
    table = DeltaTable(url)
    names = {field.name for field in table.schema().fields}
    first, last = ("offset", "offset") if "offset" in names else ("first_offset", "last_offset")
    found = QueryBuilder().register("ledger", table).execute(
        f"""SELECT count(*) AS rows, count(DISTINCT topic || '/' || "partition" || '/' || "{first}") AS distinct_offsets,
            min("{first}") AS min, max("{last}") AS max FROM ledger"""
    ).read_all()
    return {name: found[name][0].as_py() for name in ("rows", "distinct_offsets", "min", "max")}


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.exit(__doc__)
    names = arguments[1:] or TABLES
    if "://" in arguments[0]:
        found = {name: read_url(f"{arguments[0]}/{name}") for name in names}
    else:
        found = {name: read(Path(arguments[0]).resolve() / name) for name in names}
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main(sys.argv[1:])
