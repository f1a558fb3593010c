#!/bin/sh
# Makes the archive of the command-line tool: the program, its manual pages and the license. The same sources, Rust and C
# library give the same bits. Progress goes to stderr; stdout names the archive.
#
#   OUT               where to put it; default: dist
#   SOURCE_DATE_EPOCH the time of everything in it; default: that of the last commit
#   ARCHITECTURE      amd64 or arm64; default: this machine's
#   PROGRAM           a program that is already built and runs on this machine, for tests
set -eu
umask 022
cd "$(dirname "$0")/.."
. image/common.sh
program=${PROGRAM:-$(image/build-binary.sh videotoken)}
# the manual pages are written by the program of this machine
own=$program
[ -n "${PROGRAM:-}" ] || [ "$architecture" = "$native" ] || own=$(ARCHITECTURE=$native image/build-binary.sh videotoken)
name=videotoken-$version-linux-$architecture

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -D -m 755 "$program" "$work/$name/videotoken"
install -m 644 LICENSE "$work/$name/LICENSE"
"$own" man --dir "$work/$name/man/man1"

mkdir -p "$out"
archive "$work" "$name" | gzip --no-name -9 >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "archive: $out/$name.tar.gz"
