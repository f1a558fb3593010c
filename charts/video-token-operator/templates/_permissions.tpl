{{/*
The verbs that the operator uses, and no more: tests/permissions.rs compares them with what it is seen to call. Each
list is for one reach; watchNamespaces decides whether a reach is a Role or part of a ClusterRole.
*/}}

{{/* Rules for each namespace that the operator serves. */}}
{{- define "vto.rules.served" -}}
- apiGroups: [videotoken.dev]
  resources: [videoaccesstokens, tokenproviders]
  verbs: [list, watch]
# get: before a Secret is created anew, or one that is retained: does the object still exist?
- apiGroups: [videotoken.dev]
  resources: [videoaccesstokens]
  verbs: [get]
- apiGroups: [videotoken.dev]
  resources: [videoaccesstokens/status, tokenproviders/status]
  verbs: [patch]
# get: one for a first issue and for a Secret that another hand changed, and credentials; list and watch: metadata only
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# metadata only: where a ServiceAccount's tokens may be sent, by its annotation; the tokens themselves its owner grants
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.rolloutRestart }}
# spec.rolloutRestart: metadata is read, and the pod template's annotation set, where the workload has opted in
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [get, patch]
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
# also by an operator of some namespaces: a login that may lock a user is written down before it is made
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
  verbs: [get, create, update]
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
