// SPDX-License-Identifier: EUPL-1.2
//! `einmal request`

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use einmal_client::{Ask, Client, ClientSetup, Received};
use einmal_peer::{Clock, Tls, TlsFiles, files};
use einmal_protocol::{
    person::Person,
    wire::v1::{self, Initiation, Outcome, Use},
};
use serde::Deserialize;

use crate::{
    Exit, config,
    logging::{self, LogForm},
};

/// Asks for evidence about one person, verifies the answer and prints it as JSON.
///
/// The person comes from a TOML file or from standard input, never from the command line, where
/// others could read it. It holds one of the lawful queries (IDNrG § 6 (3)):
///
///   idnr = "..." and birth_date = "YYYY-MM-DD"
///   family_name, given_names, birth_date
///   family_name, postcode, place, birth_date
///
/// and, if you like, case_reference and clerk.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file; deploy/config/client.toml is a commented sample.
    #[arg(long, default_value = "client.toml")]
    config: PathBuf,
    /// File with the person; "-" reads standard input.
    #[arg(long)]
    person: PathBuf,
    /// Evidence type, as in the rules.
    #[arg(long)]
    evidence: String,
    /// Fields, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    fields: Vec<String>,
    /// Purpose, as in the rules.
    #[arg(long)]
    purpose: String,
    /// Register; left out: the one of your region that holds the evidence.
    #[arg(long)]
    register: Option<String>,
    /// The authority acts on a statute, not on the person's application.
    #[arg(long)]
    statutory: bool,
    /// Only say what would be decided, and by which rules. Fetches and logs nothing.
    #[arg(long)]
    explain: bool,
    /// Report that the evidence was discarded instead of used.
    #[arg(long)]
    discard: bool,
}

/// `client.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// A broker: "https://host:port".
    pub(crate) broker: String,
    /// Own certificate and whom to believe.
    pub(crate) tls: TlsFiles,
    /// The pinned root.
    pub(crate) root: PathBuf,
    /// Folder for trusted state and last checkpoints.
    pub(crate) state: PathBuf,
    /// Id of the authority in the directory.
    pub(crate) authority: String,
    /// Its identity key, PKCS#8.
    pub(crate) identity: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct PersonFile {
    idnr: String,
    family_name: String,
    given_names: String,
    birth_date: String,
    postcode: String,
    place: String,
    case_reference: String,
    clerk: String,
}

/// Reads `client.toml`.
///
/// # Errors
/// Where it cannot be used.
pub fn read(path: &Path) -> Result<ClientConfig, Exit> {
    let mut client: ClientConfig = config::read(path)?;
    let folder = config::folder_of(path);
    client.tls = client.tls.within(&folder);
    for file in [&mut client.root, &mut client.state, &mut client.identity] {
        *file = folder.join(&*file);
    }
    Ok(client)
}

/// Connects a client from its configuration file.
///
/// # Errors
/// Where it cannot be used, or the broker does not answer.
pub async fn connect(path: &Path, clock: Clock) -> Result<Client, Exit> {
    let client = read(path)?;
    let setup = ClientSetup {
        broker: client.broker,
        tls: Tls::load(&client.tls)?,
        root: files::envelope(&client.root)?,
        state: client.state,
        clock,
        authority: client.authority,
        identity: files::signing_key(&client.identity)?,
    };
    Ok(Client::connect(setup).await?)
}

/// Runs it.
///
/// # Errors
/// A refusal (77), no answer (69), wrong usage (64), or an alarm (1).
pub async fn run(args: Args) -> Result<(), Exit> {
    logging::begin(LogForm::Text, "warn");
    let ask = Ask {
        register: args.register,
        evidence_type: args.evidence,
        fields: args.fields,
        purpose: args.purpose,
        initiation: if args.statutory { Initiation::Statutory } else { Initiation::Application },
        person: person(&args.person)?,
        retry_of: None,
    };
    let client = connect(&args.config, Clock::system()).await?;
    if args.explain {
        return explain(&client, &ask).await;
    }
    let received = client.ask(ask).await?;
    let used = match received.outcome {
        Outcome::Found if args.discard => Use::Discarded,
        Outcome::Found => Use::Used,
        _ => Use::NothingFound,
    };
    // Before it is printed: a reader that goes away must not leave it unreported.
    client.report_use(&received, used).await?;
    client.save()?;
    print(&received)?;
    // This process ends before a day is over. Its alarm, if any, stands in the log.
    client.hand_in().await;
    Ok(())
}

/// Reads who is meant, from a file or standard input (`-`).
///
/// # Errors
/// Where it is not one of the three lawful ways. Nothing of it is quoted.
pub(crate) fn person(path: &Path) -> Result<Person, Exit> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().take(64 * 1024).read_to_string(&mut text);
        read.map_err(Exit::usage)?;
        text
    } else {
        files::read_text(path)?
    };
    // The parser's message would quote the line, and with it the person.
    let file: PersonFile = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| text.get(..span.start).unwrap_or_default());
        let line = line.map_or(1, |before| before.lines().count().max(1));
        Exit::usage(format!("the person's file is malformed near line {line}; see --help"))
    })?;
    Person::from_wire(v1::Person {
        idnr: file.idnr,
        family_name: file.family_name,
        given_names: file.given_names,
        birth_date: file.birth_date,
        postcode: file.postcode,
        place: file.place,
        case_reference: file.case_reference,
        clerk: file.clerk,
    })
    .map_err(|error| Exit::usage(format!("{error}; see --help for the three ways")))
}

fn print(received: &Received) -> Result<(), Exit> {
    let outcome = match received.outcome {
        Outcome::Found => "found",
        Outcome::Ambiguous => "ambiguous",
        Outcome::NotTransmitted => "not_transmitted",
        Outcome::NothingFound | Outcome::Unspecified => "nothing_found",
    };
    let object = serde_json::json!({
        "request": received.id.to_string(),
        "register": received.register,
        "outcome": outcome,
        "fields": received.values,
        "policies": received.policies,
        "ledger": {
            "origin": received.proven.checkpoint().origin(),
            "index": received.proven.index(),
            "size": received.proven.checkpoint().size(),
        },
    });
    let text = serde_json::to_string_pretty(&object).map_err(Exit::failed)?;
    writeln!(std::io::stdout(), "{text}").map_err(Exit::failed)
}

async fn explain(client: &Client, ask: &Ask) -> Result<(), Exit> {
    let answer = client.explain(ask).await?;
    if answer.fields.is_empty() {
        return Err(Exit::refused(format!("refused: {}", answer.reason)));
    }
    for field in &answer.fields {
        let word = if field.permitted { "permitted" } else { "refused" };
        println!("{:<32} {word}", field.field);
        if field.policies.is_empty() {
            println!("    no rule permits it");
        }
        for policy in &field.policies {
            println!("    {} ({}): {}", policy.policy, policy.legal_basis, policy.text);
        }
    }
    if answer.permitted { Ok(()) } else { Err(Exit::refused("the request would be refused")) }
}
