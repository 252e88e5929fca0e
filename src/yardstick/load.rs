//! The measured loads: produce, consume, latency.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, fault, framed};
use crate::codec::{BATCH_HEADER_BYTES, Codec, Reader, Writer, batch, key, records_per_batch};

/// Where the correlation id stands in a framed request.
const CORRELATION_ID_AT: usize = 4 + 2 + 2;
/// What one produce request holds at most, as Java's `max.request.size`.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Java's `fetch.max.bytes` and `max.partition.fetch.bytes`.
const FETCH_BYTES_MAX: i32 = 50 << 20;
const FETCH_PARTITION_BYTES_MAX: i32 = 1 << 20;
/// How long the partitions of a new topic may take until they can be used.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(60);

/// `--name value` pairs.
#[derive(Debug)]
pub struct Arguments(HashMap<String, String>);

impl Arguments {
    /// Reads the pairs.
    ///
    /// # Errors
    /// A name without dashes, or without a value.
    pub fn parse(arguments: impl Iterator<Item = String>) -> io::Result<Self> {
        let mut pairs = HashMap::new();
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let name = name.strip_prefix("--").ok_or_else(|| fault(format!("not a flag: {name}")))?.to_owned();
            let value = arguments.next().ok_or_else(|| fault(format!("--{name} needs a value")))?;
            pairs.insert(name, value);
        }
        Ok(Self(pairs))
    }

    /// A text that must be given.
    ///
    /// # Errors
    /// It is not.
    pub fn text(&self, name: &str) -> io::Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| fault(format!("--{name} is missing")))
    }

    /// A number, or its default.
    ///
    /// # Errors
    /// It is no number.
    pub fn number(&self, name: &str, default: usize) -> io::Result<usize> {
        self.0.get(name).map_or(Ok(default), |text| text.parse().map_err(|_| fault(format!("--{name}: not a number: {text}"))))
    }
}

/// What a load is of.
#[derive(Clone, Debug)]
pub struct Load {
    address: SocketAddr,
    topic: String,
    partitions: usize,
    record_bytes: usize,
    records: usize,
    codec: Codec,
    acks: i16,
    connections: usize,
    window: usize,
    total_bytes: usize,
    rate: usize,
    seconds: usize,
}

impl Load {
    /// Reads the flags.
    ///
    /// # Errors
    /// One is missing or wrong.
    pub fn from_arguments(arguments: &Arguments) -> io::Result<Self> {
        let record_bytes = arguments.number("record-bytes", 1024)?;
        let acks = match arguments.text("acks").unwrap_or("all") {
            "all" => -1,
            "1" => 1,
            other => return Err(fault(format!("--acks: {other}"))),
        };
        Ok(Self {
            address: arguments.text("address")?.parse().map_err(|_| fault("--address: not HOST:PORT"))?,
            topic: arguments.text("topic")?.to_owned(),
            partitions: arguments.number("partitions", 1)?.max(1),
            record_bytes,
            records: records_per_batch(arguments.number("batch-bytes", 16 << 10)?, record_bytes),
            codec: match arguments.text("codec").unwrap_or("none") {
                "none" => Codec::None,
                "lz4" => Codec::Lz4,
                other => return Err(fault(format!("--codec: {other}"))),
            },
            acks,
            connections: arguments.number("connections", 1)?.max(1),
            window: arguments.number("window", 5)?.max(1),
            total_bytes: arguments.number("total-bytes", 100 << 20)?,
            rate: arguments.number("rate", 1000)?.max(1),
            seconds: arguments.number("seconds", 5)?,
        })
    }

    /// Produces `total_bytes` of record values over all connections, and prints one JSON line.
    ///
    /// # Errors
    /// The broker answered an error, or a socket failed.
    pub fn produce(&self) -> io::Result<String> {
        self.create_topic()?;
        let requests = self.requests();
        let payload_bytes = self.records * self.record_bytes;
        let batches_each = self.total_bytes / payload_bytes / self.connections;
        let began = Instant::now();
        let senders: Vec<_> = (0..self.connections)
            .map(|number| {
                let (load, requests) = (self.clone(), requests.clone());
                thread::spawn(move || load.produce_by_one(requests, number, batches_each))
            })
            .collect();
        let batches = join_all(senders)?.into_iter().sum::<usize>();
        let seconds = began.elapsed().as_secs_f64();
        Ok(summary(batches * payload_bytes, batches * self.records, seconds))
    }

