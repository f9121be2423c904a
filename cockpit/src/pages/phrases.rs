// SPDX-License-Identifier: EUPL-1.2
//! Words of overview, filters, check, letters, coverage and help, in all three languages.

use super::words::words;

words! {
    Phrases phrases;

    nav_overview: "Übersicht", "Overview", "Übersicht";
    nav_coverage: "Wer mitmacht", "Who takes part", "Wer mitmacht";
    nav_help: "Hilfe", "Help", "Hilfe";

    overview_title: "Ihre Übersicht", "Your overview", "Ihre Übersicht";
    overview_good:
        "Alles ist geprüft, nichts ist auffällig.",
        "Everything is verified, nothing is unusual.",
        "Alles ist geprüft. Alles ist richtig.";
    overview_attention:
        "Einträge, die Sie sich ansehen sollten:",
        "Entries that you should look at:",
        "So viele Einträge sollten Sie ansehen:";
    overview_alarms:
        "Das Cockpit hat im Protokoll etwas gefunden, das nicht stimmt. Mehr dazu steht unter \
        „Stand der Prüfung“.",
        "The cockpit found something wrong in the log. See “Verification status”.",
        "Im Protokoll stimmt etwas nicht. Mehr steht bei: Stand der Prüfung.";
    overview_chart: "Zugriffe je Monat", "Access by month", "Fragen in jedem Monat";
    overview_chart_text:
        "Balken für die letzten 24 Monate. Die Zahlen stehen in der Tabelle darunter.",
        "Bars for the last 24 months. The figures are in the table below.",
        "Ein Bild mit 24 Monaten. Die Zahlen stehen in der Tabelle.";
    overview_table: "Als Tabelle", "As a table", "Als Tabelle";
    overview_month: "Monat", "Month", "Monat";
    overview_count: "Zugriffe", "Access", "Fragen";
    overview_newest: "Das Neueste", "The newest", "Das Neueste";
    overview_all: "Alle Einträge ansehen", "See all entries", "Alle Einträge ansehen";

    filter_title: "Einträge auswählen", "Narrow down", "Einträge suchen";
    filter_any: "alle", "all", "alle";
    filter_from: "Von", "From", "Von";
    filter_to: "Bis", "To", "Bis";
    filter_submit: "Anzeigen", "Show", "Suchen";
    filter_clear: "Auswahl aufheben", "Show all again", "Wieder alles zeigen";
    filter_none:
        "Zu dieser Auswahl gibt es keine Einträge.",
        "No entry fits this choice.",
        "Dazu gibt es keine Einträge.";
    download_title: "Mitnehmen", "Take with you", "Speichern";
    download_csv: "Als Tabelle (CSV)", "As a table (CSV)", "Als Tabelle speichern";
    download_pdf: "Zum Ausdrucken (PDF)", "To print (PDF)", "Zum Aus·drucken";

    rules_version: "Fassung der Regeln", "Version of the rules", "Regeln Nummer";
    rules_source: "Wortlaut der Regel für Computer", "The rule as computers read it", "Die Regel für Computer";

    check_title: "Eintrag geprüft", "Entry checked", "Eintrag geprüft";
    check_button: "Jetzt prüfen", "Check now", "Jetzt prüfen";
    check_at: "Geprüft am", "Checked on", "Geprüft am";
    check_1:
        "Der Fingerabdruck des Eintrags wurde neu berechnet.",
        "The entry's fingerprint was computed anew.",
        "Wir haben den Eintrag neu ausgerechnet.";
    check_2:
        "Vom Eintrag führt ein Weg aus Prüfsummen zum Prüfpunkt des ganzen Protokolls.",
        "A path of hashes leads from the entry to the checkpoint of the whole log.",
        "Der Eintrag gehört zum ganzen Protokoll.";
    check_3:
        "Der Prüfpunkt ist vom Betreiber des Protokolls unterschrieben.",
        "The checkpoint is signed by the ledger's operator.",
        "Das Protokoll ist unterschrieben.";
    check_4:
        "Der Prüfpunkt ist nicht älter als alle, die dieses Cockpit schon gesehen hat.",
        "The checkpoint is no older than any that this cockpit has seen.",
        "Das Protokoll ist nicht kürzer geworden.";
    check_hand: "Selbst nachprüfen, ohne uns", "Check it yourself, without us", "Selbst prüfen";

    bad_missing:
        "Der Beweis fehlt. Das kann eine Störung sein. Bitte versuchen Sie es später noch \
        einmal.",
        "The proof is missing. This may be a disturbance. Please try again later.",
        "Der Beweis fehlt. Bitte versuchen Sie es später.";
    bad_signed:
        "Der Prüfpunkt trägt keine gültige Unterschrift des Protokolls. Diesem Eintrag können \
        Sie nicht trauen.",
        "The checkpoint carries no valid signature of the ledger. Do not trust this entry.",
        "Die Unterschrift ist falsch. Vielleicht hat jemand etwas geändert.";
    bad_back:
        "Das Protokoll ist kürzer als früher: Einträge wurden zurückgenommen. Das darf nie \
        geschehen.",
        "The ledger is shorter than before: entries were taken back. This must never happen.",
        "Im Protokoll fehlen Einträge. Das darf nicht sein.";
    bad_fork:
        "Das Protokoll zeigt verschiedenen Leuten Verschiedenes. Das darf nie geschehen.",
        "The ledger shows different things to different people. This must never happen.",
        "Das Protokoll zeigt nicht allen das Gleiche. Das darf nicht sein.";
    bad_wrong:
        "Der Beweis passt nicht zu diesem Eintrag: Der Eintrag wurde geändert, oder er steht \
        nicht im Protokoll.",
        "The proof does not fit this entry: the entry was changed, or it is not in the ledger.",
        "Der Beweis ist falsch. Vielleicht hat jemand den Eintrag geändert.";
    bad_what:
        "Bitte drucken Sie diese Seite aus und melden Sie das der Datenschutzaufsicht.",
        "Please print this page and tell the data protection authority.",
        "Bitte drucken Sie die Seite aus. Sagen Sie es der Daten·schutz·aufsicht.";

    hand_title: "Selbst nachprüfen", "Check it yourself", "Selbst prüfen";
    hand_lead:
        "Sie müssen uns nicht glauben. Mit der JSON-Datei dieses Eintrags und den Programmen \
        openssl und sha256sum, die auf jedem Linux-Rechner sind, können Sie oder jemand, dem \
        Sie vertrauen, den Beweis nachrechnen.",
        "You need not believe us. With this entry's JSON file and the programs openssl and \
        sha256sum, which are on every Linux computer, you or somebody whom you trust can \
        recompute the proof.",
        "Sie können den Beweis selbst prüfen. Oder Sie bitten jemanden, der sich mit Computern \
        auskennt.";
    hand_0: "Laden Sie die Datei in einen leeren Ordner", "Download the file into an empty folder", "Speichern Sie die Datei";
    hand_1:
        "Der Fingerabdruck des Eintrags. Beide Zeilen, die erscheinen, müssen gleich sein.",
        "The entry's fingerprint. The two lines that appear must be equal.",
        "Der Eintrag. Die beiden Zeilen müssen gleich sein.";
    hand_2:
        "Der Weg zum Prüfpunkt. Wieder müssen beide Zeilen gleich sein.",
        "The path to the checkpoint. Again the two lines must be equal.",
        "Das Protokoll. Die beiden Zeilen müssen wieder gleich sein.";
    hand_3:
        "Die Unterschrift. Es muss „Signature Verified Successfully“ erscheinen. Vergleichen \
        Sie den Schlüssel mit dem, den der Betreiber veröffentlicht hat.",
        "The signature. It must say “Signature Verified Successfully”. Compare the key with \
        the one that the operator published.",
        "Die Unterschrift. Da muss stehen: Signature Verified Successfully.";
    hand_all:
        "Noch mehr prüft das freie Programm: wer gefragt hat, wer geantwortet hat, und ob die \
        Regeln es erlaubten.",
        "The free program checks even more: who asked, who answered, and whether the rules \
        permitted it.",
        "Es gibt auch ein Programm. Das Programm prüft noch mehr.";

    act_ask: "Bei der Behörde nachfragen", "Ask the authority", "Das Amt fragen";
    act_object: "Widersprechen", "Object", "Sagen: Das will ich nicht";
    act_correct: "Angaben berichtigen lassen", "Have details corrected", "Fehler melden";
    act_complain: "Sich beschweren", "Complain", "Sich beschweren";
    act_hint:
        "Wir bereiten Ihnen den Brief vor, mit allen Angaben zu diesem Eintrag. Gespeichert \
        wird er nicht.",
        "We prepare the letter with all references to this entry. It is not kept. It is in \
        German, since those who read it read German.",
        "Wir schreiben den Brief für Sie. Wir speichern den Brief nicht.";
    letter_title: "Ihr Brief", "Your letter", "Ihr Brief";
    letter_to: "An", "To", "An";
    letter_fill:
        "Bitte ergänzen Sie, was in eckigen Klammern steht, und unterschreiben Sie.",
        "Please fill in what stands in square brackets, and sign.",
        "Bitte schreiben Sie in den Brief: alles, was in Klammern steht. Dann unterschreiben \
        Sie den Brief.";
    letter_save: "Als Text speichern", "Save as text", "Speichern";
    letter_print:
        "Zum Ausdrucken benutzen Sie „Drucken“ in Ihrem Browser; gedruckt wird nur der Brief.",
        "To print, use “Print” in your browser; only the letter is printed.",
        "Sie können den Brief auch aus·drucken.";
    letter_back: "Zurück zum Eintrag", "Back to the entry", "Zurück zum Eintrag";

    cover_title: "Wer mitmacht", "Who takes part", "Wer mitmacht";
    cover_lead:
        "Nur was über dieses System abgefragt wird, sehen Sie hier. Diese Stellen sind \
        angeschlossen.",
        "You see here only what is asked through this system. These bodies are connected.",
        "Nicht alle Ämter machen mit. Diese Ämter machen mit.";
    cover_until: "Vollständig bis", "Complete up to", "Vollständig bis";
    cover_entries: "Geprüfte Einträge aller Personen", "Verified entries of all persons", "So viele Einträge sind geprüft";
    cover_gaps: "Bekannte Lücken", "Known gaps", "Da fehlt etwas";
    cover_no_gaps:
        "Keine: Jeder Eintrag des Protokolls konnte gelesen und geprüft werden.",
        "None: every entry of the ledger could be read and verified.",
        "Nichts fehlt.";
    cover_some_gaps:
        "Es gibt Lücken oder Auffälligkeiten. Sie stehen unter „Stand der Prüfung“. Anzahl:",
        "There are gaps or anomalies. They stand under “Verification status”. Number:",
        "Es fehlt etwas. Mehr steht bei: Stand der Prüfung. So oft:";
    cover_registers: "Register, die gefragt werden können", "Registers that may be asked", "Diese Register machen mit";
    cover_authorities: "Behörden, die fragen dürfen", "Authorities that may ask", "Diese Ämter dürfen fragen";
    cover_not:
        "Nicht hier stehen: Abfragen auf anderen Wegen (Brief, Telefon, andere Verfahren), \
        Einträge, die älter als zwei Jahre sind, und wer in der Behörde gefragt hat.",
        "Not shown here: requests by other ways (letter, telephone, other procedures), \
        entries older than two years, and who within the authority asked.",
        "Das sehen Sie hier nicht: Briefe und Anrufe. Und alles, was älter als 2 Jahre ist.";

    help_title: "Hilfe", "Help", "Hilfe";
    help_1: "Warum fragen Behörden nach meinen Daten?", "Why do authorities ask for my data?", "Warum fragt ein Amt nach meinen Daten?";
    help_1_text:
        "Wenn Sie zum Beispiel Elterngeld beantragen, braucht die Behörde Nachweise. Statt Sie \
        darum zu bitten, holt sie die Nachweise dort, wo sie schon liegen. Das darf sie nur, \
        wenn ein Gesetz es erlaubt.",
        "If for example you apply for parental allowance, the authority needs proofs. Instead \
        of asking you, it fetches them where they already lie. It may do so only if a law \
        permits it.",
        "Sie möchten zum Beispiel Eltern·geld haben. Das Amt braucht dafür Ihre Daten. Das Amt \
        fragt ein anderes Amt. Dann müssen Sie keine Papiere bringen.";
    help_2: "Was bedeutet „Ergebnis“?", "What does “result” mean?", "Was heißt: Was kam heraus?";
    help_2_text:
        "„Übermittelt“: Die Behörde hat die Angaben bekommen. „Nichts gefunden“: Im Register \
        stand nichts. „Nicht eindeutig“: Es passten mehrere Personen, deshalb wurde nichts \
        gesendet. „Abgelehnt“: Die Anfrage war nicht erlaubt oder fehlerhaft.",
        "“Passed on”: the authority received the details. “Nothing found”: the register held \
        nothing. “Ambiguous”: several persons fitted, so nothing was sent. “Refused”: the \
        request was not permitted or was wrong.",
        "Daten bekommen heißt: Das Amt hat Ihre Daten. Keine Daten heißt: Es gab nichts. \
        Abgelehnt heißt: Das Amt durfte nicht fragen.";
    help_3: "Was ist der Beweis?", "What is the proof?", "Was ist der Beweis?";
    help_3_text:
        "Jeder Eintrag hat einen Fingerabdruck, eine lange Zahl. Alle Fingerabdrücke zusammen \
        ergeben den Prüfpunkt. Ändert jemand auch nur einen Buchstaben, passt nichts mehr \
        zusammen. Sie können das selbst nachrechnen.",
        "Each entry has a fingerprint, a long number. All fingerprints together make the \
        checkpoint. If anybody changes a single letter, nothing fits any more. You can \
        recompute this yourself.",
        "Jeder Eintrag hat eine lange Nummer. Ändert jemand den Eintrag? Dann ist die Nummer \
        falsch. Das merken wir.";
    help_4: "Was kann ich tun, wenn etwas nicht stimmt?", "What can I do if something is wrong?", "Etwas ist falsch. Was kann ich tun?";
    help_4_text:
        "Öffnen Sie den Eintrag. Unter „Was Sie tun können“ bereiten wir Ihnen einen Brief vor: \
        nachfragen, widersprechen, berichtigen lassen oder sich beschweren.",
        "Open the entry. Under “What you can do” we prepare a letter for you: to ask, object, \
        have something corrected, or complain.",
        "Öffnen Sie den Eintrag. Dort finden Sie einen Brief. Den Brief können Sie abschicken.";
    help_5: "Warum fehlt ein Zugriff?", "Why is an access missing?", "Warum fehlt etwas?";
    help_5_text:
        "Unter „Wer mitmacht“ steht, welche Stellen angeschlossen sind und bis wann alles \
        geprüft ist. Was auf anderem Weg abgefragt wurde, kann hier nicht stehen.",
        "“Who takes part” says which bodies are connected and up to when everything is \
        verified. What was asked in another way cannot stand here.",
        "Nicht alle Ämter machen mit. Die Liste steht bei: Wer mitmacht.";
    help_6: "Wer sieht, dass ich hier war?", "Who sees that I was here?", "Wer sieht, dass ich hier war?";
    help_6_text:
        "Niemand. Das Cockpit merkt sich Ihre Besuche nicht, und die Behörden erfahren nichts \
        davon.",
        "Nobody. The cockpit does not remember your visits, and the authorities do not learn \
        of them.",
        "Niemand.";
}
