// SPDX-License-Identifier: EUPL-1.2
//! The people of the demonstration. All are invented by a small generator with a fixed seed;
//! their identification numbers have right check digits but were drawn, not issued. The places
//! are real, so that routing by region can be shown.

use std::collections::HashSet;

use einmal_protocol::person::{PersonQuery, idnr_check_digit};

/// About this many people live in the town.
const PEOPLE: usize = 200;
const SEED: u64 = 0x00E1_4A11;

/// A real municipality.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: &'static str,
    /// One of its postcodes.
    pub postcode: &'static str,
    /// Its official key (AGS).
    pub ags: &'static str,
}

/// Where the applicant lives.
pub const BREMEN: Place = Place { name: "Bremen", postcode: "28203", ags: "04011000" };
/// A place in the same Land.
pub const BREMERHAVEN: Place = Place { name: "Bremerhaven", postcode: "27568", ags: "04012000" };
/// A place in another Land.
pub const OLDENBURG: Place = Place { name: "Oldenburg", postcode: "26122", ags: "03403000" };

/// An invented person. Has no `Debug`, as no person here may be printed by accident.
#[derive(Clone)]
pub struct Person {
    /// Identification number.
    pub idnr: String,
    /// Family name today.
    pub family_name: String,
    /// Family name at birth.
    pub birth_name: String,
    /// All given names.
    pub given_names: String,
    /// Whether the sex in the registers is female, otherwise male.
    pub female: bool,
    /// YYYY-MM-DD.
    pub birth_date: String,
    /// Where born.
    pub birth_place: &'static str,
    /// Two letters, as in ISO 3166.
    pub nationality: &'static str,
    /// Street and house number.
    pub street: String,
    /// Where they live.
    pub place: Place,
    /// Day of moving in, YYYY-MM-DD.
    pub moved_in: String,
    /// "ev", "rk" or "--", as on a German wage-tax slip.
    pub religion: &'static str,
    /// Day of the marriage that stands, YYYY-MM-DD.
    pub married_on: Option<String>,
    /// The other adult of the household.
    pub partner: Option<usize>,
    /// The mother, if she lives in town.
    pub mother: Option<usize>,
    /// The father, if he lives in town.
    pub father: Option<usize>,
    /// Under a block (Auskunftssperre, BMG § 51).
    pub blocked: bool,
    /// Drawn once; registers derive this person's amounts and numbers from it.
    pub lot: u64,
}

impl Person {
    /// Given and family name.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.given_names, self.family_name)
    }

    /// Whether this is a child: born in or after 2009.
    pub fn is_child(&self) -> bool {
        self.birth_date.as_str() >= "2009"
    }

    /// Asked about by identification number.
    pub fn by_idnr(&self) -> PersonQuery {
        PersonQuery::Idnr { idnr: self.idnr.clone(), birth_date: self.birth_date.clone() }
    }

    /// Asked about by names.
    pub fn by_names(&self) -> PersonQuery {
        PersonQuery::Names {
            family_name: self.family_name.clone(),
            given_names: self.given_names.clone(),
            birth_date: self.birth_date.clone(),
        }
    }

    /// Asked about by name and residence.
    pub fn by_residence(&self) -> PersonQuery {
        PersonQuery::Residence {
            family_name: self.family_name.clone(),
            postcode: self.place.postcode.to_owned(),
            place: self.place.name.to_owned(),
            birth_date: self.birth_date.clone(),
        }
    }
}

/// The people, and those with a part in the story. Persons are named by their index.
pub struct Town {
    /// Everyone.
    pub people: Vec<Person>,
    /// Applies for parental allowance: the mother.
    pub applicant: usize,
    /// The father.
    pub partner: usize,
    /// The child that the application is for.
    pub newborn: usize,
    /// The earlier child: parental allowance was paid before, and a disability is recognised.
    pub sibling: usize,
    /// Everyone under a block.
    pub blocked: Vec<usize>,
    /// Two different people with the same names, birth date, postcode and place.
    pub alike: (usize, usize),
}

impl Town {
    /// A person by index.
    pub fn person(&self, index: usize) -> Option<&Person> {
        self.people.get(index)
    }

    /// The children of a person, oldest first, with their indices.
    pub fn children(&self, parent: usize) -> Vec<(usize, &Person)> {
        let of = |child: &Person| child.mother == Some(parent) || child.father == Some(parent);
        let mut children: Vec<_> =
            self.people.iter().enumerate().filter(|(_, person)| of(person)).collect();
        children.sort_by(|(_, left), (_, right)| left.birth_date.cmp(&right.birth_date));
        children
    }
}

