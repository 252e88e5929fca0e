//! Appends, and offsets by name.

use bytes::Bytes;
use model::{ProducerEpoch, ProducerId, Sequence};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest, TransactionalId};
use record_batch::{BatchBuilder, Codec};
use uuid::Uuid;

use super::client::{Answer, Run, text};
use super::topics::topic_name;
use super::world::Sequenced;
use super::{Checked, ensure};

/// A batch, and what must become of it.
struct Sent {
    records: Option<Bytes>,
    count: i32,
    producer: Option<(i64, i16, i32)>,
    expect: Expect,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Expect {
    Accept,
    /// The first copy's offset.
    Duplicate(i64),
    Refuse(i16),
    /// Refused, with whatever code.
    RefuseAny,
    /// The model does not know.
    Either,
}

impl Run<'_> {
    fn builder(&mut self, codec: Codec) -> BatchBuilder {
        let mut builder = BatchBuilder::new();
        if codec != Codec::None {
            builder = builder.with_codec(codec, None);
        }
        builder
    }

    fn fill(&mut self, mut builder: BatchBuilder) -> (Bytes, i32) {
        let count = 1 + self.source.below(4);
        let now = self.now();
        for _ in 0..count {
            let byte = self.source.below(256) as u8;
            let value = vec![byte; usize::from(byte % 32)];
            let key = [byte];
            builder.append(now, Some(&key), (byte % 8 != 7).then_some(&value), &[]);
        }
        (builder.build(), i32::try_from(count).unwrap())
    }

    fn ordinary(&mut self, version: i16) -> Sent {
        let codec = self.source.pick(&[Codec::None, Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]);
        let builder = self.builder(codec);
        let (records, count) = self.fill(builder);
        let expect = if codec == Codec::Zstd && version < 7 { Expect::Refuse(76) } else { Expect::Accept };
        Sent { records: Some(records), count, producer: None, expect }
    }

    /// A batch of an idempotent producer: the next one, a repeated one, or one that must not be taken.
    fn idempotent(&mut self, version: i16, slot: usize, partition: i32) -> Sent {
        let number = self.source.below(self.world.producers.len());
        let kind = self.source.below(8);
        let Some(id) = self.world.producers.get(number).copied() else { return self.ordinary(version) };
        let known = self.world.partition(slot, partition).and_then(|partition| partition.producers.get(&id));
        let (epoch, sequence, expect) = match (known, kind) {
            (None, 0..=5) => (0, 0, Expect::Accept),
            // What a partition does not know of a producer may have been forgotten.
            (None, _) => (0, 7, Expect::Either),
            (Some(known), 0..=2) => (known.epoch, known.next_sequence(), Expect::Accept),
            (Some(known), 3) => {
                let epoch = known.epoch;
                let place = self.source.below(known.recent.len());
                let again =
                    self.world.partition(slot, partition).and_then(|partition| partition.producers.get(&id)?.recent.get(place).cloned());
                let Some(again) = again else { return self.ordinary(version) };
                let producer = Some((id, epoch, again.first));
                return Sent { records: Some(again.sent), count: again.count, producer, expect: Expect::Duplicate(again.base) };
            }
            (Some(known), 4) => (known.epoch, known.next_sequence() + 3, Expect::Refuse(45)),
            (Some(known), 5) => (known.epoch + 1, 0, Expect::Accept),
            (Some(known), 6) => (known.epoch + 1, 4, Expect::Refuse(45)),
            (Some(known), _) if known.epoch > 0 => (known.epoch - 1, known.next_sequence(), Expect::Refuse(47)),
            (Some(known), _) => (known.epoch, known.next_sequence(), Expect::Accept),
        };
        let builder = self.builder(Codec::None).with_producer(
            ProducerId::new(id).unwrap(),
            ProducerEpoch::new(epoch).unwrap(),
            Sequence::new(sequence),
        );
        let (records, count) = self.fill(builder);
        Sent { records: Some(records), count, producer: Some((id, epoch, sequence)), expect }
    }

    fn damaged(&mut self) -> Sent {
        let builder = self.builder(Codec::None);
        let (records, count) = self.fill(builder);
        let mut bytes = records.to_vec();
        let (records, expect) = match self.source.below(5) {
            0 => (None, Expect::RefuseAny),
            1 => (Some(Bytes::new()), Expect::RefuseAny),
            2 => {
                bytes.truncate(bytes.len() / 2);
                (Some(bytes.into()), Expect::RefuseAny)
            }
            3 => {
                bytes.extend_from_within(..);
                (Some(bytes.into()), Expect::RefuseAny)
            }
            _ => {
                let at = 21 + self.source.below(bytes.len() - 21);
                bytes[at] ^= 1;
                (Some(bytes.into()), Expect::Refuse(2))
            }
        };
        Sent { records, count, producer: None, expect }
    }

