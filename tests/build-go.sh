# Sourced by the build.sh of a folder whose sub-folders are Go modules that only pin versions: builds their programs
# into a cache outside the clone and prints the directory that holds them. stdout carries that one line; progress goes
# to stderr.
#
# The caller sets `here` (its folder, whose name is also the cache's), `tools` (the table below) and, where a set that
# somebody else built will do, `assets` (the name of the variable that names its directory). One line of `tools` per
# program: name, module folder, package, the module whose version it reports as Kubernetes does (- for none), seconds
# from cold on 2 cores and, if it takes any, build tags.
#
# With ASK=1 nothing is built: `missing SECONDS` is printed where a build would be needed.
#
# The cache: ${VTO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/video-token-operator}/<name>/<key> has the programs of one
# table. Each is a hard link into <name>/programs, whose files are keyed by what pins that program alone, so that a
# table with one program more builds one.
set -euo pipefail
heartbeat=20
title=$(basename "$here")
each_tool() { sed '/^ *$/d' <<<"$tools"; }
modules=$(each_tool | awk '{ print $2 }' | sort -u)

exec 3>&1 1>&2 # whatever a command below prints is progress; fd 3 is the answer
say() { printf '%s: %s\n' "$title" "$*"; }
die() { say "$*"; exit 1; }

# missing DIR: the names that DIR lacks, on one line.
missing() {
  local name _
  while read -r name _; do
    [ -x "$1/$name" ] || printf '%s ' "$name"
  done < <(each_tool)
}

given=
[ -z "${assets:-}" ] || given=${!assets:-}
if [ -n "$given" ]; then
  lacks=$(missing "$given")
  if [ -z "$lacks" ]; then
    printf '%s\n' "$given" >&3
    exit
  fi
  say "$assets ($given) lacks ${lacks% }; using a build of the pinned versions instead"
fi

wanted=$(awk '$1 == "go" { print $2 }' "$here"/*/go.mod | sort -V | tail -n 1)
command -v go >/dev/null || die "Go is missing: install Go $wanted or newer and put it on PATH."
command -v flock >/dev/null || die "flock is missing: install util-linux."

# The binaries run here, whatever the caller cross-compiles or has in a go.work.
unset GOOS GOARCH
export CGO_ENABLED=0 GOWORK=off
flags=(-trimpath -mod=readonly)
ldflags='-s -w'

for module in $modules; do
  toolchain=$(cd "$here/$module" && go env GOVERSION GOOS GOARCH 2>/dev/null) ||
    die "Go is too old ($(cd / && go env GOVERSION)): install Go $wanted or newer."
done

# pinned MODULE: what pins the programs of a module, beside their lines in the table.
pinned() {
  printf '%s\n' "$toolchain" "${flags[*]}" "$ldflags"
  find "$1" -maxdepth 1 \( -name go.mod -o -name go.sum -o -name '*.go' \) | LC_ALL=C sort | xargs cat
}
key=$(cd "$here" && {
  each_tool | awk '{ print $1, $2, $3, $4, $6 }'
  for module in $modules; do pinned "$module"; done
} | sha256sum | cut -c 1-16)
[ -n "${VTO_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}" ] || die "HOME is unset: set VTO_CACHE to a directory to build into."
cache=${VTO_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/video-token-operator}
dir=$cache/$title/$key
programs=$cache/$title/programs

if [ -z "$(missing "$dir")" ]; then
  printf '%s\n' "$dir" >&3
  exit
fi

# seconds: how long the build of what $dir lacks takes, from cold on 2 cores.
seconds() {
  each_tool | while read -r name _ _ _ estimate _; do [ -x "$dir/$name" ] || echo "$estimate"; done |
    awk '{ s += $1 } END { printf "%d", s }'
}
if [ -n "${ASK:-}" ]; then # only asked what a build would take
  printf 'missing %s\n' "$(seconds)" >&3
  exit
fi

mkdir -p "$dir" "$programs" || die "cannot create $dir: set VTO_CACHE to a directory that can be written to."
dir=$(cd "$dir" && pwd) programs=$(cd "$programs" && pwd)
exec 9>"$dir/.lock"
if ! flock -n 9; then
  say "another run is building into $dir; waiting for it"
  waited=0
  until flock -w "$heartbeat" 9; do
    waited=$((waited + heartbeat))
    say "  … waiting: $waited s"
  done
fi

building=
part=
tidy() {
  [ -z "$building" ] || kill "$building" 2>/dev/null || true
  [ -z "$part" ] || rm -f "$part"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
rm -f "$dir"/.*.part # left by a run that was killed

# build NAME MODULE PACKAGE VERSIONED SECONDS [TAGS]
build() {
  local name=$1 module=$2 package=$3 versioned=$4 estimate=$5 tags=${6:-}
  local log=$dir/$name.log started=$SECONDS next=$heartbeat link=$ldflags version stored
  stored=$programs/$name-$(cd "$here" && { echo "$package $versioned $tags"; pinned "$module"; } | sha256sum | cut -c 1-16)
  if [ -x "$stored" ]; then
    ln -f "$stored" "$dir/$name"
    say "  $name is there"
    return
  fi
  if [ "$versioned" != - ]; then
    version=$(cd "$here/$module" && go list -mod=readonly -m -f '{{.Version}}' "$versioned" 2>"$log") ||
      { cat "$log"; die "cannot read the version of $versioned from $module/go.mod."; }
    link="$link -X k8s.io/component-base/version.gitVersion=$version"
  fi
  say "building $name (about $estimate s from cold on 2 cores, less if Go's cache is warm)"
  part=$dir/.$name.$$.part
  (cd "$here/$module" && exec go build "${flags[@]}" ${tags:+"-tags=$tags"} -ldflags "$link" -o "$part" "$package") \
    >"$log" 2>&1 3>&- 4<&- 9>&- &
  building=$!
  while kill -0 "$building" 2>/dev/null; do
    sleep 0.2
    if [ $((SECONDS - started)) -ge "$next" ]; then
      say "  … $name: $((SECONDS - started)) s"
      next=$((next + heartbeat))
    fi
  done
  wait "$building" || {
    building=
    tail -n 20 "$log"
    die "$name did not build; the whole log is $log"
  }
  building=
  mv "$part" "$stored" # atomic: a name in the cache is a whole binary
  ln -f "$stored" "$dir/$name"
  part=
  rm -f "$log"
  say "  $name: $((SECONDS - started)) s"
}

lacks=$(missing "$dir")
if [ -n "$lacks" ]; then
  whole=$((($(seconds) + 59) / 60))
  say "building ${lacks% } into $dir; about $whole min from cold on 2 cores, once"
  begun=$SECONDS
  while read -r -u 4 name module package versioned estimate tags; do
    [ -x "$dir/$name" ] || build "$name" "$module" "$package" "$versioned" "$estimate" "$tags"
  done 4< <(each_tool)
  say "built in $((SECONDS - begun)) s"
fi
printf '%s\n' "$dir" >&3
