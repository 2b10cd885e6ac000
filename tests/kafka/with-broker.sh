#!/usr/bin/env bash
# Runs a command with a real Apache Kafka of its own: on a free loopback port, in a folder that goes with it, named to the
# command by CUSTODY_KAFKA__BROKERS and KAFKA_BOOTSTRAP. For measuring and trying; tests start theirs themselves.
#
#   tests/kafka/with-broker.sh custody ingest
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT...]" >&2; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kafka=$("$here/fetch.sh")
work=$(mktemp -d)
broker=
stop() {
  [ -z "$broker" ] || { kill "$broker" 2>/dev/null && wait "$broker" 2>/dev/null || true; }
  rm -rf "$work"
}
trap stop EXIT

# Two ports that are free now.
read -r port controller < <(python3 - <<'EOF'
import socket
free = [socket.socket() for _ in range(2)]
for s in free: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in free))
EOF
)
cp -r "$kafka/formatted" "$work/data"
cat >"$work/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$work/data
num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
EOF
"${JAVA_HOME:+$JAVA_HOME/bin/}java" -Xmx768m -cp "$kafka/jars/*" kafka.Kafka "$work/server.properties" >"$work/log" 2>&1 &
broker=$!
for _ in $(seq 300); do
  # The controller answers when the broker has registered with it; the port is open a moment before.
  grep -q 'Kafka Server started' "$work/log" && break
  kill -0 "$broker" 2>/dev/null || { cat "$work/log" >&2; exit 3; }
  sleep 0.1
done
CUSTODY_KAFKA__BROKERS=127.0.0.1:$port KAFKA_BOOTSTRAP=127.0.0.1:$port "$@"
