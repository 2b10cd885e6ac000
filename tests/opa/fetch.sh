#!/usr/bin/env bash
# Builds a real Open Policy Agent for tests from its published module, once, and prints its path. Needs Go, and takes two
# to three minutes the first time. Nothing else may be printed on standard output.
set -euo pipefail

version=1.22.0
fail() { echo "tests/opa/fetch.sh: $*" >&2; exit 1; }

cache=${CUSTODY_CACHE:-${HOME:?neither CUSTODY_CACHE nor HOME is set}/.cache/custody}
final=$cache/opa-$version
if [ ! -x "$final/opa" ]; then
  command -v go >/dev/null || fail "no go: OPA is built from its module (https://go.dev/dl)"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/opa-$version.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "building Open Policy Agent $version into $final" >&2
  (cd "$work" && go mod init opa && go get "github.com/open-policy-agent/opa@v$version" &&
    go build -o built/opa github.com/open-policy-agent/opa) >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "Go could not build github.com/open-policy-agent/opa@v$version"; }
  # Whoever came first wins; both built the same.
  mv -T "$work/built" "$final" 2>/dev/null || [ -x "$final/opa" ] || fail "$final cannot be made"
fi
echo "$final/opa"
