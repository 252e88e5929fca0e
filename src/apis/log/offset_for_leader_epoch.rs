//! OffsetForLeaderEpoch (key 23, versions 2-4): where a leader epoch's records end (KIP-101, KIP-279, KIP-320).
//!
//! - The answer is the largest epoch not above the asked one and its end offset; -1 and -1 if there is none.
//! - The request's current leader epoch is checked first.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Java and librdkafka consumers after `kill_and_restart`; `offset_for_leader_epoch` in `tests`.

use model::LeaderEpoch;
use protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::{NO_EPOCH, TopicRef, find_led};
use crate::api::{Api, Context, Versions};

pub(crate) struct OffsetForLeaderEpoch;

impl Api for OffsetForLeaderEpoch {
    const KEY: i16 = 23;
    const NAME: &'static str = "OffsetForLeaderEpoch";
    const VERSIONS: Versions = Versions::new(2, 4);
    type Request = OffsetForLeaderEpochRequest;
    type Response = OffsetForLeaderEpochResponse;

    async fn handle(cx: Context, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
        let image = cx.broker.metadata.image();
        let mut response = OffsetForLeaderEpochResponse::default();
        for topic in request.topics {
            let mut row = OffsetForLeaderTopicResult::default();
            for asked in topic.partitions {
                let mut partition = EpochEndOffset::default();
                partition.partition = asked.partition;
                partition.leader_epoch = -1;
                partition.end_offset = -1;
                let epoch = asked.current_leader_epoch;
                match find_led(&cx, &image, TopicRef::Name(topic.topic.as_str()), asked.partition, epoch) {
                    Err(error) => partition.error_code = error.code(),
                    Ok(found) => {
                        let end = LeaderEpoch::new(asked.leader_epoch).and_then(|epoch| found.end_offset_for_epoch(epoch));
                        if let Some((epoch, offset)) = end {
                            partition.leader_epoch = epoch.get();
                            partition.end_offset = offset.get();
                        } else if asked.leader_epoch < NO_EPOCH {
                            // Older than any epoch: it ended where the log begins.
                            partition.leader_epoch = asked.leader_epoch;
                            partition.end_offset = found.offsets().log_start().get();
                        }
                    }
                }
                row.partitions.push(partition);
            }
            row.topic = topic.topic;
            response.topics.push(row);
        }
        response
    }
}
