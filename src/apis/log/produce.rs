//! Produce (key 0, versions 3-13; told from 0, see ApiVersions): appends record batches.
//!
//! - Each partition succeeds or fails on its own, with Kafka's codes and, for bad records, their places in the batch (KIP-467).
//! - The batch is kept byte for byte; see `record-batch`'s check for the exceptions, which are Kafka's.
//! - An idempotent producer's repeated batch is answered with the first copy's offset.
//! - acks=0 has no answer; an error then closes the connection, so that the client asks for metadata again.
//! - Version 10 tells a new leader (KIP-951); version 13 names topics by id (KIP-516).
//! - Beyond `producer_byte_rate` or `request_percentage` the answer tells the wait and the connection is muted; with acks=0 only the bytes count.
//! - The first batch of a transaction waits for its coordinator's word, and later requests of the connection for that (KIP-890).
//! - Later requests of the connection are taken while this one waits for its replicas; answers stay in order.
//! - A broker that stops answers what it has taken before others lead its partitions, and takes no other request meanwhile.
//!
//! # Deviations
//! - A disk with less than 64 MiB of free space (a small one: less than a sixteenth) gives KAFKA_STORAGE_ERROR until there is more; Kafka goes
//!   on until it is full and then takes the directory offline.
//! - A partition without records is INVALID_RECORD; Kafka's handler fails and leaves the client without an answer.
//! - An unknown codec is UNSUPPORTED_COMPRESSION_TYPE and records that do not decompress INVALID_RECORD; Kafka answers UNKNOWN_SERVER_ERROR.
//!
//! # Tests
//! `codecs`, `keys`, `headers`, `nulls`, `size_limit`, `idempotent_restart` of every client; kcat round trips.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use broker::hand_over_gate::Pass;
use broker::partitions::{AppendAs, AppendOutcome, AppendRefusal, AppendTicket, Partition, RequiredAcks, TransactionCheck};
use broker::quotas::QuotaKind;
use bytes::Bytes;
use metadata::Image;
use metadata::configs::{TimestampType, TopicCompression, TopicConfig};
use model::{Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use protocol::messages::{ProduceRequest, ProduceResponse, TransactionalId};
use protocol::{ErrorCode, StrBytes};
use record_batch::{AppendOrigin, BatchError, CheckedBatch, Codec, InvalidReason, ProduceRefusal, ProduceRules, check_produced};
use wire::clock::timeout_at;
use wire::{CloseReason, Outcome};

use super::leader_hints::{LeaderHints, Node};
use super::{TopicRef, find_partition};
use crate::api::{self, Context, ErasedApi, Versions};
use crate::transactions::verification::{Understands, Writer};
use crate::{error_codes, throttle};

const KEY: i16 = 0;

/// The client id that may write to internal topics, as in Kafka.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// A batch that decompresses to more than this many times its own limit is a bomb, not data.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

pub(crate) struct Produce;

impl ErasedApi for Produce {
    fn key(&self) -> i16 {
        KEY
    }

    fn name(&self) -> &'static str {
        "Produce"
    }

    fn served(&self) -> Versions {
        Versions::new(3, 13)
    }

    fn advertised(&self) -> Versions {
        Versions::new(0, 13)
    }

    fn call(&self, cx: Context, body: Bytes) -> Outcome {
        let request = match api::decode::<ProduceRequest>(body, cx.version) {
            Ok(request) => request,
            Err(reason) => return Outcome::Close(reason),
        };
        let acks = match request.acks {
            0 => Ok(RequiredAcks::None),
            1 => Ok(RequiredAcks::Leader),
            -1 => Ok(RequiredAcks::All),
            _ => Err(ErrorCode::InvalidRequiredAcks),
        };
        // IMPORTANT: the next request must not overtake what is not appended yet.
        let Some(pass) = cx.broker.hand_over_gate.try_pass() else {
            return Outcome::serial(async move {
                let pass = cx.broker.hand_over_gate.pass().await;
                UnderWay::begin(cx, request, acks, pass).end().await
            });
        };
        // The appends happen here, before anything is awaited: that is what keeps the order of pipelined requests.
        let request = UnderWay::begin(cx, request, acks, pass);
        if request.waits_for_coordinator() { Outcome::serial(request.end()) } else { Outcome::pipelined(request.end()) }
    }
}

