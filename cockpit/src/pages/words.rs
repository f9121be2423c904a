// SPDX-License-Identifier: EUPL-1.2
//! All words of the pages in German, English and Leichte Sprache. A word that is missing in one
//! language does not compile.

use serde::Serialize;

use crate::finding::Finding;

/// A language of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// German.
    #[default]
    De,
    /// English.
    En,
    /// German in Leichte Sprache.
    Leicht,
}

impl Lang {
    /// Reads the value of `?lang=` or of the cookie.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::De, Self::En, Self::Leicht].into_iter().find(|lang| lang.as_str() == text)
    }

    /// The value of `?lang=` and of the cookie.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::De => "de",
            Self::En => "en",
            Self::Leicht => "leicht",
        }
    }

    /// The BCP 47 tag for `<html lang>`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::De => "de",
            Self::En => "en",
            Self::Leicht => "de-simple",
        }
    }

    /// One of three texts.
    pub fn pick<T>(self, de: T, en: T, leicht: T) -> T {
        match self {
            Self::De => de,
            Self::En => en,
            Self::Leicht => leicht,
        }
    }
}

/// A table of words, and how a language finds its own.
macro_rules! words {
    ($table:ident $find:ident; $($name:ident: $de:literal, $en:literal, $leicht:literal;)*) => {
        /// Fixed words of the pages.
        pub(crate) struct $table { $(pub(crate) $name: &'static str,)* }

        impl $crate::pages::Lang {
            /// The words.
            pub(crate) fn $find(self) -> &'static $table {
                static DE: $table = $table { $($name: $de,)* };
                static EN: $table = $table { $($name: $en,)* };
                static LEICHT: $table = $table { $($name: $leicht,)* };
                self.pick(&DE, &EN, &LEICHT)
            }
        }
    };
}
pub(crate) use words;

words! {
    Words words;
    product: "Datenschutzcockpit", "Data protection cockpit", "Daten·schutz·cockpit";
    tagline:
        "Wer hat was über Sie abgefragt?",
        "Who asked what about you?",
        "Wer hat nach Ihren Daten gefragt?";
    skip: "Zum Inhalt springen", "Skip to content", "Zum Inhalt springen";
    menu: "Hauptmenü", "Main menu", "Menü";
    languages: "Sprache", "Language", "Sprache";
    nav_start: "Start", "Home", "Start";
    nav_records: "Zugriffe auf meine Daten", "Access to my data", "Fragen nach meinen Daten";
    nav_status: "Stand der Prüfung", "Verification status", "Stand der Prüfung";
    nav_login: "Anmelden", "Log in", "Anmelden";
    nav_logout: "Abmelden", "Log out", "Abmelden";
    demo:
        "Nur zur Vorführung / demo only. Alle Personen und Daten sind erfunden.",
        "Nur zur Vorführung / demo only. All persons and data are invented.",
        "Nur zur Vorführung / demo only. Alle Personen sind erfunden.";
    footer:
        "Keine Werbung, keine Zählung, keine fremden Inhalte. Es gibt nur ein Cookie für Ihre \
        Anmeldung und eines für die Sprache.",
        "No adverts, no tracking, no third-party content. There is only one cookie for your \
        login and one for the language.",
        "Hier gibt es keine Werbung. Niemand beobachtet Sie.";

    start_lead:
        "Behörden müssen Sie nicht immer wieder nach denselben Nachweisen fragen. Sie dürfen \
        sie dort abrufen, wo sie schon vorliegen, wenn ein Gesetz es erlaubt. Jeder dieser \
        Zugriffe wird protokolliert. Hier lesen Sie das Protokoll.",
        "Authorities need not ask you for the same documents again and again. They may fetch \
        them where they are already kept, if a law permits it. Every such access is logged. \
        Here you read the log.",
        "Ein Amt braucht oft Daten von Ihnen. Das Amt kann ein anderes Amt nach diesen Daten \
        fragen. Jede Frage wird aufgeschrieben. Hier können Sie alles lesen.";
    start_see: "Was Sie hier sehen", "What you see here", "Das sehen Sie hier";
    start_see_1:
        "wer etwas über Sie abgefragt hat und wann",
        "who asked about you, and when",
        "Welches Amt hat gefragt?";
    start_see_2:
        "welche Angaben übermittelt wurden",
        "which details were passed on",
        "Welche Daten hat das Amt bekommen?";
    start_see_3:
        "warum, und auf welcher Rechtsgrundlage",
        "why, and on which legal basis",
        "Warum hat das Amt gefragt?";
    start_see_4:
        "auch, wenn nichts gefunden oder die Anfrage abgelehnt wurde",
        "also where nothing was found or the request was refused",
        "Manchmal bekommt ein Amt keine Daten. Auch das sehen Sie.";
    start_proof:
        "Warum Sie sich darauf verlassen können",
        "Why you can rely on it",
        "Darum ist die Liste richtig";
    start_proof_text:
        "Kein Register gibt Daten heraus, bevor der Zugriff im Protokoll steht. Das Protokoll \
        kann niemand unbemerkt ändern, auch der Betreiber nicht: Jeder Eintrag ist \
        mathematisch mit allen anderen verbunden. Sie können den Beweis herunterladen und \
        selbst prüfen lassen.",
        "No register releases data before the access stands in the log. Nobody can change the \
        log unnoticed, not even its operator: each entry is mathematically tied to all others. \
        You can download the proof and have it checked independently.",
        "Jede Frage wird zuerst aufgeschrieben. Erst danach bekommt das Amt die Daten. Niemand \
        kann die Liste heimlich ändern.";
    start_private: "Wer das lesen kann", "Who can read it", "Wer kann das lesen?";
    start_private_text:
        "Nur Sie, wenn Sie angemeldet sind. Die Einträge liegen verschlüsselt, und nur dieses \
        Cockpit kann sie öffnen. Gezeigt werden die letzten zwei Jahre.",
        "Only you, when you are logged in. The entries are kept encrypted, and only this \
        cockpit can open them. The last two years are shown.",
        "Nur Sie können das lesen. Sie müssen sich dafür anmelden. Sie sehen die letzten 2 \
        Jahre.";

    login_title: "Anmelden", "Log in", "Anmelden";
    login_lead:
        "Melden Sie sich an, um zu lesen, wer etwas über Sie abgefragt hat.",
        "Log in to read who asked about you.",
        "Sie müssen sich anmelden. Dann sehen Sie Ihre Liste.";
    login_go:
        "Weiter zum Anmeldedienst",
        "On to the login service",
        "Weiter zur Anmeldung";
    login_how: "So geht es", "How it works", "So geht es";
    login_how_1:
        "Der Anmeldedienst fragt nach Ihrem Online-Ausweis. Nur so ist sicher, dass niemand \
        anderes Ihre Einträge liest.",
        "The login service asks for your online ID card. Only so is it certain that nobody \
        else reads your entries.",
        "Sie brauchen Ihren Online-Ausweis. Dann ist sicher: Nur Sie lesen Ihre Liste.";
    login_how_2:
        "Er nennt uns Ihre Identifikationsnummer, Ihren Namen, Geburtstag und Geburtsort. \
        Damit finden wir Ihre Einträge.",
        "It tells us your identification number, name, date and place of birth. With these \
        we find your entries.",
        "Wir bekommen Ihren Namen, Ihre Nummer und Ihren Geburts·tag. Damit finden wir Ihre \
        Liste.";
    login_how_3:
        "Sie werden nach 15 Minuten ohne Klick abgemeldet, spätestens nach einer Stunde.",
        "You are logged out after 15 minutes without a click, and after an hour in any case.",
        "Sie klicken 15 Minuten lang nichts an? Dann melden wir Sie ab.";
    login_kept:
        "Gespeichert wird davon nichts: Ihre Angaben liegen nur während der Anmeldung \
        verschlüsselt im Arbeitsspeicher.",
        "None of this is stored: your details lie in memory, encrypted, only while you are \
        logged in.",
        "Wir speichern nichts davon.";
    login_done: "Sie sind angemeldet", "You are logged in", "Sie sind angemeldet";
    login_on: "Weiter", "Continue", "Weiter";
    logout_title: "Sie sind abgemeldet", "You are logged out", "Sie sind abgemeldet";
    logout_lead:
        "Dieser Browser kann Ihre Einträge nicht mehr lesen.",
        "This browser can no longer read your entries.",
        "Hier kann niemand mehr Ihre Liste lesen.";
    logout_provider:
        "Auch beim Anmeldedienst abmelden",
        "Log out from the login service, too",
        "Auch bei der Anmeldung abmelden";
    logout_provider_why:
        "Das ist wichtig, wenn noch andere diesen Computer benutzen.",
        "This matters if others use this computer.",
        "Das ist wichtig, wenn noch andere diesen Computer benutzen.";

    list_title: "Zugriffe auf Ihre Daten", "Access to your data", "Fragen nach Ihren Daten";
    list_empty:
        "Es gibt keine Einträge. In den letzten zwei Jahren hat niemand über dieses System \
        etwas über Sie abgefragt.",
        "There are no entries. In the last two years nobody asked about you through this \
        system.",
        "Die Liste ist leer. Niemand hat nach Ihren Daten gefragt.";
    list_newest: "Das Neueste steht oben.", "Newest first.", "Das Neueste steht oben.";
    list_more: "Ältere Einträge", "Older entries", "Ältere Einträge";
    list_first: "Zu den neuesten Einträgen", "To the newest entries", "Zum Anfang";
    list_details: "Einzelheiten", "Details", "Mehr lesen";
    list_complete: "Lückenlos geprüft bis", "Verified without gaps up to", "Geprüft bis";
    list_attention: "Bitte ansehen", "Please look at this", "Bitte ansehen";

    detail_title:
        "Ein Zugriff im Einzelnen",
        "One access in detail",
        "Eine Frage nach Ihren Daten";
    detail_back: "Zurück zur Liste", "Back to the list", "Zurück zur Liste";
    detail_who: "Wer", "Who", "Wer hat gefragt?";
    detail_when: "Wann", "When", "Wann war das?";
    detail_where: "Bei wem", "Asked whom", "Wer wurde gefragt?";
    detail_what: "Welcher Nachweis", "Which evidence", "Um was ging es?";
    detail_fields:
        "Übermittelte Angaben",
        "Details passed on",
        "Diese Daten hat das Amt bekommen";
    detail_fields_asked: "Gefragt war nach", "Asked for were", "Nach diesen Daten wurde gefragt";
    detail_no_fields: "keine", "none", "keine";
    detail_unknown_fields: "unbekannt", "unknown", "Das wissen wir nicht.";
    detail_why: "Warum", "Why", "Warum?";
    detail_basis: "Rechtsgrundlage", "Legal basis", "Das Gesetz";
    detail_initiation: "Auf wessen Veranlassung", "On whose initiative", "Wer wollte das?";
    detail_result: "Ergebnis", "Result", "Was kam heraus?";
    detail_use: "Was daraus wurde", "What became of it", "Was ist dann passiert?";
    detail_role: "Ihre Rolle", "Your part", "Warum steht das hier?";
    detail_case: "Aktenzeichen der Behörde", "The authority's case reference", "Nummer beim Amt";
    detail_idnr:
        "Identifikationsnummer verwendet",
        "Identification number used",
        "Mit Identifikations·nummer gefragt";
    detail_crosses:
        "Zwischen verschiedenen Verwaltungsbereichen",
        "Between different administrative areas",
        "Zwischen verschiedenen Bereichen";
    yes: "ja", "yes", "ja";
    no: "nein", "no", "nein";
    detail_attention:
        "Hier stimmt etwas nicht oder ist zu beachten",
        "Something is wrong here, or worth knowing",
        "Das müssen Sie wissen";
    detail_policies:
        "Nach welchen Regeln das erlaubt war",
        "Under which rules this was permitted",
        "Welche Regeln gelten?";
    detail_proof: "Beweis", "Proof", "Beweis";
    proof_good:
        "Geprüft: Dieser Eintrag steht unverändert im Protokoll.",
        "Verified: this entry stands unchanged in the log.",
        "Geprüft: Niemand hat den Eintrag geändert.";
    proof_ledger: "Protokoll", "Ledger", "Protokoll";
    proof_position: "Eintrag Nummer", "Entry number", "Eintrag Nummer";
    proof_size: "Prüfpunkt über", "Checkpoint over", "Geprüft sind";
    proof_entries: "Einträge", "entries", "Einträge";
    proof_root: "Prüfsumme", "Root hash", "Prüf·summe";
    proof_export:
        "Beweis als JSON-Datei herunterladen",
        "Download the proof as a JSON file",
        "Beweis als Datei speichern";
    proof_export_hint:
        "Die Datei enthält Ihre Daten. Bewahren Sie sie sicher auf.",
        "The file contains your data. Keep it safe.",
        "In der Datei stehen Ihre Daten. Passen Sie gut auf die Datei auf.";
    detail_next: "Was Sie tun können", "What you can do", "Das können Sie tun";
    next_ask:
        "Fragen Sie die Behörde. Nennen Sie das Aktenzeichen oder die Nummer dieses Eintrags.",
        "Ask the authority. Give the case reference or the number of this entry.",
        "Sie haben eine Frage? Fragen Sie das Amt. Sagen Sie die Nummer von diesem Eintrag.";
    next_correct:
        "Ist eine Angabe falsch, können Sie die Berichtigung verlangen (Art. 16 DSGVO).",
        "If a detail is wrong, you can demand its correction (Art. 16 GDPR).",
        "Ist etwas falsch? Sagen Sie es dem Amt. Das Amt muss es richtig machen.";
    next_object:
        "Sprechen Gründe aus Ihrer besonderen Lage dagegen, können Sie der Verarbeitung \
        widersprechen (Art. 21 DSGVO).",
        "If reasons of your particular situation speak against it, you can object to the \
        processing (Art. 21 GDPR).",
        "Sie wollen das nicht? Sagen Sie es dem Amt. Schreiben Sie auch, warum.";
    next_complain:
        "Halten Sie den Zugriff für unzulässig, können Sie sich bei der Datenschutzaufsicht \
        beschweren (Art. 77 DSGVO).",
        "If you think the access was unlawful, you can complain to the data protection \
        authority (Art. 77 GDPR).",
        "Durfte das Amt das? Sie können sich beschweren. Dafür gibt es die \
        Daten·schutz·aufsicht.";

    status_title: "Stand der Prüfung", "Verification status", "Stand der Prüfung";
    status_lead:
        "Das Cockpit prüft jeden Eintrag des Protokolls selbst nach, auch die, die nicht von \
        Ihnen handeln.",
        "The cockpit checks every entry of the log itself, also those that are not about you.",
        "Das Cockpit prüft jeden Eintrag.";
    status_complete: "Lückenlos geprüft", "Verified without gaps", "Geprüft";
    status_when: "Letzte Prüfung", "Last check", "Zuletzt geprüft";
    status_never:
        "Es wurde noch nichts geprüft.",
        "Nothing was checked yet.",
        "Es wurde noch nichts geprüft.";
    status_alarms: "Auffälligkeiten", "Anomalies", "Das ist aufgefallen";
    status_no_alarms:
        "Keine. Alles passt zusammen.",
        "None. Everything fits together.",
        "Nichts. Alles ist richtig.";
    status_checkpoint:
        "Unterschriebener Prüfpunkt",
        "Signed checkpoint",
        "Prüf·punkt mit Unterschrift";

    error_title: "Das ging leider nicht", "Sorry, that did not work", "Das hat nicht geklappt";
    error_home: "Zur Startseite", "To the home page", "Zur Start·seite";
    error_not_found:
        "Diese Seite gibt es nicht, oder der Eintrag gehört nicht zu Ihnen.",
        "There is no such page, or the entry is not yours.",
        "Diese Seite gibt es nicht.";
    error_form:
        "Das Formular ist abgelaufen oder kam von einer anderen Seite. Bitte laden Sie die \
        Seite neu und versuchen Sie es noch einmal.",
        "The form has expired or came from another site. Please reload the page and try again.",
        "Bitte laden Sie die Seite neu. Versuchen Sie es dann noch einmal.";
    error_busy:
        "Gerade sind sehr viele Menschen angemeldet. Bitte versuchen Sie es in einigen Minuten \
        noch einmal.",
        "Very many people are logged in at the moment. Please try again in a few minutes.",
        "Gerade sind zu viele Menschen hier. Bitte versuchen Sie es später.";
    error_login:
        "Die Anmeldung wurde abgebrochen oder hat zu lange gedauert. Bitte beginnen Sie noch \
        einmal bei „Anmelden“.",
        "The login was broken off or took too long. Please begin again at “Log in”.",
        "Die Anmeldung hat nicht geklappt. Bitte versuchen Sie es noch einmal.";
    error_level:
        "Diese Anmeldung ist nicht sicher genug. Bitte melden Sie sich mit dem Online-Ausweis \
        an.",
        "This login is not secure enough. Please log in with your online ID card.",
        "Sie brauchen den Online-Ausweis. Anders geht es leider nicht.";
    error_person:
        "Der Anmeldedienst hat nicht genug über Sie mitgeteilt, um Ihre Einträge sicher zu \
        finden. Bitte wenden Sie sich an den Anmeldedienst.",
        "The login service did not say enough about you to find your entries safely. Please \
        turn to the login service.",
        "Bei der Anmeldung fehlen Daten von Ihnen. Bitte fragen Sie dort nach.";
    error_away:
        "Der Anmeldedienst antwortet gerade nicht. Bitte versuchen Sie es in einigen Minuten \
        noch einmal.",
        "The login service does not answer at the moment. Please try again in a few minutes.",
        "Die Anmeldung geht gerade nicht. Bitte versuchen Sie es später.";
    error_keeper:
        "Die Einträge können gerade nicht gelesen werden. Es ist nichts verloren. Bitte \
        versuchen Sie es in einigen Minuten noch einmal.",
        "The entries cannot be read at the moment. Nothing is lost. Please try again in a few \
        minutes.",
        "Wir können die Liste gerade nicht zeigen. Bitte versuchen Sie es später.";
    error_broken:
        "Auf unserer Seite ist ein Fehler aufgetreten. Bitte versuchen Sie es später noch \
        einmal.",
        "Something failed on our side. Please try again later.",
        "Bei uns ist ein Fehler passiert. Bitte versuchen Sie es später.";
}

/// What a finding means for the person.
pub(crate) fn finding(lang: Lang, finding: Finding) -> &'static str {
    match finding {
        Finding::Retried => lang.pick(
            "Die Antwort ging unterwegs verloren, und die Behörde hat noch einmal gefragt. Die \
             Daten wurden oder wurden möglicherweise schon bei dieser ersten Anfrage \
             übermittelt.",
            "The answer was lost on the way and the authority asked again. The data was, or \
             may have been, released with this first request already.",
            "Das Amt hat zweimal gefragt. Vielleicht hat das Amt die Daten schon beim ersten \
             Mal bekommen.",
        ),
        Finding::NobodyAsked | Finding::SubjectsDiffer => lang.pick(
            "Die Behörde und das Register nennen nicht dieselbe Person. Das ist im Stand der \
             Prüfung vermerkt.",
            "The authority and the register do not name the same person. This is noted in the \
             verification status.",
            "Das Amt und das Register nennen verschiedene Personen. Das Cockpit hat das \
             bemerkt.",
        ),
        Finding::CasesDiffer => lang.pick(
            "Die Behörde und das Register nennen verschiedene Aktenzeichen.",
            "The authority and the register name different case references.",
            "Die Nummern beim Amt sind verschieden. Das Cockpit hat das bemerkt.",
        ),
        Finding::AuthoritySignature => lang.pick(
            "Die Unterschrift der Behörde ist nicht gültig. Möglicherweise hat sie nicht \
             selbst gefragt.",
            "The authority's signature is not valid. It may not have asked itself.",
            "Die Unterschrift vom Amt ist falsch. Das Cockpit hat das bemerkt.",
        ),
        Finding::RegisterSignature => lang.pick(
            "Die Unterschrift des Registers ist nicht gültig.",
            "The register's signature is not valid.",
            "Die Unterschrift vom Register ist falsch. Das Cockpit hat das bemerkt.",
        ),
        Finding::OtherRequest | Finding::RecordOfOtherRequest | Finding::AskedOfOtherRequest => {
            lang.pick(
                "Teile dieses Eintrags gehören zu einer anderen Anfrage.",
                "Parts of this entry belong to another request.",
                "Ein Teil gehört zu einer anderen Frage. Das Cockpit hat das bemerkt.",
            )
        }
        Finding::BeyondPermit | Finding::OtherPermit => lang.pick(
            "Es ist mehr oder anderes übermittelt worden, als erlaubt war.",
            "More, or something else, was passed on than was permitted.",
            "Das Amt hat zu viele Daten bekommen. Das Cockpit hat das bemerkt.",
        ),
        Finding::UseReportedTwice => lang.pick(
            "Die Behörde hat Widersprüchliches darüber gemeldet, ob sie die Daten verwendet \
             hat.",
            "The authority reported contradictory things about its use of the data.",
            "Das Amt hat verschiedene Dinge gesagt. Das Cockpit hat das bemerkt.",
        ),
        Finding::LoggedTwice => lang.pick(
            "Diese Anfrage steht mehrfach im Protokoll.",
            "This request stands in the log more than once.",
            "Die Frage steht zweimal in der Liste.",
        ),
        _ => lang.pick(
            "An diesem Eintrag ist technisch etwas nicht in Ordnung. Das ist im Stand der \
             Prüfung vermerkt.",
            "Something is technically wrong with this entry. This is noted in the verification \
             status.",
            "Hier ist etwas nicht richtig. Das Cockpit hat das bemerkt.",
        ),
    }
}
