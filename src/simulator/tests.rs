//! Histories without a mistake hold; with one they do not.

use std::collections::BTreeMap;

use crate::{Mutant, run};

const STEPS: usize = 2000;

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..20 {
        assert_eq!(run(seed, STEPS, None), run(seed, STEPS, None));
    }
    assert_ne!(run(1, STEPS, None), run(2, STEPS, None));
}

#[test]
fn whatever_the_network_and_the_power_do_the_invariants_hold() {
    let (mut acknowledged, mut terms, mut cut) = (0, 0, 0);
    for seed in 0..1000 {
        let outcome = run(seed, STEPS, None).unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
        acknowledged += outcome.acknowledged;
        terms += outcome.leader_epoch;
        cut += outcome.cut;
    }
    assert!(acknowledged > 20_000 && terms > 4000 && cut > 2000, "too little happens: {acknowledged} records, {terms} terms, {cut} cut");
}

#[test]
fn each_mistake_is_found_within_a_thousand_seeds() {
    let mut missed = Vec::new();
    let mut found = BTreeMap::new();
    for mutant in Mutant::ALL {
        match (0..1000).find_map(|seed| run(seed, STEPS, Some(mutant)).err().map(|violation| (seed, violation))) {
            Some((seed, violation)) => drop(found.insert(format!("{mutant:?}"), (seed, violation.invariant))),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}; found: {found:?}");
}
