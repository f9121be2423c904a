// SPDX-License-Identifier: EUPL-1.2
//! A small PDF: text on A4 pages, tagged as headings and paragraphs and with its language, so that
//! it can be read aloud, searched and copied. Nothing else.

use std::fmt::Write as _;

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 62.0;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Title,
    Heading,
    Text,
}

impl Kind {
    fn tag(self) -> &'static str {
        match self {
            Self::Title => "H1",
            Self::Heading => "H2",
            Self::Text => "P",
        }
    }

    /// Size, and the space before it.
    fn size(self) -> (f32, f32) {
        match self {
            Self::Title => (20.0, 0.0),
            Self::Heading => (12.0, 14.0),
            Self::Text => (10.0, 3.0),
        }
    }

    fn font(self) -> &'static str {
        if self == Self::Text { "F1" } else { "F2" }
    }
}

/// A document that grows.
pub(crate) struct Pdf {
    title: String,
    language: &'static str,
    /// Finished and current pages: what is drawn.
    pages: Vec<String>,
    y: f32,
    /// Tag, page, number within the page.
    elements: Vec<(Kind, usize, usize)>,
    marks: usize,
}

impl Pdf {
    /// An empty one. `language` is a BCP 47 tag.
    pub(crate) fn new(title: &str, language: &'static str) -> Self {
        Self {
            title: title.to_owned(),
            language,
            pages: vec![String::new()],
            y: HEIGHT - MARGIN,
            elements: Vec::new(),
            marks: 0,
        }
    }

    /// Adds a paragraph, broken into lines.
    pub(crate) fn add(&mut self, kind: Kind, text: &str) {
        let (size, before) = kind.size();
        self.y -= before;
        let lines = wrap(&latin(text), (WIDTH - 2.0 * MARGIN) / size * 1000.0);
        // A heading stays with what it heads.
        let needed = if kind == Kind::Heading { 5.0 * size } else { size * 1.4 };
        if self.y - needed < MARGIN {
            self.turn();
        }
        self.open(kind);
        for line in lines {
            if self.y - size * 1.4 < MARGIN {
                self.close();
                self.turn();
                self.open(kind);
            }
            self.y -= size * 1.4;
            let (x, y, font) = (MARGIN, self.y, kind.font());
            let line = escaped(&line);
            self.draw(&format!("/{font} {size} Tf 1 0 0 1 {x} {y:.1} Tm ({line}) Tj\n"));
        }
        self.close();
    }

    fn draw(&mut self, text: &str) {
        if let Some(page) = self.pages.last_mut() {
            page.push_str(text);
        }
    }

    fn open(&mut self, kind: Kind) {
        let mark = self.marks;
        self.draw(&format!("/{} <</MCID {mark}>> BDC BT\n", kind.tag()));
        self.elements.push((kind, self.pages.len() - 1, mark));
        self.marks += 1;
    }

    fn close(&mut self) {
        self.draw("ET EMC\n");
    }

    fn turn(&mut self) {
        self.pages.push(String::new());
        self.y = HEIGHT - MARGIN;
        self.marks = 0;
    }

