//! The one list of APIs, sorted by key.

use std::sync::Arc;

use broker::metrics::{ApiLabel, Metrics};

use crate::api::{ErasedApi, Serial};
use crate::{cluster, configs, connection, controller, groups, log, security, topics, transactions};

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
    &Serial::<transactions::add_partitions_to_txn::AddPartitionsToTxn>::NEW,
    &Serial::<transactions::add_offsets_to_txn::AddOffsetsToTxn>::NEW,
    &Serial::<transactions::end_txn::EndTxn>::NEW,
    &Serial::<transactions::write_txn_markers::WriteTxnMarkers>::NEW,
    &Serial::<groups::txn_offset_commit::TxnOffsetCommit>::NEW,
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
    &Serial::<cluster::update_features::UpdateFeatures>::NEW,
    &Serial::<cluster::describe_cluster::DescribeCluster>::NEW,
    &Serial::<log::describe_producers::DescribeProducers>::NEW,
    &Serial::<cluster::unregister_broker::UnregisterBroker>::NEW,
    &Serial::<transactions::describe_transactions::DescribeTransactions>::NEW,
    &Serial::<transactions::list_transactions::ListTransactions>::NEW,
    &Serial::<configs::list_config_resources::ListConfigResources>::NEW,
    &Serial::<topics::describe_topic_partitions::DescribeTopicPartitions>::NEW,
    &Serial::<cluster::add_raft_voter::AddRaftVoter>::NEW,
    &Serial::<cluster::remove_raft_voter::RemoveRaftVoter>::NEW,
];

/// What brokers ask of the active controller, sorted by key.
pub(crate) const CONTROLLER_APIS: &[&dyn ErasedApi] = &[
    &Serial::<controller::alter_partition::AlterPartition>::NEW,
    &Serial::<controller::broker_registration::BrokerRegistration>::NEW,
    &Serial::<controller::broker_heartbeat::BrokerHeartbeat>::NEW,
    &Serial::<controller::allocate_producer_ids::AllocateProducerIds>::NEW,
];

/// What the controller listener serves beside ApiVersions: what brokers ask, and what of clients' requests only the active controller can answer.
pub(crate) fn on_controller() -> impl Iterator<Item = &'static dyn ErasedApi> {
    CONTROLLER_APIS.iter().copied().chain(APIS.iter().copied().filter(|api| api.is_for_controller()))
}

/// The API with a key on the controller listener, and its place: behind [`APIS`] if it is not in there.
pub(crate) fn find_on_controller(key: i16) -> Option<(usize, &'static dyn ErasedApi)> {
    if key == connection::api_versions::KEY {
        let (place, _) = find(key)?;
        return Some((place, &Serial::<controller::api_versions::ApiVersions>::NEW));
    }
    match CONTROLLER_APIS.binary_search_by_key(&key, |api| api.key()) {
        Ok(place) => CONTROLLER_APIS.get(place).map(|api| (APIS.len() + place, *api)),
        Err(_) => find(key).filter(|(_, api)| api.is_for_controller()),
    }
}

/// The API with a key, and its place in the list.
pub(crate) fn find(key: i16) -> Option<(usize, &'static dyn ErasedApi)> {
    let place = APIS.binary_search_by_key(&key, |api| api.key()).ok()?;
    APIS.get(place).map(|api| (place, *api))
}

/// Counters for a broker that serves these APIs; an API's counters stand at its place in the list, those of brokers' APIs behind.
#[must_use]
pub fn new_metrics() -> Arc<Metrics> {
    let label = |api: &&dyn ErasedApi| ApiLabel { name: api.name(), version_min: api.served().min, version_max: api.served().max };
    Metrics::new(&APIS.iter().chain(CONTROLLER_APIS).map(label).collect::<Vec<_>>())
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
    APIS.iter().map(|api| support_of(*api)).collect()
}

/// The same of what brokers ask of the active controller.
#[must_use]
pub fn controller_support() -> Vec<Support> {
    CONTROLLER_APIS.iter().map(|api| support_of(*api)).collect()
}

fn support_of(api: &dyn ErasedApi) -> Support {
    Support { key: api.key(), name: api.name(), version_min: api.served().min, version_max: api.served().max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_key_without_repeats() {
        for list in [APIS, CONTROLLER_APIS] {
            assert!(list.windows(2).all(|pair| pair[0].key() < pair[1].key()));
        }
    }

    #[test]
    fn every_api_is_found_by_its_key() {
        for api in APIS {
            assert_eq!(find(api.key()).map(|(_, found)| found.name()), Some(api.name()));
        }
        assert!(find(4).is_none());
    }

    #[test]
    fn clients_find_nothing_that_is_for_brokers_and_brokers_find_nothing_that_is_for_clients() {
        for (place, api) in CONTROLLER_APIS.iter().enumerate() {
            assert!(find(api.key()).is_none());
            assert_eq!(find_on_controller(api.key()).map(|(place, _)| place), Some(APIS.len() + place));
        }
        assert!(find_on_controller(0).is_none() && find_on_controller(19).is_some() && find_on_controller(18).is_some());
    }
}
