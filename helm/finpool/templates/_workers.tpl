{{- /*
Which image Ray's pods run: with accelerators all of them, the head too, run the one that has vLLM. Serve builds an
application in a task that asks for no resources, so Ray may run it on any node, and building one for vLLM imports vLLM.
Serve's configuration could pin that task by a label only in `ray_actor_options`, which would replace the cores and the
environment that the code gives its engine. The image has llama.cpp as well, so any model may run on any worker.
*/ -}}
{{- define "finpool.rayImage" -}}
{{- ternary "engineVllm" "engine" (gt (len .Values.models.acceleratorGroups) 0) -}}
{{- end -}}

{{- /* All groups of workers, as a JSON list. Nothing here adds pods: KubeRay's autoscaler would run in the head with a
token that may patch every pod of the namespace, those with database URLs and pepper too. */ -}}
{{- define "finpool.workerGroups" -}}
{{- $groups := list -}}
{{- if .Values.models.workers.replicas -}}
{{- $groups = append $groups (merge (dict "name" "engines") .Values.models.workers) -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.models.acceleratorGroups -}}
{{- if has .name $names -}}
{{- fail (printf "models.acceleratorGroups: two groups are named %s" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $accelerators := dict (default "nvidia.com/gpu" .acceleratorResource) (toString .accelerators) -}}
{{- $limits := merge $accelerators .resources.limits -}}
{{- $resources := dict "requests" .resources.requests "limits" $limits -}}
{{- $groups = append $groups (merge (dict "resources" $resources "sharedMemory" (default "8Gi" .sharedMemory)) .) -}}
{{- end -}}
{{- if not $groups -}}
{{- fail "models.workers.replicas: 0 needs a group in models.acceleratorGroups: nothing could run a model" -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{- /* One group of workers; called with (dict "root" $ "group" $group). */ -}}
{{- define "finpool.workerGroup" -}}
{{- $values := .root.Values -}}
{{- $group := .group -}}
{{- $worker := dict "root" .root "component" "ray-worker" "which" (include "finpool.rayImage" .root) "account" "models"
                    "secrets" (list "engine_token") "sharedMemory" $group.sharedMemory -}}
groupName: {{ $group.name }}
replicas: {{ int $group.replicas }}
minReplicas: {{ int $group.replicas }}
maxReplicas: {{ int $group.replicas }}
rayStartParams:
  object-store-memory: "200000000"
  {{- with $group.accelerators }}
  # KubeRay would read it from the limits only where the resource's name ends in gpu.
  num-gpus: {{ int . | quote }}
  {{- end }}
template:
  metadata:
    {{- include "finpool.rayPodMetadata" $worker | nindent 4 }}
  spec:
    {{- include "finpool.podBase" $worker | nindent 4 }}
    {{- with $group.runtimeClassName }}
    runtimeClassName: {{ . }}
    {{- end }}
    {{- with $group.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $group.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    # An engine's stream may be as long as the inference app's.
    terminationGracePeriodSeconds: {{ add (int $values.inference.streamSecondsMax) 60 }}
    containers:
      - name: ray-worker
        {{- include "finpool.rayContainer" $worker | nindent 8 }}
        ports:
          - {name: serve, containerPort: 8000}
        # KubeRay's own probe needs wget, which a slim image lacks. Serve's proxy answers on a node with an engine.
        readinessProbe:
          httpGet: {path: /-/healthz, port: serve}
          periodSeconds: 5
          timeoutSeconds: 5
        resources:
          {{- toYaml $group.resources | nindent 10 }}
    volumes:
      {{- include "finpool.rayVolumes" $worker | nindent 6 }}
{{- end -}}