    /// The file. Objects: 1 catalogue, 2 pages, 3 and 4 fonts, 5 information, 6 structure, 7 its
    /// parent tree, then two for each page, then one for each element.
    pub(crate) fn finish(self) -> Vec<u8> {
        let pages = self.pages.len();
        let page_of = |page: usize| 8 + 2 * page;
        let element_of = |element: usize| 8 + 2 * pages + element;
        let list = |all: &mut dyn Iterator<Item = usize>| {
            all.map(|number| format!("{number} 0 R")).collect::<Vec<_>>().join(" ")
        };
        let title = escaped(&latin(&self.title));
        let font = |name: &str| {
            format!("<</Type/Font/Subtype/Type1/BaseFont/{name}/Encoding/WinAnsiEncoding>>")
        };
        let mut parents = String::new();
        for page in 0..pages {
            let mut of_page = (0..self.elements.len())
                .filter(|at| self.elements.get(*at).is_some_and(|(_, on, _)| *on == page))
                .map(element_of);
            let _ = write!(parents, "{page} [{}] ", list(&mut of_page));
        }
        let mut objects = vec![
            format!(
                "<</Type/Catalog/Pages 2 0 R/Lang({})/MarkInfo<</Marked true>>/StructTreeRoot \
                 6 0 R/ViewerPreferences<</DisplayDocTitle true>>>>",
                self.language
            ),
            format!("<</Type/Pages/Count {pages}/Kids[{}]>>", list(&mut (0..pages).map(page_of))),
            font("Helvetica"),
            font("Helvetica-Bold"),
            format!("<</Title({title})/Producer(Einmal)>>"),
            format!(
                "<</Type/StructTreeRoot/K[{}]/ParentTree 7 0 R>>",
                list(&mut (0..self.elements.len()).map(element_of))
            ),
            format!("<</Nums[{parents}]>>"),
        ];
        for (page, content) in self.pages.iter().enumerate() {
            objects.push(format!(
                "<</Type/Page/Parent 2 0 R/MediaBox[0 0 {WIDTH} {HEIGHT}]/Resources<</Font<</F1 3 \
                 0 R/F2 4 0 R>>>>/StructParents {page}/Tabs/S/Contents {} 0 R>>",
                page_of(page) + 1
            ));
            // Every character of the content is one byte of WinAnsi.
            let length = content.chars().count();
            objects.push(format!("<</Length {length}>>\nstream\n{content}\nendstream"));
        }
        for (kind, page, mark) in &self.elements {
            objects.push(format!(
                "<</Type/StructElem/S/{}/P 6 0 R/Pg {} 0 R/K {mark}>>",
                kind.tag(),
                page_of(*page)
            ));
        }
        assemble(&objects)
    }
}

fn assemble(objects: &[String]) -> Vec<u8> {
    let mut file = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        places.push(file.len());
        file.extend(format!("{} 0 obj\n", number + 1).bytes());
        // All text was brought to U+0000 to U+00FF before.
        file.extend(object.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')));
        file.extend(b"\nendobj\n");
    }
    let begins = file.len();
    let count = objects.len() + 1;
    file.extend(format!("xref\n0 {count}\n0000000000 65535 f \n").bytes());
    for place in places {
        file.extend(format!("{place:010} 00000 n \n").bytes());
    }
    let end =
        format!("trailer\n<</Size {count}/Root 1 0 R/Info 5 0 R>>\nstartxref\n{begins}\n%%EOF\n");
    file.extend(end.bytes());
    file
}

/// The text in WinAnsi, a byte a character. Letters that it lacks lose their marks, or become `?`.
fn latin(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => ' ',
            '–' => '\u{96}',
            '—' => '\u{97}',
            '„' => '\u{84}',
            '“' => '\u{93}',
            '”' => '\u{94}',
            '’' => '\u{92}',
            '…' => '\u{85}',
            '€' => '\u{80}',
            'Š' => '\u{8a}',
            'š' => '\u{9a}',
            'Ž' => '\u{8e}',
            'ž' => '\u{9e}',
            'ş' | 'ș' => 's',
            'Ş' | 'Ș' => 'S',
            'ğ' => 'g',
            'Ğ' => 'G',
            'ı' => 'i',
            'İ' => 'I',
            'ł' => 'l',
            'Ł' => 'L',
            'ć' | 'č' => 'c',
            'Ć' | 'Č' => 'C',
            'ń' => 'n',
            'ś' => 's',
            'ź' | 'ż' => 'z',
            'ą' | 'ă' => 'a',
            'ę' | 'ě' => 'e',
            ' '..='~' | '\u{a0}'..='\u{ff}' => c,
            _ => '?',
        })
        .collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '(' | ')' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Thousandths of the size that a character of Helvetica is wide; bold is a little wider, and
