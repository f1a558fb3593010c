#!/bin/bash
# Puts faults of the past back, one after the other, and lets the simulation look for each without being told where:
#
#   tests/evidence/put-back.sh [bNN|none...]
#
# Every fault gets the same plans: first random runs, then each story beside each episode, then a sample of the sweep
# over all requests of all stories. The first run that fails ends the search.
#
# The tree is copied into a git worktree. PUT_BACK_DIR names the folder for it, CARGO_TARGET_DIR where cargo builds
# (default: this tree's target folder, so that dependencies are built once), PUT_BACK_RUNS how many random runs a fault
# gets, PUT_BACK_SAMPLE how many runs of the sweep, PUT_BACK_STEPS which of the three kinds it gets.
# Prints a row of a table for each fault: the run that found it, the first broken promise, and the arguments that repeat
# it.
set -euo pipefail
cd "$(dirname "$0")/../.."
tree=$PWD
folder=${PUT_BACK_DIR:-$(mktemp -d)}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$tree/target}
export CARGO_INCREMENTAL=0
runs=${PUT_BACK_RUNS:-8}
sample=${PUT_BACK_SAMPLE:-1000}

# Without faults by chance, so that each delay needs a reason. Each third random run has so many tokens that they compete
# for requests.
plans() {
  case $1 in
    random) echo "--seeds 1..$runs --minutes 240 --tokens 100,24,24 --operators 1,2 --faults users,crashes,episodes" ;;
    stories) echo "--seeds 2..5 --minutes 30 --tokens 20 --operators 1,2 --faults none --story all --episode all" ;;
    sweep) echo "--seed 2 --minutes 8 --tokens 4 --operators 1 --faults none --story all --episode none --episode all --sweep --sample $sample" ;;
  esac
}

# The first run of the log that failed: its number, the first broken promise, and its arguments.
row() {
  awk -v step="$1" '
    /^run [0-9]+ failed/ { run = $2; fault = "" }
    /^FAULT/ && fault == "" { fault = substr($0, 7, 124) }
    /^again/ { if (least == "" || run + 0 < least) { least = run + 0; found = fault; again = substr($0, 28, length($0) - 28) } }
    END { printf "%s %s | %s | `%s` |\n", step, least, found, again }' "$2"
}

mkdir -p "$folder"
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
  found=
  for step in ${PUT_BACK_STEPS:-random stories sweep}; do
    # shellcheck disable=SC2046 # the plans are words
    if ! "$folder/simulate-$fault" --first $(plans "$step") >"$folder/$fault.$step.log" 2>&1; then
      found=$(row "$step" "$folder/$fault.$step.log")
      break
    fi
  done
  echo "| $fault | ${found:-not found | | |}"
done
