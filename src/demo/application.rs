// SPDX-License-Identifier: EUPL-1.2
//! One application for parental allowance: 17 evidences under one signature, fetched in
//! parallel, reported as used; then each is looked up in the cockpit and its proof is verified
//! offline.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_client::{Ask, Client, ClientError, Received};
use einmal_cockpit::{
    export::ExportFile,
    keeper::{Keeper, connect_in_process},
};
use einmal_protocol::{
    person::{Person, PersonQuery},
    wire::{
        cockpit::v1::{
            ExportRecordRequest, GetStatusRequest, ListRecordsRequest, LoginProof,
            keeper_service_client::KeeperServiceClient,
        },
        v1::{self, Envelope, Initiation, Outcome, Subject, Use},
    },
};
use prost::Message;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{
    people::{self, Town},
    registers::{Question, questions},
};
use crate::{Exit, verify};

/// How long the keeper may take to follow.
const FOLLOW: Duration = Duration::from_secs(20);

/// What happened to one evidence.
pub struct Line {
    /// Its evidence type.
    pub evidence_type: &'static str,
    /// The register that was asked.
    pub register: &'static str,
    /// How long it took.
    pub took: Duration,
    /// The verified answer, or why there is none.
    pub answer: Result<Received, ClientError>,
    subject: Option<Subject>,
}

/// Asks all questions at once, and tells of each answer as it comes, by its number.
///
/// # Errors
/// Where the batch cannot be signed and sealed.
pub async fn apply(
    client: &Arc<Client>,
    town: &Town,
    mut told: impl FnMut(usize, &Line),
) -> Result<Vec<Line>, Exit> {
    let questions = questions(town);
    let asks: Vec<Ask> = questions.iter().map(ask).collect();
    let prepared = client.prepare(&asks).await?;
    let mut running = JoinSet::new();
    for (number, prepared) in prepared.into_iter().enumerate() {
        let client = Arc::clone(client);
        running.spawn(async move {
            let began = Instant::now();
            let answer = client.send(&prepared).await;
            let took = began.elapsed();
            if let Ok(received) = &answer {
                let used = match received.outcome {
                    Outcome::Found => Use::Used,
                    _ => Use::NothingFound,
                };
                if let Err(error) = client.report_use(received, used).await {
                    return (number, took, Err(error));
                }
            }
            (number, took, answer)
        });
    }
    let mut lines: Vec<Option<Line>> = questions.iter().map(|_| None).collect();
    while let Some(joined) = running.join_next().await {
        let (number, took, answer) = joined.map_err(Exit::failed)?;
        let Some(question) = questions.get(number) else { continue };
        let subject = person_of(town, &question.person).map(subject);
        let (evidence_type, register) = (question.evidence_type, question.register);
        let line = Line { evidence_type, register, took, answer, subject };
        told(number, &line);
        if let Some(place) = lines.get_mut(number) {
            *place = Some(line);
        }
    }
    Ok(lines.into_iter().flatten().collect())
}

/// The question as an authority asks it.
pub fn ask(question: &Question) -> Ask {
    Ask {
        register: Some(question.register.to_owned()),
        evidence_type: question.evidence_type.to_owned(),
        fields: question.fields.iter().map(|&field| field.to_owned()).collect(),
        purpose: "parental-allowance".to_owned(),
        initiation: Initiation::Application,
        person: Person {
            query: question.person.clone(),
            case_reference: "EG-2026-0042".to_owned(),
            clerk: "sachbearbeitung-17".to_owned(),
        },
        retry_of: None,
    }
}

/// The person that a query means, as the town knows them.
pub fn person_of<'t>(town: &'t Town, query: &PersonQuery) -> Option<&'t people::Person> {
    let same = |person: &&people::Person| match query {
        PersonQuery::Idnr { idnr, .. } => person.idnr == *idnr,
        PersonQuery::Names { family_name, given_names, birth_date } => {
            person.family_name == *family_name
                && person.given_names == *given_names
                && person.birth_date == *birth_date
        }
        PersonQuery::Residence { family_name, birth_date, postcode, .. } => {
            person.family_name == *family_name
                && person.birth_date == *birth_date
                && person.place.postcode == postcode
        }
    };
    town.people.iter().find(same)
}