/// A request whose appends are under way, or wait for their transaction's coordinator.
struct UnderWay {
    cx: Context,
    topics: Vec<TopicUnderWay>,
    writer: Option<Writer>,
    acks: RequiredAcks,
    wait: Wait,
    /// Until it is answered.
    _pass: Pass,
}

impl UnderWay {
    fn begin(cx: Context, request: ProduceRequest, acks: Result<RequiredAcks, ErrorCode>, pass: Pass) -> Self {
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let begin = cx.broker.quotas.is_active(QuotaKind::Request).then(|| cx.broker.clock.monotonic());
        let image = cx.broker.metadata.image();
        let writer = writer(cx.version, request.transactional_id);
        let named = request.topic_data.into_iter().filter(|topic| !topic.partition_data.is_empty());
        let topics: Vec<_> = named.map(|topic| begin_topic(&cx, &image, writer.as_ref(), topic, acks)).collect();
        let acks = acks.unwrap_or(RequiredAcks::Leader);
        let wait = Wait { timeout, throttle_time_ms: charge(&cx, begin.filter(|_| acks != RequiredAcks::None)) };
        Self { cx, topics, writer, acks, wait, _pass: pass }
    }

    fn waits_for_coordinator(&self) -> bool {
        self.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| matches!(partition.state, Ok(Append::ToVerify(_))))
    }

    async fn end(self) -> Outcome {
        let waits = self.waits_for_coordinator();
        let Self { cx, mut topics, writer, acks, wait, _pass } = self;
        if let Some(writer) = writer.as_ref().filter(|_| waits) {
            topics = verify(&cx, writer, topics, acks).await;
        }
        finish(cx, topics, acks, wait).await
    }
}

/// What the answer waits for, and what it tells the client to wait.
struct Wait {
    timeout: Duration,
    throttle_time_ms: i32,
}

/// Charges the request's bytes, and the time since `begin`, and mutes the connection at once: a later request must not be taken before.
fn charge(cx: &Context, begin: Option<Duration>) -> i32 {
    let quotas = &cx.broker.quotas;
    let of_bytes = quotas.record_produce(cx.client(), cx.request_bytes);
    let of_time = begin.map(|begin| quotas.record_request(cx.client(), cx.broker.clock.monotonic().saturating_sub(begin)));
    throttle::mute(cx, of_bytes.max(of_time.unwrap_or_default()))
}

struct TopicUnderWay {
    response: TopicProduceResponse,
    partitions: Vec<PartitionUnderWay>,
}

struct PartitionUnderWay {
    index: i32,
    /// `None` if it is not known here.
    partition: Option<Arc<Partition>>,
    state: Result<Append, Refusal>,
}

/// How far an append is.
enum Append {
    UnderWay(AppendTicket),
    /// It waits for the word of its transaction's coordinator.
    ToVerify(Box<ToVerify>),
}

struct ToVerify {
    batch: CheckedBatch,
    check: TransactionCheck,
    producer: (ProducerId, ProducerEpoch),
}

/// Who writes in a transaction; `None` without an id, and then no batch may belong to one.
fn writer(version: i16, transactional_id: Option<TransactionalId>) -> Option<Writer> {
    let understands = match version {
        ..=10 => Understands::Little,
        11 => Understands::Abortable,
        12.. => Understands::ImplicitPartitions,
    };
    transactional_id.map(|id| Writer { transactional_id: id.to_string(), understands })
}

const fn of_transaction(transaction: TransactionCheck) -> AppendAs {
    AppendAs { origin: AppendOrigin::Client, transaction, leader_epoch: None }
}

