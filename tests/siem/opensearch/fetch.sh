#!/usr/bin/env bash
# Fetches a real OpenSearch for tests, once, and prints the folder that it is in: jars/, and classes/ with Server.
# Takes a few seconds. Nothing else may be printed on standard output.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "tests/siem/opensearch/fetch.sh: $*" >&2; exit 1; }

version=$(sed -n 's|.*<opensearch.version>\(.*\)</opensearch.version>.*|\1|p' "$here/pom.xml")
[ -n "$version" ] || fail "no <opensearch.version> in $here/pom.xml"
cache=${CUSTODY_CACHE:-${HOME:?neither CUSTODY_CACHE nor HOME is set}/.cache/custody}
final=$cache/opensearch-$version

# What the folder was made from: another pom or program, another fetch.
if [ -d "$final" ] && cmp -s "$here/pom.xml" "$final/pom.xml" && cmp -s "$here/Server.java" "$final/Server.java"; then
  echo "$final"
  exit 0
fi
command -v mvn >/dev/null || fail "no mvn: the jars are fetched by Maven (Debian: maven)"
command -v javac >/dev/null || fail "no javac: the server is started by a program of ours (Debian: default-jdk-headless)"

mkdir -p "$cache"
work=$(mktemp -d "$cache/opensearch-$version.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching OpenSearch $version into $final" >&2
mvn -B -q -ntp -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies \
  -DoutputDirectory="$work/jars" >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" >&2; fail "Maven could not fetch the jars of $here/pom.xml"; }
javac -cp "$work/jars/*" -d "$work/classes" "$here/Server.java" >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" >&2; fail "$here/Server.java could not be compiled"; }
rm "$work/log"
cp "$here/pom.xml" "$here/Server.java" "$work"
chmod 755 "$work"
rm -rf "$final"
# Whoever came first wins; both made the same.
mv -T "$work" "$final" 2>/dev/null || [ -d "$final/classes" ] || fail "cannot move $work to $final"
echo "$final"
