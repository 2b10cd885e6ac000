"""Opens a ledger with Apache Spark, and prints what it finds as JSON: the same JSON as read_ledger.py.

    spark_ledger.py FOLDER [TABLE…]     the tables are records, events and frames unless named

For each table: rows, distinct_offsets (of topic, partition and offset), and the lowest and highest offset as min and
max (null in an empty table). A row of `frames` covers several offsets; it counts by its first one, and max is the last.

Spark reads the Delta log and the Parquet files by the code that the format comes from, which shares none with Custody.
Every column of every row is decoded, not only those that are counted. Needs the Python that spark-fetch.sh installs.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

TABLES = ("records", "events", "frames")


def session(scratch: str) -> SparkSession:
    # Without it Spark looks for an address that others can reach it by, and warns where it finds none.
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.master": "local[2]",
        "spark.driver.memory": "1g",
        # A run is over before the code that the second compiler makes has paid for itself.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        # Nothing is left where this is run.
        "spark.local.dir": scratch,
        "spark.sql.warehouse.dir": f"{scratch}/warehouse",
        # One task for each of a handful of groups would be most of the time.
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
    return SparkSession.builder.config(map=settings).getOrCreate()


def read(table: DataFrame) -> dict:
    first, last = ("offset", "offset") if "offset" in table.columns else ("first_offset", "last_offset")
    found = table.agg(
        f.count("*").alias("rows"),
        f.count_distinct(f.struct("topic", "partition", first)).alias("distinct_offsets"),
        f.min(first).alias("min"),
        f.max(last).alias("max"),
        # Spark reads only what is asked for, and this asks for all.
        f.bit_xor(f.xxhash64("*")).alias("all"),
    ).first()
    return {name: found[name] for name in ("rows", "distinct_offsets", "min", "max")}


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.exit(__doc__)
    ledger = Path(arguments[0]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        spark = session(scratch)
        tables = spark.read.format("delta")
        found = {name: read(tables.load(str(ledger / name))) for name in arguments[1:] or TABLES}
        spark.stop()
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main(sys.argv[1:])
