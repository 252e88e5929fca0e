//! Catch-up reads leave by sendfile, small ones at the tail from memory: what the kernel is asked for, as strace sees it.

use std::path::Path;
use std::process::{Command, Stdio};

use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{CreateTopicsRequest, FetchRequest, ProduceRequest};
use record_batch::BatchBuilder;

use crate::client::{Client, now_ms, topic_name};
use crate::{Running, klamm};

const RECORD_BYTES: usize = 4 << 10;
const RECORDS: usize = 16;

/// Whether this machine lets one process trace another.
fn strace_works() -> bool {
    Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn traced(data: &Path, trace: &Path) -> Command {
    let plain = klamm(&["--listen", "127.0.0.1:0", "--data", &data.display().to_string()]);
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=sendfile", "-o", &trace.display().to_string()]).arg(plain.get_program()).args(plain.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn batch(records: usize) -> bytes::Bytes {
    let mut batch = BatchBuilder::new();
    for _ in 0..records {
        batch.append(now_ms(), None, Some(&[7; RECORD_BYTES]), &[]);
    }
    batch.build()
}

fn produce(client: &mut Client, records: bytes::Bytes) -> i64 {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![data]);
    let response = client.call(9, &ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    response.responses[0].partition_responses[0].base_offset
}

fn fetch(client: &mut Client, offset: i64, bytes_max: i32) -> usize {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(bytes_max);
    let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_max_wait_ms(1_000).with_min_bytes(1).with_max_bytes(64 << 20).with_topics(vec![topic]);
    let response = client.call(12, &request);
    let fetched = &response.responses[0].partitions[0];
    assert_eq!(fetched.error_code, 0);
    fetched.records.as_ref().map_or(0, bytes::Bytes::len)
}

/// The bytes that the sendfile calls of a finished trace moved.
fn sent(trace: &Path) -> Vec<usize> {
    let text = std::fs::read_to_string(trace).unwrap();
    let calls = text.lines().filter(|line| line.contains("sendfile"));
    calls.filter_map(|line| line.rsplit_once("= ")?.1.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn what_is_read_again_leaves_by_sendfile_and_small_news_from_memory() {
    if !strace_works() {
        println!("skipped: strace may not trace here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, trace) = (folder.path().join("data"), folder.path().join("trace"));
    let first = Running::start(&mut traced(&data, &trace));
    let mut client = Client::honest(&first.address);
    let topic = CreatableTopic::default().with_name(topic_name("t")).with_num_partitions(1).with_replication_factor(1);
    client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000));
    for _ in 0..20 {
        produce(&mut client, batch(RECORDS));
    }
    let last = produce(&mut client, batch(1));
    // The tail, below 16 KiB: memory.
    assert!(fetch(&mut client, last, 1 << 20) < 16 << 10);
    // strace passes a signal on to what it traces only when it ends itself, so the broker is told.
    terminate(&first);
    first.wait();
    assert_eq!(sent(&trace), Vec::<usize>::new());

    let again = Running::start(&mut traced(&data, &trace));
    let mut client = Client::honest(&again.address);
    let got = fetch(&mut client, 0, 1 << 20);
    assert!(got >= 1 << 20, "{got}");
    let got_small = fetch(&mut client, 3 * RECORDS as i64, 20 << 10);
    terminate(&again);
    again.wait();
    assert_eq!(sent(&trace).iter().sum::<usize>(), got + got_small);
}

/// Ends the traced broker: the child of strace.
fn terminate(running: &Running) {
    let children = format!("/proc/{0}/task/{0}/children", running.child.id());
    let broker = std::fs::read_to_string(children).unwrap();
    let status = Command::new("kill").args(["-TERM", broker.trim()]).status().unwrap();
    assert!(status.success());
}
