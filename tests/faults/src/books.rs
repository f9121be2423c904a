// SPDX-License-Identifier: EUPL-1.2
//! What must stand in a ledger, by the word of those who were answered, and what does stand there.

use std::collections::{BTreeMap, HashMap};

use einmal_ledger::{AppendError, Ledger, Logged};
use einmal_protocol::{
    Digest,
    digest::{hex, unhex},
    leaf::Leaf,
    merkle::{self, Edge},
    note::LedgerKey,
    receipt,
    wire::v1::Receipt,
};

use crate::{item::Item, random::Random, report::Tally, site::ledger_key};

/// What one who appends saw, in the order seen.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The ledger was opened.
    Opened,
    /// It was not.
    Refused(String),
    /// An append was begun.
    Asked(Item),
    /// It was answered with a receipt.
    Logged(Item, Box<Receipt>),
    /// The id has its leaf already.
    Duplicate(Item, u64),
    /// Nothing was logged: busy, full, too old.
    Not(Item),
    /// The ledger stopped; whether it was logged is not known.
    Stopped(String),
}

impl Event {
    /// What an answer means.
    pub(crate) fn of(item: Item, answer: Result<Logged, AppendError>) -> Self {
        match answer {
            Ok(logged) => Self::Logged(item, Box::new(logged.receipt(None))),
            Err(AppendError::Duplicate { index, .. }) => Self::Duplicate(item, index),
            Err(AppendError::Stopped(why)) => Self::Stopped(why),
            Err(_) => Self::Not(item),
        }
    }

    /// One line, for another process.
    pub(crate) fn to_line(&self) -> String {
        let of = |item: &Item| format!("{} {}", item.number, item.variant);
        match self {
            Self::Opened => "opened\n".to_owned(),
            Self::Refused(why) => format!("refused {why}\n"),
            Self::Asked(item) => format!("asked {}\n", of(item)),
            Self::Logged(item, receipt) => {
                let path = receipt.inclusion.concat();
                let (path, note) = (hex(&path), hex(receipt.checkpoint.as_bytes()));
                format!("logged {} {} .{path} {note}\n", of(item), receipt.index)
            }
            Self::Duplicate(item, index) => format!("duplicate {} {index}\n", of(item)),
            Self::Not(item) => format!("not {}\n", of(item)),
            Self::Stopped(why) => format!("stopped {why}\n"),
        }
    }

    /// Reads a line; nothing where it is none.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let mut item = || Some(Item { number: number()?, variant: u8::try_from(number()?).ok()? });
        Some(match word {
            "opened" => Self::Opened,
            "refused" => Self::Refused(rest.to_owned()),
            "stopped" => Self::Stopped(rest.to_owned()),
            "asked" => Self::Asked(item()?),
            "not" => Self::Not(item()?),
            "duplicate" => Self::Duplicate(item()?, number()?),
            "logged" => {
                let (item, index) = (item()?, number()?);
                let path = unhex(words.next()?.strip_prefix('.')?)?;
                let receipt = Receipt {
                    index,
                    leaf: item.leaf().to_bytes().to_vec(),
                    inclusion: path.chunks(32).map(<[u8]>::to_vec).collect(),
                    checkpoint: String::from_utf8(unhex(words.next()?)?).ok()?,
                    consistency: None,
                };
                Self::Logged(item, Box::new(receipt))
            }
            _ => return None,
        })
    }
}

/// What became of one number in one round.
#[derive(Default)]
struct Fate {
    asked: u32,
    ended: u32,
    logged: u32,
}

/// The ledger as it was found, and as it was said to be.
pub(crate) struct Books {
    key: LedgerKey,
    edge: Edge,
    /// The root at every size, and each leaf with its number.
    roots: Vec<Digest>,
    leaves: Vec<(Leaf, u64)>,
    /// Where each number stands.
    places: HashMap<u64, u64>,
    pub(crate) tally: Tally,
}

impl Books {
    pub(crate) fn new(tally: Tally) -> Self {
        Self {
            key: ledger_key(),
            edge: Edge::default(),
            roots: vec![merkle::empty_root()],
            leaves: Vec::new(),
            places: HashMap::new(),
            tally,
        }
    }

    /// Numbers that stand in the ledger, any of them.
    pub(crate) fn place_of(&self, number: u64) -> Option<u64> {
        self.places.get(&number).copied()
    }

    /// The number that stands there.
    pub(crate) fn number_at(&self, index: u64) -> Option<u64> {
        let leaf = self.leaves.get(usize::try_from(index).unwrap());
        leaf.map(|(_, number)| *number).filter(|number| *number != u64::MAX)
    }

    pub(crate) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Reads what is new in the ledger, and compares the whole tree with the one known.
    pub(crate) async fn read(&mut self, ledger: &Ledger) {
        let checkpoint = ledger.checkpoint();
        if checkpoint.size() < self.size() {
            let (found, known) = (checkpoint.size(), self.size());
            return self.tally.loss(&format!("the ledger has {found} leaves, it had {known}"));
        }
        while self.size() < checkpoint.size() {
            let wanted = usize::try_from(checkpoint.size() - self.size()).unwrap();
            let entries = match ledger.entries(self.size(), wanted).await {
                Ok(entries) if !entries.is_empty() => entries,
                other => return self.tally.loss(&format!("leaf {}: {other:?}", self.size())),
            };
            for entry in entries {
                self.enter(&entry);
            }
        }
        if self.edge.root() != checkpoint.root() {
            self.tally.loss(&format!("the tree of {} leaves is another one", self.size()));
        }
    }

