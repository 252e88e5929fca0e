//! The quorum on a disk that counts: what is proposed is there after a restart, in order, with few waits for the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metadata::{ConfigResource, Delta, Image, MetadataRecord};
use model::{BrokerId, TopicId};
use parking_lot::Mutex;
use uuid::Uuid;
use wire::clock::SystemClock;

use crate::disk::{Disk, DiskError};
use crate::{MetadataQuorum, Observer, ProposeError, QuorumOptions, StartError};
use crate::{node, on_disk};

/// A disk in memory. A clone is what a crash at that moment leaves.
#[derive(Default)]
pub(crate) struct CountingDisk {
    state: Mutex<Contents>,
    syncs: AtomicUsize,
    /// From this many syncs on, writes fail.
    fails_after: Option<usize>,
}

#[derive(Default, Clone)]
struct Contents {
    entries: BTreeMap<u64, Vec<u8>>,
    values: BTreeMap<String, Vec<u8>>,
}

impl CountingDisk {
    fn syncs(&self) -> usize {
        self.syncs.load(Ordering::SeqCst)
    }

    pub(crate) fn crash_image(&self) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(self.state.lock().clone()), ..Self::default() })
    }

    fn write(&self, change: impl FnOnce(&mut Contents)) -> Result<(), DiskError> {
        let done = self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.fails_after.is_some_and(|limit| done >= limit) {
            return Err("no space left on device".into());
        }
        change(&mut self.state.lock());
        Ok(())
    }
}

impl Disk for CountingDisk {
    fn append(&self, entries: Vec<(u64, Vec<u8>)>) -> Result<(), DiskError> {
        self.write(|contents| contents.entries.extend(entries))
    }

    fn truncate_from(&self, index: u64) -> Result<(), DiskError> {
        self.write(|contents| drop(contents.entries.split_off(&index)))
    }

    fn purge_to(&self, index: u64) -> Result<(), DiskError> {
        self.write(|contents| contents.entries = contents.entries.split_off(&(index + 1)))
    }

    fn read(&self, from: u64, until: u64) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
        Ok(self.state.lock().entries.range(from..until).map(|(index, bytes)| (*index, bytes.clone())).collect())
    }

    fn last_index(&self) -> Result<Option<u64>, DiskError> {
        Ok(self.state.lock().entries.keys().next_back().copied())
    }

    fn save_value(&self, name: &str, value: &[u8]) -> Result<(), DiskError> {
        self.write(|contents| drop(contents.values.insert(name.to_owned(), value.to_vec())))
    }

    fn load_value(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.state.lock().values.get(name).cloned())
    }
}

pub(crate) fn broker(id: i32) -> BrokerId {
    BrokerId::new(id).expect("a broker id")
}

/// Starts a quorum on a disk as a broker does, which looks at it first.
pub(crate) async fn start_on(disk: Arc<CountingDisk>, options: QuorumOptions) -> Result<Arc<dyn MetadataQuorum>, StartError> {
    let found = on_disk::read(&*disk).map_err(StartError::Storage)?;
    node::start_on(disk, options.of_log(&found)?).await
}

fn options() -> QuorumOptions {
    QuorumOptions::new(broker(1), SystemClock::shared())
}

async fn start(disk: &Arc<CountingDisk>) -> Arc<dyn MetadataQuorum> {
    start_on(Arc::<CountingDisk>::clone(disk), options()).await.expect("starts")
}

pub(crate) fn topic(number: u128) -> Vec<MetadataRecord> {
    vec![MetadataRecord::Topic { name: format!("topic-{number}"), topic_id: TopicId(Uuid::from_u128(number + 1)) }]
}

fn config(value: usize) -> Vec<MetadataRecord> {
    let (resource, key) = (ConfigResource::cluster_default(), "log.retention.ms".to_owned());
    vec![MetadataRecord::Config { resource, key, value: Some(value.to_string()) }]
}

pub(crate) type Seen = Arc<Mutex<Vec<(u64, Arc<Image>, Arc<Delta>)>>>;

pub(crate) fn recorder() -> (Seen, Observer) {
    let seen = Seen::default();
    let into = Arc::clone(&seen);
    (seen, Arc::new(move |index, image, delta| into.lock().push((index, Arc::clone(image), Arc::clone(delta)))))
}

#[tokio::test]
async fn a_first_start_syncs_at_most_three_times_until_a_proposal_is_answered_and_a_restart_once() {
    let disk = Arc::<CountingDisk>::default();
    let quorum = start(&disk).await;
    quorum.propose(quorum.leader_term(), topic(1)).await.expect("proposed");
    assert!(disk.syncs() <= 3, "{} syncs", disk.syncs());
    quorum.shutdown().await;

    let before = disk.syncs();
    let quorum = start(&disk).await;
    assert_eq!(disk.syncs(), before, "a restart writes nothing");
    quorum.propose(quorum.leader_term(), topic(2)).await.expect("proposed");
    assert_eq!(disk.syncs(), before + 1);
    quorum.shutdown().await;
}

