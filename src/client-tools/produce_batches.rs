//! Lines become batches: which partition, which sequence.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{ProducerEpoch, ProducerId, Sequence};
use record_batch::{BatchBuilder, Codec};

use crate::partitioner::partition_of;

/// A partition's batch is closed when its records have so many bytes, well below what brokers take by default.
const BATCH_BYTES: usize = 256 << 10;
/// All batches are sent when their records have so many bytes.
const PENDING_BYTES: usize = 4 << 20;

/// How a line becomes a record.
#[derive(Debug, Clone)]
pub(crate) struct LineRules {
    pub(crate) key_delimiter: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) null_if_empty: bool,
    pub(crate) partition: Option<i32>,
    pub(crate) codec: Codec,
}

impl LineRules {
    /// Key and value of a line.
    fn split<'l>(&self, line: &'l [u8]) -> (Option<&'l [u8]>, Option<&'l [u8]>) {
        let cut = self.key_delimiter.as_deref().and_then(|delimiter| {
            let at = line.windows(delimiter.len()).position(|window| window == delimiter)?;
            Some((line.get(..at)?, line.get(at + delimiter.len()..)?))
        });
        let keep = |part: &&[u8]| !(self.null_if_empty && part.is_empty());
        match cut {
            Some((key, value)) => (Some(key).filter(keep), Some(value).filter(keep)),
            None => (None, Some(line).filter(keep)),
        }
    }
}

/// Who the broker takes the producer for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Producer {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// A batch that waits for its acknowledgement.
#[derive(Debug, Clone)]
pub(crate) struct PendingBatch {
    pub(crate) partition: i32,
    pub(crate) records: Bytes,
    pub(crate) record_count: i32,
}

/// Gathers records by partition.
pub(crate) struct Batches {
    rules: LineRules,
    producer: Option<Producer>,
    partitions: Vec<i32>,
    open: BTreeMap<i32, (BatchBuilder, usize)>,
    closed: Vec<PendingBatch>,
    sequences: BTreeMap<i32, Sequence>,
    /// Which partition takes the records without a key until its batch is closed.
    sticky: usize,
    pending_bytes: usize,
    pub(crate) line_bytes: u64,
}

impl Batches {
    /// `seed` says with which partition records without a key begin.
    pub(crate) fn new(rules: LineRules, producer: Option<Producer>, partitions: Vec<i32>, seed: usize) -> Self {
        let sticky = seed.checked_rem(partitions.len()).unwrap_or(0);
        Self {
            rules,
            producer,
            partitions,
            open: BTreeMap::new(),
            closed: Vec::new(),
            sequences: BTreeMap::new(),
            sticky,
            pending_bytes: 0,
            line_bytes: 0,
        }
    }

    /// Takes a line, without its end.
    pub(crate) fn push(&mut self, line: &[u8], timestamp: i64) {
        let (key, value) = self.rules.split(line);
        let index = match key {
            Some(key) => partition_of(key, self.partitions.len()),
            None => self.sticky,
        };
        let partition = self.rules.partition.or_else(|| self.partitions.get(index).copied()).unwrap_or(0);
        let codec = self.rules.codec;
        let (builder, bytes) = self.open.entry(partition).or_insert_with(|| (BatchBuilder::new().with_codec(codec, None), 0));
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            self.rules.headers.iter().map(|(key, value)| (key.as_bytes(), Some(value.as_bytes()))).collect();
        builder.append(timestamp, key, value, &headers);
        *bytes += line.len() + 16;
        let is_full = *bytes >= BATCH_BYTES;
        self.pending_bytes += line.len() + 16;
        self.line_bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        if is_full {
            self.close(partition);
        }
    }

    /// Whether it is time to send.
    pub(crate) fn is_full(&self) -> bool {
        self.pending_bytes >= PENDING_BYTES
    }

    /// Everything that was gathered, in order; of a partition there may be several batches.
    pub(crate) fn take(&mut self) -> Vec<PendingBatch> {
        let open: Vec<i32> = self.open.keys().copied().collect();
        open.into_iter().for_each(|partition| self.close(partition));
        self.pending_bytes = 0;
        std::mem::take(&mut self.closed)
    }

