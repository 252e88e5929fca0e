//! A broker that is killed again and again in the middle of its work, at drawn moments, and started again on the same directory.
//!
//! `KLAMM_KILLS` says how often (50), `KLAMM_KILLS_SEED` what is drawn. The draws depend on nothing else; what is under way at a kill does.

pub(crate) mod found;
pub(crate) mod load;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Instant;

use tempfile::TempDir;
use uuid::Uuid;

use self::found::{Found, check_partition, check_topics, segments};
use self::load::{Place, Producer, Topics, create_topic, delete_topic, new_producer_id, places};
use crate::client::{Client, Random, number_of};
use crate::{Running, klamm};

/// A kind of moment.
struct Moment {
    name: &'static str,
    /// One after the other is taken. Without any, the kill comes from outside after a drawn number of acknowledgements.
    failpoints: &'static [&'static str],
    /// Up to this hit, drawn.
    hits_max: usize,
    value_bytes_max: usize,
    /// Whether topics are made and deleted meanwhile.
    changes_topics: bool,
}

const MOMENTS: &[Moment] = &[
    Moment {
        name: "append",
        failpoints: &["append.before_write", "append.after_partial_write", "append.after_write"],
        hits_max: 300,
        value_bytes_max: 1_000,
        changes_topics: true,
    },
    Moment {
        name: "roll",
        failpoints: &["roll.before_create", "roll.after_create"],
        hits_max: 4,
        value_bytes_max: 8_000,
        changes_topics: false,
    },
    Moment {
        name: "index commit",
        failpoints: &["index_commit.before", "index_commit.after"],
        hits_max: 16,
        value_bytes_max: 2_000,
        changes_topics: true,
    },
    Moment { name: "sync", failpoints: &["sync.before"], hits_max: 4, value_bytes_max: 8_000, changes_topics: false },
    Moment {
        name: "create",
        failpoints: &["create.after_row", "create.after_directory"],
        hits_max: 8,
        value_bytes_max: 200,
        changes_topics: true,
    },
    Moment {
        name: "delete",
        failpoints: &["delete.after_mark", "delete.after_first_unlink", "delete.after_files"],
        hits_max: 8,
        value_bytes_max: 200,
        changes_topics: true,
    },
    Moment { name: "acknowledgement", failpoints: &[], hits_max: 400, value_bytes_max: 2_000, changes_topics: true },
];
/// A moment that did not come until so many acknowledgements is not waited for.
const ACKNOWLEDGEMENTS_MAX: usize = 20_000;
const PRODUCERS: u64 = 3;
const PASSING_TOPICS: usize = 5;
/// After so many kills the producers go on with new topics, so that reading all of them stays quick.
const KILLS_PER_ERA: usize = 10;
/// From so many kills on, each moment must have come.
const KILLS_FOR_ALL_MOMENTS: usize = 20;

/// What the kills hit.
#[derive(Default)]
struct Tally {
    by_moment: BTreeMap<&'static str, usize>,
    /// With a batch sent and not acknowledged.
    in_flight: usize,
    /// After which a batch was there that had not been acknowledged.
    written: usize,
    /// After which the start cut off a part of a batch.
    torn: usize,
    /// With a create or delete asked for and not acknowledged.
    changing: usize,
    starts: usize,
    batches: usize,
    records: i64,
}

/// The directory, and all that is known of what must be in it.
struct Scene {
    folder: TempDir,
    kept: HashMap<String, Uuid>,
    kept_places: Vec<Place>,
    eras: usize,
    producers: Vec<Producer>,
    topics: Topics,
    producer_ids: HashSet<i64>,
    tally: Tally,
}

/// Starts the broker; `None` if a failpoint killed it before it was ready.
fn start(folder: &TempDir, failpoint: Option<&str>) -> Option<Running> {
    let data = folder.path().join("data").display().to_string();
    let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    let mut command = klamm(&["--listen", "127.0.0.1:0", "--data", &data]);
    command.args(found::SETTINGS);
    command.stderr(log).stdout(Stdio::piped()).env("KLAMM_FAILPOINTS", failpoint.unwrap_or_default());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let Some(ready_line) = lines.next() else {
        let status = child.wait().unwrap();
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(failpoint.is_some() && status.signal() == Some(9), "it does not start: {status}\n{log}");
        return None;
    };
    let ready_line = ready_line.unwrap();
    let address = ready_line.strip_prefix("klamm is ready on ").and_then(|rest| rest.split([' ', ',']).next()).unwrap().to_owned();
    std::thread::spawn(move || lines.count());
    Some(Running { child, address, ready_line, http: None })
}