/// The same town on every call.
pub fn town() -> Town {
    let mut builder = Builder { dice: Dice(SEED), people: Vec::new(), idnrs: HashSet::new() };
    let (applicant, partner, newborn, sibling) = builder.applicant_family();
    let alike = builder.alike();
    builder.blocked_person();
    while builder.people.len() < PEOPLE {
        builder.household();
    }
    let people = builder.people;
    let blocked = people.iter().enumerate().filter(|(_, p)| p.blocked).map(|(i, _)| i).collect();
    Town { people, applicant, partner, newborn, sibling, blocked, alike }
}

/// SplitMix64: enough for invented people, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }

    /// One of the words that `|` divides.
    fn word(&mut self, list: &'static str) -> &'static str {
        let words = list.split('|');
        let index = self.below(words.clone().count() as u64);
        words.into_iter().nth(usize::try_from(index).unwrap_or_default()).unwrap_or_default()
    }

    fn date(&mut self, first_year: u64, last_year: u64) -> String {
        let year = first_year + self.below(last_year - first_year + 1);
        format!("{year}-{:02}-{:02}", 1 + self.below(12), 1 + self.below(28))
    }

    /// A number as the rules of § 139b AO want it: among the first ten digits exactly one occurs
    /// twice or three times (never three in a row), the others at most once.
    fn idnr(&mut self) -> String {
        loop {
            let mut pool: Vec<u32> = (0..10).collect();
            for index in (1..pool.len()).rev() {
                let other = usize::try_from(self.below(index as u64 + 1)).unwrap_or_default();
                pool.swap(index, other);
            }
            let repeats = if self.below(2) == 0 { 2 } else { 3 };
            pool.truncate(11 - repeats);
            let Some(repeated) = pool.first().copied() else { continue };
            for _ in 1..repeats {
                let at = self.below(pool.len() as u64 + 1);
                pool.insert(usize::try_from(at).unwrap_or_default(), repeated);
            }
            let in_a_row = pool.windows(3).any(|three| three.iter().all(|d| *d == repeated));
            if pool.first() == Some(&0) || in_a_row {
                continue;
            }
            pool.push(idnr_check_digit(&pool));
            return pool.iter().filter_map(|digit| char::from_digit(*digit, 10)).collect();
        }
    }
}

/// Names of people who came from one country, or whose parents did; `|` divides them.
struct Origin {
    nationality: &'static str,
    birth_places: &'static str,
    family_names: &'static str,
    women: &'static str,
    men: &'static str,
}

const GERMAN: Origin = Origin {
    nationality: "DE",
    birth_places: "Bremen|Bremen|Bremen|Bremerhaven|Oldenburg|Hamburg",
    family_names: "Müller|Schröder|Weiß|Großmann|Jäger|Köhler|Voß|Böttcher|Lüders|Schäfer-Thiele|\
        von der Heide|Meyer|Meier|Krüger|Strauß|Brüning|Petersen|Ahrens-Kühn|Hülsmann|\
        Döscher",
    women: "Änne|Jördis Maria|Käthe|Anna-Lena|Friederike|Ursula|Zoë|Grete Luise|Hannah|Birgit|\
        Maike|Sünje",
    men: "Jörg|Günter|Hans-Jürgen|Söhnke|Karl-Heinz|Björn|Malte|Frieder Paul|Thorben|Uwe|René|\
        Lasse",
};
const TURKISH: Origin = Origin {
    nationality: "TR",
    birth_places: "Ankara|İzmir|Bremen|Trabzon",
    family_names: "Yılmaz|Öztürk|Çelik|Şahin|Yıldırım|Aydın|Doğan",
    women: "Ayşe|Zeynep|Gülşen|Elif|Büşra",
    men: "Mehmet|Oğuz|İbrahim|Çağlar|Emre",
};
const POLISH: Origin = Origin {
    nationality: "PL",
    birth_places: "Gdańsk|Łódź|Poznań|Bremen",
    family_names: "Nowak|Wójcik|Kaczmarek|Dąbek|Mazur|Pawlak|Gołąb",
    women: "Małgorzata|Agnieszka|Zofia|Bożena",
    men: "Łukasz|Paweł|Grzegorz|Michał",
};
const ARABIC: Origin = Origin {
    nationality: "SY",
    birth_places: "Aleppo|Damaskus|Homs|Bremen",
    family_names: "al-Hamadi|Haddad|El Khatib|Nasser|Abu Salem",
    women: "Layla|Amira Nour|Samira|Rania",
    men: "Yusuf|Khaled|Omar|Abd al-Rahman",
};

