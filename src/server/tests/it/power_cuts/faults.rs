//! A disk that is full, and one that fails.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use protocol::messages::ProduceRequest;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use record_batch::BatchBuilder;

use super::cuts_wanted;
use super::disk::Disk;
use super::order::has_strace;
use crate::client::{Client, number_of, topic_name};
use crate::kills::found::{SETTINGS, fetch};
use crate::kills::load::{Place, create_topic, delete_topic};
use crate::{Running, klamm};

/// Kafka's KAFKA_STORAGE_ERROR.
const STORAGE_ERROR: i16 = 56;
const SMALL_DISK_BYTES: u64 = 160 << 20;
/// Writes must come back within this time of space.
const BACK_WITHIN: Duration = Duration::from_secs(5);

fn produce(client: &mut Client, topic: &str, value: &[u8]) -> (i16, i64) {
    let mut builder = BatchBuilder::new();
    builder.append(1_000, None, Some(value), &[]);
    let data = PartitionProduceData::default().with_index(0).with_records(Some(builder.build()));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    let response = client.try_call(9, &request).unwrap();
    let answer = &response.responses[0].partition_responses[0];
    (answer.error_code, answer.base_offset)
}

/// Reads all of a partition; how many records it has.
fn count(client: &mut Client, topic: &str) -> i64 {
    let place = Place { topic: topic.to_owned(), partition: 0 };
    let (mut offset, mut end) = (0, i64::MAX);
    while offset < end {
        let (records, high_watermark) = fetch(client, &place, offset);
        let next = record_batch::BatchIter::new(&records).map(|view| view.unwrap().header().next_offset()).last();
        (offset, end) = (next.unwrap_or(high_watermark), high_watermark);
    }
    offset
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut size = 8 << 20;
    while size > 0 {
        match file.write_all(&vec![1; size]) {
            Ok(()) => {}
            Err(_) => size /= 2,
        }
    }
    let _full = file.sync_all();
}

/// A disk that is soon full; none, with a word, where there can be none.
fn small_disk() -> Option<Disk> {
    cuts_wanted()?;
    Disk::of_size(SMALL_DISK_BYTES).inspect_err(|why| println!("skipped: {why}")).ok()
}

