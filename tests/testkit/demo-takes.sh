#!/usr/bin/env bash
# Says what `make demo` takes of the machine, before it takes it. The argument is cargo's target directory.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$1

# The control plane's directory, or `missing SECONDS`.
plane=$(ASK=1 "$here/../controlplane/build.sh" 2>/dev/null || echo 'missing 540')
builds=
case $plane in
  missing\ *) builds="$(((${plane#missing } + 59) / 60)) minutes for a Kubernetes control plane from its sources" ;;
esac
[ -x "$target/debug/demo" ] || builds="${builds:+$builds, }10 minutes for the operator"
free=$(df -h --output=avail "$here" | tail -n 1 | tr -d ' ')

cat <<END
What this takes, on 2 cores:
  time    a minute${builds:+, and once before it $builds}
  memory  600 MB${builds:+, and 3 GB while it builds}
  disk    50 MB in ${TMPDIR:-/tmp} while it runs${builds:+, and 10 GB for what it builds, with caches} ($free are free here)
  ports   free ones of 127.0.0.1; no other machine can connect
  yours   no cluster, kubeconfig, container engine or account is used or changed

END
