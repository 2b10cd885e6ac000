#!/usr/bin/env bash
# Fetches Apache Spark and Delta for tests, once, and prints the Python that runs spark_ledger.py with them:
#   "$(tests/open/spark-fetch.sh)" tests/open/spark_ledger.py FOLDER
# Takes less than a minute and downloads 0.46 GB the first time, and nothing later. Nothing else may be printed on
# standard output.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "tests/open/spark-fetch.sh: $*" >&2; exit 1; }

version=$(sed -n 's/^pyspark==//p' "$here/spark-requirements.txt")
[ -n "$version" ] || fail "no pyspark== in $here/spark-requirements.txt"
cache=${CUSTODY_CACHE:-${HOME:?neither CUSTODY_CACHE nor HOME is set}/.cache/custody}
final=$cache/spark-$version

# The stamp is the two files that the folder was made from: another of them, another fetch.
current() {
  cmp -s "$here/spark-requirements.txt" "$final/spark-requirements.txt" &&
    cmp -s "$here/spark-pom.xml" "$final/spark-pom.xml"
}
if current; then
  echo "$final/bin/python"
  exit 0
fi

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
command -v "$java" >/dev/null || fail "no java: Spark 4 needs Java 17 or newer (Debian: default-jre-headless)"
major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${major:-0}" -ge 17 ] || fail "$java is Java ${major:-of an unknown version}; Spark 4 needs Java 17 or newer"
command -v mvn >/dev/null || fail "no mvn: Delta's jars are fetched by Maven (Debian: maven)"
command -v python3 >/dev/null || fail "no python3"

mkdir -p "$cache"
work=$(mktemp -d "$cache/spark-$version.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching Apache Spark $version into $final" >&2
python3 -m venv "$work" >&2 || fail "python3 cannot make a virtual environment (Debian: python3-venv)"
# PyPI has Spark as a source archive only. Half a GB is not kept a second and a third time in pip's cache, nor in a
# temporary folder that may be memory.
TMPDIR=$work "$work/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir \
  -r "$here/spark-requirements.txt" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; fail "pip could not install $here/spark-requirements.txt"; }

# Beside Spark's own jars, so that they are on its class path with nothing said.
jars=$("$work/bin/python" -c 'import importlib.util as i; print(i.find_spec("pyspark").submodule_search_locations[0])')/jars
[ -d "$jars" ] || fail "this pyspark has no jars"
mvn -B -q -ntp -Dstyle.color=never -f "$here/spark-pom.xml" dependency:copy-dependencies \
  -DoutputDirectory="$jars" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; fail "Maven could not fetch the jars of $here/spark-pom.xml"; }
rm -f "$work/log"

# The stamp is written last and the folder appears at once. Where two fetch together, the first one's folder stays.
# Its scripts name the folder that they were installed in and are of no use after this; its Python finds itself.
cp "$here/spark-requirements.txt" "$here/spark-pom.xml" "$work/"
chmod 755 "$work"
if [ -d "$final" ] && ! current; then
  rm -rf "$final"
fi
mv -T "$work" "$final" 2>/dev/null || current || fail "cannot move $work to $final"
echo "$final/bin/python"
