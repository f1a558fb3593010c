# Sourced by the scripts of this folder from the root of the repository: what several of them need to know.
out=${OUT:-dist}
field() { sed -n "/^\[workspace.package\]/,/^\$/s/^$1 = \"\(.*\)\"/\1/p" Cargo.toml; }
version=$(field version)
url=$(field repository)
# FIPS=1: with the FIPS module of AWS-LC. Archive and tag then end in -fips.
fips=${FIPS:+-fips}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
case $(uname -m) in aarch64 | arm64) native=arm64 ;; *) native=amd64 ;; esac
architecture=${ARCHITECTURE:-$native}
case $architecture in
  amd64) target=x86_64-unknown-linux-gnu cross=x86_64-linux-gnu ;;
  arm64) target=aarch64-unknown-linux-gnu cross=aarch64-linux-gnu ;;
  *) echo "ARCHITECTURE=$architecture: amd64 or arm64" >&2; exit 2 ;;
esac

# lacks: what another architecture than this machine's needs and is not installed; nothing if it can be built.
lacks() {
  [ "$architecture" != "$native" ] || return 0
  compiler= rust=
  command -v "$cross-gcc" >/dev/null || compiler="the package gcc-$(echo "$cross" | tr _ -)"
  [ -d "$(rustc --print target-libdir --target "$target")" ] || rust="the Rust target: rustup target add $target"
  printf '%s%s%s' "$compiler" "${compiler:+${rust:+ and }}" "$rust"
}

# archive FOLDER [ENTRY]: a tar that tells nothing of who made it, and when.
archive() {
  tar --create --directory "$1" --sort=name --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --mtime="@$epoch" --owner=0 --group=0 --numeric-owner "${2:-.}"
}
digest() { sha256sum "$1" | cut -d ' ' -f 1; }
