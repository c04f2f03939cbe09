{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- /* Pod of a group of engines: dict "root" $ "name" NAME "group" GROUP. */ -}}
{{- define "braid.enginePod" -}}
{{- $values := .root.Values -}}
{{- $g := .group -}}
{{- $many := include "braid.manyPorts" $g -}}
metadata:
  labels:
    {{- include "braid.labels" .root | nindent 4 }}
    {{- include "braid.engineLabels" . | nindent 4 }}
    llm-d.ai/engine-type: vllm
    llm-d.ai/model: {{ $values.model.name | replace "/" "-" | trunc 63 | quote }}
  {{- with $g.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "braid.name" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $g.drainSeconds 20 }}
  securityContext: {{- include "braid.podSecurity" . | nindent 4 }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $g.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $g.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $g.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $g.sidecar }}
  initContainers:
  - {{- include "braid.sidecarContainer" . | nindent 4 }}
  {{- end }}
  containers:
  - name: engine
    image: {{ include "braid.image" .root }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    {{- if $many }}
    {{- include "braid.manyPortsCommand" . | nindent 4 }}
    {{- else }}
    command: [braid, serve]
    args:
    {{- include "braid.engineFlags" . | nindent 4 }}
    {{- end }}
    env:
    {{- include "braid.engineEnv" . | nindent 4 }}
    ports:
    {{- include "braid.enginePorts" . | nindent 4 }}
    {{- $probed := include "braid.enginePort" $g | int }}
    {{- if $many }}{{ $probed = add $probed 8 | int }}{{ end }}
    startupProbe:
      httpGet: {path: /health, port: {{ $probed }}}
      periodSeconds: 1
      failureThreshold: {{ $g.startupSeconds }}
    livenessProbe:
      httpGet: {path: /health, port: {{ $probed }}}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 3
    readinessProbe:
      httpGet: {path: {{ if $many }}/readyz{{ else }}/ready{{ end }}, port: {{ $probed }}}
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: 2
    lifecycle:
      preStop:
        sleep: {seconds: 10}
    resources:
      {{- include "braid.engineResources" $g | nindent 6 }}
    securityContext: {{- include "braid.containerSecurity" $g.rdma | nindent 6 }}
    volumeMounts:
    - {name: shm, mountPath: /dev/shm}
    - {name: scratch, mountPath: /tmp}
    {{- if $values.model.volume }}
    - {name: models, mountPath: /models, readOnly: true}
    {{- end }}
  volumes:
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ $g.shm }}}
  - name: scratch
    emptyDir: {sizeLimit: {{ $g.cache }}}
  {{- with $values.model.volume }}
  - name: models
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- /* The flags that do not depend on where in a group a pod is. */ -}}
{{- define "braid.engineFlags" -}}
{{- $values := .root.Values -}}
{{- $g := .group -}}
- {{ $values.model.path }}
- --served-model-name={{ $values.model.name }}
- --host={{ if $g.sidecar }}0.0.0.0   # the sidecar comes by the loopback{{ else }}$(POD_IP){{ end }}
- --port={{ include "braid.enginePort" $g }}
- --drain-timeout={{ $g.drainSeconds }}
- --log-format=json
{{- if $g.transfer }}
- --kv-transfer-config={"kv_connector":"NixlConnector","kv_role":"kv_both"}
{{- end }}
{{- if $g.kvEvents }}
- --kv-events-config={"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://*:5556","replay_endpoint":"tcp://*:5656","topic":"kv@$(POD_IP):{{ $g.port }}@{{ $values.model.name }}"}
{{- end }}
{{- range $g.args }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- /* A server for every rank, watched by one process; the pods of a group find each other by the variables of
       LeaderWorkerSet, a pod alone by its own address. */ -}}
{{- define "braid.manyPortsCommand" -}}
{{- $ranks := int .group.ranksPerPod -}}
command:
- /bin/sh
- -ec
- |
  exec braid serve "$@" \
    --data-parallel-multi-port-external-lb \
    --data-parallel-supervisor-port={{ add (include "braid.enginePort" .group | int) 8 }} \
    --data-parallel-size=$((${LWS_GROUP_SIZE:-1} * {{ $ranks }})) \
    --data-parallel-size-local={{ $ranks }} \
    --data-parallel-start-rank=$((${LWS_WORKER_INDEX:-0} * {{ $ranks }})) \
    --data-parallel-address="${LWS_LEADER_ADDRESS:-$POD_IP}" \
    --data-parallel-rpc-port=5555
