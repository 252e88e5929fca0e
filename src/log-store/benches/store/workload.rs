//! What is written and read, and the store's side of it.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use log_store::{AppendRequest, LogConfig, PartitionLog, Store, StoreOptions};
use model::{LeaderEpoch, Offset, PartitionIndex, Piece, Timestamp, TopicId, TopicIdPartition};
use record_batch::{AppendOrigin, BatchBuilder, CheckedBatch};
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

use crate::measure::cpu_seconds;

const NOW: i64 = 1_700_000_000_000;
const BYTES: usize = 256 << 20;
const RANGE_BYTES: usize = 1 << 20;
/// As many bytes are under way at most as some connections have, and as many batches.
const IN_FLIGHT_BYTES: usize = 8 << 20;
const IN_FLIGHT: usize = 256;
/// So many partitions has a request.
const PER_REQUEST: usize = 4;

/// One row of appends.
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) batch_bytes: usize,
    pub(crate) partitions: usize,
    pub(crate) goal: f64,
}

pub(crate) struct Workload {
    /// Different bytes, so that neither side reads them from the nearest cache only.
    batches: Vec<(CheckedBatch, Vec<u8>)>,
    batch_bytes: usize,
    count: usize,
    partitions: usize,
}

fn batch(number: usize, bytes: usize) -> Result<(CheckedBatch, Vec<u8>), Box<dyn Error>> {
    let mut builder = BatchBuilder::new();
    let fill = u8::try_from(number % 251)?;
    builder.append(NOW, None, Some(&vec![fill; bytes.saturating_sub(80)]), &[]);
    let bytes = builder.build();
    Ok((CheckedBatch::from_trusted(bytes.clone())?, bytes.to_vec()))
}

fn open(directory: &TempDir) -> Result<Store, Box<dyn Error>> {
    Ok(Store::open(StoreOptions::new(directory.path()))?)
}

fn partition(store: &Store, number: usize) -> Result<PartitionLog, Box<dyn Error>> {
    let partition = PartitionIndex::new(i32::try_from(number)?).ok_or("a partition's number")?;
    let id = TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(7)), partition };
    Ok(store.open_partition(id, LogConfig::default())?)
}

/// Appends under way; each answer makes room for the next one.
struct Window {
    sender: SyncSender<bool>,
    answers: Receiver<bool>,
    open: usize,
    open_max: usize,
}

impl Window {
    fn new(batch_bytes: usize) -> Self {
        let (sender, answers) = sync_channel(IN_FLIGHT);
        Self { sender, answers, open: 0, open_max: (IN_FLIGHT_BYTES / batch_bytes).clamp(1, IN_FLIGHT) }
    }

    fn enqueue(&mut self, store: &Store, log: &PartitionLog, batch: &CheckedBatch) -> Result<(), Box<dyn Error>> {
        if self.open == self.open_max {
            store.appends().wake_committer();
            self.wait()?;
        }
        let sender = self.sender.clone();
        store.appends().enqueue(AppendRequest {
            log: log.clone(),
            batches: vec![batch.clone()],
            leader_epoch: LeaderEpoch::ZERO,
            log_append_time: None,
            now: Timestamp(NOW),
            origin: AppendOrigin::Client,
            expected_end: None,
            transaction: log_store::TransactionCheck::Unchecked,
            // Who waits for the answers has gone only if the benchmark failed.
            done: Box::new(move |answer| {
                let _gone = sender.send(answer.is_ok());
            }),
        });
        self.open += 1;
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Box<dyn Error>> {
        self.open -= 1;
        if self.answers.recv()? { Ok(()) } else { Err("an append was refused".into()) }
    }

    fn finish(&mut self, store: &Store) -> Result<(), Box<dyn Error>> {
        store.appends().wake_committer();
        while self.open > 0 {
            self.wait()?;
        }
        Ok(())
    }
}

impl Workload {
    pub(crate) fn new(cell: &Cell) -> Result<Self, Box<dyn Error>> {
        // Small batches are fewer bytes: what they cost is their number.
        let bytes = if cell.batch_bytes < 4 << 10 { BYTES / 4 } else { BYTES };
        let different = (16 << 20) / cell.batch_bytes;
        let batches = (0..different).map(|number| batch(number, cell.batch_bytes)).collect::<Result<_, _>>()?;
        Ok(Self { batches, batch_bytes: cell.batch_bytes, count: bytes / cell.batch_bytes, partitions: cell.partitions })
    }

