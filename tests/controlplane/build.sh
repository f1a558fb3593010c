#!/usr/bin/env bash
# Builds the control plane that the tests run against, and prints the directory
# that holds it; see ../build-go.sh. $KUBEBUILDER_ASSETS is taken instead if it
# holds all of it.
#
#   K8S   another Kubernetes than the newest: one of the folders kubernetes-*,
#         such as 1.33
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubernetes=kubernetes${K8S:+-$K8S}
if [ ! -f "$here/$kubernetes/go.mod" ]; then
  newest=$(awk '$1 == "k8s.io/kubernetes" { print substr($2, 2); exit }' "$here/kubernetes/go.mod")
  others=$(cd "$here" && printf '%s ' kubernetes-* | sed 's/kubernetes-//g')
  echo "controlplane: K8S=$K8S isn't here: leave K8S empty for $newest, or take one of: $others" >&2
  exit 1
fi
[ -n "${K8S:-}" ] || assets=KUBEBUILDER_ASSETS
tools="
etcd                     etcd         go.etcd.io/etcd/server/v3                   -                  60
kube-apiserver           $kubernetes  k8s.io/kubernetes/cmd/kube-apiserver           k8s.io/kubernetes  280
kube-controller-manager  $kubernetes  k8s.io/kubernetes/cmd/kube-controller-manager  k8s.io/kubernetes  120
kubectl                  $kubernetes  k8s.io/kubernetes/cmd/kubectl                  k8s.io/kubernetes  30
"
. "$here/../build-go.sh"
