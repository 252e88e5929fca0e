//! Asks the coordinator of a transaction, here or on another broker, whether a partition belongs to it, or lets it join (KIP-890).
//!
//! In Kafka: `AddPartitionsToTxnManager`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::{BrokerId, ProducerEpoch, ProducerId, TopicPartition};
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnResult;
use protocol::messages::{self, AddPartitionsToTxnRequest, TopicName, TransactionalId};
use protocol::{ErrorCode, StrBytes};
use tokio::sync::{Semaphore, oneshot};
use txn_coordinator::TxnReply;

use crate::broker_connection::{Connection, Errand, LinkParts, Links};
use crate::coordinators::Transactions;

/// With TRANSACTION_ABORTABLE.
const ADD_PARTITIONS_VERSION: i16 = 5;

/// The first pause before a question is put again, if the coordinator is another broker; one that is here tells when its markers are written. They mostly
/// are within a millisecond or two, so that Kafka's 20 ms would be most of what a short transaction takes.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// So many at once are told. Where more wait, those who ask again after a pause ask together, and what they write is written together, for a fifth less
/// of the processor's time.
const TOLD_MAX: usize = 4;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether the partitions belong to the transaction: for clients that add them by themselves.
    IsIn,
    /// That they join it.
    Join,
}

/// Whose transaction, and where it writes.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The transactional id.
    pub transactional_id: String,
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
    /// What is asked of them.
    pub question: Question,
}

/// Why a partition may not be written to; for those that are missing there is nothing against it.
pub type Refusals = BTreeMap<TopicPartition, ErrorCode>;

/// Asks coordinators. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    parts: LinkParts,
    /// While the transaction before is being ended: between attempts at most, and all together.
    retry: (Duration, Duration),
    transactions: Transactions,
    /// Who may be told when the transaction before is ended.
    told: Semaphore,
    links: Links<RemoteQuestion>,
}

impl Verifier {
    pub(crate) fn new(parts: LinkParts, retry: (Duration, Duration), transactions: Transactions) -> Self {
        let links = Links::new(parts.clone());
        Self { inner: Arc::new(Inner { parts, retry, transactions, told: Semaphore::new(TOLD_MAX), links }) }
    }

    /// Lets the connections to other brokers end.
    pub(crate) fn stop(&self) {
        self.inner.links.stop();
    }

    /// Asks. Partitions that would join while the last transaction is being ended wait for that a little, as Kafka does: a producer that begins the
    /// next one at once is not to be sent back.
    pub async fn ask(&self, asked: &Asked) -> Refusals {
        let clock = &*self.inner.parts.clock;
        let (pause_max, longest) = self.inner.retry;
        let mut pause = PAUSE_MIN.min(pause_max);
        let deadline = clock.monotonic() + longest;
        loop {
            let refusals = self.ask_once(asked).await;
            let is_ending = refusals.values().any(|error| *error == ErrorCode::ConcurrentTransactions);
            let now = clock.monotonic();
            if asked.question == Question::IsIn || !is_ending || now >= deadline {
                return refusals;
            }
            let sleep = clock.sleep_until(deadline.min(now + pause));
            match self.inner.told.try_acquire() {
                Ok(_told) => tokio::select! {
                    () = self.inner.transactions.ended(&asked.transactional_id) => {}
                    () = sleep => {}
                },
                Err(_many_are) => sleep.await,
            }
            pause = pause_max.min(pause * 2);
        }
    }

    async fn ask_once(&self, asked: &Asked) -> Refusals {
        let all = |error| asked.partitions.iter().map(|partition| (partition.clone(), error)).collect();
        let leader = match self.inner.transactions.leader_of(&asked.transactional_id) {
            Ok(leader) => leader,
            Err(error) => return all(error),
        };
        let answer = if leader == self.inner.parts.broker_id { self.ask_here(asked).await } else { self.ask_at(leader, asked).await };
        answer.map_or_else(all, |result| refusals_of(&result))
    }

    async fn ask_here(&self, asked: &Asked) -> Result<AddPartitionsToTxnResult, ErrorCode> {
        let request = asked.to_wire();
        let operation = Box::new(move |shard: &mut txn_coordinator::TxnShard, now, meta| shard.add_partitions_to_txn(now, meta, request));
        match self.inner.transactions.call(&asked.transactional_id, ADD_PARTITIONS_VERSION, operation).await? {
            TxnReply::AddPartitionsToTxn(result) => Ok(result),
            _ => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    async fn ask_at(&self, broker: BrokerId, asked: &Asked) -> Result<AddPartitionsToTxnResult, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        self.inner.links.send(broker, RemoteQuestion { transaction: asked.to_wire(), reply });
        answer.await.unwrap_or(Err(ErrorCode::NetworkException))
    }
}

impl Asked {
    fn to_wire(&self) -> AddPartitionsToTxnTransaction {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in &self.partitions {
            topics.entry(partition.topic.as_str()).or_default().push(partition.partition.get());
        }
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let topic = |(name, partitions)| AddPartitionsToTxnTopic::default().with_name(TopicName(text(name))).with_partitions(partitions);
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(TransactionalId(text(&self.transactional_id)))
            .with_producer_id(messages::ProducerId(self.producer_id.get()))
            .with_producer_epoch(self.producer_epoch.get())
            .with_verify_only(self.question == Question::IsIn)
            .with_topics(topics.into_iter().map(topic).collect())
    }
}

fn refusals_of(result: &AddPartitionsToTxnResult) -> Refusals {
    let mut refusals = Refusals::new();
    for topic in &result.topic_results {
        let name = model::TopicName::from(topic.name.as_str());
        for row in &topic.results_by_partition {
            let index = model::PartitionIndex::new(row.partition_index);
            if let Some((partition, error)) = index.zip(ErrorCode::try_from_code(row.partition_error_code)) {
                refusals.insert(TopicPartition { topic: name.clone(), partition }, error);
            }
        }
    }
    refusals
}

/// A question to a coordinator on another broker.
struct RemoteQuestion {
    transaction: AddPartitionsToTxnTransaction,
    reply: oneshot::Sender<Result<AddPartitionsToTxnResult, ErrorCode>>,
}

impl Errand for RemoteQuestion {
    async fn run(errands: Vec<Self>, connection: &mut Connection) -> io::Result<()> {
        // One transaction has one row in an answer, so that those of one id take turns.
        let mut rounds: Vec<BTreeMap<String, Self>> = Vec::new();
        for errand in errands {
            let id = errand.transaction.transactional_id.to_string();
            match rounds.iter_mut().find(|round| !round.contains_key(&id)) {
                Some(round) => {
                    round.insert(id, errand);
                }
                None => rounds.push(BTreeMap::from([(id, errand)])),
            }
        }
        for mut round in rounds {
            let transactions = round.values().map(|errand| errand.transaction.clone()).collect();
            let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
            let response = connection.call(ADD_PARTITIONS_VERSION, &request).await?;
            let refused = ErrorCode::try_from_code(response.error_code);
            for result in response.results_by_transaction {
                if let Some(errand) = round.remove(result.transactional_id.as_str()) {
                    let _gone = errand.reply.send(Ok(result));
                }
            }
            for errand in round.into_values() {
                let _gone = errand.reply.send(Err(refused.unwrap_or(ErrorCode::NetworkException)));
            }
        }
        Ok(())
    }
}