    pub(crate) fn partitions(&self) -> usize {
        self.partitions
    }

    pub(crate) fn gibibytes(&self) -> f64 {
        let bytes: usize = self.batches.iter().cycle().take(self.count).map(|(_, bytes)| bytes.len()).sum();
        bytes as f64 / f64::from(1 << 30)
    }

    /// Place and bytes of each batch, in order.
    pub(crate) fn plan(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.batches.iter().cycle().take(self.count).enumerate().map(|(number, (_, bytes))| (number % self.partitions, &bytes[..]))
    }

    /// CPU seconds for each GiB, with the index rows of everything.
    pub(crate) fn append_to_store(&self) -> Result<f64, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let store = open(&directory)?;
        let logs = (0..self.partitions).map(|number| partition(&store, number)).collect::<Result<Vec<_>, _>>()?;
        let mut window = Window::new(self.batch_bytes);
        // Both sides have their files before the clock runs.
        for (log, (batch, _)) in logs.iter().zip(self.batches.iter().cycle()) {
            window.enqueue(&store, log, batch)?;
        }
        window.finish(&store)?;
        let began = cpu_seconds();
        for (number, (batch, _)) in self.batches.iter().cycle().take(self.count).enumerate() {
            if let Some(log) = logs.get(number % self.partitions) {
                window.enqueue(&store, log, batch)?;
            }
            if number % PER_REQUEST == PER_REQUEST - 1 {
                store.appends().wake_committer();
            }
        }
        window.finish(&store)?;
        store.flush_index()?;
        Ok((cpu_seconds() - began) / self.gibibytes())
    }
}

/// One log of 16 KiB batches in a single segment.
struct Filled {
    directory: TempDir,
    store: Store,
    log: PartitionLog,
}

impl Filled {
    fn new(bytes: usize) -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let store = open(&directory)?;
        let log = partition(&store, 0)?;
        let mut window = Window::new(16 << 10);
        for number in 0..bytes / (16 << 10) {
            window.enqueue(&store, &log, &batch(number, 16 << 10)?.0)?;
        }
        window.finish(&store)?;
        store.flush_index()?;
        Ok(Self { directory, store, log })
    }

    fn file(&self) -> Result<File, Box<dyn Error>> {
        let partitions = std::fs::read_dir(self.directory.path().join("partitions"))?.collect::<Result<Vec<_>, _>>()?;
        let segments = std::fs::read_dir(partitions.first().ok_or("a partition")?.path())?.collect::<Result<Vec<_>, _>>()?;
        Ok(File::open(segments.first().ok_or("a segment")?.path())?)
    }

    /// The store as the next process finds it after a clean stop.
    fn reopen(self) -> Result<Self, Box<dyn Error>> {
        let Self { directory, store, log } = self;
        store.close()?;
        drop((store, log));
        let store = open(&directory)?;
        let log = partition(&store, 0)?;
        Ok(Self { directory, store, log })
    }
}

pub(crate) struct Reading {
    filled: std::cell::Cell<Option<Filled>>,
}