/// Asks the coordinator for all that wait for its word, and begins the appends that it allows.
async fn verify(cx: &Context, writer: &Writer, mut topics: Vec<TopicUnderWay>, acks: RequiredAcks) -> Vec<TopicUnderWay> {
    let waiting = || topics.iter().flat_map(|topic| &topic.partitions);
    let mut named = Vec::new();
    let mut producers = BTreeSet::new();
    for row in waiting() {
        if let (Some(partition), Ok(Append::ToVerify(to_verify))) = (&row.partition, &row.state) {
            named.push(TopicPartition { topic: partition.topic().clone(), partition: partition.id().partition });
            producers.insert(to_verify.producer);
        }
    }
    let mut producers = producers.into_iter();
    let refusals = match (producers.next(), producers.next()) {
        (Some(producer), None) => writer.ask(cx, producer, named).await,
        // A transaction has one producer.
        _ => named.into_iter().map(|partition| (partition, ErrorCode::InvalidProducerIdMapping)).collect(),
    };
    for row in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        let Some(partition) = &row.partition else { continue };
        if !matches!(row.state, Ok(Append::ToVerify(_))) {
            continue;
        }
        let at = TopicPartition { topic: partition.topic().clone(), partition: partition.id().partition };
        let state = std::mem::replace(&mut row.state, Err(ErrorCode::InvalidTxnState.into()));
        let Ok(Append::ToVerify(to_verify)) = state else { continue };
        row.state = match refusals.get(&at) {
            Some(error) => Err(unverified(writer, *error)),
            None => {
                let ToVerify { batch, check, .. } = *to_verify;
                Ok(Append::UnderWay(partition.append_as(vec![batch], acks, of_transaction(check), cx.broker.clock.now())))
            }
        };
    }
    topics
}

/// What a producer is told when the coordinator does not let it write.
fn unverified(writer: &Writer, error: ErrorCode) -> Refusal {
    let told = writer.told(error);
    let code = match told {
        ErrorCode::ConcurrentTransactions if writer.understands == Understands::ImplicitPartitions => ErrorCode::ConcurrentTransactions,
        // To be tried again, in words that producers of all versions know.
        ErrorCode::ConcurrentTransactions
        | ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        other => other,
    };
    let message = match code {
        ErrorCode::InvalidTxnState => Some("The partition does not belong to the transaction".to_owned()),
        ErrorCode::NotEnoughReplicas => Some(format!("The transaction's coordinator could not be asked: {told}")),
        _ => None,
    };
    Refusal { message, ..code.into() }
}

/// Why one partition's batch is refused, with what the client is told beside the code.
struct Refusal {
    code: ErrorCode,
    /// A sentence where single records are at fault or no batch can be seen; Kafka has none for other refusals.
    message: Option<String>,
    record_errors: Vec<(i32, String)>,
    /// Told where the refusal came from the log's own check.
    log_start: Option<Offset>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, record_errors: Vec::new(), log_start: None }
    }
}

fn begin_topic(
    cx: &Context,
    image: &Image,
    writer: Option<&Writer>,
    topic: TopicProduceData,
    acks: Result<RequiredAcks, ErrorCode>,
) -> TopicUnderWay {
    let mut response = TopicProduceResponse::default();
    let partitions = topic.partition_data.into_iter();
    let partitions = partitions.map(|data| {
        let index = data.index;
        let reference = if cx.version >= 13 { TopicRef::Id(topic.topic_id) } else { TopicRef::Name(topic.name.as_str()) };
        let found = find_partition(cx, image, reference, index);
        let (partition, state) = match (found, acks) {
            (Ok(partition), Ok(acks)) => {
                let state = begin_partition(cx, &partition, writer, data, acks);
                (Some(partition), state)
            }
            (found, Err(code)) => (found.ok(), Err(code.into())),
            (Err(code), Ok(_)) => (None, Err(code.into())),
        };
        PartitionUnderWay { index, partition, state }
    });
    let partitions = partitions.collect();
    if cx.version >= 13 {
        response.topic_id = topic.topic_id;
    } else {
        response.name = topic.name;
    }
    TopicUnderWay { response, partitions }
}

