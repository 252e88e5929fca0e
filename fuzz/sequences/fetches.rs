//! Reads: without and with a session, at once and waiting.

use bytes::Bytes;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::{FetchRequest, FetchResponse};
use record_batch::BatchIter;
use uuid::Uuid;

use super::client::{Run, Waiting};
use super::topics::topic_name;
use super::world::{Session, Wanted};
use super::{Checked, ensure};

/// From this version on topics are named by id.
const FETCH_BY_ID: i16 = 13;
/// From this version on there are sessions.
const FETCH_IN_SESSIONS: i16 = 7;
const MANY_BYTES: i32 = 1 << 20;

impl Run<'_> {
    fn draw_wanted(&mut self) -> Wanted {
        let slot = self.source.pick(&[0, 0, 0, 1, 1, 2]);
        let partition = i32::try_from(self.source.below(4)).unwrap();
        let found = self.world.partition(slot, partition).map(|partition| partition.end);
        let (existed, end) = (found.is_some(), found.unwrap_or(0));
        let offset = self.source.pick(&[0, 0, end / 2, end - 1, end, end + 1, -1, i64::MAX]);
        let bytes_max = self.source.pick(&[MANY_BYTES, MANY_BYTES, 1, 100]);
        let id = self.world.topics[slot].live.as_ref().map_or(Uuid::from_u128(11), |topic| topic.id);
        Wanted { slot, id, partition, offset, bytes_max, existed, end_before: end }
    }

    /// One to three partitions, none twice, neither by name nor by id: all topics that are gone share one unknown id.
    fn draw_several(&mut self) -> Vec<Wanted> {
        let mut several: Vec<Wanted> = Vec::new();
        for _ in 0..=self.source.below(3) {
            let wanted = self.draw_wanted();
            let is_same = |other: &Wanted| other.partition == wanted.partition && (other.slot == wanted.slot || other.id == wanted.id);
            if !several.iter().any(is_same) {
                several.push(wanted);
            }
        }
        several
    }

    fn topics_of(&self, version: i16, wanted: &[Wanted]) -> Vec<FetchTopic> {
        let row = |wanted: &Wanted| {
            let partition = FetchPartition::default()
                .with_partition(wanted.partition)
                .with_fetch_offset(wanted.offset)
                .with_partition_max_bytes(wanted.bytes_max);
            let topic = FetchTopic::default().with_partitions(vec![partition]);
            if version >= FETCH_BY_ID {
                topic.with_topic_id(wanted.id)
            } else {
                topic.with_topic(topic_name(&self.world.topics[wanted.slot].name))
            }
        };
        wanted.iter().map(row).collect()
    }

    fn limits(&mut self, version: i16) -> FetchRequest {
        let mut request = FetchRequest::default().with_max_bytes(self.source.pick(&[MANY_BYTES, MANY_BYTES, 1, i32::MAX]));
        request.min_bytes = self.source.pick(&[0, 1, 1, 100_000]);
        request.isolation_level = i8::from(self.source.one_in(3));
        if version >= FETCH_IN_SESSIONS {
            request.session_epoch = -1;
        }
        request
    }

    pub(crate) async fn fetch(&mut self) -> Checked {
        let version = self.version::<FetchRequest>();
        let wanted = self.draw_several();
        let mut request = self.limits(version).with_topics(self.topics_of(version, &wanted));
        request.max_wait_ms = self.source.pick(&[0, 0, 15, 500, 60_000]);
        if request.max_wait_ms > 0 {
            return self.park(version, &request, Waiting::Fetch { wanted });
        }
        let answer = self.call(version, &request).await?;
        ensure!(answer.error_code == 0 && answer.session_id == 0, "a fetch without a session: {answer:?}");
        let rows: usize = answer.responses.iter().map(|topic| topic.partitions.len()).sum();
        ensure!(rows == wanted.len(), "{} partitions were asked for and {rows} answered", wanted.len());
        self.check_rows(&wanted, version, &answer)?;
        self.check_not_forgotten(&wanted, &answer)
    }

    /// An answer that came later than the request: meanwhile topics may have gone and others come under their names.
    pub(crate) fn fetched_late(&self, wanted: &[Wanted], version: i16, answer: &FetchResponse) -> Checked {
        let same = |wanted: &&Wanted| self.world.topics[wanted.slot].live.as_ref().is_some_and(|topic| topic.id == wanted.id);
        let checked: Vec<_> = wanted.iter().filter(|wanted| wanted.existed).filter(same).cloned().collect();
        ensure!(answer.error_code == 0, "a fetch without a session: {answer:?}");
        self.check_rows(&checked, version, answer)
    }

    /// Something readable was asked for, so something must have come, however low the limits.
    fn check_not_forgotten(&self, wanted: &[Wanted], answer: &FetchResponse) -> Checked {
        let readable = |wanted: &Wanted| {
            let partition = self.world.partition(wanted.slot, wanted.partition);
            partition.is_some_and(|partition| (0..partition.end).contains(&wanted.offset))
        };
        let bytes: usize =
            answer.responses.iter().flat_map(|topic| &topic.partitions).map(|row| row.records.as_ref().map_or(0, Bytes::len)).sum();
        ensure!(bytes > 0 || !wanted.iter().any(readable), "there are records and none came: {wanted:?}");
        Ok(())
    }

    fn check_rows(&self, wanted: &[Wanted], version: i16, answer: &FetchResponse) -> Checked {
        for topic in &answer.responses {
            for row in &topic.partitions {
                let is_same = |wanted: &&Wanted| {
                    let named = if version >= FETCH_BY_ID {
                        topic.topic_id == wanted.id
                    } else {
                        topic.topic.as_str() == self.world.topics[wanted.slot].name
                    };
                    named && row.partition_index == wanted.partition
                };
                if let Some(wanted) = wanted.iter().find(is_same) {
                    self.check_row(wanted, version, row)?;
                }
            }
        }
        Ok(())
    }

    fn check_row(&self, wanted: &Wanted, version: i16, row: &PartitionData) -> Checked {
        let topic = self.world.topics[wanted.slot].live.as_ref();
        let by_dead_id = version >= FETCH_BY_ID && topic.is_none_or(|topic| topic.id != wanted.id);
        let Some(model) = self.world.partition(wanted.slot, wanted.partition).filter(|_| !by_dead_id) else {
            ensure!(row.error_code == if by_dead_id { 100 } else { 3 }, "{wanted:?} is not there, and the answer is {row:?}");
            return Ok(());
        };
        if !(0..=model.end).contains(&wanted.offset) {
            // One that waited may have been out of range when it was asked, and in range now; never the other way round.
            ensure!(row.error_code == 1, "{wanted:?} is out of 0..{}, and the answer is {row:?}", model.end);
            return Ok(());
        }
        if wanted.offset > wanted.end_before {
            ensure!(row.error_code == 0 || row.error_code == 1, "{wanted:?} is answered with {row:?}");
            return Ok(());
        }
        ensure!(row.error_code == 0, "{wanted:?} is in 0..{}, and the answer is {row:?}", model.end);
        let high_watermark = row.high_watermark;
        ensure!(
            (wanted.end_before..=model.end).contains(&high_watermark),
            "high watermark {high_watermark}, {wanted:?}, end {}",
            model.end
        );
        ensure!(row.last_stable_offset == high_watermark, "no transaction is open: {row:?}");
        ensure!(version < 5 || row.log_start_offset == 0, "nothing was deleted: {row:?}");
        let records = row.records.clone().unwrap_or_default();
        self.check_records(wanted, &records).map(|_next| ())
    }

    /// The records are what was acknowledged from the offset on. Returns the offset behind them.
    fn check_records(&self, wanted: &Wanted, records: &Bytes) -> Checked<i64> {
        let mut next = wanted.offset;
        let Some(topic) = &self.world.topics[wanted.slot].live else { return Ok(next) };
        let Some(model) = self.world.partition(wanted.slot, wanted.partition) else { return Ok(next) };
        let mut batches = BatchIter::new(records);
        let mut position = 0;
        for (number, batch) in batches.by_ref().enumerate() {
            let Ok(batch) = batch else {
                // Only what follows the first batch may be cut off by the limits.
                ensure!(number > 0, "the first batch is not whole: {wanted:?}");
                break;
            };
            ensure!(batch.crc_is_valid(), "a batch of {wanted:?} is damaged");
            let header = batch.header();
            let known = model.batches.iter().find(|known| known.base == header.base_offset);
            let Some(known) = known else {
                ensure!(false, "a batch at {} was never acknowledged: {wanted:?}", header.base_offset);
                return Ok(next);
            };
            let fits = known.base <= next && next < known.base + known.count && (number == 0 || known.base == next);
            ensure!(fits, "at {next} comes the batch of {}: {wanted:?}", known.base);
            ensure!(header.next_offset() == known.base + known.count, "a batch has another length than was sent: {wanted:?}");
            let bytes = batch.bytes();
            // Base offset and leader epoch are the broker's; all from the magic byte on is the client's.
            ensure!(!topic.plain || bytes[16..] == known.sent[16..], "the batch at {} was changed: {wanted:?}", known.base);
            next = known.base + known.count;
            position += bytes.len();
        }
        ensure!(position <= records.len(), "more than was sent");
        Ok(next)
    }

    /// Reads each partition from its start to its end.
    pub(crate) async fn read_back(&mut self) -> Checked {
        for slot in 0..self.world.topics.len() {
            let Some(topic) = &self.world.topics[slot].live else { continue };
            let (id, count) = (topic.id, topic.partitions.len());
            for index in 0..count {
                let end = topic_end(&self.world.topics[slot], index);
                let partition = i32::try_from(index).unwrap();
                let mut wanted = Wanted { slot, id, partition, offset: 0, bytes_max: MANY_BYTES, existed: true, end_before: end };
                loop {
                    let topics = self.topics_of(FETCH_BY_ID, std::slice::from_ref(&wanted));
                    let request = FetchRequest::default().with_max_bytes(MANY_BYTES).with_session_epoch(-1).with_topics(topics);
                    let answer = self.call(FETCH_BY_ID, &request).await?;
                    let row = &answer.responses[0].partitions[0];
                    self.check_row(&wanted, FETCH_BY_ID, row)?;
                    ensure!(row.high_watermark == end, "the high watermark is {} and {end} were acknowledged", row.high_watermark);
                    let next = self.check_records(&wanted, &row.records.clone().unwrap_or_default())?;
                    if next >= end {
                        break;
                    }
                    ensure!(next > wanted.offset, "records up to {end} were acknowledged, and nothing comes at {next}");
                    wanted.offset = next;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn fetch_in_session(&mut self) -> Checked {
        let kind = self.source.below(8);
        let number = self.source.below(self.world.sessions.len());
        if self.world.sessions.is_empty() || kind == 0 {
            return self.open_session().await;
        }
        let (id, epoch, by_ids) = {
            let session = &self.world.sessions[number];
            (session.id, session.epoch, session.by_ids)
        };
        let version = if by_ids { 13 + self.source.below(5) as i16 } else { 7 + self.source.below(6) as i16 };
        let request = FetchRequest::default().with_max_bytes(MANY_BYTES).with_min_bytes(1);
        match kind {
            1 => {
                let wrong = request.with_session_id(id).with_session_epoch(epoch + 7);
                let answer = self.call(version, &wrong).await?;
                ensure!(answer.error_code == 71, "a wrong epoch is answered with {}", answer.error_code);
                return Ok(());
            }
            2 => {
                let wrong = request.with_session_id(id.wrapping_add(1).max(1)).with_session_epoch(1);
                let answer = self.call(version, &wrong).await?;
                ensure!(answer.error_code != 0 || self.world.sessions.len() > 1, "an unknown session is answered with {answer:?}");
                // It may be another one of this run; that is then out of step.
                self.world.sessions.retain(|session| session.id != id.wrapping_add(1).max(1));
                return Ok(());
            }
            _ => {}
        }
        // Adds or moves some partitions and forgets one.
        let added = if self.source.one_in(2) { self.draw_several() } else { Vec::new() };
        let forgets = self.source.one_in(6);
        let mut request = request.with_session_id(id).with_session_epoch(epoch).with_topics(self.topics_of(version, &added));
        let session = &mut self.world.sessions[number];
        session.epoch += 1;
        let is_same = |one: &Wanted, other: &Wanted| {
            one.partition == other.partition && if by_ids { one.id == other.id && one.slot == other.slot } else { one.slot == other.slot }
        };
        for wanted in &added {
            session.entries.retain(|entry| !is_same(entry, wanted));
            session.entries.push(wanted.clone());
        }
        let forgotten = session.entries.first().filter(|_| forgets).cloned();
        if let Some(entry) = forgotten.filter(|entry| !added.iter().any(|wanted| is_same(entry, wanted))) {
            session.entries.remove(0);
            let topic = ForgottenTopic::default().with_partitions(vec![entry.partition]);
            let name = topic_name(&self.world.topics[entry.slot].name);
            request.forgotten_topics_data = vec![if by_ids { topic.with_topic_id(entry.id) } else { topic.with_topic(name) }];
        }
        let answer = self.call(version, &request).await?;
        ensure!(answer.error_code == 0, "the next request of a session is answered with {}", answer.error_code);
        let entries = self.current_entries(number);
        self.check_rows(&entries, version, &answer)?;
        self.check_not_forgotten(&self.readable_entries(&entries), &answer)
    }

    /// The session's partitions, with the ends of now.
    fn current_entries(&self, number: usize) -> Vec<Wanted> {
        let now = |entry: &Wanted| {
            let end_before = self.world.partition(entry.slot, entry.partition).map_or(0, |partition| partition.end);
            Wanted { end_before, ..entry.clone() }
        };
        self.world.sessions[number].entries.iter().map(now).collect()
    }

    /// Those whose topic is still the one that they were added for.
    fn readable_entries(&self, entries: &[Wanted]) -> Vec<Wanted> {
        let same = |entry: &&Wanted| self.world.topics[entry.slot].live.as_ref().is_some_and(|topic| topic.id == entry.id);
        entries.iter().filter(same).cloned().collect()
    }

    async fn open_session(&mut self) -> Checked {
        let version = FETCH_IN_SESSIONS + self.source.below(11) as i16;
        let entries = self.draw_several();
        let request =
            FetchRequest::default().with_max_bytes(MANY_BYTES).with_topics(self.topics_of(version, &entries)).with_session_epoch(0);
        let answer = self.call(version, &request).await?;
        ensure!(answer.error_code == 0 && answer.session_id != 0, "no session: {answer:?}");
        self.check_rows(&entries, version, &answer)?;
        self.check_not_forgotten(&entries, &answer)?;
        self.world.sessions.push(Session { id: answer.session_id, epoch: 1, by_ids: version >= FETCH_BY_ID, entries });
        Ok(())
    }

    pub(crate) async fn close_sessions(&mut self) -> Checked {
        for session in std::mem::take(&mut self.world.sessions) {
            let request = FetchRequest::default().with_max_bytes(MANY_BYTES).with_session_id(session.id).with_session_epoch(-1);
            let answer = self.call(if session.by_ids { 13 } else { 7 }, &request).await?;
            ensure!(answer.error_code == 0 && answer.session_id == 0, "a session does not end: {answer:?}");
        }
        Ok(())
    }
}

fn topic_end(slot: &super::world::TopicSlot, index: usize) -> i64 {
    slot.live.as_ref().map_or(0, |topic| topic.partitions[index].end)
}
