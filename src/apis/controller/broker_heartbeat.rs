//! BrokerHeartbeat (key 63, versions 0-1): a broker lives, wants to lead, or wants to stop (KIP-631).
//!
//! - A broker that has the metadata up to its own registration is unfenced and leads at once what has no leader.
//! - One that wants to stop hands over its partitions and may stop when all others know.
//! - An epoch that is not that of the registration is STALE_BROKER_EPOCH.
//! - A broker whose connections to the controller are closed and that does not come back within a moment is fenced before its session is over.
//!
//! # Deviations
//! - Version 2, which adds cordoned log directories (KIP-1066), is not served; offline log directories are not looked at: klamm has one per broker.
//!
//! # Tests
//! `a_broker_registers_beats_and_alters_its_partitions`; the scripts in `metadata`'s `cluster_tests`.

use metadata::controller::Heartbeat;
use model::{BrokerEpoch, BrokerId};
use protocol::ErrorCode;
use protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct BrokerHeartbeat;

impl Api for BrokerHeartbeat {
    const KEY: i16 = 63;
    const NAME: &'static str = "BrokerHeartbeat";
    const VERSIONS: Versions = Versions::new(0, 1);
    const FOR_CONTROLLER: bool = true;
    const FROM_BROKERS: bool = true;
    type Request = BrokerHeartbeatRequest;
    type Response = BrokerHeartbeatResponse;

    async fn handle(cx: Context, request: BrokerHeartbeatRequest) -> BrokerHeartbeatResponse {
        // As Kafka's answer to a broker that must not lead.
        let refused = |code: ErrorCode| BrokerHeartbeatResponse::default().with_error_code(code.code()).with_is_fenced(true);
        let ids = BrokerId::new(request.broker_id.0).zip(BrokerEpoch::new(request.broker_epoch));
        let Some((broker_id, broker_epoch)) = ids else { return refused(ErrorCode::StaleBrokerEpoch) };
        let heartbeat = Heartbeat {
            broker_id,
            broker_epoch,
            metadata_index: u64::try_from(request.current_metadata_offset).unwrap_or(0),
            wants_fence: request.want_fence,
            wants_shutdown: request.want_shut_down,
        };
        match cx.broker.controller.heartbeat(heartbeat, &cx.connection).await {
            Ok(Ok(reply)) => BrokerHeartbeatResponse::default()
                .with_is_caught_up(reply.is_caught_up)
                .with_is_fenced(reply.is_fenced)
                .with_should_shut_down(reply.should_shut_down),
            Ok(Err(refusal)) => refused(refusal.code),
            Err(error) => refused(error_codes::control(error)),
        }
    }
}
