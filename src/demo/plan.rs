// SPDX-License-Identifier: EUPL-1.2
//! The demo's world on disk: certificates, keys, signed rules and directory, registers, and a
//! configuration file for every party, just as an operator would write them.

use std::{
    fmt::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use einmal_peer::{Clock, PeerRole, SpiffeId, files};
use einmal_policy::{
    chain::Accepted,
    deny::DenyDocument,
    directory::{Authority, Broker, DirectoryDocument, Keeper, LedgerEntry, Operator, Register},
    freshness::Freshness,
    root::{KeyText, Role, RoleKeys, RootDocument},
};
use einmal_protocol::{
    Digest, envelope::payload_type, key::SigningKey, note::LedgerKey, wire::v1::Envelope,
};
use prost::Message;
use serde::Serialize;

use super::{
    library,
    people::{Person, Town, town},
    registers::{self, DemoRegister},
};
use crate::{
    Exit,
    adapter::officer,
    pki::{CertificateAuthority, identity_key},
    rules::{Edition, read_folder},
};

/// The trust domain of the demo.
pub const TRUST_DOMAIN: &str = "demo.einmal.example";
/// The demo's ledger.
pub const LEDGER: &str = "demo.einmal.example/ledger-1";
/// The authority that asks.
pub const AUTHORITY: &str = "elterngeldstelle-bremen";
/// Another authority, which the rules permit much less.
pub const OTHER_AUTHORITY: &str = "wohngeldstelle-bremen";
/// The operator of both.
pub const AUTHORITY_OPERATOR: &str = "it-bremen";
/// The keeper of the access records.
pub const KEEPER: &str = "datenschutzcockpit";
/// Who publishes signed documents, and keeps the deny list fresh.
const PUBLISHER: &str = "publisher";
const BROKER: &str = "broker-1";
const DATABASE: &str = "broker/ledger.sqlite";
const PORT_MIN: u32 = 20_000;
const PORTS: u32 = 12_000;
const DAY_MS: u64 = 86_400_000;
const SUPPORTED_DAYS: u64 = 90;
const OFFICER_DAYS: u32 = 40;

/// A world on disk.
pub struct Plan {
    /// Where it lies.
    pub folder: PathBuf,
    /// Who lives there.
    pub town: Town,
    /// The registers.
    pub registers: Vec<DemoRegister>,
    /// Adapter configurations, one an operator.
    pub adapters: Vec<PathBuf>,
    /// When rules and directory were issued.
    pub issued_at_ms: u64,
}

/// Makes certificates as the world's authority.
struct Maker {
    folder: PathBuf,
    authority: CertificateAuthority,
    issued_at_ms: u64,
}

impl Plan {
    /// Makes a whole world in an empty folder.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub async fn create(folder: &Path, clock: &Clock) -> Result<Self, Exit> {
        let ledger = format!("database = \"{DATABASE}\"\n");
        Self::create_with(folder, clock, &ledger).await
    }

    /// Makes a whole world, whose ledger lies in the empty PostgreSQL database of this URL.
    ///
    /// # Errors
    /// Where files cannot be written, or the database is none.
    pub async fn create_in_postgres(folder: &Path, clock: &Clock, url: &str) -> Result<Self, Exit> {
        let ledger = format!("\n[ledger.postgres]\nurl = \"{url}\"\n");
        Self::create_with(folder, clock, &ledger).await
    }

    async fn create_with(folder: &Path, clock: &Clock, ledger: &str) -> Result<Self, Exit> {
        let town = town();
        let registers =
            registers::create(&folder.join("registers"), &town).await.map_err(Exit::failed)?;
        let maker = Maker {
            folder: folder.to_owned(),
            authority: CertificateAuthority::create(&folder.join("pki"))?,
            issued_at_ms: clock.now_ms(),
        };
        let broker = format!("https://127.0.0.1:{}", free_port()?);
        let keeper = format!("https://127.0.0.1:{}", free_port()?);
        let ledger_key = maker.ledger_key()?;
        let root = maker.root()?;
        maker.rules()?;
        let directory = maker.directory(&registers, (&broker, &keeper), &ledger_key)?;
        maker.sign("directory", payload_type::DIRECTORY, &directory, &["register-authority"])?;
        maker.sign("root", payload_type::ROOT, &root, &["root-1", "root-2"])?;
        let deny = DenyDocument {
            version: 1,
            previous: None,
            issued_at_ms: maker.issued_at_ms,
            entries: Vec::new(),
        };
        maker.sign("deny", payload_type::DENY, &deny, &["emergency"])?;
        maker.publisher_config(&broker)?;
        maker.broker_config(&broker, ledger).await?;
        let adapters = maker.adapter_configs(&registers, &broker)?;
        maker.cockpit_config(&town, &broker, &keeper)?;
        maker.client_configs(&town, &broker)?;
        let issued_at_ms = maker.issued_at_ms;
        Ok(Self { folder: folder.to_owned(), town, registers, adapters, issued_at_ms })
    }

    /// A configuration file.
    pub fn config(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.toml"))
    }

    /// The pinned root.
    ///
    /// # Errors
    /// Where the file is gone.
    pub fn root(&self) -> Result<Envelope, Exit> {
        Ok(files::envelope(&self.folder.join("trust/root.signed"))?)
    }

    /// What the world's online key says of rules, directory and deny list.
    ///
    /// # Errors
    /// Where the key cannot be used.
    pub fn freshness(
        &self,
        documents: [&Envelope; 3],
        issued_at_ms: u64,
    ) -> Result<Envelope, Exit> {
        let of = |envelope: &Envelope| {
            let document: serde_json::Value =
                serde_json::from_slice(&envelope.payload).map_err(Exit::failed)?;
            let version = document.get("version").and_then(serde_json::Value::as_u64);
            let digest = Digest::of(&envelope.payload).to_hex();
            Ok::<_, Exit>(Accepted { version: version.unwrap_or_default(), digest })
        };
        let [rules, directory, deny] = documents;
        let (rules, directory, deny) = (of(rules)?, of(directory)?, of(deny)?);
        let freshness = Freshness { issued_at_ms, rules, directory, deny };
        self.sign(payload_type::FRESHNESS, &freshness, &["online"])
    }

    /// Signs a changed document as the world's officers would: for tests of what is refused.
    ///
    /// # Errors
    /// Where keys or files cannot be used.
    pub fn sign(
        &self,
        kind: &str,
        document: &impl Serialize,
        signers: &[&str],
    ) -> Result<Envelope, Exit> {
        sign(&self.folder, kind, document, signers)
    }
}

