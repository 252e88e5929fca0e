//! APIs that create, change and describe topics.

pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_topics;
pub(crate) mod describe_topic_partitions;
