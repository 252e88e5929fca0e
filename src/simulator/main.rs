//! Plays histories of many seeds: `simulate [FIRST_SEED [SEEDS [STEPS]]]`. Ends with the first violation of an invariant.

use std::process::ExitCode;

use simulator::run;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut number = |default: u64| arguments.next().unwrap_or(Ok(default));
    let (Ok(first), Ok(seeds), Ok(steps)) = (number(0), number(100_000), number(3000)) else {
        eprintln!("usage: simulate [FIRST_SEED [SEEDS [STEPS]]]");
        return ExitCode::FAILURE;
    };
    let steps = usize::try_from(steps).unwrap_or(usize::MAX);
    let (mut acknowledged, mut terms) = (0, 0);
    for seed in first..first.saturating_add(seeds) {
        match run(seed, steps, None) {
            Ok(outcome) => {
                acknowledged += outcome.acknowledged;
                terms += i64::from(outcome.leader_epoch);
            }
            Err(violation) => {
                eprintln!("seed {seed} with {steps} steps: {}: {}", violation.invariant, violation.what);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{seeds} histories of {steps} steps from seed {first}: {acknowledged} records acknowledged, {terms} terms, no violation");
    ExitCode::SUCCESS
}
