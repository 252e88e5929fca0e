//! Processor time, ratios for criterion, and the table at the end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};

/// Seconds of processor time of this process, all its living threads together, to the nanosecond.
pub(crate) fn cpu_seconds() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    let on_processor = |thread: std::fs::DirEntry| {
        let figures = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        figures.split_whitespace().next()?.parse::<f64>().ok()
    };
    threads.flatten().filter_map(on_processor).sum::<f64>() / 1e9
}

/// How often one thing costs what another does; a sample is given, never timed.
pub(crate) struct Ratio;

impl Measurement for Ratio {
    type Intermediate = ();
    type Value = f64;

    fn start(&self) {}

    fn end(&self, (): ()) -> f64 {
        0.0
    }

    fn add(&self, left: &f64, right: &f64) -> f64 {
        left + right
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Times
    }
}

struct Times;

impl ValueFormatter for Times {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "times"
    }

    fn scale_throughputs(&self, _typical: f64, _throughput: &Throughput, _values: &mut [f64]) -> &'static str {
        "times"
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "times"
    }
}

struct Row {
    unit: &'static str,
    goal: String,
    /// Of the store and of what stands beside it.
    pairs: Vec<(f64, f64)>,
}

/// What is printed at the end, in the order of measurement.
#[derive(Default)]
pub(crate) struct Rows {
    order: Vec<&'static str>,
    by_name: BTreeMap<&'static str, Row>,
}

impl Rows {
    /// Adds a pair of costs and returns its ratio.
    pub(crate) fn add(&mut self, name: &'static str, unit: &'static str, goal: f64, pair: (f64, f64)) -> f64 {
        let order = &mut self.order;
        let row = self.by_name.entry(name).or_insert_with(|| {
            order.push(name);
            Row { unit, goal: if goal.is_finite() { format!("{goal}") } else { "-".to_owned() }, pairs: Vec::new() }
        });
        row.pairs.push(pair);
        pair.0 / pair.1
    }

    /// Adds the middle of both, and their slowest percent, which is what has a goal.
    pub(crate) fn add_times(&mut self, name: [&'static str; 2], goal: f64, store: &[Duration], beside: &[Duration]) {
        for (name, percentile, goal) in [(name[0], 50, f64::INFINITY), (name[1], 99, goal)] {
            self.add(name, "us", goal, (microseconds(store, percentile), microseconds(beside, percentile)));
        }
    }

    /// Adds the middle of something that must keep within a time, and its slowest percent, which on a busy machine is the machine's.
    pub(crate) fn add_time(&mut self, name: [&'static str; 2], goal: Duration, times: &[Duration]) {
        for (name, percentile) in name.into_iter().zip([50, 99]) {
            self.add(name, "us", f64::INFINITY, (microseconds(times, percentile), f64::NAN));
            if let Some(row) = self.by_name.get_mut(name) {
                row.goal = format!("{} us", goal.as_micros());
            }
        }
    }

    /// Medians as a Markdown table.
    pub(crate) fn table(&self) -> String {
        let mut text = "| | store | bare | unit | ratio | goal |\n|---|---:|---:|---|---:|---:|\n".to_owned();
        for (name, row) in self.order.iter().filter_map(|name| self.by_name.get_key_value(name)) {
            let of = |each: fn(&(f64, f64)) -> f64| median(row.pairs.iter().map(each).collect());
            let (store, bare, ratio) = (of(|pair| pair.0), of(|pair| pair.1), of(|pair| pair.0 / pair.1));
            let shown = |number: f64, digits: usize| if number.is_finite() { format!("{number:.digits$}") } else { "-".to_owned() };
            let (store, bare, ratio) = (shown(store, 3), shown(bare, 3), shown(ratio, 2));
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {name} | {store} | {bare} | {} | {ratio} | {} |", row.unit, row.goal);
        }
        text
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn microseconds(times: &[Duration], percentile: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() * percentile / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
