#!/usr/bin/env bash
# Fetches a real Apache Kafka for tests, once, and prints the folder that it is in:
#   jars/        the broker and all it needs (pom.xml says which)
#   formatted/   a KRaft log folder as `StorageTool format` leaves it, to copy for each new broker. It holds no port
#                and no path, so one serves all, and a broker starts with one JVM instead of two.
# Takes a few seconds the first time and none later. Nothing else may be printed on standard output.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "tests/kafka/fetch.sh: $*" >&2; exit 1; }

version=$(sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' "$here/pom.xml")
[ -n "$version" ] || fail "no <kafka.version> in $here/pom.xml"
cache=${CUSTODY_CACHE:-${HOME:?neither CUSTODY_CACHE nor HOME is set}/.cache/custody}
final=$cache/kafka-$version

# The stamp is the pom that the folder was made from: another pom, another fetch.
if cmp -s "$here/pom.xml" "$final/pom.xml"; then
  echo "$final"
  exit 0
fi

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
command -v "$java" >/dev/null || fail "no java: Kafka 4 needs Java 17 or newer (Debian: default-jre-headless)"
major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${major:-0}" -ge 17 ] || fail "$java is Java ${major:-of an unknown version}; Kafka 4 needs Java 17 or newer"
command -v mvn >/dev/null || fail "no mvn: the jars are fetched by Maven (Debian: maven)"

mkdir -p "$cache"
work=$(mktemp -d "$cache/kafka-$version.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching Apache Kafka $version into $final" >&2
mvn -B -q -ntp -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies \
  -DoutputDirectory="$work/jars" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; fail "Maven could not fetch the jars of $here/pom.xml"; }

# Static voters, not --standalone: the latter writes the controller's port into the folder. Nothing listens on these.
cat >"$work/format.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:19093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093
log.dirs=$work/formatted
EOF
"$java" -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$work/jars/*" kafka.tools.StorageTool \
  format --cluster-id Q3VzdG9keS10ZXN0LTAwMA --config "$work/format.properties" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; fail "StorageTool could not format a log folder"; }
[ -s "$work/formatted/meta.properties" ] || fail "StorageTool left no meta.properties"
rm -f "$work/format.properties" "$work/log"

# The stamp is written last and the folder appears at once. Where two fetch together, the first one's folder stays.
cp "$here/pom.xml" "$work/pom.xml"
chmod 755 "$work"
if [ -d "$final" ] && ! cmp -s "$here/pom.xml" "$final/pom.xml"; then
  rm -rf "$final"
fi
mv -T "$work" "$final" 2>/dev/null || cmp -s "$here/pom.xml" "$final/pom.xml" || fail "cannot move $work to $final"
echo "$final"
