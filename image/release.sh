#!/bin/sh
# Publishes what `make image` and `make archive` left in dist/: pushes image and chart to an OCI registry, attaches the bill
# of materials and the provenance to the image, signs each of them and verifies the signatures. Everything else of a
# release is left in dist/release. Logins are those of docker's configuration. `release.sh --check` only checks what
# follows, before anything is built.
#
#   REGISTRY          host[:port][/path]: the image becomes REGISTRY/video-token-operator, the chart REGISTRY/charts/…
#   KEY, CERTIFICATE  PEM files: a key and its code-signing certificate, as the Notary Project requires, followed by the
#                     certificates of its authorities up to the root
#   CA_FILE           the CA of the registry, PEM; default: those that this machine trusts
#   DOWNLOADS         the URL below which dist/release will be found
#   BUILDER_ID, INVOCATION_ID, SOURCE_DATE_EPOCH, OUT: see provenance.sh and build.sh
set -eu
umask 022
cd "$(dirname "$0")/.."
. image/common.sh
fail() { echo "release: $*" >&2; exit 1; }
[ -z "$fips" ] || fail "FIPS=1 is for make image: push that image by itself, as docs/how-to/fips.md describes"
[ -n "${REGISTRY:-}" ] || fail "REGISTRY: name the registry to push to, such as make release REGISTRY=registry.example.com/video"
part='[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*'
printf '%s\n' "$REGISTRY" | grep -Eqx "[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?(/$part)*" ||
  fail "REGISTRY=$REGISTRY: host[:port][/path], without a scheme or a tag, and with a path in lower case"
for file in KEY CERTIFICATE; do
  eval "path=\${$file:-}"
  [ -s "$path" ] || fail "$file: name a PEM file. For a test: \$(tests/publish/build.sh)/notary key KEY CERTIFICATE"
done
downloads=${DOWNLOADS:-$url/releases/download/v$version}
# Links to a placeholder are right only in a registry that nobody else reads.
case ${REGISTRY%%/*} in
  localhost | localhost:* | 127.* | 10.* | 192.168.*) ;;
  *) case "$url $downloads" in *example.com*)
    fail "Cargo.toml's repository and DOWNLOADS are the placeholders $url and $downloads. Set repository to your URL and run make chart" ;;
  esac ;;
esac
if [ -n "${CA_FILE:-}" ]; then
  [ -s "$CA_FILE" ] || fail "CA_FILE=$CA_FILE: name a PEM file with the CA of the registry"
  CA_FILE=$(realpath "$CA_FILE")
  export CA_FILE
fi
ca=${CA_FILE:+yes}
publish=$(tests/publish/build.sh)
# A key that can't sign would otherwise show only when everything is pushed.
fingerprint=$("$publish/notary" check "$KEY" "$CERTIFICATE") || fail "KEY=$KEY and CERTIFICATE=$CERTIFICATE can't sign"
[ "${1:-}" != --check ] || exit 0
[ -s "$out/video-token-operator.oci.tar" ] || fail "no image in $out: make image"
ls "$out"/videotoken-"$version"-linux-*.tar.gz >/dev/null 2>&1 || fail "no archive of the tool in $out: make archive"
helm=$(tests/tools/build.sh)/helm

# What another commit left in dist/ would be signed with the provenance of this one.
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
layouts=
for layout in "$out"/video-token-operator*.oci.tar; do
  case $layout in *-fips.oci.tar) continue ;; esac
  of=$("$publish/oras" manifest fetch-config --oci-layout "$layout:$version" | sed -n 's/^{"created":"\([^"]*\)".*/\1/p')
  [ "$of" = "$created" ] || fail "$layout is of ${of:-another version}, and the commit of $created. Run make image, or remove it"
  layouts="$layouts $layout"
done
for tool in "$out"/videotoken-"$version"-linux-*.tar.gz; do
  of=$(tar --list --verbose --full-time --utc --file "$tool" | awk 'NR == 1 { print $4 "T" $5 "Z" }')
  [ "$of" = "$created" ] || fail "$tool is of $of, and the commit of $created. Run make archive, or remove it"
done

# Built aside: a release that fails leaves the files of the one before.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
release=$work/release
mkdir "$release"

# The image: one manifest, or an index of both architectures. It is tagged when all is signed.
image=$REGISTRY/video-token-operator
platforms=
set --
for layout in $layouts; do
  digest=$("$publish/oras" resolve --oci-layout "$layout:$version")
  "$publish/oras" cp --no-tty ${ca:+--to-ca-file "$CA_FILE"} --from-oci-layout "$layout:$version" "$image" >&2
  cp "${layout%.oci.tar}.cdx.json" "$release"
  set -- "$@" "$digest"
  case $layout in *-arm64.oci.tar) of=arm64 ;; *-amd64.oci.tar) of=amd64 ;; *) of=$native ;; esac
  platforms="${platforms:+$platforms, }linux/$of"
