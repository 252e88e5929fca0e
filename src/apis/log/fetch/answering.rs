//! The answer's own bytes, with the records' pieces between them.

use broker::fetch_session::TopicKey;
use broker::metrics::FetchBy;
use broker::partitions::FetchBound;
use bytes::BytesMut;
use model::{BrokerId, Piece};
use protocol::fetch_response::{
    AbortedTransaction, CurrentLeader, DivergingEpoch, FetchPartition, FetchResponseHead, FetchTopic, NodeEndpoint, Segment,
    write_fetch_response,
};
use protocol::{ErrorCode, StrBytes};
use wire::{CloseReason, Outcome, ResponseFrame};

use super::super::leader_hints::{LeaderHints, Node};
use super::reading::Answer;
use super::{KEY, Limits};
use crate::api::Context;

pub(super) fn respond(cx: &Context, session_id: i32, answers: Vec<Answer>, limits: &Limits) -> Outcome {
    let mut head = FetchResponseHead { session_id, ..FetchResponseHead::default() };
    let mut records = Vec::with_capacity(answers.len());
    let mut last_topic: Option<TopicKey> = None;
    let (mut hints, mut image) = (LeaderHints::default(), None);
    for answer in answers {
        if !limits.by_follower() {
            answer.count(cx);
        }
        let mut row = partition_row(&answer, limits);
        if cx.version >= 16 && matches!(answer.result, Err(ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)) {
            let leader =
                hints.leader_of(cx, image.get_or_insert_with(|| cx.broker.metadata.image()), answer.topic(), answer.asked.partition);
            row.current_leader = Some(CurrentLeader { leader_id: leader.id, leader_epoch: leader.epoch });
        }
        if last_topic.as_ref() != Some(&answer.asked.topic) {
            head.topics.push(topic_row(&answer.asked.topic));
            last_topic = Some(answer.asked.topic.clone());
        }
        if let Some(topic) = head.topics.last_mut() {
            topic.partitions.push(row);
        }
        records.push(answer.result.map(|read| read.pieces).unwrap_or_default());
    }
    let endpoint = |(node_id, Node { host, port, rack })| NodeEndpoint { node_id, host, port, rack };
    head.node_endpoints = hints.nodes().map(endpoint).collect();
    write(cx, head, records, limits)
}

fn topic_row(key: &TopicKey) -> FetchTopic {
    match key {
        TopicKey::Id(id) => FetchTopic { topic_id: id.0, ..FetchTopic::default() },
        TopicKey::Name(name) => FetchTopic { name: StrBytes::from_string(name.as_str().to_owned()), ..FetchTopic::default() },
    }
}

fn partition_row(answer: &Answer, limits: &Limits) -> FetchPartition {
    let mut row = FetchPartition { partition_index: answer.asked.partition, ..FetchPartition::default() };
    match &answer.result {
        Err(error) => {
            row.error_code = error.code();
            // Kafka's refusal of what it does not know has an empty list, its other refusals have none.
            if matches!(error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) {
                row.aborted_transactions = Some(Vec::new());
            }
        }
        Ok(read) => {
            if limits.bound == FetchBound::LastStable {
                let listed = |aborted: &broker::partitions::AbortedTransaction| AbortedTransaction {
                    producer_id: aborted.producer_id.get(),
                    first_offset: aborted.first_offset.get(),
                };
                row.aborted_transactions = Some(read.aborted.iter().map(listed).collect());
            }
            row.high_watermark = read.offsets.high_watermark().get();
            row.last_stable_offset = read.offsets.last_stable().get();
            row.log_start_offset = read.offsets.log_start().get();
            row.diverging_epoch =
                read.diverging.map(|(epoch, end_offset)| DivergingEpoch { epoch: epoch.get(), end_offset: end_offset.get() });
            row.records_bytes = read.length_bytes;
            row.preferred_read_replica = BrokerId::to_wire(answer.preferred);
        }
    }
    row
}

/// Puts the answer's own bytes and the records' pieces in order.
pub(super) fn write(cx: &Context, head: FetchResponseHead, mut records: Vec<Vec<Piece>>, limits: &Limits) -> Outcome {
    let codes = head.topics.iter().flat_map(|topic| &topic.partitions).map(|row| row.error_code);
    let by = if limits.by_follower() { FetchBy::Follower } else { FetchBy::Consumer };
    cx.measure.end_fetch(by, std::iter::once(head.error_code).chain(codes));
    let mut prefix = BytesMut::new();
    protocol::put_response_header(&mut prefix, KEY, cx.version, cx.correlation_id);
    let segments = match write_fetch_response(prefix, cx.version, &head) {
        Ok(segments) => segments,
        Err(error) => {
            tracing::error!(version = cx.version, %error, "a fetch's answer cannot be written");
            return Outcome::Close(CloseReason::Refused("an answer could not be encoded"));
        }
    };
    let mut pieces = Vec::with_capacity(segments.len());
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => pieces.push(Piece::Memory(bytes)),
            Segment::Records(place) => pieces.extend(records.get_mut(place).map(std::mem::take).unwrap_or_default()),
        }
    }
    Outcome::Reply(ResponseFrame { pieces })
}
