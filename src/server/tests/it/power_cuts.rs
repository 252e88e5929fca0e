//! A broker with `klamm.durability=group` whose power is cut again and again at drawn moments, under idempotent producers, rolls, and topics
//! that come and go: every acknowledged record is there afterwards, in order, once, and nothing that nobody sent.
//!
//! They need root and some time, so they run only when asked for: `scripts/power-cuts` sets `KLAMM_CUTS`, which says how many cuts.
//! `KLAMM_CUTS_SEED` says what is drawn; what is under way at a cut depends on more.
//!
//! `shrinking` does the same while compaction, retention and DeleteRecords take records away.
//!
//! That the harness would notice is shown too: `os` loses records in it, and so do planted faults.

mod disk;
mod faults;
mod order;
mod remains;
mod shrinking;
mod synced_log;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use uuid::Uuid;

use self::disk::Disk;
use crate::Running;
use crate::client::{Client, Random, number_of};
use crate::kills::found::{Found, SETTINGS, check_partition, check_topics};
use crate::kills::load::{Place, Producer, Topics, create_topic, delete_topic, places};

/// How many partitions the producers write to, in turn.
const PARTITIONS: &[i32] = &[1, 16, 200];
const PRODUCERS: u64 = 3;
const PASSING_TOPICS: usize = 4;
/// After so many cuts with the same topics new ones are taken, so that reading all of them stays quick.
const CUTS_PER_ERA: usize = 3;
const VALUE_BYTES_MAX: usize = 6_000;
/// A cut comes at most so long after the producers began.
const MOMENT_MAX: Duration = Duration::from_millis(1_200);
/// The broker lives on for this long without power. What it answers then is not heard, as after a power cut: a sync that was under way at that
/// moment may even be said to have succeeded, since the kernel throws its journal's transaction away and then finds nothing to wait for.
const AFTERLIFE: Duration = Duration::from_millis(40);
/// Small, so that files of the journal are used again in every run.
const JOURNAL_FILE_BYTES: &str = "klamm.journal.file.bytes=1000000";

#[derive(Default)]
struct Tally {
    cuts: usize,
    /// With a batch sent and not acknowledged.
    in_flight: usize,
    /// After which a batch was there that had not been acknowledged.
    written: usize,
    acknowledged: usize,
    batches: usize,
    records: i64,
    segments: usize,
    /// The longest start after a cut.
    start_max: Duration,
}

/// The disk, and all that is known of what must be on it.
struct Scene {
    disk: Disk,
    durability: &'static str,
    failpoints: &'static str,
    random: Random,
    kept: HashMap<String, Uuid>,
    kept_places: Vec<Place>,
    producers: Vec<Producer>,
    topics: Topics,
    /// Set at the cut.
    deaf: Arc<AtomicBool>,
    tally: Tally,
}

/// What a developer's broker logs.
const QUIET: &str = "warn,openraft=error";

/// How a broker is started.
struct Manner<'a> {
    durability: &'a str,
    failpoints: &'a str,
    /// More of its configuration.
    settings: &'a [&'a str],
    /// What it logs.
    log: &'a str,
}

fn start(disk: &Disk, manner: &Manner<'_>, boot: &Uuid) -> Running {
    let Manner { durability, failpoints, settings, log: filter } = manner;
    let log = File::options().create(true).append(true).open(disk.beside().join("log")).unwrap();
    let boot_id = disk.beside().join("boot_id");
    std::fs::write(&boot_id, boot.to_string()).unwrap();
    // In a mount namespace of its own the process finds another boot of the operating system, as after a power cut.
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(&boot_id).arg(env!("CARGO_BIN_EXE_klamm"));
    command.args(["--listen", "127.0.0.1:0", "--override", JOURNAL_FILE_BYTES, "--data"]).arg(data(disk));
    command.args(["--override", &format!("klamm.durability={durability}")]).args(SETTINGS);
    for setting in *settings {
        command.args(["--override", setting]);
    }
    command.stderr(log).stdout(Stdio::piped()).stdin(Stdio::null()).env("KLAMM_FAILPOINTS", failpoints).env("KLAMM_LOG", filter);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let Some(ready_line) = lines.next() else {
        let status = child.wait().unwrap();
        panic!("it does not start: {status}\n{}", std::fs::read_to_string(disk.beside().join("log")).unwrap());
    };
    let ready_line = ready_line.unwrap();
    let address = ready_line.strip_prefix("klamm is ready on ").and_then(|rest| rest.split([' ', ',']).next()).unwrap().to_owned();
    std::thread::spawn(move || lines.count());
    Running { child, address, ready_line, http: None }
}

