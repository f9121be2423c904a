// SPDX-License-Identifier: EUPL-1.2
//! nginx between the plain service and who asks: `grpc_pass`, mTLS on TLS 1.3 on both sides, an
//! access log in a file. One process without workers, so that its time is all there is.

use std::path::{Path, PathBuf};

use einmal_peer::files;
use einmal_test_servers::free_port;

use super::stand::Program;
use crate::{Exit, demo::plan::AUTHORITY_OPERATOR};

/// Where nginx is: in the path, or where Debian puts it.
pub(super) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("nginx")).find(|file| file.is_file())
}

/// Starts it in front of the service at this port, and says at which port it listens.
pub(super) fn start(program: &Path, folder: &Path, plain: &str) -> Result<(Program, u16), Exit> {
    let port = free_port();
    let folder = folder.display();
    let text = format!(
        r#"daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error crit;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/nginx.log;
  client_body_temp_path {folder}/nginx-1;
  proxy_temp_path {folder}/nginx-2;
  fastcgi_temp_path {folder}/nginx-3;
  uwsgi_temp_path {folder}/nginx-4;
  scgi_temp_path {folder}/nginx-5;
  client_max_body_size 4m;
  client_body_buffer_size 64k;
  upstream plain {{
    server 127.0.0.1:{plain};
    keepalive 512;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} ssl http2;
    keepalive_requests 1000000000;
    http2_max_concurrent_streams 1024;
    ssl_protocols TLSv1.3;
    ssl_certificate {folder}/pki/broker-1.pem;
    ssl_certificate_key {folder}/pki/broker-1.key;
    ssl_client_certificate {folder}/pki/ca.pem;
    ssl_verify_client on;
    location / {{
      grpc_pass grpcs://plain;
      grpc_buffer_size 256k;
      grpc_ssl_protocols TLSv1.3;
      grpc_ssl_certificate {folder}/pki/{AUTHORITY_OPERATOR}.pem;
      grpc_ssl_certificate_key {folder}/pki/{AUTHORITY_OPERATOR}.key;
      grpc_ssl_trusted_certificate {folder}/pki/ca.pem;
      grpc_ssl_verify on;
      grpc_ssl_name localhost;
    }}
  }}
}}
"#
    );
    let file = PathBuf::from(format!("{folder}/nginx.conf"));
    files::replace(&file, text.as_bytes())?;
    let log = format!("{folder}/nginx.error");
    Ok((Program::start(program, &["-e", &log, "-c"], &file)?, port))
}
