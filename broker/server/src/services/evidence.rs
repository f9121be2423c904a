// SPDX-License-Identifier: EUPL-1.2
//! What authorities call.

use std::sync::Arc;

use einmal_policy::{Question, Refused, decide::FieldDecision, explain};
use einmal_protocol::{
    Reason,
    request::{FIELDS_MAX, SEALED_PERSON_MAX},
    wire::evidence::v1::{
        ExplainRequest, ExplainResponse, FieldExplanation, PolicyExplanation, ReportUseRequest,
        ReportUseResponse, RequestEvidenceRequest, RequestEvidenceResponse,
        evidence_service_server::EvidenceService,
    },
};
use tonic::{Request, Response, Status};

use crate::{
    Broker, admission, caller,
    exchange::{Asked, Failure, exchange},
    use_report::report_use,
};

/// Serves `einmal.evidence.v1`.
pub(crate) struct Evidence(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl EvidenceService for Evidence {
    async fn request_evidence(
        &self,
        request: Request<RequestEvidenceRequest>,
    ) -> Result<Response<RequestEvidenceResponse>, Status> {
        let caller = caller::of(&request)?;
        let until = caller::until(&request);
        let message = request.into_inner();
        if message.sealed_person.len() > SEALED_PERSON_MAX {
            return Err(Failure::refused(Reason::TooLarge).into());
        }
        let line = {
            let named = admission::named(&message.signed_request);
            admission::line_of(&caller, named.as_deref(), &self.0.trust.current().directory)
        };
        let place = self.0.admission.enter(&line).await.inspect_err(|failure| {
            self.0.metrics.ended(failure.reason);
        })?;
        let asked = Asked {
            place,
            until,
            signed_request: message.signed_request,
            sealed_person: message.sealed_person,
            seen_size: message.seen_size,
        };
        let answer = exchange(&self.0, &caller, asked).await?;
        Ok(Response::new(Arc::unwrap_or_clone(answer)))
    }

    async fn report_use(
        &self,
        request: Request<ReportUseRequest>,
    ) -> Result<Response<ReportUseResponse>, Status> {
        let caller = caller::of(&request)?;
        let message = request.into_inner();
        // Reports are small and rare beside questions: they stand in the line of whoever brings them.
        let line = caller.to_string();
        let _place = self.0.admission.enter(&line).await?;
        let answer = report_use(&self.0, &caller, message.report, message.seen_size).await?;
        Ok(Response::new(answer))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let caller = caller::of(&request)?;
        let trust = self.0.trust.current();
        caller::operator(&caller, &trust.directory)?;
        let message = request.into_inner();
        if message.fields.len() > FIELDS_MAX {
            return Err(Failure::refused(Reason::TooLarge).into());
        }
        let initiation = message.initiation();
        let question = Question {
            authority: message.authority,
            register: message.register,
            evidence_type: message.evidence_type,
            fields: message.fields,
            purpose: message.purpose,
            initiation,
            idnr_used: message.idnr_used,
        };
        let mut response = ExplainResponse {
            rules_digest: trust.rules.digest().to_vec(),
            directory_digest: trust.directory.digest().to_vec(),
            ..ExplainResponse::default()
        };
        match explain(&trust.rules, &trust.directory, &question) {
            Ok(explanation) => {
                response.permitted = explanation.fields.iter().all(|field| field.permitted);
                response.crosses_areas = explanation.crosses_areas;
                if !response.permitted {
                    response.reason = Reason::NotPermitted.as_str().to_owned();
                }
                let explained = |field: FieldDecision| FieldExplanation {
                    policies: field.policies.iter().map(|id| policy(&trust.rules, id)).collect(),
                    field: field.field,
                    permitted: field.permitted,
                };
                response.fields = explanation.fields.into_iter().map(explained).collect();
                if let Err(denied) = trust.not_denied(&question) {
                    forbid(&mut response, denied);
                }
            }
            Err(refused) => response.reason = refused.reason.as_str().to_owned(),
        }
        Ok(Response::new(response))
    }
}

fn policy(rules: &einmal_policy::Rules, id: &str) -> PolicyExplanation {
    let text = rules.policy(id);
    PolicyExplanation {
        policy: id.to_owned(),
        legal_basis: text.map(|text| text.legal_basis.clone()).unwrap_or_default(),
        text: text.map(|text| text.text_de.clone()).unwrap_or_default(),
    }
}

/// What the deny list says, beside what the rules say.
fn forbid(response: &mut ExplainResponse, denied: Refused) {
    response.permitted = false;
    response.reason = denied.reason.as_str().to_owned();
    for refusal in denied.fields {
        let said = |policy| PolicyExplanation { policy, ..PolicyExplanation::default() };
        let mut fields = response.fields.iter_mut();
        if let Some(field) = fields.find(|field| field.field == refusal.field) {
            field.permitted = false;
            field.policies.extend(refusal.policies.into_iter().map(said));
        }
    }
}
