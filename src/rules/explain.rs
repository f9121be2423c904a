// SPDX-License-Identifier: EUPL-1.2
//! `einmal rules explain`

use std::{fmt::Write as _, path::PathBuf};

use einmal_policy::{
    Question, Rules,
    account::{Account, FieldAccount, Otherwise, Voice, account},
    asking::Asking,
    names::hint,
};
use einmal_protocol::wire::v1::Initiation;

use crate::{Exit, rules::load};

/// Answers one question: what would be decided, by which policies, on which legal basis, in which
/// words for the citizen, and what is missing where nothing permits it.
///
/// Who asks stands in a directory (--directory, --authority, --register), or is described
/// (--kind, --area, --register-area), for those who have no directory.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    einmal rules explain --rules deploy/rules --kind housing-benefit-office \\\n    \
    --area labour-social --register-area interior --purpose housing-benefit \\\n    \
    --evidence-type residence-registration --fields street,religion\n  \
    einmal rules explain --rules rules.signed --directory directory.signed --authority wohngeld-mitte \\\n    \
    --register meldeamt --purpose housing-benefit --evidence-type residence-registration --fields street")]
pub(super) struct Args {
    /// The rules: an envelope or a folder.
    #[arg(long)]
    rules: PathBuf,
    /// The directory.
    #[arg(long, requires = "authority", requires = "register")]
    directory: Option<PathBuf>,
    /// The authority that asks.
    #[arg(long)]
    authority: Option<String>,
    /// The register that is asked.
    #[arg(long)]
    register: Option<String>,
    /// Its kinds, without a directory.
    #[arg(long, value_delimiter = ',', conflicts_with = "directory")]
    kind: Vec<String>,
    /// Its area, without a directory.
    #[arg(long, conflicts_with = "directory", required_unless_present = "directory")]
    area: Option<String>,
    /// The register's area, without a directory; left out: the same.
    #[arg(long, conflicts_with = "directory")]
    register_area: Option<String>,
    /// What for.
    #[arg(long)]
    purpose: String,
    /// What is asked for.
    #[arg(long)]
    evidence_type: String,
    /// Which fields of it, with commas between.
    #[arg(long, value_delimiter = ',', required = true)]
    fields: Vec<String>,
    /// Who set it going.
    #[arg(long, default_value = "application", value_parser = ["application", "statutory"])]
    initiation: String,
    /// The identification number is used.
    #[arg(long)]
    idnr: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Where the question names something that does not exist.
pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let rules = load::open(&args.rules)?;
    let (asker, register_area) = who(args, &rules)?;
    check_names(args, &rules)?;
    let question = Question {
        authority: asker.authority.clone(),
        register: args.register.clone().unwrap_or_default(),
        evidence_type: args.evidence_type.clone(),
        fields: args.fields.clone(),
        purpose: args.purpose.clone(),
        initiation: match args.initiation.as_str() {
            "statutory" => Initiation::Statutory,
            _ => Initiation::Application,
        },
        idnr_used: args.idnr,
    };
    let account = account(&rules, &asker, &register_area, &question)
        .map_err(|refused| Exit::usage(refused.reason.message()))?;
    if args.json {
        println!("{}", serde_json::to_string(&account).map_err(Exit::failed)?);
    } else {
        print!("{}", in_words(&account, &rules, args));
    }
    Ok(())
}

/// Who asks, and the area of who is asked.
fn who(args: &Args, rules: &Rules) -> Result<(Asking, String), Exit> {
    if let Some(path) = &args.directory {
        let directory = load::open_directory(path)?;
        let (authority, register) =
            (args.authority.as_deref().unwrap_or(""), args.register.as_deref().unwrap_or(""));
        let all = &directory.document();
        let unknown = |what: &str, id: &str, near: String| {
            Exit::usage(format!("the directory has no {what} `{id}`{near}"))
        };
        let found = directory.authority(authority).ok_or_else(|| {
            let ids = all.authorities.iter().map(|entry| entry.id.as_str());
            unknown("authority", authority, hint(authority, ids))
        })?;
        let asked = directory.register(register).ok_or_else(|| {
            let ids = all.registers.iter().map(|entry| entry.id.as_str());
            unknown("register", register, hint(register, ids))
        })?;
        if !asked.entry.evidence_types.contains(&args.evidence_type) {
            let held = asked.entry.evidence_types.join(", ");
            return Err(Exit::usage(format!("the register does not hold it; it holds {held}")));
        }
        let (area, kinds) = (found.entry.area.clone(), found.entry.kinds.clone());
        return Ok((
            Asking { authority: found.entry.id.clone(), area, kinds },
            asked.entry.area.clone(),
        ));
    }
    let known: Vec<&str> = rules.document().kinds.iter().map(|kind| kind.id.as_str()).collect();
    known_all("kind of authority", args.kind.iter(), &known)?;
    let area = args.area.clone().unwrap_or_default();
    let register_area = args.register_area.clone().unwrap_or_else(|| area.clone());
    let known: Vec<&str> = rules.document().areas.iter().map(|area| area.id.as_str()).collect();
    known_all("area", [&area, &register_area].into_iter(), &known)?;
    let authority = args.authority.clone().unwrap_or_else(|| "any-authority".to_owned());
    Ok((Asking { authority, area, kinds: args.kind.clone() }, register_area))
}

