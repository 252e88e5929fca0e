//! A broker that asks for a vote in the metadata quorum by itself (`controller.quorum.auto.join.enable`).
//!
//! In Kafka: `FollowerState.hasUpdateVoterSetPeriodExpired` and `KafkaRaftClient.shouldSendAddOrRemoveVoterRequest` (KIP-853, KIP-1186).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metadata::controller::BrokerRegistration;
use model::BrokerId;
use protocol::messages::AddRaftVoterRequest;
use protocol::messages::add_raft_voter_request::Listener;
use protocol::{ErrorCode, StrBytes};
use quorum::MetadataQuorum;
use tokio_util::sync::CancellationToken;
use wire::clock::SharedClock;

use crate::controller_channel::ControllerChannel;

/// With `ack_when_committed`: this broker does not wait for the change, which it sees anyway.
const ADD_RAFT_VOTER_VERSION: i16 = 1;
/// How long the change may take, and how long the next question waits (`controller.quorum.fetch.timeout.ms`).
const EVERY: Duration = Duration::from_secs(2);
const EVERY_MS: i32 = 2_000;

/// What is needed to ask.
pub(crate) struct VoteWish {
    pub(crate) registration: BrokerRegistration,
    pub(crate) channel: ControllerChannel,
    pub(crate) quorum: Arc<dyn MetadataQuorum>,
    pub(crate) clock: SharedClock,
}

impl VoteWish {
    /// Asks whenever this broker has no vote, until it stops.
    pub(crate) async fn follow(self, stopping: CancellationToken) {
        let _stopped = stopping
            .run_until_cancelled(async {
                let mut voting = self.quorum.voting();
                let lacks_vote = |voters: &BTreeSet<BrokerId>| !voters.is_empty() && !voters.contains(&self.registration.broker_id);
                while voting.wait_for(lacks_vote).await.is_ok() {
                    let next = self.clock.monotonic() + EVERY;
                    self.ask().await;
                    self.clock.sleep_until(next).await;
                }
            })
            .await;
    }

    async fn ask(&self) {
        let broker = self.registration.broker_id;
        let Some(directory_id) = self.registration.directory_id else { return };
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let listener = |endpoint: &metadata::Endpoint| {
            Listener::default().with_name(text(&endpoint.listener)).with_host(text(&endpoint.host)).with_port(endpoint.port)
        };
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(self.quorum.image().cluster_id().map(text))
            .with_timeout_ms(EVERY_MS)
            .with_voter_id(broker.get())
            .with_voter_directory_id(directory_id)
            .with_listeners(self.registration.listeners.iter().map(listener).collect())
            .with_ack_when_committed(false);
        match self.channel.send(ADD_RAFT_VOTER_VERSION, &request, self.clock.monotonic() + EVERY).await {
            Ok(answer) if answer.error_code == 0 || answer.error_code == ErrorCode::DuplicateVoter.code() => {
                tracing::info!(%broker, "this broker asked for a vote in the metadata quorum");
            }
            Ok(answer) => {
                let message = answer.error_message.as_ref().map_or("", |message| message.as_str());
                tracing::info!(%broker, code = answer.error_code, message, "this broker has no vote in the metadata quorum yet; it asks again");
            }
            Err(error) => tracing::info!(%broker, %error, "nobody gives this broker a vote in the metadata quorum yet; it asks again"),
        }
    }
}
