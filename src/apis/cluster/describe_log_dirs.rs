//! DescribeLogDirs (key 35, versions 1-5): the data directory, with the size of each partition in it.
//!
//! - No list of topics means all. Topics and partitions that are not here are left out, as Kafka does.
//! - From version 4 the size of the file system and what of it is usable (KIP-827).
//! - From version 5 whether the directory takes no new partitions (cordoned, KIP-1066): a single one always takes them.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Java tools `kafka-log-dirs`.

use std::collections::BTreeMap;

use broker::partitions::Partition;
use broker::read_pool::off_thread;
use protocol::StrBytes;
use protocol::messages::describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};

use crate::api::{Api, Context, Versions};

const UNKNOWN_BYTES: i64 = -1;
const WITH_SPACE: i16 = 4;

pub(crate) struct DescribeLogDirs;

impl Api for DescribeLogDirs {
    const KEY: i16 = 35;
    const NAME: &'static str = "DescribeLogDirs";
    const VERSIONS: Versions = Versions::new(1, 5);
    type Request = DescribeLogDirsRequest;
    type Response = DescribeLogDirsResponse;

    async fn handle(cx: Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
        let asked: Option<BTreeMap<String, Vec<i32>>> =
            request.topics.map(|topics| topics.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions)).collect());
        let is_asked = |partition: &Partition| {
            asked.as_ref().is_none_or(|asked| {
                asked.get(partition.topic().as_str()).is_some_and(|indexes| indexes.contains(&partition.id().partition.get()))
            })
        };
        let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for partition in cx.broker.partitions.all().into_iter().filter(|partition| is_asked(partition)) {
            let row = DescribeLogDirsPartition::default()
                .with_partition_index(partition.id().partition.get())
                .with_partition_size(i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX));
            topics.entry(partition.topic().as_str().to_owned()).or_default().push(row);
        }
        let mut result = DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(log_dir(&cx)));
        for (name, mut rows) in topics {
            rows.sort_by_key(|row| row.partition_index);
            let name = TopicName(StrBytes::from_string(name));
            result.topics.push(DescribeLogDirsTopic::default().with_name(name).with_partitions(rows));
        }
        if cx.version >= WITH_SPACE {
            let broker = cx.broker.clone();
            let space = off_thread(move || broker.partitions.space_bytes()).await.flatten();
            let (total, usable) = space.map_or((UNKNOWN_BYTES, UNKNOWN_BYTES), |(total, usable)| (wire_bytes(total), wire_bytes(usable)));
            result = result.with_total_bytes(total).with_usable_bytes(usable);
        }
        DescribeLogDirsResponse::default().with_results(vec![result])
    }
}

fn wire_bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The data directory as clients see it: absolute.
pub(super) fn log_dir(cx: &Context) -> String {
    let configured = &cx.broker.config.data_directory;
    std::path::absolute(configured).unwrap_or_else(|_| configured.clone()).display().to_string()
}
