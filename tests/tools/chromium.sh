#!/usr/bin/env bash
# Prints the path of Chromium, which the tests of the status page drive. Where there is none and root may, Debian's package
# is installed; it says so on stderr. CHROMIUM names another.
set -euo pipefail
for name in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome; do
  if path=$(command -v "$name"); then
    printf '%s\n' "$path"
    exit
  fi
done
say() { printf 'chromium: %s\n' "$*" >&2; }
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  say 'there is none: install the package chromium, or name the program of another in CHROMIUM'
  exit 1
fi
say 'installing the package chromium with apt-get (about 300 MB, once)'
{
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends chromium fonts-dejavu-core
} >&2
command -v chromium
