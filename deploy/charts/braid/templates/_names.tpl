{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "braid.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "braid.guide" -}}
{{- default (include "braid.name" .) .Values.guide -}}
{{- end -}}

{{- define "braid.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "braid.secret" -}}
{{- default (printf "%s-ranks" (include "braid.name" .)) .Values.existingSecret -}}
{{- end -}}

{{- /* What every object carries. */ -}}
{{- define "braid.labels" -}}
app.kubernetes.io/name: braid
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* Selects the router's pods. */ -}}
{{- define "braid.routerLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: router
{{- end -}}

{{- /* Selects the pod of braid autoscale. */ -}}
{{- define "braid.autoscalerLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: autoscale
{{- end -}}

{{- /* Whether something else says how many replicas a group has: dict "root" $ "name" NAME. */ -}}
{{- define "braid.scaledByOthers" -}}
{{- $a := .root.Values.autoscaling -}}
{{- if or (hasKey $a.hpa .name) (hasKey $a.keda .name) (has .name $a.slo.groups) }}true{{ end -}}
{{- end -}}

{{- /* Selects the pods of all engines. */ -}}
{{- define "braid.poolLabels" -}}
llm-d.ai/guide: {{ include "braid.guide" . }}
llm-d.ai/inference-serving: "true"
{{- end -}}

{{- /* Selects the pods of a group: dict "root" $ "name" NAME "group" GROUP. */ -}}
{{- define "braid.engineLabels" -}}
{{ include "braid.poolLabels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- with .group.role }}
llm-d.ai/role: {{ . }}
{{- end }}
{{- end -}}

{{- /* A group with its defaults, as JSON: dict "root" $ "group" GROUP. */ -}}
{{- define "braid.group" -}}
{{- mergeOverwrite (deepCopy .root.Values.engineDefaults) (deepCopy .group) | toJson -}}
{{- end -}}

{{- /* First port of the engine itself. */ -}}
{{- define "braid.enginePort" -}}
{{- if .sidecar }}{{ add .port 200 }}{{ else }}{{ .port }}{{ end -}}
{{- end -}}

{{- /* Whether one process a pod starts a server for every rank. */ -}}
{{- define "braid.manyPorts" -}}
{{- if or (gt (int .ranksPerPod) 1) (eq .kind "LeaderWorkerSet") }}true{{ end -}}
{{- end -}}

{{- define "braid.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "braid.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- if . }}
  add: [IPC_LOCK]
{{- end }}
{{- end -}}
