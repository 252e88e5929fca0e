//! The model: what the broker has acknowledged, and so must still know.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

/// How many of a producer's batches a partition remembers.
const BATCHES_REMEMBERED: usize = 5;

pub(crate) struct World {
    pub(crate) topics: Vec<TopicSlot>,
    pub(crate) groups: Vec<Group>,
    pub(crate) producers: Vec<i64>,
    pub(crate) sessions: Vec<Session>,
}

/// A name that a topic may have, one after the other.
pub(crate) struct TopicSlot {
    pub(crate) name: String,
    pub(crate) live: Option<Topic>,
    /// Ids that must never be known again.
    pub(crate) dead: Vec<Uuid>,
}

pub(crate) struct Topic {
    pub(crate) id: Uuid,
    /// Whether its settings let a batch be kept byte for byte, and accept every well-formed one.
    pub(crate) plain: bool,
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Default)]
pub(crate) struct Partition {
    /// The log's end, and with one broker the high watermark.
    pub(crate) end: i64,
    pub(crate) batches: Vec<Batch>,
    pub(crate) producers: HashMap<i64, Producer>,
}

/// An acknowledged batch.
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) count: i64,
    pub(crate) sent: Bytes,
}

/// What a partition knows of a producer.
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) recent: VecDeque<Sequenced>,
}

#[derive(Clone)]
pub(crate) struct Sequenced {
    pub(crate) first: i32,
    pub(crate) base: i64,
    pub(crate) sent: Bytes,
    pub(crate) count: i32,
}

impl Producer {
    pub(crate) fn next_sequence(&self) -> i32 {
        self.recent.back().map_or(0, |last| last.first + last.count)
    }
}

impl Partition {
    pub(crate) fn append(&mut self, sent: Bytes, count: i32) -> i64 {
        let base = self.end;
        self.end += i64::from(count);
        self.batches.push(Batch { base, count: i64::from(count), sent });
        base
    }

    pub(crate) fn remember(&mut self, producer_id: i64, epoch: i16, sequenced: Sequenced) {
        let producer = self.producers.entry(producer_id).or_insert_with(|| Producer { epoch, recent: VecDeque::new() });
        if producer.epoch != epoch {
            *producer = Producer { epoch, recent: VecDeque::new() };
        }
        producer.recent.push_back(sequenced);
        if producer.recent.len() > BATCHES_REMEMBERED {
            producer.recent.pop_front();
        }
    }
}

/// A committed offset with its metadata.
pub(crate) type Committed = (i64, String);

pub(crate) struct Group {
    pub(crate) id: String,
    /// The newest generation that a member was told.
    pub(crate) generation: i32,
    pub(crate) members: Vec<Member>,
    /// By topic name and partition.
    pub(crate) committed: BTreeMap<(String, i32), Committed>,
}

/// A client that may be a member.
#[derive(Clone, Default)]
pub(crate) struct Member {
    /// Empty before its first join.
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
    pub(crate) protocol_name: String,
    /// The members that it was told as the leader.
    pub(crate) leads: Vec<String>,
}

/// A fetch session.
pub(crate) struct Session {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    pub(crate) by_ids: bool,
    /// What it fetches: topic slot, the topic's id when it was added, partition, offset.
    pub(crate) entries: Vec<Wanted>,
}

/// One partition of a fetch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) slot: usize,
    pub(crate) id: Uuid,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) bytes_max: i32,
    /// Whether the partition was there when it was asked.
    pub(crate) existed: bool,
    /// The high watermark then.
    pub(crate) end_before: i64,
}

impl World {
    pub(crate) fn new(run: u64) -> Self {
        let slot = |number| TopicSlot { name: format!("t{run}-{number}"), live: None, dead: Vec::new() };
        let group = |number| {
            let mut members = vec![Member::default(); 4];
            members[2].instance_id = Some("static-2".to_owned());
            Group { id: format!("g{run}-{number}"), generation: 0, members, committed: BTreeMap::new() }
        };
        Self { topics: (0..3).map(slot).collect(), groups: (0..2).map(group).collect(), producers: Vec::new(), sessions: Vec::new() }
    }

    pub(crate) fn partition(&self, slot: usize, partition: i32) -> Option<&Partition> {
        let topic = self.topics[slot].live.as_ref()?;
        topic.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(crate) fn partition_mut(&mut self, slot: usize, partition: i32) -> Option<&mut Partition> {
        let topic = self.topics[slot].live.as_mut()?;
        topic.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    /// The id of the topic of a name; of the last one if it is gone, and a made-up one if there was none.
    pub(crate) fn topic_id(&self, name: &str) -> Uuid {
        let slot = self.topics.iter().find(|slot| slot.name == name);
        let dead = || slot.and_then(|slot| slot.dead.last().copied()).unwrap_or(Uuid::from_u128(7));
        slot.and_then(|slot| slot.live.as_ref()).map_or_else(dead, |topic| topic.id)
    }

    pub(crate) fn is_live(&self, name: &str) -> bool {
        self.topics.iter().any(|slot| slot.name == name && slot.live.is_some())
    }

    /// The name of a topic that is there.
    pub(crate) fn name_of(&self, id: Uuid) -> Option<String> {
        let slot = self.topics.iter().find(|slot| slot.live.as_ref().is_some_and(|topic| topic.id == id));
        slot.map(|slot| slot.name.clone())
    }

    /// Takes the topic away, and with it the offsets that groups had committed for it.
    pub(crate) fn deleted(&mut self, slot: usize) {
        let Some(topic) = self.topics[slot].live.take() else { return };
        self.topics[slot].dead.push(topic.id);
        let name = &self.topics[slot].name;
        for group in &mut self.groups {
            group.committed.retain(|(topic, _), _| topic != name);
        }
    }
}
