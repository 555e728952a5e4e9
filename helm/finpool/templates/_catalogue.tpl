{{- /* What the catalogue in the values declares about the model `id`, as JSON; an empty object without it. */ -}}
{{- define "finpool.declaration" -}}
{{- $id := .id -}}
{{- $found := dict -}}
{{- range .root.Values.catalogue -}}
{{- $declared := fromYaml . -}}
{{- if eq (toString $declared.id) $id -}}
{{- $found = $declared -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- /* Secret files with the keys of remote engines, as a JSON list: each once, however many models share it. */ -}}
{{- define "finpool.remoteKeys" -}}
{{- $names := list -}}
{{- range $file, $text := .Values.catalogue -}}
{{- $engine := default dict (fromYaml $text).engine -}}
{{- if eq (toString $engine.name) "openai" -}}
{{- if not (regexMatch "^remote_[a-z0-9_]{1,64}$" (toString $engine.secret)) -}}
{{- fail (printf "catalogue: %s: engine.secret: '%v' must be remote_ and then 1 to 64 of a-z, 0-9 and _"
          $file $engine.secret) -}}
{{- end -}}
{{- $names = append $names $engine.secret -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}

{{- /* Ray serves what runs on its own workers; a model that could never start there is refused here. */ -}}
{{- define "finpool.requireServable" -}}
{{- $engine := default dict .declared.engine -}}
{{- if eq (toString $engine.name) "openai" -}}
{{- fail (printf "models.serve: %s is served by a remote engine: leave it out" .id) -}}
{{- end -}}
{{- if eq (toString $engine.name) "vllm" -}}
{{- if ne (toString $engine.device) "cuda" -}}
{{- fail (printf "models.serve: %s: engine.device must be cuda: no image of the chart has vLLM for processors" .id) -}}
{{- end -}}
{{- if not .root.Values.models.acceleratorGroups -}}
{{- fail (printf "models.serve: %s is declared for vLLM: add workers with accelerators to models.acceleratorGroups"
          .id) -}}
{{- end -}}
{{- $there := 0 -}}
{{- range .root.Values.models.acceleratorGroups -}}
{{- $there = add $there (mul (int .replicas) (int .accelerators)) -}}
{{- end -}}
{{- $needed := mul (int (default 1 $engine.tensor_parallel)) (int (default 1 $engine.pipeline_parallel)) -}}
{{- if gt $needed $there -}}
{{- fail (printf "models.serve: %s needs %d accelerators and all models.acceleratorGroups together have %d"
          .id $needed $there) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* One Ray Serve application for each model, in the form of Serve's own configuration file. */ -}}
{{- define "finpool.serveConfig" -}}
proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 8000
applications:
{{- range .Values.models.serve }}
{{- $declared := include "finpool.declaration" (dict "root" $ "id" .) | fromJson }}
{{- include "finpool.requireServable" (dict "root" $ "id" . "declared" $declared) }}
  - name: {{ . | quote }}
    import_path: finpool.serving.cluster.application:build_app
    route_prefix: /engines/{{ . }}/{{ include "finpool.plain" (default "1" $declared.version) }}
    args:
      model_id: {{ . | quote }}
{{- end }}
{{- end -}}
