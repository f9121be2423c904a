// SPDX-License-Identifier: EUPL-1.2
//! A JSON answer in memory: read with limits, wiped on drop, walked by JSON pointers.

use std::{borrow::Cow, cell::Cell as Counter, collections::BTreeMap, fmt};

use serde::{
    Serialize, Serializer,
    de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

use crate::{kinds::BadName, values::Cell};

/// Deeper answers are refused.
const DEPTH_MAX: usize = 32;
/// Answers of more values are refused: each takes more memory than its text.
const NODES_MAX: usize = 250_000;
const POINTER_MAX: usize = 256;
/// From here on a decimal number cannot hold each whole one.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// One value.
pub(crate) enum Node {
    Null,
    Bool(bool),
    Integer(i64),
    /// Above what `Integer` holds.
    Large(u64),
    Real(f64),
    Text(Zeroizing<String>),
    List(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

impl Node {
    /// Reads an answer.
    ///
    /// # Errors
    /// Says what is wrong, and quotes nothing.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let left = Counter::new(NODES_MAX);
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let node = Seed { left: &left, depth: DEPTH_MAX }.deserialize(&mut json);
        node.and_then(|node| json.end().map(|()| node)).map_err(|error| {
            // Texts of the parser may quote; ours do not.
            let (line, column) = (error.line(), error.column());
            if error.is_data() {
                error.to_string()
            } else if error.is_eof() {
                format!("it ends in the middle, at line {line} column {column}")
            } else {
                format!("it is no JSON at line {line} column {column}")
            }
        })
    }

    /// What a well-formed pointer leads to.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |node, token| match node {
            Self::Object(members) => members.get(unescaped(token).as_ref()),
            Self::List(items) => items.get(index(token)?),
            _ => None,
        })
    }

    /// The value as a cell. Lists and objects are the text of their JSON where one is wanted.
    pub(crate) fn cell(&self, structured: bool) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(truth) => Cell::from_text(truth.to_string()),
            Self::Integer(number) => Cell::Integer(*number),
            Self::Large(number) => Cell::from_text(number.to_string()),
            // It may have been another number when it was written.
            Self::Real(number) if number.abs() >= EXACT_MAX => Cell::Bytes,
            Self::Real(number) => Cell::Real(*number),
            Self::Text(text) => Cell::Text(text.clone()),
            Self::List(_) | Self::Object(_) if structured => {
                serde_json::to_string(self).map_or(Cell::Bytes, Cell::from_text)
            }
            Self::List(_) | Self::Object(_) => Cell::Bytes,
        }
    }

    /// Whether it says nothing, or no.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) | Self::Integer(0) => true,
            Self::Text(text) => text.trim().is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Object(members) => members.is_empty(),
            Self::Bool(true) | Self::Integer(_) | Self::Large(_) | Self::Real(_) => false,
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Large(number) => serializer.serialize_u64(*number),
            Self::Real(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members),
        }
    }
}

/// Checks a pointer (RFC 6901) to something inside an entry.
pub(crate) fn check_pointer(pointer: &str) -> Result<(), BadName> {
    let mut tokens = pointer.split('/');
    let begins_well = tokens.next() == Some("") && pointer.len() > 1;
    let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if begins_well && escapes && pointer.len() <= POINTER_MAX {
        return Ok(());
    }
    Err(BadName {
        problem: "this is no JSON pointer into an entry",
        instead: "write for example `/address/town` (RFC 6901), with `~1` for `/` and `~0` for \
                  `~` in a name; at most 256 bytes",
    })
}

fn unescaped(token: &str) -> Cow<'_, str> {
    match token.contains('~') {
        true => Cow::Owned(token.replace("~1", "/").replace("~0", "~")),
        false => Cow::Borrowed(token),
    }
}

fn index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = token == "0" || !token.starts_with('0');
    (digits && canonical).then(|| token.parse().ok()).flatten()
}

#[derive(Clone, Copy)]
struct Seed<'c> {
    left: &'c Counter<usize>,
    depth: usize,
}

impl Seed<'_> {
    fn inner<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom("it is nested deeper than 32 levels"))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom("it has more than 250000 values"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(i64::try_from(number).map_or(Node::Large(number), Node::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(Zeroizing::new(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let inner = self.inner()?;
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            // Which of two is meant nobody knows, and readers differ.
            if object.insert(name, members.next_value_seed(inner)?).is_some() {
                return Err(A::Error::custom("an object has one name twice"));
            }
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str, pointer: &str) -> Option<String> {
        let node = Node::parse(json.as_bytes()).unwrap();
        let text = node.at(pointer)?.cell(true).text();
        text.map(|text| text.as_str().to_owned())
    }

    #[test]
    fn pointers_of_rfc_6901() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"m~n":8,"n":{"x":[{"y":7}]}}"#;
        for (pointer, found) in [
            ("/foo/0", Some("bar")),
            ("/foo/1", Some("baz")),
            ("/foo/01", None),
            ("/foo/-", None),
            ("/foo/2", None),
            ("/foo", Some(r#"["bar","baz"]"#)),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/m~0n", Some("8")),
            ("/n/x/0/y", Some("7")),
            ("/n/x/y", None),
        ] {
            assert_eq!(text(json, pointer).as_deref(), found, "{pointer}");
        }
        for good in ["/a", "/a~0b~1c", "/ä ö/0"] {
            assert!(check_pointer(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "a/b", "/a~", "/a~2", "$.a"] {
            assert!(check_pointer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_not_changed_silently() {
        let json =
            r#"{"i":-5,"u":18446744073709551615,"h":123456789012345678901234567890,"r":0.1}"#;
        assert_eq!(text(json, "/i").as_deref(), Some("-5"));
        assert_eq!(text(json, "/u").as_deref(), Some("18446744073709551615"));
        assert_eq!(text(json, "/r").as_deref(), Some("0.1"));
        let node = Node::parse(json.as_bytes()).unwrap();
        assert!(node.at("/h").unwrap().cell(false) == Cell::Bytes);
    }

    #[test]
    fn refused_without_quoting() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let many = format!("[{}0]", "0,".repeat(300_000));
        let cases: [(&[u8], &str); 12] = [
            (b"", "ends in the middle"),
            (b"{\"Geheim\": ", "ends in the middle"),
            (b"Geheim", "no JSON"),
            (b"{\"a\": NaN}", "no JSON"),
            (b"{\"a\": 1e999}", "no JSON"),
            (b"{\"a\": \"Geheim\xff\"}", "no JSON"),
            (b"{\"a\": \"\\ud800\"}", "no JSON"),
            (b"{} {}", "no JSON"),
            (b"\xef\xbb\xbf{}", "no JSON"),
            (b"{\"Geheim\": 1, \"Geheim\": 2}", "one name twice"),
            (deep.as_bytes(), "deeper than 32"),
            (many.as_bytes(), "more than 250000"),
        ];
        for (bytes, problem) in cases {
            let error = Node::parse(bytes).err().expect(problem);
            assert!(error.contains(problem) && !error.contains("Geheim"), "{error}");
        }
    }
}