fn begin_partition(
    cx: &Context,
    partition: &Arc<Partition>,
    writer: Option<&Writer>,
    data: PartitionProduceData,
    acks: RequiredAcks,
) -> Result<Append, Refusal> {
    if metadata::is_internal_topic(partition.topic().as_str()) && cx.client_id != ADMIN_CLIENT_ID {
        return Err(ErrorCode::InvalidTopicException.into());
    }
    let now = cx.broker.clock.now();
    let rules = rules(cx, partition, now);
    let batch = check_produced(data.records.unwrap_or_default(), &rules).map_err(|refusal| refuse_records(&refusal, partition))?;
    let header = batch.header();
    let Some(producer) = header.producer().filter(|_| header.attributes.is_transactional()) else {
        return Ok(Append::UnderWay(partition.append(vec![batch], acks, AppendOrigin::Client, now)));
    };
    let writer = writer.ok_or(ErrorCode::TransactionalIdAuthorizationFailed)?;
    let (check, must_ask) = writer.begin(cx, partition, (producer.producer_id, producer.producer_epoch, producer.first_sequence));
    if must_ask {
        let producer = (producer.producer_id, producer.producer_epoch);
        return Ok(Append::ToVerify(Box::new(ToVerify { batch, check, producer })));
    }
    Ok(Append::UnderWay(partition.append_as(vec![batch], acks, of_transaction(check), now)))
}

fn rules(cx: &Context, partition: &Partition, now: Timestamp) -> ProduceRules {
    let config = partition.config();
    ProduceRules {
        now,
        max_message_bytes: config.max_message_bytes,
        compacted: config.compact,
        timestamp_type: match config.timestamp_type {
            TimestampType::CreateTime => record_batch::TimestampType::CreateTime,
            TimestampType::LogAppendTime => record_batch::TimestampType::LogAppendTime,
        },
        before_max_ms: config.timestamp_before_max_ms,
        after_max_ms: config.timestamp_after_max_ms,
        compression: compression(&config),
        zstd_allowed: cx.version >= 7,
        origin: AppendOrigin::Client,
        max_decompressed_bytes: DECOMPRESSED_BYTES_MAX,
    }
}

/// The codec and level that the topic asks for; none where batches stay as they came.
fn compression(config: &TopicConfig) -> Option<(Codec, Option<i32>)> {
    match config.compression {
        TopicCompression::Producer => None,
        TopicCompression::Uncompressed => Some((Codec::None, None)),
        TopicCompression::Gzip => Some((Codec::Gzip, Some(config.gzip_level))),
        TopicCompression::Snappy => Some((Codec::Snappy, None)),
        TopicCompression::Lz4 => Some((Codec::Lz4, Some(config.lz4_level))),
        TopicCompression::Zstd => Some((Codec::Zstd, Some(config.zstd_level))),
    }
}

fn refuse_records(refusal: &ProduceRefusal, partition: &Partition) -> Refusal {
    let code = error_codes::produce(refusal);
    let record_errors = refusal.record_errors().to_vec();
    let message = (!record_errors.is_empty() || is_unreadable(refusal)).then(|| refusal.to_string());
    Refusal { code, message, record_errors, log_start: is_told_by_the_log(refusal).then(|| partition.offsets().log_start()) }
}

/// Whether not even the batch's borders can be seen, for which Kafka has a sentence, too.
fn is_unreadable(refusal: &ProduceRefusal) -> bool {
    matches!(refusal, ProduceRefusal::CorruptMessage(BatchError::LengthTooSmall(_) | BatchError::WrongMagic(_)))
}

/// Whether Kafka finds the fault only in its log, whose start it then tells: what the request itself shows is refused before, and so is a damaged batch.
fn is_told_by_the_log(refusal: &ProduceRefusal) -> bool {
    match refusal {
        ProduceRefusal::InvalidRecord { reason, .. } => {
            !matches!(reason, InvalidReason::NoBatch | InvalidReason::SeveralBatches | InvalidReason::OldMagic(_))
        }
        ProduceRefusal::InvalidTimestamp { .. } => true,
        ProduceRefusal::CorruptMessage(_) | ProduceRefusal::MessageTooLarge { .. } | ProduceRefusal::UnsupportedCompressionType { .. } => {
            false
        }
    }
}

