//! What a broker has, compared with what clients were told: every acknowledged batch byte for byte at its offset, in order, once, nothing that
//! was not sent; the topics, and no directory beside theirs.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::{FetchRequest, MetadataRequest};
use record_batch::BatchIter;
use uuid::Uuid;

use super::load::{Pending, Place, Producer, Topics};
use crate::client::{Client, topic_name};

/// Where a batch's own bytes begin: before them are the base offset, which the broker gives, the length, and the leader's epoch.
pub(crate) const OWN_BYTES_FROM: usize = 16;
const FETCH_BYTES_MAX: i32 = 8 << 20;
const REMOVED_WITHIN: Duration = Duration::from_secs(30);
/// What these brokers are given: the loads' records are of 1970 and are all kept; what is deleted goes at once.
pub(crate) const SETTINGS: [&str; 4] = ["--override", "log.retention.ms=-1", "--override", "log.segment.delete.delay.ms=0"];

/// What was read.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) batches: usize,
    pub(crate) records: i64,
    /// Batches that were seen here for the first time and had not been acknowledged.
    pub(crate) unacknowledged: usize,
}

/// The batches from an offset on, and the high watermark, of a log that begins at 0.
pub(crate) fn fetch(client: &mut Client, place: &Place, offset: i64) -> (bytes::Bytes, i64) {
    let fetched = fetch_partition(client, place, offset);
    assert_eq!((fetched.error_code, fetched.log_start_offset), (0, 0), "{place:?} from {offset}");
    (fetched.records.unwrap_or_default(), fetched.high_watermark)
}

/// What a fetch from an offset on answers.
pub(crate) fn fetch_partition(client: &mut Client, place: &Place, offset: i64) -> PartitionData {
    let partition = FetchPartition::default()
        .with_partition(place.partition)
        .with_fetch_offset(offset)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(FETCH_BYTES_MAX);
    let topic = FetchTopic::default().with_topic(topic_name(&place.topic)).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_max_wait_ms(0).with_min_bytes(0).with_max_bytes(FETCH_BYTES_MAX).with_topics(vec![topic]);
    let mut response = client.try_call(12, &request).unwrap();
    response.responses.remove(0).partitions.remove(0)
}

/// Reads a partition from its beginning to its end.
pub(crate) fn check_partition(client: &mut Client, place: &Place, producers: &mut [&mut Producer], found: &mut Found) {
    let mut next: HashMap<i64, usize> = HashMap::new();
    let mut end = 0;
    loop {
        let (records, high_watermark) = fetch(client, place, end);
        let mut batches = BatchIter::new(&records);
        for view in batches.by_ref() {
            let view = view.unwrap_or_else(|error| panic!("{place:?} at {end}: {error}"));
            let header = view.header();
            assert_eq!(header.base_offset, end, "{place:?} has a gap");
            let producer = producers.iter_mut().find(|producer| producer.id == header.producer_id);
            let lane = producer.and_then(|producer| producer.lanes.get_mut(place));
            let lane = lane.unwrap_or_else(|| panic!("{place:?} at {end}: nobody sent this: {header:?}"));
            let next = next.entry(header.producer_id).or_default();
            let batch = lane.get_mut(*next).unwrap_or_else(|| panic!("{place:?} at {end}: one more than was sent: {header:?}"));
            assert!(
                batch.bytes[OWN_BYTES_FROM..] == view.bytes()[OWN_BYTES_FROM..],
                "{place:?} at {end}: not batch {next} as it was sent, but {header:?}"
            );
            let known = batch.acknowledged.or(batch.found);
            assert_eq!(known.unwrap_or(end), end, "{place:?}: batch {next} of producer {} moved", header.producer_id);
            found.unacknowledged += usize::from(known.is_none());
            batch.found = Some(end);
            *next += 1;
            end += i64::from(batch.records);
            found.batches += 1;
            found.records += i64::from(batch.records);
        }
        if end == high_watermark {
            break;
        }
        assert!(!records.is_empty(), "{place:?} ends at {end}, not at {high_watermark}");
    }
    for producer in producers {
        let (id, Some(lane)) = (producer.id, producer.lanes.get(place)) else { continue };
        let count = next.get(&id).copied().unwrap_or(0);
        for (number, batch) in lane.iter().enumerate().skip(count) {
            let known = batch.acknowledged.or(batch.found);
            assert_eq!(known, None, "{place:?}: batch {number} of producer {id} is lost, {count} of it are there");
        }
    }
}

/// Compares the topics and the directories of partitions; `kept` are the topics that always are there.
pub(crate) fn check_topics(client: &mut Client, data: &Path, topics: &mut Topics, kept: &HashMap<String, Uuid>) {
    let response = client.call(12, &MetadataRequest::default().with_topics(None));
    let mut there: HashMap<String, (Uuid, i32)> = HashMap::new();
    let mut directories = HashSet::new();
    for topic in &response.topics {
        let name = topic.name.as_ref().unwrap().0.to_string();
        assert_eq!(topic.error_code, 0, "{name}");
        for partition in &topic.partitions {
            assert_eq!((partition.error_code, partition.leader_id.0), (0, response.brokers[0].node_id.0), "{name}");
            directories.insert(format!("{}-{}", topic.topic_id, partition.partition_index));
        }
        there.insert(name, (topic.topic_id, i32::try_from(topic.partitions.len()).unwrap()));
    }
    for (name, id) in kept {
        assert_eq!(there.remove(name).map(|(id, _)| id), Some(*id), "{name}");
    }
    for slot in &mut topics.slots {
        let (name, pending) = (slot.name.clone(), slot.pending);
        let context = format!("{name}, newest first: {:?}", slot.history);
        slot.note("looked:".to_owned());
        match there.remove(&name) {
            Some((id, partitions)) => {
                match pending {
                    Some(Pending::Create(asked)) => assert_eq!(partitions, asked, "{context}"),
                    Some(Pending::Delete) | None => {
                        assert_eq!((Some(id), partitions), (slot.id, slot.partitions), "{context}, {pending:?}")
                    }
                }
                slot.pending = pending.filter(|pending| matches!(pending, Pending::Create(_)));
                slot.is_there(id);
            }
            None => {
                assert!(pending.is_some() || slot.id.is_none(), "it was created and is not there: {context}");
                slot.is_gone();
                topics.producer.forget(&name);
            }
        }
    }
    assert!(there.is_empty(), "nobody created these, or they were deleted: {there:?}");
    // Those of deleted topics go in the background.
    let stray = || {
        let mut names = std::fs::read_dir(data.join("partitions")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find(|name| !directories.contains(name))
    };
    let deadline = Instant::now() + REMOVED_WITHIN;
    while let Some(name) = stray() {
        assert!(Instant::now() < deadline, "the directory {name} belongs to no topic");
        std::thread::yield_now();
    }
}

/// The sizes of the segments.
pub(crate) fn segments(data: &Path) -> HashMap<String, u64> {
    let Ok(_exists) = std::fs::read_dir(data.join("partitions")) else { return HashMap::new() };
    crate::listing(&data.join("partitions")).into_iter().filter(|(path, _)| path.ends_with(".log")).collect()
}
