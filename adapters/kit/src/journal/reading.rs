// SPDX-License-Identifier: EUPL-1.2
//! Reading journals: every entry of a folder, with its chain verified, and those about one person.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    path::{Path, PathBuf},
};

use einmal_protocol::{Digest, digest::hex, seal::SealingPrivateKey, wire::v1::Subject};

use super::{
    BrokenJournal, Exchange, What,
    frame::{self, Reader},
};

/// A journal's folder, to be read. The adapter may be writing to it meanwhile.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    register: Option<String>,
}

impl Folder {
    /// A journal's folder.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), register: None }
    }

    /// The days that are there, oldest first; days since 1970 (UTC).
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn days(&self) -> Result<Vec<u32>, BrokenJournal> {
        Ok(frame::days(&self.path)?)
    }

    /// Whose journal it is, once something was read of it.
    pub fn register(&self) -> Option<&str> {
        self.register.as_deref()
    }

    /// Hands out all that is written of a day, in order.
    ///
    /// # Errors
    /// Where the day's file was changed, or cannot be read.
    pub fn day(&mut self, day: u32, take: &mut dyn FnMut(What)) -> Result<(), BrokenJournal> {
        let mut reader = Reader::open(&frame::path_of(&self.path, day))?;
        let Some(head) = reader.head()? else { return Ok(()) };
        if head.day != day || self.register.as_ref().is_some_and(|of| *of != head.register) {
            return Err(reader.changed());
        }
        self.register = Some(head.register);
        while let Some(group) = reader.group()? {
            group.items.into_iter().filter_map(|item| item.what).for_each(&mut *take);
        }
        Ok(())
    }

    /// Hands out all of it.
    ///
    /// # Errors
    /// At the first file that was changed.
    pub fn all(&mut self, take: &mut dyn FnMut(What)) -> Result<(), BrokenJournal> {
        for day in self.days()? {
            self.day(day, take)?;
        }
        Ok(())
    }
}

/// An entry about the person who was looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What stands in the clear.
    pub exchange: Exchange,
    /// What was found, as `Outcome`'s name without its prefix, lower case.
    pub result: String,
    /// The fields that left.
    pub fields: Vec<String>,
    /// The authority's file number, where this person was the one asked about.
    pub case_reference: String,
    /// Whether this person was the one asked about, or only named beside.
    pub asked: bool,
    /// Found by identification number or a whole birth identity; otherwise the names and the birth
    /// date fit, and an officer must look whether it is the same person.
    pub certain: bool,
    /// The answer stayed here after all.
    pub withheld: bool,
}

/// What was found about a person.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundEntries {
    /// By time.
    pub entries: Vec<Entry>,
    /// Entries that were read.
    pub read: u64,
    /// Entries that no key opens, by day: their keys were destroyed, or are another officer's.
    pub unopened: HashMap<u32, u64>,
}

/// Finds all entries about a person. The keys are asked for by day.
///
/// # Errors
/// Where the journal was changed, or a key cannot be read.
pub fn find<E: From<BrokenJournal>>(
    folder: &mut Folder,
    person: &Subject,
    mut key_of: impl FnMut(u32) -> Result<Option<SealingPrivateKey>, E>,
) -> Result<FoundEntries, E> {
    let mut found = FoundEntries::default();
    let mut withheld: BTreeSet<Vec<u8>> = BTreeSet::new();
    for day in folder.days()? {
        let mut exchanges = Vec::new();
        folder.day(day, &mut |what| match what {
            What::Exchange(exchange) => exchanges.push(exchange),
            What::Withheld(one) => {
                withheld.insert(one.request_id);
            }
            What::NotLogged(_) => {}
        })?;
        let mut keys: HashMap<u32, Option<SealingPrivateKey>> = HashMap::new();
        for exchange in exchanges {
            found.read += 1;
            let key_day = exchange.key_day;
            let key = match keys.entry(key_day) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(new) => new.insert(key_of(key_day)?),
            };
            let Some(mut records) = key.as_ref().and_then(|key| exchange.open(key)) else {
                *found.unopened.entry(key_day).or_default() += 1;
                continue;
            };
            let about = records.people.iter().find_map(|one| {
                let fits = fits(person, one.subject.as_ref()?)?;
                Some((one.role() == einmal_protocol::wire::v1::SubjectRole::Asked, fits))
            });
            if let Some((asked, certain)) = about {
                let name = records.outcome().as_str_name().to_ascii_lowercase();
                found.entries.push(Entry {
                    exchange,
                    result: name.trim_start_matches("outcome_").replace('_', " "),
                    fields: records.fields.clone(),
                    case_reference: match asked {
                        true => records.case_reference.clone(),
                        false => String::new(),
                    },
                    asked,
                    certain,
                    withheld: false,
                });
            }
            records.wipe();
        }
    }
    for entry in &mut found.entries {
        entry.withheld = withheld.contains(&entry.exchange.request_id);
    }
    found.entries.sort_by_key(|entry| entry.exchange.at_ms);
    Ok(found)
}

