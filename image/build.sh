#!/bin/sh
# Makes the container image as an OCI archive, without a container engine, and its bill of materials. The same sources,
# Rust, C library and CAs give the same bits. Progress goes to stderr; stdout says what was made.
#
#   OUT               where to put it; default: dist
#   REPOSITORY        the name that the image has in the archive; default: localhost/video-token-operator
#   SOURCE_DATE_EPOCH the time of everything in it; default: that of the last commit
#   FIPS              1: with the FIPS module of AWS-LC; archive and tag end in -fips
#   ARCHITECTURE      amd64 or arm64; default: this machine's. Another's archive has its name in it
#   PROGRAM           a program that is already built, for tests
set -eu
umask 022
cd "$(dirname "$0")/.."
. image/common.sh
repository=${REPOSITORY:-localhost/video-token-operator}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
program=${PROGRAM:-$(image/build-binary.sh)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
oci=$work/oci
mkdir -p "$work/root" "$oci/blobs/sha256"
image/rootfs.sh "$program" "$work/root"

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
  "$manifest" "$(size "$manifest")" "$architecture" "$version$fips" "$repository" "$version$fips" >"$oci/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$oci/oci-layout"

mkdir -p "$out"
name=video-token-operator$fips
[ "$architecture" = "$native" ] || name=$name-$architecture
archive "$oci" >"$out/$name.oci.tar"
TARGET=$target image/sbom.sh "$version" "$epoch" >"$out/$name.cdx.json"
[ "$architecture" != "$native" ] || printf 'sha256:%s\n' "$manifest" >"$out/digest$fips"

echo "image:   $repository:$version$fips"
echo "digest:  sha256:$manifest"
echo "size:    $(size "$layer") bytes compressed (the program alone: $(wc -c <"$program" | tr -d ' ') uncompressed)"
echo "archive: $out/$name.oci.tar"
echo "SBOM:    $out/$name.cdx.json, $(grep -c '"purl"' "$out/$name.cdx.json") components"
