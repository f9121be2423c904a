// SPDX-License-Identifier: EUPL-1.2
//! A person's records: a page of them, filtered, and how many there are of each kind. A page
//! begins below an entry of the ledger, which never moves: what is logged meanwhile stands before
//! the first page and shifts nothing.

use einmal_protocol::wire::cockpit::v1::{
    ListRecordsRequest, ListRecordsResponse, RecordFilter, SummarizeRecordsRequest,
    SummarizeRecordsResponse,
};
use tonic::Status;

use super::{
    Keeper,
    days::Tag,
    facts::{self, Facts},
    search::Place,
};

const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 200;

fn page_size(wished: u32) -> Result<usize, Status> {
    match usize::try_from(wished).unwrap_or(usize::MAX) {
        0 => Ok(PAGE_DEFAULT),
        size @ 1..=PAGE_MAX => Ok(size),
        _ => Err(Status::invalid_argument("`page_size` is at most 200")),
    }
}

fn begin_below(token: &str) -> Result<u64, Status> {
    match token {
        "" => Ok(u64::MAX),
        token => token
            .parse()
            .map_err(|_| Status::invalid_argument("`page_token` is not from an answer")),
    }
}

impl Keeper {
    pub(super) async fn list(
        &self,
        request: ListRecordsRequest,
    ) -> Result<ListRecordsResponse, Status> {
        let size = page_size(request.page_size)?;
        let below = begin_below(&request.page_token)?;
        let filter = request.filter.unwrap_or_default();
        let narrows = facts::check(&filter).map_err(Status::invalid_argument)?;
        let tags = self.tags(request.subject, request.login).await?;
        let places = if narrows {
            self.chosen(&tags, &filter).await?.into_iter().map(|(place, _)| place).collect()
        } else {
            self.index.places(&tags).await?
        };
        let total = places.len() as u64;
        let begin = places.partition_point(|place| place.index >= below);
        let rest = places.get(begin..).unwrap_or_default();
        let page = rest.get(..size).unwrap_or(rest);
        let next_page_token = match page.last() {
            Some(last) if rest.len() > page.len() => last.index.to_string(),
            _ => String::new(),
        };
        let mut records = Vec::with_capacity(page.len());
        for found in self.index.load(page).await? {
            records.push(self.open_found(found)?.record);
        }
        Ok(ListRecordsResponse { records, next_page_token, total })
    }

    pub(super) async fn summarize(
        &self,
        request: SummarizeRecordsRequest,
    ) -> Result<SummarizeRecordsResponse, Status> {
        let filter = request.filter.unwrap_or_default();
        facts::check(&filter).map_err(Status::invalid_argument)?;
        let tags = self.tags(request.subject, request.login).await?;
        let chosen = self.chosen(&tags, &filter).await?;
        let all: Vec<Facts> = chosen.into_iter().map(|(_, facts)| facts).collect();
        Ok(facts::summarize(&all))
    }

    /// What a filter leaves, newest first.
    async fn chosen(
        &self,
        tags: &[Tag],
        filter: &RecordFilter,
    ) -> Result<Vec<(Place, Facts)>, Status> {
        let places = self.index.places(tags).await?;
        let mut all = self.index.facts(&places, &self.ring).await?;
        all.retain(|(_, facts)| facts.fits(filter));
        Ok(all)
    }
}
