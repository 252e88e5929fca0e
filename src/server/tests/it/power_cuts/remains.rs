//! What must be left of a log from which records go on purpose: compared with what its producers were told, and with what its topic allows.
//!
//! - The log start never goes back behind one that was told, and moves only as far as retention or DeleteRecords allows.
//! - From there on everything acknowledged is there; of a compacted log, of each key its newest record or a later one. A tombstone stays for
//!   `delete.retention.ms`; once it is gone, nothing older of its key is there.
//! - What is there was sent, and lies where it always lay.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{BrokerId, DeleteRecordsRequest, ListOffsetsRequest};
use record_batch::{BatchIter, BatchView, DecompressLimits};

use crate::client::{Client, Random, now_ms, topic_name};
use crate::kills::found::{OWN_BYTES_FROM, fetch_partition};
use crate::kills::load::{Place, Producer};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// What a topic allows to go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    /// Compacts, and keeps tombstones for so long.
    pub(crate) delete_retention_ms: Option<i64>,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) retention_bytes: Option<u64>,
    /// Whether DeleteRecords is asked for.
    pub(crate) deletes_records: bool,
}

/// A partition and what is known of where it begins.
pub(crate) struct Watched {
    pub(crate) place: Place,
    pub(crate) policy: Policy,
    /// The highest log start that an answer told.
    told: i64,
    /// The highest offset that DeleteRecords was asked for, answered or not.
    asked: i64,
}

/// What a look at a partition found.
#[derive(Default)]
pub(crate) struct Remains {
    pub(crate) batches: usize,
    pub(crate) records: usize,
    /// Acknowledged records that a newer one of their key replaced and that are gone.
    pub(crate) compacted: usize,
    /// Acknowledged batches before the log start.
    pub(crate) dropped: usize,
    /// Whether the log start moved since the last look.
    pub(crate) has_moved: bool,
}

/// A record, by its place in its batch.
type Record = (i32, Option<Vec<u8>>, Option<Vec<u8>>, i64);

fn records(batch: &BatchView<'_>) -> Vec<Record> {
    let mut all = Vec::new();
    let each = &mut |record: record_batch::RecordView<'_>| {
        all.push((record.offset_delta, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), record.timestamp));
        ControlFlow::Continue(())
    };
    batch.walk_records(DecompressLimits::default(), each).unwrap();
    all
}

/// The newest record of a key.
#[derive(Clone, Copy)]
struct Newest {
    offset: i64,
    is_tombstone: bool,
    timestamp: i64,
}

/// What a read saw.
#[derive(Default)]
struct Read {
    /// The batches, by producer and place among its batches; how many records each still had.
    batches: HashMap<(i64, usize), usize>,
    newest: HashMap<Vec<u8>, Newest>,
    size_bytes: u64,
}

impl Watched {
    pub(crate) fn new(place: Place, policy: Policy) -> Self {
        Self { place, policy, told: 0, asked: 0 }
    }

