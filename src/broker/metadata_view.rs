//! The cluster image as request handlers see it.
//!
//! IMPORTANT: an image is published here only after this broker serves the partitions that it leads in it. Kafka publishes first, and a fast
//! client then meets NOT_LEADER_OR_FOLLOWER on a topic that it was just told of.

use std::sync::Arc;

use metadata::Image;
use parking_lot::RwLock;
use tokio::sync::watch;

/// A cheap handle on the newest published image.
#[derive(Clone)]
pub struct MetadataView {
    image: Arc<RwLock<Arc<Image>>>,
    published: watch::Sender<u64>,
}

impl MetadataView {
    /// A view of `image`, which holds until the first [`MetadataView::publish`].
    #[must_use]
    pub fn new(image: Arc<Image>) -> Self {
        Self { image: Arc::new(RwLock::new(image)), published: watch::Sender::new(0) }
    }

    /// The newest image. It does not change under the caller.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.read())
    }

    /// Makes `image`, which is the state after the metadata log's `index`, the newest.
    pub fn publish(&self, index: u64, image: Arc<Image>) {
        *self.image.write() = image;
        self.published.send_replace(index);
    }

    /// A watch on the index of the newest published image.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }
}
