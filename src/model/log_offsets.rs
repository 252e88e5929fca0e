//! The four offsets of a partition and the order that always holds between them.

use crate::Offset;

/// log start <= last stable <= high watermark <= log end, checked after each change (the check is four comparisons, so it is never off).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogOffsets {
    log_start: Offset,
    last_stable: Offset,
    high_watermark: Offset,
    log_end: Offset,
}

impl LogOffsets {
    /// The offsets of a log as it lies on disk: nothing is known to be replicated beyond its start.
    #[must_use]
    pub fn opened(log_start: Offset, log_end: Offset) -> Self {
        Self { log_start, last_stable: log_start, high_watermark: log_start, log_end }.validated()
    }

    /// The first offset that can be read.
    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The end for read_committed consumers.
    #[must_use]
    pub const fn last_stable(&self) -> Offset {
        self.last_stable
    }

    /// The end for consumers: all in-sync replicas have what lies before it.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The next offset to be written.
    #[must_use]
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Moves the log end forward. A lower value changes nothing.
    pub fn advance_log_end(&mut self, to: Offset) {
        self.log_end = self.log_end.max(to);
        *self = self.validated();
    }

    /// Moves the high watermark forward, and with it the last stable offset up to what `first_unstable` says is unstable at that high watermark.
    /// Returns whether anything moved.
    pub fn advance_high_watermark(&mut self, to: Offset, first_unstable: impl FnOnce(Offset) -> Option<Offset>) -> bool {
        let before = *self;
        self.high_watermark = self.high_watermark.max(to.min(self.log_end));
        let stable = first_unstable(self.high_watermark).map_or(self.high_watermark, |unstable| unstable.min(self.high_watermark));
        self.last_stable = self.last_stable.max(stable);
        *self = self.validated();
        before != *self
    }

    /// Moves the log start forward (DeleteRecords, retention); the later offsets follow where they must.
    pub fn advance_log_start(&mut self, to: Offset) {
        self.log_start = self.log_start.max(to);
        self.log_end = self.log_end.max(self.log_start);
        self.high_watermark = self.high_watermark.max(self.log_start);
        self.last_stable = self.last_stable.max(self.log_start);
        *self = self.validated();
    }

    /// Takes the ends of a follower's log that was cut at its end, or dropped and begun anew. Returns whether that took something away that was
    /// known to be replicated, which only an unclean election can bring about; otherwise the high watermark stays.
    pub fn cut(&mut self, log_start: Offset, log_end: Offset) -> bool {
        let known = self.high_watermark;
        self.log_end = log_end.max(log_start);
        self.log_start = log_start;
        self.high_watermark = self.high_watermark.min(self.log_end).max(log_start);
        self.last_stable = self.last_stable.min(self.high_watermark).max(log_start);
        *self = self.validated();
        log_end < known
    }

    fn validated(self) -> Self {
        assert!(
            self.log_start <= self.last_stable && self.last_stable <= self.high_watermark && self.high_watermark <= self.log_end,
            "log offsets out of order: {self:?}"
        );
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new_or_zero(value)
    }

    #[test]
    fn the_high_watermark_never_passes_the_log_end_and_never_goes_back() {
        let mut offsets = LogOffsets::opened(offset(0), offset(10));
        assert!(offsets.advance_high_watermark(offset(20), |_| None));
        assert_eq!(offsets.high_watermark(), offset(10));
        assert!(!offsets.advance_high_watermark(offset(5), |_| None));
        assert_eq!(offsets.high_watermark(), offset(10));
    }

    #[test]
    fn an_open_transaction_holds_the_last_stable_offset() {
        let mut offsets = LogOffsets::opened(offset(0), offset(10));
        offsets.advance_high_watermark(offset(10), |_| Some(offset(4)));
        assert_eq!(offsets.last_stable(), offset(4));
    }

    #[test]
    fn a_cut_takes_the_log_end_back_and_the_high_watermark_only_where_it_must() {
        let mut offsets = LogOffsets::opened(offset(0), offset(10));
        offsets.advance_high_watermark(offset(6), |_| None);
        assert!(!offsets.cut(offset(0), offset(8)));
        assert_eq!((offsets.high_watermark(), offsets.log_end()), (offset(6), offset(8)));
        assert!(offsets.cut(offset(0), offset(5)));
        assert_eq!((offsets.last_stable(), offsets.high_watermark(), offsets.log_end()), (offset(5), offset(5), offset(5)));
        assert!(!offsets.cut(offset(20), offset(20)), "begun anew where the leader begins");
        assert_eq!((offsets.log_start(), offsets.last_stable(), offsets.high_watermark()), (offset(20), offset(20), offset(20)));
        assert!(offsets.cut(offset(3), offset(3)));
        assert_eq!((offsets.log_start(), offsets.last_stable(), offsets.high_watermark()), (offset(3), offset(3), offset(3)));
    }

    #[test]
    fn moving_the_log_start_pulls_the_later_offsets_along() {
        let mut offsets = LogOffsets::opened(offset(0), offset(10));
        offsets.advance_log_start(offset(6));
        assert_eq!((offsets.log_start(), offsets.high_watermark()), (offset(6), offset(6)));
    }
}
