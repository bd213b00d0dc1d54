{{- /* What the operator may do inside the namespaces that it works in. */ -}}
{{- define "pertoken.namespacedRules" -}}
# Its own kind.
- apiGroups: [serving.pertoken.dev]
  resources: [inferenceservices]
  verbs: [get, list, watch]
- apiGroups: [serving.pertoken.dev]
  resources: [modelroutes]
  verbs: [get, list]
- apiGroups: [serving.pertoken.dev]
  resources: [inferenceservices/status, modelroutes/status]
  verbs: [patch]
# HTTPRoutes that a ModelRoute names.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get{{ if not .Values.readOnly }}, patch{{ end }}]
# What runs where, and who else scales it.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments, replicasets]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
# Devices that pods claim (dynamic resource allocation).
- apiGroups: [resource.k8s.io]
  resources: [resourceclaims, resourceclaimtemplates]
  verbs: [get, list]
{{- range $group, $kinds := include "pertoken.kindsByGroup" . | fromYaml }}
- apiGroups: [{{ $group }}]
  resources: [{{ join ", " $kinds }}]
  verbs: [get]
- apiGroups: [{{ $group }}]
  resources: [{{ range $index, $kind := $kinds }}{{ if $index }}, {{ end }}{{ $kind }}/scale{{ end }}]
  verbs: [{{ if $.Values.readOnly }}get{{ else }}get, patch, update{{ end }}]
{{- end }}
# Why the pods of a target are not made (quota, admission), where only events say so.
- apiGroups: [""]
  resources: [events]
  verbs: [get, list]
# Telling users.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if not .Values.readOnly }}
# Owned workloads (podTemplate) and batch caps.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, patch, delete]
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
# Rolling a changed batch cap, one pod at a time, under the users' disruption budgets.
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
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
