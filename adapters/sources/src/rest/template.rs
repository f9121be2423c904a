// SPDX-License-Identifier: EUPL-1.2
//! What is sent: a URL and a body with places for the person asked about.
//!
//! `{birth_date}` is such a place; braces around anything but a word of small letters are only
//! braces. In a URL a value is percent-encoded (RFC 3986), so it is never more than one value of
//! the query. A body is a tree that becomes JSON after its places were filled, so a value is never
//! more than a text. A member of the body whose place has no value in a question is left out.

use std::net::IpAddr;

use einmal_protocol::person::PersonQuery;
use http::Uri;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    BirthDate,
    Idnr,
    FamilyName,
    GivenNames,
    Postcode,
    Place,
    Fields,
}

impl Variable {
    const ALL: [(&'static str, Self); 7] = [
        ("birth_date", Self::BirthDate),
        ("idnr", Self::Idnr),
        ("family_name", Self::FamilyName),
        ("given_names", Self::GivenNames),
        ("postcode", Self::Postcode),
        ("place", Self::Place),
        ("fields", Self::Fields),
    ];

    pub(crate) fn is_personal(self) -> bool {
        self != Self::Fields
    }

    /// Whether questions of this way have it.
    pub(crate) fn is_in(self, way: Way) -> bool {
        match self {
            Self::BirthDate | Self::Fields => true,
            Self::Idnr => way == Way::Idnr,
            Self::FamilyName => way != Way::Idnr,
            Self::GivenNames => way == Way::Names,
            Self::Postcode | Self::Place => way == Way::Residence,
        }
    }
}

/// The three lawful ways to name a person (IDNrG § 6 (3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Idnr,
    Names,
    Residence,
}

impl Way {
    pub(crate) fn of(person: &PersonQuery) -> Self {
        match person {
            PersonQuery::Idnr { .. } => Self::Idnr,
            PersonQuery::Names { .. } => Self::Names,
            PersonQuery::Residence { .. } => Self::Residence,
        }
    }

    /// The key under which it has a request of its own.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Idnr => "by_idnr",
            Self::Names => "by_names",
            Self::Residence => "by_residence",
        }
    }
}

/// What the places are filled with.
pub(crate) struct Filling<'q> {
    pub(crate) person: &'q PersonQuery,
    /// As the source writes it.
    pub(crate) birth_date: &'q str,
    pub(crate) fields: &'q [String],
}

impl Filling<'_> {
    fn get(&self, variable: Variable) -> Option<Zeroizing<String>> {
        let text = match (variable, self.person) {
            (Variable::BirthDate, _) => self.birth_date,
            (Variable::Fields, _) => return Some(Zeroizing::new(self.fields.join(","))),
            (Variable::Idnr, PersonQuery::Idnr { idnr, .. }) => idnr,
            (
                Variable::FamilyName,
                PersonQuery::Names { family_name, .. } | PersonQuery::Residence { family_name, .. },
            ) => family_name,
            (Variable::GivenNames, PersonQuery::Names { given_names, .. }) => given_names,
            (Variable::Postcode, PersonQuery::Residence { postcode, .. }) => postcode,
            (Variable::Place, PersonQuery::Residence { place, .. }) => place,
            _ => return None,
        };
        Some(Zeroizing::new(text.to_owned()))
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Place(Variable),
}

/// A text with places.
#[derive(Clone, Debug)]
struct Text(Vec<Piece>);