/// A free port of the loopback, below those that the system gives to outgoing connections, so
/// that nobody takes it by chance before it is listened on.
fn free_port() -> Result<u16, Exit> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORT_MIN + begin.wrapping_add(step) % PORTS;
        let port = u16::try_from(port).map_err(Exit::failed)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Exit::failed("no port of the loopback is free"))
}

fn sign(
    folder: &Path,
    kind: &str,
    document: &impl Serialize,
    signers: &[&str],
) -> Result<Envelope, Exit> {
    let payload = serde_json::to_vec(document).map_err(Exit::failed)?;
    let keys: Vec<SigningKey> = signers
        .iter()
        .map(|name| files::signing_key(&folder.join(format!("keys/{name}.key"))))
        .collect::<Result<_, _>>()?;
    let keys: Vec<&SigningKey> = keys.iter().collect();
    Envelope::sign(kind, payload, &keys).map_err(Exit::failed)
}

impl Maker {
    fn key(&self, name: &str) -> Result<KeyText, Exit> {
        identity_key(&self.folder.join(format!("keys/{name}.key")))
    }

    fn certificate(&self, role: PeerRole, id: &str) -> Result<(), Exit> {
        let trust_domain = TRUST_DOMAIN.to_owned();
        let id = SpiffeId { trust_domain, role, id: id.to_owned() };
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        self.authority.issue(&id, &id.id, &hosts)?;
        Ok(())
    }