fn data(disk: &Disk) -> PathBuf {
    disk.root().join("data")
}

impl Scene {
    fn new(disk: Disk, durability: &'static str, failpoints: &'static str, seed: u64) -> Self {
        let running = start(&disk, &Manner { durability, failpoints: "", settings: &[], log: QUIET }, &Uuid::from_u128(1));
        let mut client = Client::honest(&running.address);
        let mut producers: Vec<_> = (0..PRODUCERS).map(|number| Producer::new(&mut client, seed ^ ((number + 1) << 32))).collect();
        let mut topics = Topics::new(&mut client, PASSING_TOPICS, seed ^ (1 << 48));
        let deaf = Arc::<AtomicBool>::default();
        for producer in producers.iter_mut().chain([&mut topics.producer]) {
            producer.may_be_refused = true;
            producer.deaf = Arc::clone(&deaf);
        }
        running.signal("TERM");
        assert!(running.wait().success());
        let (kept, kept_places, tally) = (HashMap::new(), Vec::new(), Tally::default());
        Self { disk, durability, failpoints, random: Random(seed), kept, kept_places, producers, topics, deaf, tally }
    }

    /// Starts the broker and compares what it has with what it acknowledged.
    fn start(&mut self) -> Running {
        // Half of the times it is the same boot, as when only the disk lost its power.
        let boot = Uuid::from_u128(u128::from(self.random.next() % 2) + 1);
        let began = Instant::now();
        let manner = Manner { durability: self.durability, failpoints: self.failpoints, settings: &[], log: QUIET };
        let running = start(&self.disk, &manner, &boot);
        self.tally.start_max = self.tally.start_max.max(began.elapsed());
        let found = self.check(&running);
        self.tally.written += usize::from(found.unacknowledged > 0);
        running
    }

    fn check(&mut self, running: &Running) -> Found {
        let mut client = Client::honest(&running.address);
        check_topics(&mut client, &data(&self.disk), &mut self.topics, &self.kept);
        let mut found = Found::default();
        for place in &self.kept_places {
            check_partition(&mut client, place, &mut self.producers.iter_mut().collect::<Vec<_>>(), &mut found);
        }
        for slot in self.topics.slots.iter().filter(|slot| slot.id.is_some()) {
            for place in places(&slot.name, slot.partitions) {
                check_partition(&mut client, &place, &mut [&mut self.topics.producer], &mut found);
            }
        }
        self.tally.batches += found.batches;
        self.tally.records += found.records;
        found
    }

    /// Goes on with a new topic of so many partitions.
    fn begin_era(&mut self, running: &Running, era: usize) {
        let mut client = Client::honest(&running.address);
        for producer in &mut self.producers {
            producer.settle(&mut client).unwrap();
        }
        self.topics.use_all(&mut client).unwrap();
        self.check(running);
        for name in std::mem::take(&mut self.kept).into_keys() {
            delete_topic(&mut client, &name).unwrap();
            self.producers.iter_mut().for_each(|producer| producer.forget(&name));
        }
        self.kept_places.clear();
        let partitions = PARTITIONS[era % PARTITIONS.len()];
        let name = format!("kept-{era}");
        self.kept.insert(name.clone(), create_topic(&mut client, &name, partitions).unwrap());
        self.kept_places.extend(places(&name, partitions));
    }

