//! The file `klamm.sequence`: a sequence number that the index has reached with all that came before it on the disk.
//!
//! RocksDB opens with what it can read of its write-ahead log, since the end of that file is torn after a crash. A file that was cut, replaced or
//! removed looks the same, and topics would be gone without a word. The mark is written after each synced write, without a sync of its own: if a
//! power cut takes it, an older one is there, which is as true.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const FILE: &str = "klamm.sequence";
const DIGITS: usize = 20;

/// The open file.
pub(crate) struct SequenceMark {
    pub(crate) path: PathBuf,
    file: File,
}

impl SequenceMark {
    /// Opens or makes the file; what it says, if it says something.
    pub(crate) fn open(directory: &Path) -> io::Result<(Self, Option<u64>)> {
        let path = directory.join(FILE);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let sequence = parse(&mut file)?;
        Ok((Self { path, file }, sequence))
    }

    /// What the file says, if there is one and it says something; its path.
    pub(crate) fn look(directory: &Path) -> io::Result<(PathBuf, Option<u64>)> {
        let path = directory.join(FILE);
        match File::open(&path) {
            Ok(mut file) => parse(&mut file).map(|sequence| (path, sequence)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((path, None)),
            Err(error) => Err(error),
        }
    }

    /// Takes note of what is on the disk now.
    pub(crate) fn note(&self, sequence: u64) -> io::Result<()> {
        self.file.write_all_at(format!("{sequence:0DIGITS$}\n").as_bytes(), 0)
    }
}

fn parse(file: &mut File) -> io::Result<Option<u64>> {
    let mut text = String::new();
    match file.take(4_096).read_to_string(&mut text) {
        Ok(0) => return Ok(None),
        Err(error) if error.kind() != ErrorKind::InvalidData => return Err(error),
        _ => {}
    }
    let sequence = text.strip_suffix('\n').filter(|digits| digits.len() == DIGITS).and_then(|digits| digits.parse().ok());
    let unreadable = || io::Error::new(ErrorKind::InvalidData, "it does not hold a number of twenty digits; remove it to go on without it");
    sequence.map(Some).ok_or_else(unreadable)
}
