{{/* Names, labels and parts that several templates share. */}}

{{- define "vto.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "vto.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "vto.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "vto.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
Name of cluster-wide objects, different for each release. The namespace alone names them if the release has the same
name, else namespace and name joined. A joined name that is cut, or that another release may have, ends with a hash of
both. Three releases have the joined name `a-b-c`: a/b-c, a-b/c and a-b-c/a-b-c. The joined name `x-view` is also that of
an aggregated ClusterRole of the release x/x.
*/}}
{{- define "vto.clusterName" -}}
{{- $name := include "vto.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $same := eq $name $namespace -}}
{{- $joined := ternary $name (printf "%s-%s" $namespace $name) $same -}}
{{- $dashes := regexFindAll "-" $joined -1 | len -}}
{{- /* A name with one dash is left to the release whose namespace and name have none. */ -}}
{{- $ambiguous := or (ternary (eq $dashes 1) (gt $dashes 1) $same) (regexMatch "-(view|edit)$" $joined) -}}
{{- if or $ambiguous (gt (len $joined) 63) -}}
{{- printf "%s-%s" ($joined | trunc 54 | trimSuffix "-") (printf "%s/%s" $namespace $name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $joined -}}
{{- end -}}
{{- end -}}

{{- define "vto.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "vto.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount that is there, or set serviceAccount.create" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "vto.selector" -}}
app.kubernetes.io/name: {{ include "vto.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of the Pod of `helm test`. Its name is not the operator's, so that neither the Service nor the PodDisruptionBudget selects it. */}}
{{- define "vto.testSelector" -}}
app.kubernetes.io/name: {{ include "vto.name" . | trunc 56 | trimSuffix "-" }}-verify
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vto.labels" -}}
{{- $labels := dict "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") "app.kubernetes.io/managed-by" .Release.Service }}
{{- merge $labels (include "vto.podLabels" . | fromYaml) | toYaml }}
{{- end -}}

{{/* Labels without the chart's version, so that a new chart of the same operator replaces no Pod. */}}
{{- define "vto.podLabels" -}}
{{- $labels := dict "app.kubernetes.io/version" .Chart.AppVersion }}
{{- merge (include "vto.selector" . | fromYaml) (deepCopy (default dict .Values.commonLabels)) $labels | toYaml }}
{{- end -}}

{{/* Labels with additional ones, without duplicates; selector labels take precedence: (dict "root" . "labels" (include …) "more" …). */}}
{{- define "vto.withLabels" -}}
{{- merge (include "vto.selector" .root | fromYaml) (deepCopy (default dict .more)) (fromYaml .labels) | toYaml -}}
{{- end -}}

{{- define "vto.image" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository: no image is published for this chart. Set the repository that your cluster pulls the operator's image from, for example --set image.repository=registry.example.com/video-token-operator" -}}
{{- end -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- /* the digest of a packaged chart is that of the image with the chart's own tag */ -}}
{{- $packaged := ternary (index .Chart.Annotations "videotoken.dev/image-digest") "" (eq $tag .Chart.AppVersion) -}}
{{- with default $packaged .Values.image.digest -}}
{{- printf "%s:%s@%s" $.Values.image.repository $tag . -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{/* Namespace of the Secrets of ClusterTokenProviders. */}}
{{- define "vto.clusterResources" -}}
{{- default .Release.Namespace .Values.clusterProviders.resourceNamespace -}}
{{- end -}}

{{/* Pull and network settings of the Pods. */}}
{{- define "vto.podReach" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork) .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A security context, on OpenShift without fixed IDs: (dict "root" . "context" …). */}}
{{- define "vto.securityContext" -}}
{{- $adapt := .root.Values.openshift.adaptSecurityContext -}}
{{- $serves := .root.Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- if or (eq $adapt "force") (and (eq $adapt "auto") $serves) -}}
{{- omit (default dict .context) "runAsUser" "runAsGroup" "fsGroup" | toYaml -}}
{{- else -}}
{{- toYaml .context -}}
{{- end -}}
{{- end -}}

{{/* Milliseconds of a duration such as 1m30s. */}}
{{- define "vto.milliseconds" -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+(h|ms|m|s)" . -1 -}}
{{- $unit := get (dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1) (regexReplaceAll "[0-9]+" . "") -}}
{{- $milliseconds = add $milliseconds (mul (regexFind "[0-9]+" . | int64) $unit) -}}
{{- end -}}
{{- $milliseconds -}}
{{- end -}}

{{/* Seconds of a duration, rounded up. */}}
{{- define "vto.seconds" -}}
{{- div (add (include "vto.milliseconds" . | int64) 999) 1000 -}}
{{- end -}}

{{/* Checks that the schema can't express. */}}
{{- define "vto.check" -}}
{{- $call := include "vto.seconds" .Values.config.providerTimeout | int64 -}}
{{- if gt $call 20 -}}
{{- fail (printf "config.providerTimeout: %s is longer than a call may take. Set 20s or less" .Values.config.providerTimeout) -}}
{{- end -}}
{{- $stop := add (max 10 $call) 10 -}}
{{- if lt (int64 .Values.terminationGracePeriodSeconds) $stop -}}
{{- fail (printf "terminationGracePeriodSeconds: a stop may take %d seconds with config.providerTimeout %s. Set it to that or more" $stop .Values.config.providerTimeout) -}}
{{- end -}}
{{- if and (not .Values.leaderElection.enabled) (or (gt (int .Values.replicas) 1) (ne .Values.updateStrategy.type "Recreate")) -}}
{{- fail "leaderElection.enabled: without the Lease two replicas would issue each token twice. Set replicas to 1 and updateStrategy to {type: Recreate}" -}}
{{- end -}}
{{- with .Values.leaderElection -}}
{{- if .enabled -}}
{{- $lease := include "vto.milliseconds" .leaseDuration | int64 -}}
{{- $deadline := include "vto.milliseconds" .renewDeadline | int64 -}}
{{- $retry := include "vto.milliseconds" .retryPeriod | int64 -}}
{{- if ge $deadline $lease -}}
{{- fail (printf "leaderElection.renewDeadline: %s must be shorter than leaderElection.leaseDuration (%s)" .renewDeadline .leaseDuration) -}}
{{- end -}}
{{- if ge $retry $deadline -}}
{{- fail (printf "leaderElection.retryPeriod: %s must be shorter than leaderElection.renewDeadline (%s)" .retryPeriod .renewDeadline) -}}
{{- end -}}
{{- if lt $deadline (add $retry 2000) -}}
{{- fail (printf "leaderElection.renewDeadline: %s is too short. Set %dms or more: 2s more than leaderElection.retryPeriod" .renewDeadline (add $retry 2000)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $rolling := default dict .Values.updateStrategy.rollingUpdate -}}
{{- if and (ne .Values.updateStrategy.type "Recreate") (has (toString $rolling.maxSurge) (list "0" "0%")) (has (toString $rolling.maxUnavailable) (list "0" "0%")) -}}
{{- fail "updateStrategy.rollingUpdate: maxSurge or maxUnavailable must be more than 0. Otherwise no Pod can be replaced" -}}
{{- end -}}
{{- if and .Values.rbac.restartKinds (not .Values.rbac.rolloutRestart) -}}
{{- fail "rbac.restartKinds: no kind is restarted without rbac.rolloutRestart. Set it to true" -}}
{{- end -}}
{{- if and .Values.trust.configMap .Values.trust.secret -}}
{{- fail "trust: set configMap or secret, not both" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
{{- fail "serviceMonitor.enabled: a ServiceMonitor needs metrics.service.enabled. podMonitor.enabled does not" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled, podMonitor.enabled: both would scrape the same Pods. Choose one" -}}
{{- end -}}
{{- end -}}

{{/* Ports of a NetworkPolicy: (dict "ports" … "protocols" …). */}}
{{- define "vto.policyPorts" -}}
{{- range $protocol := .protocols }}
{{- range $.ports }}
- port: {{ . }}
  protocol: {{ $protocol }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
Egress rules to the hosts of URLs: (dict "urls" … "to" …). A URL without a scheme is http, as the operator reads it.
Without peers, an address is one, and a name stands for any destination.
*/}}
{{- define "vto.policyUrls" -}}
{{- $to := .to -}}
{{- $rules := list -}}
{{- range compact .urls -}}
{{- $scheme := ternary (splitList "://" . | first | lower) "http" (contains "://" .) -}}
{{- $authority := splitList "://" . | last | regexFind "^[^/?#]*" | splitList "@" | last -}}
{{- $port := regexFind ":[0-9]+$" $authority -}}
{{- $host := trimSuffix $port $authority -}}
{{- $peers := $to -}}
{{- if and (not $to) (regexMatch "^[0-9]+([.][0-9]+){3}$" $host) -}}
{{- $peers = list (dict "ipBlock" (dict "cidr" (printf "%s/32" $host))) -}}
{{- else if and (not $to) (regexMatch "^\\[[0-9A-Fa-f:.]+\\]$" $host) -}}
{{- $peers = list (dict "ipBlock" (dict "cidr" (printf "%s/128" (trimAll "[]" $host)))) -}}
{{- end -}}
{{- $number := $port | trimPrefix ":" | default (ternary "443" "80" (eq $scheme "https")) | int -}}
{{- $rule := dict "ports" (list (dict "port" $number "protocol" "TCP")) -}}
{{- if $peers -}}
{{- $_ := set $rule "to" $peers -}}
{{- end -}}
{{- $rules = append $rules $rule | uniq -}}
{{- end -}}
{{- if $rules -}}
{{- toYaml $rules -}}
{{- end -}}
{{- end -}}

{{/* Values of variables in extraEnv: (dict "root" . "names" …), as a JSON list. */}}
{{- define "vto.variables" -}}
{{- $names := .names -}}
{{- $values := list -}}
{{- range .root.Values.extraEnv -}}
{{- if has .name $names -}}
{{- $values = append $values (default "" .value) -}}
{{- end -}}
{{- end -}}
{{- toJson $values -}}
{{- end -}}

{{/* URLs of the proxies, as a JSON list. */}}
{{- define "vto.proxies" -}}
{{- $names := list "HTTPS_PROXY" "https_proxy" "HTTP_PROXY" "http_proxy" "ALL_PROXY" "all_proxy" -}}
{{- $variables := include "vto.variables" (dict "root" . "names" $names) | fromJsonArray -}}
{{- concat (list .Values.proxy.httpsProxy .Values.proxy.httpProxy) $variables | compact | toJson -}}
{{- end -}}

{{/* URLs of the collector of traces, as a JSON list. */}}
{{- define "vto.collectors" -}}
{{- $names := list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" -}}
{{- $variables := include "vto.variables" (dict "root" . "names" $names) | fromJsonArray -}}
{{- append $variables .Values.tracing.otlpEndpoint | compact | toJson -}}
{{- end -}}

{{/* Ports of those rules, for a sentence: (dict "root" . "urls" NAME "to" …). */}}
{{- define "vto.policyPortsOf" -}}
{{- $ports := list -}}
{{- range include "vto.policyUrls" (dict "urls" (include .urls .root | fromJsonArray) "to" .to) | fromYamlArray -}}
{{- $ports = append $ports (get (first .ports) "port" | toString) | uniq -}}
{{- end -}}
{{- join ", " $ports -}}
{{- end -}}

{{/* Namespaces of an admission policy: those that the operator serves. */}}
{{- define "vto.policyNamespaces" -}}
{{- if .Values.watchNamespaces -}}
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values:
        {{- toYaml .Values.watchNamespaces | nindent 8 }}
{{- else -}}
namespaceSelector: {}
{{- end -}}
{{- end -}}

{{/* Excludes changes of metadata only, such as a finalizer or the annotation of a forced renewal. */}}
{{- define "vto.policySpecChanges" -}}
- name: spec-changes
  expression: oldObject == null || object.spec != oldObject.spec
{{- end -}}

{{/*
CEL: the author may get each Secret that a value of a body names, and that the values in it name. CEL has no recursion,
so the expression has one loop for each of the 8 levels that a body may have:
(dict "value" "object.spec.http.request.json" "level" 1).
*/}}
{{- define "vto.policyBody" -}}
{{- $value := .value -}}
{{- $item := printf "level%d" (int .level) -}}
(type({{ $value }}) == map ? {{ $value }}.map(k, {{ $value }}[k]) : type({{ $value }}) == list ? {{ $value }} : []).all({{ $item }},
{{ printf "  " }}(type({{ $item }}) != map || !('secretRef' in {{ $item }}) || authorizer.group('').resource('secrets').namespace(request.namespace).name({{ $item }}.secretRef.name).check('get').allowed())
{{- if lt (int .level) 8 }} &&
{{ include "vto.policyBody" (dict "value" $item "level" (add1 .level)) }}
{{- end }})
{{- end -}}

{{/* A binding that denies: (dict "root" . "name" …). */}}
{{- define "vto.policyBinding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "vto.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end -}}
