#!/bin/sh
# Publishes what `make image` and `make archive` left in dist/: pushes image and chart to an OCI registry, attaches the bill
# of materials and the provenance to the image, signs each of them and verifies the signatures. Everything else of a
# release is left in dist/release. Logins are those of docker's configuration.
#
#   REGISTRY          host[:port][/path]: the image becomes REGISTRY/video-token-operator, the chart REGISTRY/charts/…
#   KEY, CERTIFICATE  PEM files: a key and its code-signing certificate, as the Notary Project requires
#   CA_FILE           the CA of the registry, PEM; default: those that this machine trusts
#   DOWNLOADS         the URL below which dist/release will be found
#   BUILDER_ID, INVOCATION_ID, SOURCE_DATE_EPOCH, OUT: see provenance.sh and build.sh
set -eu
umask 022
cd "$(dirname "$0")/.."
. image/common.sh
fail() { echo "release: $*" >&2; exit 1; }
[ -z "$fips" ] || fail "FIPS=1 is for make image: push that image by itself, as docs/how-to/fips.md describes"
case ${REGISTRY:-} in
  '') fail "REGISTRY: name the registry to push to, such as make release REGISTRY=registry.example.com/video" ;;
  *://* | */ | *[!a-zA-Z0-9._:/-]*) fail "REGISTRY=$REGISTRY: host[:port][/path], without a scheme" ;;
esac
for file in KEY CERTIFICATE; do
  eval "path=\${$file:-}"
  [ -s "$path" ] || fail "$file: name a PEM file. For a test: \$(tests/publish/build.sh)/notary key KEY CERTIFICATE"
done
[ -s "$out/video-token-operator.oci.tar" ] || fail "no image in $out: make image"
ls "$out"/videotoken-"$version"-linux-*.tar.gz >/dev/null 2>&1 || fail "no archive of the tool in $out: make archive"
case $url in *example.com*) echo "release: Cargo.toml's repository is still the placeholder $url" >&2 ;; esac
downloads=${DOWNLOADS:-$url/releases/download/v$version}
publish=$(tests/publish/build.sh)
helm=$(tests/tools/build.sh)/helm
ca=
if [ -n "${CA_FILE:-}" ]; then
  [ -s "$CA_FILE" ] || fail "CA_FILE=$CA_FILE: name a PEM file with the CA of the registry"
  CA_FILE=$(realpath "$CA_FILE")
  export CA_FILE
  ca=yes
fi

release=$out/release
rm -rf "$release"
mkdir -p "$release"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The image: one manifest, or an index of both architectures.
image=$REGISTRY/video-token-operator
pushed=
for layout in "$out"/video-token-operator*.oci.tar; do
  name=$(basename "$layout" .oci.tar)
  case $name in *-fips) continue ;; esac
  case $name in *-arm64 | *-amd64) tag=$version-${name##*-} ;; *) tag=$version ;; esac
  "$publish/oras" cp --no-tty ${ca:+--to-ca-file "$CA_FILE"} --from-oci-layout "$layout:$version" "$image:$tag" >&2
  pushed="$pushed $("$publish/oras" resolve ${ca:+--ca-file "$CA_FILE"} "$image:$tag")"
done
# shellcheck disable=SC2086 # digests, one word each
case $pushed in *\ *\ *) "$publish/oras" manifest index create ${ca:+--ca-file "$CA_FILE"} "$image:$version" $pushed >&2 ;; esac
image_digest=$("$publish/oras" resolve ${ca:+--ca-file "$CA_FILE"} "$image:$version")

# The chart, which names the image and who signed.
stage=$work/video-token-operator
cp -R charts/video-token-operator "$stage"
sed -i "s|^  repository: \"\"\$|  repository: $image|; s|^  digest: \"\"\$|  digest: $image_digest|" "$stage/values.yaml"
fingerprint=$(sed '/^-----/d' "$CERTIFICATE" | base64 --decode | sha256sum | cut -d ' ' -f 1)
platforms=$(for layout in "$out"/video-token-operator*.oci.tar; do
  case $layout in *-fips.oci.tar) ;; *-arm64.oci.tar) echo arm64 ;; *-amd64.oci.tar) echo amd64 ;; *) echo "$native" ;; esac
done | sort | sed 's|^|linux/|' | paste -s -d , -)
cat >>"$stage/Chart.yaml" <<ANNOTATIONS
  artifacthub.io/images: |
    - name: video-token-operator
      image: $image:$version@$image_digest
      platforms: [$platforms]
  artifacthub.io/signKey: |
    fingerprint: $fingerprint
    url: $downloads/release.crt
ANNOTATIONS
"$helm" package --destination "$release" "$stage" >&2
package=video-token-operator-$version.tgz
"$helm" push ${ca:+--ca-file "$CA_FILE"} "$release/$package" "oci://$REGISTRY/charts" >&2
chart=$REGISTRY/charts/video-token-operator
chart_digest=$("$publish/oras" resolve ${ca:+--ca-file "$CA_FILE"} "$chart:$version")

# What isn't pulled: archives, krew's manifest, OLM's bundle.
cp "$out"/videotoken-"$version"-linux-*.tar.gz "$out"/videotoken-"$version"-linux-*.tar.gz.sha256 "$release"
image/krew.sh "$downloads" "$release"/videotoken-"$version"-linux-*.tar.gz >"$release/videotoken.yaml"
cp -R deploy/olm "$work/olm"
sed -i "s|set-your-registry.invalid/video-token-operator:$version|$image@$image_digest|" "$work"/olm/manifests/*.yaml
archive "$work" olm | gzip --no-name -9 >"$release/video-token-operator-olm-$version.tar.gz"
cp "$out/video-token-operator.cdx.json" "$release"
cp "$CERTIFICATE" "$release/release.crt"

set -- "$image=${image_digest#sha256:}" "$chart=${chart_digest#sha256:}"
for file in "$release"/*.tgz "$release"/*.tar.gz; do
  set -- "$@" "$(basename "$file")=$(digest "$file")"
done
image/provenance.sh "$@" >"$release/provenance.json"
"$publish/slsa" <"$release/provenance.json" >&2
(cd "$release" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)

# attach FILE TYPE: prints the reference of what is attached to the image.
attach() {
  attached=$(cd "$release" && "$publish/oras" attach --no-tty ${ca:+--ca-file "$CA_FILE"} --artifact-type "$2" --format go-template='{{.digest}}' "$image@$image_digest" "$1:$2")
  printf '%s@%s\n' "$image" "$attached"
}
bill=$(attach video-token-operator.cdx.json application/vnd.cyclonedx+json)
provenance=$(attach provenance.json application/vnd.in-toto+json)
"$publish/notary" sign "$KEY" "$CERTIFICATE" "$image@$image_digest" "$chart@$chart_digest" "$bill" "$provenance"
"$publish/notary" verify "$CERTIFICATE" "$image@$image_digest" "$chart@$chart_digest" "$bill" "$provenance"

echo "image:    $image:$version@$image_digest"
echo "chart:    $chart@$chart_digest"
echo "files:    $release"
echo "install:  helm install video-token-operator oci://$chart@$chart_digest --namespace video-token-operator --create-namespace${ca:+ --ca-file $CA_FILE}"
