{{- define "pertoken.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "pertoken.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "pertoken.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{- define "pertoken.selectorLabels" -}}
app.kubernetes.io/name: pertoken
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* managed-by is Helm here: the operator's own objects say managed-by=pertoken, and it watches for that. */ -}}
{{- define "pertoken.labels" -}}
{{ include "pertoken.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: pertoken
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Pods of the capacity plan are none of the operator's: its Service and its budget must not select them. */ -}}
{{- define "pertoken.planLabels" -}}
app.kubernetes.io/name: pertoken-plan
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: plan
app.kubernetes.io/part-of: pertoken
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pertoken.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pertoken.kindNames" -}}
{{- range $index, $target := .Values.targetKinds }}{{ if $index }}, {{ end }}{{ $target.kind }}.{{ $target.group }}{{ end -}}
{{- end -}}

{{- /* The profiles as the operator reads them: a secret's keys become paths of files. */ -}}
{{- define "pertoken.metricsProfiles" -}}
{{- $profiles := dict -}}
{{- range $name, $profile := .Values.metricsProfiles -}}
{{- $made := omit $profile "secret" "secretKeys" -}}
{{- $folder := printf "/etc/pertoken/metrics/%s" $name -}}
{{- $credentials := deepCopy ($profile.credentials | default dict) -}}
{{- $tls := deepCopy ($profile.tls | default dict) -}}
{{- range $key := $profile.secretKeys -}}
{{- $path := printf "%s/%s" $folder $key -}}
{{- if eq $key "token" }}{{ $_ := set $credentials "bearerTokenFile" $path }}{{ end -}}
{{- if eq $key "password" }}{{ $_ := set $credentials "passwordFile" $path }}{{ end -}}
{{- if eq $key "ca.crt" }}{{ $_ := set $tls "caFile" $path }}{{ end -}}
{{- if eq $key "tls.crt" }}{{ $_ := set $tls "certFile" $path }}{{ end -}}
{{- if eq $key "tls.key" }}{{ $_ := set $tls "keyFile" $path }}{{ end -}}
{{- end -}}
{{- if $credentials }}{{ $made = merge (dict "credentials" $credentials) $made }}{{ end -}}
{{- if $tls }}{{ $made = merge (dict "tls" $tls) $made }}{{ end -}}
{{- $_ := set $profiles $name $made -}}
{{- end -}}
{{ toJson $profiles }}
{{- end -}}

{{- /* What the schema cannot say: a value that would be mounted and then ignored. */ -}}
{{- define "pertoken.checkSecrets" -}}
{{- with .Values.prometheus }}
{{- if and .secret (not .secretKeys) }}
{{- fail (printf "prometheus.secretKeys: empty; expected which keys of secret %q to use: token, password, ca.crt, tls.crt, tls.key" .secret) }}
{{- end }}
{{- if and .secretKeys (not .secret) }}
{{- fail "prometheus.secret: empty; expected the name of the secret that holds prometheus.secretKeys" }}
{{- end }}
{{- if and (has "password" .secretKeys) (not .username) }}
{{- fail "prometheus.username: empty; expected the user of the password in prometheus.secretKeys" }}
{{- end }}
{{- if and .username (not (has "password" .secretKeys)) }}
{{- fail "prometheus.secretKeys: no password; expected one for prometheus.username" }}
{{- end }}
{{- end }}
{{- range $name, $profile := .Values.metricsProfiles }}
{{- if ne (empty $profile.secret) (empty $profile.secretKeys) }}
{{- fail (printf "metricsProfiles.%s: secret and secretKeys belong together; one of them is empty" $name) }}
{{- end }}
{{- end }}
{{- end -}}
