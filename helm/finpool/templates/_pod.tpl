{{- define "finpool.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "finpool.containerSecurity" -}}
runAsNonRoot: true
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
privileged: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "finpool.image.fields" -}}
image: {{ include "finpool.image" . }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
{{- end -}}

{{- /* What every pod specification of the release shares; called with (dict "root" $ "account" "apps"). */ -}}
{{- define "finpool.podBase" -}}
serviceAccountName: {{ include "finpool.fullname" .root }}-{{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "finpool.podSecurity" . | nindent 2 }}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "finpool.scheduling" -}}
{{- with .root.Values.scheduling.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.scheduling.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "finpool.selector" . | nindent 8 }}
{{- end -}}

{{- /* The driver takes its TLS settings from the environment, as every PostgreSQL client does. */ -}}
{{- define "finpool.databaseEnvironment" -}}
{{- range .databases }}
- name: FINPOOL_{{ upper . }}_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $.root.Values.databaseSecret.existingSecret }}
      key: {{ . }}-database-url
{{- end }}
{{- if .databases }}
- name: PGSSLMODE
  value: {{ .root.Values.databaseTls.mode }}
{{- if .root.Values.databaseTls.caConfigMap }}
- name: PGSSLROOTCERT
  value: /etc/finpool/database-ca/ca.pem
{{- end }}
{{- end }}
{{- end -}}

{{- /* Environment of the platform's own processes. `databases` lists the roles whose URLs this one may have. */ -}}
{{- define "finpool.appEnvironment" -}}
- name: FINPOOL_HOME
  value: /tmp/finpool
- name: FINPOOL_HOST
  value: {{ .root.Values.settings.host | default "::" | quote }}
- name: FINPOOL_PORT
  value: "8000"
- name: FINPOOL_REPLICA_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- include "finpool.databaseEnvironment" . }}
{{- if .secrets }}
- name: FINPOOL_SECRETS_DIR
  value: /etc/finpool/secrets
{{- end }}
{{- if .root.Values.catalogue }}
- name: FINPOOL_CATALOGUE_DIR
  value: /etc/finpool/catalogue
{{- end }}
{{- with .root.Values.telemetry.otlpEndpoint }}
- name: FINPOOL_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- range $name, $value := omit .root.Values.settings "host" }}
- name: FINPOOL_{{ upper $name }}
  value: {{ include "finpool.plain" $value | quote }}
{{- end }}
{{- end -}}

{{- /* Numbers in values are floats to Helm: a whole one must not come out as 1.048576e+06. */ -}}
{{- define "finpool.plain" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{- define "finpool.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if and .databases .root.Values.databaseTls.caConfigMap }}
- name: database-ca
  mountPath: /etc/finpool/database-ca
  readOnly: true
{{- end }}
{{- if .secrets }}
- name: secrets
  mountPath: /etc/finpool/secrets
  readOnly: true
{{- end }}
{{- if and .root.Values.catalogue (not .withoutCatalogue) }}
- name: catalogue
  mountPath: /etc/finpool/catalogue
  readOnly: true
{{- end }}
{{- end -}}

{{- define "finpool.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if and .databases .root.Values.databaseTls.caConfigMap }}
- name: database-ca
  configMap:
    name: {{ .root.Values.databaseTls.caConfigMap }}
{{- end }}
{{- if .secrets }}
- name: secrets
  secret:
    secretName: {{ .root.Values.fileSecret.existingSecret }}
    defaultMode: 0440
    items:
      {{- range .secrets }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end }}
{{- if and .root.Values.catalogue (not .withoutCatalogue) }}
- name: catalogue
  configMap:
    name: {{ include "finpool.fullname" .root }}-catalogue
{{- end }}
{{- end -}}

{{- define "finpool.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- /* Pods restart when the catalogue changes, because they read it once. */ -}}
{{- define "finpool.annotations" -}}
finpool.dev/catalogue-sha256: {{ .root.Values.catalogue | toJson | sha256sum }}
{{- end -}}
