//! The load of transactions: `load transactions`. One connection and one thread for each transactional id, since a producer has one transaction at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, fault, framed};
use crate::codec::{BATCH_HEADER_BYTES, CHECKSUMMED_FROM, Codec, Reader, Writer, batch, key};
use crate::load::{Arguments, join_all, per_mille};

/// What a record holds: as `Transactions.java` beside it.
const RECORD_BYTES: usize = 25;
/// Where in a batch its fields stand.
const CRC_AT: usize = 17;
const PRODUCER_ID_AT: usize = 43;
/// The bit in a batch's attributes, in their lower byte.
const TRANSACTIONAL: u8 = 0x10;
/// How long Java's client waits before it asks again what another transaction still holds up.
const RETRY_BACKOFF: Duration = Duration::from_millis(20);
/// How long all of a transaction may take.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
/// What a transactional producer asks again for: unknown or moving leaders and coordinators, and a transaction whose markers are being written.
const RETRIABLE: [i16; 7] = [3, 5, 6, 14, 15, 16, 51];

/// Producers that make one transaction after the other, each of one record to every partition of the topic.
#[derive(Clone, Debug)]
pub struct Transactions {
    address: SocketAddr,
    topic: String,
    partitions: usize,
    producers: usize,
    /// Transactions a second of all together; 0 is as many as they can.
    rate: usize,
    seconds: usize,
}

/// What one producer has seen.
#[derive(Debug, Default)]
struct Seen {
    /// From the first byte of EndTxn to its answer, what is asked again for included.
    commits: Vec<Duration>,
    /// From the first byte of Produce to the answer of EndTxn.
    transactions: Vec<Duration>,
}

/// A transactional id with its connection.
struct Producer {
    client: Client,
    transactional_id: String,
    producer_id: i64,
    epoch: i16,
    produce: Vec<u8>,
    /// Where in the request each batch begins.
    batches_at: Vec<usize>,
    batch: Vec<u8>,
}

impl Transactions {
    /// Reads the flags.
    ///
    /// # Errors
    /// One is missing or wrong.
    pub fn from_arguments(arguments: &Arguments) -> io::Result<Self> {
        Ok(Self {
            address: arguments.text("address")?.parse().map_err(|_| fault("--address: not HOST:PORT"))?,
            topic: arguments.text("topic")?.to_owned(),
            partitions: arguments.number("partitions", 1)?.max(1),
            producers: arguments.number("producers", 1)?.max(1),
            rate: arguments.number("rate", 0)?,
            seconds: arguments.number("seconds", 5)?.max(1),
        })
    }

    /// Runs them, and prints one JSON line.
    ///
    /// # Errors
    /// The broker answered an error that does not pass, or a socket failed.
    pub fn run(&self) -> io::Result<String> {
        Client::connect(self.address)?.create_topic(&self.topic, self.partitions)?;
        let barrier = Arc::new(Barrier::new(self.producers));
        let threads: Vec<_> = (0..self.producers)
            .map(|number| {
                let (load, barrier) = (self.clone(), Arc::clone(&barrier));
                thread::spawn(move || load.produce_by_one(number, &barrier))
            })
            .collect();
        let (mut commits, mut transactions) = (Vec::new(), Vec::new());
        for seen in join_all(threads)? {
            commits.extend(seen.commits);
            transactions.extend(seen.transactions);
        }
        commits.sort_unstable();
        transactions.sort_unstable();
        Ok(format!(
            "{{\"count\":{},\"per_second\":{:.1},\"commit_p50_us\":{},\"commit_p99_us\":{},\"transaction_p50_us\":{},\"transaction_p99_us\":{}}}",
            commits.len(),
            commits.len() as f64 / self.seconds as f64,
            per_mille(&commits, 500),
            per_mille(&commits, 990),
            per_mille(&transactions, 500),
            per_mille(&transactions, 990),
        ))
    }

