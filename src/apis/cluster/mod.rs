//! APIs about the cluster as a whole.

pub(crate) mod authorized_operations;
pub(crate) mod describe_cluster;
pub(crate) mod list_partition_reassignments;
pub(crate) mod metadata;
