//! The parts of a broker that act on changes of the metadata, and the order in which they learn of one: partitions serve before it is published.

use std::sync::Arc;

use log_store::StorageError;
use metadata::{Delta, Image};
use parking_lot::Mutex;
use quorum::MetadataQuorum;

use crate::absences::Absences;
use crate::config::BrokerConfig;
use crate::config_notices::ConfigNotices;
use crate::coordination::Coordination;
use crate::live_limits::LiveLimits;
use crate::metadata_view::MetadataView;
use crate::partitions::Partitions;
use crate::quotas::Quotas;
use crate::replica_fetchers::ReplicaFetchers;
use crate::replication_throttle::ReplicationThrottle;

/// The parts that act on changes of the metadata.
#[derive(Clone)]
pub(crate) struct Followers {
    pub partitions: Arc<Partitions>,
    pub fetchers: ReplicaFetchers,
    pub coordination: Coordination,
    pub quotas: Arc<Quotas>,
    pub live_limits: Arc<LiveLimits>,
    pub config: Arc<BrokerConfig>,
    pub notices: Arc<ConfigNotices>,
    pub absences: Arc<Absences>,
    pub replication_throttle: Arc<ReplicationThrottle>,
}

impl Followers {
    fn apply(&self, image: &Arc<Image>, delta: &Delta) -> Result<(), StorageError> {
        self.replication_throttle.apply(image, delta);
        let result = self.partitions.apply(image, delta);
        self.fetchers.apply(image, delta);
        self.coordination.apply(image, delta);
        self.quotas.apply(image, delta);
        self.live_limits.apply(&self.config, image, delta);
        self.notices.apply(image, delta);
        result
    }
}

/// A change of the metadata.
struct Change {
    index: u64,
    image: Arc<Image>,
    delta: Arc<Delta>,
}

/// Keeps changes back until the first image is served: they come on another thread, and what they bring is newer.
struct Gate {
    /// What came meanwhile; none once it is open.
    kept: Mutex<Option<Vec<Change>>>,
}

impl Gate {
    fn closed() -> Self {
        Self { kept: Mutex::new(Some(Vec::new())) }
    }

    /// The change, if it may be acted on now. Otherwise whoever opens the gate acts on it.
    fn pass(&self, change: Change) -> Option<Change> {
        match &mut *self.kept.lock() {
            Some(kept) => {
                kept.push(change);
                None
            }
            None => Some(change),
        }
    }

    /// Acts on what came, in order, until nothing has come meanwhile; from then on all may pass.
    fn open(&self, mut act: impl FnMut(Change)) {
        loop {
            let came = {
                let mut kept = self.kept.lock();
                match kept.as_mut().map(std::mem::take) {
                    Some(came) if !came.is_empty() => came,
                    Some(_) | None => {
                        *kept = None;
                        return;
                    }
                }
            };
            came.into_iter().for_each(&mut act);
        }
    }
}

/// Serves what the image has now, and each later delta before it is published.
///
/// A delta that comes while the first image is being served is acted on right after that: partitions and fetchers take the newest state that they are
/// given, so an older one after it would leave a partition that nobody fetches, and what a newer one made would count as a stray.
pub(crate) fn follow_metadata(quorum: &dyn MetadataQuorum, followers: Followers, metadata: &MetadataView) -> Result<(), StorageError> {
    let partitions = Arc::clone(&followers.partitions);
    let serve = {
        let (metadata, partitions) = (metadata.clone(), Arc::clone(&partitions));
        move |index: u64, image: &Arc<Image>, delta: &Delta| {
            let result = followers.apply(image, delta);
            if !delta.brokers_changed.is_empty() {
                followers.absences.note(&metadata.image(), image);
            }
            metadata.publish(index, Arc::clone(image));
            partitions.announce(delta);
            result
        }
    };
    let (observe, gate) = (serve.clone(), Arc::new(Gate::closed()));
    let image = quorum.subscribe({
        let gate = Arc::clone(&gate);
        Arc::new(move |index, image: &Arc<Image>, delta: &Arc<Delta>| {
            if let Some(change) = gate.pass(Change { index, image: Arc::clone(image), delta: Arc::clone(delta) }) {
                // Logged where it happened; the partition answers with storage errors from here on.
                let _logged = observe(change.index, &change.image, &change.delta);
            }
        })
    });
    partitions.delete_strays(&image)?;
    let served = serve(image.index(), &image, &Delta::from_nothing(&image));
    gate.open(|change| {
        let _logged = serve(change.index, &change.image, &change.delta);
    });
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(index: u64) -> Change {
        let image = Arc::new(Image::default());
        Change { index, delta: Arc::new(Delta::from_nothing(&image)), image }
    }

    #[test]
    fn changes_that_come_while_the_first_image_is_served_are_acted_on_after_it_and_in_order() {
        let (gate, mut acted_on) = (Gate::closed(), Vec::new());
        assert!(gate.pass(change(1)).is_none() && gate.pass(change(2)).is_none());
        gate.open(|one| {
            acted_on.push(one.index);
            // One more comes while those are acted on.
            assert!(one.index != 1 || gate.pass(change(3)).is_none());
        });
        assert_eq!(acted_on, [1, 2, 3]);
        assert_eq!(gate.pass(change(4)).map(|one| one.index), Some(4));
    }
}
