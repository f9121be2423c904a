// SPDX-License-Identifier: EUPL-1.2
//! When two spellings of a name or place are the same.
//!
//! Two texts are the same if they are equal after this folding:
//!
//! | rule | example |
//! |---|---|
//! | canonical equivalence: precomposed letters and combining marks | `Ş` = `S` + U+0327 |
//! | outer white space is dropped, inner is one space | ` Anna  Maria ` = `Anna Maria` |
//! | case is folded over all of Unicode | `MÜLLER` = `müller`, `STRAẞE` = `straße` |
//! | ä = ae, ö = oe, ü = ue where the dots are the only mark; ß = ss | `Müller` = `Mueller` |
//! | a hyphen is a space (also U+2010, U+2011, U+2013) | `Anna-Maria` = `Anna Maria` |
//! | apostrophes are one: U+0027, U+2018, U+2019, U+02BC, U+0060, U+00B4 | `O’Neill` = `O'Neill` |
//!
//! Nothing else is folded: `Zoë` is not `Zoe`, `Meier` is not `Mayer`, `von Berg` is not `Berg`,
//! and all given names count, in their order. A spelling that is too different finds nobody, which
//! harms less than finding somebody else. Each decision stands in `docs/registers.md`.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use zeroize::Zeroizing;

/// A text in the form in which names and places are compared. Wiped on drop.
pub fn folded(text: &str) -> Zeroizing<String> {
    // Room enough that no growing buffer leaves a copy behind.
    let mut out = Zeroizing::new(String::with_capacity(text.len().saturating_mul(4)));
    let mut chars = text.nfd().peekable();
    while let Some(char) = chars.next() {
        if char.is_whitespace() || matches!(char, '-' | '\u{2010}' | '\u{2011}' | '\u{2013}') {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
            continue;
        }
        let dots = chars.next_if_eq(&'\u{308}').is_some();
        let umlaut = dots && !chars.peek().copied().is_some_and(is_combining_mark);
        if umlaut && let Some(two) = two_letters(char) {
            out.push_str(two);
            continue;
        }
        out.extend(fold_case(char).map(|char| if is_apostrophe(char) { '\'' } else { char }));
        out.extend(dots.then_some('\u{308}'));
    }
    if out.ends_with(' ') {
        out.pop();
    }
    out
}

fn two_letters(base: char) -> Option<&'static str> {
    match base {
        'a' | 'A' => Some("ae"),
        'o' | 'O' => Some("oe"),
        'u' | 'U' => Some("ue"),
        _ => None,
    }
}

fn is_apostrophe(char: char) -> bool {
    matches!(char, '\'' | '\u{2018}' | '\u{2019}' | '\u{2bc}' | '`' | '\u{b4}')
}

