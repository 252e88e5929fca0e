//! Markers: how the outcome of a transaction comes into the partitions that it wrote to, here and on other brokers.
//!
//! In Kafka: `TransactionMarkerChannelManager`, and the part of `KafkaApis` that serves WriteTxnMarkers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use model::{BrokerId, LeaderEpoch, ProducerEpoch, ProducerId, TopicIdPartition, TopicPartition};
use protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use protocol::messages::{self, TopicName, WriteTxnMarkersRequest};
use protocol::{ErrorCode, StrBytes};
use record_batch::{AppendOrigin, CheckedBatch, EndTxnMarker};
use tokio::sync::oneshot;
use txn_coordinator::{MarkerOutcome, Markers, MarkersAnswered, TransactionResult, TransactionVersion};

use crate::broker_connection::{Connection, Errand, LinkParts, Links};
use crate::coordinators::{EndOfTransaction, Groups, OFFSETS_TOPIC};
use crate::partitions::{AppendAs, AppendError, AppendRefusal, PartitionError, Partitions, RequiredAcks, TransactionCheck};

/// With the rules under which the epoch is checked (KIP-1228).
const WRITE_TXN_MARKERS_VERSION: i16 = 2;

/// The end of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionEnd {
    /// The producer.
    pub producer_id: ProducerId,
    /// The epoch in the marker.
    pub producer_epoch: ProducerEpoch,
    /// The term of the coordinator; `None` where it is none that wrote the marker.
    pub coordinator_epoch: Option<LeaderEpoch>,
    /// Commit or abort.
    pub result: TransactionResult,
    /// Under which rules the epoch is checked.
    pub transaction_version: TransactionVersion,
}

/// Writes markers. Cheap to clone.
#[derive(Clone)]
pub struct MarkerDelivery {
    inner: Arc<Inner>,
}

struct Inner {
    parts: LinkParts,
    partitions: Arc<Partitions>,
    groups: Groups,
    links: Links<RemoteMarkers>,
}

impl MarkerDelivery {
    pub(crate) fn new(parts: LinkParts, partitions: Arc<Partitions>, groups: Groups) -> Self {
        let links = Links::new(parts.clone());
        Self { inner: Arc::new(Inner { parts, partitions, groups, links }) }
    }

    /// Lets the connections to other brokers end.
    pub(crate) fn stop(&self) {
        self.inner.links.stop();
    }

    /// Sends the markers on their way, and tells what became of each partition's, once.
    pub(crate) fn deliver(&self, markers: Markers, answered: impl Fn(MarkersAnswered) + Send + Sync + 'static) {
        let answered = Arc::new(answered);
        let end = TransactionEnd {
            producer_id: markers.producer_id,
            producer_epoch: markers.producer_epoch,
            coordinator_epoch: Some(markers.coordinator_epoch),
            result: markers.result,
            transaction_version: markers.transaction_version,
        };
        let Markers { transactional_id, delivery, partitions, .. } = markers;
        for (leader, partitions) in self.by_leader(&partitions) {
            let (transactional_id, answered, this) = (Arc::clone(&transactional_id), Arc::clone(&answered), self.clone());
            let attended = async move {
                let outcomes = match leader {
                    Place::Gone => partitions.into_iter().map(|partition| (partition, MarkerOutcome::Gone)).collect(),
                    Place::Nowhere => all(partitions, MarkerOutcome::Retry),
                    Place::Here => {
                        this.write_here(end, partitions).written().await.into_iter().map(|(at, result)| (at, outcome_of(&result))).collect()
                    }
                    Place::At(broker) => this.write_at(broker, end, partitions).await,
                };
                answered(MarkersAnswered { transactional_id, delivery, outcomes });
            };
            self.inner.parts.tasks.spawn_on(attended, &self.inner.parts.runtime);
        }
    }

    fn by_leader(&self, partitions: &[TopicPartition]) -> BTreeMap<Place, Vec<TopicPartition>> {
        let image = self.inner.parts.metadata.image();
        let mut by_leader: BTreeMap<Place, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            let topic = image.topic_by_name(partition.topic.as_str());
            let place = match topic.and_then(|topic| topic.partition(partition.partition)).map(|state| state.leader) {
                // The coordinator knew it when it joined the transaction, so it is deleted.
                None => Place::Gone,
                Some(None) => Place::Nowhere,
                Some(Some(leader)) if leader == self.inner.parts.broker_id => Place::Here,
                Some(Some(leader)) => Place::At(leader),
            };
            by_leader.entry(place).or_default().push(partition.clone());
        }
        by_leader
    }

    /// Gives markers to partitions that this broker leads, in the order of calls.
    pub fn write_here(&self, end: TransactionEnd, partitions: Vec<TopicPartition>) -> MarkersUnderWay {
        MarkersUnderWay(partitions.into_iter().map(|partition| (self.begin_here(end, &partition), partition)).collect())
    }

    fn begin_here(&self, end: TransactionEnd, partition: &TopicPartition) -> Begun {
        let unknown = || Begun::Refused(AppendRefusal::Partition(PartitionError::NotLeader));
        let image = self.inner.parts.metadata.image();
        let Some(topic) = image.topic_by_name(partition.topic.as_str()) else { return unknown() };
        let id = TopicIdPartition { topic_id: topic.id, partition: partition.partition };
        if partition.topic.as_str() == OFFSETS_TOPIC {
            return Begun::Group(self.inner.groups.end_transaction(id, |done| end.for_group(done)));
        }
        let Some(led) = self.inner.partitions.get(id) else { return unknown() };
        let now = self.inner.parts.clock.now();
        let Ok(batch) = CheckedBatch::from_trusted(end.marker().batch(end.producer_id, end.producer_epoch, now)) else { return unknown() };
        let how = AppendAs { origin: AppendOrigin::Coordinator, transaction: end.check(), leader_epoch: None };
        Begun::Log(led.append_as(vec![batch], RequiredAcks::All, how, now))
    }

    async fn write_at(
        &self,
        broker: BrokerId,
        end: TransactionEnd,
        partitions: Vec<TopicPartition>,
    ) -> Vec<(TopicPartition, MarkerOutcome)> {
        let (reply, answer) = oneshot::channel();
        self.inner.links.send(broker, RemoteMarkers { end, partitions: partitions.clone(), reply });
        let answers = answer.await.unwrap_or_default();
        // Of what is not answered nothing is known.
        let outcome = |partition: TopicPartition| {
            let outcome = answers.get(&partition).map_or(MarkerOutcome::Retry, |error| MarkerOutcome::of(*error));
            (partition, outcome)
        };
        partitions.into_iter().map(outcome).collect()
    }
}

