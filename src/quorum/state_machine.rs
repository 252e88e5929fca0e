//! The state machine: the image, those who watch it, and its snapshots.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metadata::{Delta, Image, MetadataRecord};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::Observer;
use crate::disk::{Disk, DiskError};
use crate::format::{self, SnapshotOnDisk};
use crate::types::{Applied, Entry, LogId, SnapshotMeta, StorageError, StorageIoError, StoredMembership, Types};

const SNAPSHOT: &str = "snapshot";

/// What the state machine and the quorum's users share.
pub(crate) struct Shared {
    /// Held while a delta goes round, so that an observer is added between two deltas and never within one.
    applying: Mutex<Watched>,
    /// What users see: always an image that all observers have acted on.
    published: RwLock<Arc<Image>>,
    /// The same as [`Watched::live`], for who must not wait while a delta goes round.
    is_live: AtomicBool,
    /// The index of that image.
    index: watch::Sender<u64>,
    /// Whether this voter has all that was committed when it began. False for one whose log was empty, until a leader has filled it.
    is_complete: watch::Sender<bool>,
    /// Whether another voter's log is known to have more than who votes.
    has_formed: AtomicBool,
    /// The last entry of the log when this voter began.
    began_with: Option<u64>,
}

struct Watched {
    image: Arc<Image>,
    observers: Vec<Observer>,
    /// Whether the log has been replayed: until then nobody is told, so that nobody acts on what a later entry takes back.
    live: bool,
    /// What a state machine that follows this one goes on from.
    left: Option<(Option<LogId>, StoredMembership)>,
}

impl Shared {
    pub(crate) fn new(is_complete: bool, began_with: Option<u64>) -> Self {
        let image = Arc::new(Image::default());
        Self {
            applying: Mutex::new(Watched { image: Arc::clone(&image), observers: Vec::new(), live: false, left: None }),
            published: RwLock::new(image),
            is_live: AtomicBool::new(false),
            index: watch::Sender::new(0),
            is_complete: watch::Sender::new(is_complete),
            has_formed: AtomicBool::new(is_complete),
            began_with,
        }
    }

    pub(crate) fn published(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    /// A watch on whether this voter has all that was committed when it began.
    pub(crate) fn completeness(&self) -> watch::Receiver<bool> {
        self.is_complete.subscribe()
    }

    /// The last entry of the log when this voter began; none if it was empty.
    pub(crate) fn began_with(&self) -> Option<u64> {
        self.began_with
    }

    pub(crate) fn is_complete(&self) -> bool {
        *self.is_complete.borrow()
    }

    /// A leader has filled this voter's log, or it has led.
    pub(crate) fn complete(&self) {
        self.is_complete.send_if_modified(|known| !std::mem::replace(known, true));
    }

    /// Whether the cluster is known to be older than this voter's empty log, which then was lost.
    pub(crate) fn has_formed(&self) -> bool {
        self.has_formed.load(Ordering::Acquire)
    }

    /// Another voter has this as the last entry of its log.
    pub(crate) fn note_log_of_another(&self, last: Option<LogId>) {
        if last.is_some_and(|last| last.index > 0) {
            self.has_formed.store(true, Ordering::Release);
        }
    }

    fn publish(&self, image: &Arc<Image>) {
        *self.published.write() = Arc::clone(image);
        self.index.send_replace(image.index());
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.published.read())
    }

    pub(crate) fn subscribe(&self, observer: Observer) -> Arc<Image> {
        let mut watched = self.applying.lock();
        watched.observers.push(observer);
        Arc::clone(&watched.image)
    }

    /// Lets go of the observers, which may hold what holds the quorum.
    pub(crate) fn forget_observers(&self) {
        let forgotten = std::mem::take(&mut self.applying.lock().observers);
        drop(forgotten);
    }

    /// Whether the replay has ended.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Acquire)
    }

    /// Ends the replay: the image becomes visible.
    pub(crate) fn go_live(&self) {
        let mut watched = self.applying.lock();
        watched.live = true;
        self.is_live.store(true, Ordering::Release);
        self.publish(&watched.image);
    }

    fn apply(&self, index: u64, records: &[MetadataRecord]) {
        let mut watched = self.applying.lock();
        let (image, delta) = watched.image.apply(index, records);
        if delta.ignored_records > 0 {
            tracing::warn!(index, ignored = delta.ignored_records, "metadata records fitted nothing and were left out");
        }
        watched.image = Arc::new(image);
        if !watched.live {
            return;
        }
        if records.is_empty() {
            self.publish(&watched.image);
        } else {
            self.tell(&watched, &Arc::new(delta));
        }
    }

    fn tell(&self, watched: &Watched, delta: &Arc<Delta>) {
        for observer in &watched.observers {
            observer(watched.image.index(), &watched.image, delta);
        }
        self.publish(&watched.image);
    }

    fn restore(&self, image: Image) {
        let mut watched = self.applying.lock();
        let former = std::mem::replace(&mut watched.image, Arc::new(image));
        if watched.live {
            let delta = Arc::new(Delta::between(&former, &watched.image));
            self.tell(&watched, &delta);
        }
    }

    fn newest(&self) -> Arc<Image> {
        Arc::clone(&self.applying.lock().image)
    }
}