    fn produce_by_one(&self, number: usize, barrier: &Barrier) -> io::Result<Seen> {
        // Whoever fails must not leave the others waiting.
        let ready = Producer::begin(self, number).and_then(|mut producer| producer.transaction().map(|_| producer));
        barrier.wait();
        let mut producer = ready?;
        let spacing = if self.rate == 0 { Duration::ZERO } else { Duration::from_secs_f64(self.producers as f64 / self.rate as f64) };
        let began = Instant::now();
        let mut due = began + spacing.mul_f64(number as f64 / self.producers as f64);
        let end = began + Duration::from_secs(self.seconds as u64);
        let mut seen = Seen::default();
        loop {
            thread::sleep(due.min(end).saturating_duration_since(Instant::now()));
            if Instant::now() >= end {
                return Ok(seen);
            }
            let (commit, whole) = producer.transaction()?;
            seen.commits.push(commit);
            seen.transactions.push(whole);
            due += spacing;
        }
    }
}

impl Producer {
    fn begin(load: &Transactions, number: usize) -> io::Result<Self> {
        let transactional_id = format!("{}-{number}", load.topic);
        let mut batch = batch(1, RECORD_BYTES, Codec::None);
        if let Some(attributes) = batch.get_mut(CHECKSUMMED_FROM + 1) {
            *attributes |= TRANSACTIONAL;
        }
        let (produce, batches_at) = produce_request(load, &transactional_id, &batch);
        let client = Client::connect(load.address)?;
        let mut producer = Self { client, transactional_id, producer_id: -1, epoch: -1, produce, batches_at, batch };
        producer.initialise()?;
        Ok(producer)
    }

    /// Finds the coordinator, which may have to make the topic of transactions first, and takes a producer id.
    fn initialise(&mut self) -> io::Result<()> {
        let mut find = Writer::request(key::FIND_COORDINATOR, 2, 0);
        find.string(&self.transactional_id).i8(1);
        self.until_taken("FindCoordinator", &framed(find), |answer| answer.take(4 + 4).and_then(|_| answer.i16()))?;
        let mut init = Writer::request(key::INIT_PRODUCER_ID, 1, 0);
        init.string(&self.transactional_id).i32(TRANSACTION_TIMEOUT_MS);
        let (mut producer_id, mut epoch) = (-1, -1);
        self.until_taken("InitProducerId", &framed(init), |answer| {
            let code = answer.take(4 + 4).and_then(|_| answer.i16())?;
            (producer_id, epoch) = (answer.i64()?, answer.i16()?);
            Some(code)
        })?;
        (self.producer_id, self.epoch) = (producer_id, epoch);
        Ok(())
    }

    /// One transaction: how long its commit took, and all of it.
    fn transaction(&mut self) -> io::Result<(Duration, Duration)> {
        self.write_producer();
        let produce = std::mem::take(&mut self.produce);
        let began = Instant::now();
        let taken = self.until_taken("Produce", &produce, first_error);
        self.produce = produce;
        taken?;
        let mut end = Writer::flexible_request(key::END_TXN, 5, 0);
        end.compact_string(&self.transactional_id).i64(self.producer_id).i16(self.epoch).i8(1).no_tags();
        let end = framed(end);
        let (mut producer_id, mut epoch) = (-1, -1);
        let committing = Instant::now();
        self.until_taken("EndTxn", &end, |answer| {
            let code = answer.take(4 + 1 + 4).and_then(|_| answer.i16())?;
            (producer_id, epoch) = (answer.i64()?, answer.i16()?);
            Some(code)
        })?;
        (self.producer_id, self.epoch) = (producer_id, epoch);
        Ok((committing.elapsed(), began.elapsed()))
    }

