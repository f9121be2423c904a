// SPDX-License-Identifier: EUPL-1.2
//! Envoy between the plain service and who asks: mTLS on both sides, RBAC by the caller's SPIFFE
//! id, an access log in a file.

use std::path::{Path, PathBuf};

use einmal_peer::files;
use einmal_test_servers::free_port;

use super::stand::Program;
use crate::{Exit, demo::plan::AUTHORITY_OPERATOR};

/// Where Envoy is: named, or in the path.
pub(super) fn find(named: Option<&Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("envoy"));
    named.map(Path::to_owned).or_else(|| found.into_iter().find(|file| file.is_file()))
}

/// Starts it in front of the service at this port, and says at which port it listens.
pub(super) fn start(program: &Path, folder: &Path, plain: &str) -> Result<(Program, u16), Exit> {
    let port = free_port();
    let pki = folder.join("pki");
    let tls = |kind: &str, name: &str, more: &str| {
        format!(
            r#"{{name: tls, typed_config: {{
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}, {more}
        common_tls_context: {{
          alpn_protocols: [h2],
          tls_params: {{tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}},
          tls_certificates: [{{certificate_chain: {{filename: "{pki}/{name}.pem"}},
            private_key: {{filename: "{pki}/{name}.key"}}}}],
          validation_context: {{trusted_ca: {{filename: "{pki}/ca.pem"}}}}}}}}}}"#,
            pki = pki.display(),
        )
    };
    let front = tls("DownstreamTlsContext", "broker-1", "require_client_certificate: true,");
    let back = tls("UpstreamTlsContext", AUTHORITY_OPERATOR, "");
    let http2 = "{initial_stream_window_size: 1048576, initial_connection_window_size: 8388608}";
    let text = format!(
        r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - transport_socket: {front}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: HTTP2
          http2_protocol_options: {http2}
          access_log:
          - name: file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: "{}"
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: plain}}}}]}}
          http_filters:
          - name: rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  operator:
                    permissions: [{{any: true}}]
                    principals: [{{authenticated: {{principal_name: {{suffix: "{AUTHORITY_OPERATOR}"}}}}}}]
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: plain
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {http2}}}
    load_assignment:
      cluster_name: plain
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {plain}}}}}}}}}]}}]
    transport_socket: {back}
"#,
        folder.join("envoy.log").display(),
    );
    let file = write(folder, &text)?;
    let arguments = ["--concurrency", "2", "--use-dynamic-base-id", "-l", "off", "-c"];
    Ok((Program::start(program, &arguments, &file)?, port))
}

fn write(folder: &Path, text: &str) -> Result<PathBuf, Exit> {
    let file = folder.join("envoy.yaml");
    files::replace(&file, text.as_bytes())?;
    Ok(file)
}
