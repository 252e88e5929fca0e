//! The way to other voters: there are none, so every call is refused. Replaced when a second voter can join.

use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, RaftNetwork, RaftNetworkFactory};
use thiserror::Error;

use crate::types::{NodeId, Types};

/// A quorum of one voter has no peers.
#[derive(Clone, Copy, Debug, Error)]
#[error("the metadata quorum has one voter, so there is no way to voter {target}")]
pub(crate) struct SingleVoter {
    target: NodeId,
}

/// Makes ways to peers.
pub(crate) struct NoPeers;

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = SingleVoter;

    async fn new_client(&mut self, target: NodeId, _node: &EmptyNode) -> SingleVoter {
        SingleVoter { target }
    }
}

type Refused<E> = RPCError<NodeId, EmptyNode, E>;

impl RaftNetwork<Types> for SingleVoter {
    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Refused<RaftError<NodeId>>> {
        Err(RPCError::Unreachable(Unreachable::new(self)))
    }

    async fn install_snapshot(
        &mut self,
        _rpc: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Refused<RaftError<NodeId, InstallSnapshotError>>> {
        Err(RPCError::Unreachable(Unreachable::new(self)))
    }

    async fn vote(&mut self, _rpc: VoteRequest<NodeId>, _option: RPCOption) -> Result<VoteResponse<NodeId>, Refused<RaftError<NodeId>>> {
        Err(RPCError::Unreachable(Unreachable::new(self)))
    }
}
