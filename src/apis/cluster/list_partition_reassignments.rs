//! ListPartitionReassignments (key 46, version 0): the movements of replicas under way.
//!
//! - No list of topics means all; a topic or partition that is not moving, or not there, is left out.
//! - An empty list is a valid answer, which kafka-topics --describe expects.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Java tools `kafka-topics --describe`.

use metadata::controller::list_partition_reassignments;
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

    async fn handle(cx: Context, request: ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
        let moves = list_partition_reassignments(&cx.broker.metadata.image(), request.topics.as_deref());
        ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(moves)
    }
}