fn fill_and_free(durability: &str, cycles: u64) {
    let Some(disk) = small_disk() else { return };
    let data = disk.root().join("data").display().to_string();
    let durability = format!("klamm.durability={durability}");
    let log = File::create(disk.beside().join("log")).unwrap();
    let arguments =
        ["--listen", "127.0.0.1:0", "--data", &data, "--override", &durability, "--override", "klamm.journal.file.bytes=4000000"];
    let running = Running::start(klamm(&arguments).args(SETTINGS).stderr(log));
    let mut client = Client::honest(&running.address);
    let value = vec![7; 200_000];
    let (mut back_max, mut refused) = (Duration::ZERO, 0);
    for cycle in 0..cycles {
        let topic = format!("full-{cycle}");
        create_topic(&mut client, &topic, 1).unwrap();
        let mut acknowledged = 0;
        for _ in 0..20 {
            assert_eq!(produce(&mut client, &topic, &value), (0, acknowledged));
            acknowledged += 1;
        }
        let filler = disk.root().join("filler");
        fill(&filler);
        // One may pass for which space was asked a moment ago; then they are refused, and reads go on.
        let mut code = 0;
        for _ in 0..2_000 {
            let answer = produce(&mut client, &topic, &value);
            code = answer.0;
            if code != 0 {
                break;
            }
            acknowledged += 1;
        }
        assert_eq!(code, STORAGE_ERROR);
        refused += 1;
        assert_eq!(count(&mut client, &topic), acknowledged);
        std::fs::remove_file(&filler).unwrap();
        let freed = Instant::now();
        let mut last = produce(&mut client, &topic, &value);
        while last.0 != 0 && freed.elapsed() < BACK_WITHIN {
            assert_eq!(last.0, STORAGE_ERROR);
            last = produce(&mut client, &topic, &value);
        }
        assert_eq!(last, (0, acknowledged), "cycle {cycle}: writes did not come back within {BACK_WITHIN:?}");
        back_max = back_max.max(freed.elapsed());
        assert_eq!(count(&mut client, &topic), acknowledged + 1);
        delete_topic(&mut client, &topic).unwrap();
    }
    println!("{durability}: {cycles} times full and free, {refused} refusals, writes back after at most {back_max:?}");
    running.signal("TERM");
    assert!(running.wait().success());
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_space() {
    let cycles = number_of("KLAMM_FULL_DISK_CYCLES", 4);
    fill_and_free("os", cycles);
    fill_and_free("group", cycles);
}

/// Kills a broker that has a full disk, several times, with the disk full again each time, and starts it; then there is space.
fn die_on_a_full_disk(durability: &str) {
    const DEATHS: usize = 4;
    let Some(disk) = small_disk() else { return };
    let data = disk.root().join("data").display().to_string();
    let durability = format!("klamm.durability={durability}");
    let start = || {
        let log = File::options().create(true).append(true).open(disk.beside().join("log")).unwrap();
        let arguments =
            ["--listen", "127.0.0.1:0", "--data", &data, "--override", &durability, "--override", "klamm.journal.file.bytes=4000000"];
        Running::start(klamm(&arguments).args(SETTINGS).stderr(log))
    };
    let mut running = start();
    let mut client = Client::honest(&running.address);
    create_topic(&mut client, "full", 3).unwrap();
    let value = vec![7; 200_000];
    let mut acknowledged = 0;
    while acknowledged < 50 {
        assert_eq!(produce(&mut client, "full", &value), (0, acknowledged));
        acknowledged += 1;
    }
    let mut longest = Duration::ZERO;
    for death in 0..DEATHS {
        fill(&disk.root().join(format!("filler-{death}")));
        running.child.kill().unwrap();
        running.wait();
        // What its death gave back.
        fill(&disk.root().join(format!("rest-{death}")));
        let began = Instant::now();
        running = start();
        longest = longest.max(began.elapsed());
        client = Client::honest(&running.address);
        assert_eq!(count(&mut client, "full"), acknowledged, "death {death}");
        assert_eq!(produce(&mut client, "full", &value).0, STORAGE_ERROR, "death {death}");
        assert_eq!(count(&mut client, "full"), acknowledged, "death {death}");
    }
    for death in 0..DEATHS {
        std::fs::remove_file(disk.root().join(format!("filler-{death}"))).unwrap();
    }
    let freed = Instant::now();
    let mut last = produce(&mut client, "full", &value);
    while last.0 != 0 && freed.elapsed() < BACK_WITHIN {
        assert_eq!(last.0, STORAGE_ERROR);
        last = produce(&mut client, "full", &value);
    }
    assert_eq!(last, (0, acknowledged), "writes did not come back within {BACK_WITHIN:?}");
    let back = freed.elapsed();
    create_topic(&mut client, "another", 3).unwrap();
    println!("{durability}: {DEATHS} deaths on a full disk, longest start {longest:?}, writes back after {back:?}");
    running.signal("TERM");
    assert!(running.wait().success());
}

#[test]
fn a_broker_that_died_on_a_full_disk_starts_serves_reads_and_takes_writes_once_there_is_space() {
    die_on_a_full_disk("os");
    die_on_a_full_disk("group");
}

/// A broker whose calls of one kind fail, from the given one on or only that one.
fn failing(data: &Path, durability: &str, call: &str, when: &str) -> Running {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
    command.arg(format!("inject={call}:error=EIO:when={when}")).arg(env!("CARGO_BIN_EXE_klamm"));
    command.args(["--listen", "127.0.0.1:0", "--override", durability, "--data"]).arg(data);
    Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()))
}

#[test]
fn a_sync_that_fails_is_never_acknowledged() {
    fail("klamm.durability=group", "fdatasync", ["60+", "75+", "90+"]);
}

/// The call that appends to segments, and to the journal.
#[test]
fn a_write_that_fails_is_never_acknowledged_though_later_ones_would_pass() {
    for durability in ["klamm.durability=os", "klamm.durability=group"] {
        fail(durability, "pwritev", ["1", "12", "31+"]);
    }
}

fn fail(durability: &str, call: &str, moments: [&str; 3]) {
    if cuts_wanted().is_none() || !has_strace() {
        return;
    }
    for when in moments {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let arguments = ["--listen", "127.0.0.1:0", "--override", durability, "--data", &data.display().to_string()];
        let running = Running::start(&mut klamm(&arguments));
        create_topic(&mut Client::honest(&running.address), "failing", 1).unwrap();
        running.signal("TERM");
        assert!(running.wait().success());

        let mut running = failing(&data, durability, call, when);
        let mut client = Client::honest(&running.address);
        let mut acknowledged = 0;
        let refused = loop {
            match produce(&mut client, "failing", b"value") {
                (0, offset) => {
                    assert_eq!(offset, acknowledged);
                    acknowledged += 1;
                }
                (code, _) => break code,
            }
        };
        assert_eq!(refused, STORAGE_ERROR);
        for _ in 0..10 {
            assert_eq!(produce(&mut client, "failing", b"value").0, STORAGE_ERROR);
        }
        // What was acknowledged is read, what was not is not.
        assert_eq!(count(&mut client, "failing"), acknowledged);
        running.child.kill().unwrap();
        running.wait();
        let running = Running::start(&mut klamm(&arguments));
        let mut client = Client::honest(&running.address);
        let there = count(&mut client, "failing");
        assert!(there >= acknowledged, "{there} of {acknowledged}");
        assert_eq!(produce(&mut client, "failing", b"value"), (0, there));
        println!("{durability}, {call} failed at {when}: {acknowledged} acknowledged, none after it, {there} there after the restart");
    }
}
