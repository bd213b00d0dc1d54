{{- /* What the operator may do inside the namespaces that it works in. */ -}}
{{- define "pertoken.namespacedRules" -}}
# Its own kind.
- apiGroups: [serving.pertoken.dev]
  resources: [inferenceservices]
  verbs: [list, watch]
- apiGroups: [serving.pertoken.dev]
  resources: [modelroutes]
  verbs: [list]
- apiGroups: [serving.pertoken.dev]
  resources: [inferenceservices/status, modelroutes/status]
  verbs: [patch]
# HTTPRoutes that a ModelRoute names.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get{{ if not .Values.readOnly }}, patch{{ end }}]
# What runs where, and who else scales it. A pod is looked at once more before it is evicted.
- apiGroups: [""]
  resources: [pods]
  verbs: [{{ if not .Values.readOnly }}get, {{ end }}list, watch]
- apiGroups: [apps]
  resources: [deployments, replicasets]
  verbs: [list, watch]
# Batch caps: its own, and those that engines read from ConfigMaps of others.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
# Devices that pods claim (dynamic resource allocation).
- apiGroups: [resource.k8s.io]
  resources: [resourceclaims, resourceclaimtemplates]
  verbs: [list]
# Targets.
{{- range $group, $kinds := include "pertoken.kindsByGroup" . | fromYaml }}
- apiGroups: [{{ $group }}]
  resources: [{{ join ", " $kinds }}]
  verbs: [get]
{{- if not $.Values.readOnly }}
- apiGroups: [{{ $group }}]
  resources: [{{ range $index, $kind := $kinds }}{{ if $index }}, {{ end }}{{ $kind }}/scale{{ end }}]
  verbs: [patch]
{{- end }}
{{- end }}
# Why the pods of a target are not made (quota, admission), where only events say so.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Telling users.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if not .Values.readOnly }}
# Batch caps of adopted workloads, the only objects that an adopt-only install makes.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, patch]
# Rolling a changed batch cap, one pod at a time, under the users' disruption budgets.
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
{{- end -}}

{{- /* What it may do besides in namespaces in which it owns workloads. */ -}}
{{- define "pertoken.ownedRules" -}}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
# Owner references that block deletion, where the cluster enforces the right to set them.
- apiGroups: [serving.pertoken.dev]
  resources: [inferenceservices/finalizers]
  verbs: [update]
{{- end -}}

{{- /* What the operator makes for a variant with a podTemplate. */ -}}
{{- define "pertoken.madeKinds" -}}
- {group: apps, resource: deployments}
- {group: "", resource: services}
- {group: policy, resource: poddisruptionbudgets}
- {group: "", resource: configmaps}
{{- end -}}

{{- define "pertoken.kindsByGroup" -}}
{{- $groups := dict -}}
{{- range .Values.targetKinds -}}
{{- $_ := set $groups .group (append (index $groups .group | default list) .resource) -}}
{{- end -}}
{{ toYaml $groups }}
{{- end -}}