    fn enter(&mut self, entry: &einmal_ledger::StoredEntry) {
        let index = self.size();
        let item = entry.body.as_deref().and_then(Item::of_body);
        match item {
            Some(item) if entry.index == index && entry.leaf == item.leaf() => {
                if let Some(first) = self.places.insert(item.number, index) {
                    self.tally.double(&format!("{item:?} stands at {first} and at {index}"));
                }
            }
            _ => self.tally.loss(&format!("leaf {index} is none that anyone asked for: {entry:?}")),
        }
        self.edge.push(entry.leaf.hash());
        self.roots.push(self.edge.root());
        self.leaves.push((entry.leaf, item.map_or(u64::MAX, |item| item.number)));
    }

    /// Holds what was answered against what was read; gives those of whom it is not known whether
    /// they were written, and whether they were.
    pub(crate) fn settle(&mut self, before: u64, events: &[Event]) -> Vec<(Item, Option<u64>)> {
        let mut fates: BTreeMap<u64, Fate> = BTreeMap::new();
        for event in events {
            let (Event::Asked(item)
            | Event::Logged(item, _)
            | Event::Duplicate(item, _)
            | Event::Not(item)) = event
            else {
                continue;
            };
            let fate = fates.entry(item.number).or_default();
            match event {
                Event::Asked(_) => fate.asked += 1,
                Event::Logged(item, receipt) => {
                    fate.logged += 1;
                    fate.ended += 1;
                    self.check(*item, receipt);
                }
                Event::Duplicate(item, index) => {
                    fate.ended += 1;
                    self.tally.duplicates += 1;
                    if self.place_of(item.number) != Some(*index) {
                        self.tally.wrong(&format!("{item:?} was said to stand at {index}"));
                    }
                }
                _ => fate.ended += 1,
            }
        }
        let mut unknown = Vec::new();
        for (number, fate) in fates {
            let place = self.place_of(number);
            if fate.logged > 1 {
                self.tally.double(&format!("{number} was answered twice"));
            } else if fate.logged == 0
                && fate.asked > fate.ended
                && place.is_none_or(|place| place >= before)
            {
                match place {
                    Some(_) => self.tally.unknown_written += 1,
                    None => self.tally.unknown_not_written += 1,
                }
                unknown.push((Item::new(number), place));
            } else if fate.logged == 0
                && place.is_some_and(|place| place >= before)
                && !events.iter().any(
                    |event| matches!(event, Event::Duplicate(item, _) if item.number == number),
                )
            {
                self.tally.wrong(&format!("{number} was written, and answered that it was not"));
            }
        }
        unknown
    }

    /// A receipt against the ledger.
    fn check(&mut self, item: Item, receipt: &Receipt) {
        self.tally.receipts += 1;
        let index = receipt.index;
        let proven = match receipt::verify(receipt, item.leaf(), &self.key, None) {
            Ok(proven) => proven,
            Err(error) => return self.tally.loss(&format!("the receipt of {item:?}: {error}")),
        };
        let at = usize::try_from(index).unwrap();
        let stands = (item.leaf(), item.number);
        if self.leaves.get(at) != Some(&stands) || self.place_of(item.number) != Some(index) {
            return self.tally.loss(&format!("{item:?} was answered for leaf {index}"));
        }
        let (size, root) = (proven.checkpoint().size(), proven.checkpoint().root());
        let known = usize::try_from(size).ok().and_then(|size| self.roots.get(size));
        if known != Some(&root) {
            self.tally.loss(&format!("the checkpoint of {size} leaves is of another tree"));
        }
    }

    /// Any number that stands in the ledger.
    pub(crate) fn any_number(&self, random: &mut Random) -> Option<u64> {
        let size = self.size();
        (size > 0).then(|| self.number_at(random.below(size)))?
    }

    /// The same ids again, a new one, and one known: whoever was not answered may send it again, and
    /// is told the truth, unless its id is of before the horizon.
    pub(crate) async fn ask_again(
        &mut self,
        ledger: &Ledger,
        unknown: &[(Item, Option<u64>)],
        fresh: u64,
        known: Option<u64>,
        horizon_ms: u64,
    ) {
        let before = self.size();
        let mut asked: Vec<Item> = unknown.iter().map(|(item, _)| *item).collect();
        asked.extend([fresh].into_iter().chain(known).map(Item::new));
        let tasks: Vec<_> = asked
            .into_iter()
            .map(|item| {
                let ledger = ledger.clone();
                tokio::spawn(async move { Event::of(item, ledger.append(item.entry()).await) })
            })
            .collect();
        let mut events = Vec::new();
        for task in tasks {
            events.push(task.await.unwrap());
        }
        for event in &events {
            match event {
                Event::Logged(..) | Event::Duplicate(..) => {}
                Event::Not(item) if item.issued_ms() < horizon_ms => {}
                other => self.tally.wrong(&format!("asked again: {other:?}")),
            }
        }
        for (item, place) in unknown.iter().filter(|(item, _)| item.issued_ms() >= horizon_ms) {
            let said = events.iter().find_map(|event| match event {
                Event::Duplicate(one, index) if one == item => Some(*index),
                _ => None,
            });
            if said != *place {
                self.tally.wrong(&format!("{item:?} stands at {place:?}, was said at {said:?}"));
            }
        }
        self.read(ledger).await;
        self.settle(before, &events);
    }
}
