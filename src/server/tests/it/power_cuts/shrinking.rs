//! Power cuts while logs shrink: compaction, retention by time and by size, DeleteRecords, beside producers and topics that come and go.
//! Many cuts wait for a moment at which a cleaning or a removal is under way.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::disk::Disk;
use super::remains::{Policy, Watched, delete_records_until_lost, unfinished};
use super::{AFTERLIFE, Manner, cuts_wanted, data, start};
use crate::Running;
use crate::client::{Client, PATIENCE, Random, number_of};
use crate::kills::found::{check_partition, check_topics};
use crate::kills::load::{Place, Producer, Topics, create_topic_with, delete_topic, places};

const PRODUCERS: u64 = 3;
const KEYS: usize = 60;
const PASSING_TOPICS: usize = 2;
const CUTS_PER_ERA: usize = 4;
const VALUE_BYTES_MAX: usize = 1_500;
const MOMENT_MAX: Duration = Duration::from_millis(900);
/// A cut that waits for a cleaning or a removal comes after so long at the latest.
const AIM_MAX: Duration = Duration::from_millis(600);
const SETTINGS: &[&str] = &["log.cleaner.backoff.ms=1", "log.retention.check.interval.ms=100", "log.initial.task.delay.ms=0"];
/// With a line for each cleaning and each log that lost a segment.
const LOG: &str = "warn,openraft=error,broker=debug";

const DELETE_RETENTION_MS: i64 = 1_500;
const RETENTION_MS: i64 = 700;
const RETENTION_BYTES: u64 = 500_000;

/// Keys and values of a topic's configuration.
type Configs = Vec<(&'static str, String)>;

/// The topics of an era: name, configuration, and what may go from their logs.
fn kinds() -> [(&'static str, Configs, Policy); 5] {
    let segments = || [("segment.ms", "100".to_owned())];
    let compact = || [("min.cleanable.dirty.ratio", "0.01".to_owned()), ("delete.retention.ms", DELETE_RETENTION_MS.to_string())];
    let policy = |name: &str| ("cleanup.policy", name.to_owned());
    let compacts = Policy { delete_retention_ms: Some(DELETE_RETENTION_MS), ..Policy::default() };
    [
        ("compacted", [policy("compact")].into_iter().chain(segments()).chain(compact()).collect(), compacts),
        (
            "both",
            [policy("compact,delete"), ("retention.ms", (2 * RETENTION_MS).to_string())]
                .into_iter()
                .chain(segments())
                .chain(compact())
                .collect(),
            Policy { retention_ms: Some(2 * RETENTION_MS), ..compacts },
        ),
        (
            "aged",
            [("retention.ms", RETENTION_MS.to_string())].into_iter().chain(segments()).collect(),
            Policy { retention_ms: Some(RETENTION_MS), ..Policy::default() },
        ),
        (
            "sized",
            [("retention.bytes", RETENTION_BYTES.to_string())].into_iter().chain(segments()).collect(),
            Policy { retention_bytes: Some(RETENTION_BYTES), ..Policy::default() },
        ),
        ("deleted", segments().into_iter().collect(), Policy { deletes_records: true, ..Policy::default() }),
    ]
}

/// What a cut waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Time,
    /// A file that a cleaning writes.
    Cleaning,
    /// A replaced or dropped file that is still there.
    Removal,
}

#[derive(Default)]
struct Tally {
    cuts: usize,
    in_flight: usize,
    cleaning: usize,
    replaced: usize,
    dropping: usize,
    /// With a log start that moved in the life before the cut.
    moved: usize,
    deleting: usize,
    acknowledged: usize,
    batches: usize,
    records: usize,
    compacted: usize,
    dropped: usize,
}

/// The disk, and all that is known of what must be on it.
struct Scene {
    disk: Disk,
    failpoints: &'static str,
    random: Random,
    only: Option<&'static [&'static str]>,
    kept: HashMap<String, Uuid>,
    watched: Vec<Watched>,
    producers: Vec<Producer>,
    topics: Topics,
    deaf: Arc<AtomicBool>,
    tally: Tally,
}