impl Scene {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let running = start(&folder, None).unwrap();
        let mut client = Client::honest(&running.address);
        let producers: Vec<_> = (0..PRODUCERS).map(|number| Producer::new(&mut client, seed ^ ((number + 1) << 32))).collect();
        let topics = Topics::new(&mut client, PASSING_TOPICS, seed ^ (1 << 48));
        let producer_ids: HashSet<i64> = producers.iter().chain([&topics.producer]).map(|producer| producer.id).collect();
        assert_eq!(producer_ids.len(), producers.len() + 1);
        let (kept, kept_places, tally) = (HashMap::new(), Vec::new(), Tally::default());
        Self { folder, kept, kept_places, eras: 0, producers, topics, producer_ids, tally }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the broker and compares what it has with what it acknowledged.
    fn start(&mut self, failpoint: Option<&str>) -> Option<Running> {
        let before = segments(&self.data());
        let running = start(&self.folder, failpoint);
        self.tally.starts += 1;
        let after = segments(&self.data());
        self.tally.torn += usize::from(before.iter().any(|(path, length)| after.get(path).is_some_and(|after| after < length)));
        let running = running?;
        let found = self.check(&running);
        self.tally.written += usize::from(found.unacknowledged > 0);
        Some(running)
    }

    fn check(&mut self, running: &Running) -> Found {
        let mut client = Client::honest(&running.address);
        check_topics(&mut client, &self.folder.path().join("data"), &mut self.topics, &self.kept);
        let mut found = Found::default();
        for place in &self.kept_places {
            check_partition(&mut client, place, &mut self.producers.iter_mut().collect::<Vec<_>>(), &mut found);
        }
        for slot in self.topics.slots.iter().filter(|slot| slot.id.is_some()) {
            for place in places(&slot.name, slot.partitions) {
                check_partition(&mut client, &place, &mut [&mut self.topics.producer], &mut found);
            }
        }
        assert!(self.producer_ids.insert(new_producer_id(&mut client).0), "a producer id was given twice");
        self.tally.batches += found.batches;
        self.tally.records += found.records;
        found
    }

    /// Lets all that is under way come to its end and uses every topic.
    fn settle(&mut self, running: &Running) {
        let mut client = Client::honest(&running.address);
        for producer in &mut self.producers {
            producer.settle(&mut client).unwrap();
        }
        self.topics.use_all(&mut client).unwrap();
        self.check(running);
    }

    /// Goes on with new topics, with a clean stop behind it.
    fn begin_era(&mut self) {
        let running = self.start(None).unwrap();
        self.settle(&running);
        let mut client = Client::honest(&running.address);
        for name in std::mem::take(&mut self.kept).into_keys() {
            delete_topic(&mut client, &name).unwrap();
            self.producers.iter_mut().for_each(|producer| producer.forget(&name));
        }
        self.eras += 1;
        self.kept_places.clear();
        for letter in ["a", "b"] {
            let name = format!("kept-{}-{letter}", self.eras);
            self.kept.insert(name.clone(), create_topic(&mut client, &name, 2).unwrap());
            self.kept_places.extend(places(&name, 2));
        }
        drop(client);
        running.signal("TERM");
        assert!(running.wait().success());
    }

