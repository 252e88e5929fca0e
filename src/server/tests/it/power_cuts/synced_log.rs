//! The log of the metadata quorum under power cuts, without a broker: hundreds of entries a second beside writes that are not synced.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use log_store::{LogConfig, Store, StoreOptions};
use model::{PartitionIndex, TopicId, TopicIdPartition};
use uuid::Uuid;

use super::disk::Disk;
use super::{cuts_wanted, data};
use crate::client::{Random, number_of};

const MOMENT_MAX_US: u64 = 200_000;

/// Appends entries from `first` on until the power is cut or an append fails; tells the last one that was taken while there was power.
fn append_until_cut(store: &Store, first: u64, is_cut: &AtomicBool, taken: &AtomicU64) {
    let log = store.synced_log("metadata");
    for index in first.. {
        let appended = log.append([(index, index.to_be_bytes().repeat(40))]);
        if appended.is_err() || is_cut.load(Ordering::Acquire) {
            return;
        }
        taken.store(index, Ordering::Release);
    }
}

/// Writes rows without a sync, each into the index's log beside the entries.
fn make_partitions(store: &Store, life: u128, is_cut: &AtomicBool) {
    for number in 0..u128::MAX {
        let id = TopicIdPartition { topic_id: TopicId(Uuid::from_u128(life << 64 | number)), partition: PartitionIndex::new(0).unwrap() };
        if is_cut.load(Ordering::Acquire) || store.open_partition(id, LogConfig::default()).is_err() {
            return;
        }
    }
}

#[test]
fn a_power_cut_takes_no_entry_of_a_synced_log() {
    let Some(cuts) = cuts_wanted() else { return };
    let mut disk = match Disk::new() {
        Ok(disk) => disk,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let mut random = Random(number_of("KLAMM_CUTS_SEED", 1));
    let mut acknowledged = 0;
    for cut in 0..=cuts {
        let options = StoreOptions { write_buffer_bytes: 256 << 10, ..StoreOptions::new(data(&disk)) };
        let store = Store::open(options).unwrap();
        let entries = store.synced_log("metadata").read(0..).unwrap();
        let there = u64::try_from(entries.len()).unwrap();
        assert!(there >= acknowledged, "cut {cut}: {there} entries are there, {acknowledged} were acknowledged");
        for (place, (index, bytes)) in (0..).zip(&entries) {
            assert_eq!((*index, bytes), (place, &index.to_be_bytes().repeat(40)));
        }
        let (is_cut, taken) = (AtomicBool::new(false), AtomicU64::new(there.saturating_sub(1)));
        let (_never, moments) = channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(|| append_until_cut(&store, there, &is_cut, &taken));
            scope.spawn(|| make_partitions(&store, u128::try_from(cut).unwrap(), &is_cut));
            let moment = Instant::now() + Duration::from_micros(random.next() % MOMENT_MAX_US);
            let _elapsed = moments.recv_timeout(moment.saturating_duration_since(Instant::now()));
            is_cut.store(true, Ordering::Release);
            disk.cut();
        });
        acknowledged = taken.load(Ordering::Acquire) + u64::from(there > 0 || taken.load(Ordering::Acquire) > 0);
        drop(store);
        disk.restore();
    }
    println!("{cuts} cuts, {acknowledged} entries acknowledged and all there");
}