async fn finish(cx: Context, topics: Vec<TopicUnderWay>, acks: RequiredAcks, wait: Wait) -> Outcome {
    let deadline = cx.broker.clock.monotonic() + wait.timeout;
    let (mut hints, mut image) = (LeaderHints::default(), None);
    let mut response = ProduceResponse::default();
    response.throttle_time_ms = wait.throttle_time_ms;
    let mut first_error = None;
    for topic in topics {
        let mut row = topic.response;
        for PartitionUnderWay { index, partition: found, state } in topic.partitions {
            let result = match state {
                Err(refusal) => Err(refusal),
                Ok(Append::UnderWay(ticket)) => appended_by(&cx, ticket, found.as_deref(), deadline).await,
                Ok(Append::ToVerify(_)) => Err(ErrorCode::InvalidTxnState.into()),
            };
            match &found {
                Some(found) => found.traffic().produced(result.is_err()),
                None => cx.broker.metrics.all_topics.produced(true),
            }
            let mut partition = PartitionProduceResponse::default();
            partition.index = index;
            match result {
                Ok(outcome) => appended(&mut partition, &outcome, cx.version),
                Err(refusal) => {
                    first_error.get_or_insert(refusal.code);
                    if cx.version >= 10 && refusal.code == ErrorCode::NotLeaderOrFollower {
                        let image = image.get_or_insert_with(|| cx.broker.metadata.image());
                        let topic = if cx.version >= 13 { TopicRef::Id(row.topic_id) } else { TopicRef::Name(row.name.as_str()) };
                        let leader = hints.leader_of(&cx, image, topic, index);
                        partition.current_leader =
                            LeaderIdAndEpoch::default().with_leader_id(leader.id.into()).with_leader_epoch(leader.epoch);
                    }
                    refused(&mut partition, refusal, cx.version);
                }
            }
            row.partition_responses.push(partition);
        }
        response.responses.push(row);
    }
    let endpoint = |(id, Node { host, port, rack }): (i32, Node)| {
        NodeEndpoint::default().with_node_id(id.into()).with_host(host).with_port(port).with_rack(rack)
    };
    response.node_endpoints = hints.nodes().map(endpoint).collect();
    let measure = cx.measure;
    match (acks, first_error) {
        (RequiredAcks::None, None) => measure.end(Outcome::NoReply),
        (RequiredAcks::None, Some(code)) => {
            tracing::debug!(error = ?code, "closing the connection after a failed produce with acks=0");
            measure.end(Outcome::Close(CloseReason::Refused("a produce with acks=0 failed")))
        }
        (RequiredAcks::Leader | RequiredAcks::All, _) => measure.end(api::encode(KEY, cx.version, cx.correlation_id, &response)),
    }
}

async fn appended_by(
    cx: &Context,
    ticket: AppendTicket,
    partition: Option<&Partition>,
    deadline: Duration,
) -> Result<AppendOutcome, Refusal> {
    match timeout_at(&*cx.broker.clock, deadline, ticket).await {
        Ok(Ok(Ok(outcome))) => Ok(outcome),
        Ok(Ok(Err(refusal))) => Err(append_refused(&refusal, partition)),
        Ok(Err(_closed)) => Err(ErrorCode::NotLeaderOrFollower.into()),
        Err(_elapsed) => Err(ErrorCode::RequestTimedOut.into()),
    }
}

fn append_refused(refusal: &AppendRefusal, partition: Option<&Partition>) -> Refusal {
    let code = error_codes::append_refusal(refusal);
    let from_the_log = !matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError | ErrorCode::UnknownTopicOrPartition);
    Refusal { log_start: partition.filter(|_| from_the_log).map(|partition| partition.offsets().log_start()), ..code.into() }
}

fn appended(partition: &mut PartitionProduceResponse, outcome: &AppendOutcome, version: i16) {
    partition.base_offset = outcome.base_offset.get();
    partition.log_append_time_ms = outcome.log_append_time.map_or(-1, Timestamp::millis);
    if version >= 5 {
        partition.log_start_offset = outcome.log_start_offset.get();
    }
}

fn refused(partition: &mut PartitionProduceResponse, refusal: Refusal, version: i16) {
    partition.error_code = refusal.code.code();
    partition.base_offset = -1;
    partition.log_append_time_ms = -1;
    if version >= 5 {
        partition.log_start_offset = refusal.log_start.map_or(-1, Offset::get);
    }
    if version < 8 {
        return;
    }
    partition.error_message = refusal.message.map(StrBytes::from_string);
    for (batch_index, message) in refusal.record_errors {
        let mut row = BatchIndexAndErrorMessage::default();
        row.batch_index = batch_index;
        row.batch_index_error_message = Some(StrBytes::from_string(message));
        partition.record_errors.push(row);
    }
}