/// As who a person logs in at the cockpit.
pub fn subject(person: &people::Person) -> Subject {
    Subject {
        idnr: person.idnr.clone(),
        birth_name: person.birth_name.clone(),
        given_names: person.given_names.clone(),
        birth_date: person.birth_date.clone(),
        birth_place: person.birth_place.to_owned(),
    }
}

/// How many of the answers their persons find in the cockpit, and for how many of these the
/// exported record verifies offline from the pinned root.
///
/// # Errors
/// Where the keeper does not answer.
pub async fn check(
    lines: &[Line],
    keeper: &Keeper,
    size: u64,
    pinned: &Envelope,
) -> Result<(usize, usize), Exit> {
    let mut keeper = connect_in_process(keeper.clone());
    wait_until(&mut keeper, size).await?;
    let (mut recorded, mut proven) = (0, 0);
    let mut known: HashMap<String, HashMap<Vec<u8>, u64>> = HashMap::new();
    for line in lines {
        let (Ok(received), Some(subject)) = (&line.answer, &line.subject) else { continue };
        if !known.contains_key(&subject.idnr) {
            let records = records_of(&mut keeper, subject).await?;
            known.insert(subject.idnr.clone(), records);
        }
        let index = known
            .get(&subject.idnr)
            .and_then(|records| records.get(received.id.as_bytes().as_slice()));
        let Some(index) = index else { continue };
        recorded += 1;
        let request = ExportRecordRequest {
            subject: Some(subject.clone()),
            index: *index,
            login: demo_login(),
        };
        let export = keeper.export_record(request).await.map_err(Exit::failed)?.into_inner();
        let Some(export) = export.record else { continue };
        if let Some(record) = &export.record
            && !record.findings.is_empty()
        {
            eprintln!("einmal: {}: findings {}", line.evidence_type, record.findings.join(", "));
            continue;
        }
        let file = ExportFile::from_wire(export, String::new()).map_err(Exit::failed)?;
        // Through the file's own form, as a citizen would take it home.
        let file = ExportFile::parse(&file.to_json().map_err(Exit::failed)?);
        match file.map_err(|e| e.to_string()).and_then(|file| verify::verify(&file, pinned)) {
            Ok(verified) if verified.proven.leaf() == received.proven.leaf() => proven += 1,
            Ok(_) => eprintln!("einmal: {}: another entry", line.evidence_type),
            Err(problem) => eprintln!("einmal: {}: {problem}", line.evidence_type),
        }
    }
    Ok((recorded, proven))
}

async fn wait_until(keeper: &mut KeeperServiceClient<Channel>, size: u64) -> Result<(), Exit> {
    let follow = async {
        loop {
            let status =
                keeper.get_status(GetStatusRequest {}).await.map_err(Exit::failed)?.into_inner();
            if !status.alarms.is_empty() {
                return Err(Exit::failed(format!("alarm: {}", status.alarms.join("; "))));
            }
            if status.complete_up_to >= size {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(FOLLOW, follow)
        .await
        .map_err(|_| Exit::failed("the keeper does not follow the ledger"))?
}

/// The demo's persons are invented, and so are their logins.
pub fn demo_login() -> Option<LoginProof> {
    Some((&einmal_cockpit::login::LoginProof::Demo).into())
}

async fn records_of(
    keeper: &mut KeeperServiceClient<Channel>,
    subject: &Subject,
) -> Result<HashMap<Vec<u8>, u64>, Exit> {
    let mut found = HashMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListRecordsRequest {
            subject: Some(subject.clone()),
            page_size: 200,
            page_token: std::mem::take(&mut page_token),
            login: demo_login(),
            filter: None,
        };
        let page = keeper.list_records(request).await.map_err(Exit::failed)?.into_inner();
        for record in page.records {
            let request = v1::Request::decode(record.request.as_slice()).map_err(Exit::failed)?;
            found.insert(request.id, record.index);
        }
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}