impl Scene {
    fn new(disk: Disk, failpoints: &'static str, only: Option<&'static [&'static str]>, seed: u64) -> Self {
        let manner = Manner { durability: "group", failpoints: "", settings: SETTINGS, log: LOG };
        let running = start(&disk, &manner, &Uuid::from_u128(1));
        let mut client = Client::honest(&running.address);
        let mut producers: Vec<_> = (0..PRODUCERS).map(|number| Producer::new(&mut client, seed ^ ((number + 1) << 32))).collect();
        let mut topics = Topics::new(&mut client, PASSING_TOPICS, seed ^ (1 << 48));
        let deaf = Arc::<AtomicBool>::default();
        producers.iter_mut().for_each(|producer| producer.keys = Some(KEYS));
        for producer in producers.iter_mut().chain([&mut topics.producer]) {
            producer.may_be_refused = true;
            producer.deaf = Arc::clone(&deaf);
        }
        running.signal("TERM");
        assert!(running.wait().success());
        let (kept, watched, tally) = (HashMap::new(), Vec::new(), Tally::default());
        Self { disk, failpoints, random: Random(seed), only, kept, watched, producers, topics, deaf, tally }
    }

    fn partitions(&self) -> PathBuf {
        data(&self.disk).join("partitions")
    }

    /// Starts the broker and compares what it has with what it must have.
    fn start(&mut self) -> Running {
        let boot = Uuid::from_u128(u128::from(self.random.next() % 2) + 1);
        let manner = Manner { durability: "group", failpoints: self.failpoints, settings: SETTINGS, log: LOG };
        let running = start(&self.disk, &manner, &boot);
        self.check(&running);
        running
    }

    fn check(&mut self, running: &Running) {
        let mut client = Client::honest(&running.address);
        check_topics(&mut client, &data(&self.disk), &mut self.topics, &self.kept);
        let mut has_moved = false;
        for watched in &mut self.watched {
            let remains = watched.check(&mut client, &mut self.producers);
            has_moved |= remains.has_moved;
            self.tally.batches += remains.batches;
            self.tally.records += remains.records;
            self.tally.compacted += remains.compacted;
            self.tally.dropped += remains.dropped;
        }
        self.tally.moved += usize::from(has_moved);
        let mut found = crate::kills::found::Found::default();
        for slot in self.topics.slots.iter().filter(|slot| slot.id.is_some()) {
            for place in places(&slot.name, slot.partitions) {
                check_partition(&mut client, &place, &mut [&mut self.topics.producer], &mut found);
            }
        }
    }

    /// Goes on with new topics.
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
        self.watched.clear();
        for (kind, configs, policy) in kinds() {
            if self.only.is_some_and(|only| !only.contains(&kind)) {
                continue;
            }
            let name = format!("{kind}-{era}");
            // In every other era what is replaced or dropped stays a moment longer, so that cuts come before and after it goes.
            let delay_ms = if era.is_multiple_of(2) { "0" } else { "150" };
            let configs = configs.iter().map(|(key, value)| (*key, value.as_str())).chain([("file.delete.delay.ms", delay_ms)]);
            let configs: Vec<_> = configs.collect();
            self.kept.insert(name.clone(), create_topic_with(&mut client, &name, 2, &configs).unwrap());
            self.watched.extend(places(&name, 2).map(|place| Watched::new(place, policy)));
        }
    }

    /// Works until the power is cut, and a little longer.
    fn work_until_cut(&mut self, mut running: Running) {
        let address = running.address.clone();
        let moment = Duration::from_micros(self.random.next() % u64::try_from(MOMENT_MAX.as_micros()).unwrap());
        let aim = [Aim::Time, Aim::Cleaning, Aim::Removal][self.random.below(3)];
        let (sender, acknowledgements) = channel();
        let (disk, deaf, partitions) = (&self.disk, &self.deaf, self.partitions());
        deaf.store(false, Ordering::Release);
        let changes_topics = self.random.below(2) == 0;
        let random = &mut Random(self.random.next());
        let places: Vec<Place> = self.watched.iter().map(|watched| watched.place.clone()).collect();
        std::thread::scope(|scope| {
            for producer in &mut self.producers {
                let (sender, address, places) = (sender.clone(), &address, &places);
                scope.spawn(move || producer.produce_until_lost(address, places, VALUE_BYTES_MAX, &sender));
            }
            let (topics, address) = (&mut self.topics, &address);
            scope.spawn(move || topics.change_until_lost(address, changes_topics));
            let mut watched: Vec<_> = self.watched.iter_mut().filter(|watched| watched.policy.deletes_records).collect();
            let client = Client::try_connect(address, PATIENCE).unwrap().until(deaf);
            scope.spawn(move || delete_records_until_lost(client, &mut watched, random));
            drop(sender);
            let switch = disk.switch();
            let began = Instant::now();
            let mut acknowledged = usize::from(acknowledgements.recv().is_ok());
            acknowledged += count_until(&acknowledgements, began + moment);
            let give_up = Instant::now() + AIM_MAX;
            let mut there = unfinished(&partitions);
            let is_aimed = |there: &[usize; 3]| match aim {
                Aim::Time => true,
                Aim::Cleaning => there[0] > 0,
                Aim::Removal => there[1] + there[2] > 0,
            };
            while !is_aimed(&there) && Instant::now() < give_up {
                there = unfinished(&partitions);
            }
            deaf.store(true, Ordering::Release);
            switch.off();
            let [cleaning, dropped, replaced] = there;
            self.tally.cleaning += usize::from(cleaning > 0);
            self.tally.dropping += usize::from(dropped > 0);
            self.tally.replaced += usize::from(replaced > 0);
            acknowledged += count_until(&acknowledgements, Instant::now() + AFTERLIFE);
            running.child.kill().unwrap();
            self.tally.acknowledged += acknowledged + acknowledgements.iter().count();
        });
        running.wait();
        self.tally.cuts += 1;
        self.tally.in_flight += usize::from(self.producers.iter().any(Producer::has_in_flight));
        self.tally.deleting += usize::from(self.watched.iter().any(Watched::is_deleting));
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
        assert_eq!(self.log().lines().find(|line| line.contains("panicked")), None);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.disk.beside().join("log")).unwrap()
    }

    /// The last lines of errors, for whoever must explain a failure.
    fn last_errors(&self) -> Vec<String> {
        let mut errors = VecDeque::new();
        for line in self.log().lines().filter(|line| line.contains("ERROR")) {
            errors.truncate(5);
            errors.push_front(line.to_owned());
        }
        errors.into()
    }

    fn report(&self) {
        let Tally { cuts, in_flight, cleaning, replaced, dropping, moved, deleting, acknowledged, .. } = &self.tally;
        let Tally { batches, records, compacted, dropped, .. } = &self.tally;
        let log = self.log();
        let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        println!("logs that shrink: {cuts} cuts, {in_flight} with a write in flight, {deleting} with a DeleteRecords in flight");
        println!("{cleaning} cuts while a cleaning wrote a file, {replaced} while files were there that one had replaced");
        println!("{dropping} cuts while dropped segments waited for their removal, {moved} looks found a log start that had moved");
        println!("{} cleanings, {} times a log lost segments", count("cleaned a log"), count("dropped old segments"));
        println!("{acknowledged} requests acknowledged; {records} records in {batches} batches read and compared");
        println!("at all looks together {compacted} records had been compacted away, and {dropped} batches dropped");
        println!("{} topics created, {} deleted", self.topics.created, self.topics.deleted);
    }
}