struct Builder {
    dice: Dice,
    people: Vec<Person>,
    idnrs: HashSet<String>,
}

impl Builder {
    /// Somebody with everything drawn that the caller does not set afterwards.
    fn draw(&mut self, origin: &Origin, female: bool, birth_date: String) -> Person {
        let idnr = loop {
            let idnr = self.dice.idnr();
            if self.idnrs.insert(idnr.clone()) {
                break idnr;
            }
        };
        let name = self.dice.word(origin.family_names);
        let given = self.dice.word(if female { origin.women } else { origin.men });
        let birth_place = self.dice.word(origin.birth_places);
        let place = match self.dice.below(10) {
            0 | 1 => BREMERHAVEN,
            2 => OLDENBURG,
            _ => BREMEN,
        };
        let street = self.dice.word(
            "Birkenweg|Am Kleinen Deich|Schützenstraße|Möwenstieg|\
             Kastanienallee|An der Weide|Königsberger Straße|Große Gasse",
        );
        let religion = match origin.nationality {
            "DE" => self.dice.word("ev|rk|--|--"),
            "PL" => "rk",
            _ => "--",
        };
        Person {
            idnr,
            family_name: name.to_owned(),
            birth_name: name.to_owned(),
            given_names: given.to_owned(),
            female,
            birth_date,
            birth_place,
            nationality: origin.nationality,
            street: format!("{street} {}", 1 + self.dice.below(120)),
            place,
            moved_in: self.dice.date(2016, 2024),
            religion,
            married_on: None,
            partner: None,
            mother: None,
            father: None,
            blocked: false,
            lot: self.dice.roll(),
        }
    }

    fn add(&mut self, person: Person) -> usize {
        self.people.push(person);
        self.people.len() - 1
    }

    /// Mother, father, newborn, earlier child. So much happened to them that each of the
    /// seventeen evidences exists: she came from a third country, was unemployed, then employed;
    /// paternity was acknowledged and custody declared before they married.
    fn applicant_family(&mut self) -> (usize, usize, usize, usize) {
        let mut mother = self.draw(&TURKISH, true, "1994-05-17".into());
        mother.family_name = "Öztürk-Weiß".into();
        mother.birth_name = "Öztürk".into();
        mother.given_names = "Zeynep Elif".into();
        mother.birth_place = "Ankara";
        mother.street = "Birkenweg 17".into();
        mother.place = BREMEN;
        mother.moved_in = "2021-04-01".into();
        mother.married_on = Some("2026-10-02".into());
        let mut father = self.draw(&GERMAN, false, "1991-11-03".into());
        father.family_name = "Weiß".into();
        father.birth_name = "Weiß".into();
        father.given_names = "Jörn Mattis".into();
        father.birth_place = "Bremen";
        father.street.clone_from(&mother.street);
        father.place = BREMEN;
        father.moved_in.clone_from(&mother.moved_in);
        father.married_on.clone_from(&mother.married_on);
        let (mother, father) = (self.add(mother), self.add(father));
        self.pair(mother, father);
        let newborn = self.child(&GERMAN, (mother, father), true, "2026-08-30", "Mila Sofie");
        let sibling = self.child(&GERMAN, (mother, father), false, "2023-02-11", "Deniz Ole");
        (mother, father, newborn, sibling)
    }

    fn alike(&mut self) -> (usize, usize) {
        let mut twins = [(), ()].map(|()| {
            let mut person = self.draw(&GERMAN, false, "1984-03-09".into());
            person.family_name = "Müller".into();
            person.birth_name = "Müller".into();
            person.given_names = "Thomas".into();
            person.birth_place = "Bremen";
            person.place = BREMEN;
            person
        });
        // They must not share an address, or one would take them for one person.
        let [first, second] = &mut twins;
        first.street = "Möwenstieg 4".into();
        second.street = "Große Gasse 81".into();
        let [first, second] = twins;
        (self.add(first), self.add(second))
    }

    fn blocked_person(&mut self) {
        let mut person = self.draw(&GERMAN, true, "1988-07-21".into());
        person.family_name = "Krüger".into();
        person.birth_name = "Krüger".into();
        person.given_names = "Sabine".into();
        person.place = BREMEN;
        person.blocked = true;
        self.add(person);
    }

    fn pair(&mut self, one: usize, other: usize) {
        if let Some(person) = self.people.get_mut(one) {
            person.partner = Some(other);
        }
        if let Some(person) = self.people.get_mut(other) {
            person.partner = Some(one);
        }
    }

