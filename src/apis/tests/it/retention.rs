//! Retention as clients meet it, on a clock that moves by a second whenever a test looks and does not find yet what it waits for.

use std::time::Duration;

use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{DeleteTopicsRequest, DescribeLogDirsRequest, ListOffsetsRequest};
use wire::clock::ManualClock;

use crate::admin::{alter, delete_records, earliest};
use crate::fetch;
use crate::produce::produce;
use crate::support::{TestBroker, TestClient, batch, topic_name};

const SECOND: Duration = Duration::from_secs(1);
const NOW: i64 = 1_700_000_000_000;
/// `log.retention.check.interval.ms` by default.
const INTERVAL_MS: i64 = 300_000;

struct World {
    clock: ManualClock,
    broker: TestBroker,
    client: TestClient,
    directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(Timestamp(NOW));
        let broker = TestBroker::start_at(directory.path(), &[], clock.shared()).await;
        let client = broker.client().await;
        Self { clock, broker, client, directory }
    }

    async fn until_earliest(&mut self, topic: &str, expected: i64) {
        loop {
            let found = earliest(&mut self.client, topic).await;
            if found == expected {
                return;
            }
            assert!(found < expected, "{found} is behind {expected}");
            self.clock.advance(SECOND);
        }
    }

    async fn size_bytes(&mut self, topic: &str) -> i64 {
        let response = self.client.call(4, &DescribeLogDirsRequest::default().with_topics(None)).await;
        let topics = &response.results[0].topics;
        topics.iter().find(|row| row.name.as_str() == topic).map_or(-1, |row| row.partitions[0].partition_size)
    }

    async fn first_at(&mut self, topic: &str, timestamp: i64) -> i64 {
        let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        self.client.call(8, &request).await.topics[0].partitions[0].offset
    }

    fn files(&self) -> usize {
        let partitions = std::fs::read_dir(self.directory.path().join("partitions")).unwrap();
        partitions.map(|directory| std::fs::read_dir(directory.unwrap().path()).unwrap().count()).sum()
    }

    async fn until_files(&mut self, expected: usize) {
        while self.files() != expected {
            self.clock.advance(SECOND);
            // A question, so that the connection does not idle.
            self.size_bytes("").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_go_at_the_next_check_and_readers_before_them_are_out_of_range() {
    let mut world = World::new().await;
    world.client.create_topic("t", 1, &[("retention.ms", "1000"), ("segment.ms", "1000")]).await;
    produce(&mut world.client, "t", 0, batch(NOW - 5_000, &["a", "b"])).await;
    produce(&mut world.client, "t", 0, batch(NOW + INTERVAL_MS, &["c"])).await;
    assert!(world.size_bytes("t").await > 0 && world.files() == 2);
    world.until_earliest("t", 2).await;
    assert_eq!((world.first_at("t", 0).await, world.first_at("t", -4).await), (2, 2));
    assert_eq!(fetch::error(&mut world.client, "t", 1).await, ErrorCode::OffsetOutOfRange.code());
    assert_eq!(fetch::error(&mut world.client, "t", 2).await, 0);
    // Then all, also the segment that is appended to.
    let size_before = world.size_bytes("t").await;
    world.until_earliest("t", 3).await;
    assert!(size_before > 0 && world.size_bytes("t").await == 0);
    world.until_files(0).await;
    let traffic = &world.broker.running.broker.metrics.all_topics;
    assert_eq!((traffic.dropped_segments.get(), traffic.dropped_bytes.get()), (2, traffic.bytes_in.get()));
    assert_eq!(produce(&mut world.client, "t", 0, batch(NOW, &["d"])).await.base_offset, 3);
    world.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_retention_acts_at_the_next_check_also_the_brokers() {
    let mut world = World::new().await;
    world.client.create_topic("t", 1, &[("retention.ms", "-1")]).await;
    world.client.create_topic("compacted", 1, &[("cleanup.policy", "compact"), ("retention.ms", "1")]).await;
    world.client.create_topic("by-default", 1, &[]).await;
    for topic in ["t", "by-default"] {
        produce(&mut world.client, topic, 0, batch(NOW, &["a"])).await;
    }
    let week = Duration::from_secs(7 * 86_400);
    world.clock.advance(week);
    // The old connection idled for a week.
    world.client = world.broker.client().await;
    world.until_earliest("by-default", 1).await;
    assert_eq!((earliest(&mut world.client, "t").await, earliest(&mut world.client, "compacted").await), (0, 0));
    assert_eq!(alter(&mut world.client, "t", "retention.ms", "1000").await, 0);
    world.until_earliest("t", 1).await;
    world.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_give_their_space_back_at_the_next_check() {
    let mut world = World::new().await;
    world.client.create_topic("t", 1, &[("segment.ms", "1000")]).await;
    for number in 0..4 {
        produce(&mut world.client, "t", 0, batch(NOW + number * 2_000, &["a"])).await;
    }
    let size_before = world.size_bytes("t").await;
    assert_eq!(delete_records(&mut world.client, "t", 3).await, (0, 3));
    assert_eq!(world.size_bytes("t").await, size_before);
    while world.size_bytes("t").await != size_before / 4 {
        world.clock.advance(SECOND);
    }
    assert_eq!(earliest(&mut world.client, "t").await, 3);
    world.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topics_files_stay_for_a_minute() {
    let mut world = World::new().await;
    world.client.create_topic("t", 1, &[]).await;
    produce(&mut world.client, "t", 0, batch(NOW, &["a"])).await;
    world.client.call(1, &DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")])).await;
    assert_eq!(world.files(), 1);
    world.clock.advance(SECOND * 59);
    assert_eq!(world.files(), 1);
    world.until_files(0).await;
    world.broker.stop().await;
}
