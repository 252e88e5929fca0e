//! AlterPartition (key 56, versions 2-3): the leader of partitions asks for other in-sync sets (KIP-497, KIP-841, KIP-903).
//!
//! - Each change rests on the leader epoch and the partition epoch that the leader knows: FENCED_LEADER_EPOCH and INVALID_UPDATE_VERSION if they are
//!   old, NOT_CONTROLLER if they are newer than what this controller knows.
//! - A member that is fenced, stops, or (version 3) has another broker epoch is INELIGIBLE_REPLICA.
//! - A change that ends a move of replicas may take the leadership from the asking broker: NEW_LEADER_ELECTED.
//!
//! # Deviations
//! - A leader is never told to be recovering: klamm's have cut their log when they lead.
//!
//! # Tests
//! `a_broker_registers_beats_and_alters_its_partitions`; the scripts in `metadata`'s `cluster_tests`.

use protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct AlterPartition;

impl Api for AlterPartition {
    const KEY: i16 = 56;
    const NAME: &'static str = "AlterPartition";
    const VERSIONS: Versions = Versions::new(2, 3);
    const FOR_CONTROLLER: bool = true;
    const FROM_BROKERS: bool = true;
    type Request = AlterPartitionRequest;
    type Response = AlterPartitionResponse;

    async fn handle(cx: Context, request: AlterPartitionRequest) -> AlterPartitionResponse {
        let response = AlterPartitionResponse::default();
        match cx.broker.controller.alter_partition(request).await {
            Ok(Ok(topics)) => response.with_topics(topics),
            Ok(Err(refusal)) => response.with_error_code(refusal.code.code()),
            Err(error) => response.with_error_code(error_codes::control(error).code()),
        }
    }
}
