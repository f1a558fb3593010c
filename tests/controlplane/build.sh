#!/usr/bin/env bash
# Builds the control plane that the tests run against, and prints the directory
# that holds it; see ../build-go.sh. $KUBEBUILDER_ASSETS is taken instead if it
# holds all of it.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
assets=KUBEBUILDER_ASSETS
tools='
etcd                     etcd        go.etcd.io/etcd/server/v3                   -                  60
kube-apiserver           kubernetes  k8s.io/kubernetes/cmd/kube-apiserver           k8s.io/kubernetes  280
kube-controller-manager  kubernetes  k8s.io/kubernetes/cmd/kube-controller-manager  k8s.io/kubernetes  120
kubectl                  kubernetes  k8s.io/kubernetes/cmd/kubectl                  k8s.io/kubernetes  30
'
. "$here/../build-go.sh"
