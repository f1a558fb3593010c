{{/*
The verbs that the operator uses. tests/chart/permissions.rs compares them with its requests. watchNamespaces decides
whether a list becomes a Role or a part of a ClusterRole.
*/}}

{{/* Rules for each namespace that the operator serves. */}}
{{- define "vto.rules.served" -}}
- apiGroups: [videotoken.dev]
  resources: [videoaccesstokens, tokenproviders]
  verbs: [list, watch]
# get: checks that the object still exists before a Secret is created again or created with deletionPolicy Retain
- apiGroups: [videotoken.dev]
  resources: [videoaccesstokens]
  verbs: [get]
- apiGroups: [videotoken.dev]
  resources: [videoaccesstokens/status, tokenproviders/status]
  verbs: [patch]
# get: at the first issuance, after a change by another client, and for credentials; list and watch: metadata only
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# metadata only: the annotation with the allowed hosts; the owner permits tokens of the ServiceAccount
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.rolloutRestart }}
# spec.rolloutRestart: reads metadata and sets the annotation of the Pod template of workloads with the opt-in label
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [get, patch]
{{- range .Values.rbac.restartKinds }}
- apiGroups: [{{ .apiVersion | splitList "/" | first }}]
  resources: [{{ .resource }}]
  verbs: [get, patch]
{{- end }}
{{- end }}
{{- end -}}

{{/* Rules for the cluster: ClusterTokenProviders, and the labels of namespaces that they select. */}}
{{- define "vto.rules.clusterProviders" -}}
- apiGroups: [videotoken.dev]
  resources: [clustertokenproviders]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
# also with watchNamespaces; login attempts that may lock a user are written before they are made
- apiGroups: [videotoken.dev]
  resources: [clustertokenproviders/status]
  verbs: [patch]
{{- end -}}

{{/* Rules for the namespace of the credentials of ClusterTokenProviders. */}}
{{- define "vto.rules.clusterResources" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end -}}

{{/* Rules for the operator's own namespace. */}}
{{- define "vto.rules.lease" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "vto.fullname" . }}]
  verbs: [get, update]
{{- end -}}

{{/* A Role and its binding: (dict "root" $ "namespace" … "name" … "rules" …). */}}
{{- define "vto.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "vto.labels" .root | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "vto.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "vto.serviceAccount" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
