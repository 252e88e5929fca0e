//! What all partitions of a data directory share: the database, the budgets, the failpoints. It outlives the store while a partition's handle
//! lives, and so does the directory's lock.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use model::TopicIdPartition;
use parking_lot::Mutex;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, Direction, InfoLogger, IteratorMode, LogLevel, Options, ReadOptions, ReadTier, WriteBatch,
    WriteOptions,
};

use crate::ballast::Ballast;
use crate::journal::Journal;
use crate::keys::{Family, prefix_end};
use crate::layout;
use crate::recovery::pass;
use crate::retention::removals::Removals;
use crate::segment::HandleCache;
use crate::sequence_mark::SequenceMark;
use crate::space::SpaceWaits;
use crate::tail::TailBudget;
use crate::view::Span;
use crate::{Failpoints, OpenError, StorageError, StoreOptions};

/// A key with its value.
pub(crate) type Entry = (Box<[u8]>, Box<[u8]>);

/// More keys than this are dropped by one range tombstone, fewer one by one (many small range tombstones slow every read down).
const DELETE_ONE_BY_ONE_MAX: usize = 1_024;

/// RocksDB's write buffers until the next open if this one finds the disk full.
const SHORT_WRITE_BUFFER_BYTES: usize = 1 << 20;

/// So much RocksDB takes ahead for its list of files.
const MANIFEST_AHEAD_BYTES: usize = 64 << 10;

pub(crate) struct Engine {
    db: DB,
    /// None where nothing is written.
    mark: Option<SequenceMark>,
    pub(crate) options: StoreOptions,
    pub(crate) partitions_directory: PathBuf,
    /// The id of this boot of the operating system, all zero if there is none. Bytes that were written under it are in the page cache.
    pub(crate) boot: [u8; 16],
    pub(crate) tails: TailBudget,
    pub(crate) handles: HandleCache,
    /// Who waits for space.
    waits: SpaceWaits,
    /// What is held for an open on a full disk.
    pub(crate) ballast: Ballast,
    /// What is to be unlinked later.
    pub(crate) removals: Removals,
    /// The list of complete segments of the logs that have none.
    pub(crate) no_segments: Arc<Vec<Span>>,
    /// Bytes of all partitions that no sync was asked for yet.
    pub(crate) unsynced_bytes: AtomicU64,
    /// With `klamm.durability=group`, once the store is open.
    pub(crate) journal: OnceLock<Journal>,
    /// Held while rows of partitions are gathered and written, so that no truncation comes between and rows would lead the bytes. Taken before
    /// any partition's state.
    pub(crate) index_lock: Mutex<()>,
    /// A recovery has perhaps taken rows back that led the bytes, and that is not on the disk yet.
    owes_sync: AtomicBool,
    /// Dropped last: the lock on the directory.
    _claim: layout::Claim,
}

/// How many descriptors the process may have.
fn descriptors_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

