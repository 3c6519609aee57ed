#!/bin/sh
# Installs Debian packages that are missing, and says what each is for. Usage: scripts/setup.sh build|test ...
# Safe to run again: when all is there it says nothing and ends at once.
set -eu

wanted=""
for part in "$@"; do
  case "$part" in
    build) wanted="$wanted cmake:cmake:builds_llama.cpp clang:clang:compiles_llama.cpp libclang-dev:-:reads_llama.cpp's_headers mold:mold:links_quickly ccache:ccache:keeps_compiled_C++" ;;
    test) wanted="$wanted strace:strace:shows_that_a_task_is_synced_before_its_ack chromium:chromium:opens_the_chat_page nginx-light:nginx:keeps_public_results_in_front_of_the_server libnginx-mod-http-cache-purge:-:lets_it_forget_them" ;;
    *) echo "setup: unknown part $part" >&2; exit 2 ;;
  esac
done

missing=""
for entry in $wanted; do
  package="${entry%%:*}"; rest="${entry#*:}"; command="${rest%%:*}"; why="$(echo "${rest#*:}" | tr _ ' ')"
  if [ "$command" = - ]; then
    # A library: its header's package, as dpkg knows it.
    dpkg -s "$package" >/dev/null 2>&1 && continue
  else
    command -v "$command" >/dev/null 2>&1 && continue
  fi
  echo "setup: $package is missing: it $why"
  missing="$missing $package"
done

for tool in cargo python3 node; do
  command -v "$tool" >/dev/null 2>&1 || { echo "setup: $tool is missing: install it first (README, Requirements)" >&2; exit 1; }
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then sudo=""
elif command -v sudo >/dev/null 2>&1; then sudo=sudo
else
  echo "setup: run as root: $install" >&2
  exit 1
fi
echo "setup: $install"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo $install >/dev/null
echo "setup: done"
