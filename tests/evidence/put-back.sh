#!/bin/bash
# Puts faults of the past back, one after the other, and lets the simulation look for each without being told where:
#
#   tests/evidence/put-back.sh [bNN...]
#
# The tree is copied into a git worktree. PUT_BACK_DIR names the folder for it, CARGO_TARGET_DIR where cargo builds
# (default: this tree's target folder, so that dependencies are built once), PUT_BACK_RUNS how many runs a fault gets.
# Prints a row of a table for each fault: the number of the run that found it, the first broken promise, and the
# arguments that repeat it.
set -euo pipefail
cd "$(dirname "$0")/../.."
tree=$PWD
folder=${PUT_BACK_DIR:-$(mktemp -d)}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$tree/target}
export CARGO_INCREMENTAL=0
runs=${PUT_BACK_RUNS:-12}

# The same plans for every fault: without faults by chance, so that each delay needs a reason. Each third has so many
# tokens that they compete for requests.
plan() {
  local seed=$1 tokens=24
  [ $((seed % 3)) -ne 0 ] || tokens=100
  echo "--seed $seed --minutes 240 --tokens $tokens --operators $((1 + seed / 2 % 2)) --faults users,crashes,episodes"
}

git worktree add --quiet --force --detach "$folder/tree" HEAD
trap 'git -C "$tree" worktree remove --force "$folder/tree"' EXIT

[ $# -gt 0 ] || set -- $(cd tests/evidence/faults && ls b*.patch | sed 's/\.patch//')
for fault; do
  git -C "$folder/tree" checkout --quiet .
  [ "$fault" = none ] || git -C "$folder/tree" apply "$tree/tests/evidence/faults/$fault.patch"
  (cd "$folder/tree" && cargo build --quiet --workspace --bin simulate) 2>"$folder/$fault.build" || {
    echo "| $fault | doesn't build: $folder/$fault.build |"
    continue
  }
  cp "$CARGO_TARGET_DIR/debug/simulate" "$folder/simulate-$fault"
  row="| $fault | not found in $runs runs | |"
  for seed in $(seq "$runs"); do
    # shellcheck disable=SC2046 # the plan is words
    if ! "$folder/simulate-$fault" $(plan "$seed") >"$folder/$fault.log" 2>&1; then
      found=$(grep -m1 '^FAULT' "$folder/$fault.log" | cut -c7-130 || echo 'the program failed')
      row="| $fault | run $seed | $found | \`$(plan "$seed")\` |"
      break
    fi
  done
  echo "$row"
done
