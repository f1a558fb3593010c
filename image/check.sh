#!/bin/sh
# Builds the image twice, from two copies of the last commit in two places, and compares.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for copy in one another/deeper; do
  git clone --quiet . "$work/$copy"
  (cd "$work/$copy" && CARGO_TARGET_DIR=$work/$copy/target OUT=$work/$copy/dist image/build.sh)
done
cmp "$work/one/dist/video-token-operator.oci.tar" "$work/another/deeper/dist/video-token-operator.oci.tar"
cmp "$work/one/dist/video-token-operator.cdx.json" "$work/another/deeper/dist/video-token-operator.cdx.json"
echo "two builds, the same bits: $(cat "$work/one/dist/digest")"