#[tokio::test]
async fn the_image_after_a_restart_is_the_one_before_it() {
    let disk = Arc::<CountingDisk>::default();
    let quorum = start(&disk).await;
    for number in 0..50 {
        quorum.propose(quorum.leader_term(), topic(number)).await.expect("proposed");
    }
    let before = quorum.image();
    quorum.shutdown().await;
    let quorum = start(&disk).await;
    assert_eq!(*quorum.image(), *before);
    assert_eq!(quorum.leader(), Some(broker(1)));
    quorum.shutdown().await;
}

#[tokio::test]
async fn whatever_was_answered_survives_a_crash_at_any_moment() {
    let disk = Arc::<CountingDisk>::default();
    let quorum = start(&disk).await;
    for number in 0..30 {
        let index = quorum.propose(quorum.leader_term(), topic(number)).await.expect("proposed");
        let crashed = disk.crash_image();
        let reopened = start(&crashed).await;
        assert_eq!(reopened.image().index(), index);
        assert_eq!(reopened.image().topic_count(), usize::try_from(number + 1).expect("small"));
        reopened.propose(reopened.leader_term(), topic(1000)).await.expect("goes on");
        reopened.shutdown().await;
    }
    quorum.shutdown().await;
}

#[tokio::test]
async fn a_crash_between_the_first_entry_and_the_first_election_is_mended() {
    let disk = Arc::new(CountingDisk { fails_after: Some(1), ..CountingDisk::default() });
    let refused = start_on(Arc::<CountingDisk>::clone(&disk), options()).await;
    assert!(refused.is_err());
    let quorum = start(&disk.crash_image()).await;
    quorum.propose(quorum.leader_term(), topic(1)).await.expect("proposed");
    quorum.shutdown().await;
}

#[tokio::test]
async fn a_thousand_proposals_keep_their_order_and_observers_see_each_before_its_answer() {
    let disk = Arc::<CountingDisk>::default();
    let (seen, observer) = recorder();
    let quorum = start(&disk).await;
    quorum.subscribe(observer);
    let proposals: Vec<_> = (0..1000).map(|value| tokio::spawn(quorum.propose(quorum.leader_term(), config(value)))).collect();
    for proposal in proposals {
        let index = proposal.await.expect("no panic").expect("proposed");
        assert!(seen.lock().iter().any(|(at, _, _)| *at == index), "{index} was answered before it was seen");
        assert!(quorum.image().index() >= index);
    }
    quorum.shutdown().await;
    let seen = seen.lock();
    assert!(seen.is_sorted_by(|left, right| left.0 < right.0));
    assert_eq!(seen.len(), 1000, "each proposal once");
}

#[tokio::test]
async fn an_observer_begins_with_the_replayed_image_and_sees_each_later_delta_once() {
    let disk = Arc::<CountingDisk>::default();
    let quorum = start(&disk).await;
    for number in 0..5 {
        quorum.propose(quorum.leader_term(), topic(number)).await.expect("proposed");
    }
    quorum
        .propose(quorum.leader_term(), vec![MetadataRecord::RemoveTopic { topic_id: TopicId(Uuid::from_u128(1)) }])
        .await
        .expect("proposed");
    quorum.shutdown().await;
    let quorum = start(&disk).await;
    let (seen, observer) = recorder();
    let image = quorum.subscribe(observer);
    assert_eq!((image.topic_count(), image.index()), (4, quorum.image().index()));
    let (later, observer) = recorder();
    quorum.propose(quorum.leader_term(), topic(9)).await.expect("proposed");
    quorum.subscribe(observer);
    quorum.propose(quorum.leader_term(), topic(10)).await.expect("proposed");
    assert_eq!((seen.lock().len(), later.lock().len()), (2, 1));
    let (index, image, delta) = later.lock().remove(0);
    assert_eq!((image.index(), delta.index, delta.topics_created.len()), (index, index, 1));
    quorum.shutdown().await;
}

#[tokio::test]
async fn the_log_is_purged_behind_a_snapshot_and_a_restart_replays_both() {
    let disk = Arc::<CountingDisk>::default();
    let few = QuorumOptions { snapshot_after_entries: 20, ..options() };
    let quorum = start_on(Arc::<CountingDisk>::clone(&disk), few.clone()).await.expect("starts");
    for number in 0..105 {
        quorum.propose(quorum.leader_term(), topic(number)).await.expect("proposed");
    }
    let before = quorum.image();
    quorum.shutdown().await;
    let kept = disk.state.lock().entries.len();
    assert!(kept < 60, "{kept} entries kept");
    assert!(disk.load_value("snapshot").expect("reads").is_some());
    let quorum = start_on(Arc::<CountingDisk>::clone(&disk), few).await.expect("starts");
    assert_eq!(*quorum.image(), *before);
    quorum.propose(quorum.leader_term(), topic(500)).await.expect("goes on");
    quorum.shutdown().await;
}

