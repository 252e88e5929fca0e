//! Quotas at the edge of handlers: what a request costs, and how its client is made to wait.
//!
//! As in Kafka since KIP-219, the answer leaves at once and says how long the client is to wait, and the connection takes no request for so long.
//! While nobody is limited this costs a relaxed load or two.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use broker::quotas::QuotaKind;
use protocol::messages;
use wire::clock::Clock;

use crate::api::{Api, Context};

/// An answer that may say how long its client has to wait.
pub(crate) trait Throttled {
    /// Where it says so, in milliseconds; `None` if it cannot.
    fn throttle_time_ms(&mut self) -> Option<&mut i32>;
}

macro_rules! throttled {
    ($($response:ident)*) => {
        $(impl Throttled for messages::$response {
            fn throttle_time_ms(&mut self) -> Option<&mut i32> {
                Some(&mut self.throttle_time_ms)
            }
        })*
    };
}

throttled! {
    AddOffsetsToTxnResponse
    AddRaftVoterResponse
    RemoveRaftVoterResponse
    AddPartitionsToTxnResponse
    AlterClientQuotasResponse
    AllocateProducerIdsResponse
    AlterConfigsResponse
    AlterPartitionReassignmentsResponse
    DescribeTransactionsResponse
    EndTxnResponse
    ListTransactionsResponse
    TxnOffsetCommitResponse
    UpdateFeaturesResponse
    AlterPartitionResponse
    AlterReplicaLogDirsResponse
    ApiVersionsResponse
    BrokerHeartbeatResponse
    BrokerRegistrationResponse
    CreatePartitionsResponse
    CreateTopicsResponse
    DeleteGroupsResponse
    DeleteRecordsResponse
    DeleteTopicsResponse
    DescribeClientQuotasResponse
    DescribeClusterResponse
    DescribeConfigsResponse
    DescribeGroupsResponse
    DescribeLogDirsResponse
    DescribeProducersResponse
    DescribeTopicPartitionsResponse
    DescribeUserScramCredentialsResponse
    ElectLeadersResponse
    FindCoordinatorResponse
    HeartbeatResponse
    IncrementalAlterConfigsResponse
    InitProducerIdResponse
    JoinGroupResponse
    LeaveGroupResponse
    ListConfigResourcesResponse
    ListGroupsResponse
    ListOffsetsResponse
    ListPartitionReassignmentsResponse
    MetadataResponse
    OffsetCommitResponse
    OffsetDeleteResponse
    OffsetFetchResponse
    OffsetForLeaderEpochResponse
    SyncGroupResponse
    UnregisterBrokerResponse
}

impl Throttled for messages::WriteTxnMarkersResponse {
    fn throttle_time_ms(&mut self) -> Option<&mut i32> {
        None
    }
}

impl Throttled for messages::DescribeQuorumResponse {
    fn throttle_time_ms(&mut self) -> Option<&mut i32> {
        None
    }
}

/// Runs a handler, charges its time, and mutes the connection for the longer of that wait and the one that the handler put into its answer.
pub(crate) async fn handle<A: Api>(cx: Context, request: A::Request) -> A::Response {
    if A::FROM_BROKERS {
        return A::handle(cx, request).await;
    }
    let (broker, connection) = (Arc::clone(&cx.broker), Arc::clone(&cx.connection));
    let (mut response, own_wait) = if broker.quotas.is_active(QuotaKind::Request) {
        let charged = cx.clone();
        let (response, spent) = timed(&*broker.clock, A::handle(cx, request)).await;
        (response, broker.quotas.record_request(charged.client(), spent))
    } else {
        (A::handle(cx, request).await, Duration::ZERO)
    };
    let field = response.throttle_time_ms();
    let told = field.as_ref().map_or(0, |field| **field);
    let wait = own_wait.max(Duration::from_millis(u64::try_from(told).unwrap_or(0)));
    if !wait.is_zero() {
        connection.mute_until(broker.clock.monotonic().saturating_add(wait));
        if let Some(field) = field {
            *field = millis(wait);
        }
    }
    response
}

/// What a future gives, and how long it ran; the time in which it waited is not counted.
pub(crate) async fn timed<F: Future>(clock: &dyn Clock, future: F) -> (F::Output, Duration) {
    let mut future = pin!(future);
    let mut spent = Duration::ZERO;
    let output = poll_fn(|cx| {
        let begin = clock.monotonic();
        let polled = future.as_mut().poll(cx);
        spent += clock.monotonic().saturating_sub(begin);
        polled
    })
    .await;
    (output, spent)
}

/// Mutes the connection for a wait, and gives the number that the answer tells.
pub(crate) fn mute(cx: &Context, wait: Duration) -> i32 {
    if !wait.is_zero() {
        cx.connection.mute_until(cx.broker.clock.monotonic().saturating_add(wait));
    }
    millis(wait)
}

/// A wait as answers tell it.
pub(crate) fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}
