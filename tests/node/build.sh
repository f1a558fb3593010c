#!/usr/bin/env bash
# Builds what a real node needs beside tests/controlplane, and prints the
# directory that holds it; see ../build-go.sh.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools='
kubelet                  kubernetes  k8s.io/kubernetes/cmd/kubelet                                     k8s.io/kubernetes  60
kube-scheduler           kubernetes  k8s.io/kubernetes/cmd/kube-scheduler                              k8s.io/kubernetes  30
kube-proxy               kubernetes  k8s.io/kubernetes/cmd/kube-proxy                                  k8s.io/kubernetes  30
containerd               containerd  github.com/containerd/containerd/v2/cmd/containerd                -  90
containerd-shim-runc-v2  containerd  github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2   -  10
ctr                      containerd  github.com/containerd/containerd/v2/cmd/ctr                       -  10
coredns                  coredns     video-token-operator/tests/node/coredns                           -  90
bridge                   cni         github.com/containernetworking/plugins/plugins/main/bridge        -  10
host-local               cni         github.com/containernetworking/plugins/plugins/ipam/host-local    -  5
loopback                 cni         github.com/containernetworking/plugins/plugins/main/loopback      -  5
'
. "$here/../build-go.sh"
