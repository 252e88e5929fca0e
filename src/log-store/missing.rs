//! Files that are not there though the index has rows of them: without this look, a read would go on with the next segment as if the records
//! between had been compacted away.

use std::path::Path;

use model::{Offset, TopicIdPartition};

use crate::StorageError;
use crate::engine::Engine;
use crate::keys::{Family, index};
use crate::segment;
use crate::view::Span;

/// Looks at the rows around the ends of the segments. A missing end counts only before `durable_end`: behind it a power cut may have taken the file.
pub(crate) fn check(
    engine: &Engine,
    id: TopicIdPartition,
    directory: &Path,
    segments: &[Span],
    log_start: Offset,
    durable_end: Offset,
) -> Result<(), StorageError> {
    let last = |at: Offset| -> Result<Option<index::Row>, StorageError> {
        let row = engine.last_at_or_before(Family::Index, &index::prefix(id), &index::key(id, at))?;
        let decode =
            |(key, value): crate::engine::Entry| index::Row::decode(&key, &value).ok_or(StorageError::UnreadableRow { family: "index" });
        row.map(decode).transpose()
    };
    let missing = |row: index::Row| StorageError::MissingSegment {
        partition: id,
        path: directory.join(segment::file_name(row.segment_base, row.generation)),
    };
    // Before each segment the newest row is of the segment before, or of an older one if rows lag; before the first one there is none that counts.
    let mut before = None;
    for span in segments {
        let base = span.segment.base_offset;
        if let Some(below) = base.get().checked_sub(1).and_then(Offset::new)
            && let Some(row) = last(below)?
        {
            let is_of_a_file = before.is_some_and(|before| row.segment_base <= before);
            if !is_of_a_file && row.end_offset > log_start {
                return Err(missing(row));
            }
        }
        before = Some(base);
    }
    match last(Offset::MAX)? {
        Some(row)
            if before.is_none_or(|before| row.segment_base > before) && row.end_offset <= durable_end && row.end_offset > log_start =>
        {
            Err(missing(row))
        }
        _ => Ok(()),
    }
}
