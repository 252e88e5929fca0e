//! `klamm consume`: partitions read from their leaders, in the order in which answers come.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::ops::ControlFlow;

use protocol::ErrorCode;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::{BrokerId, FetchRequest};
use record_batch::{BatchIter, BatchView, DecompressLimits, RecordView};

use crate::args::{Common, ConsumeArgs, Position};
use crate::cluster::{Cluster, topic_name};
use crate::format::{Format, Printed, as_json};
use crate::offsets::{self, EARLIEST, LATEST, Place};
use crate::output::{self, Progress};
use crate::patience::Patience;
use crate::{ToolProblem, group_consume, groups};

/// How long a leader holds an answer back while there is nothing, shared by the leaders that are asked in turn.
const FETCH_WAIT_MS: i32 = 500;
/// What a leader gives of a partition, and in all. A larger batch comes whole.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
const FETCH_BYTES_MAX: i32 = 16 << 20;
/// What the records of one batch may have once decompressed.
const BATCH_BYTES_MAX: usize = 1 << 30;

pub(crate) async fn run(args: &ConsumeArgs) -> Result<(), ToolProblem> {
    let mut reader = Reader::new(args)?;
    let mut cluster = Cluster::connect(&args.common).await?;
    if let Some(group) = &args.group {
        return group_consume::run(args, group, &mut cluster, reader).await;
    }
    let topic = cluster.topic(&args.topic, false).await?;
    let places: Vec<Place> =
        groups::chosen(&topic, &args.partitions)?.into_iter().map(|partition| (topic.name.clone(), partition)).collect();
    reader.positions = begin(&mut cluster, &places, args.from).await?;
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

/// Reads partitions and prints what comes.
pub(crate) struct Reader<'a> {
    topic: &'a str,
    printer: Printer<'a>,
    out: BufWriter<StdoutLock<'static>>,
    progress: Progress,
    /// The next offset of each partition that is still read.
    pub(crate) positions: BTreeMap<i32, i64>,
    /// The same of those that were read to their end.
    pub(crate) ended: BTreeMap<i32, i64>,
    pub(crate) exit_at_end: bool,
}

/// A partition that a leader refused, and why.
pub(crate) type Refusal = (i32, i16);

impl<'a> Reader<'a> {
    /// A reader of no partition yet.
    pub(crate) fn new(args: &'a ConsumeArgs) -> Result<Self, ToolProblem> {
        let format = args.format.as_deref().map_or_else(|| Ok(Format::plain()), Format::parse)?;
        Ok(Self {
            topic: &args.topic,
            printer: Printer { common: &args.common, format, topic: &args.topic, left: args.count, records: 0, bytes: 0 },
            out: output::stdout(),
            progress: Progress::new("read", io::stdout().is_terminal()),
            positions: BTreeMap::new(),
            ended: BTreeMap::new(),
            exit_at_end: args.exit_at_end,
        })
    }

    async fn run(mut self, cluster: &mut Cluster) -> Result<(), ToolProblem> {
        let mut patience = Patience::new(cluster, !self.exit_at_end);
        let mut leaders = self.leaders(cluster).await?;
        while !self.positions.is_empty() && !self.is_done() {
            let problem = match self.round(cluster, &leaders).await {
                Ok(None) => {
                    patience.renew(cluster);
                    continue;
                }
                Ok(Some((partition, code))) if code == ErrorCode::OffsetOutOfRange.code() => return Err(self.refused((partition, code))),
                Ok(Some(refusal)) => self.refused(refusal),
                Err(problem) => problem,
            };
            patience.wait(cluster, problem).await?;
            match self.leaders(cluster).await {
                Ok(found) => leaders = found,
                Err(problem) => patience.wait(cluster, problem).await?,
            }
        }
        self.end()
    }

    /// Whether there were as many records as were wanted.
    pub(crate) fn is_done(&self) -> bool {
        self.printer.is_done()
    }

    /// What a leader's refusal means for who waits.
    pub(crate) fn refused(&mut self, (partition, code): Refusal) -> ToolProblem {
        self.progress.end();
        ToolProblem::refused(format!("partition {partition} of '{}'", self.topic), code, None)
    }

    /// Ends the output.
    pub(crate) fn end(&mut self) -> Result<(), ToolProblem> {
        self.progress.end();
        Ok(self.out.flush()?)
    }

    /// Asks each leader once and prints what comes; gives a partition that was refused.
    pub(crate) async fn round(
        &mut self,
        cluster: &mut Cluster,
        leaders: &BTreeMap<i32, Option<i32>>,
    ) -> Result<Option<Refusal>, ToolProblem> {
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
                    0 => self.take(&data)?,
                    code => refused = Some((data.partition_index, code)),
                }
                if self.is_done() {
                    break;
                }
            }
            self.out.flush()?;
            self.progress.tell(&cluster.clock, self.printer.records, self.printer.bytes);
        }
        Ok(refused)
    }

    /// Who leads which partition.
    pub(crate) async fn leaders(&self, cluster: &mut Cluster) -> Result<BTreeMap<i32, Option<i32>>, ToolProblem> {
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

    /// Prints what a partition brought and moves its position behind what was printed.
    fn take(&mut self, data: &PartitionData) -> Result<(), ToolProblem> {
        let partition = data.partition_index;
        let Some(mut position) = self.positions.get(&partition).copied() else { return Ok(()) };
        let records = data.records.clone().unwrap_or_default();
        for batch in BatchIter::new(&records) {
            let batch = batch.map_err(|error| self.unreadable(partition, position, &error))?;
            // Markers of transactions are for the clients' libraries.
            if !batch.header().attributes.is_control() {
                let printed_to = self.print_batch(partition, position, &batch)?;
                self.positions.insert(partition, printed_to);
            }
            if self.is_done() {
                return Ok(());
            }
            position = batch.header().next_offset().max(position);
            self.positions.insert(partition, position);
        }
        if self.exit_at_end && position >= data.high_watermark {
            self.positions.remove(&partition);
            self.ended.insert(partition, position);
        }
        Ok(())
    }

    /// The offset behind the last record that was printed.
    fn print_batch(&mut self, partition: i32, position: i64, batch: &BatchView<'_>) -> Result<i64, ToolProblem> {
        let mut outcome = Ok(());
        let mut printed_to = position;
        let (printer, out) = (&mut self.printer, &mut self.out);
        // A batch may begin before the offset that was asked for.
        let mut print = |record: RecordView<'_>| {
            if record.offset >= position {
                outcome = printer.print(out, partition, batch, record);
                printed_to = record.offset.saturating_add(1);
            }
            if outcome.is_err() || printer.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let walked = batch.walk_records(DecompressLimits::new(BATCH_BYTES_MAX), &mut print);
        outcome?;
        walked.map_err(|error| self.unreadable(partition, batch.header().base_offset, &error))?;
        Ok(printed_to)
    }

    fn unreadable(&self, partition: i32, offset: i64, error: &record_batch::BatchError) -> ToolProblem {
        ToolProblem::Batch { topic: self.topic.to_owned(), partition, offset, reason: error.to_string() }
    }
}