/// Counts what comes until then.
fn count_until(acknowledgements: &Receiver<()>, deadline: Instant) -> usize {
    let mut count = 0;
    loop {
        match acknowledgements.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(()) => count += 1,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return count,
        }
    }
}

/// A scene on a disk of its own; without one it says why and there is nothing to test.
fn scene(failpoints: &'static str, only: Option<&'static [&'static str]>) -> Option<Scene> {
    cuts_wanted()?;
    let seed = number_of("KLAMM_CUTS_SEED", 1);
    println!("KLAMM_CUTS_SEED={seed} failpoints={failpoints:?}");
    match Disk::new() {
        Ok(disk) => Some(Scene::new(disk, failpoints, only, seed)),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

#[test]
fn a_power_cut_at_any_moment_takes_no_more_from_logs_that_shrink_than_they_may_lose() {
    let (Some(mut scene), Some(cuts)) = (scene("", None), cuts_wanted()) else { return };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.run(cuts)));
    scene.report();
    if let Err(panic) = outcome {
        println!("{:#?}", scene.last_errors());
        std::panic::resume_unwind(panic);
    }
    let Tally { in_flight, cleaning, moved, compacted, dropped, .. } = scene.tally;
    assert!(in_flight > 0 && moved > 0 && compacted > 0 && dropped > 0 && cleaning > 0);
}

/// Runs until the harness finds something missing.
fn must_lose(failpoints: &'static str, only: &'static [&'static str]) {
    const CUTS_MAX: usize = 30;
    let Some(mut scene) = scene(failpoints, Some(only)) else { return };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.run(CUTS_MAX)));
    let text = match outcome {
        Ok(()) => panic!("{CUTS_MAX} cuts with {failpoints:?} lost nothing: the harness does not bite"),
        Err(panic) => panic.downcast::<String>().map_or_else(|_| "a panic without a text".to_owned(), |text| *text),
    };
    println!("noticed after {} cuts: {}", scene.tally.cuts, text.lines().next().unwrap_or_default());
    for line in scene.last_errors().iter().filter(|line| line.contains("stays offline")) {
        println!("{line}");
    }
    assert!(["is lost", "went back"].iter().any(|loss| text.contains(loss)), "{text}");
}

#[test]
fn the_harness_notices_a_cleaned_segment_that_is_not_synced() {
    must_lose("compaction.before_sync=1:skip", &["compacted", "both"]);
}

#[test]
fn the_harness_notices_files_that_go_before_their_replacement_is_on_the_disk() {
    must_lose("compaction.before_swap=1:skip", &["compacted"]);
}

#[test]
fn the_harness_notices_deleted_records_that_come_back() {
    must_lose("retention.before_row=1:skip", &["deleted"]);
}

#[test]
fn the_harness_notices_a_log_start_that_is_not_on_the_disk() {
    must_lose("retention.before_row=1:skip", &["aged", "sized"]);
}
