{{- /* KubeRay adds up to 17 characters to the name of a RayService and a label holds 63: hence 40. */ -}}
{{- define "finpool.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Labels that select the pods of one component; called with (dict "root" $ "component" "inference"). */ -}}
{{- define "finpool.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "finpool.labels" -}}
{{ include "finpool.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: finpool
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- /* An image is always named by digest: a tag could change under a running platform. */ -}}
{{- define "finpool.image" -}}
{{- $image := get .root.Values.images .which -}}
{{- with .root.Values.global.imageRegistry -}}{{ . }}/{{- end -}}
{{ $image.repository }}@{{ $image.digest }}
{{- end -}}

{{- define "finpool.port" -}}
{{- get (dict "inference" 8000 "operator" 8001 "regulator" 8002) . -}}
{{- end -}}
