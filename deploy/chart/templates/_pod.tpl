{{/* What every pod of ours has. Argument: dict "root" $ "name" NAME "arguments" LIST. */}}
{{- define "telltale.labels" -}}
app.kubernetes.io/name: telltale
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "telltale.pod" -}}
serviceAccountName: {{ .root.Values.serviceAccount }}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: data
    emptyDir: {}
  - name: tmp
    emptyDir: {}
{{- end }}

{{- define "telltale.container" -}}
name: {{ .name }}
image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ .arguments | toJson }}
env:
  {{- range $key, $value := .root.Values.settings }}
  - name: TELLTALE_{{ $key }}
    value: {{ $value | quote }}
  {{- end }}
  {{- if not (hasKey .root.Values.settings "THREADS") }}
  # as many as it may count on: torch would take every core of the node, and so would each of its neighbours
  - name: TELLTALE_THREADS
    valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: "1"}}
  {{- end }}
  - name: TELLTALE_WORKER_PORT
    value: "9100"
  - name: TELLTALE_WORKER_HOST
    value: 0.0.0.0
envFrom:
  - secretRef:
      name: {{ .root.Values.secret }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - name: data
    mountPath: /data
  - name: tmp
    mountPath: /tmp
{{- end }}

{{/* Argument: the page. */}}
{{- define "telltale.probe" -}}
httpGet: {path: /{{ . }}, port: pages}
timeoutSeconds: 10
{{- end }}
