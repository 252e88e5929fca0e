//! Random histories of one log with everything that can happen to it, compared with plain lists: appends of several producers, rolls, index commits,
//! retention by time and by size, DeleteRecords, compaction, truncation, crashes with and without a loss of what no sync brought to the disk,
//! reads by offset and by time.
//!
//! `KLAMM_HISTORIES` says how many (80), `KLAMM_HISTORIES_SEED` what is drawn; `KLAMM_HISTORIES_SECONDS` goes on with further seeds for so long.

mod model;
mod world;

use std::time::{Duration, Instant};

use log_store::{Durability, FAILPOINTS};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::world::{Manner, World};

/// Who sends a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Producing {
    pub(crate) id: u8,
    /// Whether it begins its next epoch.
    pub(crate) bumps: bool,
}

/// A batch to be appended: records with key, value (none is a tombstone), and how much older than now they are.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) records: Vec<(Option<u8>, Option<u8>, u8)>,
    pub(crate) codec: u8,
    pub(crate) producer: Option<Producing>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append(Vec<Piece>),
    Again {
        producer: u8,
        back: u8,
    },
    Gap {
        producer: u8,
    },
    Roll,
    FlushIndex,
    Wait {
        ms: u16,
    },
    /// `dies_at`: the hit of the history's failpoint at which the process might have died.
    Clean {
        slots: u8,
        segment_bytes: u16,
        stable_permille: u16,
        lag_ms: u16,
        dies_at: u64,
    },
    /// Without both limits the topic is only compacted.
    Retain {
        ms: Option<u16>,
        bytes: Option<u16>,
        permille: u16,
    },
    DeleteRecords {
        permille: u16,
    },
    Truncate {
        permille: u16,
    },
    Close,
    Crash {
        lost_permille: u16,
    },
    Read {
        permille: u16,
        max_bytes: u16,
    },
    Times {
        permille: u16,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Old logs may have records without a key.
    let record = (prop::option::weighted(0.95, 0..6_u8), prop::option::weighted(0.8, any::<u8>()), 0..120_u8);
    let producer = (0..3_u8, prop::bool::weighted(0.1)).prop_map(|(id, bumps)| Producing { id, bumps });
    let piece = (prop::collection::vec(record, 1..5), 0..5_u8, prop::option::weighted(0.5, producer))
        .prop_map(|(records, codec, producer)| Piece { records, codec, producer });
    let clean = (1..12_u8, 100..900_u16, 0..=1_300_u16, prop::option::weighted(0.3, 0..900_u16), 1..4_u64).prop_map(
        |(slots, segment_bytes, stable_permille, lag_ms, dies_at)| Step::Clean {
            slots,
            segment_bytes,
            stable_permille,
            lag_ms: lag_ms.unwrap_or(0),
            dies_at,
        },
    );
    let retain = (prop::option::of(0..2_500_u16), prop::option::of(0..2_000_u16), 300..=1_300_u16)
        .prop_map(|(ms, bytes, permille)| Step::Retain { ms, bytes, permille });
    let step = prop_oneof![
        14 => prop::collection::vec(piece, 1..4).prop_map(Step::Append),
        2 => (0..3_u8, 0..6_u8).prop_map(|(producer, back)| Step::Again { producer, back }),
        1 => (0..3_u8).prop_map(|producer| Step::Gap { producer }),
        1 => Just(Step::Roll),
        1 => Just(Step::FlushIndex),
        4 => (0..700_u16).prop_map(|ms| Step::Wait { ms }),
        4 => clean,
        3 => retain,
        1 => (0..=1_100_u16).prop_map(|permille| Step::DeleteRecords { permille }),
        1 => (300..=1_100_u16).prop_map(|permille| Step::Truncate { permille }),
        1 => Just(Step::Close),
        2 => (0..=1_000_u16).prop_map(|lost_permille| Step::Crash { lost_permille }),
        2 => (0..=1_000_u16, any::<u16>()).prop_map(|(permille, max_bytes)| Step::Read { permille, max_bytes }),
        2 => (0..=1_000_u16).prop_map(|permille| Step::Times { permille }),
    ];
    prop::collection::vec(step, 1..80)
}

fn manner() -> impl Strategy<Value = Manner> {
    let names = FAILPOINTS.iter().copied().filter(|name| name.starts_with("compaction.") || *name == "sync.before");
    (prop::sample::select(names.collect::<Vec<_>>()), any::<bool>(), any::<bool>()).prop_map(|(failpoint, is_group, has_tail)| Manner {
        failpoint,
        durability: if is_group { Durability::Group } else { Durability::Os },
        has_tail,
    })
}

fn play(seed: u64, cases: u32) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = runner.run(&(manner(), steps()), |(manner, steps)| {
        let mut world = World::new(manner);
        for step in &steps {
            world.step(step);
            if !matches!(step, Step::Append(_) | Step::Wait { .. } | Step::FlushIndex | Step::Read { .. } | Step::Times { .. }) {
                world.compare();
            }
        }
        world.step(&Step::Close);
        world.compare();
        Ok(())
    });
    if let Err(error) = result {
        panic!("KLAMM_HISTORIES_SEED={seed}: {error}");
    }
}

#[test]
fn any_history_reads_like_a_list() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (seed, cases) = (number("KLAMM_HISTORIES_SEED").unwrap_or(1), number("KLAMM_HISTORIES").unwrap_or(80));
    let (began, cases) = (Instant::now(), u32::try_from(cases).unwrap());
    let seconds = Duration::from_secs(number("KLAMM_HISTORIES_SECONDS").unwrap_or(0));
    let mut played = 0;
    for seed in seed.. {
        play(seed, cases);
        played += u64::from(cases);
        if began.elapsed() >= seconds {
            break;
        }
    }
    println!("{played} histories from seed {seed} on, {:?}", began.elapsed());
}
