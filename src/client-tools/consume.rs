//! `klamm consume`: partitions read from their leaders, in the order in which answers come.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;

use protocol::ErrorCode;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::{BrokerId, FetchRequest};
use record_batch::{BatchIter, BatchView, DecompressLimits, RecordView};

use crate::args::{Common, ConsumeArgs, Position};
use crate::cluster::{Cluster, is_retriable, topic_name};
use crate::format::{Format, Printed, as_json};
use crate::offsets::{self, EARLIEST, LATEST, Place};
use crate::output::{self, Progress};
use crate::{ToolProblem, groups};

/// How long a leader holds an answer back while there is nothing, shared by the leaders that are asked in turn.
const FETCH_WAIT_MS: i32 = 500;
/// What a leader gives of a partition, and in all. A larger batch comes whole.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
const FETCH_BYTES_MAX: i32 = 16 << 20;
/// What the records of one batch may have once decompressed.
const BATCH_BYTES_MAX: usize = 1 << 30;

pub(crate) async fn run(args: &ConsumeArgs) -> Result<(), ToolProblem> {
    let format = args.format.as_deref().map_or_else(|| Ok(Format::plain()), Format::parse)?;
    let mut cluster = Cluster::connect(&args.common).await?;
    let topic = cluster.topic(&args.topic, false).await?;
    let places: Vec<Place> =
        groups::chosen(&topic, &args.partitions)?.into_iter().map(|partition| (topic.name.clone(), partition)).collect();
    let positions = begin(&mut cluster, &places, args.from).await?;
    let reader = Reader {
        topic: &args.topic,
        printer: Printer { common: &args.common, format, topic: &args.topic, left: args.count, records: 0, bytes: 0 },
        positions,
        exit_at_end: args.exit_at_end,
    };
    reader.run(&mut cluster).await
}

/// Where to begin. An offset that is not there is an error here, where a group's reset would take the nearest one.
async fn begin(cluster: &mut Cluster, places: &[Place], from: Position) -> Result<BTreeMap<i32, i64>, ToolProblem> {
    let resolved = groups::resolve(cluster, places, from).await?;
    if let Position::Offset(offset) = from
        && let Some(((topic, partition), _)) = resolved.iter().find(|(_, found)| **found != offset)
    {
        let place = [(topic.clone(), *partition)];
        let start = offsets::list(cluster, &place, EARLIEST).await?;
        let end = offsets::list(cluster, &place, LATEST).await?;
        let told = |offsets: &BTreeMap<Place, i64>| offsets.values().next().copied().unwrap_or(-1);
        return Err(ToolProblem::OutOfRange { topic: topic.clone(), partition: *partition, offset, start: told(&start), end: told(&end) });
    }
    Ok(resolved.into_iter().map(|((_, partition), offset)| (partition, offset)).collect())
}

struct Printer<'a> {
    common: &'a Common,
    format: Format,
    topic: &'a str,
    /// How many records are still wanted.
    left: Option<u64>,
    records: u64,
    bytes: u64,
}

impl Printer<'_> {
    fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    fn print(&mut self, out: &mut impl Write, partition: i32, batch: &BatchView<'_>, record: RecordView<'_>) -> io::Result<()> {
        self.records += 1;
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.bytes += u64::try_from(record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)).unwrap_or(0);
        let printed = Printed { topic: self.topic, partition, timestamp_type: batch.header().attributes.timestamp_type(), record };
        if self.common.json { output::json(out, &as_json(&printed)) } else { self.format.write(out, &printed) }
    }
}

struct Reader<'a> {
    topic: &'a str,
    printer: Printer<'a>,
    /// The next offset of each partition that is still read.
    positions: BTreeMap<i32, i64>,
    exit_at_end: bool,
}