#[tokio::test]
async fn a_log_of_another_broker_is_refused() {
    let disk = Arc::<CountingDisk>::default();
    start(&disk).await.shutdown().await;
    let other = start_on(Arc::<CountingDisk>::clone(&disk), QuorumOptions::new(broker(2), SystemClock::shared())).await;
    assert!(matches!(other.err(), Some(StartError::NotAMember { .. })));
}

#[tokio::test]
async fn a_changed_snapshot_is_refused() {
    let disk = Arc::<CountingDisk>::default();
    let few = QuorumOptions { snapshot_after_entries: 5, ..options() };
    let quorum = start_on(Arc::<CountingDisk>::clone(&disk), few).await.expect("starts");
    for number in 0..30 {
        quorum.propose(quorum.leader_term(), topic(number)).await.expect("proposed");
    }
    quorum.shutdown().await;
    {
        let mut state = disk.state.lock();
        let snapshot = state.values.get_mut("snapshot").expect("there is one");
        *snapshot.last_mut().expect("not empty") ^= 1;
    }
    let refused = start_on(Arc::<CountingDisk>::clone(&disk), options()).await;
    assert!(matches!(refused.err(), Some(StartError::Storage(_))));
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_quorum_and_answers_nothing_as_done() {
    let disk = Arc::new(CountingDisk { fails_after: Some(5), ..CountingDisk::default() });
    let quorum = start(&disk).await;
    let mut answered = 0;
    let mut failed = 0;
    for number in 0..10 {
        match quorum.propose(quorum.leader_term(), topic(number)).await {
            Ok(_) => answered += 1,
            Err(ProposeError::Stopped { .. }) => failed += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(answered <= 3 && answered + failed == 10, "{answered} answered");
    assert_eq!(quorum.image().topic_count(), answered);
    quorum.shutdown().await;
}

#[tokio::test]
async fn a_proposal_after_shutdown_is_refused() {
    let disk = Arc::<CountingDisk>::default();
    let quorum = start(&disk).await;
    quorum.shutdown().await;
    quorum.shutdown().await;
    assert!(matches!(quorum.propose(quorum.leader_term(), topic(1)).await, Err(ProposeError::Stopped { .. })));
}

/// Over the real store: what is on the disk, not what a test double remembers.
mod on_the_store {
    use log_store::{Store, StoreOptions};

    use super::*;

    fn open(directory: &std::path::Path) -> Store {
        Store::open(StoreOptions::new(directory)).expect("opens")
    }

    fn copy(from: &std::path::Path, to: &std::path::Path) {
        std::fs::create_dir_all(to).expect("a directory");
        for entry in std::fs::read_dir(from).expect("reads") {
            let entry = entry.expect("an entry");
            let target = to.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).expect("copies");
            }
        }
    }

    #[tokio::test]
    async fn the_image_survives_a_stop_and_a_crash() {
        let home = tempfile::tempdir().expect("a directory");
        let (first, crashed) = (home.path().join("a"), home.path().join("b"));
        let store = open(&first);
        let quorum = crate::start(store.synced_log("metadata"), options()).await.expect("starts");
        for number in 0..200 {
            quorum.propose(quorum.leader_term(), topic(number)).await.expect("proposed");
        }
        let before = quorum.image();
        // What a killed process leaves: the files as they are now, neither closed nor flushed.
        copy(&first, &crashed);
        let reopened = open(&crashed);
        let other = crate::start(reopened.synced_log("metadata"), options()).await.expect("starts");
        assert_eq!(*other.image(), *before);
        other.propose(other.leader_term(), topic(1000)).await.expect("goes on");
        other.shutdown().await;

        quorum.shutdown().await;
        store.close().expect("closes");
        drop((quorum, store));
        let store = open(&first);
        let quorum = crate::start(store.synced_log("metadata"), options()).await.expect("starts");
        assert_eq!(*quorum.image(), *before);
        quorum.shutdown().await;
    }

    #[tokio::test]
    async fn a_snapshot_and_the_purged_log_are_replayed() {
        let home = tempfile::tempdir().expect("a directory");
        let few = QuorumOptions { snapshot_after_entries: 50, ..options() };
        let store = open(home.path());
        let quorum = crate::start(store.synced_log("metadata"), few.clone()).await.expect("starts");
        for number in 0..180 {
            quorum.propose(quorum.leader_term(), topic(number)).await.expect("proposed");
        }
        let before = quorum.image();
        quorum.shutdown().await;
        assert!(store.synced_log("metadata").first_index().expect("reads") > Some(0), "nothing was purged");
        assert_eq!(crate::look(&store.synced_log("metadata")).expect("reads").image, *before, "without a quorum");
        let quorum = crate::start(store.synced_log("metadata"), few).await.expect("starts");
        assert_eq!(*quorum.image(), *before);
        quorum.shutdown().await;
    }
}