    /// Creates the topic and waits until every partition can be read: Kafka names leaders in Metadata before they act as such.
    fn create_topic(&self) -> io::Result<()> {
        let mut client = Client::connect(self.address)?;
        client.create_topic(&self.topic, self.partitions)?;
        let began = Instant::now();
        loop {
            let mut next: HashMap<usize, i64> = (0..self.partitions).map(|partition| (partition, 0)).collect();
            client.send(self.fetch_request(&next))?;
            if take_fetched(client.receive()?, &mut next).is_some() {
                return Ok(());
            }
            if began.elapsed() > LEADERS_TIMEOUT {
                return Err(fault("partitions without an acting leader"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn fetch_request(&self, next: &HashMap<usize, i64>) -> Writer {
        let mut request = Writer::request(key::FETCH, 11, 0);
        request.i32(-1).i32(0).i32(1).i32(FETCH_BYTES_MAX).i8(0).i32(0).i32(-1).count(1).string(&self.topic).count(next.len());
        // The one that is behind comes first, so that no partition starves when the answer is full.
        let mut order: Vec<_> = next.iter().collect();
        order.sort_by_key(|(_, offset)| **offset);
        for (partition, offset) in order {
            request.count(*partition).i32(-1).i64(*offset).i64(-1).i32(FETCH_PARTITION_BYTES_MAX);
        }
        request.count(0).string("");
        request
    }

    /// One request per group of partitions: as many batches as a request may hold.
    fn requests(&self) -> Vec<(Vec<u8>, usize)> {
        let batch = batch(self.records, self.record_bytes, self.codec);
        let group = (REQUEST_BYTES_MAX / batch.len()).clamp(1, self.partitions);
        let partitions: Vec<usize> = (0..self.partitions).collect();
        partitions.chunks(group).map(|group| (framed(self.produce_request(group, &batch)), group.len())).collect()
    }

    fn produce_request(&self, partitions: &[usize], batch: &[u8]) -> Writer {
        let mut request = Writer::request(key::PRODUCE, 7, 0);
        request.i16(-1).i16(self.acks).i32(30_000).count(1).string(&self.topic).count(partitions.len());
        for partition in partitions {
            request.count(*partition).bytes(batch);
        }
        request
    }

    fn produce_by_one(&self, mut requests: Vec<(Vec<u8>, usize)>, number: usize, batches: usize) -> io::Result<usize> {
        let mut client = Client::connect(self.address)?;
        let (mut sent, mut answered, mut batches_sent, mut turn) = (0_i32, 0_i32, 0, number);
        let window = i32::try_from(self.window).unwrap_or(i32::MAX);
        while batches_sent < batches || answered < sent {
            while batches_sent < batches && sent - answered < window {
                let groups = requests.len();
                let Some((request, held)) = requests.get_mut(turn % groups) else { break };
                set_correlation_id(request, sent);
                client.send_framed(request)?;
                batches_sent += *held;
                sent += 1;
                turn += 1;
            }
            check_produced(client.receive()?, answered)?;
            answered += 1;
        }
        Ok(batches_sent)
    }

    /// Reads all partitions from their beginning to the end that they have, and prints one JSON line.
    ///
    /// # Errors
    /// The broker answered an error, or a socket failed.
    pub fn consume(&self) -> io::Result<String> {
        let began = Instant::now();
        let readers: Vec<_> = (0..self.connections)
            .map(|number| {
                let load = self.clone();
                let partitions: Vec<usize> = (0..self.partitions).filter(|partition| partition % load.connections == number).collect();
                thread::spawn(move || load.consume_by_one(&partitions))
            })
            .collect();
        let records = join_all(readers)?.into_iter().sum::<usize>();
        Ok(summary(records * self.record_bytes, records, began.elapsed().as_secs_f64()))
    }

    fn consume_by_one(&self, partitions: &[usize]) -> io::Result<usize> {
        let mut client = Client::connect(self.address)?;
        let mut next: HashMap<usize, i64> = partitions.iter().map(|partition| (*partition, 0)).collect();
        let mut total = 0;
        while !next.is_empty() {
            client.send(self.fetch_request(&next))?;
            total += take_fetched(client.receive()?, &mut next).ok_or_else(|| fault("Fetch: error, or an answer that cannot be read"))?;
        }
        Ok(total)
    }

    /// Sends one small batch at each tick of a fixed rate, whatever the answers do, and prints the latencies, each counted from the moment
    /// when the batch was due.
    ///
    /// # Errors
    /// The broker answered an error, or a socket failed.
    pub fn latency(&self) -> io::Result<String> {
        self.create_topic()?;
        let per_connection = self.rate * self.seconds / self.connections;
        let spacing = Duration::from_secs_f64(self.connections as f64 / self.rate as f64);
        let latencies: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let began = Instant::now() + Duration::from_millis(50);
        let mut threads = Vec::new();
        for number in 0..self.connections {
            let mut sender = Client::connect(self.address)?;
            let mut receiver = sender.try_clone()?;
            let offset = spacing.mul_f64(number as f64 / self.connections as f64);
            let due = move |index: usize| began + offset + spacing.mul_f64(index as f64);
            let batch = batch(self.records, self.record_bytes, self.codec);
            let load = self.clone();
            threads.push(thread::spawn(move || {
                // Each connection goes round all partitions, beginning at another one.
                let place = |index: usize| (number + index) % load.partitions;
                let mut requests: Vec<_> =
                    (0..load.partitions).map(|index| framed(load.produce_request(&[place(index)], &batch))).collect();
                for index in 0..per_connection {
                    let Some(request) = requests.get_mut(index % load.partitions) else { break };
                    thread::sleep(due(index).saturating_duration_since(Instant::now()));
                    set_correlation_id(request, i32::try_from(index).unwrap_or(0));
                    sender.send_framed(request)?;
                }
                Ok(())
            }));
            let latencies = Arc::clone(&latencies);
            threads.push(thread::spawn(move || {
                let mut mine = Vec::with_capacity(per_connection);
                for index in 0..per_connection {
                    check_produced(receiver.receive()?, i32::try_from(index).unwrap_or(0))?;
                    mine.push(due(index).elapsed());
                }
                latencies.lock().unwrap_or_else(PoisonError::into_inner).extend(mine);
                Ok(())
            }));
        }
        join_all(threads)?;
        let mut latencies = std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));
        latencies.sort_unstable();
        let at = |of_a_thousand: usize| per_mille(&latencies, of_a_thousand);
        Ok(format!(
            "{{\"count\":{},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{},\"max_us\":{}}}",
            latencies.len(),
            at(500),
            at(990),
            at(999),
            at(1000)
        ))
    }
}

pub(crate) fn join_all<T>(threads: Vec<thread::JoinHandle<io::Result<T>>>) -> io::Result<Vec<T>> {
    threads.into_iter().map(|thread| thread.join().map_err(|_| fault("a thread panicked"))?).collect()
}

/// The value below which so many of a thousand lie, in microseconds.
pub(crate) fn per_mille(sorted: &[Duration], of_a_thousand: usize) -> u128 {
    let index = (sorted.len() * of_a_thousand / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0, Duration::as_micros)
}

fn summary(payload_bytes: usize, records: usize, seconds: f64) -> String {
    let megabytes_per_second = payload_bytes as f64 / seconds / 1e6;
    format!("{{\"payload_bytes\":{payload_bytes},\"records\":{records},\"seconds\":{seconds:.6},\"mb_per_s\":{megabytes_per_second:.3}}}")
}

fn set_correlation_id(framed: &mut [u8], id: i32) {
    if let Some(place) = framed.get_mut(CORRELATION_ID_AT..CORRELATION_ID_AT + 4) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Checks that the answer is to that request and holds no error.
fn check_produced(answer: &[u8], correlation_id: i32) -> io::Result<()> {
    let mut reader = Reader::new(answer);
    if reader.i32() != Some(correlation_id) {
        return Err(fault("Produce: an answer out of order"));
    }
    let mut first_error = || {
        for _ in 0..reader.count()? {
            reader.string()?;
            for _ in 0..reader.count()? {
                reader.i32()?;
                let code = reader.i16()?;
                reader.take(8 + 8 + 8)?;
                if code != 0 {
                    return Some(code);
                }
            }
        }
        Some(0)
    };
    match first_error() {
        Some(0) => Ok(()),
        code => Err(fault(format!("Produce: error {code:?}"))),
    }
}

/// Counts the fetched records, moves the offsets on, and forgets the partitions that are read to their end.
fn take_fetched(answer: &[u8], next: &mut HashMap<usize, i64>) -> Option<usize> {
    let mut reader = Reader::new(answer);
    reader.take(4 + 4)?;
    if reader.i16()? != 0 {
        return None;
    }
    reader.i32()?;
    let mut total = 0;
    for _ in 0..reader.count()? {
        reader.string()?;
        for _ in 0..reader.count()? {
            let partition = reader.count()?;
            if reader.i16()? != 0 {
                return None;
            }
            let high_watermark = reader.i64()?;
            reader.take(8 + 8)?;
            let aborted = reader.count()?;
            reader.take(aborted.checked_mul(16)?)?;
            reader.i32()?;
            let records = reader.bytes()?;
            let offset = next.get_mut(&partition)?;
            total += walk(records, offset);
            if *offset >= high_watermark {
                next.remove(&partition);
            }
        }
    }
    Some(total)
}

/// Walks the whole batches from the wanted offset on; the last one may be cut.
fn walk(records: &[u8], offset: &mut i64) -> usize {
    let mut rest = records;
    let mut total = 0;
    while rest.len() >= BATCH_HEADER_BYTES {
        let mut header = Reader::new(rest);
        let (Some(base_offset), Some(length)) = (header.i64(), header.count()) else { break };
        if rest.len() < length + 12 {
            break;
        }
        let Some(last_offset_delta) = header.take(4 + 1 + 4 + 2).and_then(|_| header.i32()) else { break };
        let end = base_offset + i64::from(last_offset_delta) + 1;
        total += usize::try_from(end - (*offset).max(base_offset)).unwrap_or(0);
        *offset = end.max(*offset);
        rest = rest.get(length + 12..).unwrap_or_default();
    }
    total
}
