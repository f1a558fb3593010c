#!/bin/sh
# Runs each end-to-end test on a node of its own: in network, mount and process namespaces that end with it.
# ONLY: a part of the name of the tests to run. FIPS=1: the tests of the image with the FIPS module, and no others.
# Needs root, and the Debian packages runc, busybox-static, nftables and iproute2: what lacks is installed by apt-get.
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "e2e: a node needs root: run it as root." >&2; exit 1; }
PATH=$PATH:/usr/sbin:/sbin
lacks=
for need in runc:runc busybox:busybox-static nft:nftables ip:iproute2 unshare:util-linux; do
  command -v "${need%%:*}" >/dev/null || lacks="$lacks ${need##*:}"
done
if [ -n "$lacks" ]; then
  command -v apt-get >/dev/null || { echo "e2e: install$lacks." >&2; exit 1; }
  echo "e2e: installing$lacks with apt-get" >&2
  # shellcheck disable=SC2086 # names of packages, one word each
  said=$(apt-get update 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends $lacks 2>&1) ||
    { echo "$said" >&2; echo "e2e: apt-get failed: install$lacks." >&2; exit 1; }
fi
tests/controlplane/build.sh >/dev/null
tests/tools/build.sh >/dev/null
tests/node/build.sh >/dev/null
tests/publish/build.sh >/dev/null
[ -s "${IMAGE:=dist/video-token-operator${FIPS:+-fips}.oci.tar}" ] || { echo "e2e: no image: make image${FIPS:+ FIPS=1}." >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests/e2e/busybox.sh "$work/busybox.tar"
cargo build --quiet --workspace --bin videotoken
test=$(cargo test --workspace --test e2e --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*\/e2e-[^"]*\)".*/\1/p' | tail -n 1)
names=$("$test" --ignored --list | sed -n "s/\(.*${ONLY:-}.*\): test\$/\1/p" |
  if [ -n "${FIPS:-}" ]; then grep '^fips::'; else grep -v '^fips::'; fi) || true
[ -n "$names" ] || { echo "e2e: no test is named ${ONLY:-}." >&2; exit 1; }
for name in $names; do
  IMAGE=$(realpath "$IMAGE") BUSYBOX=$work/busybox.tar unshare --net --mount --pid --fork --kill-child --mount-proc sh -ec '
    mount --make-rshared /
    mount -t tmpfs tmpfs /run
    ip link set lo up
    # an address of its own: else it has that of one of its Pods, and another when that Pod goes
    ip link add cni0 address 0a:58:0a:58:00:01 type bridge
    ip address add 10.88.0.1/24 dev cni0
    ip address add fd00:88::1/64 dev cni0 nodad
    ip link set cni0 up
    ip route add default via 10.88.0.1 dev cni0
    ip -6 route add default dev cni0
    # where Pods find the DNS of the cluster
    ip address add 10.88.1.10/32 dev lo
    ip address add fd00:88:1::10/128 dev lo nodad
    echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
    echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
    exec "$@"' sh "$test" --ignored --nocapture --exact "$name"
done
