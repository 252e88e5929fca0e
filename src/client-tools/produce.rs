//! `klamm produce`: standard input's lines, sent while they come.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{IsTerminal as _, Read as _, Write as _};

use model::{ProducerEpoch, ProducerId};
use protocol::ErrorCode;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{self, InitProducerIdRequest, ProduceRequest};
use record_batch::Codec;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::clock::Clock as _;

use crate::args::{Acks, CodecName, ProduceArgs};
use crate::cluster::{Cluster, is_retriable, topic_name};
use crate::output::{self, Progress};
use crate::produce_batches::{Batches, LineRules, Lines, PendingBatch, Producer};
use crate::{ToolProblem, groups};

/// What is read of standard input at a time.
const PIECE_BYTES: usize = 256 << 10;
/// So many pieces may wait while a request is under way.
const PIECES_MAX: usize = 8;

pub(crate) async fn run(args: &ProduceArgs) -> Result<(), ToolProblem> {
    let mut cluster = Cluster::connect(&args.common).await?;
    // Whether a name that nobody created becomes a topic is for the broker to say.
    let topic = cluster.topic(&args.topic, true).await?;
    let partitions = groups::chosen(&topic, &args.partition.into_iter().collect::<Vec<_>>())?;
    let producer = match args.acks {
        Acks::All => Some(identity(&mut cluster).await?),
        Acks::Leader => None,
    };
    let rules = LineRules {
        key_delimiter: args.key_delimiter.as_ref().map(|delimiter| delimiter.clone().into_bytes()),
        headers: args.headers.clone(),
        null_if_empty: args.null_if_empty,
        partition: args.partition,
        codec: match args.codec {
            CodecName::None => Codec::None,
            CodecName::Gzip => Codec::Gzip,
            CodecName::Snappy => Codec::Snappy,
            CodecName::Lz4 => Codec::Lz4,
            CodecName::Zstd => Codec::Zstd,
        },
    };
    let seed = usize::try_from(cluster.clock.now().millis()).unwrap_or(0);
    let mut batches = Batches::new(rules, producer, partitions, seed);
    let mut sender = Sender { topic: &args.topic, acks: args.acks, sent: BTreeMap::new() };
    let outcome = pump(&mut cluster, &mut batches, &mut sender).await;
    sender.tell(args.common.json)?;
    outcome
}

/// Reads, gathers and sends until the input ends. What comes while a request is under way goes out with the next one.
async fn pump(cluster: &mut Cluster, batches: &mut Batches, sender: &mut Sender<'_>) -> Result<(), ToolProblem> {
    let mut progress = Progress::new("sent", std::io::stdin().is_terminal());
    let mut pieces = read_input();
    let mut lines = Lines::default();
    let mut failure = None;
    while let Some(piece) = pieces.recv().await {
        let now = cluster.clock.now().millis();
        match piece {
            Ok(piece) => lines.push(&piece, |line| batches.push(line, now)),
            Err(error) => failure = Some(ToolProblem::Input(error)),
        }
        if batches.is_full() || pieces.is_empty() {
            sender.send(cluster, batches.take()).await?;
        }
        progress.tell(&cluster.clock, sender.records(), batches.line_bytes);
    }
    if let Some(line) = lines.finish() {
        batches.push(&line, cluster.clock.now().millis());
    }
    sender.send(cluster, batches.take()).await?;
    progress.end();
    failure.map_or(Ok(()), Err)
}

/// Standard input, read on a thread of its own, as reading cannot be cut short.
fn read_input() -> mpsc::Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = input.read(&mut piece);
            piece.truncate(*read.as_ref().unwrap_or(&0));
            let is_last = piece.is_empty();
            // The end says nothing; an error is told.
            let told = read.map(|_| piece).map_or_else(|error| Some(Err(error)), |piece| (!is_last).then_some(Ok(piece)));
            if told.is_some_and(|told| sender.blocking_send(told).is_err()) || is_last {
                return;
            }
        }
    });
    receiver
}

/// Asks for the producer id that makes sending again harmless.
async fn identity(cluster: &mut Cluster) -> Result<Producer, ToolProblem> {
    let deadline = cluster.deadline();
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(messages::ProducerId(-1))
        .with_producer_epoch(-1);
    loop {
        let answer = cluster.ask_any(&request).await?;
        match (answer.error_code, ProducerId::new(answer.producer_id.0), ProducerEpoch::new(answer.producer_epoch)) {
            (0, Some(id), Some(epoch)) => return Ok(Producer { id, epoch }),
            (code, ..) if is_retriable(code) && cluster.pause(deadline).await => {}
            (code, ..) => return Err(ToolProblem::refused("a producer id", code, None)),
        }
    }
}

/// What a partition got.
#[derive(Debug, Clone, Copy)]
struct Sent {
    records: u64,
    first_offset: i64,
    last_offset: i64,
}

struct Sender<'a> {
    topic: &'a str,
    acks: Acks,
    sent: BTreeMap<i32, Sent>,
}

