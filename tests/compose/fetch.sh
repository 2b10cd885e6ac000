#!/usr/bin/env bash
# Builds a current Docker Compose from its published module, once, and prints its path. Needs Go, and takes a minute or two
# the first time. Nothing else may be printed on standard output.
set -euo pipefail

version=5.5.1
fail() { echo "tests/compose/fetch.sh: $*" >&2; exit 1; }

cache=${CUSTODY_CACHE:-${HOME:?neither CUSTODY_CACHE nor HOME is set}/.cache/custody}
final=$cache/compose-$version
if [ ! -x "$final/docker-compose" ]; then
  command -v go >/dev/null || fail "no go: Compose is built from its module (https://go.dev/dl)"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/compose-$version.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "building Compose $version into $final" >&2
  (cd "$work" && go mod init compose && go get "github.com/docker/compose/v5/cmd@v$version" &&
    go build -o built/docker-compose github.com/docker/compose/v5/cmd) >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2; fail "Go could not build github.com/docker/compose/v5/cmd@v$version"; }
  # Whoever came first wins; both built the same.
  mv -T "$work/built" "$final" 2>/dev/null || [ -x "$final/docker-compose" ] || fail "$final cannot be made"
fi
echo "$final/docker-compose"
