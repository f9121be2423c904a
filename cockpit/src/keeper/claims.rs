// SPDX-License-Identifier: EUPL-1.2
//! Two people with one birth identity: records that a register filed by name, date and place
//! could be either's. Whoever logs in first claims such a tag, blindly; if another comes, neither
//! sees these records any more, and the data-protection officer answers
//! (READ-ONLY-BY-ITS-OWNER).

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite};

use super::{
    days::Tag,
    index::{Index, IndexError, push_tags},
};

const CONTESTED: &str =
    "two logins meet one birth identity: the data-protection officer must answer both";

impl Index {
    /// Those of a person's birth tags that lead only to this person's records, as far as is
    /// known. Each comes with the tag of the identification number on the same day, where the
    /// login has one.
    pub(crate) async fn unshared(
        &self,
        birth: &[(Tag, Option<Tag>)],
    ) -> Result<Vec<Tag>, IndexError> {
        let mut used =
            QueryBuilder::<Sqlite>::new("SELECT DISTINCT tag FROM records WHERE tag IN (");
        let tags: Vec<Tag> = birth.iter().map(|(tag, _)| *tag).collect();
        push_tags(&mut used, &tags);
        let used: Vec<Vec<u8>> = used
            .build()
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| row.try_get("tag"))
            .collect::<Result<_, _>>()?;
        let claims = self.claims(&used).await?;
        let mut own = Vec::new();
        let mut contested = false;
        for (tag, number) in birth.iter().filter(|(tag, _)| used.iter().any(|u| u == tag)) {
            let owner = number.map(|tag| tag.to_vec()).unwrap_or_default();
            // Most logins come again: nothing is written then.
            let free = match claims.get(tag.as_slice()) {
                Some((known, false)) if *known == owner => true,
                _ => self.claim(tag, owner).await?,
            };
            if free {
                own.push(*tag);
            }
            contested |= !free;
        }
        if contested {
            self.alarm(CONTESTED, None).await?;
        }
        Ok(own)
    }

    /// Who claimed these tags, and whether another came.
    async fn claims(
        &self,
        tags: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, (Vec<u8>, bool)>, IndexError> {
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT tag, owner, contested FROM claims WHERE tag IN (");
        let mut list = query.separated(", ");
        for tag in tags {
            list.push_bind(tag.clone());
        }
        query.push(")");
        let rows = query.build().fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                let contested: i64 = row.try_get("contested")?;
                Ok((row.try_get("tag")?, (row.try_get("owner")?, contested != 0)))
            })
            .collect()
    }

    /// Whether this tag is, and stays, this login's alone.
    async fn claim(&self, tag: &Tag, owner: Vec<u8>) -> Result<bool, IndexError> {
        // One statement, so that two logins at one moment cannot both be the first.
        let row = sqlx::query(
            "INSERT INTO claims (tag, owner, contested) VALUES (?1, ?2, 0) \
             ON CONFLICT (tag) DO UPDATE SET contested = contested OR owner <> ?2 \
             RETURNING contested",
        )
        .bind(tag.to_vec())
        .bind(owner)
        .fetch_one(&self.pool)
        .await?;
        let contested: i64 = row.try_get("contested")?;
        Ok(contested == 0)
    }
}