    /// Nobody coordinates the transaction: the topic for that is never asked for here.
    fn transactional(&mut self) -> Sent {
        let id = self.world.producers.first().copied().unwrap_or(1);
        let builder = BatchBuilder::new()
            .with_producer(ProducerId::new(id).unwrap(), ProducerEpoch::new(0).unwrap(), Sequence::new(0))
            .with_transactional(true);
        let (records, count) = self.fill(builder);
        Sent { records: Some(records), count, producer: None, expect: Expect::Refuse(19) }
    }

    pub(crate) async fn produce(&mut self, slot: usize) -> Checked {
        let version = self.version::<ProduceRequest>();
        let partition = i32::try_from(self.source.below(4)).unwrap() - i32::from(self.source.one_in(16));
        let acks = self.source.pick(&[-1, -1, -1, 1, 1, 0, 2]);
        let mut sent = match self.source.below(12) {
            0..=4 => self.ordinary(version),
            5..=9 => self.idempotent(version, slot, partition),
            10 => self.damaged(),
            _ => self.transactional(),
        };
        let topic = self.world.topics[slot].live.as_ref();
        match topic {
            _ if acks == 2 => sent.expect = Expect::Refuse(21),
            None => sent.expect = Expect::Refuse(if version >= 13 { 100 } else { 3 }),
            Some(_) if self.world.partition(slot, partition).is_none() => sent.expect = Expect::Refuse(3),
            Some(topic) if !topic.plain && sent.expect == Expect::Accept => sent.expect = Expect::Either,
            Some(topic) if !topic.plain && matches!(sent.expect, Expect::Refuse(_)) => sent.expect = Expect::RefuseAny,
            Some(_) => {}
        }
        let data = PartitionProduceData::default().with_index(partition).with_records(sent.records.clone());
        let mut topic_data = TopicProduceData::default().with_partition_data(vec![data]);
        if version >= 13 {
            topic_data.topic_id = topic.map_or(Uuid::from_u128(9), |topic| topic.id);
        } else {
            topic_data.name = topic_name(&self.world.topics[slot].name);
        }
        let mut request = ProduceRequest::default().with_acks(acks).with_timeout_ms(5000).with_topic_data(vec![topic_data]);
        request.transactional_id = (sent.expect == Expect::Refuse(19)).then(|| TransactionalId(text("transactional")));
        self.note(format!("-- expects {:?}", sent.expect));
        match self.exchange(version, &request).await? {
            Answer::Reply(answer) => {
                ensure!(acks != 0, "acks=0 has an answer");
                let rows = answer.responses.first().map_or(0, |topic| topic.partition_responses.len());
                ensure!(answer.responses.len() == 1 && rows == 1, "one partition was sent");
                self.produced(slot, partition, sent, &answer.responses[0].partition_responses[0])
            }
            Answer::Nothing => {
                ensure!(acks == 0, "acks={acks} has no answer");
                ensure!(!matches!(sent.expect, Expect::Refuse(_) | Expect::RefuseAny), "a bad produce with acks=0 went unnoticed");
                // The offset is not told, but this is the only writer.
                let end = self.world.partition(slot, partition).map_or(0, |partition| partition.end);
                let base = if let Expect::Duplicate(base) = sent.expect { base } else { end };
                self.produced(slot, partition, sent, &PartitionProduceResponse::default().with_base_offset(base))
            }
            Answer::Closed(reason) => {
                let refused = !matches!(sent.expect, Expect::Accept | Expect::Duplicate(_));
                ensure!(acks == 0 && refused, "a produce closed the connection: {reason}");
                Ok(())
            }
        }
    }

