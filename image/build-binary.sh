#!/bin/sh
# build-binary.sh [PACKAGE]: builds the program of a package, by default the operator's, for an image or a machine that has
# nothing else: linked statically, and the same bits wherever it is built from the same sources by the same Rust and the
# same C library. Prints its path; progress goes to stderr.
set -eu
package=${1:-video-token-operator}
cd "$(dirname "$0")/.."
. image/common.sh
cargo=${CARGO:-cargo}
lacks=$(lacks)
[ -z "$lacks" ] || { echo "no program for $architecture: install $lacks." >&2; exit 1; }
if [ "$architecture" != "$native" ]; then
  name=$(echo "$target" | tr a-z- A-Z_)
  export "CARGO_TARGET_${name}_LINKER=$cross-gcc" "CC_$(echo "$target" | tr - _)=$cross-gcc" "CXX_$(echo "$target" | tr - _)=$cross-g++"
fi
out=$("$cargo" metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
home=${CARGO_HOME:-$HOME/.cargo}

# No path of this machine in the program: not from Rust's panics, nor from C's __FILE__.
separator=$(printf '\037')
flags="-Ctarget-feature=+crt-static"
for pair in "$home=/cargo" "$out=/target" "$PWD=/source"; do
  flags="$flags$separator--remap-path-prefix=$pair"
done
maps="-ffile-prefix-map=$home=/cargo -ffile-prefix-map=$out=/target -ffile-prefix-map=$PWD=/source"

unset RUSTFLAGS CARGO_BUILD_RUSTFLAGS
CARGO_ENCODED_RUSTFLAGS=$flags CFLAGS="$maps" CXXFLAGS="$maps" CARGO_INCREMENTAL=0 \
  "$cargo" build --release --locked --package "$package" --bin "$package" --target "$target" ${fips:+--features fips} >&2
printf '%s\n' "$out/$target/release/$package"
