//! AddRaftVoter (key 80, versions 0 to 1): an observer of the metadata quorum becomes a voter (KIP-853).
//!
//! - A broker votes once it has the metadata log as far as it went when it was asked for, and a majority of both the former and the new voters has
//!   agreed; from version 1 on who does not wait for that is answered once the change stands in the controller's log. REQUEST_TIMED_OUT if that takes longer than the request allows, and while another change is under way.
//! - Another cluster's id is INCONSISTENT_CLUSTER_ID, an id that votes already DUPLICATE_VOTER, no id, directory or listener INVALID_REQUEST.
//! - A directory that is not the one in which that broker has its log, and a broker that is not there, are REQUEST_TIMED_OUT.
//!
//! # Deviations
//! - The voter is reached where its broker is registered for other brokers, whatever listeners the request names.
//! - Kafka refuses at once a broker that lacks a part of the log; here it has the request's time to catch up.
//! - Voters change whatever `kraft.version` says: klamm has no such feature, and `controller.quorum.voters` counts for a new cluster only.
//!
//! # Tests
//! `brokers_that_joined_become_voters_and_go_on_without_the_first`; `metadata`'s `controller/voters.rs`; `quorum`'s `voter_change_tests`.

use protocol::StrBytes;
use protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};

use crate::api::{Api, Context, Versions};

pub(crate) struct AddRaftVoter;

impl Api for AddRaftVoter {
    const KEY: i16 = 80;
    const NAME: &'static str = "AddRaftVoter";
    const VERSIONS: Versions = Versions::new(0, 1);
    const FOR_CONTROLLER: bool = true;
    type Request = AddRaftVoterRequest;
    type Response = AddRaftVoterResponse;

    async fn handle(cx: Context, request: AddRaftVoterRequest) -> AddRaftVoterResponse {
        let response = AddRaftVoterResponse::default().with_error_message(None);
        match cx.broker.controller.add_raft_voter(&request).await {
            Ok(()) => response,
            Err(refusal) => response.with_error_code(refusal.code.code()).with_error_message(refusal.message.map(StrBytes::from_string)),
        }
    }
}