/// Lower, upper, lower is full case folding: it takes ẞ and ß to ss and all sigmas to one. Only
/// the dotless ı must not become i.
fn fold_case(char: char) -> impl Iterator<Item = char> {
    let dotless = (char == 'ı').then_some('ı');
    let others = (char != 'ı')
        .then(|| char.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase));
    dotless.into_iter().chain(others.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same() {
        for (left, right) in [
            ("  Anna   Maria\t", "anna maria"),
            ("Anna-Maria", "ANNA MARIA"),
            ("Anna\u{2010}Maria", "Anna - Maria"),
            ("Anna\u{a0}Maria", "Anna Maria"),
            ("Müller", "MUELLER"),
            ("Mu\u{308}ller", "Müller"),
            ("MÜLLER", "müller"),
            ("Göthe", "Goethe"),
            ("Jäger", "JAEGER"),
            ("Groß", "GROSS"),
            ("STRAẞE", "strasse"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ŁUKASZ ŻÓŁĆ", "łukasz żółć"),
            ("von der Leyen", "Von Der Leyen"),
            ("O'Neill", "O\u{2019}NEILL"),
            ("D\u{2bc}Angelo", "d`angelo"),
            ("S\u{327}ahin", "Şahin"),
            ("Nguye\u{302}\u{303}n", "NGUYỄN"),
            ("Müller-Lüdenscheidt", "Mueller Luedenscheidt"),
        ] {
            assert_eq!(folded(left), folded(right), "{left} / {right}");
        }
        assert!(folded(" - \t").is_empty());
    }

    /// Rather nobody than somebody else.
    #[test]
    fn not_the_same() {
        for (left, right) in [
            ("Meier", "Mayer"),
            ("Zoë", "Zoe"),
            ("Anna", "Anna Maria"),
            ("Anna Maria", "Maria Anna"),
            ("Annamaria", "Anna Maria"),
            ("Müller", "Muller"),
            ("Işık", "Işik"),
            ("IŞIK", "Işık"),
            ("Łukasz", "Lukasz"),
            ("Ærø", "Aeroe"),
            ("Åse", "Aase"),
            ("Đorđe", "Dorde"),
            ("Şahin", "Schahin"),
            ("Иван", "Ivan"),
            ("von Berg", "Berg"),
            ("von Berg", "Berg, von"),
            ("von der Au", "v. d. Au"),
            ("Graf Berg", "Berg"),
            ("Dr. Berg", "Berg"),
            ("O'Neill", "ONeill"),
            ("O'Neill", "O Neill"),
            ("Berg jun.", "Berg"),
            ("St. Martin", "Sankt Martin"),
            ("Frankfurt (Oder)", "Frankfurt Oder"),
            // Dots that are not the only mark are no umlaut.
            ("ǖ", "ue\u{304}"),
            ("ạ\u{308}", "ae"),
            ("Raÿmond", "Raymond"),
        ] {
            assert_ne!(folded(left), folded(right), "{left} / {right}");
        }
    }

    /// Sequences of DIN 91379 that have no precomposed letter: a base, and its marks.
    const SEQUENCES: &[(&str, &str)] = &[
        ("ACFGJKMPST", "\u{300}"),
        ("JM", "\u{301}"),
        ("DKLMN", "\u{302}"),
        ("CFHKNPSTZ", "\u{304}"),
        ("CMNRZ", "\u{306}"),
        ("KU", "\u{307}"),
        ("CTZ", "\u{308}"),
        ("A", "\u{30b}"),
        ("J", "\u{30c}"),
        ("M", "\u{310}"),
        ("CKPT", "\u{315}"),
        ("KST", "\u{31b}"),
        ("CP", "\u{323}"),
        ("LR", "\u{325}"),
        ("LR", "\u{325}\u{304}"),
        ("CHKLN", "\u{326}"),
        ("Z", "\u{327}"),
        ("C", "\u{328}\u{306}"),
        ("HS", "\u{331}"),
        ("S", "\u{31b}\u{304}"),
        ("K", "\u{35f}"),
    ];

    /// The Latin letters of DIN 91379 and more: all of the Latin blocks, and the sequences.
    fn letters() -> Vec<String> {
        let blocks = [0x41..=0x24f_u32, 0x1e00..=0x1eff];
        let letters = blocks.into_iter().flatten().filter_map(char::from_u32);
        let mut all: Vec<String> =
            letters.filter(|char| char.is_alphabetic()).map(String::from).collect();
        for (bases, marks) in SEQUENCES {
            for base in bases.chars().flat_map(|base| [base, base.to_ascii_lowercase()]) {
                all.push(format!("{base}{marks}"));
            }
        }
        all
    }

    #[test]
    fn no_letter_is_lost_or_taken_for_another() {
        let mut classes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for letter in letters() {
            let (composed, decomposed): (String, String) =
                (letter.nfc().collect(), letter.nfd().collect());
            let class = folded(&letter);
            assert_eq!(class, folded(&composed), "{letter}");
            assert_eq!(class, folded(&decomposed), "{letter}");
            assert_eq!(class, folded(&class), "{letter}");
            // Turkish has two letters i; upper case alone does not tell which is meant.
            if letter != "ı" {
                assert_eq!(class, folded(&letter.to_uppercase()), "{letter}");
            }
            assert!(!class.is_empty());
            classes.entry(class.as_str().to_owned()).or_default().push(letter);
        }
        for (class, letters) in classes {
            let mut lower: Vec<String> = letters
                .iter()
                .map(|letter| letter.to_lowercase().nfc().collect::<String>())
                .collect();
            lower.sort();
            lower.dedup();
            let known = [vec!["s", "ſ"], vec!["ß"], vec!["ṡ", "ẛ"]];
            let known = known.iter().any(|known| lower == *known);
            assert!(lower.len() == 1 || known, "{class}: {lower:?}");
        }
    }

    proptest! {
        #[test]
        fn forms_of_a_whole_name_compare_equal(picks in proptest::collection::vec(0_usize..4000, 0..12)) {
            let letters = letters();
            let name: String = picks
                .iter()
                .map(|pick| match pick % 23 {
                    0 => " ",
                    1 => "-",
                    2 => "\u{2019}",
                    _ => letters[pick % letters.len()].as_str(),
                })
                .collect();
            let class = folded(&name);
            prop_assert_eq!(&class, &folded(&name.nfc().collect::<String>()));
            prop_assert_eq!(&class, &folded(&name.nfd().collect::<String>()));
            prop_assert_eq!(&class, &folded(&class));
        }

        #[test]
        fn any_text_folds_once(text in any::<String>()) {
            let class = folded(&text);
            prop_assert_eq!(&class, &folded(&text.nfc().collect::<String>()));
            prop_assert_eq!(&class, &folded(&class));
        }
    }

    #[test]
    fn municipalities_stay_apart() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/municipalities.tsv");
        let Ok(text) = std::fs::read_to_string(file) else {
            println!("skipped: the list of municipalities is not here");
            return;
        };
        let names: Vec<&str> = text.lines().filter_map(|line| line.split('\t').nth(1)).collect();
        assert!(names.len() > 10_000);
        let mut classes: BTreeMap<String, &str> = BTreeMap::new();
        for name in names {
            let class = folded(name);
            assert_eq!(class, folded(&name.nfd().collect::<String>()), "{name}");
            assert_eq!(class, folded(&name.to_uppercase()), "{name}");
            let other = classes.insert(class.as_str().to_owned(), name).unwrap_or(name);
            // Another town of the same class differs by nothing but what the table says.
            let plain = |name: &str| {
                let name = name.to_lowercase().replace('-', " ").replace('ß', "ss");
                name.replace('ä', "ae").replace('ö', "oe").replace('ü', "ue")
            };
            assert_eq!(plain(name), plain(other));
        }
    }
}
