{{- define "octollm.name" -}}
{{- printf "%s-%s" .Release.Name "octollm" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "octollm.selector" -}}
app.kubernetes.io/name: octollm
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .kind }}
{{- end }}

{{- define "octollm.labels" -}}
{{ include "octollm.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "octollm.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* How long a worker needs after SIGTERM: GRACE_SECONDS for its steps, and 10 s for what follows. */}}
{{- define "octollm.grace" -}}
{{- add (.Values.settings.GRACE_SECONDS | default 30 | int) 10 -}}
{{- end }}

{{/* The Procfile's line of an arm. Kubernetes makes $$ of $$$$. */}}
{{- define "octollm.command" -}}
{{- if .arm.own -}}
exec python -m workers --arms {{ .kind }} -n ${HONCHO_PROCESS_NAME:-{{ .kind }}.$$$$}@%h --without-mingle --without-gossip $WORKER_FLAGS
{{- else -}}
exec python -m workers -Q {{ .arm.queue }} -P {{ .arm.pool }} -c {{ if .arm.concurrencyVariable }}${{ "{" }}{{ .arm.concurrencyVariable }}:-{{ .arm.concurrency }}}{{ else }}{{ .arm.concurrency }}{{ end }} -n ${HONCHO_PROCESS_NAME:-{{ .kind }}.$$$$}@%h --without-mingle --without-gossip $WORKER_FLAGS
{{- end -}}
{{- end }}

{{/*
The pod of one process. kind: the name; process: the kind of OCTOLLM_KIND, whose files it mounts; command: a line;
files: {file: variable}; strong, asksModels, reachesOthers: booleans; probes: its probes and ports.
*/}}
{{- define "octollm.pod" -}}
{{- $strong := and .strong .root.Values.sandbox.strong -}}
metadata:
  labels:
    {{- include "octollm.labels" . | nindent 4 }}
    octollm/reaches-others: {{ .reachesOthers | quote }}
  {{- with .root.Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ .serviceAccount | default (include "octollm.name" .root) }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "octollm.grace" .root }}
  {{- if .restartPolicy }}
  restartPolicy: {{ .restartPolicy }}
  {{- end }}
  {{- if $strong }}
  hostUsers: false
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: {{ if $strong }}Unconfined{{ else }}RuntimeDefault{{ end }}
    {{- if $strong }}
    appArmorProfile:
      type: Unconfined
    {{- end }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .kind }}
      image: {{ include "octollm.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      # after the image's entrypoint, tini
      args: ["/bin/sh", "-c", {{ .command | quote }}]
      env:
        {{- if .process }}
        - name: OCTOLLM_KIND
          value: {{ .process }}
        {{- end }}
        {{- range $file, $variable := .files }}
        - name: {{ $variable }}_FILE
          value: /run/secrets/octollm/{{ $file }}
        {{- end }}
        {{- range $name, $value := .environ }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        {{- range $name, $value := .root.Values.settings }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
      {{- if and .asksModels .root.Values.modelsSecret }}
      envFrom:
        - secretRef:
            name: {{ .root.Values.modelsSecret }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
        {{- if $strong }}
        # bubblewrap mounts a /proc of its own, which a masked one forbids
        procMount: Unmasked
        {{- end }}
      {{- with .probes }}
      {{- . | nindent 6 }}
      {{- end }}
      resources: {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        - name: home
          mountPath: /var/lib/octollm
        - name: secrets
          mountPath: /run/secrets/octollm
          readOnly: true
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 2Gi}
    - name: home
      emptyDir: {sizeLimit: 5Gi}
    - name: secrets
      secret:
        secretName: {{ .root.Values.existingSecret }}
        defaultMode: 0440
        items:
          {{- range $file, $variable := .files }}
          - key: {{ $file }}
            path: {{ $file }}
          {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Probes of a worker and of the sweeper: the time of a file, which costs a few milliseconds. */}}
{{- define "octollm.alive" -}}
{{- if .Values.metrics.enabled }}
ports:
  - name: metrics
    containerPort: 9464
{{- end }}
startupProbe:
  exec: {command: [octollm-alive]}
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: 36
livenessProbe:
  exec: {command: [octollm-alive]}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 3
{{- end }}

{{- define "octollm.budget" -}}
{{- if .root.Values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "octollm.name" .root }}-{{ .kind }}
  labels: {{- include "octollm.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "octollm.selector" . | nindent 6 }}
{{- end }}
{{- end }}
