//! The coordinators of one broker and what carries their words, put together.

use std::sync::Arc;
use std::time::Duration;

use metadata::{Delta, Image};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::clock::SharedClock;

use crate::Broker;
use crate::broker_connection::LinkParts;
use crate::config::BrokerConfig;
use crate::controller::Controller;
use crate::coordinators::{Groups, GroupsParts, RuntimeParts, Transactions, TransactionsParts};
use crate::entropy::Entropy;
use crate::markers::MarkerDelivery;
use crate::metadata_view::MetadataView;
use crate::partitions::Partitions;
use crate::producer_ids::ProducerIds;
use crate::verification::Verifier;

/// A broker that says nothing for so long is asked anew, or its successor is: a transaction must not wait for a dead host. Asking twice does no harm.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What the coordinators need of their broker.
pub(crate) struct CoordinationParts<'a> {
    pub(crate) config: &'a BrokerConfig,
    pub(crate) metadata: MetadataView,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) controller: Controller,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: TaskTracker,
}

/// The coordinators and their helpers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Coordination {
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    pub(crate) markers: MarkerDelivery,
    pub(crate) verifier: Verifier,
    pub(crate) producer_ids: Arc<ProducerIds>,
}

impl Coordination {
    pub(crate) fn new(parts: CoordinationParts<'_>) -> Self {
        let CoordinationParts { config, metadata, partitions, controller, entropy, clock, tasks } = parts;
        let runtime = RuntimeParts {
            broker_id: config.broker_id,
            metadata: metadata.clone(),
            partitions: Arc::clone(&partitions),
            clock: Arc::clone(&clock),
            tasks: tasks.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let links = LinkParts {
            broker_id: config.broker_id,
            listener: config.inter_broker_listener.clone(),
            metadata,
            clock,
            tasks,
            runtime: tokio::runtime::Handle::current(),
            timeout: ANSWER_WITHIN,
        };
        let producer_ids = Arc::new(ProducerIds::new(controller.clone()));
        let groups =
            Groups::new(GroupsParts { runtime: runtime.clone(), config: config.groups.clone(), controller: controller.clone(), entropy });
        let markers = MarkerDelivery::new(links.clone(), partitions, groups.clone());
        let transactions = Transactions::new(TransactionsParts {
            runtime,
            config: config.transactions.clone(),
            controller,
            producer_ids: Arc::clone(&producer_ids),
            delivery: markers.clone(),
        });
        let verifier = Verifier::new(links, config.add_partitions_retry, transactions.clone());
        Self { groups, transactions, markers, verifier, producer_ids }
    }

    pub(crate) fn apply(&self, image: &Image, delta: &Delta) {
        self.groups.apply(image, delta);
        self.transactions.apply(image, delta);
    }
}

/// Lets unused transactional ids be forgotten, until the broker stops.
pub(crate) async fn expire_transactional_ids(broker: Arc<Broker>, stopping: CancellationToken) {
    loop {
        let next = broker.clock.monotonic() + broker.config.transactional_id_cleanup_interval;
        tokio::select! {
            () = stopping.cancelled() => return,
            () = broker.clock.sleep_until(next) => broker.transactions.expire_transactional_ids(),
        }
    }
}