/// openraft's state machine over the shared image.
pub(crate) struct StateMachine {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    /// Dropped with it.
    _lives: oneshot::Sender<()>,
}

impl StateMachine {
    /// Opens it where the one before it in this process ended, or at the last snapshot, if there is one. What is given beside it ends when it is
    /// gone.
    pub(crate) fn open(disk: Arc<dyn Disk>, shared: Arc<Shared>) -> Result<(Self, oneshot::Receiver<()>), DiskError> {
        let left = shared.applying.lock().left.take();
        let (last_applied, membership) = match left {
            Some(left) => left,
            None => match snapshot_on(&*disk)? {
                Some((_, snapshot)) => {
                    shared.restore(Image::from_snapshot(&snapshot.image)?);
                    (snapshot.last, snapshot.membership)
                }
                None => (None, StoredMembership::default()),
            },
        };
        let (lives, gone) = oneshot::channel();
        Ok((Self { shared, disk, last_applied, membership, _lives: lives }, gone))
    }
}

impl Drop for StateMachine {
    fn drop(&mut self) {
        self.shared.applying.lock().left = Some((self.last_applied, self.membership.clone()));
    }
}

/// Builds a snapshot of the image at one moment.
pub(crate) struct SnapshotBuilder {
    disk: Arc<dyn Disk>,
    image: Arc<Image>,
    last: Option<LogId>,
    membership: StoredMembership,
}

fn meta_of(last: Option<LogId>, membership: StoredMembership) -> SnapshotMeta {
    let snapshot_id = last.map_or_else(|| "0".to_owned(), |last| format!("{}-{}", last.leader_id.term, last.index));
    SnapshotMeta { last_log_id: last, last_membership: membership, snapshot_id }
}

/// The last snapshot, as bytes and decoded.
pub(crate) fn snapshot_on(disk: &dyn Disk) -> Result<Option<(Vec<u8>, SnapshotOnDisk)>, DiskError> {
    let Some(bytes) = disk.load_value(SNAPSHOT)? else { return Ok(None) };
    let snapshot = format::decode_snapshot(&bytes)?;
    Ok(Some((bytes, snapshot)))
}

fn failed(error: impl Into<DiskError>) -> StorageError {
    StorageIoError::write_snapshot(None, AnyError::error(error.into())).into()
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let snapshot = SnapshotOnDisk { last: self.last, membership: self.membership.clone(), image: self.image.to_snapshot() };
        let bytes = format::encode_snapshot(&snapshot).map_err(failed)?;
        self.disk.save_value(SNAPSHOT, &bytes).map_err(failed)?;
        Ok(Snapshot { meta: meta_of(self.last, self.membership.clone()), snapshot: Box::new(Cursor::new(bytes)) })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            let records = match entry.payload {
                EntryPayload::Blank => Some(Vec::new()),
                EntryPayload::Normal(proposal) => proposal.counting(&entry.log_id),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Some(Vec::new())
                }
            };
            let counted = records.is_some();
            self.shared.apply(index, &records.unwrap_or_default());
            self.last_applied = Some(entry.log_id);
            answers.push(Applied { counted });
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            disk: Arc::clone(&self.disk),
            image: self.shared.newest(),
            last: self.last_applied,
            membership: self.membership.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<Cursor<Vec<u8>>>) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let received = format::decode_snapshot(&bytes).map_err(failed)?;
        let image = Image::from_snapshot(&received.image).map_err(failed)?;
        // On disk first: what was installed must not be lost once the log before it is purged.
        self.disk.save_value(SNAPSHOT, &bytes).map_err(failed)?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.shared.restore(image);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let on_disk = snapshot_on(&*self.disk).map_err(failed)?;
        Ok(on_disk.map(|(bytes, snapshot)| Snapshot {
            meta: meta_of(snapshot.last, snapshot.membership),
            snapshot: Box::new(Cursor::new(bytes)),
        }))
    }
}