impl Engine {
    pub(crate) fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let claim = layout::Claim(layout::claim(&options.directory)?);
        let ballast = Ballast::release_if_short(&options);
        let partitions_directory = options.directory.join("partitions");
        std::fs::create_dir_all(&partitions_directory).map_err(|source| OpenError::Unreadable {
            action: "create",
            path: partitions_directory.clone(),
            source,
        })?;
        let (mark, expected) = SequenceMark::open(&options.directory).map_err(|source| OpenError::Unreadable {
            action: "read the sequence number of the index in",
            path: options.directory.clone(),
            source,
        })?;
        // With a mark there is an index: an empty one must not take its place.
        let may_create = expected.is_none();
        let db = open_database(&options, Access::Write { may_create, is_disk_short: ballast.was_short() })
            .map_err(|error| unopened(&options, error))?;
        let found = db.latest_sequence_number();
        if let Some(expected) = expected.filter(|expected| found < *expected) {
            return Err(OpenError::IndexLost { path: options.directory, mark: mark.path, found, expected });
        }
        Ok(Self::new(options, (claim, ballast), partitions_directory, db, Some(mark)))
    }

    /// An engine for looking: nothing in the directory changes, and a write is refused by RocksDB. `claim` holds the directory.
    pub(crate) fn look(options: StoreOptions, claim: layout::Claim) -> Result<Self, OpenError> {
        let unreadable =
            |source| OpenError::Unreadable { action: "read the sequence number of the index in", path: options.directory.clone(), source };
        let (mark, expected) = SequenceMark::look(&options.directory).map_err(unreadable)?;
        let db = open_database(&options, Access::Read).map_err(|error| unopened(&options, error))?;
        let found = db.latest_sequence_number();
        if let Some(expected) = expected.filter(|expected| found < *expected) {
            return Err(OpenError::IndexLost { path: options.directory, mark, found, expected });
        }
        let partitions_directory = options.directory.join("partitions");
        let ballast = Ballast::left_alone(&options);
        Ok(Self::new(options, (claim, ballast), partitions_directory, db, None))
    }

    fn new(
        options: StoreOptions,
        (claim, ballast): (layout::Claim, Ballast),
        partitions_directory: PathBuf,
        db: DB,
        mark: Option<SequenceMark>,
    ) -> Self {
        Self {
            db,
            mark,
            partitions_directory,
            boot: boot_id(),
            tails: TailBudget::new(options.tail_bytes_total),
            handles: HandleCache::new(options.open_segments_max.min(descriptors_max() / 2)),
            waits: SpaceWaits::default(),
            ballast,
            removals: Removals::default(),
            no_segments: Arc::default(),
            unsynced_bytes: AtomicU64::new(0),
            journal: OnceLock::new(),
            index_lock: Mutex::new(()),
            owes_sync: AtomicBool::new(false),
            options,
            _claim: claim,
        }
    }

    pub(crate) fn failpoints(&self) -> &Failpoints {
        &self.options.failpoints
    }

    /// Whether rows and bytes written under `boot` are all still there, even those that never reached the disk.
    pub(crate) fn is_same_boot(&self, boot: [u8; 16]) -> bool {
        boot == self.boot && boot != [0; 16]
    }

    pub(crate) fn partition_directory(&self, id: TopicIdPartition) -> PathBuf {
        self.partitions_directory.join(id.to_string())
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, StorageError> {
        self.db.cf_handle(family.name()).ok_or(StorageError::UnreadableRow { family: family.name() })
    }

    /// One of RocksDB's own figures about a family.
    pub(crate) fn property(&self, family: Family, name: &str) -> Option<u64> {
        self.db.property_int_value_cf(self.family(family).ok()?, name).ok().flatten()
    }

    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.family(family)?, key)?)
    }

    /// Reads a row and decodes it.
    pub(crate) fn row<T>(
        &self,
        name: &'static str,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, StorageError> {
        let Some(value) = self.db.get_pinned_cf(self.family(Family::Default)?, key)? else { return Ok(None) };
        decode(&value).map(Some).ok_or(StorageError::UnreadableRow { family: name })
    }

    /// Rows with `from <= key < end`, in order, until `each` says `false`.
    pub(crate) fn scan(
        &self,
        family: Family,
        from: &[u8],
        end: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        for row in self.db.iterator_cf_opt(self.family(family)?, options, IteratorMode::From(from, Direction::Forward)) {
            let (key, value) = row?;
            if !each(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// The last row with `prefix` whose key is not above `key`.
    pub(crate) fn last_at_or_before(&self, family: Family, prefix: &[u8], key: &[u8]) -> Result<Option<Entry>, StorageError> {
        self.last_by(ReadOptions::default(), family, prefix, key)
    }

    /// The same without waiting for the disk; `None` too if that would be needed.
    pub(crate) fn last_cached_at_or_before(&self, family: Family, prefix: &[u8], key: &[u8]) -> Option<Entry> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        self.last_by(options, family, prefix, key).ok().flatten()
    }

    fn last_by(&self, mut options: ReadOptions, family: Family, prefix: &[u8], key: &[u8]) -> Result<Option<Entry>, StorageError> {
        options.set_iterate_lower_bound(prefix);
        let mut rows = self.db.iterator_cf_opt(self.family(family)?, options, IteratorMode::From(key, Direction::Reverse));
        Ok(rows.next().transpose()?.filter(|(key, _)| key.starts_with(prefix)))
    }

    pub(crate) fn put(&self, batch: &mut WriteBatch, family: Family, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        batch.put_cf(self.family(family)?, key, value);
        Ok(())
    }

    pub(crate) fn delete(&self, batch: &mut WriteBatch, family: Family, key: &[u8]) -> Result<(), StorageError> {
        batch.delete_cf(self.family(family)?, key);
        Ok(())
    }

    /// Deletes the rows with `from <= key < end`. Returns how many there were at least.
    pub(crate) fn delete_range(&self, batch: &mut WriteBatch, family: Family, from: &[u8], end: &[u8]) -> Result<usize, StorageError> {
        let mut keys = Vec::new();
        self.scan(family, from, end, |key, _| {
            keys.push(key.to_vec());
            Ok(keys.len() <= DELETE_ONE_BY_ONE_MAX)
        })?;
        let handle = self.family(family)?;
        if keys.len() > DELETE_ONE_BY_ONE_MAX {
            batch.delete_range_cf(handle, from, end);
        } else {
            for key in &keys {
                batch.delete_cf(handle, key);
            }
        }
        Ok(keys.len())
    }

    pub(crate) fn delete_prefix(&self, batch: &mut WriteBatch, family: Family, prefix: &[u8]) -> Result<usize, StorageError> {
        self.delete_range(batch, family, prefix, &prefix_end(prefix))
    }

    /// Hands the batch to the operating system: it survives the process, not the power.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), StorageError> {
        self.write_when_there_is_space(&batch, &WriteOptions::default())
    }

    /// Writes; on a full disk it waits until RocksDB has got over it.
    ///
    /// That is no second try of a sync that failed: of a write without space nothing counts, and RocksDB goes on by itself with what it has in memory in new
    /// table files, and a new log.
    fn write_when_there_is_space(&self, batch: &WriteBatch, options: &WriteOptions) -> Result<(), StorageError> {
        let mut waits = self.waits.begin(&self.options.directory);
        loop {
            // The binding takes the batch and gives none back, so that a second try needs a copy, and whether it will be needed nobody knows before: free
            // space that was there a moment ago may have been taken at once. No record is in a batch: it is some rows, one of 100 to 200 bytes for 64 KiB
            // of records, beside which RocksDB's own copies (its log's buffer, its write buffer) are two more.
            let written = self.db.write_opt(WriteBatch::from_data(batch.data()), options).map_err(StorageError::from);
            match written {
                Err(error) if error.is_out_of_space() && waits.wait() => {}
                other => return other,
            }
        }
    }

    /// From now on nobody waits for space, as the store is to be closed.
    pub(crate) fn end_waits(&self) {
        self.waits.end();
    }

    /// To be called by a recovery after its write, which perhaps takes back rows of bytes that are not there.
    pub(crate) fn owe_sync(&self) {
        self.owes_sync.store(true, Ordering::Release);
    }

    /// Whether the next append waits for a sync.
    pub(crate) fn owes_sync(&self) -> bool {
        self.owes_sync.load(Ordering::Acquire)
    }

    /// Brings what recoveries took back to the disk. IMPORTANT: before anything is appended: rows that came back at the next power cut would speak of other
    /// bytes than those that are there by then, and call a producer's next batch one that is known, or out of order.
    pub(crate) fn pay_sync(&self) -> Result<(), StorageError> {
        // Only the committer asks, so that nobody appends meanwhile.
        if !self.owes_sync() {
            return Ok(());
        }
        pass(self, "recovery.before_sync", &self.options.directory)?;
        // Left out by a test that proves that it would be noticed.
        if !self.failpoints().skips("recovery.before_sync") {
            // First, so that a recovery that comes meanwhile is not forgotten.
            self.owes_sync.store(false, Ordering::Release);
            if let Err(error) = self.db.flush_wal(true) {
                self.owe_sync();
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Returns when the batch (and all before it) is on the disk.
    pub(crate) fn write_synced(&self, batch: WriteBatch) -> Result<(), StorageError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        // What others write meanwhile may lie behind this write and not be on the disk, so the number is taken before.
        let reached = self.db.latest_sequence_number().saturating_add(u64::try_from(batch.len()).unwrap_or(0));
        self.write_when_there_is_space(&batch, &options)?;
        // An older mark is as true, so that a full disk is no reason to fail.
        let _older = self.mark.as_ref().map(|mark| mark.note(reached));
        Ok(())
    }
}

/// What a database is opened for.
#[derive(Clone, Copy)]
enum Access {
    /// One that may be there or not, or that must be there.
    Write { may_create: bool, is_disk_short: bool },
    /// No file is made, changed or removed.
    Read,
}

fn open_database(options: &StoreOptions, access: Access) -> Result<DB, rocksdb::Error> {
    let (may_create, is_disk_short) = match access {
        Access::Write { may_create, is_disk_short } => (may_create, is_disk_short),
        Access::Read => (false, false),
    };
    // RocksDB takes the blocks of a log ahead, some more than a buffer's.
    let write_buffer_bytes =
        if is_disk_short { options.write_buffer_bytes.min(SHORT_WRITE_BUFFER_BYTES) } else { options.write_buffer_bytes };
    let mut database = Options::default();
    database.create_if_missing(may_create);
    // A family that is not there any more is lost, not missing.
    database.create_missing_column_families(may_create);
    database.set_max_background_jobs(2);
    database.set_max_total_wal_size(64 << 20);
    database.set_track_and_verify_wals_in_manifest(true);
    database.set_paranoid_checks(true);
    database.set_manifest_preallocation_size(MANIFEST_AHEAD_BYTES);
    database.set_keep_log_file_num(1);
    database.set_max_open_files(256);
    // Threads that only wake up to write statistics would keep an idle broker busy.
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
    database.set_skip_stats_update_on_db_open(true);
    // No LOG file: what matters comes back as an error of the call.
    database.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
    let cache = rocksdb::Cache::new_lru_cache(options.cache_bytes);
    let families = Family::ALL.map(|family| {
        let mut blocks = rocksdb::BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        let mut options_of_family = Options::default();
        options_of_family.set_compression_type(rocksdb::DBCompressionType::None);
        options_of_family.set_write_buffer_size(write_buffer_bytes);
        options_of_family.set_block_based_table_factory(&blocks);
        ColumnFamilyDescriptor::new(family.name(), options_of_family)
    });
    let path = options.directory.join("index");
    match access {
        Access::Write { .. } => DB::open_cf_descriptors(&database, path, families),
        Access::Read => DB::open_cf_descriptors_read_only(&database, path, families, false),
    }
}

/// Why the index was not opened; RocksDB's words for a lost family would help nobody.
fn unopened(options: &StoreOptions, error: rocksdb::Error) -> OpenError {
    let path = options.directory.clone();
    let found = DB::list_cf(&Options::default(), path.join("index")).ok();
    let lost = found.and_then(|found| Family::ALL.into_iter().find(|family| !found.iter().any(|name| name == family.name())));
    match lost {
        Some(family) => OpenError::FamilyLost { path, family: family.name() },
        None => OpenError::Index { path, source: StorageError::Index(error) },
    }
}

fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    uuid::Uuid::parse_str(text.trim()).map(uuid::Uuid::into_bytes).unwrap_or_default()
}