    fn sign(
        &self,
        name: &str,
        kind: &str,
        document: &impl Serialize,
        signers: &[&str],
    ) -> Result<(), Exit> {
        let envelope = sign(&self.folder, kind, document, signers)?;
        let file = self.folder.join(format!("trust/{name}.signed"));
        Ok(files::replace(&file, &envelope.encode_to_vec())?)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Exit> {
        let file = self.folder.join(format!("{name}.toml"));
        files::replace(&file, text.as_bytes())?;
        Ok(file)
    }

    fn ledger_key(&self) -> Result<LedgerKey, Exit> {
        let key = self.key("ledger")?.parse().map_err(Exit::failed)?;
        LedgerKey::new(LEDGER, key).map_err(Exit::failed)
    }

    fn expires(&self) -> u64 {
        self.issued_at_ms + SUPPORTED_DAYS * DAY_MS
    }

    fn root(&self) -> Result<RootDocument, Exit> {
        let role = |names: &[&str], threshold| {
            let keys = names.iter().map(|name| self.key(name)).collect::<Result<_, _>>()?;
            Ok::<_, Exit>(RoleKeys { keys, threshold })
        };
        Ok(RootDocument {
            version: 1,
            previous: None,
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires(),
            trust_domain: TRUST_DOMAIN.to_owned(),
            roles: [
                (Role::Root, role(&["root-1", "root-2", "root-3"], 2)?),
                (Role::RegisterAuthority, role(&["register-authority"], 1)?),
                (Role::DataProtectionOfficer, role(&["data-protection-officer"], 1)?),
                (Role::Emergency, role(&["emergency"], 1)?),
                (Role::Online, role(&["online"], 1)?),
            ]
            .into(),
        })
    }

    fn rules(&self) -> Result<(), Exit> {
        let folder = self.folder.join("rules");
        library::write(&folder)?;
        let edition = Edition {
            version: 1,
            previous: None,
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires(),
        };
        let document = read_folder(&folder, edition)?;
        let signers = ["register-authority", "data-protection-officer"];
        self.sign("rules", payload_type::RULES, &document, &signers)
    }

    fn directory(
        &self,
        registers: &[DemoRegister],
        (broker, keeper): (&str, &str),
        ledger: &LedgerKey,
    ) -> Result<DirectoryDocument, Exit> {
        let mut operators = vec![AUTHORITY_OPERATOR.to_owned()];
        operators.extend(registers.iter().map(|register| register.operator.clone()));
        operators.sort_unstable();
        operators.dedup();
        for operator in &operators {
            self.certificate(PeerRole::Operator, operator)?;
        }
        self.certificate(PeerRole::Broker, BROKER)?;
        self.certificate(PeerRole::Cockpit, KEEPER)?;
        let register = |found: &DemoRegister| {
            Ok::<_, Exit>(Register {
                id: found.id.clone(),
                name: found.name.clone(),
                area: found.area.clone(),
                region: found.region.clone(),
                evidence_types: found.evidence_types.clone(),
                keys: vec![self.key(&found.id)?],
                operators: vec![found.operator.clone()],
            })
        };
        Ok(DirectoryDocument {
            version: 1,
            previous: None,
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires(),
            lowest_rules_version: 1,
            operators: operators
                .iter()
                .map(|id| Operator { id: id.clone(), name: id.clone() })
                .collect(),
            authorities: vec![
                self.office(AUTHORITY, "Elterngeldstelle Bremen", "parental-allowance-office")?,
                self.office(OTHER_AUTHORITY, "Wohngeldstelle Bremen", "housing-benefit-office")?,
            ],
            registers: registers.iter().map(register).collect::<Result<_, _>>()?,
            keepers: vec![Keeper {
                address: keeper.to_owned(),
                id: KEEPER.to_owned(),
                name: "Datenschutzcockpit".to_owned(),
                keys: vec![self.key(KEEPER)?],
            }],
            auditors: Vec::new(),
            brokers: vec![Broker {
                id: BROKER.to_owned(),
                name: "Broker 1".to_owned(),
                address: broker.to_owned(),
                ledger: LEDGER.to_owned(),
            }],
            ledgers: vec![LedgerEntry {
                origin: LEDGER.to_owned(),
                key: ledger.to_string(),
                url: String::new(),
                keeper: KEEPER.to_owned(),
                final_checkpoint: None,
            }],
        })
    }

    fn office(&self, id: &str, name: &str, kind: &str) -> Result<Authority, Exit> {
        Ok(Authority {
            id: id.to_owned(),
            name: name.to_owned(),
            area: "labour-social".to_owned(),
            kinds: vec![kind.to_owned()],
            region: "04011000".to_owned(),
            keys: vec![self.key(id)?],
            operators: vec![AUTHORITY_OPERATOR.to_owned()],
        })
    }

    /// `ledger` says where the ledger lies.
    async fn broker_config(&self, broker: &str, ledger: &str) -> Result<(), Exit> {
        let listen = broker.trim_start_matches("https://");
        let text = format!(
            "listen = \"{listen}\"\n\
             public = \"127.0.0.1:0\"\n\
             metrics = \"127.0.0.1:0\"\n\
             root = \"trust/root.signed\"\n\
             rules = \"trust/rules.signed\"\n\
             directory = \"trust/directory.signed\"\n\
             deny = \"trust/deny.signed\"\n\
             state = \"broker\"\n\n{}\n\
             [ledger]\n\
             origin = \"{LEDGER}\"\n\
             key = \"keys/ledger.key\"\n\
             memory = \"memory/ledger.checkpoint\"\n\
             {ledger}",
            tls(BROKER)
        );
        let file = self.write("broker", &text)?;
        for folder in ["broker", "memory"] {
            std::fs::create_dir_all(self.folder.join(folder)).map_err(Exit::failed)?;
        }
        let section = crate::broker::read(&file)?.ledger;
        let key = files::signing_key(&section.key)?;
        einmal_broker::open_ledger::create(&section, key).await.map_err(Exit::failed)
    }

    fn adapter_configs(
        &self,
        registers: &[DemoRegister],
        broker: &str,
    ) -> Result<Vec<PathBuf>, Exit> {
        officer::make(&self.folder.join("officer"), OFFICER_DAYS, self.issued_at_ms)?;
        let mut operators: Vec<&str> =
            registers.iter().map(|register| register.operator.as_str()).collect();
        operators.sort_unstable();
        operators.dedup();
        let mut configs = Vec::new();
        for operator in operators {
            let mut text = format!(
                "broker = \"{broker}\"\n\
                 root = \"trust/root.signed\"\n\
                 state = \"adapter-{operator}\"\nmetrics = \"127.0.0.1:0\"\n\n{}",
                tls(operator)
            );
            for DemoRegister { id, .. } in registers.iter().filter(|one| one.operator == operator) {
                let _ = write!(
                    text,
                    "\n[[register]]\n\
                     id = \"{id}\"\n\
                     identity = \"keys/{id}.key\"\n\
                     sources = \"registers/{id}.toml\"\nofficer = \"officer/officer.cards\"\n\
                     journal = \"adapter-{operator}/journal/{id}\"\n"
                );
            }
            configs.push(self.write(&format!("adapter-{operator}"), &text)?);
        }
        Ok(configs)
    }

    fn cockpit_config(&self, town: &Town, broker: &str, keeper: &str) -> Result<(), Exit> {
        let checkpoints = keeper.trim_start_matches("https://");
        let mut text = format!(
            "keeper = \"{KEEPER}\"\n\
             broker = \"{broker}\"\n\
             root = \"trust/root.signed\"\n\
             identity = \"keys/{KEEPER}.key\"\n\
             ledger = \"{LEDGER}\"\n\
             site_key = \"cockpit/site.key\"\n\
             day_keys = [\"cockpit/days-1\", \"cockpit/days-2\"]\n\
             state = \"cockpit/state\"\n\
             listen = \"127.0.0.1:0\"\n\
             checkpoints = \"{checkpoints}\"\n\
             metrics = \"127.0.0.1:0\"\nsecure_cookies = false\n\n{}",
            tls(KEEPER)
        );
        for index in [town.applicant, town.partner, town.newborn, town.sibling] {
            let Some(person) = town.person(index) else { continue };
            let _ = write!(text, "\n[[demo_persons]]\n{}", login_of(person));
        }
        self.write("cockpit", &text)?;
        Ok(())
    }

    fn publisher_config(&self, broker: &str) -> Result<(), Exit> {
        self.certificate(PeerRole::Operator, PUBLISHER)?;
        let text = format!(
            "broker = \"{broker}\"\n\
             root = \"trust/root.signed\"\n\
             state = \"publisher\"\n\
             online_key = \"keys/online.key\"\n\n{}",
            tls(PUBLISHER)
        );
        self.write("publisher", &text)?;
        Ok(())
    }

    fn client_configs(&self, town: &Town, broker: &str) -> Result<(), Exit> {
        for (name, authority) in [("client", AUTHORITY), ("client-other", OTHER_AUTHORITY)] {
            let text = format!(
                "broker = \"{broker}\"\n\
                 root = \"trust/root.signed\"\n\
                 state = \"{name}\"\n\
                 authority = \"{authority}\"\n\
                 identity = \"keys/{authority}.key\"\n\n{}",
                tls(AUTHORITY_OPERATOR)
            );
            self.write(name, &text)?;
        }
        if let Some(person) = town.person(town.applicant) {
            let text = format!(
                "idnr = \"{}\"\nbirth_date = \"{}\"\ncase_reference = \"EG-2026-0042\"\n",
                person.idnr, person.birth_date
            );
            self.write("person", &text)?;
        }
        Ok(())
    }
}

/// The section of a configuration that names this one's certificate.
pub(crate) fn tls(name: &str) -> String {
    format!(
        "[tls]\ncertificate = \"pki/{name}.pem\"\nkey = \"pki/{name}.key\"\n\
         authorities = \"pki/ca.pem\"\n"
    )
}

fn login_of(person: &Person) -> String {
    format!(
        "idnr = \"{}\"\nbirth_name = \"{}\"\ngiven_names = \"{}\"\nbirth_date = \"{}\"\n\
         birth_place = \"{}\"\n",
        person.idnr, person.birth_name, person.given_names, person.birth_date, person.birth_place
    )
}