/// Whether a record is about this person, and whether that is certain. Too much is shown rather
/// than too little: it is the officer who reads it, and not yet the person.
fn fits(person: &Subject, found: &Subject) -> Option<bool> {
    let parts = |subject: &Subject| {
        [&subject.idnr, &subject.birth_name, &subject.given_names, &subject.birth_date]
            .map(|part| normal(part))
    };
    let (wanted, got) = (parts(person), parts(found));
    let differs =
        |(one, other): (&String, &String)| !one.is_empty() && !other.is_empty() && one != other;
    let [idnr, ..] = &wanted;
    if !idnr.is_empty() && got.first() == Some(idnr) {
        return Some(true);
    }
    if wanted.iter().zip(&got).any(differs) {
        return None;
    }
    let [_, name, given, date] = &wanted;
    let [_, got_name, got_given, got_date] = &got;
    // A residence is asked for without given names, so those may be missing.
    if name.is_empty() || name != got_name || date.is_empty() || date != got_date {
        return None;
    }
    let places = [normal(&person.birth_place), normal(&found.birth_place)];
    let [place, got_place] = &places;
    if differs((place, got_place)) {
        return None;
    }
    Some(!place.is_empty() && place == got_place && !given.is_empty() && given == got_given)
}

/// Upper and lower case, white space and hyphens, umlauts and ß as the matching of registers has
/// them.
fn normal(text: &str) -> String {
    let spaced = text.replace('-', " ").to_lowercase();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    words.join(" ").replace('ä', "ae").replace('ö', "oe").replace('ü', "ue").replace('ß', "ss")
}

/// Counts without anybody's name, of which small ones are not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Exchanges by authority and purpose.
    pub exchanges: HashMap<(String, String), u64>,
    /// Answers that stayed here after all.
    pub withheld: u64,
    /// Commitments that were never proven to be logged, by broker and authority.
    pub not_logged: HashMap<(String, String), u64>,
    /// The first and the last day that there is.
    pub days: Option<(u32, u32)>,
}

/// Counts a whole journal.
///
/// # Errors
/// Where it was changed.
pub fn count(folder: &mut Folder) -> Result<Counts, BrokenJournal> {
    let days = folder.days()?;
    let mut counts =
        Counts { days: days.first().copied().zip(days.last().copied()), ..Counts::default() };
    folder.all(&mut |what| match what {
        What::Exchange(Exchange { authority, purpose, .. }) => {
            *counts.exchanges.entry((authority, purpose)).or_default() += 1;
        }
        What::Withheld(_) => counts.withheld += 1,
        What::NotLogged(one) => {
            *counts.not_logged.entry((one.broker, one.authority)).or_default() += 1;
        }
    })?;
    Ok(counts)
}

/// A request's id as people write it.
pub fn id_text(id: &[u8]) -> String {
    einmal_protocol::RequestId::parse(id).map_or_else(|_| hex(id), |id| id.to_string())
}

/// What a receipt proves by itself, without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offline {
    /// It leads to a checkpoint that the ledger's key signed.
    Holds,
    /// It does not, and why.
    Fails(String),
}

/// Checks an entry's receipt offline, with the ledger's key as the adapter knew it or as the reader
/// knows it.
pub fn check(exchange: &Exchange, key: Option<&str>) -> Offline {
    use einmal_protocol::{leaf::Leaf, note::LedgerKey, receipt};
    let text = key.unwrap_or(&exchange.ledger_key);
    let ledger = match LedgerKey::parse(text) {
        Ok(ledger) => ledger,
        Err(error) => return Offline::Fails(format!("the ledger's key: {error}")),
    };
    let Some(wire) = &exchange.receipt else { return Offline::Fails("there is none".to_owned()) };
    let Ok(leaf) = Leaf::parse(&wire.leaf) else {
        return Offline::Fails("its leaf is malformed".to_owned());
    };
    match receipt::verify(wire, leaf, &ledger, None) {
        Ok(_) => Offline::Holds,
        Err(error) => Offline::Fails(error.to_string()),
    }
}

/// The digest of an entry's leaf, as tools for the ledger name it.
pub fn leaf_of(exchange: &Exchange) -> Option<Digest> {
    let leaf = &exchange.receipt.as_ref()?.leaf;
    Some(einmal_protocol::leaf::Leaf::parse(leaf).ok()?.hash())
}
