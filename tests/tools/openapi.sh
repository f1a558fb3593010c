#!/usr/bin/env bash
# Prints a directory that holds the OpenAPI document of each supported Kubernetes as <minor version>.json, such as
# 1.33.json. They come with Kubernetes's own Go module (22 MB for each version), which Go checks against its checksum
# database; what else is in it is thrown away.
set -euo pipefail
versions='v1.33.13 v1.34.4 v1.35.4 v1.36.3 v1.37.2'

exec 3>&1 1>&2
dir=${VTO_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/video-token-operator}/openapi/$(sha256sum <<<"$versions" | cut -c 1-16)
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock 9
unpacked=
trap '[ -z "$unpacked" ] || { chmod -R u+w "$unpacked" && rm -rf "$unpacked"; }' EXIT
for version in $versions; do
  minor=${version#v}
  minor=${minor%.*}
  [ ! -s "$dir/$minor.json" ] || continue
  module=$(go env GOMODCACHE)/k8s.io/kubernetes@$version
  if [ ! -d "$module" ]; then
    echo "openapi: fetching Kubernetes $version for its OpenAPI document"
    unpacked=$(mktemp -d)
    (cd "$unpacked" && GOWORK=off GOMODCACHE=$unpacked/mod go mod download "k8s.io/kubernetes@$version")
    module=$unpacked/mod/k8s.io/kubernetes@$version
  fi
  cp "$module/api/openapi-spec/swagger.json" "$dir/.$minor.part"
  mv "$dir/.$minor.part" "$dir/$minor.json"
  if [ -n "$unpacked" ]; then
    chmod -R u+w "$unpacked" && rm -rf "$unpacked"
    unpacked=
  fi
done
printf '%s\n' "$dir" >&3