impl Reader<'_> {
    async fn run(mut self, cluster: &mut Cluster) -> Result<(), ToolProblem> {
        let mut out = output::stdout();
        let mut progress = Progress::new("read", io::stdout().is_terminal());
        let mut deadline = cluster.deadline();
        let mut leaders = self.leaders(cluster).await?;
        while !self.positions.is_empty() && !self.printer.is_done() {
            let mut refused = None;
            let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
            for partition in self.positions.keys() {
                match leaders.get(partition) {
                    Some(Some(leader)) => by_leader.entry(*leader).or_default().push(*partition),
                    _ => refused = Some((*partition, ErrorCode::LeaderNotAvailable.code())),
                }
            }
            let wait_ms = FETCH_WAIT_MS / i32::try_from(by_leader.len().max(1)).unwrap_or(FETCH_WAIT_MS);
            for (leader, partitions) in by_leader {
                for data in self.fetch(cluster, leader, &partitions, wait_ms).await? {
                    match data.error_code {
                        0 => self.take(&mut out, &data)?,
                        code => refused = Some((data.partition_index, code)),
                    }
                    if self.printer.is_done() {
                        break;
                    }
                }
                out.flush()?;
                progress.tell(&cluster.clock, self.printer.records, self.printer.bytes);
            }
            match refused {
                None => deadline = cluster.deadline(),
                Some((_, code)) if is_retriable(code) && code != ErrorCode::OffsetOutOfRange.code() && cluster.pause(deadline).await => {
                    leaders = self.leaders(cluster).await?;
                }
                Some((partition, code)) => {
                    progress.end();
                    return Err(ToolProblem::refused(format!("partition {partition} of '{}'", self.topic), code, None));
                }
            }
        }
        out.flush()?;
        progress.end();
        Ok(())
    }

    async fn leaders(&self, cluster: &mut Cluster) -> Result<BTreeMap<i32, Option<i32>>, ToolProblem> {
        let topic = cluster.topic(self.topic, false).await?;
        Ok(topic.partitions.iter().map(|partition| (partition.index, partition.leader)).collect())
    }

    /// Asks one leader, without a session. Partitions that had records stand behind those that had none, so that none starves.
    async fn fetch(&self, cluster: &mut Cluster, leader: i32, partitions: &[i32], wait_ms: i32) -> Result<Vec<PartitionData>, ToolProblem> {
        let wanted = |partition: &i32| {
            FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(self.positions.get(partition).copied().unwrap_or(0))
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(PARTITION_BYTES_MAX)
        };
        let topic = FetchTopic::default().with_topic(topic_name(self.topic)).with_partitions(partitions.iter().map(wanted).collect());
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES_MAX)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = cluster.ask(leader, &request).await?;
        if answer.error_code != 0 {
            return Err(ToolProblem::refused(format!("topic '{}'", self.topic), answer.error_code, None));
        }
        Ok(answer.responses.into_iter().flat_map(|topic| topic.partitions).collect())
    }

    /// Prints what a partition brought and moves its position.
    fn take(&mut self, out: &mut impl Write, data: &PartitionData) -> Result<(), ToolProblem> {
        let partition = data.partition_index;
        let Some(mut position) = self.positions.get(&partition).copied() else { return Ok(()) };
        let records = data.records.clone().unwrap_or_default();
        for batch in BatchIter::new(&records) {
            let batch = batch.map_err(|error| self.unreadable(partition, position, &error))?;
            // Markers of transactions are for the clients' libraries.
            if !batch.header().attributes.is_control() {
                self.print_batch(out, partition, position, &batch)?;
            }
            position = batch.header().next_offset().max(position);
            if self.printer.is_done() {
                return Ok(());
            }
        }
        if self.exit_at_end && position >= data.high_watermark {
            self.positions.remove(&partition);
        } else {
            self.positions.insert(partition, position);
        }
        Ok(())
    }

    fn print_batch(&mut self, out: &mut impl Write, partition: i32, position: i64, batch: &BatchView<'_>) -> Result<(), ToolProblem> {
        let mut outcome = Ok(());
        let printer = &mut self.printer;
        // A batch may begin before the offset that was asked for.
        let mut print = |record: RecordView<'_>| {
            if record.offset >= position {
                outcome = printer.print(out, partition, batch, record);
            }
            if outcome.is_err() || printer.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let walked = batch.walk_records(DecompressLimits::new(BATCH_BYTES_MAX), &mut print);
        outcome?;
        walked.map_err(|error| self.unreadable(partition, batch.header().base_offset, &error))
    }

    fn unreadable(&self, partition: i32, offset: i64, error: &record_batch::BatchError) -> ToolProblem {
        ToolProblem::Batch { topic: self.topic.to_owned(), partition, offset, reason: error.to_string() }
    }
}
