//! Where each leader epoch of a partition begins: what followers and consumers ask to find out where logs part (KIP-101, KIP-320).
//!
//! In Kafka: `LeaderEpochFileCache`.

use model::{LeaderEpoch, Offset};

/// The epochs of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderEpochs {
    /// Epochs that have a batch, ascending in both parts.
    entries: Vec<(LeaderEpoch, Offset)>,
    /// How many of `entries`, from the front, have a row.
    committed: usize,
    /// Whether the first entry's row has another start.
    first_moved: bool,
    /// Epochs that have a row but must not.
    dropped: Vec<LeaderEpoch>,
    /// The newest epoch while no batch of it is there, and the log end at which it began.
    assigned: Option<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    pub(crate) fn from_rows(entries: Vec<(LeaderEpoch, Offset)>) -> Self {
        Self { committed: entries.len(), entries, ..Self::default() }
    }

    /// The newest epoch, with a batch or without.
    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.assigned.or(self.entries.last().copied()).map(|(epoch, _)| epoch)
    }

    /// Begins an epoch at the log end, before it has a batch. An older one changes nothing.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, log_end: Offset) {
        if self.latest().is_none_or(|latest| epoch > latest) {
            self.assigned = Some((epoch, log_end));
        }
    }

    /// Forgets the newest epoch if it has no batch.
    pub(crate) fn forget_assigned(&mut self) {
        self.assigned = None;
    }

    /// The newest epoch that has a batch.
    pub(crate) fn latest_with_batch(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// Whether the newest epoch has no batch yet.
    pub(crate) fn is_assigned_only(&self) -> bool {
        self.assigned.is_some()
    }

    /// Takes note of a batch.
    pub(crate) fn record(&mut self, epoch: LeaderEpoch, base_offset: Offset) {
        if self.entries.last().is_none_or(|(last, _)| epoch > *last) {
            self.entries.push((epoch, base_offset));
            if self.assigned.is_some_and(|(assigned, _)| assigned <= epoch) {
                self.assigned = None;
            }
        }
    }

    /// Drops what begins at or beyond `end`.
    pub(crate) fn cut(&mut self, end: Offset) {
        let keep = self.entries.partition_point(|(_, start)| *start < end);
        let with_row = self.entries.get(keep..self.committed).unwrap_or_default();
        self.dropped.extend(with_row.iter().map(|(epoch, _)| *epoch));
        self.entries.truncate(keep);
        self.committed = self.committed.min(keep);
        self.first_moved &= keep > 0;
        self.assigned = None;
    }

    /// Lets the log begin there: the epoch of that offset begins with it, and those before are forgotten (`truncateFromStartAsyncFlush`).
    pub(crate) fn begin_at(&mut self, log_start: Offset) {
        let Some(first) = self.entries.partition_point(|(_, start)| *start <= log_start).checked_sub(1) else { return };
        let gone = self.entries.drain(..first).take(self.committed).map(|(epoch, _)| epoch);
        self.dropped.extend(gone);
        self.committed = self.committed.saturating_sub(first);
        if let Some((_, start)) = self.entries.first_mut()
            && *start != log_start
        {
            *start = log_start;
            self.first_moved = self.committed > 0;
        }
        // The newest epoch without a batch begins no earlier than the log.
        if let Some((_, start)) = &mut self.assigned {
            *start = (*start).max(log_start);
        }
    }

    /// The largest epoch that is not above the asked one and the offset where it ends. An epoch before the first known one ends where that
    /// begins; one above all known is unknown.
    pub(crate) fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if self.latest() == Some(epoch) {
            return Some((epoch, log_end));
        }
        let all = || self.entries.iter().copied().chain(self.assigned);
        let (_, next_start) = all().find(|(known, _)| *known > epoch)?;
        let floor = all().take_while(|(known, _)| *known <= epoch).last();
        Some((floor.map_or(epoch, |(known, _)| known), next_start))
    }

    /// The epoch of the batch at an offset; for the log's end, the newest epoch.
    pub(crate) fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.entries.iter().copied().chain(self.assigned).take_while(|(_, start)| *start <= offset).last().map(|(epoch, _)| epoch)
    }

    /// Rows to write and rows to remove at an index commit; afterwards they count as done.
    pub(crate) fn take_dirty(&mut self) -> (Vec<(LeaderEpoch, Offset)>, Vec<LeaderEpoch>) {
        let mut write = self.entries.get(self.committed..).unwrap_or_default().to_vec();
        if std::mem::take(&mut self.first_moved) {
            write.extend(self.entries.first());
        }
        self.committed = self.entries.len();
        let mut drop = std::mem::take(&mut self.dropped);
        drop.retain(|epoch| !write.iter().any(|(written, _)| written == epoch));
        (write, drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(value: i32) -> LeaderEpoch {
        LeaderEpoch::new_or_zero(value)
    }

    fn offset(value: i64) -> Offset {
        Offset::new_or_zero(value)
    }

    #[test]
    fn an_epochs_end_is_the_next_ones_start_and_the_newest_ends_with_the_log() {
        let mut epochs = LeaderEpochs::default();
        assert_eq!(epochs.end_offset_for(epoch(0), offset(0)), None);
        epochs.record(epoch(2), offset(0));
        epochs.record(epoch(4), offset(10));
        assert_eq!(epochs.end_offset_for(epoch(1), offset(20)), Some((epoch(1), offset(0))));
        assert_eq!(epochs.end_offset_for(epoch(2), offset(20)), Some((epoch(2), offset(10))));
        assert_eq!(epochs.end_offset_for(epoch(3), offset(20)), Some((epoch(2), offset(10))));
        assert_eq!(epochs.end_offset_for(epoch(4), offset(20)), Some((epoch(4), offset(20))));
        assert_eq!(epochs.end_offset_for(epoch(5), offset(20)), None);
    }

    #[test]
    fn an_epoch_without_a_batch_is_known_but_has_no_row() {
        let mut epochs = LeaderEpochs::default();
        epochs.record(epoch(1), offset(0));
        epochs.assign(epoch(3), offset(5));
        assert_eq!(epochs.end_offset_for(epoch(3), offset(5)), Some((epoch(3), offset(5))));
        assert_eq!(epochs.end_offset_for(epoch(1), offset(5)), Some((epoch(1), offset(5))));
        assert_eq!(epochs.take_dirty().0, [(epoch(1), offset(0))]);
        epochs.record(epoch(3), offset(5));
        assert_eq!(epochs.take_dirty().0, [(epoch(3), offset(5))]);
    }

    #[test]
    fn the_epoch_in_which_the_log_begins_begins_with_it_and_those_before_are_gone() {
        let rows = vec![(epoch(1), offset(0)), (epoch(2), offset(10)), (epoch(5), offset(20))];
        let mut epochs = LeaderEpochs::from_rows(rows.clone());
        epochs.begin_at(offset(15));
        assert_eq!(epochs.end_offset_for(epoch(1), offset(30)), Some((epoch(1), offset(15))));
        assert_eq!(epochs.end_offset_for(epoch(2), offset(30)), Some((epoch(2), offset(20))));
        assert_eq!((epochs.epoch_of(offset(14)), epochs.epoch_of(offset(15))), (None, Some(epoch(2))));
        assert_eq!(epochs.take_dirty(), (vec![(epoch(2), offset(15))], vec![epoch(1)]));
        assert_eq!(epochs.take_dirty(), (vec![], vec![]));
        // The whole log is gone.
        epochs.begin_at(offset(30));
        assert_eq!(epochs.end_offset_for(epoch(5), offset(30)), Some((epoch(5), offset(30))));
        assert_eq!(epochs.take_dirty(), (vec![(epoch(5), offset(30))], vec![epoch(2)]));
        // Where the next epoch begins, the one before is gone; before the first one nothing changes.
        let mut epochs = LeaderEpochs::from_rows(rows);
        epochs.begin_at(offset(20));
        assert_eq!(epochs.take_dirty(), (vec![], vec![epoch(1), epoch(2)]));
        let mut epochs = LeaderEpochs::from_rows(vec![(epoch(1), offset(10))]);
        epochs.begin_at(offset(5));
        assert_eq!(epochs.take_dirty(), (vec![], vec![]));
    }

    #[test]
    fn an_epoch_without_a_row_that_the_log_start_moves_is_written_once() {
        let mut epochs = LeaderEpochs::default();
        epochs.record(epoch(1), offset(0));
        epochs.record(epoch(2), offset(10));
        epochs.begin_at(offset(15));
        assert_eq!(epochs.take_dirty(), (vec![(epoch(2), offset(15))], vec![]));
        epochs.begin_at(offset(16));
        epochs.cut(offset(16));
        assert_eq!(epochs.take_dirty(), (vec![], vec![epoch(2)]));
    }

    #[test]
    fn cut_drops_later_epochs_and_their_rows() {
        let mut epochs = LeaderEpochs::from_rows(vec![(epoch(1), offset(0)), (epoch(2), offset(10))]);
        epochs.cut(offset(10));
        assert_eq!(epochs.take_dirty(), (vec![], vec![epoch(2)]));
        assert_eq!(epochs.latest(), Some(epoch(1)));
    }
}
