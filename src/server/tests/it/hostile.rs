//! Requests that lie about their lengths, sent to a live broker with little memory, beside an honest client.
//!
//! Every version's fixture is overwritten at each position, and cut at each length.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use protocol::fixtures::{self, request_frame};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use record_batch::BatchBuilder;

use crate::client::{Client, now_ms, topic_name, with_length};
use crate::{Running, klamm};

/// All the memory that the broker may have.
const MEMORY_BYTES: u64 = 512 << 20;
/// What may be left of the storm.
const MEMORY_KEPT_BYTES: u64 = 64 << 20;
/// A request that is not answered by then waits for something that will not come.
const PARKED: Duration = Duration::from_millis(150);
const PROBE: i32 = 0x7072_6f62;
const LARGEST_INT: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];
const LARGEST_VARINT: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];

/// What became of hostile frames.
#[derive(Default, Debug)]
struct Fates {
    answered: AtomicUsize,
    closed: AtomicUsize,
    parked: AtomicUsize,
}

/// The binary with so much memory and no more: an allocation beyond it fails.
pub(crate) fn limited(arguments: &[&str], log: &Path) -> Command {
    let plain = klamm(arguments);
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={MEMORY_BYTES}")).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::options().create(true).append(true).open(log).unwrap());
    command
}

/// Shows the broker's last words when the test fails.
struct ShownOnFailure<'a>(&'a Path);

impl Drop for ShownOnFailure<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read(self.0).unwrap_or_default();
            let last = log.len().saturating_sub(16 << 10);
            eprintln!("the broker's log ends with:\n{}", String::from_utf8_lossy(&log[last..]));
        }
    }
}

/// `VmRSS`, `VmHWM` of a process.
fn memory_bytes(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the broker lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// One client that does nothing wrong: what it produced it reads, and the topic stays known.
struct Honest {
    client: Client,
    end: i64,
}

impl Honest {
    fn new(address: &str) -> Self {
        let mut client = Client::honest(address);
        let topic = CreatableTopic::default().with_name(topic_name("honest")).with_num_partitions(1).with_replication_factor(1);
        let response = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000));
        assert_eq!(response.topics[0].error_code, 0);
        Self { client, end: 0 }
    }

    fn round(&mut self) {
        let mut batch = BatchBuilder::new();
        batch.append(now_ms(), None, Some(self.end.to_string().as_bytes()), &[]);
        let batch = batch.build();
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.clone()));
        let topic = TopicProduceData::default().with_name(topic_name("honest")).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
        let response = self.client.call(9, &request);
        let appended = &response.responses[0].partition_responses[0];
        assert_eq!((appended.error_code, appended.base_offset), (0, self.end));

        // It waits a little for bytes that do not come, which also leaves the processor to the others.
        let partition = FetchPartition::default().with_partition(0).with_fetch_offset(self.end).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(topic_name("honest")).with_partitions(vec![partition]);
        let request = FetchRequest::default().with_max_wait_ms(5).with_min_bytes(1 << 20).with_max_bytes(1 << 20).with_topics(vec![topic]);
        let response = self.client.call(12, &request);
        let fetched = &response.responses[0].partitions[0];
        assert_eq!((fetched.error_code, fetched.high_watermark), (0, self.end + 1));
        assert_eq!(fetched.records.as_ref().map(|records| &records[16..]), Some(&batch[16..]));
        self.end += 1;

        let response = self.client.call(1, &MetadataRequest::default().with_topics(None));
        assert!(response.topics.iter().any(|topic| topic.name == Some(topic_name("honest")) && topic.error_code == 0));
    }
}

fn overwritten(frame: &[u8], place: usize, lie: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let end = frame.len().min(place + lie.len());
    frame[place..end].copy_from_slice(&lie[..end - place]);
    frame
}

/// All frames of one (API key, version).
fn lies(key: i16, version: i16) -> Vec<Vec<u8>> {
    let body = fixtures::rich_request(key, version).unwrap_or_else(|| panic!("no fixture for {key} v{version}"));
    let honest = request_frame(key, version, 1, &body);
    (0..honest.len())
        .flat_map(|place| {
            [overwritten(&honest, place, &LARGEST_INT), overwritten(&honest, place, &LARGEST_VARINT), honest[..place].to_vec()]
        })
        .collect()
}