    /// Works until the broker is dead; whether it was killed from outside.
    fn work(&mut self, mut running: Running, moment: &Moment, acknowledgements_max: usize) -> bool {
        let address = running.address.clone();
        let (sender, acknowledgements) = channel();
        let places = &self.kept_places;
        let was_killed = std::thread::scope(|scope| {
            for producer in &mut self.producers {
                let (sender, address) = (sender.clone(), &address);
                scope.spawn(move || producer.produce_until_lost(address, places, moment.value_bytes_max, &sender));
            }
            let topics = &mut self.topics;
            scope.spawn(|| topics.change_until_lost(&address, moment.changes_topics));
            drop(sender);
            // It ends before if the broker dies by itself.
            let was_killed = acknowledgements.iter().take(acknowledgements_max).count() == acknowledgements_max;
            if was_killed {
                running.child.kill().unwrap();
            }
            was_killed
        });
        let status = running.wait();
        assert_eq!(status.signal(), Some(9), "{status}");
        let mut producers = self.producers.iter().chain([&self.topics.producer]);
        self.tally.in_flight += usize::from(producers.any(Producer::has_in_flight));
        self.tally.changing += usize::from(self.topics.slots.iter().any(|slot| slot.pending.is_some()));
        was_killed
    }

    fn report(&self, seed: u64, began: Instant) {
        let Tally { by_moment, in_flight, written, torn, changing, starts, batches, records } = &self.tally;
        let duplicates: usize = self.producers.iter().chain([&self.topics.producer]).map(|producer| producer.duplicates).sum();
        let kills: usize = by_moment.values().sum();
        println!("KLAMM_KILLS_SEED={seed}: {kills} kills in {:?}, by moment {by_moment:?}, {starts} starts", began.elapsed());
        println!("{in_flight} hit a write in flight: {written} left a batch written but not acknowledged, {torn} one written in part");
        println!("{changing} hit a create or delete in flight; {} topics created, {} deleted", self.topics.created, self.topics.deleted);
        println!("{records} records in {batches} batches read and compared; {duplicates} retries were there already");
    }
}

#[test]
fn a_broker_killed_at_any_moment_keeps_every_acknowledged_record_in_order_and_once() {
    let seed = number_of("KLAMM_KILLS_SEED", 1);
    let kills = usize::try_from(number_of("KLAMM_KILLS", 50)).unwrap();
    println!("KLAMM_KILLS_SEED={seed} KLAMM_KILLS={kills}");
    let (mut random, began) = (Random(seed), Instant::now());
    let mut scene = Scene::new(seed);
    let mut bag: Vec<&Moment> = Vec::new();
    let mut visits: HashMap<&str, usize> = HashMap::new();
    let mut last = "";
    for kill in 0..kills {
        if kill % KILLS_PER_ERA == 0 {
            scene.begin_era();
        }
        if bag.is_empty() {
            bag.extend(MOMENTS);
        }
        let moment = bag.swap_remove(random.below(bag.len()));
        let visit = visits.entry(moment.name).or_default();
        let drawn = 1 + random.below(moment.hits_max);
        let named =
            (!moment.failpoints.is_empty()).then(|| format!("{}={drawn}:kill", moment.failpoints[*visit % moment.failpoints.len()]));
        *visit += 1;
        // The start finishes what a kill inside a deletion left, and is killed there too; it is a moment beside the drawn one.
        if last == "delete" && scene.start(Some("delete.after_mark=1:kill")).is_none() {
            *scene.tally.by_moment.entry("start").or_default() += 1;
        }
        let running = scene.start(named.as_deref());
        last = match running {
            None => "start",
            Some(running) => {
                let limit = if named.is_some() { ACKNOWLEDGEMENTS_MAX } else { drawn };
                if scene.work(running, moment, limit) { "acknowledgement" } else { moment.name }
            }
        };
        *scene.tally.by_moment.entry(last).or_default() += 1;
    }
    let running = scene.start(None).unwrap();
    scene.settle(&running);
    running.signal("TERM");
    assert!(running.wait().success());
    let running = scene.start(None).unwrap();
    scene.settle(&running);
    scene.report(seed, began);

    let log = std::fs::read_to_string(scene.folder.path().join("log")).unwrap();
    assert_eq!(log.lines().find(|line| line.contains("panicked") || line.contains("ERROR")), None);
    assert!(scene.tally.in_flight > 0, "no kill hit a write in flight");
    if kills >= KILLS_FOR_ALL_MOMENTS {
        for moment in MOMENTS {
            assert!(scene.tally.by_moment.contains_key(moment.name), "no kill at {}", moment.name);
        }
        assert!(scene.tally.written > 0 && scene.tally.torn > 0 && scene.tally.changing > 0);
    }
}
