{{- /* SPDX-License-Identifier: EUPL-1.2 */ -}}
{{- define "einmal.labels" -}}
app.kubernetes.io/name: einmal
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}
{{- define "einmal.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}{{ end }}
{{- end }}
