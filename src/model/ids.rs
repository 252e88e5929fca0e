//! Ids, offsets and epochs as distinct types, so that one can never stand for another.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! non_negative {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(<$inner>::MAX);

            /// The value, or `None` where the wire says "absent" with a negative number.
            #[must_use]
            pub const fn new(value: $inner) -> Option<Self> {
                if value < 0 { None } else { Some(Self(value)) }
            }

            /// The value; a negative one counts as zero.
            #[must_use]
            pub const fn new_or_zero(value: $inner) -> Self {
                if value < 0 { Self(0) } else { Self(value) }
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The number that the wire uses: -1 for absence.
            #[must_use]
            pub const fn to_wire(value: Option<Self>) -> $inner {
                match value {
                    Some(value) => value.0,
                    None => -1,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

non_negative!(
    /// A position in a partition's log, counted in records. As an end it is exclusive: the log end offset is the *next* offset.
    Offset, i64
);
non_negative!(
    /// The number of a partition leader's term. It grows with each election, and with each start of a broker that leads.
    LeaderEpoch, i32
);
non_negative!(
    /// The id that the cluster gave to an idempotent or transactional producer.
    ProducerId, i64
);
non_negative!(
    /// The term of a producer id; a producer with a lower one is fenced.
    ProducerEpoch, i16
);
non_negative!(
    /// The number of a record in a producer's stream to one partition. After 2^31-1 comes 0.
    Sequence, i32
);
non_negative!(
    /// A broker's id (`node.id`).
    BrokerId, i32
);
non_negative!(
    /// The term of a broker's registration: the offset of the record that registered it.
    BrokerEpoch, i64
);
non_negative!(
    /// The number of a partition within its topic.
    PartitionIndex, i32
);

impl Add<i64> for Offset {
    type Output = Offset;

    /// Moves forward; saturates at both ends, since an offset comes near neither in any real log.
    fn add(self, count: i64) -> Offset {
        Offset::new_or_zero(self.0.saturating_add(count))
    }
}

impl Sub<Offset> for Offset {
    type Output = i64;

    fn sub(self, other: Offset) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

impl Sequence {
    /// The sequence `count` records later, with the wrap from 2^31-1 to 0 (Kafka's `DefaultRecordBatch.incrementSequence`).
    #[must_use]
    pub fn advance(self, count: i32) -> Sequence {
        let sum = (i64::from(self.0) + i64::from(count)).rem_euclid(1 << 31);
        Sequence(i32::try_from(sum).unwrap_or(0))
    }
}

impl LeaderEpoch {
    /// The next term.
    #[must_use]
    pub const fn next(self) -> LeaderEpoch {
        LeaderEpoch(self.0.saturating_add(1))
    }
}

/// A wall-clock time in milliseconds since 1970. Kafka's "no timestamp" (-1) is `Option::None`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }
}

/// A topic's id: it changes when a name is deleted and created again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({})", self.0)
    }
}

/// A topic's name. Cloning it costs a count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TopicName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for TopicName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0.to_string()
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition named by its topic's id: what the store and replication know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TopicIdPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition within it.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicIdPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

/// A partition named by its topic's name: what clients know.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_numbers_are_absence() {
        assert_eq!(Offset::new(-1), None);
        assert_eq!(Offset::to_wire(None), -1);
        assert_eq!(Offset::new(7).map(Offset::get), Some(7));
    }

    #[test]
    fn a_sequence_wraps_to_zero_after_the_largest_int() {
        assert_eq!(Sequence::MAX.advance(1), Sequence::ZERO);
        assert_eq!(Sequence::ZERO.advance(3).get(), 3);
    }
}
