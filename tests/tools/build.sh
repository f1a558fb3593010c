#!/usr/bin/env bash
# Builds what checks the chart, its alerts, the metrics and how GitOps tools read objects, and prints the directory
# that holds it; see ../build-go.sh.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools='
helm         helm         helm.sh/helm/v4/cmd/helm                 -  150
kubeconform  kubeconform  github.com/yannh/kubeconform/cmd/kubeconform  -  10
health       health       video-token-operator/tests/tools/health       -  50
drift        drift        video-token-operator/tests/tools/drift           -  120
grafana      grafana      video-token-operator/tests/tools/grafana         -  30
monitoring   monitoring   video-token-operator/tests/tools/monitoring   -  20
promtool     promtool     github.com/prometheus/prometheus/cmd/promtool    -  90  remove_all_sd
prometheus   promtool     video-token-operator/tests/tools/promtool        -  10  remove_all_sd
'
. "$here/../build-go.sh"
