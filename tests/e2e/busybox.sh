#!/bin/sh
# Makes an image of Debian's static busybox: busybox.sh ARCHIVE. It is each Pod's sandbox, and the workload.
set -eu
busybox=$(command -v busybox) || { echo "busybox is missing: install busybox-static" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/bin" "$work/root/tmp"
cp "$busybox" "$work/root/bin/busybox"
for name in sh cat nc sleep; do ln -s busybox "$work/root/bin/$name"; done
tar --create --directory "$work/root" --owner=0 --group=0 --file "$work/layer.tar" .
printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Entrypoint":["/bin/busybox","sleep","1000000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
  "$(dpkg --print-architecture)" "$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)" >"$work/config.json"
printf '[{"Config":"config.json","RepoTags":["localhost/busybox:1"],"Layers":["layer.tar"]}]' >"$work/manifest.json"
tar --create --directory "$work" --file "$1" manifest.json config.json layer.tar