    fn offset(&self, client: &mut Client, timestamp: i64) -> std::io::Result<i64> {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(self.place.partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name(&self.place.topic)).with_partitions(vec![partition]);
        let response = client.try_call(6, &ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]))?;
        let answer = &response.topics[0].partitions[0];
        match answer.error_code {
            0 => Ok(answer.offset),
            code => Err(std::io::Error::other(format!("offset {timestamp} of {:?}: error {code}", self.place))),
        }
    }

    /// Where the log begins; never before where it began.
    fn start(&mut self, client: &mut Client) -> i64 {
        let start = self.offset(client, EARLIEST).unwrap_or_else(|error| panic!("{:?} is lost: {error}", self.place));
        assert!(start >= self.told, "{:?}: the log start went back from {} to {start}", self.place, self.told);
        self.told = start;
        start
    }

    /// Deletes the records before some offset.
    pub(crate) fn delete_records(&mut self, client: &mut Client, random: &mut Random) -> std::io::Result<()> {
        let end = self.offset(client, LATEST)?;
        let span = usize::try_from(end.max(self.told) - self.told).unwrap();
        let to = self.told + i64::try_from(random.below(span + 1)).unwrap();
        self.asked = self.asked.max(to);
        let partition = DeleteRecordsPartition::default().with_partition_index(self.place.partition).with_offset(to);
        let topic = DeleteRecordsTopic::default().with_name(topic_name(&self.place.topic)).with_partitions(vec![partition]);
        let response = client.try_call(2, &DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000))?;
        let answer = &response.topics[0].partitions[0];
        if answer.error_code != 0 {
            return Err(std::io::Error::other(format!("deleting records of {:?}: error {}", self.place, answer.error_code)));
        }
        assert!(answer.low_watermark >= to, "{:?}: {} after records before {to} were deleted", self.place, answer.low_watermark);
        self.told = self.told.max(answer.low_watermark);
        Ok(())
    }

    /// Whether DeleteRecords was asked for something that was not acknowledged.
    pub(crate) fn is_deleting(&self) -> bool {
        self.asked > self.told
    }

    /// Reads all of it and compares.
    pub(crate) fn check(&mut self, client: &mut Client, producers: &mut [Producer]) -> Remains {
        let before = self.told;
        for told in producers.iter().filter_map(|producer| producer.log_starts.get(&self.place)) {
            self.told = self.told.max(*told);
        }
        // A tombstone may go between two fetches, after what it deletes was read: then it is read again.
        let patience = self.policy.delete_retention_ms.map_or(Duration::MAX, |ms| Duration::from_millis(ms.unsigned_abs() / 2));
        let (read, start) = loop {
            let began = Instant::now();
            let read = self.read(client, producers);
            // Last, so that no batch is missed that went meanwhile.
            let start = self.start(client);
            if began.elapsed() < patience {
                break (read, start);
            }
        };
        let mut remains =
            Remains { batches: read.batches.len(), records: read.batches.values().sum(), has_moved: start > before, ..Remains::default() };
        self.compare(&read, start, producers, &mut remains);
        self.check_start(&read, start, producers);
        remains
    }

    fn read(&mut self, client: &mut Client, producers: &mut [Producer]) -> Read {
        let mut read = Read::default();
        let mut at = self.start(client);
        let mut is_first = true;
        loop {
            let fetched = fetch_partition(client, &self.place, at);
            match fetched.error_code {
                0 => {}
                OFFSET_OUT_OF_RANGE => {
                    let start = self.start(client);
                    assert!(start > at, "{:?}: {at} is out of range, but the log begins at {start}", self.place);
                    (at, is_first) = (start, true);
                    continue;
                }
                code => panic!("{:?} from {at} is lost: error {code}", self.place),
            }
            let bytes = fetched.records.unwrap_or_default();
            for view in BatchIter::new(&bytes) {
                let view = view.unwrap_or_else(|error| panic!("{:?} at {at}: {error}", self.place));
                assert!(view.crc_is_valid());
                let base = view.header().base_offset;
                let may_have_gaps = self.policy.delete_retention_ms.is_some();
                // The log may begin within the first batch.
                let fits = if is_first {
                    true
                } else if may_have_gaps {
                    base >= at
                } else {
                    base == at
                };
                assert!(fits, "{:?}: a batch at {base} where {at} is next", self.place);
                self.take(&view, producers, &mut read);
                (at, is_first) = (view.header().next_offset(), false);
            }
            if at >= fetched.high_watermark {
                return read;
            }
            assert!(!bytes.is_empty(), "{:?} ends at {at}, not at {}", self.place, fetched.high_watermark);
        }
    }

    /// Finds out who sent a batch.
    fn take(&self, view: &BatchView<'_>, producers: &mut [Producer], read: &mut Read) {
        let (header, place) = (view.header(), &self.place);
        let producer = producers.iter_mut().find(|producer| producer.id == header.producer_id);
        let id = header.producer_id;
        let lane = producer.and_then(|producer| producer.lanes.get_mut(place));
        let lane = lane.unwrap_or_else(|| panic!("{place:?}: nobody sent this: {header:?}"));
        let number = lane.binary_search_by_key(&header.base_sequence, |batch| batch.first_sequence);
        let number = number.unwrap_or_else(|_| panic!("{place:?}: not as it was sent: {header:?}"));
        let batch = &mut lane[number];
        let is_same = batch.bytes[OWN_BYTES_FROM..] == view.bytes()[OWN_BYTES_FROM..];
        let found = records(view);
        if !is_same {
            assert!(self.policy.delete_retention_ms.is_some(), "{place:?}: not batch {number} as it was sent, but {header:?}");
            let sent = records(&BatchView::parse(&batch.bytes).unwrap());
            assert!(found.iter().all(|record| sent.contains(record)), "{place:?}: not of batch {number}: {header:?}");
            assert_eq!(header.last_offset() - header.base_offset + 1, i64::from(batch.records), "{place:?}: {header:?}");
        }
        let known = batch.acknowledged.or(batch.found).unwrap_or(header.base_offset);
        assert_eq!(known, header.base_offset, "{place:?}: batch {number} of producer {id} moved");
        batch.found = Some(header.base_offset);
        read.batches.insert((id, number), found.len());
        read.size_bytes += u64::try_from(view.bytes().len()).unwrap();
        for (delta, key, value, timestamp) in found {
            let offset = header.base_offset + i64::from(delta);
            read.newest.insert(key.unwrap(), Newest { offset, is_tombstone: value.is_none(), timestamp });
        }
    }

    /// Whether everything is there that must be.
    fn compare(&self, read: &Read, start: i64, producers: &[Producer], remains: &mut Remains) {
        let place = &self.place;
        let mut wanted: HashMap<Vec<u8>, Newest> = HashMap::new();
        let mut acknowledged = 0;
        for producer in producers {
            let Some(lane) = producer.lanes.get(place) else { continue };
            for (number, batch) in lane.iter().enumerate() {
                let Some(base) = batch.acknowledged.or(batch.found) else { continue };
                let is_before = base + i64::from(batch.records) <= start;
                remains.dropped += usize::from(is_before);
                acknowledged += if is_before { 0 } else { usize::try_from(batch.records).unwrap() };
                if self.policy.delete_retention_ms.is_none() {
                    if is_before {
                        continue;
                    }
                    let is_there = read.batches.contains_key(&(producer.id, number));
                    assert!(is_there, "{place:?}: batch {number} of producer {} at {base} is lost, the log begins at {start}", producer.id);
                    continue;
                }
                for (delta, key, value, timestamp) in records(&BatchView::parse(&batch.bytes).unwrap()) {
                    let newest = Newest { offset: base + i64::from(delta), is_tombstone: value.is_none(), timestamp };
                    let known = wanted.entry(key.unwrap()).or_insert(newest);
                    if newest.offset > known.offset {
                        *known = newest;
                    }
                }
            }
        }
        remains.compacted = acknowledged.saturating_sub(remains.records);
        let now = now_ms();
        for (key, wanted) in wanted {
            let (key, found) = (String::from_utf8_lossy(&key).into_owned(), read.newest.get(&key));
            if wanted.offset < start {
                let age = now - wanted.timestamp;
                let may_go = self.policy.retention_ms.is_some_and(|retention_ms| age > retention_ms);
                assert!(may_go, "{place:?}: the record of key {key} at {} went after {age} ms, the log begins at {start}", wanted.offset);
                continue;
            }
            let delete_retention_ms = self.policy.delete_retention_ms.unwrap_or(i64::MAX);
            let may_be_gone = wanted.is_tombstone && now - wanted.timestamp > delete_retention_ms;
            match found {
                Some(found) if found.offset >= wanted.offset => {}
                Some(found) => panic!(
                    "{place:?}: the record of key {key} at {} is lost, {} is the newest one there, a tombstone: {}; {} ms after {} was written",
                    wanted.offset,
                    found.offset,
                    found.is_tombstone,
                    now - found.timestamp,
                    found.offset
                ),
                None => assert!(may_be_gone, "{place:?}: the record of key {key} at {} is lost", wanted.offset),
            }
        }
    }

    /// Whether the log start is one that the topic allows.
    fn check_start(&self, read: &Read, start: i64, producers: &[Producer]) {
        let (place, policy, now) = (&self.place, &self.policy, now_ms());
        let lanes = || producers.iter().filter_map(|producer| producer.lanes.get(place)).flatten();
        if policy.delete_retention_ms.is_some() {
            // What compaction took does not say when the rest may go; that of each key has been looked at.
            assert!(start == 0 || policy.retention_ms.is_some(), "{place:?} begins at {start}");
        } else if let Some(retention_ms) = policy.retention_ms {
            for batch in lanes() {
                let Some(base) = batch.acknowledged.or(batch.found) else { continue };
                let age = now - BatchView::parse(&batch.bytes).unwrap().header().max_timestamp;
                let is_kept = base + i64::from(batch.records) > start;
                assert!(is_kept || age > retention_ms, "{place:?}: the batch at {base} went after {age} ms, the log begins at {start}");
            }
        } else if let Some(retention_bytes) = policy.retention_bytes {
            // What was there when the segment went and was never acknowledged may have gone since.
            let unknown = lanes().filter(|batch| batch.acknowledged.or(batch.found).is_none()).map(|batch| batch.bytes.len());
            let there = read.size_bytes + u64::try_from(unknown.sum::<usize>()).unwrap();
            assert!(start == 0 || there >= retention_bytes, "{place:?} has {there} bytes left, and begins at {start}");
        } else if policy.deletes_records {
            assert!(start <= self.asked, "{place:?} begins at {start}, but only what is before {} was to be deleted", self.asked);
        } else {
            assert_eq!(start, 0, "{place:?}");
        }
    }
}

