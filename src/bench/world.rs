// SPDX-License-Identifier: EUPL-1.2
//! A country to decide in: as many authorities, registers, evidence types and policies as Germany
//! might have. The same at every run. Names of municipalities are real where their list is at
//! hand; all else is made up.

use std::fmt::Write;

use einmal_policy::{
    Question,
    directory::{Authority, DirectoryDocument, Operator, Register},
    root::KeyText,
    rules::SCHEMA,
    rules_document::{
        Area, AuthorityKind, EvidenceType, Field, Purpose, RuleTest, RulesDocument, Texts,
    },
};
use einmal_protocol::{
    key::{KeyError, SigningKey},
    wire::v1::Initiation,
};

const AREAS: usize = 14;
const KINDS: usize = 40;
const FIELDS: usize = 8;
/// Leaves of the purposes, in groups of ten.
const PURPOSES: usize = 400;
const OPERATORS: usize = 50;
/// Every so many policies one names an authority, not a kind.
const LITERAL_EVERY: usize = 40;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) authorities: usize,
    pub(super) registers: usize,
    pub(super) evidence_types: usize,
    pub(super) policies: usize,
}

/// One permitting policy, as numbers.
#[derive(Clone, Copy, Debug)]
struct Permission {
    number: usize,
    kind: usize,
    evidence_type: usize,
    purpose: usize,
    statutory: bool,
    /// The one authority that it names, if it names one.
    authority: Option<usize>,
}

/// The documents, unsigned.
pub(super) struct World {
    size: Size,
    names: Vec<(String, String)>,
    permissions: Vec<Permission>,
}

impl World {
    /// Municipalities are given as lines `key TAB name`, after a line of headings.
    pub(super) fn new(size: Size, municipalities: &str) -> Self {
        let names = municipalities.lines().skip(1).filter_map(|line| {
            let mut columns = line.split('\t');
            let (key, name) = (columns.next()?, columns.next()?);
            let good = key.len() == 8 && key.bytes().all(|byte| byte.is_ascii_digit());
            good.then(|| (key.to_owned(), name.to_owned()))
        });
        let names = names.take(size.authorities).collect();
        // Guards come first, and count.
        let permissions = (GUARDS.len()..size.policies).map(|n| permission(n, size)).collect();
        Self { size, names, permissions }
    }

    /// Authorities with the name of a real municipality.
    pub(super) fn real_names(&self) -> usize {
        self.names.len()
    }

    /// Fields of each evidence type.
    pub(super) const FIELDS: usize = FIELDS;

    /// A field; the last ones are given to nobody.
    pub(super) fn field(number: usize) -> String {
        field(number)
    }

    /// Purposes, groups not counted.
    pub(super) fn purposes() -> usize {
        PURPOSES
    }

    fn authority(&self, number: usize) -> (String, String, String) {
        match self.names.get(number) {
            Some((key, name)) => (format!("gemeinde-{key}"), name.clone(), key.clone()),
            None => (format!("behoerde-{number:05}"), format!("Behörde {number}"), String::new()),
        }
    }

    /// The directory's payload.
    pub(super) fn directory(&self) -> Result<Vec<u8>, KeyError> {
        let mut seed = [0; 32];
        let mut key = |number: usize| {
            for (to, from) in seed.iter_mut().zip(number.to_be_bytes()) {
                *to = from;
            }
            Ok(KeyText::from(SigningKey::from_seed(&seed)?.public()))
        };
        let operator = |number: usize| vec![format!("betreiber-{:02}", number % OPERATORS)];
        let mut authorities = Vec::new();
        for number in 0..self.size.authorities {
            let (id, name, region) = self.authority(number);
            authorities.push(Authority {
                id,
                name,
                area: area(number),
                kinds: kinds_of(number).map(kind).collect(),
                region,
                keys: vec![key(number)?],
                operators: operator(number),
            });
        }
        let mut registers = Vec::new();
        for number in 0..self.size.registers {
            let held = held_by(number, self.size.evidence_types).map(evidence_type).collect();
            registers.push(Register {
                id: register(number),
                name: format!("Register {number}"),
                area: area(number / 3),
                region: self.names.get(number).map(|(key, _)| key.clone()).unwrap_or_default(),
                evidence_types: held,
                keys: vec![key(self.size.authorities + number)?],
                operators: operator(number),
            });
        }
        let operators = (0..OPERATORS)
            .flat_map(operator)
            .map(|id| Operator { name: format!("Rechenzentrum {id}"), id })
            .collect();
        let document = DirectoryDocument {
            version: 1,
            previous: None,
            issued_at_ms: 0,
            expires_at_ms: 1,
            lowest_rules_version: 1,
            operators,
            authorities,
            registers,
            keepers: Vec::new(),
            auditors: Vec::new(),
            brokers: Vec::new(),
            ledgers: Vec::new(),
        };
        Ok(serde_json::to_vec(&document).unwrap_or_default())
    }

