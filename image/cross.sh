#!/bin/sh
# cross.sh build|tool: makes the image (build.sh) or the archive of the tool (tool.sh) for the other architecture where its
# compiler and Rust target are installed, and says so where they aren't. What an earlier build left is then removed.
set -eu
cd "$(dirname "$0")/.."
[ -z "${FIPS:-}" ] || { echo "the image with the FIPS module is made for this machine's architecture only."; exit 0; }
ARCHITECTURE=arm64
case $(uname -m) in aarch64 | arm64) ARCHITECTURE=amd64 ;; esac
export ARCHITECTURE
. image/common.sh
case $1 in
  build) what=image files="video-token-operator-$architecture.oci.tar video-token-operator-$architecture.cdx.json" ;;
  tool) what=archive files="videotoken-$version-linux-$architecture.tar.gz videotoken-$version-linux-$architecture.tar.gz.sha256" ;;
  *) echo "cross.sh $1: build or tool" >&2; exit 2 ;;
esac
lacks=$(lacks)
if [ -n "$lacks" ]; then
  for file in $files; do rm -f "$out/$file"; done
  echo "no $what for $architecture: install $lacks."
else
  "image/$1.sh"
fi