/// Deletes records of one partition after the other until the connection is lost or an error comes.
pub(crate) fn delete_records_until_lost(mut client: Client, watched: &mut [&mut Watched], random: &mut Random) {
    let mut at = 0;
    while !watched.is_empty() {
        let place = at % watched.len();
        if watched[place].delete_records(&mut client, random).is_err() {
            return;
        }
        at += 1;
    }
}

/// How many of each kind of file are in the partitions' directories: what a cleaning is writing, and what waits to be removed because retention dropped
/// it, or because a cleaning has replaced it.
pub(crate) fn unfinished(partitions: &std::path::Path) -> [usize; 3] {
    let mut counts = [0; 3];
    for directory in std::fs::read_dir(partitions).into_iter().flatten().flatten() {
        let entries = std::fs::read_dir(directory.path()).into_iter().flatten().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        // Names begin with the base offset. What retention dropped lies before all that is left.
        let first = names.iter().filter(|name| name.ends_with(".log")).min();
        let is_dropped = |name: &String| first.is_none_or(|first| name[..20] < first[..20]);
        for name in &names {
            let is_deleted = name.ends_with(".deleted");
            counts[0] += usize::from(name.ends_with(".cleaned"));
            counts[1] += usize::from(is_deleted && is_dropped(name));
            counts[2] += usize::from(is_deleted && !is_dropped(name));
        }
    }
    counts
}