    fn close(&mut self, partition: i32) {
        let Some((mut builder, _)) = self.open.remove(&partition) else { return };
        let record_count = builder.record_count();
        if let Some(producer) = self.producer {
            let sequence = self.sequences.entry(partition).or_insert(Sequence::new_or_zero(0));
            builder = builder.with_producer(producer.id, producer.epoch, Some(*sequence));
            *sequence = sequence.advance(record_count);
        }
        self.closed.push(PendingBatch { partition, records: builder.build(), record_count });
        if self.partitions.get(self.sticky) == Some(&partition) {
            self.sticky = (self.sticky + 1).checked_rem(self.partitions.len()).unwrap_or(0);
        }
    }
}

/// Cuts a stream of pieces into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Shows each line that a piece completes.
    pub(crate) fn push(&mut self, piece: &[u8], mut line: impl FnMut(&[u8])) {
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            match (parts.peek().is_some(), self.rest.is_empty()) {
                (true, true) => line(part),
                (true, false) => {
                    self.rest.extend_from_slice(part);
                    line(&std::mem::take(&mut self.rest));
                }
                (false, _) => self.rest.extend_from_slice(part),
            }
        }
    }

    /// The last line, if it had no end.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.rest)).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use record_batch::BatchHeader;

    use super::*;

    fn rules() -> LineRules {
        LineRules { key_delimiter: Some(b"::".to_vec()), headers: Vec::new(), null_if_empty: false, partition: None, codec: Codec::None }
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        let text = b"one\n\ntwo\nthree";
        for size in 1..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            text.chunks(size).for_each(|piece| lines.push(piece, |line| found.push(line.to_vec())));
            found.extend(lines.finish());
            assert_eq!(found, [b"one".to_vec(), Vec::new(), b"two".to_vec(), b"three".to_vec()], "{size}");
        }
    }

    #[test]
    fn a_key_ends_at_the_first_delimiter_and_empty_is_null_only_where_asked() {
        let rules = rules();
        assert_eq!(rules.split(b"k::v::w"), (Some(&b"k"[..]), Some(&b"v::w"[..])));
        assert_eq!(rules.split(b"k:v"), (None, Some(&b"k:v"[..])));
        assert_eq!(rules.split(b"k::"), (Some(&b"k"[..]), Some(&b""[..])));
        let nulls = LineRules { null_if_empty: true, ..rules };
        assert_eq!(nulls.split(b"k::"), (Some(&b"k"[..]), None));
        assert_eq!(nulls.split(b"::v"), (None, Some(&b"v"[..])));
    }

    #[test]
    fn sequences_follow_each_other_within_a_partition() {
        let producer = Producer { id: ProducerId::new_or_zero(5), epoch: ProducerEpoch::new_or_zero(0) };
        let mut batches = Batches::new(rules(), Some(producer), vec![0, 1], 0);
        let mut sequences = Vec::new();
        for round in 0..3 {
            for _ in 0..=round {
                batches.push(b"k::v", 1);
            }
            for batch in batches.take() {
                let header = BatchHeader::parse(&batch.records).expect("a batch");
                assert_eq!((header.record_count, header.producer_id), (batch.record_count, 5));
                sequences.push((header.base_sequence, batch.record_count));
            }
        }
        assert_eq!(sequences, [(0, 1), (1, 2), (3, 3)]);
    }

    #[test]
    fn records_without_a_key_go_to_the_partitions_in_turn() {
        let mut batches = Batches::new(rules(), None, vec![0, 1, 2], 4);
        let mut partitions = Vec::new();
        for _ in 0..4 {
            batches.push(b"a", 1);
            batches.push(b"b", 1);
            partitions.extend(batches.take().iter().map(|batch| batch.partition));
        }
        assert_eq!(partitions, [1, 2, 0, 1]);
        assert!(batches.take().is_empty());
    }

    #[test]
    fn a_partition_of_ones_own_takes_everything() {
        let mut batches = Batches::new(LineRules { partition: Some(7), ..rules() }, None, vec![0, 7], 0);
        batches.push(b"k::v", 1);
        batches.push(b"v", 1);
        assert_eq!(batches.take().iter().map(|batch| (batch.partition, batch.record_count)).collect::<Vec<_>>(), [(7, 2)]);
    }
}
