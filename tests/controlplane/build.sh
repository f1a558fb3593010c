#!/usr/bin/env bash
# Builds the control plane that the tests run against, and prints the directory
# that holds it. stdout carries that one line; progress goes to stderr.
#
# Binaries come, in this order, from $KUBEBUILDER_ASSETS if it holds all of
# them, from the cache, or from a build. The cache lives outside the clone:
# ${VTO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/video-token-operator}/controlplane/<key>
set -euo pipefail

# One line per binary: name, module folder beside this script, package,
# the module whose version it reports (- for none), seconds from cold on 2 cores.
tools='
etcd                     etcd        go.etcd.io/etcd/server/v3                   -                  60
kube-apiserver           kubernetes  k8s.io/kubernetes/cmd/kube-apiserver           k8s.io/kubernetes  280
kube-controller-manager  kubernetes  k8s.io/kubernetes/cmd/kube-controller-manager  k8s.io/kubernetes  120
kubectl                  kubernetes  k8s.io/kubernetes/cmd/kubectl                  k8s.io/kubernetes  30
'
heartbeat=20

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
each_tool() { sed '/^ *$/d' <<<"$tools"; }
modules=$(each_tool | awk '{ print $2 }' | sort -u)

exec 3>&1 1>&2 # whatever a command below prints is progress; fd 3 is the answer
say() { printf 'controlplane: %s\n' "$*"; }
die() { say "$*"; exit 1; }

# missing DIR: the names that DIR lacks, on one line.
missing() {
  local name _
  while read -r name _; do
    [ -x "$1/$name" ] || printf '%s ' "$name"
  done < <(each_tool)
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  lacks=$(missing "$KUBEBUILDER_ASSETS")
  if [ -z "$lacks" ]; then
    printf '%s\n' "$KUBEBUILDER_ASSETS" >&3
    exit
  fi
  say "KUBEBUILDER_ASSETS ($KUBEBUILDER_ASSETS) lacks ${lacks% }; using a build of the pinned versions instead"
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

key=$(cd "$here" && {
  printf '%s\n' "$toolchain" "${flags[*]}" "$ldflags"
  for module in $modules; do cat "$module/go.mod" "$module/go.sum"; done
} | sha256sum | cut -c 1-16)
[ -n "${VTO_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}" ] || die "HOME is unset: set VTO_CACHE to a directory to build into."
cache=${VTO_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/video-token-operator}
dir=$cache/controlplane/$key

if [ -z "$(missing "$dir")" ]; then
  printf '%s\n' "$dir" >&3
  exit
fi

mkdir -p "$dir" || die "cannot create $dir: set VTO_CACHE to a directory that can be written to."
dir=$(cd "$dir" && pwd)
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

# build NAME MODULE PACKAGE VERSIONED SECONDS
build() {
  local name=$1 module=$2 package=$3 versioned=$4 estimate=$5
  local log=$dir/$name.log started=$SECONDS next=$heartbeat link=$ldflags version
  if [ "$versioned" != - ]; then
    version=$(cd "$here/$module" && go list -mod=readonly -m -f '{{.Version}}' "$versioned" 2>"$log") ||
      { cat "$log"; die "cannot read the version of $versioned from $module/go.mod."; }
    link="$link -X k8s.io/component-base/version.gitVersion=$version"
  fi
  say "building $name (about $estimate s from cold on 2 cores, less if Go's cache is warm)"
  part=$dir/.$name.$$.part
  (cd "$here/$module" && exec go build "${flags[@]}" -ldflags "$link" -o "$part" "$package") \
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
  mv "$part" "$dir/$name" # atomic: a name in the cache is a whole binary
  part=
  rm -f "$log"
  say "  $name: $((SECONDS - started)) s"
}

lacks=$(missing "$dir")
if [ -n "$lacks" ]; then
  whole=$(each_tool | while read -r name _ _ _ estimate; do [ -x "$dir/$name" ] || echo "$estimate"; done |
    awk '{ s += $1 } END { printf "%d", (s + 59) / 60 }')
  say "building ${lacks% } into $dir; about $whole min from cold on 2 cores, once"
  begun=$SECONDS
  while read -r -u 4 name module package versioned estimate; do
    [ -x "$dir/$name" ] || build "$name" "$module" "$package" "$versioned" "$estimate"
  done 4< <(each_tool)
  say "built in $((SECONDS - begun)) s"
fi
printf '%s\n' "$dir" >&3
