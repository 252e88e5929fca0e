//! BrokerRegistration (key 62, versions 0-4): a broker's run becomes part of the cluster, fenced until its heartbeats unfence it (KIP-631).
//!
//! - What the broker led goes to others first, and it leaves all in-sync sets. Unless it tells the epoch of its last run (version 3, KIP-966),
//!   which says that it lost nothing since, it is no eligible leader either.
//! - Another cluster's id is INCONSISTENT_CLUSTER_ID, an id whose broker is known to be alive DUPLICATE_BROKER_REGISTRATION, features that do not
//!   cover what is finalized UNSUPPORTED_VERSION.
//! - A run that is registered already hears its epoch again.
//!
//! # Deviations
//! - Of a broker from which a new active controller has not heard yet, the next run is taken at once; Kafka waits until its session is over.
//! - Of log directories the first is recorded: klamm has one per broker.
//!
//! # Tests
//! `a_broker_registers_beats_and_alters_its_partitions`; the scripts in `metadata`'s `cluster_tests`.

use std::collections::BTreeMap;

use metadata::controller::{BrokerRegistration as Registration, RegistrationWish};
use metadata::{Endpoint, FeatureRange};
use model::{BrokerEpoch, BrokerId};
use protocol::ErrorCode;
use protocol::messages::{BrokerRegistrationRequest, BrokerRegistrationResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct BrokerRegistration;

impl Api for BrokerRegistration {
    const KEY: i16 = 62;
    const NAME: &'static str = "BrokerRegistration";
    const VERSIONS: Versions = Versions::new(0, 4);
    const FOR_CONTROLLER: bool = true;
    const FROM_BROKERS: bool = true;
    type Request = BrokerRegistrationRequest;
    type Response = BrokerRegistrationResponse;

    async fn handle(cx: Context, request: BrokerRegistrationRequest) -> BrokerRegistrationResponse {
        let refused = |code: ErrorCode| BrokerRegistrationResponse::default().with_error_code(code.code()).with_broker_epoch(-1);
        let Some(broker_id) = BrokerId::new(request.broker_id.0) else { return refused(ErrorCode::InvalidRequest) };
        if request.is_migrating_zk_broker {
            // There is no ZooKeeper to come from.
            return refused(ErrorCode::BrokerIdNotRegistered);
        }
        match cx.broker.controller.admit_broker(wish_of(broker_id, request)).await {
            Ok(Ok(epoch)) => BrokerRegistrationResponse::default().with_broker_epoch(epoch.get()),
            Ok(Err(refusal)) => {
                tracing::warn!(broker = %broker_id, %refusal, "a broker is not registered");
                refused(refusal.code)
            }
            Err(error) => refused(error_codes::control(error)),
        }
    }
}

fn wish_of(broker_id: BrokerId, request: BrokerRegistrationRequest) -> RegistrationWish {
    let listeners = request.listeners.iter().map(|listener| Endpoint {
        listener: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    });
    let range = |min: i16, max: i16| FeatureRange { min, max };
    let features: BTreeMap<String, FeatureRange> = request
        .features
        .iter()
        .map(|feature| (feature.name.to_string(), range(feature.min_supported_version, feature.max_supported_version)))
        .collect();
    RegistrationWish {
        cluster_id: request.cluster_id.to_string(),
        registration: Registration {
            broker_id,
            incarnation_id: request.incarnation_id,
            listeners: listeners.collect(),
            rack: request.rack.as_ref().map(ToString::to_string),
            features,
            directory_id: request.log_dirs.first().copied().filter(|id| !id.is_nil()),
        },
        previous_epoch: BrokerEpoch::new(request.previous_broker_epoch),
    }
}
