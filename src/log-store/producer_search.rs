//! What producers wrote before a cut that took all that their rows name: it is only in the headers of the batches before.
//!
//! The log is read back from its end, segment by segment, until enough of each of these producers was seen, and from there on in its order. So a cut
//! costs what lies behind these producers' last transactions, not the whole log; only one who has not written for long takes the search far back.

use std::collections::HashMap;

use model::{ProducerId, TopicIdPartition};
use record_batch::BatchHeader;

use crate::StorageError;
use crate::engine::Engine;
use crate::producer_state::{BATCHES_MAX, CutProducers, ProducerStates};
use crate::transactions::marker_of;
use crate::view::Span;
use crate::walk::{Next, Walker, corrupt};

/// What the given segments, in order, say of these producers.
pub(crate) fn find_producers(
    engine: &Engine,
    id: TopicIdPartition,
    segments: &[Span],
    wanted: &CutProducers,
) -> Result<ProducerStates, StorageError> {
    let mut search = Search::new(wanted);
    let mut first = segments.len();
    for (number, span) in segments.iter().enumerate().rev() {
        if search.is_over() {
            break;
        }
        walk(engine, id, span, |walker, header| {
            search.note(header);
            walker.skip(header);
            Ok(())
        })?;
        search.end_segment();
        first = number;
    }
    let mut producers = ProducerStates::default();
    for span in segments.get(first..).unwrap_or_default() {
        walk(engine, id, span, |walker, header| {
            if wanted.has_sent(header) {
                let marker = if header.attributes.is_control() { walker.whole(header)?.and_then(marker_of) } else { None };
                producers.record(header, marker.as_ref(), None, None);
            }
            walker.skip(header);
            Ok(())
        })?;
    }
    Ok(producers)
}

/// Shows the headers of a segment; `each` goes to the next one.
fn walk(
    engine: &Engine,
    id: TopicIdPartition,
    span: &Span,
    mut each: impl FnMut(&mut Walker<'_>, &BatchHeader) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut walker = Walker::new(engine, &span.segment, 0, span.length);
    loop {
        match walker.peek()? {
            Next::Batch(header) => each(&mut walker, &header)?,
            Next::End => return Ok(()),
            Next::Bad => return Err(corrupt(id, &span.segment, walker.position())),
        }
    }
}

/// What was seen of one producer.
#[derive(Default)]
struct Seen {
    batches: usize,
    markers: usize,
    is_transactional: bool,
    /// Its very first batch.
    begins: bool,
    wants_batches: bool,
}

impl Seen {
    /// Whether what lies before says nothing more. Between two markers a transaction is whole.
    fn is_enough(&self) -> bool {
        let has_batches = !self.wants_batches || self.batches >= BATCHES_MAX;
        let has_transactions = self.markers >= 2 || (self.wants_batches && !self.is_transactional);
        self.begins || (has_batches && has_transactions)
    }
}

/// The producers that the search goes on for.
struct Search(HashMap<ProducerId, Seen>);

impl Search {
    fn new(wanted: &CutProducers) -> Self {
        let seen = |wants_batches| Seen { wants_batches, ..Seen::default() };
        Self(wanted.to_search().map(|(producer, wants_batches)| (producer, seen(wants_batches))).collect())
    }

    fn note(&mut self, header: &BatchHeader) {
        let Some(seen) = ProducerId::new(header.producer_id).and_then(|producer| self.0.get_mut(&producer)) else { return };
        seen.is_transactional |= header.attributes.is_transactional();
        if header.attributes.is_control() {
            seen.markers += 1;
        } else {
            seen.batches += 1;
            seen.begins |= header.producer_epoch == 0 && header.base_sequence == 0;
        }
    }

    /// A segment is read from its begin on, so that only now it is known what it has.
    fn end_segment(&mut self) {
        self.0.retain(|_, seen| !seen.is_enough());
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}