    /// A child that lives with the first parent and has the second's family name.
    fn child(
        &mut self,
        origin: &Origin,
        (mother, father): (usize, usize),
        female: bool,
        birth_date: &str,
        given_names: &str,
    ) -> usize {
        let mut child = self.draw(origin, female, birth_date.to_owned());
        if let Some(mother) = self.people.get(mother) {
            child.street.clone_from(&mother.street);
            child.place = mother.place;
            child.birth_place = mother.place.name;
            child.moved_in.clone_from((&child.birth_date).max(&mother.moved_in));
            child.blocked = mother.blocked;
        }
        if let Some(father) = self.people.get(father) {
            child.family_name.clone_from(&father.family_name);
            child.birth_name.clone_from(&father.family_name);
        }
        if !given_names.is_empty() {
            given_names.clone_into(&mut child.given_names);
        }
        child.nationality = "DE";
        child.mother = Some(mother);
        child.father = (father != mother).then_some(father);
        self.add(child)
    }

    /// A single person, a couple, or a family.
    fn household(&mut self) {
        let origins = [&GERMAN, &GERMAN, &GERMAN, &TURKISH, &POLISH, &ARABIC];
        let drawn = usize::try_from(self.dice.below(6)).unwrap_or_default();
        let origin = *origins.get(drawn).unwrap_or(&&GERMAN);
        let kind = self.dice.below(6);
        let (from, to) = if kind < 2 { (1941, 2004) } else { (1974, 1998) };
        let female = kind > 1 || self.dice.below(2) == 0;
        let birth_date = self.dice.date(from, to);
        let mut first = self.draw(origin, female, birth_date);
        first.blocked = self.dice.below(25) == 0;
        let couple = kind > 2;
        let married = couple && self.dice.below(4) > 0;
        let second = couple.then(|| {
            let birth_date = self.dice.date(1974, 1998);
            let mut second = self.draw(origin, false, birth_date);
            second.street.clone_from(&first.street);
            second.place = first.place;
            second.moved_in.clone_from(&first.moved_in);
            if married {
                first.family_name.clone_from(&second.family_name);
                first.married_on = Some(self.dice.date(2017, 2024));
                second.married_on.clone_from(&first.married_on);
            }
            second
        });
        let first = self.add(first);
        let second = second.map(|second| self.add(second));
        if let Some(second) = second {
            self.pair(first, second);
        }
        let children = if kind > 1 { self.dice.below(4) } else { 0 };
        for _ in 0..children {
            let female = self.dice.below(2) == 0;
            let birth_date = self.dice.date(2012, 2025);
            self.child(origin, (first, second.unwrap_or(first)), female, &birth_date, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use einmal_protocol::person::{idnr_is_valid, is_date};

    use super::*;

    #[test]
    fn identification_numbers_are_right_and_different() {
        let town = town();
        let mut seen = HashSet::new();
        for person in &town.people {
            assert!(idnr_is_valid(&person.idnr), "wrong check digit");
            assert!(seen.insert(&person.idnr), "drawn twice");
            let first_ten = &person.idnr.as_bytes()[..10];
            let mut counts: Vec<usize> = (b'0'..=b'9')
                .map(|digit| first_ten.iter().filter(|drawn| **drawn == digit).count())
                .filter(|count| *count > 1)
                .collect();
            assert!(matches!(counts.pop(), Some(2 | 3)) && counts.is_empty());
            assert!(first_ten.windows(3).all(|three| three[0] != three[1] || three[1] != three[2]));
        }
        assert!((PEOPLE..PEOPLE + 10).contains(&seen.len()));
    }

    #[test]
    fn the_story_holds() {
        let town = town();
        let (mother, newborn) = (&town.people[town.applicant], &town.people[town.newborn]);
        assert_eq!(mother.partner, Some(town.partner));
        assert_eq!((newborn.mother, newborn.father), (Some(town.applicant), Some(town.partner)));
        assert_eq!(
            town.children(town.applicant).iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [town.sibling, town.newborn],
        );
        assert!(mother.married_on.as_ref() > Some(&newborn.birth_date));
        let (one, other) = (&town.people[town.alike.0], &town.people[town.alike.1]);
        assert!(one.idnr != other.idnr && one.full_name() == other.full_name());
        assert!(one.birth_date == other.birth_date && one.place == other.place);
        assert!((2..12).contains(&town.blocked.len()));
        assert!(town.people.iter().all(|person| is_date(&person.birth_date)));
    }

    #[test]
    fn the_same_on_every_call() {
        let (one, other) = (town(), town());
        assert!(one.people.iter().map(|p| &p.idnr).eq(other.people.iter().map(|p| &p.idnr)));
    }
}
