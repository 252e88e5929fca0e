//! ListPartitionReassignments (key 46, version 0): the movements of replicas under way.
//!
//! - A single broker moves nothing, so the list is empty, which kafka-topics --describe expects.
//!
//! # Deviations
//! - None for one broker: there is nothing to move.
//!
//! # Tests
//! Java tools `kafka-topics --describe`.

use protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::api::{Api, Context, Versions};

pub(crate) struct ListPartitionReassignments;

impl Api for ListPartitionReassignments {
    const KEY: i16 = 46;
    const NAME: &'static str = "ListPartitionReassignments";
    const VERSIONS: Versions = Versions::new(0, 0);
    const FOR_CONTROLLER: bool = true;
    type Request = ListPartitionReassignmentsRequest;
    type Response = ListPartitionReassignmentsResponse;

    async fn handle(_cx: Context, _request: ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
        ListPartitionReassignmentsResponse::default().with_error_message(None)
    }
}