    /// The epoch is another one in each transaction, and each epoch begins with sequence 0.
    fn write_producer(&mut self) {
        let mut producer = Writer::default();
        producer.i64(self.producer_id).i16(self.epoch).i32(0);
        put(&mut self.batch, PRODUCER_ID_AT, &producer.0);
        let crc = crc32c::crc32c(self.batch.get(CHECKSUMMED_FROM..).unwrap_or_default());
        put(&mut self.batch, CRC_AT, &crc.to_be_bytes());
        let header = self.batch.get(..BATCH_HEADER_BYTES).unwrap_or_default();
        for at in &self.batches_at {
            put(&mut self.produce, *at, header);
        }
    }

    /// Sends the request until the answer's error, as `code` reads it, is none.
    fn until_taken(&mut self, what: &str, request: &[u8], mut code: impl FnMut(&mut Reader<'_>) -> Option<i16>) -> io::Result<()> {
        let began = Instant::now();
        loop {
            self.client.send_framed(request)?;
            match code(&mut Reader::new(self.client.receive()?)) {
                Some(0) => return Ok(()),
                Some(code) if RETRIABLE.contains(&code) && began.elapsed() < GIVE_UP_AFTER => thread::sleep(RETRY_BACKOFF),
                code => return Err(fault(format!("{what}: error {code:?}"))),
            }
        }
    }
}

fn produce_request(load: &Transactions, transactional_id: &str, batch: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut request = Writer::flexible_request(key::PRODUCE, 12, 0);
    request
        .compact_string(transactional_id)
        .i16(-1)
        .i32(30_000)
        .compact_count(1)
        .compact_string(&load.topic)
        .compact_count(load.partitions);
    let mut batches_at = Vec::with_capacity(load.partitions);
    for partition in 0..load.partitions {
        request.count(partition).compact_count(batch.len());
        // The length of the frame comes before all this.
        batches_at.push(request.0.len() + 4);
        request.0.extend_from_slice(batch);
        request.no_tags();
    }
    request.no_tags().no_tags();
    (framed(request), batches_at)
}

/// The first error in an answer to Produce; the records of a request that is sent again are known by their sequence.
fn first_error(answer: &mut Reader<'_>) -> Option<i16> {
    answer.take(4 + 1)?;
    for _ in 0..answer.compact_count()? {
        answer.compact_string()?;
        for _ in 0..answer.compact_count()? {
            answer.i32()?;
            let code = answer.i16()?;
            if code != 0 {
                return Some(code);
            }
            answer.take(8 + 8 + 8)?;
            for _ in 0..answer.compact_count()? {
                answer.i32()?;
                answer.compact_string()?;
                answer.skip_tags()?;
            }
            answer.compact_string()?;
            answer.skip_tags()?;
        }
        answer.skip_tags()?;
    }
    Some(0)
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_batch_of_a_transaction_has_its_producer_and_a_checksum_that_holds() {
        let load =
            Transactions { address: ([127, 0, 0, 1], 1).into(), topic: "t".to_owned(), partitions: 3, producers: 1, rate: 0, seconds: 1 };
        let mut plain = batch(1, RECORD_BYTES, Codec::None);
        plain[CHECKSUMMED_FROM + 1] |= TRANSACTIONAL;
        let (produce, batches_at) = produce_request(&load, "id", &plain);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let mut producer = Producer {
            client,
            transactional_id: "id".to_owned(),
            producer_id: 77,
            epoch: 5,
            produce,
            batches_at: batches_at.clone(),
            batch: plain,
        };
        producer.write_producer();
        assert_eq!(batches_at.len(), 3);
        for at in batches_at {
            let batch = &producer.produce[at..at + producer.batch.len()];
            let mut reader = Reader::new(&batch[CRC_AT..]);
            assert_eq!(reader.i32().unwrap().cast_unsigned(), crc32c::crc32c(&batch[CHECKSUMMED_FROM..]));
            let mut reader = Reader::new(&batch[PRODUCER_ID_AT..]);
            assert_eq!((reader.i64(), reader.i16(), reader.i32()), (Some(77), Some(5), Some(0)));
        }
    }
}
