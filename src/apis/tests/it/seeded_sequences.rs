//! The fuzz target's sequences of requests, from fixed seeds.

use crate::sequences::Harness;

#[test]
fn two_hundred_seeded_sequences_find_nothing() {
    let mut harness = Harness::new();
    harness.verbose = std::env::var_os("FUZZ_VERBOSE").is_some();
    let mut requests = 0;
    let mut failed = Vec::new();
    let (from, to) = std::env::var("SEEDS").ok().and_then(|s| s.split_once('-').map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()))).unwrap_or((0_u64, 200_u64));
    for seed in from..to {
        match harness.play(&seed.to_le_bytes()) {
            Ok(count) => requests += count,
            Err(finding) => failed.push((seed, finding.to_string())),
        }
    }
    harness.stop();
    for (seed, text) in failed.iter().rev().take(40) { eprintln!("seed {seed}: {}", text.lines().next().unwrap()); }
    if let Some((seed, text)) = failed.iter().min_by_key(|f| f.1.lines().count()) { panic!("seed {seed}: {text}"); }
    eprintln!("{requests} requests");
}
