//! The way to other voters: openraft's calls as messages of klamm's own, which somebody else carries.
//!
//! Messages are a version byte and postcard; both ends are klamm. Who carries them gives each one to the other voter's
//! [`MetadataQuorum::receive`](crate::MetadataQuorum::receive) and brings the answer back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::BrokerId;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, EmptyNode, RaftNetwork, RaftNetworkFactory};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::BoxFuture;
use crate::state_machine::Shared;
use crate::types::{NodeId, Raft, Types, Vote};

/// Grows when the messages change, so that a voter of another version is told apart from a broken one.
const MESSAGE_VERSION: u8 = 2;

/// Between two attempts to reach a voter. One that comes back must hear of the leader before it stands itself for want of it.
const UNREACHED_PAUSE: Duration = Duration::from_millis(300);

/// Carries messages between voters.
pub trait Peers: Send + Sync {
    /// Gives a message to a voter; ends with its answer. It is dropped when openraft has waited long enough.
    fn call(&self, voter: BrokerId, message: Vec<u8>) -> BoxFuture<io::Result<Vec<u8>>>;

    /// Connects to a voter; ends when the connection has. The error of a voter whose process is dead is [`io::ErrorKind::ConnectionRefused`].
    fn contact(&self, voter: BrokerId) -> BoxFuture<io::Result<()>>;
}

/// No other voters: every call is refused.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn call(&self, voter: BrokerId, _message: Vec<u8>) -> BoxFuture<io::Result<Vec<u8>>> {
        let refusal = format!("the metadata quorum has one voter, so there is no way to voter {voter}");
        Box::pin(async move { Err(io::Error::new(io::ErrorKind::Unsupported, refusal)) })
    }

    fn contact(&self, _voter: BrokerId) -> BoxFuture<io::Result<()>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

/// Why a message of another voter is not answered.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// Sent by another version of klamm.
    #[error("a quorum message has version {0}, but this program knows only version {MESSAGE_VERSION}")]
    UnknownVersion(u8),
    /// Cut, changed or foreign.
    #[error("a quorum message cannot be decoded: {0}")]
    Malformed(#[from] postcard::Error),
    /// There is nothing in it.
    #[error("a quorum message is empty")]
    Empty,
    /// This voter began with an empty log though the cluster has lived: its log was lost, and with it what it had promised. It votes for nobody
    /// until it has what was committed.
    #[error("this voter's log was lost; it does not vote before it has caught up")]
    Forgetful,
    /// This voter's quorum has stopped.
    #[error("the metadata quorum has stopped: {0}")]
    Stopped(String),
}

#[derive(Serialize, Deserialize)]
enum Message {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<NodeId>),
    Snapshot(InstallSnapshotRequest<Types>),
    /// A leader that goes, of this vote, asks a voter to stand for election at once. A voter of a version that does not know it waits for the leader's end.
    Stand(Vote),
}

type SnapshotAnswer = Result<InstallSnapshotResponse<NodeId>, InstallSnapshotError>;

fn encode(value: &impl Serialize) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(value, vec![MESSAGE_VERSION])
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReceiveError> {
    match bytes.split_first() {
        None => Err(ReceiveError::Empty),
        Some((&MESSAGE_VERSION, body)) => Ok(postcard::from_bytes(body)?),
        Some((&version, _)) => Err(ReceiveError::UnknownVersion(version)),
    }
}