impl Sender<'_> {
    fn records(&self) -> u64 {
        self.sent.values().map(|sent| sent.records).sum()
    }

    /// Sends batches until all are acknowledged. A request has at most one batch of a partition, and one request is under way at a time.
    async fn send(&mut self, cluster: &mut Cluster, batches: Vec<PendingBatch>) -> Result<(), ToolProblem> {
        let mut waiting = batches;
        while !waiting.is_empty() {
            let mut round: BTreeMap<i32, PendingBatch> = BTreeMap::new();
            let mut later = Vec::new();
            for batch in waiting {
                match round.entry(batch.partition) {
                    Entry::Vacant(free) => {
                        free.insert(batch);
                    }
                    Entry::Occupied(_) => later.push(batch),
                }
            }
            self.send_round(cluster, round).await?;
            waiting = later;
        }
        Ok(())
    }

    async fn send_round(&mut self, cluster: &mut Cluster, mut round: BTreeMap<i32, PendingBatch>) -> Result<(), ToolProblem> {
        let deadline = cluster.deadline();
        let mut leaders = self.leaders(cluster).await?;
        loop {
            let mut refused = None;
            let mut by_leader: BTreeMap<i32, Vec<PendingBatch>> = BTreeMap::new();
            for batch in round.values() {
                match leaders.get(&batch.partition) {
                    Some(Some(leader)) => by_leader.entry(*leader).or_default().push(batch.clone()),
                    _ => refused = Some((batch.partition, ErrorCode::LeaderNotAvailable.code(), None)),
                }
            }
            for (leader, batches) in by_leader {
                match self.ask(cluster, leader, &batches, &mut round).await {
                    Ok(found) => refused = found.or(refused),
                    // The broker may be gone for a moment; sending again is harmless where the producer has an identity.
                    Err(ToolProblem::Lost { .. } | ToolProblem::Advertised { .. })
                        if self.acks == Acks::All && cluster.clock.monotonic() < deadline => {}
                    Err(problem) => return Err(problem),
                }
            }
            if round.is_empty() {
                return Ok(());
            }
            let is_over = !cluster.pause(deadline).await;
            if let Some((partition, code, message)) = refused
                && (is_over || !is_retriable(code))
            {
                return Err(ToolProblem::refused(format!("partition {partition} of '{}'", self.topic), code, message.as_deref()));
            }
            leaders = match self.leaders(cluster).await {
                Err(ToolProblem::Lost { .. } | ToolProblem::Unreachable { .. }) if !is_over => leaders,
                other => other?,
            };
        }
    }

    async fn leaders(&self, cluster: &mut Cluster) -> Result<BTreeMap<i32, Option<i32>>, ToolProblem> {
        let topic = cluster.topic(self.topic, true).await?;
        Ok(topic.partitions.iter().map(|partition| (partition.index, partition.leader)).collect())
    }

    /// Sends one request; what is acknowledged leaves the round. Gives a refusal, the final one if there are several.
    async fn ask(
        &mut self,
        cluster: &mut Cluster,
        leader: i32,
        batches: &[PendingBatch],
        round: &mut BTreeMap<i32, PendingBatch>,
    ) -> Result<Option<(i32, i16, Option<String>)>, ToolProblem> {
        let data =
            |batch: &PendingBatch| PartitionProduceData::default().with_index(batch.partition).with_records(Some(batch.records.clone()));
        let topic = TopicProduceData::default().with_name(topic_name(self.topic)).with_partition_data(batches.iter().map(data).collect());
        let acks = match self.acks {
            Acks::All => -1,
            Acks::Leader => 1,
        };
        let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(cluster.timeout_ms()).with_topic_data(vec![topic]);
        let answer = cluster.ask(leader, &request).await?;
        let mut refused: Option<(i32, i16, Option<String>)> = None;
        for partition in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
            match ErrorCode::try_from_code(partition.error_code) {
                None => {
                    if let Some(batch) = round.remove(&partition.index) {
                        self.count(&batch, partition.base_offset);
                    }
                }
                // It was there already: an earlier answer did not come through.
                Some(ErrorCode::DuplicateSequenceNumber) => {
                    if let Some(batch) = round.remove(&partition.index) {
                        self.count(&batch, -1);
                    }
                }
                Some(error) if refused.is_none() || !error.is_retriable() => {
                    let own = partition.record_errors.iter().find_map(|record| record.batch_index_error_message.as_ref());
                    let message = own.or(partition.error_message.as_ref()).map(ToString::to_string);
                    refused = Some((partition.index, error.code(), message));
                }
                Some(_) => {}
            }
        }
        Ok(refused)
    }

    fn count(&mut self, batch: &PendingBatch, base_offset: i64) {
        let records = u64::try_from(batch.record_count).unwrap_or(0);
        let sent = self.sent.entry(batch.partition).or_insert(Sent { records: 0, first_offset: base_offset, last_offset: base_offset });
        sent.records += records;
        sent.last_offset = base_offset + i64::from(batch.record_count) - 1;
    }

    /// The summary: JSON is the command's answer, text is for the person who waits.
    fn tell(&self, as_json: bool) -> Result<(), ToolProblem> {
        if !as_json {
            if std::io::stderr().is_terminal() {
                let records = usize::try_from(self.records()).unwrap_or(usize::MAX);
                eprintln!("sent {} to {}", output::count(records, "record"), self.topic);
            }
            return Ok(());
        }
        let partition = |(partition, sent): (&i32, &Sent)| json!({ "partition": partition, "records": sent.records, "first_offset": sent.first_offset, "last_offset": sent.last_offset });
        let partitions: Vec<Value> = self.sent.iter().map(partition).collect();
        let mut out = output::stdout();
        output::json(&mut out, &json!({ "topic": self.topic, "records": self.records(), "partitions": partitions }))?;
        Ok(out.flush()?)
    }
}