fn known_all<'a>(
    what: &str,
    mut names: impl Iterator<Item = &'a String>,
    known: &[&str],
) -> Result<(), Exit> {
    match names.find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let near = hint(name, known.iter().copied());
            let near = match near.is_empty() {
                true => format!(": they have {}", known.join(", ")),
                false => near,
            };
            Err(Exit::usage(format!("the rules have no {what} `{name}`{near}")))
        }
    }
}

fn check_names(args: &Args, rules: &Rules) -> Result<(), Exit> {
    let document = rules.document();
    let leaves = document.purposes.iter().filter(|one| rules.leaf_purpose(&one.id).is_some());
    let leaves: Vec<&str> = leaves.map(|purpose| purpose.id.as_str()).collect();
    known_all("purpose that a request may name", [&args.purpose].into_iter(), &leaves)?;
    let types: Vec<&str> = document.evidence_types.iter().map(|kind| kind.id.as_str()).collect();
    known_all("evidence type", [&args.evidence_type].into_iter(), &types)?;
    let fields = rules.evidence_type(&args.evidence_type).map(|kind| kind.fields.iter());
    let fields: Vec<&str> = fields.into_iter().flatten().map(|field| field.name.as_str()).collect();
    known_all("field in this evidence type", args.fields.iter(), &fields)
}

fn in_words(account: &Account, rules: &Rules, args: &Args) -> String {
    let answer = if account.permitted { "PERMITTED" } else { "REFUSED" };
    let areas = if account.crosses_areas { "across areas" } else { "within one area" };
    let mut text = format!("{answer}, {areas}. Strict: one refused field refuses the request.\n");
    if let Some(purpose) = rules.purpose(&args.purpose) {
        _ = writeln!(text, "Purpose {}: {}", purpose.id, purpose.legal_basis.join(", "));
        _ = writeln!(text, "  de: {}\n  en: {}", purpose.texts.de, purpose.texts.en);
        if let Some(ground) = &purpose.idnr_ground {
            _ = writeln!(text, "  identification number: {ground}");
        }
    }
    if let Some(problem) = &account.purpose_refuses {
        _ = writeln!(text, "Refused whatever policies say: {problem}.");
    }
    for field in &account.fields {
        say(&mut text, field);
    }
    if !account.also_permitted.is_empty() {
        let fields = account.also_permitted.join(", ");
        _ = writeln!(text, "\nThe same question would also be permitted for: {fields}");
    }
    text
}

fn say(text: &mut String, field: &FieldAccount) {
    let answer = if field.permitted { "permitted" } else { "refused" };
    _ = writeln!(text, "\n{}: {answer}", field.field);
    let outweighed = !field.forbids.is_empty() || !field.fails.is_empty();
    let permits = if outweighed { "would have permitted it" } else { "permits it" };
    for (voices, what) in [
        (&field.fails, "cannot be evaluated, which refuses"),
        (&field.forbids, "forbids it"),
        (&field.permits, permits),
    ] {
        for Voice { policy, legal_basis, text_de, text_en } in voices {
            _ = writeln!(text, "  {policy} {what} ({legal_basis})");
            _ = writeln!(text, "    de: {text_de}\n    en: {text_en}");
        }
    }
    if field.permits.is_empty() {
        text.push_str("  No policy permits it.\n");
    }
    if !field.would_be_permitted.is_empty() {
        let others: Vec<String> = field.would_be_permitted.iter().map(otherwise).collect();
        _ = writeln!(text, "  It would be permitted {}.", others.join("; or "));
    }
}

fn otherwise(other: &Otherwise) -> String {
    match other {
        Otherwise::Initiation(name) => format!("with --initiation {name}"),
        Otherwise::IdnrUsed(true) => "with the identification number".to_owned(),
        Otherwise::IdnrUsed(false) => "without the identification number".to_owned(),
        Otherwise::CrossesAreas(true) => "across areas".to_owned(),
        Otherwise::CrossesAreas(false) => "within one area".to_owned(),
        Otherwise::Purpose(id) => format!("for the purpose {id}"),
        Otherwise::Kind(id) => format!("to an office of the kind {id}"),
    }
}
