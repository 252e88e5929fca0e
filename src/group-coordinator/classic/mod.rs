//! The operations of classic groups, one file each; what several of them do to a group is in [`rebalance`].

mod delete_groups;
mod describe_groups;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
pub(crate) mod rebalance;
mod sync_group;
mod txn_offset_commit;