fn all(partitions: Vec<TopicPartition>, outcome: MarkerOutcome) -> Vec<(TopicPartition, MarkerOutcome)> {
    partitions.into_iter().map(|partition| (partition, outcome)).collect()
}

/// Markers on their way into logs.
pub struct MarkersUnderWay(Vec<(Begun, TopicPartition)>);

impl MarkersUnderWay {
    /// Waits until they are committed, or refused.
    pub async fn written(self) -> Vec<(TopicPartition, Result<(), AppendRefusal>)> {
        let not_here = || Err(AppendRefusal::Partition(PartitionError::NotLeader));
        let mut written = Vec::with_capacity(self.0.len());
        for (append, partition) in self.0 {
            let result = match append {
                Begun::Refused(refusal) => Err(refusal),
                Begun::Log(ticket) => match ticket.await {
                    Ok(appended) => appended.map(|_| ()),
                    Err(_) => not_here(),
                },
                Begun::Group(answer) => answer.await.unwrap_or_else(|_| not_here()),
            };
            written.push((partition, result));
        }
        written
    }
}

/// Where a partition's marker is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The partition is deleted.
    Gone,
    /// Nobody leads it now.
    Nowhere,
    Here,
    At(BrokerId),
}

enum Begun {
    Refused(AppendRefusal),
    Log(crate::partitions::AppendTicket),
    /// The shard of groups appends it, in its place among the shard's own records.
    Group(oneshot::Receiver<Result<(), AppendRefusal>>),
}

impl TransactionEnd {
    fn marker(&self) -> EndTxnMarker {
        EndTxnMarker {
            is_commit: self.result == TransactionResult::Commit,
            coordinator_epoch: LeaderEpoch::to_wire(self.coordinator_epoch),
        }
    }

    fn check(&self) -> TransactionCheck {
        if self.transaction_version.supports_epoch_bump() { TransactionCheck::EpochPerTransaction } else { TransactionCheck::Unchecked }
    }

    fn for_group(&self, done: oneshot::Sender<Result<(), AppendRefusal>>) -> EndOfTransaction {
        let (producer_id, producer_epoch) = (self.producer_id, self.producer_epoch);
        EndOfTransaction { producer_id, producer_epoch, marker: self.marker(), check: self.check(), done }
    }
}

fn outcome_of(result: &Result<(), AppendRefusal>) -> MarkerOutcome {
    match result {
        Ok(()) => MarkerOutcome::Written,
        Err(AppendRefusal::Log(AppendError::InvalidProducerEpoch { .. } | AppendError::CoordinatorFenced { .. })) => MarkerOutcome::Fenced,
        Err(_) => MarkerOutcome::Retry,
    }
}

type Answers = BTreeMap<TopicPartition, Option<ErrorCode>>;

/// Markers for partitions that another broker leads.
struct RemoteMarkers {
    end: TransactionEnd,
    partitions: Vec<TopicPartition>,
    reply: oneshot::Sender<Answers>,
}

impl RemoteMarkers {
    fn to_wire(&self) -> WritableTxnMarker {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in &self.partitions {
            topics.entry(partition.topic.as_str()).or_default().push(partition.partition.get());
        }
        let topic = |(name, partitions): (&str, Vec<i32>)| {
            WritableTxnMarkerTopic::default()
                .with_name(TopicName(StrBytes::from_string(name.to_owned())))
                .with_partition_indexes(partitions)
        };
        WritableTxnMarker::default()
            .with_producer_id(messages::ProducerId(self.end.producer_id.get()))
            .with_producer_epoch(self.end.producer_epoch.get())
            .with_transaction_result(self.end.result == TransactionResult::Commit)
            .with_coordinator_epoch(LeaderEpoch::to_wire(self.end.coordinator_epoch))
            .with_transaction_version(i8::try_from(self.end.transaction_version.feature_level()).unwrap_or(0))
            .with_topics(topics.into_iter().map(topic).collect())
    }
}

impl Errand for RemoteMarkers {
    async fn run(errands: Vec<Self>, connection: &mut Connection) -> io::Result<()> {
        let request = WriteTxnMarkersRequest::default().with_markers(errands.iter().map(Self::to_wire).collect());
        let response = connection.call(WRITE_TXN_MARKERS_VERSION, &request).await?;
        // One answer for each marker, in the order of the request.
        for (errand, row) in errands.into_iter().zip(response.markers) {
            let mut answers = Answers::new();
            for topic in row.topics {
                let name = model::TopicName::from(topic.name.as_str());
                for partition in topic.partitions {
                    let Some(index) = model::PartitionIndex::new(partition.partition_index) else { continue };
                    let at = TopicPartition { topic: name.clone(), partition: index };
                    answers.insert(at, ErrorCode::try_from_code(partition.error_code));
                }
            }
            let _gone = errand.reply.send(answers);
        }
        Ok(())
    }
}
