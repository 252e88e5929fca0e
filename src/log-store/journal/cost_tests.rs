//! What the two possible journals cost; the figures are in docs/0002. Run:
//! `KLAMM_JOURNAL_COST=1 cargo test --release -p log-store journal_cost -- --nocapture`.

use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicIdPartition};
use record_batch::{BatchBuilder, CheckedBatch};

use super::format::{Entry, GroupHeads, Place};
use crate::append_write::write_all;

const FILE_BYTES: u64 = 32 << 20;

fn entries(count: usize, value_bytes: usize) -> Vec<Entry> {
    let entry = |number: usize| {
        let mut builder = BatchBuilder::new();
        builder.append(5, None, Some(&vec![7; value_bytes]), &[]);
        let batch = CheckedBatch::from_trusted(builder.build()).unwrap().into_sequenced(Offset::ZERO, LeaderEpoch::ZERO, None);
        let partition = PartitionIndex::new_or_zero(i32::try_from(number).unwrap());
        let id = TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(3)), partition };
        let length = u64::try_from(batch.size_bytes()).unwrap();
        let place =
            Place { id, stamp: 1, segment_base: Offset::ZERO, generation: 0, position: 0, end_offset: Offset::new_or_zero(1), length };
        Entry { place, batches: vec![batch] }
    };
    (0..count).map(entry).collect()
}

/// Seconds of processor time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn measure(name: &str, groups: usize, group_bytes: usize, mut write: impl FnMut(u64)) {
    let (began, cpu) = (Instant::now(), cpu_seconds());
    (0..groups).for_each(|number| write(u64::try_from(number + 1).unwrap()));
    let gib = (groups * group_bytes) as f64 / f64::from(1 << 30);
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("{name}: {:.2} ms a group, {:.2} s/GiB, {:.2} CPU s/GiB", wall * 1e3 / groups as f64, wall / gib, cpu / gib);
}

/// Groups of `count` batches, `groups` times, each with a sync.
fn compare(count: usize, value_bytes: usize, groups: usize) {
    let entries = entries(count, value_bytes);
    let bytes: usize = entries.iter().map(|entry| usize::try_from(entry.size_bytes()).unwrap()).sum();
    println!("{count} batches of {value_bytes} bytes a group");
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("0.journal")).unwrap();
        let group = u64::try_from(bytes + 24).unwrap();
        for from in (0..FILE_BYTES + group).step_by(1 << 20) {
            file.write_all_at(&vec![0; 1 << 20], from).unwrap();
        }
        file.sync_all().unwrap();
        let mut position = 0;
        measure("  own file", groups, bytes, |number| {
            let heads = GroupHeads::new(number, &entries);
            let mut pieces: Vec<IoSlice<'_>> = heads.pieces(&entries);
            write_all(&file, &mut pieces, position).unwrap();
            file.sync_data().unwrap();
            position = if position + group > FILE_BYTES { 0 } else { position + group };
        });

        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_max_total_wal_size(64 << 20);
        options.set_wal_ttl_seconds(3_600);
        let db = rocksdb::DB::open(&options, dir.path().join("index")).unwrap();
        let mut synced = rocksdb::WriteOptions::default();
        synced.set_sync(true);
        measure("  RocksDB  ", groups, bytes, |number| {
            let mut batch = rocksdb::WriteBatch::default();
            batch.put(b"journal", number.to_be_bytes());
            let heads = GroupHeads::new(number, &[]);
            let head = heads.pieces(&[]).iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>();
            batch.put_log_data(head);
            for entry in &entries {
                for each in &entry.batches {
                    batch.put_log_data([each.head(), &each.tail()[..]].concat());
                }
            }
            db.write_opt(batch, &synced).unwrap();
        });
    }
}

#[test]
fn journal_cost() {
    if std::env::var_os("KLAMM_JOURNAL_COST").is_none() {
        println!("skipped: a measurement");
        return;
    }
    compare(8, 16 << 10, 2_000);
    compare(100, 4 << 10, 500);
    compare(1, 1 << 10, 1_000);
}