    /// Works until the power is cut, and a little longer.
    fn work_until_cut(&mut self, mut running: Running) {
        let address = running.address.clone();
        let moment = Duration::from_micros(self.random.next() % u64::try_from(MOMENT_MAX.as_micros()).unwrap());
        let (sender, acknowledgements) = channel();
        let (places, disk, deaf) = (&self.kept_places, &self.disk, &self.deaf);
        deaf.store(false, Ordering::Release);
        let changes_topics = self.random.below(2) == 0;
        std::thread::scope(|scope| {
            for producer in &mut self.producers {
                let (sender, address) = (sender.clone(), &address);
                scope.spawn(move || producer.produce_until_lost(address, places, VALUE_BYTES_MAX, &sender));
            }
            let topics = &mut self.topics;
            let address = &address;
            scope.spawn(move || topics.change_until_lost(address, changes_topics));
            drop(sender);
            // A drawn moment of time, and at least one acknowledgement, so that there is something to lose.
            let began = Instant::now();
            let mut acknowledged = usize::from(acknowledgements.recv().is_ok());
            while let Ok(()) = acknowledgements.recv_timeout(moment.saturating_sub(began.elapsed())) {
                acknowledged += 1;
            }
            deaf.store(true, Ordering::Release);
            disk.cut();
            let cut = Instant::now();
            while let Ok(()) = acknowledgements.recv_timeout(AFTERLIFE.saturating_sub(cut.elapsed())) {
                acknowledged += 1;
            }
            running.child.kill().unwrap();
            self.tally.acknowledged += acknowledged + acknowledgements.iter().count();
        });
        running.wait();
        self.tally.cuts += 1;
        self.tally.segments += crate::kills::found::segments(&data(&self.disk)).len();
        self.tally.in_flight += usize::from(self.producers.iter().any(Producer::has_in_flight));
        self.disk.restore();
    }

    /// Cuts so many times.
    fn run(&mut self, cuts: usize) {
        for cut in 0..cuts {
            let running = self.start();
            if cut % CUTS_PER_ERA == 0 {
                self.begin_era(&running, cut / CUTS_PER_ERA);
            }
            self.work_until_cut(running);
        }
        let running = self.start();
        drop(running);
        let log = std::fs::read_to_string(self.disk.beside().join("log")).unwrap();
        assert_eq!(log.lines().find(|line| line.contains("panicked")), None);
    }

    fn report(&self, what: &str) {
        let Tally { cuts, in_flight, written, acknowledged, batches, records, segments, start_max } = &self.tally;
        let producers = || self.producers.iter().chain([&self.topics.producer]);
        let duplicates: usize = producers().map(|producer| producer.duplicates).sum();
        println!("{what}: {cuts} cuts, {in_flight} with a write in flight, {written} left one written but not acknowledged");
        println!(
            "{acknowledged} requests acknowledged; {records} records in {batches} batches read and compared; {segments} segments seen"
        );
        println!("{} topics created, {} deleted; {duplicates} retries were there already", self.topics.created, self.topics.deleted);
        println!("longest start after a cut: {start_max:?}");
    }
}

/// How many cuts were asked for; `None` leaves the tests out.
fn cuts_wanted() -> Option<usize> {
    let cuts = usize::try_from(number_of("KLAMM_CUTS", 0)).unwrap();
    if cuts == 0 {
        println!("skipped: scripts/power-cuts runs it");
    }
    (cuts > 0).then_some(cuts)
}

/// A scene on a disk of its own; without one it says why and there is nothing to test.
fn scene(durability: &'static str, failpoints: &'static str) -> Option<Scene> {
    cuts_wanted()?;
    let seed = number_of("KLAMM_CUTS_SEED", 1);
    println!("KLAMM_CUTS_SEED={seed} durability={durability} failpoints={failpoints:?}");
    match Disk::new() {
        Ok(disk) => Some(Scene::new(disk, durability, failpoints, seed)),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    let (Some(mut scene), Some(cuts)) = (scene("group", ""), cuts_wanted()) else { return };
    scene.run(cuts);
    scene.report("klamm.durability=group");
    assert!(scene.tally.in_flight > 0 && scene.tally.acknowledged > 0);
}

/// Runs until the harness finds something missing.
fn must_lose(durability: &'static str, failpoints: &'static str) {
    const CUTS_MAX: usize = 12;
    let Some(mut scene) = scene(durability, failpoints) else { return };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.run(CUTS_MAX)));
    let text = match outcome {
        Ok(()) => panic!("{CUTS_MAX} cuts with durability={durability} and {failpoints:?} lost nothing: the harness does not bite"),
        Err(panic) => panic.downcast::<String>().map_or_else(|_| "a panic without a text".to_owned(), |text| *text),
    };
    println!("noticed after {} cuts: {}", scene.tally.cuts, text.lines().next().unwrap_or_default());
    assert!(text.contains("is lost"), "{text}");
}

#[test]
fn the_harness_notices_that_os_loses() {
    must_lose("os", "");
}

#[test]
fn the_harness_notices_an_answer_before_the_sync() {
    must_lose("group", "journal.before_sync=1:skip");
}

#[test]
fn the_harness_notices_a_journal_that_is_released_too_early() {
    must_lose("group", "release.before_syncs=1:skip");
}
