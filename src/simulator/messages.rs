//! What brokers and the controller say to each other.

use std::collections::BTreeSet;

use metadata::controller::Heartbeat;
use model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};
use protocol::messages::AlterPartitionRequest;
use replication::FetchPosition;

use crate::broker::Record;

/// A place in the network: a broker's, or the controller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    Broker(usize),
    Controller,
}

/// A message under way. An answer is for the run of a broker that asked; a later run does not know it.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: Node,
    pub(crate) to: Node,
    /// The run of the broker that asked.
    pub(crate) run: u128,
    pub(crate) message: Message,
}

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Register { previous: Option<BrokerEpoch> },
    Registered { epoch: BrokerEpoch },
    Beat(Heartbeat),
    Alter { attempt: u64, request: AlterPartitionRequest },
    Altered { attempt: u64, rests_on: i32, answer: AlterAnswer },
    Fetch { broker_epoch: BrokerEpoch, position: FetchPosition },
    Fetched { position: FetchPosition, answer: FetchAnswer },
}

#[derive(Clone, Debug)]
pub(crate) enum AlterAnswer {
    Committed {
        isr: BTreeSet<BrokerId>,
        partition_epoch: i32,
    },
    Refused,
    /// The metadata will tell.
    Outdated,
}

#[derive(Clone, Debug)]
pub(crate) enum FetchAnswer {
    Records { records: Vec<Record>, high_watermark: Offset },
    Diverging { epoch: LeaderEpoch, end: Offset },
    Fenced,
    NotNow,
}
