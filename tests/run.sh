#!/usr/bin/env bash
# Runs every test in two lanes side by side, since the tests of the operator in a cluster mostly wait. The first lane
# has the two longest programs; its output is printed when it ends. Arguments are for the test programs, such as a
# filter. CARGO names cargo.
set -uo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
slow='capability company'

log=$(mktemp)
lane=
tidy() {
  [ -z "$lane" ] || kill -- -"$lane" 2>/dev/null || true
  rm -f "$log"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Names of the test targets of the workspace, but for those that need a feature.
all=$("$cargo" metadata --no-deps --format-version 1 | tr '{' '\n' |
  sed -n '/"required-features"/d; s/.*"kind":\["test"\].*"name":"\([^"]*\)".*/\1/p' | sort -u)
flags() { printf -- '--test %s ' "$@"; }
quick=$(grep -vxF "$(tr ' ' '\n' <<<"$slow")" <<<"$all")
[ -n "$quick" ] || { echo 'no test targets found: does cargo metadata still print the kind before the name?' >&2; exit 1; }

set -m # a process group of its own, which an interrupt ends as a whole
# shellcheck disable=SC2046,SC2086 # the flags are words
"$cargo" test --workspace --no-fail-fast $(flags $slow) -- "$@" >"$log" 2>&1 &
lane=$!
set +m
failed=
# shellcheck disable=SC2046,SC2086
"$cargo" test --workspace --no-fail-fast --lib --bins $(flags $quick) -- "$@" || failed=yes
"$cargo" test --workspace --doc -- "$@" || failed=yes

seconds=0
while kill -0 "$lane" 2>/dev/null; do
  sleep 1
  seconds=$((seconds + 1))
  [ $((seconds % 60)) -ne 0 ] || echo "waiting for $slow: $(grep -c '^test .* ok$' "$log") tests passed so far"
done
wait "$lane" || failed=yes
lane=
cat "$log"
[ -z "$failed" ]
