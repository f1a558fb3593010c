#!/bin/sh
# Prints what the image holds as CycloneDX 1.6: every crate of the program with its licence and checksum, and what comes
# from Debian. The same for the same sources and packages.
set -eu
cd "$(dirname "$0")/.."
version=$1 epoch=$2
crates=$("${CARGO:-cargo}" tree --locked --package video-token-operator ${FIPS:+--features fips} --edges normal,no-proc-macro --target "${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}" \
  --prefix none --no-dedupe --format '{p}|{l}')
{
  awk '/^name = /{n=$3} /^version = /{v=$3} /^checksum = /{print "sum", n, v, $3}' Cargo.lock | tr -d '"'
  echo "$crates" | sed 's/ (.*)|/|/; s/ v/|/' | LC_ALL=C sort -u | sed 's/^/crate|/'
  for package in ca-certificates libc6-dev; do
    dpkg-query --show --showformat 'deb|${Package}|${Version}\n' "$package" 2>/dev/null || true
  done
} | awk -v version="$version" -v time="$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" '
  $1 == "sum" { sum[$2 " " $3] = $4; next }
  { split($0, part, "|") }
  part[2] ~ /^(video-token-operator|videotoken(-[a-z]+)?)$/ { next }
  part[1] == "crate" {
    item = sprintf("{\"type\":\"library\",\"bom-ref\":\"pkg:cargo/%s@%s\",\"name\":\"%s\",\"version\":\"%s\",\"purl\":\"pkg:cargo/%s@%s\"", part[2], part[3], part[2], part[3], part[2], part[3])
    if (part[4] != "") { gsub("/", " OR ", part[4]); item = item sprintf(",\"licenses\":[{\"expression\":\"%s\"}]", part[4]) }
    if (sum[part[2] " " part[3]] != "") item = item sprintf(",\"hashes\":[{\"alg\":\"SHA-256\",\"content\":\"%s\"}]", sum[part[2] " " part[3]])
    items[++count] = item "}"
  }
  part[1] == "deb" {
    items[++count] = sprintf("{\"type\":\"library\",\"bom-ref\":\"pkg:deb/debian/%s@%s\",\"name\":\"%s\",\"version\":\"%s\",\"purl\":\"pkg:deb/debian/%s@%s\"}", part[2], part[3], part[2], part[3], part[2], part[3])
  }
  END {
    printf "{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.6\",\"version\":1,\"metadata\":{\"timestamp\":\"%s\",", time
    printf "\"component\":{\"type\":\"container\",\"name\":\"video-token-operator\",\"version\":\"%s\"}},\"components\":[\n", version
    for (i = 1; i <= count; i++) printf "%s%s\n", items[i], i < count ? "," : ""
    print "]}"
  }'
