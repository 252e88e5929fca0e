//! AlterReplicaLogDirs (key 34, versions 1-2): moves replicas between data directories. A broker has one, so only staying is possible.
//!
//! - Another directory is LOG_DIR_NOT_FOUND; the one where the replica lies is no error.
//!
//! # Deviations
//! - A broker has one data directory (see the configuration's `log.dirs`).
//!
//! # Tests
//! Java tools `kafka-reassign-partitions` with directories.

use std::collections::BTreeMap;

use protocol::messages::alter_replica_log_dirs_response::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName};
use protocol::{ErrorCode, StrBytes};

use super::describe_log_dirs::log_dir;
use crate::api::{Api, Context, Versions};
use crate::log::{TopicRef, find_partition};

pub(crate) struct AlterReplicaLogDirs;

impl Api for AlterReplicaLogDirs {
    const KEY: i16 = 34;
    const NAME: &'static str = "AlterReplicaLogDirs";
    const VERSIONS: Versions = Versions::new(1, 2);
    type Request = AlterReplicaLogDirsRequest;
    type Response = AlterReplicaLogDirsResponse;

    async fn handle(cx: Context, request: AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
        let image = cx.broker.metadata.image();
        let here = log_dir(&cx);
        let mut topics: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
        for dir in &request.dirs {
            for topic in &dir.topics {
                for index in &topic.partitions {
                    let outcome = if dir.path.as_str() == here {
                        find_partition(&cx, &image, TopicRef::Name(topic.name.as_str()), *index).map(|_partition| ())
                    } else {
                        Err(ErrorCode::LogDirNotFound)
                    };
                    let row = AlterReplicaLogDirPartitionResult::default()
                        .with_partition_index(*index)
                        .with_error_code(protocol::to_i16(outcome.err()));
                    topics.entry(topic.name.to_string()).or_default().push(row);
                }
            }
        }
        let rows = topics.into_iter().map(|(name, rows)| {
            AlterReplicaLogDirTopicResult::default().with_topic_name(TopicName(StrBytes::from_string(name))).with_partitions(rows)
        });
        AlterReplicaLogDirsResponse::default().with_results(rows.collect())
    }
}
