// SPDX-License-Identifier: EUPL-1.2
//! The style of the KERN design system, from a folder where npm put it. Read once, at the start:
//! nothing that lies elsewhere can be asked for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use axum::{
    Extension,
    extract::{self, State},
    http::header,
    response::{IntoResponse, Response},
};
use einmal_peer::files::{self, FileError};

use super::{
    answers::{Trouble, trouble},
    routes::{Shared, Visitor},
};

/// Style sheets and the weights of the font that they use; where in the package they lie.
const FILES: [&str; 6] = [
    "kern.min.css",
    "fonts/fira-sans.css",
    "fonts/fira-sans/FiraSans-Regular.woff2",
    "fonts/fira-sans/FiraSans-Medium.woff2",
    "fonts/fira-sans/FiraSans-SemiBold.woff2",
    "fonts/fira-sans/FiraSans-Bold.woff2",
];

/// The files of `@kern-ux/native` that the pages use.
pub struct Kern(BTreeMap<&'static str, Vec<u8>>);

impl std::fmt::Debug for Kern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kern({} files)", self.0.len())
    }
}

impl Kern {
    /// Reads them from the folder of the package.
    ///
    /// # Errors
    /// Where one is not there.
    pub fn open(package: &Path) -> Result<Self, KernError> {
        let read = |name: &'static str| {
            let path = package.join("dist").join(name);
            let content = files::read(&path)
                .map_err(|problem| KernError { folder: package.to_owned(), problem })?;
            Ok((name, content.to_vec()))
        };
        FILES.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// `/kern/…`
pub(crate) async fn file(
    State(app): Shared,
    Extension(v): Visitor,
    extract::Path(name): extract::Path<String>,
) -> Response {
    let kern = app.pages.kern.as_ref();
    let Some(content) = kern.and_then(|kern| kern.0.get(name.as_str())) else {
        return trouble(&v, Trouble::NotFound);
    };
    let kind = if name.ends_with(".css") { "text/css; charset=utf-8" } else { "font/woff2" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=86400")];
    (headers, content.clone()).into_response()
}

/// The folder is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("`kern`: {} is no @kern-ux/native 2.7: {problem}", folder.display())]
pub struct KernError {
    folder: PathBuf,
    problem: FileError,
}
