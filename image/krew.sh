#!/bin/sh
# Prints krew's manifest of the plugin: krew.sh DOWNLOADS ARCHIVE… DOWNLOADS is the URL below which the archives will be.
set -eu
downloads=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
archives=$(for archive in "$@"; do realpath "$archive"; done)
cd "$root"
. image/common.sh
cat <<MANIFEST
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: videotoken
spec:
  version: v$version
  homepage: $url
  shortDescription: Show, check and renew video access tokens
  description: |
    Shows the video access tokens of video-token-operator, when they expire and
    why one is not renewed; renews, suspends and checks them.
  platforms:
MANIFEST
for archive in $archives; do
  name=$(basename "$archive" .tar.gz)
  cat <<PLATFORM
  - selector:
      matchLabels:
        os: linux
        arch: ${name##*-}
    uri: $downloads/$name.tar.gz
    sha256: $(digest "$archive")
    files:
    - from: $name/videotoken
      to: .
    - from: $name/LICENSE
      to: .
    bin: videotoken
PLATFORM
done
