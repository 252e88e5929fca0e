//! What readers see of a partition: which segments there are and how far their bytes go. It is replaced as a whole, so length and log end are
//! always in step.

use std::sync::Arc;

use model::Offset;

use crate::segment::Segment;

/// A segment and how much of it counts.
#[derive(Clone)]
pub(crate) struct Span {
    pub(crate) segment: Arc<Segment>,
    /// Bytes; what the file may have beyond is not part of the log.
    pub(crate) length: u64,
    /// The offset after its last record.
    pub(crate) end_offset: Offset,
}

/// Where the bytes begin that have no committed index row. They were all written or scanned in this life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unindexed {
    pub(crate) segment_base: Offset,
    pub(crate) offset: Offset,
    pub(crate) position: u64,
}

/// A partition's segments at one moment.
#[derive(Clone)]
pub(crate) struct View {
    /// Complete segments in order.
    pub(crate) sealed: Arc<Vec<Span>>,
    /// The one that is appended to; none until the first append.
    pub(crate) active: Option<Span>,
    pub(crate) log_end: Offset,
    pub(crate) unindexed: Unindexed,
}

impl View {
    pub(crate) fn spans(&self) -> impl Iterator<Item = &Span> {
        self.sealed.iter().chain(self.active.as_ref())
    }

    /// The segment with the first record at or after `offset`.
    pub(crate) fn span_at(&self, offset: Offset) -> Option<&Span> {
        if let Some(active) = self.active.as_ref().filter(|active| active.segment.base_offset <= offset) {
            return Some(active);
        }
        let index = self.sealed.partition_point(|span| span.end_offset <= offset);
        self.sealed.get(index).or(self.active.as_ref())
    }

    /// For each segment where the next one begins; for the last one the log's end.
    pub(crate) fn uppers(&self) -> impl Iterator<Item = Offset> {
        self.spans().skip(1).map(|span| span.segment.base_offset).chain([self.log_end])
    }

    /// Whether appends go to the segment.
    pub(crate) fn is_active(&self, span: &Span) -> bool {
        self.active.as_ref().is_some_and(|active| Arc::ptr_eq(&active.segment, &span.segment))
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.spans().map(|span| span.length).sum()
    }
}