/// lines have room for that.
fn width(c: char) -> f32 {
    match c {
        'i' | 'j' | 'l' | '\'' => 222.0,
        ' ' | '!' | ',' | '.' | '/' | ':' | ';' | 'I' | '[' | '\\' | ']' | 'f' | 't' => 278.0,
        '(' | ')' | '-' | '`' | 'r' => 333.0,
        'J' | 'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' => 500.0,
        'F' | 'T' | 'Z' => 611.0,
        '&' | 'A' | 'B' | 'E' | 'K' | 'P' | 'S' | 'V' | 'X' | 'Y' => 667.0,
        'C' | 'D' | 'H' | 'N' | 'R' | 'U' | 'w' => 722.0,
        'G' | 'O' | 'Q' => 778.0,
        'm' | 'M' => 833.0,
        '%' | 'W' | '@' | '\u{97}' | '\u{85}' => 1000.0,
        '\u{c0}'..='\u{df}' => 778.0,
        _ => 556.0,
    }
}

/// Lines that are at most `most` wide; a word that is wider is cut.
fn wrap(text: &str, most: f32) -> Vec<String> {
    // Bold is wider than what we count.
    let most = most * 0.93;
    let (mut lines, mut line, mut wide) = (Vec::new(), String::new(), 0.0);
    for word in text.split_whitespace() {
        let own: f32 = word.chars().map(width).sum();
        if !line.is_empty() && wide + 278.0 + own > most {
            lines.push(std::mem::take(&mut line));
            wide = 0.0;
        }
        if !line.is_empty() {
            line.push(' ');
            wide += 278.0;
        }
        for c in word.chars() {
            if wide + width(c) > most {
                lines.push(std::mem::take(&mut line));
                wide = 0.0;
            }
            line.push(c);
            wide += width(c);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_stands_where_the_table_says() {
        let mut pdf = Pdf::new("Zugriffe (Übersicht)", "de");
        pdf.add(Kind::Title, "Zugriffe");
        for number in 0..200 {
            pdf.add(Kind::Heading, &format!("Nr. {number} \\ (größer) – „Ämter“ Şahin 漢"));
            pdf.add(Kind::Text, &"Wort ".repeat(60));
            pdf.add(Kind::Text, &"W".repeat(300));
        }
        let file = pdf.finish();
        let text: String = file.iter().map(|byte| char::from(*byte)).collect();
        let begins: usize =
            text.rsplit("startxref\n").next().unwrap().lines().next().unwrap().parse().unwrap();
        let table: Vec<&str> = text[begins..].lines().skip(3).collect();
        let objects = table.iter().take_while(|line| line.ends_with(" n "));
        for (number, line) in objects.enumerate() {
            let place: usize = line[..10].parse().unwrap();
            assert!(text[place..].starts_with(&format!("{} 0 obj\n", number + 1)));
        }
        assert!(text.contains("/Lang(de)") && text.contains("Sahin ?"));
        assert!(text.contains("\\(gr\u{f6}\u{df}er\\)") && text.contains("/S/H2"));
        assert!(text.matches("/Type/Page/").count() > 10);
        for length in text.split("<</Length ").skip(1) {
            let (said, rest) = length.split_once(">>\nstream\n").unwrap();
            let content = rest.split_once("\nendstream").unwrap().0;
            assert_eq!(said.parse::<usize>().unwrap(), content.chars().count());
        }
    }

    #[test]
    fn lines_are_broken_between_words_and_long_words_are_cut() {
        assert_eq!(wrap("aa bb", 2800.0), ["aa bb"]);
        assert_eq!(wrap("aa bb", 2000.0), ["aa", "bb"]);
        assert_eq!(wrap("aaaa", 1300.0), ["aa", "aa"]);
    }
}
