// SPDX-License-Identifier: EUPL-1.2
//! `einmal ledger show`: entries as people read them, persons and evidence sealed.

use einmal_broker::open_ledger;
use einmal_ledger::store::Detail;
use einmal_protocol::{
    leaf::LeafKind,
    request::Unverified,
    time::day_to_iso,
    wire::v1::{Body, NoticeBody, body, notice_body},
};
use prost::Message;

use super::ConfigArgs;
use crate::{Exit, broker};

/// Shows entries.
pub(super) async fn show(args: &ConfigArgs, from: u64, count: usize) -> Result<(), Exit> {
    let section = broker::read(&args.config)?.ledger;
    let store = open_ledger::inspect(&section).await.map_err(Exit::failed)?;
    let entries =
        store.entries(from, count.min(10_000), Detail::Bodies).await.map_err(Exit::failed)?;
    for entry in entries {
        let what = entry.body.as_deref().map_or_else(|| "forgotten".to_owned(), describe);
        let kind = match entry.leaf.kind {
            LeafKind::Exchange => "exchange",
            LeafKind::Refusal => "refusal",
            LeafKind::Use => "use",
            LeafKind::Notice => "notice",
        };
        println!("{:>8}  {}  {kind:<8}  {what}", entry.index, day_to_iso(entry.leaf.day));
    }
    Ok(())
}

/// What a body says in the clear: parties, kinds and ids, never a person.
fn describe(bytes: &[u8]) -> String {
    let Some(kind) = Body::decode(bytes).ok().and_then(|body| body.kind) else {
        return "unreadable".to_owned();
    };
    let (signed, reason) = match kind {
        body::Kind::Exchange(exchange) => (exchange.signed_request, String::new()),
        body::Kind::Refusal(refusal) => (refusal.signed_request, format!("  {}", refusal.reason)),
        body::Kind::Use(_) => return "report of use, sealed".to_owned(),
        body::Kind::Notice(notice) => return describe_notice(&notice),
    };
    match Unverified::parse(&signed) {
        Ok(found) => {
            let request = found.request;
            format!(
                "{}  {} asked {} for {} ({}){reason}",
                request.id,
                request.authority,
                request.register,
                request.evidence_type,
                request.purpose
            )
        }
        Err(_) => "unreadable".to_owned(),
    }
}

fn describe_notice(notice: &NoticeBody) -> String {
    let by = &notice.by;
    match &notice.what {
        Some(notice_body::What::Forgot(forgot)) => {
            format!("{by} forgot {} bodies before {}", forgot.bodies, day_to_iso(forgot.before_day))
        }
        Some(notice_body::What::BodiesRead(read)) => {
            let to =
                if read.to_index == 0 { "on".to_owned() } else { format!("to {}", read.to_index) };
            format!("{by} read bodies from {} {to}: {}", read.from_index, read.reason)
        }
        Some(notice_body::What::Look(look)) => {
            let (from, to) = (day_to_iso(look.from_day), day_to_iso(look.to_day));
            format!("{by} counted from {from} to {to}: {}", look.reason)
        }
        Some(notice_body::What::Hold(hold)) => {
            let until = day_to_iso(hold.until_day);
            format!("{by} holds the record of leaf {} until {until}: {}", hold.index, hold.reason)
        }
        None => "unreadable".to_owned(),
    }
}
