#!/bin/sh
# Makes the container image as an OCI archive, without a container engine, and its bill of materials. The same sources,
# Rust, C library and CAs give the same bits. Progress goes to stderr; stdout says what was made.
#
#   OUT               where to put it; default: dist
#   REPOSITORY        the name that the image has in the archive; default: localhost/video-token-operator
#   SOURCE_DATE_EPOCH the time of everything in it; default: that of the last commit
#   PROGRAM           a program that is already built, for tests
set -eu
umask 022
cd "$(dirname "$0")/.."
out=${OUT:-dist}
url=$(sed -n '/^\[workspace.package\]/,/^$/s/^repository = "\(.*\)"/\1/p' Cargo.toml)
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
repository=${REPOSITORY:-localhost/video-token-operator}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
case $(uname -m) in aarch64 | arm64) architecture=arm64 ;; *) architecture=amd64 ;; esac
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
program=${PROGRAM:-$(image/build-binary.sh)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
oci=$work/oci
mkdir -p "$work/root" "$oci/blobs/sha256"
image/rootfs.sh "$program" "$work/root"

# archive FOLDER: a tar that tells nothing of who made it, and when.
archive() {
  tar --create --directory "$1" --sort=name --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --mtime="@$epoch" --owner=0 --group=0 --numeric-owner .
}
digest() { sha256sum "$1" | cut -d ' ' -f 1; }
# blob FILE: puts it under its digest, which it prints.
blob() {
  sum=$(digest "$1")
  mv "$1" "$oci/blobs/sha256/$sum"
  printf '%s' "$sum"
}
size() { wc -c <"$oci/blobs/sha256/$1" | tr -d ' '; }

archive "$work/root" >"$work/layer.tar"
diff=$(digest "$work/layer.tar")
gzip --no-name -9 "$work/layer.tar"
layer=$(blob "$work/layer.tar.gz")

labels="\"org.opencontainers.image.title\":\"video-token-operator\",\"org.opencontainers.image.version\":\"$version\",\"org.opencontainers.image.licenses\":\"Apache-2.0\",\"org.opencontainers.image.source\":\"$url\""
printf '{"created":"%s","architecture":"%s","os":"linux","config":{"User":"65532:65532","Entrypoint":["/video-token-operator"],"Env":["PATH=/"],"WorkingDir":"/","Labels":{%s}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"%s","created_by":"image/build.sh"}]}' \
  "$created" "$architecture" "$labels" "$diff" "$created" >"$work/config"
config=$(blob "$work/config")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:%s","size":%s}],"annotations":{%s}}' \
  "$config" "$(size "$config")" "$layer" "$(size "$layer")" "$labels" >"$work/manifest"
manifest=$(blob "$work/manifest")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"platform":{"architecture":"%s","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"%s","io.containerd.image.name":"%s:%s"}}]}' \
  "$manifest" "$(size "$manifest")" "$architecture" "$version" "$repository" "$version" >"$oci/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$oci/oci-layout"

mkdir -p "$out"
archive "$oci" >"$out/video-token-operator.oci.tar"
image/sbom.sh "$version" "$epoch" >"$out/video-token-operator.cdx.json"
printf 'sha256:%s\n' "$manifest" >"$out/digest"

echo "image:   $repository:$version"
echo "digest:  sha256:$manifest"
echo "size:    $(size "$layer") bytes compressed (the program alone: $(wc -c <"$program" | tr -d ' ') uncompressed)"
echo "archive: $out/video-token-operator.oci.tar"
echo "SBOM:    $out/video-token-operator.cdx.json, $(grep -c '"purl"' "$out/video-token-operator.cdx.json") components"
