#!/bin/sh
# Installs xllamacpp, which carries llama.cpp's own OpenAI-compatible server: an upstream for tests that we did
# not write. Prints the path of its Python. Safe to run again: when it is there nothing is fetched.
set -eu
. "$(dirname "$0")/env.sh"

package=xllamacpp
version=2026.10.11549
folder="$TIDEWIRE_CACHE/$package-$version"

# The folder gets this name only when it is whole, so its being there is enough.
if [ ! -d "$folder" ]; then
  python="${PYTHON:-python3}"
  if ! command -v "$python" >/dev/null 2>&1; then
    echo "xllamacpp: needs python3 with venv. Debian: apt install python3-venv" >&2
    exit 1
  fi
  echo "xllamacpp: an independent model server for tests, in a folder of its own, outside the system's Python." >&2
  echo "xllamacpp: installing $package==$version from PyPI (34 MB) into $folder" >&2
  mkdir -p "$TIDEWIRE_CACHE"
  # Its Python finds its packages beside itself, so it can be moved; its other commands can't, and aren't used.
  rm -rf "$folder.unfinished"
  "$python" -m venv "$folder.unfinished"
  "$folder.unfinished/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --only-binary :all: "$package==$version" >&2
  "$folder.unfinished/bin/python" -c 'import xllamacpp'
  mv "$folder.unfinished" "$folder"
  echo "xllamacpp: done" >&2
fi
echo "$folder/bin/python"
