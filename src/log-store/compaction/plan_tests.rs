//! A golden script: facts in, decisions out. `UPDATE=1` writes the answers anew.

use std::fmt::Write;
use std::path::PathBuf;

use super::*;

fn offset(value: i64) -> Offset {
    Offset::new_or_zero(value)
}

/// `base:size[:largest timestamp[:first timestamp]]`, separated by commas.
fn segments(text: &str) -> Vec<SegmentFacts> {
    text.split(',')
        .filter(|segment| !segment.is_empty())
        .map(|segment| {
            let numbers: Vec<i64> = segment.split(':').map(|number| number.parse().unwrap()).collect();
            SegmentFacts {
                base_offset: offset(numbers[0]),
                size_bytes: u64::try_from(numbers[1]).unwrap(),
                largest_timestamp: numbers.get(2).copied().unwrap_or(0),
                first_timestamp: numbers.get(3).copied(),
            }
        })
        .collect()
}

/// The command's `name=value` words on top of the defaults.
fn read(words: &str) -> (LogFacts, CompactionRules, i64) {
    let mut facts = LogFacts {
        log_start: Offset::ZERO,
        log_end: Offset::MAX,
        checkpoint: None,
        bound: Offset::MAX,
        active_base: Offset::ZERO,
        sealed: Vec::new(),
    };
    let mut rules = CompactionRules {
        delete_retention_ms: 0,
        min_compaction_lag_ms: 0,
        max_compaction_lag_ms: i64::MAX,
        min_cleanable_dirty_ratio: 0.5,
        segment_bytes: 100,
    };
    let mut now = 1_000;
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap();
        let number = value.parse::<i64>().unwrap_or(0);
        match name {
            "start" => facts.log_start = offset(number),
            "end" => facts.log_end = offset(number),
            "checkpoint" => facts.checkpoint = Some(offset(number)),
            "bound" => facts.bound = offset(number),
            "active" => facts.active_base = offset(number),
            "sealed" => facts.sealed = segments(value),
            "ratio" => rules.min_cleanable_dirty_ratio = value.parse().unwrap(),
            "min-lag" => rules.min_compaction_lag_ms = number,
            "max-lag" => rules.max_compaction_lag_ms = number,
            "segment-bytes" => rules.segment_bytes = u64::try_from(number).unwrap(),
            "now" => now = number,
            other => panic!("{other}?"),
        }
    }
    (facts, rules, now)
}

fn run(command: &str) -> String {
    let (verb, words) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "plan" => {
            let (facts, rules, now) = read(words);
            let plan = plan(&facts, &rules, now);
            let (ratio, due) = (plan.cleanable_ratio(), plan.is_due(&rules));
            let overdue = if plan.overdue_ms > 0 { format!(", overdue for {} ms", plan.overdue_ms) } else { String::new() };
            let (dirty, uncleanable, clean, cleanable) = (plan.first_dirty, plan.first_uncleanable, plan.clean_bytes, plan.cleanable_bytes);
            format!(
                "dirty from {dirty} to {uncleanable}, {clean} clean and {cleanable} cleanable bytes, ratio {ratio:.2}{overdue}: {}",
                if due { "due" } else { "not due" }
            )
        }
        "groups" => {
            let (facts, rules, _) = read(words);
            let groups = groups(&facts.sealed, rules.segment_bytes, facts.active_base);
            let bases = |range: Range<usize>| {
                facts.sealed[range].iter().map(|segment| segment.base_offset.to_string()).collect::<Vec<_>>().join("+")
            };
            groups.into_iter().map(bases).collect::<Vec<_>>().join(" | ")
        }
        "dirtiest" => {
            let plans: Vec<_> = words
                .split(';')
                .map(|words| {
                    let (facts, rules, now) = read(words);
                    (plan(&facts, &rules, now), rules)
                })
                .collect();
            let places: Vec<_> = dirtiest(&plans).iter().map(usize::to_string).collect();
            if places.is_empty() { "none".to_owned() } else { format!("log {}", places.join(", then ")) }
        }
        other => panic!("{other}?"),
    }
}

#[test]
fn decisions_are_as_written_down() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testscripts/compaction-plan");
    let script = std::fs::read_to_string(&path).unwrap();
    let mut answered = String::new();
    for line in script.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(answered, "{line}").unwrap();
        if !line.is_empty() && !line.starts_with('#') {
            writeln!(answered, "  {}", run(line)).unwrap();
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &answered).unwrap();
    }
    assert!(answered == script, "the decisions are others now; UPDATE=1 writes them down:\n{answered}");
}
