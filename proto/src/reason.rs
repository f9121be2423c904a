// SPDX-License-Identifier: EUPL-1.2
//! The closed list of stable reasons, as they stand in `google.rpc.ErrorInfo` under the domain
//! `einmal`, in the ledger and on the pages. A refusal (the caller may not) and a fault (we
//! failed) never share one.

use std::fmt;

/// The domain of all reasons.
pub const DOMAIN: &str = "einmal";

/// How a reason is answered: a refusal of the caller, or a fault of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong.
    Malformed,
    /// The caller is not who it says.
    Unauthenticated,
    /// The caller may not.
    Forbidden,
    /// The state of things does not allow it.
    Precondition,
    /// Too much asked.
    Exhausted,
    /// Known already.
    Exists,
    /// Lost in between: ask again under a new id.
    Aborted,
    /// We failed, now.
    Unavailable,
    /// Too late.
    Deadline,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $text:literal $kind:ident $message:literal $advice:literal;)*) => {
        /// Why a request was refused or failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What kind of answer it is.
            pub fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// What went wrong, in a sentence without personal data.
            pub fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }

            /// What to do next.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

reasons! {
    /// Not a request.
    MalformedRequest "MALFORMED_REQUEST" Malformed
        "the request is not well formed" "compare it with einmal/protocol/v1/exchange.proto";
    /// Larger than the limit.
    TooLarge "TOO_LARGE" Malformed
        "the message is larger than its limit" "ask for fewer fields, or fewer requests in a batch";
    /// The caller's certificate names no operator.
    NotAnOperator "NOT_AN_OPERATOR" Unauthenticated
        "the certificate names no operator of this trust domain" "use a certificate with exactly one URI name, spiffe://<trust-domain>/operator/<id>";
    /// Authority not in the directory.
    UnknownAuthority "UNKNOWN_AUTHORITY" Forbidden
        "the directory has no such authority" "check the authority's id, or have the register authority enter it";
    /// Operator may not carry for it.
    OperatorMayNotCarry "OPERATOR_MAY_NOT_CARRY" Forbidden
        "this operator may not carry for that participant" "have the register authority enter the operator in the directory";
    /// Signature wrong.
    BadSignature "BAD_SIGNATURE" Unauthenticated
        "the signature does not fit the request and the authority's key" "sign the batch root with the key that the directory names";
    /// Clocks differ.
    ClockSkew "CLOCK_SKEW" Precondition
        "the request's time is too far from ours" "set the clock: two minutes of difference are accepted";
    /// Older than five minutes.
    RequestExpired "REQUEST_EXPIRED" Precondition
        "the request is older than five minutes" "make a new request under a new id";
    /// The id was used with other bytes.
    IdReused "ID_REUSED" Exists
        "this request id was used before, with other bytes" "make a new request under a new id";
    /// The id was used; its answer is gone.
    AnswerLost "ANSWER_LOST" Aborted
        "this request was logged, but its answer can no longer be given" "ask again under a new id with retry_of set to this one";
    /// Another broker's ledger.
    WrongLedger "WRONG_LEDGER" Precondition
        "this broker does not write the ledger that the request names" "take the ledger that the directory names as open";
    /// Register not in the directory.
    UnknownRegister "UNKNOWN_REGISTER" Precondition
        "the directory has no such register" "check the register's id in the directory";
    /// Register has no such evidence.
    NotHeldByRegister "NOT_HELD_BY_REGISTER" Precondition
        "the register does not hold this evidence type" "ask the directory which register does";
    /// Evidence type not in the rules.
    UnknownEvidenceType "UNKNOWN_EVIDENCE_TYPE" Precondition
        "the rules have no such evidence type" "check the evidence type's id in the rules";
    /// Field not of the type.
    UnknownField "UNKNOWN_FIELD" Precondition
        "the evidence type has no such field" "check the field names in the rules";
    /// Purpose not in the rules.
    UnknownPurpose "UNKNOWN_PURPOSE" Precondition
        "the rules have no such purpose, or it is a group of purposes" "name a purpose from the rules that has no narrower ones";
    /// No rule permits.
    NotPermitted "NOT_PERMITTED" Forbidden
        "the rules do not permit this authority these fields for this purpose" "ask for fewer fields, or another purpose; `einmal request --explain` says which rule spoke";
    /// A policy failed.
    PolicyError "POLICY_ERROR" Forbidden
        "a policy could not be evaluated, and what cannot be evaluated denies" "tell the register authority: the rules need mending";
    /// Rules expired.
    RulesExpired "RULES_EXPIRED" Precondition
        "the rules or the directory have expired" "publish a newer version";
    /// On the deny list.
    Denied "DENIED" Forbidden
        "the deny list forbids this request" "ask the register authority about the entry that is named";
    /// The deny list is too old, or there is none.
    DenyListStale "DENY_LIST_STALE" Unavailable
        "the deny list is older than an hour, so what it forbids cannot be known" "try again; the operator's `einmal doctor` says why no newer one comes";
    /// Documents that somebody publishes.
    TrustNotAccepted "TRUST_NOT_ACCEPTED" Precondition
        "the documents are not accepted" "the detail says which one and why";
    /// The permit is not ours.
    PermitDiffers "PERMIT_DIFFERS" Forbidden
        "the register decided otherwise than the broker" "the broker and the register must hold the same rules and directory";
    /// Sealed person does not fit.
    PersonNotOpened "PERSON_NOT_OPENED" Malformed
        "the sealed person does not open, or does not fit the request" "seal it to the register's current key card, bound to this request";
    /// Declared is not real.
    DeclaredNotReal "DECLARED_NOT_REAL" Forbidden
        "what the request declares is not what it holds" "declare the use of the identification number as it is";
    /// Not one of the permitted queries.
    QueryNotLawful "QUERY_NOT_LAWFUL" Forbidden
        "the person is not named in one of the ways that the law permits" "use family name, place, postcode and birth date; or family name, given names and birth date; or identification number and birth date (IDNrG § 6 (3))";
    /// Check digit wrong.
    BadCheckDigit "BAD_CHECK_DIGIT" Malformed
        "the identification number has a wrong check digit" "correct the number; nothing was looked up (IDNrG § 5 (3))";
    /// Replay seen by the register.
    Replayed "REPLAYED" Exists
        "the register saw this request before" "make a new request under a new id";
    /// Not attached.
    RegisterNotAttached "REGISTER_NOT_ATTACHED" Unavailable
        "no adapter of this register is attached" "try again; the register's operator sees the reason in the adapter's log";
    /// No credit left.
    RegisterBusy "REGISTER_BUSY" Exhausted
        "the register takes no more exchanges at the moment" "try again after a second";
    /// Too many in flight.
    BrokerBusy "BROKER_BUSY" Exhausted
        "the broker takes no more exchanges at the moment" "try again after a second";
    /// Register failed.
    RegisterFault "REGISTER_FAULT" Unavailable
        "the register could not answer" "try again under a new id; the register's operator sees the reason in the adapter's log";
    /// Register broke the protocol.
    RegisterMisbehaved "REGISTER_MISBEHAVED" Unavailable
        "the register's answer broke the protocol" "tell the register's operator";
    /// Too slow.
    DeadlineExceeded "DEADLINE_EXCEEDED" Deadline
        "the register did not answer in time" "try again under a new id";
    /// Ledger cannot append.
    LedgerUnavailable "LEDGER_UNAVAILABLE" Unavailable
        "the ledger cannot log, so nothing may be released" "try again; the broker's operator sees the reason in its log";
    /// Shutting down.
    Draining "DRAINING" Unavailable
        "this broker is about to stop" "try another broker";
}

impl Reason {
    /// Reads a stable name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }

    /// Whether the caller was refused, as against: we failed.
    pub fn is_refusal(self) -> bool {
        !matches!(self.kind(), Kind::Unavailable | Kind::Exhausted | Kind::Deadline | Kind::Aborted)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_parse() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("SOMETHING"), None);
    }
}
