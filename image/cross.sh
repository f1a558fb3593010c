#!/bin/sh
# Makes the image of the other architecture where its compiler and Rust target are installed, and says so where they aren't.
set -eu
cd "$(dirname "$0")/.."
[ -z "${FIPS:-}" ] || { echo "the image with the FIPS module is made for this machine's architecture only."; exit 0; }
ARCHITECTURE=arm64
case $(uname -m) in aarch64 | arm64) ARCHITECTURE=amd64 ;; esac
export ARCHITECTURE
. image/common.sh
lacks=$(lacks)
if [ -n "$lacks" ]; then
  echo "no image for $architecture: install $lacks."
else
  image/build.sh
fi