/// Gives a message to this voter's openraft and encodes what it says.
pub(crate) async fn receive(raft: &Raft, message: &[u8], shared: &Shared) -> Result<Vec<u8>, ReceiveError> {
    let stopped = |error: &dyn std::error::Error| ReceiveError::Stopped(error.to_string());
    let answer = match decode::<Message>(message)? {
        Message::Append(request) => {
            shared.note_log_of_another(request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id));
            let completes = reaches_what_was_committed(&request);
            let answer = raft.append_entries(request).await.map_err(|error| stopped(&error))?;
            if completes && matches!(answer, AppendEntriesResponse::Success) {
                shared.complete();
            }
            encode(&answer)
        }
        // In a cluster that begins, every log is empty but for the list of voters.
        Message::Vote(request) if !shared.is_complete() && request.last_log_id.is_some_and(|last| last.index > 0) => {
            shared.note_log_of_another(request.last_log_id);
            return Err(ReceiveError::Forgetful);
        }
        Message::Vote(request) => encode(&raft.vote(request).await.map_err(|error| stopped(&error))?),
        Message::Snapshot(request) => {
            let answer: SnapshotAnswer = match raft.install_snapshot(request).await {
                Ok(answer) => Ok(answer),
                // The sender begins the snapshot anew.
                Err(RaftError::APIError(error)) => Err(error),
                Err(RaftError::Fatal(error)) => return Err(stopped(&error)),
            };
            encode(&answer)
        }
        Message::Stand(of) => {
            let follows = raft.with_raft_state(move |state| *state.vote_ref() == of).await.map_err(|error| stopped(&error))?;
            let stands = follows && shared.is_complete();
            if stands {
                raft.trigger().elect().await.map_err(|error| stopped(&error))?;
            }
            encode(&stands)
        }
    };
    Ok(answer?)
}

/// Asks a voter to stand for election in the place of a leader that goes; whether it does.
pub(crate) async fn ask_to_stand(peers: &dyn Peers, voter: BrokerId, of: Vote) -> io::Result<bool> {
    let message = encode(&Message::Stand(of)).map_err(io::Error::other)?;
    let answer = peers.call(voter, message).await?;
    decode(&answer).map_err(io::Error::other)
}

/// Whether who takes this has all that was committed when it was sent. A leader knows that only once an entry of its own term is committed. What
/// was committed since with this voter's help it has, too: a leader asks a voter again only after it has its answer.
fn reaches_what_was_committed(request: &AppendEntriesRequest<Types>) -> bool {
    let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
    let committed = request.leader_commit.filter(|committed| committed.leader_id.term == request.vote.leader_id.term);
    committed.is_some_and(|committed| last >= Some(committed))
}

/// A vote request as it is sent.
#[cfg(test)]
pub(crate) fn vote_message(request: VoteRequest<NodeId>) -> Vec<u8> {
    encode(&Message::Vote(request)).expect("encodes")
}

/// Makes ways to voters.
pub(crate) struct Network {
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) shared: Arc<Shared>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: NodeId, _node: &EmptyNode) -> Way {
        Way { target, peers: Arc::clone(&self.peers), shared: Arc::clone(&self.shared) }
    }
}

/// The way to one voter.
pub(crate) struct Way {
    target: NodeId,
    peers: Arc<dyn Peers>,
    shared: Arc<Shared>,
}

type Refused<E> = RPCError<NodeId, EmptyNode, E>;

impl Way {
    async fn call<A: DeserializeOwned, E: std::error::Error>(&self, message: &Message) -> Result<A, Refused<E>> {
        let broken = |error: AnyError| RPCError::Network(NetworkError::new(&error));
        let voter = i32::try_from(self.target).ok().and_then(BrokerId::new);
        let voter = voter.ok_or_else(|| broken(AnyError::error(format!("voter {} is no broker's id", self.target))))?;
        let message = encode(message).map_err(|error| broken(AnyError::new(&error)))?;
        match self.peers.call(voter, message).await {
            Ok(answer) => decode(&answer).map_err(|error| broken(AnyError::new(&error))),
            // Whom nobody reaches is asked again later, and not at once.
            Err(error) => Err(RPCError::Unreachable(Unreachable::new(&error))),
        }
    }
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Refused<RaftError<NodeId>>> {
        self.call(&Message::Append(rpc)).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Refused<RaftError<NodeId, InstallSnapshotError>>> {
        let answer: SnapshotAnswer = self.call(&Message::Snapshot(rpc)).await?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, RaftError::APIError(error))))
    }

    async fn vote(&mut self, rpc: VoteRequest<NodeId>, _option: RPCOption) -> Result<VoteResponse<NodeId>, Refused<RaftError<NodeId>>> {
        let answer: VoteResponse<NodeId> = self.call(&Message::Vote(rpc)).await?;
        self.shared.note_log_of_another(answer.last_log_id);
        Ok(answer)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHED_PAUSE))
    }
}