    /// The rules' payload.
    pub(super) fn rules(&self) -> Vec<u8> {
        let group = |number: usize| Purpose {
            id: format!("bereich-{number:02}"),
            parent: None,
            legal_basis: vec!["§ 1 Beispielgesetz".to_owned()],
            initiations: Vec::new(),
            idnr_ground: Some("§ 5 Abs. 1 IDNrG".to_owned()),
            texts: texts("Leistungen"),
        };
        let leaf = |number: usize| Purpose {
            id: purpose(number),
            parent: Some(format!("bereich-{:02}", number / 10)),
            ..group(number)
        };
        let purposes = (0..PURPOSES / 10).map(group).chain((0..PURPOSES).map(leaf)).collect();
        let document = RulesDocument {
            version: 1,
            previous: None,
            change: None,
            issued_at_ms: 0,
            expires_at_ms: 1,
            schema: SCHEMA.to_owned(),
            policies: self.policies(),
            areas: (0..AREAS).map(|n| Area { id: area(n), texts: texts("Bereich") }).collect(),
            kinds: (0..KINDS)
                .map(|n| AuthorityKind { id: kind(n), texts: texts("Stelle") })
                .collect(),
            purposes,
            evidence_types: (0..self.size.evidence_types).map(described).collect(),
            tests: self.tests(),
            retention_days: None,
            witnesses: None,
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }

    fn policies(&self) -> String {
        let mut text = GUARDS.concat();
        for permission in &self.permissions {
            let principal = match permission.authority {
                Some(number) => format!("principal == Authority::\"{}\"", self.authority(number).0),
                None => format!("principal in AuthorityKind::\"{}\"", kind(permission.kind)),
            };
            let asked = evidence_type(permission.evidence_type);
            let fields: Vec<String> =
                (0..FIELDS - 2).map(|n| format!("    Field::\"{asked}/{}\"", field(n))).collect();
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                r#"
@id("{id}")
@legal_basis("§ {number} Beispielgesetz; § 67a Abs. 1 SGB X")
@text_de("Die Stelle braucht diese Angaben, um über den Antrag Nummer {number} zu entscheiden.")
@text_en("The office needs these details to decide about application number {number}.")
permit (
  {principal},
  action == Action::"retrieve",
  resource in EvidenceType::"{asked}"
) when {{
  context.purpose == Purpose::"{purpose}" &&
  context.initiation == "{initiation}" &&
  resource in [
{fields}
  ]
}};
"#,
                id = policy(permission.number),
                number = permission.number,
                purpose = purpose(permission.purpose),
                initiation = if permission.statutory { "statutory" } else { "application" },
                fields = fields.join(",\n"),
            );
        }
        text
    }

    /// Every tenth permission, and that it gives no special category.
    fn tests(&self) -> Vec<RuleTest> {
        let mut tests = Vec::new();
        let tested = self.permissions.iter().filter(|one| one.authority.is_none()).step_by(10);
        for permission in tested {
            for permitted in [true, false] {
                let last = if permitted { 0 } else { FIELDS - 1 };
                tests.push(RuleTest {
                    name: format!("{} {permitted}", policy(permission.number)),
                    authority_kind: kind(permission.kind),
                    authority_area: area(0),
                    register_area: area(0),
                    evidence_type: evidence_type(permission.evidence_type),
                    fields: vec![field(1), field(last)],
                    purpose: purpose(permission.purpose),
                    initiation: if permission.statutory { "statutory" } else { "application" }
                        .to_owned(),
                    idnr_used: true,
                    permitted,
                });
            }
        }
        tests
    }

    /// One question of one field for each permission, asked by one of the authorities that it
    /// gives to, of one of the registers that hold the evidence.
    pub(super) fn questions(&self) -> Vec<Question> {
        let question = |permission: &Permission| {
            let asks = |number: &usize| match permission.authority {
                Some(named) => *number == named,
                None => kinds_of(*number).any(|kind| kind == permission.kind),
            };
            let holds = |number: &usize| {
                held_by(*number, self.size.evidence_types)
                    .any(|held| held == permission.evidence_type)
            };
            // Not always the first: other areas, and other kinds beside the one that counts.
            let from = permission.number * 5;
            let mut askers = (from..from + self.size.authorities)
                .map(|number| number % self.size.authorities.max(1))
                .filter(asks);
            let mut holders = (from..from + self.size.registers)
                .map(|number| number % self.size.registers.max(1))
                .filter(holds);
            Some(Question {
                authority: self.authority(askers.next()?).0,
                register: register(holders.next()?),
                evidence_type: evidence_type(permission.evidence_type),
                fields: vec![field(permission.number % FIELDS)],
                purpose: purpose(permission.purpose),
                initiation: if permission.statutory {
                    Initiation::Statutory
                } else {
                    Initiation::Application
                },
                idnr_used: false,
            })
        };
        self.permissions.iter().filter_map(question).collect()
    }
}

