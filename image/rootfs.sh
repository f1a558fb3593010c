#!/bin/sh
# Lays out the image's whole file system: rootfs.sh PROGRAM FOLDER. The program, the CAs that it trusts, its user.
set -eu
program=$1 root=$2
cas=${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}
[ -s "$cas" ] || { echo "$cas is missing: install ca-certificates, or name a bundle in CA_CERTIFICATES" >&2; exit 1; }
install -d -m 755 "$root/etc/ssl/certs"
install -m 755 "$program" "$root/video-token-operator"
install -m 644 "$cas" "$root/etc/ssl/certs/ca-certificates.crt"
echo 'nonroot:x:65532:65532:nonroot:/:/video-token-operator' >"$root/etc/passwd"
echo 'nonroot:x:65532:' >"$root/etc/group"
# names first, then addresses of /etc/hosts, as everywhere
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
chmod 644 "$root/etc/passwd" "$root/etc/group" "$root/etc/nsswitch.conf"
