// SPDX-License-Identifier: EUPL-1.2
//! What an account of MySQL or MariaDB may do, as `SHOW GRANTS` says it: one `GRANT` a line.

const WRITING: [&str; 8] =
    ["ALL PRIVILEGES", "ALL", "INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "TRIGGER"];

/// A line that grants privileges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant<'a> {
    privileges: &'a str,
    /// On what, as a statement has it.
    pub(super) on: &'a str,
    /// To whom, as a statement has it.
    pub(super) to: &'a str,
}

impl<'a> Grant<'a> {
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let (privileges, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
        let (on, rest) = rest.split_once(" TO ")?;
        let ends = [" IDENTIFIED ", " REQUIRE ", " WITH "];
        let end = ends.iter().filter_map(|word| rest.find(word)).min();
        let to = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        Some(Self { privileges, on: on.strip_prefix("TABLE ").unwrap_or(on), to })
    }

    /// Whether a table's rows or form can be changed with it.
    pub(super) fn writes(&self) -> bool {
        // Columns stand in brackets behind a privilege.
        let mut depth = 0_u32;
        let mut bare = String::new();
        for char in self.privileges.chars() {
            match char {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ if depth == 0 => bare.push(char),
                _ => {}
            }
        }
        bare.split(',').any(|one| WRITING.contains(&one.trim()))
    }

    /// Whether it is about a table of a database.
    pub(super) fn is_about(&self, database: &str, table: &str) -> bool {
        if self.on == "*.*" {
            return true;
        }
        let Some((of, what)) = self.on.rsplit_once('.') else { return false };
        let (of, what) = (of.trim_matches('`'), what.trim_matches('`'));
        if what == "*" {
            is_like(database, of)
        } else {
            of.eq_ignore_ascii_case(database) && what.eq_ignore_ascii_case(table)
        }
    }
}

/// The role that a line of MySQL gives, as ``r`@`%``.
pub(super) fn role(line: &str) -> Option<&str> {
    let (roles, _) = line.strip_prefix("GRANT ")?.split_once(" TO ")?;
    (!roles.contains(" ON ") && roles.contains('@')).then_some(roles)
}

/// Whether a database's name is of a pattern of `GRANT`, with `%` and `_`, and a backslash before those
/// that mean themselves.
fn is_like(name: &str, pattern: &str) -> bool {
    let mut pattern = pattern.chars();
    let mut rest = name.chars();
    match pattern.next() {
        None => name.is_empty(),
        Some('%') => {
            let pattern = pattern.as_str();
            let tails = name.char_indices().filter_map(|(at, _)| name.get(at..));
            tails.chain([""]).any(|tail| is_like(tail, pattern))
        }
        Some('_') => rest.next().is_some() && is_like(rest.as_str(), pattern.as_str()),
        Some('\\') => {
            let literal = pattern.next();
            literal.is_some() && rest.next() == literal && is_like(rest.as_str(), pattern.as_str())
        }
        Some(char) => {
            let same = rest.next().is_some_and(|own| own.eq_ignore_ascii_case(&char));
            same && is_like(rest.as_str(), pattern.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_show_grants() {
        for (line, writes) in [
            ("GRANT SELECT ON `d`.`t` TO `u`@`%`", false),
            ("GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*9'", false),
            ("GRANT SELECT, INSERT ON `d`.`t` TO `u`@`%`", true),
            ("GRANT SELECT, UPDATE (`sex`, `a`) ON `d`.`t` TO `u`@`%`", true),
            ("GRANT SELECT (`delete`, `insert`) ON `d`.`t` TO `u`@`%`", false),
            ("GRANT ALL PRIVILEGES ON `d`.* TO `u`@`%` WITH GRANT OPTION", true),
            ("GRANT DELETE ON *.* TO `u`@`%`", true),
            ("GRANT DELETE ON `e`.* TO `u`@`%`", false),
            ("GRANT DELETE ON `d`.`other` TO `u`@`%`", false),
            ("GRANT DELETE ON `%`.* TO `u`@`%`", true),
            ("GRANT SELECT, CREATE TEMPORARY TABLES ON `d`.* TO `u`@`%`", false),
            ("GRANT `r`@`%` TO `u`@`%`", false),
            ("SET DEFAULT ROLE `r` FOR `u`@`%`", false),
        ] {
            let grant = Grant::read(line);
            let found = grant.is_some_and(|grant| grant.writes() && grant.is_about("d", "t"));
            assert_eq!(found, writes, "{line}");
            assert!(grant.is_none_or(|grant| grant.to == "`u`@`%`"), "{grant:?}");
        }
        assert_eq!(role("GRANT `r`@`%`,`s`@`%` TO `u`@`%`"), Some("`r`@`%`,`s`@`%`"));
        assert_eq!(role("GRANT `r` TO `u`@`%`"), None);
        assert_eq!(role("GRANT SELECT ON `a@b`.* TO `u`@`%`"), None);
        for (name, pattern, like) in [
            ("amt_1", r"amt\_1", true),
            ("amtx1", r"amt\_1", false),
            ("amtx1", "amt_1", true),
            ("amt_12", "amt%", true),
            ("bamt", "amt%", false),
            ("", "%", true),
            ("abcabd", "%abd", true),
        ] {
            assert_eq!(is_like(name, pattern), like, "{name} {pattern}");
        }
    }
}
