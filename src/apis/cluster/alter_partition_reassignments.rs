//! AlterPartitionReassignments (key 45, versions 0-1): begins and cancels moves of partitions (KIP-455).
//!
//! - No replicas means cancel: NO_REASSIGNMENT_IN_PROGRESS, since nothing moves.
//! - The replicas that a partition has, in any order, are taken; a broker that is not registered is INVALID_REPLICA_ASSIGNMENT.
//!
//! # Deviations
//! None that a single broker can show.
//!
//! # Tests
//! Java tools `kafka-reassign-partitions`.

use protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct AlterPartitionReassignments;

impl Api for AlterPartitionReassignments {
    const KEY: i16 = 45;
    const NAME: &'static str = "AlterPartitionReassignments";
    const VERSIONS: Versions = Versions::new(0, 1);
    const FOR_CONTROLLER: bool = true;
    type Request = AlterPartitionReassignmentsRequest;
    type Response = AlterPartitionReassignmentsResponse;

    async fn handle(cx: Context, request: AlterPartitionReassignmentsRequest) -> AlterPartitionReassignmentsResponse {
        // Asked for nothing, Kafka says an empty sentence instead of none.
        let mut response = AlterPartitionReassignmentsResponse::default();
        if !request.topics.is_empty() {
            response.error_message = None;
        }
        if cx.version >= 1 {
            response.allow_replication_factor_change = request.allow_replication_factor_change;
        }
        match cx.broker.controller.alter_partition_reassignments(request).await {
            Ok(responses) => response.responses = responses,
            Err(error) => (response.error_code, response.error_message) = error_codes::control_fields(error),
        }
        response
    }
}