impl Reading {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self { filled: std::cell::Cell::new(Some(Filled::new(BYTES)?)) })
    }

    pub(crate) fn reopen(&self) -> Result<(), Box<dyn Error>> {
        let filled = self.filled.take().ok_or("the log")?.reopen()?;
        self.filled.set(Some(filled));
        Ok(())
    }

    fn with<T>(&self, read: impl FnOnce(&Filled) -> Result<T, Box<dyn Error>>) -> Result<T, Box<dyn Error>> {
        let filled = self.filled.take().ok_or("the log")?;
        let result = read(&filled);
        self.filled.set(Some(filled));
        result
    }

    pub(crate) fn through_store(&self) -> Result<f64, Box<dyn Error>> {
        self.with(|filled| {
            let mut buffer = vec![0; RANGE_BYTES];
            let end = filled.log.log_end_offset();
            let (mut from, mut total) = (Offset::ZERO, 0);
            let began = cpu_seconds();
            while from < end {
                let range = filled.log.read(from, end, RANGE_BYTES, true)?;
                for piece in &range.pieces {
                    // What is left at the end may be in memory.
                    let Piece::File(piece) = piece else { continue };
                    let target = buffer.get_mut(..piece.length_bytes).ok_or("a smaller range")?;
                    piece.file.read_exact_at(target, piece.position)?;
                }
                // One record a batch: a range of whole and cut batches tells where the next one begins.
                let batches = range.length_bytes / (16 << 10);
                from = from + i64::try_from(batches.max(1))?;
                total += range.length_bytes;
            }
            Ok((cpu_seconds() - began) / (total as f64 / f64::from(1 << 30)))
        })
    }

    pub(crate) fn bare(&self) -> Result<f64, Box<dyn Error>> {
        self.with(|filled| {
            let (file, mut buffer) = (filled.file()?, vec![0; RANGE_BYTES]);
            let size = file.metadata()?.len();
            let mut position = 0;
            let began = cpu_seconds();
            while position < size {
                let read = file.read_at(&mut buffer, position)?;
                position += u64::try_from(read)?;
            }
            Ok((cpu_seconds() - began) / (size as f64 / f64::from(1 << 30)))
        })
    }
}

pub(crate) struct Lookups(Filled);

const LOOKUPS: usize = 2_000;

impl Lookups {
    /// A log whose bytes are on the disk and were written by an earlier process.
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self(Filled::new(1 << 30)?.reopen()?))
    }

    /// Offsets all over the log, none twice, no two near each other in time.
    fn offsets(&self) -> impl Iterator<Item = Offset> {
        let count = self.0.log.log_end_offset().get();
        // Prime to every number of batches that is used here.
        (0..).map(move |number: i64| Offset::new_or_zero(number * 16_433 % count)).take(LOOKUPS)
    }

    fn time(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
        let began = Instant::now();
        work()?;
        Ok(began.elapsed())
    }

    fn look_up(&self, offset: Offset) -> Result<(), Box<dyn Error>> {
        let range = self.0.log.read(offset, self.0.log.log_end_offset(), 16 << 10, true)?;
        if range.length_bytes == 0 { Err("nothing was found".into()) } else { Ok(()) }
    }

    /// Look-ups, and between each two a read of one page of the same file, always without what the page cache has of it.
    pub(crate) fn cold(&self) -> Result<(Vec<Duration>, Vec<Duration>), Box<dyn Error>> {
        let file = self.0.file()?;
        file.sync_all()?;
        let size = file.metadata()?.len();
        let (mut found, mut read) = (Vec::new(), Vec::new());
        let mut page = vec![0; 4 << 10];
        for (number, offset) in self.offsets().enumerate() {
            fadvise(&file, 0, None, Advice::DontNeed)?;
            found.push(Self::time(|| self.look_up(offset))?);
            fadvise(&file, 0, None, Advice::DontNeed)?;
            let position = (u64::try_from(number)? * 7_919 % (size >> 12)) << 12;
            read.push(Self::time(|| Ok(file.read_exact_at(&mut page, position)?))?);
        }
        Ok((found, read))
    }

    /// Look-ups of what was looked up before.
    pub(crate) fn warm(&self) -> Result<Vec<Duration>, Box<dyn Error>> {
        self.offsets().try_for_each(|offset| self.look_up(offset))?;
        self.offsets().map(|offset| Self::time(|| self.look_up(offset))).collect()
    }
}
