//! The parts of a broker that act on changes of the metadata, and the order in which they learn of one: partitions serve before it is published.

use std::sync::Arc;

use log_store::StorageError;
use metadata::{Delta, Image};
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

/// Serves what the image has now, and each later delta before it is published.
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
    let observe = serve.clone();
    let image = quorum.subscribe(Arc::new(move |index, image: &Arc<Image>, delta: &Arc<Delta>| {
        // Logged where it happened; the partition answers with storage errors from here on.
        let _logged = observe(index, image, delta);
    }));
    partitions.delete_strays(&image)?;
    serve(image.index(), &image, &Delta::from_nothing(&image))
}
