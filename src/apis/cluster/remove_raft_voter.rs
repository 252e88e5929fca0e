//! RemoveRaftVoter (key 81, version 0): a voter of the metadata quorum becomes an observer (KIP-853).
//!
//! - It is answered once a majority of both the former and the new voters has agreed; REQUEST_TIMED_OUT if that takes longer than two seconds, and
//!   while another change is under way.
//! - Another cluster's id is INCONSISTENT_CLUSTER_ID, no id or directory INVALID_REQUEST; whoever does not vote from that directory, and the last
//!   voter, VOTER_NOT_FOUND.
//! - The active controller may be removed, too: it leads until the change is agreed upon, and then another one is elected.
//!
//! # Deviations
//! - Kafka's voter that was removed while it was controller resigns at once; here the others elect the next one when they miss it, which takes about
//!   half a second.
//! - A voter of `controller.quorum.voters` whose disk was lost stays a voter under its new directory's id, and votes for nobody until it has the log
//!   again.
//!
//! # Tests
//! `brokers_that_joined_become_voters_and_go_on_without_the_first`; `metadata`'s `controller/voters.rs`; `quorum`'s `voter_change_tests`.

use protocol::StrBytes;
use protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

use crate::api::{Api, Context, Versions};

pub(crate) struct RemoveRaftVoter;

impl Api for RemoveRaftVoter {
    const KEY: i16 = 81;
    const NAME: &'static str = "RemoveRaftVoter";
    const VERSIONS: Versions = Versions::new(0, 0);
    const FOR_CONTROLLER: bool = true;
    type Request = RemoveRaftVoterRequest;
    type Response = RemoveRaftVoterResponse;

    async fn handle(cx: Context, request: RemoveRaftVoterRequest) -> RemoveRaftVoterResponse {
        let response = RemoveRaftVoterResponse::default().with_error_message(None);
        match cx.broker.controller.remove_raft_voter(&request).await {
            Ok(()) => response,
            Err(refusal) => response.with_error_code(refusal.code.code()).with_error_message(refusal.message.map(StrBytes::from_string)),
        }
    }
}
