#!/bin/sh
# Makes the archive of the command-line tool: the program, its manual pages and the license. The same sources, Rust and C
# library give the same bits. Progress goes to stderr; stdout names the archive.
#
#   OUT               where to put it; default: dist
#   SOURCE_DATE_EPOCH the time of everything in it; default: that of the last commit
#   PROGRAM           a program that is already built, for tests
set -eu
umask 022
cd "$(dirname "$0")/.."
out=${OUT:-dist}
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
case $(uname -m) in aarch64 | arm64) architecture=arm64 ;; *) architecture=amd64 ;; esac
program=${PROGRAM:-$(image/build-binary.sh videotoken)}
name=videotoken-$version-linux-$architecture

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -D -m 755 "$program" "$work/$name/videotoken"
install -m 644 LICENSE "$work/$name/LICENSE"
"$program" man --dir "$work/$name/man/man1"

mkdir -p "$out"
tar --create --directory "$work" --sort=name --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
  --mtime="@$epoch" --owner=0 --group=0 --numeric-owner "$name" | gzip --no-name -9 >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "archive: $out/$name.tar.gz"
