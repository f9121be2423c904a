// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter init`

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use einmal_adapters::{ConfiguredRegister, SourcesConfig, draft};
use einmal_peer::{Clock, files};
use einmal_policy::names::hint;

use super::{check::rules_of, run as running};
use crate::{
    Exit, config,
    logging::{self, LogForm},
};

/// Looks into a database or file and writes a first register's file, with comments where something
/// has to be decided. Only names of tables and columns are read, no row; nothing is overwritten.
///
///   einmal adapter init postgres://reader@db.example/residents --password-file db.password \
///       --type residence-registration --rules deploy/rules --out registers/residents.toml
///   einmal adapter init maternity.csv --type maternity-benefit --out registers/maternity.toml
///
/// Then it opens the register with that file, and says what is left to do.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Where the data lies: postgres://, mariadb:// or mysql://user@host:port/database without a
    /// password; a SQLite file; a file that ends with .csv; or a file that ends with .toml and
    /// holds one `[[sources]]` of whatever kind.
    source: String,
    /// An evidence type of the rules; may be given several times.
    #[arg(long = "type", value_name = "TYPE", required = true)]
    types: Vec<String>,
    /// The file to write. Paths in it are relative to it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Of servers: the file with the password, which only its owner may read.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Of databases: the table or view. Left out: the one of which most columns are recognised.
    #[arg(long)]
    table: Option<String>,
    /// Rules: a folder that people write, or a signed file. Without it, those that the adapter
    /// last trusted, in its state folder.
    #[arg(long, value_name = "PATH")]
    rules: Option<PathBuf>,
    /// The adapter's configuration file, for its rules.
    #[arg(long, default_value = "adapter.toml")]
    config: PathBuf,
}

/// Runs it.
///
/// # Errors
/// Where the source cannot be looked into, a type is unknown, or the file is there already.
pub async fn run(args: Args) -> Result<(), Exit> {
    logging::begin(LogForm::Text, "warn");
    let adapter = match args.rules {
        Some(_) => None,
        None => Some(running::read(&args.config)?),
    };
    let (rules, _) = rules_of(args.rules.as_deref(), adapter.as_ref(), &Clock::system())?;
    let mut types = Vec::new();
    for id in &args.types {
        types.push(rules.evidence_type(id).ok_or_else(|| {
            let known = rules.document().evidence_types.iter().map(|kind| kind.id.as_str());
            Exit::usage(format!("the rules have no evidence type `{id}`{}", hint(id, known)))
        })?);
    }
    let folder = config::folder_of(&args.out);
    std::fs::create_dir_all(&folder)
        .map_err(|error| Exit::usage(format!("{}: {error}", folder.display())))?;
    let section = section(&args, &folder)?;
    let table = args.table.as_deref();
    let draft = draft(&section, &folder, &types, table).await.map_err(Exit::usage)?;
    write_new(&args.out, &draft.text)?;
    println!("wrote {}; read every line of it", args.out.display());
    for open in &draft.open {
        println!("  decide {open}");
    }
    let sources = SourcesConfig::parse(&draft.text).map_err(Exit::failed)?;
    let kinds = &rules.document().evidence_types;
    match ConfiguredRegister::open(&sources, &folder, kinds).await {
        Ok(_) => println!("it opens: now `einmal adapter try`, then `einmal adapter check`"),
        Err(mistakes) => {
            println!("it does not open yet:");
            for mistake in mistakes {
                println!("  {mistake}");
            }
        }
    }
    Ok(())
}

/// The `[[sources]]` of what was named.
fn section(args: &Args, folder: &Path) -> Result<String, Exit> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let source = args.source.as_str();
    if source.ends_with(".toml") {
        return Ok(files::read_text(Path::new(source))?);
    }
    let mut lines = vec!["[[sources]]".to_owned(), "name = \"data\"".to_owned()];
    let scheme = source.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("postgres" | "postgresql") => lines.push("kind = \"postgres\"".to_owned()),
        Some(kind @ ("mariadb" | "mysql")) => lines.push(format!("kind = {}", quoted(kind))),
        Some(_) => {
            let advice = "begin with postgres://, mariadb:// or mysql://, or name a file; a REST \
                          service is described in a file that ends with .toml";
            return Err(Exit::usage(format!("this kind of source is not known; {advice}")));
        }
        None => {
            let kind = if source.ends_with(".csv") { "csv" } else { "sqlite" };
            lines.push(format!("kind = {}", quoted(kind)));
            lines.push(format!("path = {}", quoted(&seen_from(folder, Path::new(source))?)));
        }
    }
    if scheme.is_some() {
        lines.push(format!("url = {}", quoted(source)));
        if let Some(file) = &args.password_file {
            lines.push(format!("password_file = {}", quoted(&seen_from(folder, file)?)));
        }
    }
    Ok(lines.join("\n"))
}

/// A path as the new file has to name it: in its own folder by its name, otherwise absolute.
fn seen_from(folder: &Path, path: &Path) -> Result<String, Exit> {
    let whole = |path: &Path| {
        std::fs::canonicalize(path)
            .map_err(|error| Exit::usage(format!("{}: {error}", path.display())))
    };
    // The folder of a bare name is written as nothing.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (folder, path) = (whole(folder)?, whole(path)?);
    Ok(path.strip_prefix(&folder).unwrap_or(&path).display().to_string())
}

fn write_new(path: &Path, text: &str) -> Result<(), Exit> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        Exit::usage(format!("{}: {error}; name a new file in a folder there is", path.display()))
    })
}
