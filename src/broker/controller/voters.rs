//! Voters of the metadata quorum come and go, on the word of an operator.

use std::time::Duration;

use metadata::controller::{self as decide, Refusal};
use model::BrokerId;
use protocol::ErrorCode;
use protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest};
use quorum::{BoxFuture, VoterChangeError};
use wire::clock::timeout_at;

use super::Controller;

/// How long the removal of a voter may take, as any request of KRaft's (`controller.quorum.request.timeout.ms`).
const REMOVE_WITHIN: Duration = Duration::from_secs(2);

impl Controller {
    /// AddRaftVoter. Who does not wait for the commit is answered once the new voters stand in this controller's log, from when on they count.
    ///
    /// # Errors
    /// Kafka's refusals. After REQUEST_TIMED_OUT the broker may become a voter yet.
    pub async fn add_raft_voter(&self, request: &AddRaftVoterRequest) -> Result<(), Refusal> {
        let quorum = &self.inner.quorum;
        let mut voting = quorum.voting();
        let id = decide::check_add_voter(&quorum.image(), &voting.borrow(), request)?;
        let within = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let (this, change) = (self.clone(), quorum.add_voter(id));
        let mut committed = Box::pin(async move {
            this.change_voters(change, within).await?;
            tracing::info!(broker = %id, "a broker votes in the metadata quorum now");
            Ok(())
        });
        if request.ack_when_committed {
            return committed.await;
        }
        tokio::select! {
            result = committed.as_mut() => return result,
            Ok(_) = voting.wait_for(|voters| voters.contains(&id)) => {}
        }
        tokio::spawn(async move {
            let result: Result<(), Refusal> = committed.await;
            if let Err(refusal) = result {
                tracing::warn!(broker = %id, reason = refusal.message, "a change of the voters is not committed yet");
            }
        });
        Ok(())
    }

    /// RemoveRaftVoter.
    ///
    /// # Errors
    /// Kafka's refusals. After REQUEST_TIMED_OUT the broker may lose its vote yet.
    pub async fn remove_raft_voter(&self, request: &RemoveRaftVoterRequest) -> Result<(), Refusal> {
        let quorum = &self.inner.quorum;
        let id = decide::check_remove_voter(&quorum.image(), &quorum.voting().borrow(), request)?;
        self.change_voters(quorum.remove_voter(id), REMOVE_WITHIN).await?;
        tracing::info!(broker = %id, "a broker votes in the metadata quorum no more");
        Ok(())
    }

    async fn change_voters(&self, change: BoxFuture<Result<(), VoterChangeError>>, within: Duration) -> Result<(), Refusal> {
        let clock = &*self.inner.clock;
        match timeout_at(clock, clock.monotonic() + within, change).await {
            Ok(changed) => changed.map_err(|error| refused(&error)),
            Err(_) => Err(Refusal::new(ErrorCode::RequestTimedOut, "The voters were not changed in time.".to_owned())),
        }
    }

    /// Which broker is reached where as a voter of the metadata quorum.
    #[must_use]
    pub fn voter_addresses(&self) -> Vec<(BrokerId, crate::config::HostPort)> {
        let channel = self.inner.channel.as_ref();
        channel.map(|channel| channel.voter_addresses().into_iter().collect()).unwrap_or_default()
    }
}

fn refused(error: &VoterChangeError) -> Refusal {
    let code = match error {
        VoterChangeError::NotLeader { .. } => ErrorCode::NotLeaderOrFollower,
        VoterChangeError::Votes(_) => ErrorCode::DuplicateVoter,
        VoterChangeError::CannotGo(_) => ErrorCode::VoterNotFound,
        // As in Kafka: who asks may try again.
        VoterChangeError::InProgress | VoterChangeError::NoObserver(_) | VoterChangeError::Stopped { .. } => ErrorCode::RequestTimedOut,
    };
    Refusal::new(code, error.to_string())
}
