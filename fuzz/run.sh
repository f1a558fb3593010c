#!/bin/sh
# Fuzzes each response parser, the JWT reader, declared requests and the Secret's templates, one after the other,
# SECONDS_EACH seconds each (60).
# cargo-fuzz is installed once, outside the clone. It wants a nightly compiler only for sanitizers; without them
# the stable one does, and what is sought here are panics, and templates that take
# too much memory or time; not bad memory: the project has no unsafe code.
set -eu
cd "$(dirname "$0")"
version=0.13.1
tools="${XDG_CACHE_HOME:-$HOME/.cache}/video-token-operator/tools/cargo-fuzz-$version"
if [ ! -x "$tools/bin/cargo-fuzz" ]; then
  echo "fuzz: installing cargo-fuzz $version into $tools; about 2 min, once"
  cargo install --quiet --locked cargo-fuzz --version "$version" --root "$tools"
fi
export PATH="$tools/bin:$PATH"
targets=${TARGETS:-$(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' Cargo.toml)}
echo "fuzz: building; about 5 min from cold on 2 cores"
cargo fuzz build --sanitizer none --target-dir target
built="target/$(rustc -vV | sed -n 's/^host: //p')/release"
for target in $targets; do
  echo "fuzz: $target, ${SECONDS_EACH:-60} s"
  mkdir -p "corpus/$target" "artifacts/$target"
  # the program itself: cargo would look at the sources once more
  if ! "$built/$target" "corpus/$target" "seeds/$target" -artifact_prefix="artifacts/$target/" \
    -max_total_time="${SECONDS_EACH:-60}" -max_len=8192 -timeout=5 -print_final_stats=1 >"corpus/$target.log" 2>&1
  then
    tail -n 40 "corpus/$target.log"
    echo "fuzz: $target failed; fuzz/artifacts/$target holds what did it"
    exit 1
  fi
  sed -n 's/^stat::number_of_executed_units: */  executions: /p' "corpus/$target.log"
done
echo "fuzz: no crash"