done
if [ $# -gt 1 ]; then
  image_digest=$("$publish/oras" manifest index create ${ca:+--ca-file "$CA_FILE"} "$image" "$@" | sed -n 's/^Digest: //p')
else
  image_digest=$1
fi
manifests=$*

# The chart, which names the image and who signed, and whose README is read without the sources.
chart=$REGISTRY/charts/video-token-operator
stage=$work/video-token-operator
cp -R charts/video-token-operator "$stage"
sed -i "s|^  repository: \"\"\$|  repository: $image|" "$stage/values.yaml"
sed -i -e "/^helm install /{s| charts/video-token-operator | oci://$chart --version $version |; s| \\\\\$||; n; /^  --set image.repository=/d}" \
  -e "s#^| \`image.repository\` | \`\"\"\` |#| \`image.repository\` | \`\"$image\"\` |#" \
  -e "s|(\.\./\.\./|($url/blob/v$version/|g" "$stage/README.md"
cat >>"$stage/Chart.yaml" <<ANNOTATIONS
  artifacthub.io/images: |
    - name: video-token-operator
      image: $image:$version@$image_digest
      platforms: [$platforms]
  artifacthub.io/signKey: |
    fingerprint: $fingerprint
    url: $downloads/release.crt
  videotoken.dev/image-digest: $image_digest
ANNOTATIONS
"$helm" lint --strict "$stage" >&2
"$helm" package --destination "$release" "$stage" >&2
package=video-token-operator-$version.tgz

# What isn't pulled: archives, krew's manifest, OLM's bundle.
cp "$out"/videotoken-"$version"-linux-*.tar.gz "$out"/videotoken-"$version"-linux-*.tar.gz.sha256 "$release"
image/krew.sh "$downloads" "$release"/videotoken-"$version"-linux-*.tar.gz >"$release/videotoken.yaml"
"$publish/validate-krew-manifest" -skip-install -manifest "$release/videotoken.yaml" >&2
cp -R deploy/olm "$work/olm"
sed -i "s|set-your-registry.invalid/video-token-operator:$version|$image@$image_digest|" "$work"/olm/manifests/*.yaml
"$publish/olm" "$work/olm/manifests" >&2
archive "$work" olm | gzip --no-name -9 >"$release/video-token-operator-olm-$version.tar.gz"
cp "$CERTIFICATE" "$release/release.crt"
# what verifiers trust
"$publish/notary" anchor "$CERTIFICATE" >"$release/release-ca.crt"
"$publish/notary" policy "$CERTIFICATE" "$image" "$chart" >"$release/trustpolicy.json"

"$helm" push ${ca:+--ca-file "$CA_FILE"} "$release/$package" "oci://$REGISTRY/charts" >&2
chart_digest=$("$publish/oras" resolve ${ca:+--ca-file "$CA_FILE"} "$chart:$version")

set -- "$image=${image_digest#sha256:}" "$chart=${chart_digest#sha256:}"
for file in "$release"/*.tgz "$release"/*.tar.gz; do
  set -- "$@" "$(basename "$file")=$(digest "$file")"
done
image/provenance.sh "$@" >"$release/provenance.json"
"$publish/slsa" <"$release/provenance.json" >&2
(cd "$release" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)

# attach DIGEST FILE TYPE: prints the reference of what is attached to a manifest of the image.
attach() {
  attached=$(cd "$release" && "$publish/oras" attach --no-tty ${ca:+--ca-file "$CA_FILE"} --artifact-type "$3" --format go-template='{{.digest}}' "$image@$1" "$2:$3")
  printf '%s@%s\n' "$image" "$attached"
}
set -- "$image@$image_digest" "$chart@$chart_digest" "$(attach "$image_digest" provenance.json application/vnd.in-toto+json)"
for layout in $layouts; do
  set -- "$@" "$(attach "${manifests%% *}" "$(basename "$layout" .oci.tar).cdx.json" application/vnd.cyclonedx+json)"
  manifests=${manifests#* }
done
"$publish/notary" sign "$KEY" "$CERTIFICATE" "$@"
"$publish/notary" verify "$CERTIFICATE" "$@"
"$publish/oras" tag ${ca:+--ca-file "$CA_FILE"} "$image@$image_digest" "$version" >&2

rm -rf "$out/release"
cp -R "$release" "$out/release"
echo "image:    $image:$version@$image_digest"
echo "chart:    $chart@$chart_digest"
echo "files:    $out/release"
echo "install:  helm install video-token-operator oci://$chart@$chart_digest --namespace video-token-operator --create-namespace${ca:+ --ca-file $CA_FILE}"