/// A quarter of the policies is for one kind and fifty types: offices with much to ask. The rest
/// is spread evenly.
fn permission(number: usize, size: Size) -> Permission {
    let spread = number.wrapping_mul(0x9e37_79b1) >> 7;
    let busy = number.is_multiple_of(4);
    let (kind, types) = if busy { (0, 50) } else { (spread % KINDS, size.evidence_types) };
    Permission {
        number,
        kind,
        evidence_type: (spread / KINDS) % types.min(size.evidence_types).max(1),
        purpose: (spread / 3) % PURPOSES,
        statutory: number.is_multiple_of(3),
        authority: number
            .is_multiple_of(LITERAL_EVERY + 1)
            .then_some(spread % size.authorities.max(1)),
    }
}

/// Up to three kinds.
fn kinds_of(authority: usize) -> impl Iterator<Item = usize> {
    let mut kinds = vec![authority % KINDS, (authority / 7) % KINDS, (authority / 11) % 5];
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter()
}

/// Three evidence types.
fn held_by(register: usize, types: usize) -> impl Iterator<Item = usize> {
    (0..3.min(types)).map(move |n| (register + n * 17) % types)
}

fn described(number: usize) -> EvidenceType {
    let fields = (0..FIELDS)
        .map(|n| Field {
            name: field(n),
            texts: texts("Angabe"),
            schema: serde_json::json!({ "type": "string" }),
            special_category: n == FIELDS - 1,
        })
        .collect();
    EvidenceType {
        id: evidence_type(number),
        texts: texts("Nachweis"),
        size: 4096,
        slots: 2,
        earliest_ms: 0,
        fields,
    }
}

fn texts(of: &str) -> Texts {
    Texts { de: of.to_owned(), en: of.to_owned(), de_leicht: of.to_owned() }
}

fn area(number: usize) -> String {
    format!("bereich-{:02}", number % AREAS)
}

fn kind(number: usize) -> String {
    format!("behoerdenart-{number:02}")
}

fn evidence_type(number: usize) -> String {
    format!("nachweis-{number:03}")
}

fn field(number: usize) -> String {
    format!("angabe_{number}")
}

fn purpose(number: usize) -> String {
    format!("leistung-{number:03}")
}

fn policy(number: usize) -> String {
    format!("erlaubnis-{number:04}")
}

fn register(number: usize) -> String {
    format!("register-{number:05}")
}

/// Policies that are evaluated for everyone, like those of the example rules.
const GUARDS: [&str; 5] = [
    r#"
@id("schutz-besondere-kategorien") @legal_basis("Art. 9 DSGVO")
@text_de("Besonders geschützte Angaben.") @text_en("Specially protected details.")
forbid (principal, action == Action::"retrieve", resource)
when { resource.special_category }
unless { context.purpose in [Purpose::"leistung-001", Purpose::"leistung-002"] };
"#,
    r#"
@id("schutz-idnr") @legal_basis("§ 7 Abs. 2 IDNrG")
@text_de("Nummer nur auf Antrag.") @text_en("The number only where one applied.")
forbid (principal, action == Action::"retrieve", resource)
when { context.crosses_areas && context.idnr_used }
unless { context.initiation == "application" };
"#,
    r#"
@id("schutz-gruppe") @legal_basis("Art. 5 Abs. 1 lit. c DSGVO")
@text_de("Nie für diese Leistungen.") @text_en("Never for these.")
forbid (principal, action == Action::"retrieve", resource)
when {
  context.purpose in Purpose::"bereich-03" &&
  resource in [Field::"nachweis-001/angabe_1", Field::"nachweis-002/angabe_2"]
};
"#,
    r#"
@id("schutz-bereich") @legal_basis("§ 12 Abs. 1 IDNrG")
@text_de("Nicht aus diesem Bereich.") @text_en("Not from this area.")
forbid (principal, action == Action::"retrieve", resource)
when { principal.area == "bereich-13" && context.crosses_areas && context.idnr_used };
"#,
    r#"
@id("schutz-art") @legal_basis("§ 67a Abs. 1 SGB X")
@text_de("Nicht für diese Stellen.") @text_en("Not for these offices.")
forbid (principal in AuthorityKind::"behoerdenart-39", action == Action::"retrieve", resource)
when { context.initiation == "statutory" && resource.special_category };
"#,
];