impl Text {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            pieces.push(Piece::Text(before.to_owned()));
            let word = after.split_once('}').filter(|(word, _)| is_word(word));
            let Some((word, after)) = word else {
                pieces.push(Piece::Text("{".to_owned()));
                rest = after;
                continue;
            };
            let known = Variable::ALL.iter().find(|(name, _)| *name == word);
            let (_, variable) = known.ok_or_else(|| format!("`{{{word}}}` is not known"))?;
            pieces.push(Piece::Place(*variable));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Ok(Self(pieces))
    }

    fn variables(&self) -> impl Iterator<Item = Variable> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(variable) => Some(*variable),
            Piece::Text(_) => None,
        })
    }

    fn fill(
        &self,
        filling: &Filling<'_>,
        encode: fn(&str, &mut String),
    ) -> Option<Zeroizing<String>> {
        let mut out = Zeroizing::new(String::with_capacity(512));
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Place(variable) => encode(&filling.get(*variable)?, &mut out),
            }
        }
        Some(out)
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Percent-encoding of all but the unreserved characters (RFC 3986 § 2.3).
pub(crate) fn percent(text: &str, out: &mut String) {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or('0');
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// A URL with places.
#[derive(Clone, Debug)]
pub(crate) struct UrlTemplate(Text);

impl UrlTemplate {
    /// # Errors
    /// What is wrong, and what to write instead.
    pub(crate) fn parse(url: &str) -> Result<Self, (String, &'static str)> {
        let text = Text::parse(url).map_err(|problem| (problem, VARIABLES))?;
        let path = url.split('?').next().unwrap_or_default();
        let in_path = Text::parse(path).map_err(|problem| (problem, VARIABLES))?;
        // A place called `..` would be another path. Numbers and dates cannot be.
        if in_path.variables().any(|v| !matches!(v, Variable::Idnr | Variable::BirthDate)) {
            let problem = "its path has another place than `{idnr}` or `{birth_date}`".into();
            return Err((problem, "write the others behind a `?`, or in the body"));
        }
        check_url(&text.0.iter().fold(String::new(), |url, piece| match piece {
            Piece::Text(text) => url + text,
            Piece::Place(_) => url + "1",
        }))?;
        // The first text has the whole server, for a place is no part of one.
        let server = path.split('/').nth(2).unwrap_or_default();
        if server.contains('{') {
            let problem = "its server has a place for a value".into();
            return Err((problem, "write the server's name"));
        }
        Ok(Self(text))
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = Variable> {
        self.0.variables()
    }

    pub(crate) fn fill(&self, filling: &Filling<'_>) -> Option<Zeroizing<String>> {
        self.0.fill(filling, percent)
    }
}

/// Checks a URL without places.
///
/// # Errors
/// What is wrong, and what to write instead.
pub(crate) fn check_url(url: &str) -> Result<(), (String, &'static str)> {
    const WRITE: &str = "write `https://host/path`, without a user and without `#`";
    let uri: Uri = url.parse().map_err(|_| ("it is no URL".to_owned(), WRITE))?;
    let Some(authority) = uri.authority() else { return Err(("it names no server".into(), WRITE)) };
    if authority.as_str().contains('@') || url.contains('#') {
        return Err(("it has a user or a fragment".into(), WRITE));
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(authority.host()) => Ok(()),
        Some("http") => Err(("it has no TLS and is not on this machine".into(), WRITE)),
        _ => Err(("it is neither https nor http".into(), WRITE)),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const VARIABLES: &str = "write one of `{birth_date}`, `{idnr}`, `{family_name}`, `{given_names}`, \
                         `{postcode}`, `{place}`, `{fields}`";

/// A JSON body with places.
#[derive(Clone, Debug)]
pub(crate) enum BodyTemplate {
    Fixed(Value),
    /// All of a text is `{fields}`: a list of them.
    Fields,
    Text(TextTemplate),
    List(Vec<BodyTemplate>),
    Object(Vec<(String, BodyTemplate)>),
}

/// A text of a body.
#[derive(Clone, Debug)]
pub(crate) struct TextTemplate(Text);

impl BodyTemplate {
    /// # Errors
    /// What is wrong, and what to write instead.
    pub(crate) fn parse(body: &Value) -> Result<Self, (String, &'static str)> {
        Ok(match body {
            Value::String(text) if text == "{fields}" => Self::Fields,
            Value::String(text) => {
                let text = Text::parse(text).map_err(|problem| (problem, VARIABLES))?;
                Self::Text(TextTemplate(text))
            }
            Value::Array(items) => {
                Self::List(items.iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                if members.keys().any(|name| name.starts_with("$__toml")) {
                    return Err(("it has a bare date".into(), "write it as a text, in quotes"));
                }
                let parse = |(name, part): (&String, _)| Ok((name.clone(), Self::parse(part)?));
                Self::Object(members.iter().map(parse).collect::<Result<_, (String, _)>>()?)
            }
            fixed => Self::Fixed(fixed.clone()),
        })
    }

    /// All places, added to a list.
    pub(crate) fn variables(&self, found: &mut Vec<Variable>) {
        match self {
            Self::Fixed(_) => {}
            Self::Fields => found.push(Variable::Fields),
            Self::Text(text) => found.extend(text.0.variables()),
            Self::List(items) => items.iter().for_each(|item| item.variables(found)),
            Self::Object(members) => members.iter().for_each(|(_, part)| part.variables(found)),
        }
    }

    /// The body as JSON; nothing where all of it has no value.
    pub(crate) fn fill(&self, filling: &Filling<'_>) -> Option<Vec<u8>> {
        let mut value = self.value(filling)?;
        let json = serde_json::to_vec(&value).ok();
        wipe(&mut value);
        json
    }

    fn value(&self, filling: &Filling<'_>) -> Option<Value> {
        Some(match self {
            Self::Fixed(value) => value.clone(),
            Self::Fields => Value::from(filling.fields),
            Self::Text(text) => {
                let filled = text.0.fill(filling, |value, out| out.push_str(value))?;
                Value::String(filled.as_str().to_owned())
            }
            Self::List(items) => items.iter().filter_map(|item| item.value(filling)).collect(),
            Self::Object(members) => {
                let filled =
                    |(name, part): &(String, Self)| Some((name.clone(), part.value(filling)?));
                Value::Object(members.iter().filter_map(filled).collect::<Map<_, _>>())
            }
        })
    }
}

fn wipe(value: &mut Value) {
    use zeroize::Zeroize;
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(family_name: &str, given_names: &str) -> PersonQuery {
        PersonQuery::Names {
            family_name: family_name.into(),
            given_names: given_names.into(),
            birth_date: "1990-02-28".into(),
        }
    }

    fn filling<'q>(person: &'q PersonQuery, fields: &'q [String]) -> Filling<'q> {
        Filling { person, birth_date: "28.02.1990", fields }
    }

    #[test]
    fn a_value_stays_one_value() {
        let url = UrlTemplate::parse("https://amt.example/p?n={family_name}&b={birth_date}&x=1");
        let url = url.unwrap();
        let body = json!({ "filter": [{ "name": "{family_name}" }, { "id": "{idnr}" }],
            "query": "q($b) { p(b: $b) { n } }", "v": "x-{given_names}-{birth_date}",
            "fields": "{fields}", "limit": 5 });
        let body = BodyTemplate::parse(&body).unwrap();
        let fields = ["sex".to_owned()];
        for evil in ["a&b=c", "\"}, {\"x\": \"", "{idnr}", "../..", "%00", "\0\n", "ß#?/\\", "'--"]
        {
            let person = names(evil, "Anna");
            let filled = url.fill(&filling(&person, &fields)).unwrap();
            let mut encoded = String::new();
            percent(evil, &mut encoded);
            let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
            assert!(encoded.bytes().all(safe));
            let right = format!("https://amt.example/p?n={encoded}&b=28.02.1990&x=1");
            assert_eq!(*filled, right);
            let filled = body.fill(&filling(&person, &fields)).unwrap();
            let filled: Value = serde_json::from_slice(&filled).unwrap();
            let right = json!({ "filter": [{ "name": evil }, {}], "limit": 5, "fields": ["sex"],
                "query": "q($b) { p(b: $b) { n } }", "v": "x-Anna-28.02.1990" });
            assert_eq!(filled, right);
        }
        let mut encoded = String::new();
        percent("Müller ~", &mut encoded);
        assert_eq!(encoded, "M%C3%BCller%20~");
    }

    #[test]
    fn urls() {
        for good in [
            "https://amt.example/p",
            "https://amt.example:8443/p/{idnr}/{birth_date}?f={fields}",
            "http://127.0.0.1:1/p",
            "http://[::1]:1/p",
            "http://localhost/p",
        ] {
            assert!(UrlTemplate::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "amt.example",
            "/p",
            "ftp://amt.example/p",
            "http://amt.example/p",
            "http://10.0.0.1/p",
            "https://u:p@amt.example/p",
            "https://amt.example/p#x",
            "https://amt.example/p/{place}",
            "https://amt.example/p?x={birthdate}",
            "https://{idnr}.amt.example/p",
            "https://amt.example/p{ }",
        ] {
            assert!(UrlTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