- engine
args:
{{ include "braid.engineFlags" . }}
{{- end -}}

{{- define "braid.engineEnv" -}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: HOME
  value: /tmp
{{- if include "braid.manyPorts" .group }}
- name: BRAID_DATA_PARALLEL_SECRET
  valueFrom: {secretKeyRef: {name: {{ include "braid.secret" .root }}, key: ranks}}
{{- end }}
{{- if .group.transfer }}
- name: VLLM_NIXL_SIDE_CHANNEL_HOST
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: VLLM_NIXL_SIDE_CHANNEL_PORT
  value: "5600"
- name: BRAID_KV_TRANSFER_CONFIG_KV_SECRET
  valueFrom: {secretKeyRef: {name: {{ include "braid.secret" .root }}, key: transfer}}
{{- end }}
{{- with .group.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Every port that requests or probes come to. */ -}}
{{- define "braid.enginePorts" -}}
{{- $first := include "braid.enginePort" .group | int -}}
{{- $own := not .group.sidecar -}}
{{- range $rank := until (int .group.ranksPerPod) }}
- {name: {{ if $own }}http{{ else }}engine{{ end }}{{ if $rank }}-{{ $rank }}{{ end }}, containerPort: {{ add $first $rank }}}
{{- end }}
{{- if include "braid.manyPorts" .group }}
- {name: supervisor, containerPort: {{ add $first 8 }}}
{{- end }}
{{- end -}}

{{- define "braid.engineResources" -}}
{{- $limits := deepCopy (default dict .resources.limits) -}}
{{- $requests := deepCopy (default dict .resources.requests) -}}
{{- if .gpus }}{{ $_ := set $limits "nvidia.com/gpu" (.gpus | toString) }}{{ $_ := set $requests "nvidia.com/gpu" (.gpus | toString) }}{{ end -}}
{{- range $name, $count := .rdma }}{{ $_ := set $limits $name ($count | toString) }}{{ $_ := set $requests $name ($count | toString) }}{{ end -}}
requests: {{- toYaml $requests | nindent 2 }}
{{- with $limits }}
limits: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Starts before the engine and ends after it: an init container that goes on. */ -}}
{{- define "braid.sidecarContainer" -}}
{{- $values := .root.Values -}}
name: sidecar
image: {{ include "braid.image" .root }}
imagePullPolicy: {{ $values.image.pullPolicy }}
restartPolicy: Always
command: [braid, sidecar]
args:
- --host=$(POD_IP)
- --port={{ .group.port }}
- --model-server-port={{ include "braid.enginePort" .group }}
- --data-parallel-size={{ .group.ranksPerPod }}
- --kv-connector=nixlv2
- --enable-prefiller-sampling
- --enable-ssrf-protection=false   # engines can connect to engines only: templates/network.yaml
- --drain-timeout={{ .group.drainSeconds }}
- --log-format=json
{{- range $values.sidecar.args }}
- {{ . | quote }}
{{- end }}
env:
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
ports:
{{- $first := int .group.port }}
{{- range $rank := until (int .group.ranksPerPod) }}
- {name: http{{ if $rank }}-{{ $rank }}{{ end }}, containerPort: {{ add $first $rank }}}
{{- end }}
startupProbe:
  tcpSocket: {port: {{ .group.port }}}
  periodSeconds: 1
  failureThreshold: 30
resources: {{- toYaml $values.sidecar.resources | nindent 2 }}
securityContext: {{- include "braid.containerSecurity" dict | nindent 2 }}
{{- end -}}