/// Sends one hostile frame with a harmless one behind it, over the connection that is left or a new one.
fn attack(left: &mut Option<Client>, address: &str, hostile: &[u8], fates: &Fates) {
    let client = left.get_or_insert_with(|| Client::connect(address, PARKED));
    let mut bytes = with_length(hostile);
    bytes.extend(with_length(&request_frame(18, 0, PROBE, &[])));
    let outcome = client.send(&bytes).and_then(|()| client.receive_until(PROBE));
    let fate = match outcome.as_ref().map_err(std::io::Error::kind) {
        Ok(()) => &fates.answered,
        Err(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => &fates.parked,
        Err(_) => &fates.closed,
    };
    fate.fetch_add(1, Ordering::Relaxed);
    if outcome.is_err() {
        *left = None;
    }
}

/// Length prefixes that are no lengths, and frames that do not come to their end.
fn attack_framing(address: &str) {
    for prefix in [i32::MAX, i32::MIN, -1, 0, 1, 100 << 20, (100 << 20) + 1] {
        let mut client = Client::connect(address, PARKED);
        client.send(&prefix.to_be_bytes()).unwrap();
        client.send(&[0; 100]).ok();
        client.receive().unwrap_err();
    }
}

/// Honest lengths, but so many elements that decoding them takes far more memory than the frame.
fn attack_with_counts(address: &str) {
    for row in apis::table::support() {
        let Some(body) = fixtures::long_request(row.key, row.version_max, 4 << 20) else { continue };
        let mut client = Client::connect(address, Duration::from_secs(20));
        // The broker may close before it has read all, and Produce with acks=0 has no answer of its own.
        let mut bytes = with_length(&request_frame(row.key, row.version_max, 1, &body));
        bytes.extend(with_length(&request_frame(18, 0, PROBE, &[])));
        let sent = client.send(&bytes);
        let answered = sent.and_then(|()| client.receive_until(PROBE));
        let waits = answered.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
        assert!(!waits, "{} is not answered", row.name);
    }
}

/// The broker under attack, until all versions had their share; how many rounds the honest client did meanwhile.
fn storm(address: &str, fates: &Fates) -> i64 {
    let versions: Vec<(i16, i16)> =
        apis::table::support().iter().flat_map(|row| (row.version_min..=row.version_max).map(|version| (row.key, version))).collect();
    let next = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let honest = scope.spawn(|| {
            let mut honest = Honest::new(address);
            while !over.load(Ordering::Relaxed) {
                honest.round();
            }
            honest.end
        });
        let attackers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut left = None;
                    while let Some((key, version)) = versions.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                        for hostile in lies(key, version) {
                            attack(&mut left, address, &hostile, fates);
                        }
                    }
                })
            })
            .collect();
        let mut ended: Vec<_> = attackers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ended.push(scope.spawn(|| attack_framing(address)).join());
        ended.push(scope.spawn(|| attack_with_counts(address)).join());
        over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "an attacker could not go on");
        honest.join().expect("the honest client noticed")
    })
}

#[test]
fn a_broker_with_little_memory_outlives_lying_requests_and_honest_clients_notice_nothing() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let _shown = ShownOnFailure(&log);
    let directory = data.path().join("data").display().to_string();
    let mut running = Running::start(&mut limited(&["--listen", "127.0.0.1:0", "--data", &directory], &log));
    let process = running.child.id();
    let memory_before = memory_bytes(process, "VmRSS");

    let fates = Fates::default();
    let began = Instant::now();
    let rounds = storm(&running.address, &fates);
    let peak = memory_bytes(process, "VmHWM");
    println!("{fates:?}, {rounds} honest rounds in {:?}, peak {} MiB", began.elapsed(), peak >> 20);
    assert!(peak < MEMORY_BYTES, "{peak}");
    assert!(rounds > 0 && fates.answered.into_inner() > 0 && fates.closed.into_inner() > 0);

    // What it took for the storm comes back while it goes on working.
    let mut client = Client::honest(&running.address);
    let patience = Instant::now() + Duration::from_secs(30);
    while memory_bytes(process, "VmRSS") > memory_before + MEMORY_KEPT_BYTES {
        let kept = memory_bytes(process, "VmRSS") - memory_before;
        assert!(Instant::now() < patience, "{} MiB are not given back", kept >> 20);
        client.call(1, &MetadataRequest::default().with_topics(None));
    }
    assert!(running.child.try_wait().unwrap().is_none(), "the broker ended");
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    let panic = text.lines().find(|line| line.contains("panicked"));
    assert_eq!(panic, None);
}
