#!/bin/sh
# Prints the SLSA provenance (v1) of a build as an in-toto statement: provenance.sh NAME=SHA256…
#
#   BUILDER_ID     the URI of who builds; default: the page that describes a build by hand
#   INVOCATION_ID  the URI of this run, where there is one
set -eu
cd "$(dirname "$0")/.."
. image/common.sh
page=$url/blob/main/docs/how-to/release.md
commit=$(git rev-parse HEAD)
[ -z "$(git status --porcelain 2>/dev/null)" ] && changed=false || changed=true
subjects=
for subject in "$@"; do
  subjects="$subjects${subjects:+,}{\"name\":\"${subject%=*}\",\"digest\":{\"sha256\":\"${subject##*=}\"}}"
done
rust=$(rustc -vV | sed -n 's/^release: //p') rust_commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
printf '{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildDefinition":{"buildType":"%s","externalParameters":{"repository":"%s","target":"release"},"internalParameters":{"uncommittedChanges":%s,"sourceDateEpoch":%s},"resolvedDependencies":[{"uri":"git+%s","digest":{"gitCommit":"%s"}},{"uri":"pkg:generic/rust@%s","digest":{"gitCommit":"%s"}},{"uri":"Cargo.lock","digest":{"sha256":"%s"}}]},"runDetails":{"builder":{"id":"%s"},"metadata":{"invocationId":"%s"}}}}\n' \
  "$subjects" "$page#build-type" "$url" "$changed" "$epoch" "$url" "$commit" "$rust" "$rust_commit" "$(digest Cargo.lock)" \
  "${BUILDER_ID:-$page#by-hand}" "${INVOCATION_ID:-}"
