//! The metrics of a broker: one row each, from which the text of a scrape and the README's table derive.
//!
//! Kafka's names come from its MBeans by the rules that the Prometheus JMX exporter ships for Kafka (`examples/kafka-2_0_0.yml`) and that Strimzi
//! uses (`packaging/examples/metrics/kafka-metrics.yaml`): `kafka.server:type=X,name=YPerSec` becomes `kafka_server_x_y_total`, a gauge
//! `kafka_server_x_y`, all in lower case. Those of groups and of a topic's offsets are kafka_exporter's (`kafka_exporter.go`).

const TOPIC: &[&str] = &["topic"];
const PARTITION: &[&str] = &["topic", "partition"];
const GROUP_PARTITION: &[&str] = &["consumergroup", "topic", "partition"];
const DIRECTORY: &[&str] = &["logDirectory"];
const OWN: &str = "klamm";
const EXPORTER: &str = "kafka_exporter";

crate::metric_rows! {
    MESSAGES_IN = "kafka_server_brokertopicmetrics_messagesin_total", Counter, TOPIC, "kafka.server:type=BrokerTopicMetrics,name=MessagesInPerSec",
        "Records appended, by topic, and without a topic all of them.";
    BYTES_IN = "kafka_server_brokertopicmetrics_bytesin_total", Counter, TOPIC, "kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec",
        "Bytes of appended batches, by topic, and without a topic all of them.";
    BYTES_OUT = "kafka_server_brokertopicmetrics_bytesout_total", Counter, TOPIC, "kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec",
        "Bytes of batches given to consumers, by topic, and without a topic all of them.";
    PRODUCE_REQUESTS = "kafka_server_brokertopicmetrics_totalproducerequests_total", Counter, TOPIC,
        "kafka.server:type=BrokerTopicMetrics,name=TotalProduceRequestsPerSec",
        "Batches that were to be appended, one for each partition of a request.";
    FAILED_PRODUCE_REQUESTS = "kafka_server_brokertopicmetrics_failedproducerequests_total", Counter, TOPIC,
        "kafka.server:type=BrokerTopicMetrics,name=FailedProduceRequestsPerSec",
        "Batches that were refused, one for each partition of a request.";
    FETCH_REQUESTS = "kafka_server_brokertopicmetrics_totalfetchrequests_total", Counter, TOPIC,
        "kafka.server:type=BrokerTopicMetrics,name=TotalFetchRequestsPerSec",
        "Partitions that answered fetches asked for (Kafka counts each look of a waiting fetch).";
    FAILED_FETCH_REQUESTS = "kafka_server_brokertopicmetrics_failedfetchrequests_total", Counter, TOPIC,
        "kafka.server:type=BrokerTopicMetrics,name=FailedFetchRequestsPerSec",
        "Partitions that fetches were refused.";
    REQUESTS = "kafka_network_requestmetrics_requests_total", Counter, &["request", "version"],
        "kafka.network:type=RequestMetrics,name=RequestsPerSec",
        "Requests, by API and version; a fetch counts as Fetch and as FetchConsumer or FetchFollower.";
    ERRORS = "kafka_network_requestmetrics_errors_total", Counter, &["request", "error"],
        "kafka.network:type=RequestMetrics,name=ErrorsPerSec",
        "Error codes in answers, by API, NONE too; an answer has one for each thing that it tells of.";
    TOTAL_TIME = "kafka_network_requestmetrics_totaltimems", Histogram, &["request"],
        "kafka.network:type=RequestMetrics,name=TotalTimeMs",
        "Milliseconds from a request's last byte to its answer, waiting included; a histogram, where the JMX exporter has quantiles.";
    UNKNOWN_SERVER_ERRORS = "klamm_unknown_server_errors_total", Counter, &[], OWN,
        "Answers with UNKNOWN_SERVER_ERROR: anything but zero is a defect of klamm.";
    PURGATORY_SIZE = "kafka_server_delayedoperationpurgatory_purgatorysize", Gauge, &["delayedOperation"],
        "kafka.server:type=DelayedOperationPurgatory,name=PurgatorySize",
        "Requests that wait for a fact: Produce for replicas, Fetch for records.";
    FETCH_SESSIONS = "kafka_server_fetchsessioncache_numincrementalfetchsessions", Gauge, &[],
        "kafka.server:type=FetchSessionCache,name=NumIncrementalFetchSessions",
        "Incremental fetch sessions.";
    LOG_SIZE = "kafka_log_log_size", Gauge, PARTITION, "kafka.log:type=Log,name=Size", "Bytes of the partition's segment files.";
    LOG_START = "kafka_log_log_logstartoffset", Gauge, PARTITION, "kafka.log:type=Log,name=LogStartOffset", "The first offset that can be read.";
    LOG_END = "kafka_log_log_logendoffset", Gauge, PARTITION, "kafka.log:type=Log,name=LogEndOffset", "The offset of the next record.";
    LAST_STABLE_LAG = "kafka_cluster_partition_laststableoffsetlag", Gauge, PARTITION, "kafka.cluster:type=Partition,name=LastStableOffsetLag",
        "Offsets between the last stable offset and the high watermark: what readers of committed records wait for.";
    LOG_SEGMENTS = "kafka_log_log_numlogsegments", Gauge, PARTITION, "kafka.log:type=Log,name=NumLogSegments", "The partition's segment files.";
    DROPPED_SEGMENTS = "klamm_log_retention_dropped_segments_total", Counter, TOPIC, OWN,
        "Segments dropped by time, by size or because records were deleted, by topic, and without a topic all of them.";
    DROPPED_BYTES = "klamm_log_retention_dropped_bytes_total", Counter, TOPIC, OWN,
        "Bytes of dropped segments, by topic, and without a topic all of them; the files go after file.delete.delay.ms.";
    CLEANER_DELAY = "kafka_log_logcleaner_max_compaction_delay_secs", Gauge, &[], "kafka.log:type=LogCleaner,name=max-compaction-delay-secs",
        "For how long a record had waited beyond max.compaction.lag.ms when the cleaner last chose a log.";
    CLEANER_RECOPY = "kafka_log_logcleaner_cleaner_recopy_percent", Gauge, &[], "kafka.log:type=LogCleaner,name=cleaner-recopy-percent",
        "How much of what the last cleanings read they wrote again.";
    CLEANER_TIME = "kafka_log_logcleaner_max_clean_time_secs", Gauge, &[], "kafka.log:type=LogCleaner,name=max-clean-time-secs",
        "How long the last cleaning took; of several cleaner threads, the longest.";
    CLEANER_BUFFER = "kafka_log_logcleaner_max_buffer_utilization_percent", Gauge, &[],
        "kafka.log:type=LogCleaner,name=max-buffer-utilization-percent",
        "How much of a cleaner thread's memory for keys the last cleaning filled; beyond log.cleaner.io.buffer.load.factor a log takes several cleanings.";
    CLEANER_DIED = "kafka_log_logcleaner_deadthreadcount", Gauge, &[], "kafka.log:type=LogCleaner,name=DeadThreadCount",
        "Cleaner threads that a defect of klamm ended since the cleaner was configured; another takes the place, and the log counts as uncleanable.";
    CLEANER_DIRTY = "kafka_log_logcleanermanager_max_dirty_percent", Gauge, &[], "kafka.log:type=LogCleanerManager,name=max-dirty-percent",
        "How much of the dirtiest log was not cleaned when the cleaner last looked.";
    CLEANER_LAST_RUN = "kafka_log_logcleanermanager_time_since_last_run_ms", Gauge, &[],
        "kafka.log:type=LogCleanerManager,name=time-since-last-run-ms",
        "Since when the cleaner has not looked for dirty logs; 0 while there is no compacted topic, or no cleaner.";
    UNCLEANABLE_COUNT = "kafka_log_logcleanermanager_uncleanable_partitions_count", Gauge, DIRECTORY,
        "kafka.log:type=LogCleanerManager,name=uncleanable-partitions-count",
        "Partitions that the cleaner has given up after an error; the log has it.";
    UNCLEANABLE_BYTES = "kafka_log_logcleanermanager_uncleanable_bytes", Gauge, DIRECTORY,
        "kafka.log:type=LogCleanerManager,name=uncleanable-bytes",
        "What is dirty in these partitions.";
    CLEANER_RUNNING = "klamm_log_cleaner_running", Gauge, &[], OWN, "Logs that are being cleaned at this moment.";
    CLEANER_READ = "klamm_log_cleaner_read_bytes_total", Counter, &[], OWN, "Bytes of the segments that were cleaned.";
    CLEANER_WRITTEN = "klamm_log_cleaner_written_bytes_total", Counter, &[], OWN, "Bytes of the segments that took their place.";
    PARTITIONS = "kafka_server_replicamanager_partitioncount", Gauge, &[], "kafka.server:type=ReplicaManager,name=PartitionCount",
        "Partitions on this broker.";
    LEADERS = "kafka_server_replicamanager_leadercount", Gauge, &[], "kafka.server:type=ReplicaManager,name=LeaderCount",
        "Partitions that this broker leads.";
    UNDER_REPLICATED = "kafka_server_replicamanager_underreplicatedpartitions", Gauge, &[],
        "kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions",
        "Partitions led here with fewer replicas in sync than they have.";
    UNDER_MIN_ISR = "kafka_server_replicamanager_underminisrpartitioncount", Gauge, &[],
        "kafka.server:type=ReplicaManager,name=UnderMinIsrPartitionCount",
        "Partitions led here with fewer replicas in sync than min.insync.replicas.";
    OFFLINE_REPLICAS = "kafka_server_replicamanager_offlinereplicacount", Gauge, &[],
        "kafka.server:type=ReplicaManager,name=OfflineReplicaCount",
        "Partitions whose log takes no more writes after a failure of the disk.";
    BROKER_STATE = "kafka_server_kafkaserver_brokerstate", Gauge, &[], "kafka.server:type=KafkaServer,name=BrokerState",
        "3 while the broker runs.";
    ACTIVE_CONTROLLER = "kafka_controller_kafkacontroller_activecontrollercount", Gauge, &[],
        "kafka.controller:type=KafkaController,name=ActiveControllerCount",
        "1 if this broker is the active controller.";
    GLOBAL_TOPICS = "kafka_controller_kafkacontroller_globaltopiccount", Gauge, &[],
        "kafka.controller:type=KafkaController,name=GlobalTopicCount", "Topics of the cluster.";
    GLOBAL_PARTITIONS = "kafka_controller_kafkacontroller_globalpartitioncount", Gauge, &[],
        "kafka.controller:type=KafkaController,name=GlobalPartitionCount", "Partitions of the cluster.";
    OFFLINE_PARTITIONS = "kafka_controller_kafkacontroller_offlinepartitionscount", Gauge, &[],
        "kafka.controller:type=KafkaController,name=OfflinePartitionsCount", "Partitions without a leader.";
    PREFERRED_IMBALANCE = "kafka_controller_kafkacontroller_preferredreplicaimbalancecount", Gauge, &[],
        "kafka.controller:type=KafkaController,name=PreferredReplicaImbalanceCount", "Partitions that their first replica does not lead.";
    ACTIVE_BROKERS = "kafka_controller_kafkacontroller_activebrokercount", Gauge, &[],
        "kafka.controller:type=KafkaController,name=ActiveBrokerCount", "Brokers that serve.";
    FENCED_BROKERS = "kafka_controller_kafkacontroller_fencedbrokercount", Gauge, &[],
        "kafka.controller:type=KafkaController,name=FencedBrokerCount", "Brokers that are registered and may not serve.";
    CURRENT_LEADER = "kafka_server_raftmetrics_current_leader", Gauge, &[], "kafka.server:type=raft-metrics current-leader",
        "The metadata quorum's leader, -1 if none is known.";
    CURRENT_EPOCH = "kafka_server_raftmetrics_current_epoch", Gauge, &[], "kafka.server:type=raft-metrics current-epoch",
        "The term of the metadata quorum.";
    NUM_GROUPS = "kafka_coordinator_group_groupmetadatamanager_numgroups", Gauge, &[],
        "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroups", "Groups that this broker coordinates.";
    NUM_OFFSETS = "kafka_coordinator_group_groupmetadatamanager_numoffsets", Gauge, &[],
        "kafka.coordinator.group:type=GroupMetadataManager,name=NumOffsets", "Committed offsets that it keeps.";
    GROUPS_PREPARING = "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance", Gauge, &[],
        "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsPreparingRebalance", "Groups that wait for their members to join.";
    GROUPS_COMPLETING = "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance", Gauge, &[],
        "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsCompletingRebalance", "Groups that wait for their assignment.";
    GROUPS_STABLE = "kafka_coordinator_group_groupmetadatamanager_numgroupsstable", Gauge, &[],
        "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsStable", "Groups that read.";
    GROUPS_EMPTY = "kafka_coordinator_group_groupmetadatamanager_numgroupsempty", Gauge, &[],
        "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsEmpty", "Groups without members.";
    GROUP_MEMBERS = "kafka_consumergroup_members", Gauge, &["consumergroup"], EXPORTER, "The members of a group.";
    GROUP_OFFSET = "kafka_consumergroup_current_offset", Gauge, GROUP_PARTITION, EXPORTER, "The offset that a group has committed.";
    GROUP_LAG = "kafka_consumergroup_lag", Gauge, GROUP_PARTITION, EXPORTER,
        "Offsets between a group's commit and the high watermark.";
    GROUP_LAG_SUM = "kafka_consumergroup_lag_sum", Gauge, &["consumergroup", "topic"], EXPORTER, "The lag of a group over a topic's partitions.";
    TRANSACTIONAL_IDS = "klamm_transactional_ids", Gauge, &["state"], OWN,
        "Transactional ids that this broker coordinates, by state, as kafka-transactions names it.";
    OLDEST_TRANSACTION = "klamm_transaction_open_ms_max", Gauge, &[], OWN,
        "For how long the oldest of their transactions has been open, or has lacked markers; 0 if there is none.";
    TOPIC_PARTITIONS = "kafka_topic_partitions", Gauge, TOPIC, EXPORTER, "The partitions of a topic.";
    TOPIC_CURRENT = "kafka_topic_partition_current_offset", Gauge, PARTITION, EXPORTER, "The high watermark of a partition.";
    TOPIC_OLDEST = "kafka_topic_partition_oldest_offset", Gauge, PARTITION, EXPORTER, "The first offset of a partition.";
    DISK_TOTAL = "klamm_disk_total_bytes", Gauge, &[], OWN, "The size of the file system that holds the data.";
    DISK_USABLE = "klamm_disk_usable_bytes", Gauge, &[], OWN, "What of it can still be used.";
    INDEX_MEMTABLES = "klamm_index_memtable_bytes", Gauge, &[], OWN, "What RocksDB's write buffers hold in memory.";
    INDEX_FILES = "klamm_index_file_bytes", Gauge, &[], OWN, "RocksDB's files of keys, indexes and state.";
    INDEX_WRITES_STOPPED = "klamm_index_writes_stopped", Gauge, &[], OWN, "1 while RocksDB lets no write through because its flushes lag.";
    LOG_UNSYNCED = "klamm_log_unsynced_bytes", Gauge, &[], OWN, "Appended bytes that no sync to the disk was asked for yet.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_kafkas_kafka_exporters_or_begin_with_klamm_and_each_comes_once() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        for row in ROWS {
            let is_own = row.name.starts_with("klamm_");
            assert_eq!(is_own, row.from == OWN, "{}", row.name);
            assert!(is_own || row.name.starts_with("kafka_"), "{}", row.name);
            assert_eq!(row.kind == crate::metrics::Kind::Counter, row.name.ends_with("_total"), "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn an_mbeans_name_becomes_the_metrics_by_the_exporters_rules() {
        for row in ROWS {
            let Some((domain, rest)) = row.from.split_once(":type=") else { continue };
            let Some((kind, name)) = rest.split_once(",name=") else { continue };
            let name = name.strip_suffix("PerSec").map_or(name.to_owned(), |name| format!("{name}_total"));
            let expected = format!("{}_{kind}_{name}", domain.replace('.', "_")).replace('-', "_").to_lowercase();
            assert_eq!(row.name, expected);
        }
    }
}
