#!/usr/bin/env bash
# Unpacks syslog-ng and rsyslog for tests from Debian's packages, once, without installing them (as system packages each
# drives out the other), and prints a folder with `syslog-ng` and `rsyslogd` in it. Needs apt, but not root, and takes
# seconds. Nothing else may be printed on standard output.
set -euo pipefail

# The daemons, the drivers for TLS and for Elasticsearch (these need libcurl, and only shippers.py them), and what they need
# that a small Debian does not have.
packages=(syslog-ng-core syslog-ng-mod-http libivykis0 libnet1 libpcre3 libwrap0)
packages+=(rsyslog rsyslog-openssl rsyslog-gnutls rsyslog-elasticsearch libestr0 libfastjson4)
fail() { echo "tests/siem/fetch.sh: $*" >&2; exit 1; }

cache=${CUSTODY_CACHE:-${HOME:?neither CUSTODY_CACHE nor HOME is set}/.cache/custody}
final=$cache/syslog-daemons-2
if [ ! -x "$final/rsyslogd" ]; then
  command -v apt-get >/dev/null || fail "no apt-get: the daemons are Debian's packages"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/syslog-daemons.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/{debs,lists/partial,archives/partial,built}
  echo "fetching syslog-ng and rsyslog into $final" >&2
  # Lists of its own: those of the system may be missing or old, and are not ours to change.
  apt=(apt-get -qq -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work" -o APT::Sandbox::User=)
  ("${apt[@]}" update && cd "$work/debs" && "${apt[@]}" download "${packages[@]}") >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "apt-get could not bring ${packages[*]}"; }
  for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/built/root"; done
  cat >"$work/built/environment" <<'END'
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/root
machine=$(basename "$root"/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH=$root/usr/lib/syslog-ng:$root/usr/lib/$machine:$root/lib/$machine
END
  cat >"$work/built/syslog-ng" <<'END'
#!/usr/bin/env bash
. "$(dirname "$0")/environment"
exec "$root/usr/sbin/syslog-ng" --module-path "$(echo "$root"/usr/lib/syslog-ng/*.*/)" "$@"
END
  cat >"$work/built/rsyslogd" <<'END'
#!/usr/bin/env bash
. "$(dirname "$0")/environment"
exec "$root/usr/sbin/rsyslogd" -M "$root/usr/lib/$machine/rsyslog" "$@"
END
  chmod +x "$work"/built/{syslog-ng,rsyslogd}
  "$work/built/syslog-ng" --version >"$work/log" 2>&1 && "$work/built/rsyslogd" -v >>"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "a daemon does not run"; }
  # Whoever came first wins; both unpacked the same.
  mv -T "$work/built" "$final" 2>/dev/null || [ -x "$final/rsyslogd" ] || fail "$final cannot be made"
fi
echo "$final"
