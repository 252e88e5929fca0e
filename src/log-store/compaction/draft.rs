//! The file that a compaction writes: batches in order, with the index rows that they will have.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use model::Offset;
use record_batch::{BatchHeader, HEADER_BYTES};

use crate::StorageError;
use crate::block::OpenBlock;
use crate::engine::Engine;
use crate::keys;
use crate::recovery::pass;
use crate::segment::sync_directory;

/// So much is written at once.
const WRITE_BYTES: usize = 256 << 10;

/// A file that does not count yet. Unless it was finished it is removed when it is dropped.
pub(super) struct Draft {
    pub(super) base_offset: Offset,
    pub(super) generation: u32,
    pub(super) path: PathBuf,
    pub(super) length: u64,
    pub(super) blocks: Vec<keys::index::Block>,
    /// The markers that are not in it any more.
    pub(super) dropped_markers: Vec<Offset>,
    file: File,
    buffer: Vec<u8>,
    block: OpenBlock,
    interval_bytes: usize,
    piece_bytes: u32,
    is_kept: bool,
}

impl Draft {
    /// Makes the file; one that an earlier attempt left there is written anew.
    pub(super) fn create(engine: &Engine, path: PathBuf, base_offset: Offset, generation: u32) -> Result<Self, StorageError> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| StorageError::io("create cleaned segment", &path, error))?;
        let block = OpenBlock::new(base_offset, generation, base_offset, 0);
        let (interval_bytes, piece_bytes) = (engine.options.index_interval_bytes, engine.options.piece_bytes());
        let (buffer, blocks, dropped_markers) = (Vec::with_capacity(WRITE_BYTES), Vec::new(), Vec::new());
        let draft = Self {
            base_offset,
            generation,
            path,
            length: 0,
            blocks,
            dropped_markers,
            file,
            buffer,
            block,
            interval_bytes,
            piece_bytes,
            is_kept: false,
        };
        pass(engine, "compaction.after_create", &draft.path)?;
        Ok(draft)
    }

    /// Adds a batch whose checksum is right.
    pub(super) fn push(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<(), StorageError> {
        let (head, tail) = bytes.split_at_checked(HEADER_BYTES).unwrap_or((bytes, &[]));
        self.block.add(header, head, tail, self.piece_bytes);
        if self.block.length() >= self.interval_bytes {
            self.blocks.push(self.block.close());
        }
        self.length += u64::try_from(bytes.len()).unwrap_or(0);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StorageError> {
        self.file.write_all(&self.buffer).map_err(|error| StorageError::io("write cleaned segment", &self.path, error))?;
        self.buffer.clear();
        Ok(())
    }

    /// Brings it to the disk, name and all. It is as old as what it stands for, since a segment without timestamps is as old as its file.
    pub(super) fn finish(&mut self, engine: &Engine, modified: SystemTime) -> Result<(), StorageError> {
        if !self.block.is_empty() {
            self.blocks.push(self.block.close());
        }
        self.write()?;
        self.file.set_modified(modified).map_err(|error| StorageError::io("date cleaned segment", &self.path, error))?;
        pass(engine, "compaction.before_sync", &self.path)?;
        // Left out by a test that proves that it would be noticed.
        if engine.failpoints().skips("compaction.before_sync") {
            return Ok(());
        }
        self.file.sync_data().map_err(|error| StorageError::io("sync cleaned segment", &self.path, error))?;
        // IMPORTANT: the partition's own name too. The row that is next speaks of it, and nobody else may have synced it yet.
        let directories = self.path.ancestors().skip(1).take_while(|directory| directory.starts_with(&engine.partitions_directory));
        for directory in directories {
            sync_directory(directory).map_err(|error| StorageError::io("sync", directory, error))?;
        }
        Ok(())
    }

    /// From now on the file must stay: a row that names it may be on the disk.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed now is removed at the next open.
            let _left_for_the_next_open = std::fs::remove_file(&self.path);
        }
    }
}
