// SPDX-License-Identifier: EUPL-1.2
//! When two spellings of a name or place are the same.
//!
//! Two texts are the same if they are equal after this folding:
//!
//! | rule | example |
//! |---|---|
//! | outer white space is dropped, inner is one space | ` Anna  Maria ` = `Anna Maria` |
//! | case is folded over all of Unicode | `MÜLLER` = `müller`, `STRAẞE` = `straße` |
//! | ä = ae, ö = oe, ü = ue, ß = ss, precomposed or with U+0308 | `Müller` = `Mueller` |
//! | a hyphen is a space (also U+2010, U+2011, U+2013) | `Anna-Maria` = `Anna Maria` |
//!
//! Nothing else is folded: `Zoë` is not `Zoe`, `Meier` is not `Mayer`, and all given names count.
//! Texts are otherwise expected as DIN 91379 wants them, in normal form C. A spelling that is
//! too different finds nobody, which harms less than finding somebody else.

use zeroize::Zeroizing;

/// A text in the form in which names and places are compared. Wiped on drop.
pub fn folded(text: &str) -> Zeroizing<String> {
    // Folding at most triples a text, so nothing is left behind by a growing buffer.
    let mut out = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char.is_whitespace() || matches!(char, '-' | '\u{2010}' | '\u{2011}' | '\u{2013}') {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
            continue;
        }
        let dots = chars.next_if_eq(&'\u{308}').is_some();
        for folded in fold_case(char) {
            match (folded, dots) {
                ('ä', false) | ('a', true) => out.push_str("ae"),
                ('ö', false) | ('o', true) => out.push_str("oe"),
                ('ü', false) | ('u', true) => out.push_str("ue"),
                (other, false) => out.push(other),
                (other, true) => out.extend([other, '\u{308}']),
            }
        }
    }
    if out.ends_with(' ') {
        out.pop();
    }
    out
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
    use super::*;

    #[test]
    fn the_table() {
        for (left, right) in [
            ("  Anna   Maria\t", "anna maria"),
            ("Anna-Maria", "ANNA MARIA"),
            ("Anna\u{2010}Maria", "Anna - Maria"),
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
        ] {
            assert_eq!(folded(left), folded(right), "{left} / {right}");
        }
        for (left, right) in [
            ("Meier", "Mayer"),
            ("Zoë", "Zoe"),
            ("Anna", "Anna Maria"),
            ("Müller", "Muller"),
            ("Işık", "Işik"),
            ("Annamaria", "Anna Maria"),
        ] {
            assert_ne!(folded(left), folded(right), "{left} / {right}");
        }
        assert!(folded(" - \t").is_empty());
    }
}