    fn produced(&mut self, slot: usize, index: i32, sent: Sent, row: &PartitionProduceResponse) -> Checked {
        let (code, base) = (row.error_code, row.base_offset);
        let fits = match sent.expect {
            Expect::Accept | Expect::Duplicate(_) => code == 0,
            Expect::Refuse(expected) => code == expected,
            Expect::RefuseAny => code != 0,
            Expect::Either => true,
        };
        ensure!(fits, "produce was answered with {code} and expected {:?}", sent.expect);
        if code != 0 {
            return Ok(());
        }
        ensure!(row.log_start_offset <= 0, "nothing was deleted, and the log starts at {}", row.log_start_offset);
        if let Expect::Duplicate(first) = sent.expect {
            ensure!(base == first, "a repeated batch of offset {first} is answered with {base}");
            return Ok(());
        }
        let Some(partition) = self.world.partition_mut(slot, index) else { return Ok(()) };
        let bytes = sent.records.unwrap_or_default();
        let expected = partition.append(bytes.clone(), sent.count);
        ensure!(base == expected, "appended at {base}, and the log's end was {expected}");
        if let Some((id, epoch, first)) = sent.producer {
            partition.remember(id, epoch, Sequenced { first, base, sent: bytes, count: sent.count });
        }
        Ok(())
    }

    pub(crate) async fn list_offsets(&mut self, slot: usize) -> Checked {
        let version = self.version::<ListOffsetsRequest>();
        let partition = i32::try_from(self.source.below(4)).unwrap();
        let timestamp = self.source.pick(&[-1, -1, -2, -3, -4, -5, -6, -7, 0, self.now(), i64::MAX]);
        let epoch = if version >= 4 { self.source.pick(&[-1, -1, 0, 1]) } else { -1 };
        let asked =
            ListOffsetsPartition::default().with_partition_index(partition).with_current_leader_epoch(epoch).with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name(&self.world.topics[slot].name)).with_partitions(vec![asked]);
        let mut request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        if version >= 2 {
            request.isolation_level = i8::from(self.source.one_in(2));
        }
        if version >= 10 {
            request.timeout_ms = 1000;
        }
        let answer = self.call(version, &request).await?;
        let row = &answer.topics[0].partitions[0];
        let Some(model) = self.world.partition(slot, partition) else {
            ensure!(row.error_code == 3, "an unknown partition is answered with {row:?}");
            return Ok(());
        };
        if epoch == 1 {
            ensure!(row.error_code == 76 || row.error_code == 75, "an epoch of the future is answered with {row:?}");
            return Ok(());
        }
        match timestamp {
            -1 => ensure!(row.error_code == 0 && row.offset == model.end, "the end is {} and not {row:?}", model.end),
            -2 => ensure!(row.error_code == 0 && row.offset == 0, "the start is 0 and not {row:?}"),
            // There is no remote tier.
            -6 if version >= 11 => ensure!((row.error_code, row.offset) == (0, -1), "timestamp -6 is answered with {row:?}"),
            -6 | -7 => ensure!(row.error_code == 35, "timestamp {timestamp} is answered with {row:?}"),
            _ => ensure!(row.error_code == 35 || (-1..=model.end).contains(&row.offset), "an offset beyond the end: {row:?}"),
        }
        Ok(())
    }

    pub(crate) async fn offset_for_leader_epoch(&mut self, slot: usize) -> Checked {
        let version = self.version::<OffsetForLeaderEpochRequest>();
        let partition = i32::try_from(self.source.below(4)).unwrap();
        let (current, asked) = (self.source.pick(&[-1, -1, 0, 1]), self.source.pick(&[0, 0, -1, 1]));
        let row = OffsetForLeaderPartition::default().with_partition(partition).with_current_leader_epoch(current).with_leader_epoch(asked);
        let topic = OffsetForLeaderTopic::default().with_topic(topic_name(&self.world.topics[slot].name)).with_partitions(vec![row]);
        let mut request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        if version >= 3 {
            request.replica_id = BrokerId(-1);
        }
        let answer = self.call(version, &request).await?;
        let row = &answer.topics[0].partitions[0];
        let Some(model) = self.world.partition(slot, partition) else {
            ensure!(row.error_code == 3, "an unknown partition is answered with {row:?}");
            return Ok(());
        };
        if current == 1 {
            ensure!(row.error_code == 76 || row.error_code == 75, "an epoch of the future is answered with {row:?}");
            return Ok(());
        }
        ensure!(row.error_code == 0, "a known partition is answered with {row:?}");
        if asked == 0 && model.end > 0 {
            ensure!(row.leader_epoch == 0 && row.end_offset == model.end, "epoch 0 ends at {} and not {row:?}", model.end);
        }
        ensure!((-1..=model.end).contains(&row.end_offset), "an epoch ends beyond the log: {row:?}");
        Ok(())
    }
}
