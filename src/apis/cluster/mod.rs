//! APIs about the cluster as a whole.

pub(crate) mod add_raft_voter;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod alter_replica_log_dirs;
pub(crate) mod authorized_operations;
pub(crate) mod describe_cluster;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_quorum;
pub(crate) mod elect_leaders;
pub(crate) mod list_partition_reassignments;
pub(crate) mod metadata;
pub(crate) mod remove_raft_voter;
pub(crate) mod unregister_broker;
pub(crate) mod update_features;
