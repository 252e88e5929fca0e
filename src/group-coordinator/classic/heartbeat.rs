//! Heartbeat: a member lives, and learns of rebalances.

use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::HeartbeatRequest;

use crate::effects::{Effects, RequestMeta};
use crate::group::State;
use crate::operation::Operation;
use crate::replies::{NONE, heartbeat};
use crate::shard::GroupShard;

impl GroupShard {
    /// Handles Heartbeat: renews the member's session, also while it is told to rejoin.
    pub fn heartbeat(&mut self, now: Timestamp, meta: RequestMeta, request: HeartbeatRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let error_code = match self.renew(&mut operation, &request) {
            Ok(()) => NONE,
            Err(error) => error.code(),
        };
        operation.reply(meta.reply, heartbeat(error_code));
        operation.effects
    }

    fn renew(&self, operation: &mut Operation<'_>, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let group = self.groups.get(request.group_id.as_str()).ok_or(ErrorCode::UnknownMemberId)?;
        group.validate_member(&request.member_id, request.group_instance_id.as_ref().map(|id| id.as_str()))?;
        if request.generation_id != group.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        match group.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => {
                operation.renew_session(group, &request.member_id);
                Err(ErrorCode::RebalanceInProgress)
            }
            State::CompletingRebalance | State::Stable => {
                operation.renew_session(group, &request.member_id);
                Ok(())
            }
        }
    }
}
