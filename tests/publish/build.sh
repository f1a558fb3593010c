#!/usr/bin/env bash
# Builds what publishes a release and what judges it, and prints the directory that holds the programs; see ../build-go.sh.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools='
actionlint              actionlint  github.com/rhysd/actionlint/cmd/actionlint    -  15
validate-krew-manifest  krew        sigs.k8s.io/krew/cmd/validate-krew-manifest   -  20
krew                    krew        sigs.k8s.io/krew/cmd/krew                     -  5
oras                    oras        oras.land/oras/cmd/oras                       -  15
registry                registry    video-token-operator/tests/publish/registry   -  40
notation                notation    github.com/notaryproject/notation/cmd/notation -  15
notary                  notary      video-token-operator/tests/publish/notary     -  15
olm                     olm         video-token-operator/tests/publish/olm        -  45
slsa                    slsa        video-token-operator/tests/publish/slsa       -  5
'
. "$here/../build-go.sh"
