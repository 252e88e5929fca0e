//! The yardstick: the same bytes into plain files, one write for each batch, all files in turn.

use std::error::Error;
use std::fs::File;
use std::io::Write;

use crate::measure::cpu_seconds;
use crate::workload::Workload;

pub(crate) struct BareFiles;

impl BareFiles {
    /// CPU seconds for each GiB.
    pub(crate) fn append(workload: &Workload) -> Result<f64, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let files = (0..workload.partitions()).map(|number| File::create(directory.path().join(number.to_string())));
        let files: Vec<File> = files.collect::<Result<_, _>>()?;
        for (mut file, (_, batch)) in files.iter().zip(workload.plan()) {
            file.write_all(batch)?;
        }
        let began = cpu_seconds();
        for (place, batch) in workload.plan() {
            if let Some(mut file) = files.get(place) {
                file.write_all(batch)?;
            }
        }
        Ok((cpu_seconds() - began) / workload.gibibytes())
    }
}
