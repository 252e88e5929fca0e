//! The store alone against bare files, in one run and in turn: what is measured is a ratio, since this machine's speed is nobody's property.
//!
//! `scripts/bench --only store` runs it; the figures with their date are in docs/bench.md. CPU is the whole process's, the store's threads included.

mod bare;
mod measure;
mod workload;

use std::error::Error;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, SamplingMode};

use bare::BareFiles;
use measure::{Ratio, Rows, cpu_seconds};
use workload::{Cell, Lookups, Reading, Workload};

const APPENDS: &[Cell] = &[
    Cell { name: "append of 16 KiB batches to 16 partitions", batch_bytes: 16 << 10, partitions: 16, goal: 1.3 },
    Cell { name: "append of 1 KiB batches to 16 partitions", batch_bytes: 1 << 10, partitions: 16, goal: 1.5 },
    Cell { name: "append of 256 KiB batches to 16 partitions", batch_bytes: 256 << 10, partitions: 16, goal: 1.5 },
    Cell { name: "append of 16 KiB batches to 1,000 partitions", batch_bytes: 16 << 10, partitions: 1_000, goal: 1.5 },
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .with_measurement(Ratio)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(1))
        .configure_from_args();
    let mut rows = Rows::default();
    let mut group = criterion.benchmark_group("store");
    group.sampling_mode(SamplingMode::Flat);
    for cell in APPENDS {
        append(&mut group, cell, &mut rows)?;
    }
    read(&mut group, &mut rows)?;
    group.finish();
    look_up(&mut rows)?;
    criterion.final_summary();
    print!("{}", rows.table());
    Ok(())
}

/// The same bytes into a new store and into new files, the store first every other time.
fn append(group: &mut BenchmarkGroup<'_, Ratio>, cell: &Cell, rows: &mut Rows) -> Result<(), Box<dyn Error>> {
    let workload = Workload::new(cell)?;
    let mut failed = None;
    let mut turn = 0_u64;
    group.bench_function(cell.name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut sum = 0.0;
            for _ in 0..iterations {
                turn += 1;
                let measured = match turn % 2 {
                    0 => workload.append_to_store().and_then(|store| Ok((store, BareFiles::append(&workload)?))),
                    _ => BareFiles::append(&workload).and_then(|bare| Ok((workload.append_to_store()?, bare))),
                };
                match measured {
                    Ok((store, bare)) => sum += rows.add(cell.name, "CPU s/GiB", cell.goal, (store, bare)),
                    Err(error) => failed = Some(error),
                }
            }
            sum
        });
    });
    failed.map_or(Ok(()), Err)
}

/// A log is read to its end in ranges of a mebibyte, as a consumer does that catches up, and its files in the same pieces.
fn read(group: &mut BenchmarkGroup<'_, Ratio>, rows: &mut Rows) -> Result<(), Box<dyn Error>> {
    for (name, goal, is_reopened) in
        [("catch-up read", 1.2, false), ("catch-up read, the first after a start (all bytes are checked once)", f64::INFINITY, true)]
    {
        let reading = Reading::new()?;
        let mut failed = None;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut sum = 0.0;
                for _ in 0..iterations {
                    let measured = || {
                        if is_reopened {
                            reading.reopen()?;
                        }
                        Ok::<_, Box<dyn Error>>((reading.through_store()?, reading.bare()?))
                    };
                    match measured() {
                        Ok(pair) => sum += rows.add(name, "CPU s/GiB", goal, pair),
                        Err(error) => failed = Some(error),
                    }
                }
                sum
            });
        });
        failed.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// Single look-ups are over too soon for processor time: these are times, of which the slow ones count.
fn look_up(rows: &mut Rows) -> Result<(), Box<dyn Error>> {
    let lookups = Lookups::new()?;
    let began = cpu_seconds();
    let (cold, pread) = lookups.cold()?;
    let names = ["cold look-up beside a cold pread of 4 KiB, median", "cold look-up beside a cold pread of 4 KiB, 99th percentile"];
    rows.add_times(names, 1.5, &cold, &pread);
    rows.add_time(["warm look-up, median", "warm look-up, 99th percentile"], Duration::from_micros(50), &lookups.warm()?);
    eprintln!("look-ups: {:.1} CPU s", cpu_seconds() - began);
    Ok(())
}
