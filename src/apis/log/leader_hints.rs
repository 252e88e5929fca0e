//! Who leads instead: what an answer tells a client that came to the wrong broker, so that it need not ask for metadata first (KIP-951).

use std::collections::BTreeMap;

use metadata::{Image, Partition};
use model::{BrokerId, LeaderEpoch, PartitionIndex};
use protocol::StrBytes;

use super::{TopicRef, topic_of};
use crate::api::Context;

/// Gathers, for one answer, the leaders that its rows name and where these are.
#[derive(Default)]
pub(super) struct LeaderHints {
    leaders: BTreeMap<BrokerId, Node>,
}

/// Where a leader is, for the listener that the client came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) host: StrBytes,
    pub(super) port: i32,
    pub(super) rack: Option<StrBytes>,
}

/// A partition's leader in the wire's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) id: i32,
    pub(super) epoch: i32,
}

impl LeaderHints {
    /// The leader of a partition as this broker knows it; -1 and -1 if it does not know the partition.
    pub(super) fn leader_of(&mut self, cx: &Context, image: &Image, topic: TopicRef<'_>, partition: i32) -> Leader {
        let topic = topic_of(image, topic);
        let found = topic.and_then(|topic| topic.partition(PartitionIndex::new(partition)?));
        let Some(found) = found else { return Leader { id: -1, epoch: -1 } };
        self.note_node(cx, image, found);
        Leader { id: BrokerId::to_wire(found.leader), epoch: LeaderEpoch::get(found.leader_epoch) }
    }

    /// All leaders that were named and live, by their ids.
    pub(super) fn nodes(self) -> impl Iterator<Item = (i32, Node)> {
        self.leaders.into_iter().map(|(id, node)| (id.get(), node))
    }

    fn note_node(&mut self, cx: &Context, image: &Image, partition: &Partition) {
        let broker = partition.leader.and_then(|leader| image.broker(leader)).filter(|broker| !broker.fenced);
        let Some((broker, endpoint)) = broker.and_then(|broker| Some((broker, broker.endpoint(cx.listener())?))) else { return };
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let node = Node { host: text(&endpoint.host), port: i32::from(endpoint.port), rack: broker.rack.as_deref().map(text) };
        self.leaders.insert(broker.id, node);
    }
}
