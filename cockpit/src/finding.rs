// SPDX-License-Identifier: EUPL-1.2
//! What the keeper may find wrong with an entry of the ledger: a closed list of stable codes. The
//! pages put them into words for citizens, the status into words for operators. No code carries
//! anything about a person.

use std::fmt;

macro_rules! findings {
    ($($(#[$doc:meta])* $name:ident $code:literal $text:literal;)*) => {
        /// Something that is wrong with an entry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Finding { $($(#[$doc])* $name,)* }

        impl Finding {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable code.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it means, for operators.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

findings! {
    /// The body is not one.
    Unreadable "UNREADABLE"
        "the body cannot be read; ask the ledger's operator how it got in";
    /// No key of the authority signed the request.
    AuthoritySignature "AUTHORITY_SIGNATURE"
        "the request is not signed by a known key of its authority";
    /// No key of the register signed.
    RegisterSignature "REGISTER_SIGNATURE"
        "the commitment is not signed by a known key of its register";
    /// The commitment answers another request than the body's.
    OtherRequest "OTHER_REQUEST"
        "the commitment belongs to another request than the one it was logged with";
    /// The permit is not the one committed to, or decides another request.
    OtherPermit "OTHER_PERMIT"
        "the permit is not the one that the register committed to";
    /// The number of slots is not the evidence type's.
    Slots "SLOTS"
        "the commitment has another number of slots than its evidence type";
    /// The leaf, the commitment and its time name different days.
    OtherDay "OTHER_DAY"
        "the leaf and the body name different days";
    /// The request names another ledger.
    OtherLedger "OTHER_LEDGER"
        "the request was meant for another ledger";
    /// A slot is sealed to somebody else, or tampered with.
    SlotNotOpened "SLOT_NOT_OPENED"
        "an access record does not open under any day key";
    /// An access record names another request.
    RecordOfOtherRequest "RECORD_OF_OTHER_REQUEST"
        "an access record belongs to another request";
    /// The register's records leave out who was asked about.
    NobodyAsked "NOBODY_ASKED"
        "the register's access records do not name who was asked about";
    /// The authority's own record does not open.
    AskedNotOpened "ASKED_NOT_OPENED"
        "the authority's own record does not open under any day key";
    /// The authority's own record names another request.
    AskedOfOtherRequest "ASKED_OF_OTHER_REQUEST"
        "the authority's own record belongs to another request";
    /// Authority and register name different persons.
    SubjectsDiffer "SUBJECTS_DIFFER"
        "authority and register do not name the same person";
    /// Authority and register name different cases.
    CasesDiffer "CASES_DIFFER"
        "authority and register do not name the same case";
    /// More left than was permitted.
    BeyondPermit "BEYOND_PERMIT"
        "more fields left than were asked for and permitted";
    /// The same request was logged before.
    LoggedTwice "LOGGED_TWICE"
        "the same request was logged before";
    /// A report of use that fits no exchange, or is not the authority's.
    UseUnknown "USE_UNKNOWN"
        "a report of use fits no exchange of its authority";
    /// More than one report of use; the first counts.
    UseReportedTwice "USE_REPORTED_TWICE"
        "the use was reported more than once, with different words";
    /// There is no key of that day, so nobody can find the entry.
    NoDayKey "NO_DAY_KEY"
        "there is no key of the entry's day, so it cannot be indexed";
    /// A leaf's day lies before those of the leaves before it.
    Backdated "BACKDATED"
        "the entry names an earlier day than the entries before it, so it would be forgotten early";
    /// The ledger says that it forgot more than the rules allow.
    ForgotEarly "FORGOT_EARLY"
        "the ledger forgot bodies of days that the rules still keep";
    /// The answer was lost and asked for again: the data may have been released.
    Retried "RETRIED"
        "the answer was lost and asked for again";
}

impl Finding {
    /// Reads a stable code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|finding| finding.as_str() == code)
    }

    /// Whether somebody did wrong, as against: something happened that the person should know.
    pub fn is_alarm(self) -> bool {
        self != Self::Retried
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
