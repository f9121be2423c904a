// SPDX-License-Identifier: EUPL-1.2
//! What a ledger asks of a witness: the size that the witness knows, the consistency proof from
//! there on, and the new checkpoint.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use einmal_protocol::{
    Digest,
    note::{NOTE_MAX, base64_hash, claimed_origin, decimal},
};

/// A proof has at most so many lines.
pub const PROOF_MAX: usize = 63;
/// A request is at most this long, in bytes.
pub const BODY_MAX: usize = NOTE_MAX + PROOF_MAX * 45 + 64;

/// A well-formed request. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the tree that the proof begins at.
    pub old_size: u64,
    /// The consistency proof.
    pub proof: Vec<Digest>,
    /// The signed checkpoint.
    pub note: String,
}

/// What is wrong with a request's form.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

impl AddCheckpoint {
    /// Reads a request's body.
    ///
    /// # Errors
    /// Where it is not exactly as the specification has it.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > BODY_MAX {
            return Err(Malformed("the request is too long"));
        }
        let text = std::str::from_utf8(body).map_err(|_| Malformed("the request is not UTF-8"))?;
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(Malformed("an empty line before the checkpoint is missing"))?;
        let mut lines = head.split('\n');
        let old_size = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(decimal)
            .ok_or(Malformed("the first line is not `old <size>`"))?;
        let proof: Vec<Digest> = lines
            .map(base64_hash)
            .collect::<Option<_>>()
            .ok_or(Malformed("a line of the proof is not a hash in base64"))?;
        if proof.len() > PROOF_MAX {
            return Err(Malformed("the proof has more than 63 lines"));
        }
        claimed_origin(note).map_err(|_| Malformed("what follows is not a signed checkpoint"))?;
        Ok(Self { old_size, proof, note: note.to_owned() })
    }
}

impl fmt::Display for AddCheckpoint {
    /// The body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        for hash in &self.proof {
            writeln!(f, "{}", BASE64_STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.note)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The specification's example, its signature lines included.
    const EXAMPLE: &str = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcy\
        v2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V\
        6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";

    #[test]
    fn the_specification_s_example_is_read_and_written_the_same() {
        let request = AddCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!((request.old_size, request.proof.len()), (20_852_014, 4));
        assert_eq!(claimed_origin(&request.note), Ok("example.com/behind-the-sofa"));
        assert_eq!(request.to_string(), EXAMPLE);
        let longest = EXAMPLE.replacen(
            "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n",
            &"PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n".repeat(60),
            1,
        );
        assert!(AddCheckpoint::parse(longest.as_bytes()).is_ok());
        let more = longest.replacen(
            "old 20852014\n",
            "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n",
            1,
        );
        assert!(AddCheckpoint::parse(more.as_bytes()).is_err());
    }

    #[test]
    fn other_spellings_are_refused() {
        for (from, to) in [
            ("old 2", "old 02"),
            ("old 2", "old +2"),
            ("old 2", "old  2"),
            ("old 2", "new 2"),
            ("old 20852014\n", "old 20852014\r\n"),
            ("old 20852014\n", "old 20852014\n\n"),
            ("old 20852014\n", ""),
            ("old 20852014", "old 99999999999999999999"),
            ("kaw=\n", "kaw\n"),
            ("kaw=\n", "kaw=\nAAAA\n"),
            ("\n\nexample", "\nexample"),
            ("\n\nexample", "\n\n\nexample"),
            ("20852163", "-1"),
            ("sofa\n2", "sofa\n\n2"),
            ("AYQ8=\n", "AYQ8=\u{1}\n"),
        ] {
            let text = EXAMPLE.replacen(from, to, 1);
            assert_ne!(text, EXAMPLE, "{from}");
            assert!(AddCheckpoint::parse(text.as_bytes()).is_err(), "{from:?} {to:?}");
        }
        for body in [&b""[..], b"old 0\n", b"old 0\n\n", b"\xff\n\n", &[b'\n'; BODY_MAX + 1]] {
            assert!(AddCheckpoint::parse(body).is_err());
        }
        let end = EXAMPLE.len() - 1;
        assert!(AddCheckpoint::parse(&EXAMPLE.as_bytes()[..end]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn hostile_bodies_do_no_harm(
            cut in 0usize..900,
            insert in prop::collection::vec(any::<u8>(), 0..40),
            remove in 0usize..40,
        ) {
            let mut bytes = EXAMPLE.as_bytes().to_vec();
            let at = cut.min(bytes.len());
            let end = (at + remove).min(bytes.len());
            bytes.splice(at..end, insert);
            if let Ok(request) = AddCheckpoint::parse(&bytes) {
                prop_assert_eq!(request.to_string().into_bytes(), bytes);
            }
        }

        #[test]
        fn any_text_of_the_alphabet_is_read_one_way(
            text in "(old [0-9]{0,3}\n)?([A-Za-z0-9+/]{43}=\n){0,3}\n?(l\n[0-9]{1,2}\n[A-Za-z0-9+/]{42}A=\n)?\n?(— l [A-Z]{8}\n){0,3}",
        ) {
            if let Ok(request) = AddCheckpoint::parse(text.as_bytes()) {
                prop_assert_eq!(request.to_string(), text);
            }
        }
    }
}
