//! The one list of APIs, sorted by key.

use std::sync::Arc;

use broker::metrics::{ApiLabel, Metrics};

use crate::api::{ErasedApi, Serial};
use crate::{cluster, configs, connection, groups, log, security, topics, transactions};

/// All APIs that this broker serves.
pub(crate) const APIS: &[&dyn ErasedApi] = &[
    &log::produce::Produce,
    &log::fetch::Fetch,
    &Serial::<log::list_offsets::ListOffsets>::NEW,
    &Serial::<cluster::metadata::Metadata>::NEW,
    &Serial::<groups::offset_commit::OffsetCommit>::NEW,
    &Serial::<groups::offset_fetch::OffsetFetch>::NEW,
    &Serial::<groups::find_coordinator::FindCoordinator>::NEW,
    &Serial::<groups::join_group::JoinGroup>::NEW,
    &Serial::<groups::heartbeat::Heartbeat>::NEW,
    &Serial::<groups::leave_group::LeaveGroup>::NEW,
    &Serial::<groups::sync_group::SyncGroup>::NEW,
    &Serial::<groups::describe_groups::DescribeGroups>::NEW,
    &Serial::<groups::list_groups::ListGroups>::NEW,
    &Serial::<connection::api_versions::ApiVersions>::NEW,
    &Serial::<topics::create_topics::CreateTopics>::NEW,
    &Serial::<topics::delete_topics::DeleteTopics>::NEW,
    &Serial::<log::delete_records::DeleteRecords>::NEW,
    &Serial::<transactions::init_producer_id::InitProducerId>::NEW,
    &Serial::<log::offset_for_leader_epoch::OffsetForLeaderEpoch>::NEW,
    &Serial::<configs::describe_configs::DescribeConfigs>::NEW,
    &Serial::<configs::alter_configs::AlterConfigs>::NEW,
    &Serial::<cluster::alter_replica_log_dirs::AlterReplicaLogDirs>::NEW,
    &Serial::<cluster::describe_log_dirs::DescribeLogDirs>::NEW,
    &Serial::<topics::create_partitions::CreatePartitions>::NEW,
    &Serial::<groups::delete_groups::DeleteGroups>::NEW,
    &Serial::<cluster::elect_leaders::ElectLeaders>::NEW,
    &Serial::<configs::incremental_alter_configs::IncrementalAlterConfigs>::NEW,
    &Serial::<cluster::alter_partition_reassignments::AlterPartitionReassignments>::NEW,
    &Serial::<cluster::list_partition_reassignments::ListPartitionReassignments>::NEW,
    &Serial::<groups::offset_delete::OffsetDelete>::NEW,
    &Serial::<configs::describe_client_quotas::DescribeClientQuotas>::NEW,
    &Serial::<configs::alter_client_quotas::AlterClientQuotas>::NEW,
    &Serial::<security::describe_user_scram_credentials::DescribeUserScramCredentials>::NEW,
    &Serial::<cluster::describe_quorum::DescribeQuorum>::NEW,
    &Serial::<cluster::describe_cluster::DescribeCluster>::NEW,
    &Serial::<log::describe_producers::DescribeProducers>::NEW,
    &Serial::<cluster::unregister_broker::UnregisterBroker>::NEW,
    &Serial::<configs::list_config_resources::ListConfigResources>::NEW,
    &Serial::<topics::describe_topic_partitions::DescribeTopicPartitions>::NEW,
];

/// The API with a key, and its place in the list.
pub(crate) fn find(key: i16) -> Option<(usize, &'static dyn ErasedApi)> {
    let place = APIS.binary_search_by_key(&key, |api| api.key()).ok()?;
    APIS.get(place).map(|api| (place, *api))
}

/// Counters for a broker that serves these APIs; an API's counters stand at its place in the list.
#[must_use]
pub fn new_metrics() -> Arc<Metrics> {
    let label = |api: &&dyn ErasedApi| ApiLabel { name: api.name(), version_min: api.served().min, version_max: api.served().max };
    Metrics::new(&APIS.iter().map(label).collect::<Vec<_>>())
}

/// One row of the support table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// The key on the wire.
    pub key: i16,
    /// Kafka's name.
    pub name: &'static str,
    /// The lowest served version.
    pub version_min: i16,
    /// The highest served version.
    pub version_max: i16,
}

/// The support table, for the README.
#[must_use]
pub fn support() -> Vec<Support> {
    APIS.iter()
        .map(|api| Support { key: api.key(), name: api.name(), version_min: api.served().min, version_max: api.served().max })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_key_without_repeats() {
        assert!(APIS.windows(2).all(|pair| pair[0].key() < pair[1].key()));
    }

    #[test]
    fn every_api_is_found_by_its_key() {
        for api in APIS {
            assert_eq!(find(api.key()).map(|(_, found)| found.name()), Some(api.name()));
        }
        assert!(find(4).is_none());
    }
}
