//! The file `klamm.layout`: whose directory this is, in which layout version, and (by its lock) who has it open.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::OpenError;

/// The newest layout that this build reads and the one that it writes. Version 2 has compacted segments, which a klamm that knows only version 1
/// would take for something else.
pub(crate) const LAYOUT_VERSION: u32 = 2;
/// The oldest layout that is taken over.
const OLDEST_VERSION: u32 = 1;
const FILE: &str = "klamm.layout";
const MAGIC: &str = "klamm";
/// What may lie in a fresh directory that nobody has used: the root of an ext4 file system has it.
const IGNORED: &[&str] = &["lost+found"];

/// The lock on a directory. It is given back explicitly, because a child that this process is just starting shares the file for a moment, and
/// the lock would live on with it.
pub(crate) struct Claim(pub(crate) File);

impl Drop for Claim {
    fn drop(&mut self) {
        let _closing_gives_it_back_too = self.0.unlock();
    }
}

/// Takes the directory for this process, or says why not. Nothing is written before all doubts are gone. The returned file holds the lock.
pub(crate) fn claim(directory: &Path) -> Result<File, OpenError> {
    let unreadable = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Unreadable { action, path, source }
    };
    let path = directory.join(FILE);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(directory).map_err(unreadable("create data directory", directory))?;
            if !is_unused(directory).map_err(unreadable("read data directory", directory))? {
                return Err(OpenError::Foreign { path: directory.to_owned() });
            }
            let create = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            create.map_err(unreadable("create", &path))?
        }
        Err(error) => return Err(unreadable("open", &path)(error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::AlreadyInUse { path: directory.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(unreadable("lock", &path)(error)),
    }
    let mut text = String::new();
    // An odd file is not ours, so bytes that are no text are treated like other words.
    (&file).take(4_096).read_to_string(&mut text).or_else(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Ok(0),
        _ => Err(unreadable("read", &path)(error)),
    })?;
    if text.is_empty() && is_unused(directory).map_err(unreadable("read data directory", directory))? {
        // IMPORTANT: synced with its directory entry, since data without it would be refused as foreign after a power cut.
        (&file).write_all(format!("{MAGIC} {LAYOUT_VERSION}\n").as_bytes()).map_err(unreadable("write", &path))?;
        file.sync_data().map_err(unreadable("sync", &path))?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(unreadable("sync", directory))?;
        return Ok(file);
    }
    match parse(&text) {
        Some(LAYOUT_VERSION) => Ok(file),
        Some(OLDEST_VERSION..LAYOUT_VERSION) => {
            // Of one length, so that the write is whole or not there; in place, since the lock is on this file.
            let written = std::os::unix::fs::FileExt::write_all_at(&file, format!("{MAGIC} {LAYOUT_VERSION}\n").as_bytes(), 0);
            // IMPORTANT: on the disk before anything that only this version understands.
            written.and_then(|()| file.sync_data()).map_err(unreadable("write", &path))?;
            Ok(file)
        }
        Some(found) if found > LAYOUT_VERSION => Err(OpenError::Newer { path: directory.to_owned(), found, known: LAYOUT_VERSION }),
        _ => Err(OpenError::Foreign { path: directory.to_owned() }),
    }
}

/// Takes the directory for reading: no broker begins while the returned file holds the lock. Nothing is written. `None` if there is no directory of
/// klamm's here.
pub(crate) fn look(directory: &Path) -> Result<Option<File>, OpenError> {
    let path = directory.join(FILE);
    let unreadable = |action: &'static str| {
        let path = path.clone();
        move |source| OpenError::Unreadable { action, path, source }
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(unreadable("open")(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::AlreadyInUse { path: directory.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(unreadable("lock")(error)),
    }
    let mut bytes = Vec::new();
    (&file).take(4_096).read_to_end(&mut bytes).map_err(unreadable("read"))?;
    match parse(&String::from_utf8_lossy(&bytes)) {
        Some(OLDEST_VERSION..=LAYOUT_VERSION) => Ok(Some(file)),
        Some(found) if found > LAYOUT_VERSION => Err(OpenError::Newer { path: directory.to_owned(), found, known: LAYOUT_VERSION }),
        _ => Err(OpenError::Foreign { path: directory.to_owned() }),
    }
}

/// Whether a store has the directory open, or somebody looks at it. After the last handle was dropped it may be so for a moment: a thread of the
/// store's that has not ended yet holds one, too.
#[must_use]
pub fn is_in_use(directory: &Path) -> bool {
    let Ok(file) = File::open(directory.join(FILE)) else { return false };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Whether the directory says that it is klamm's, whoever has it open.
pub(crate) fn is_marked(directory: &Path) -> bool {
    directory.join(FILE).is_file()
}

fn parse(text: &str) -> Option<u32> {
    let mut words = text.split_whitespace();
    (words.next()? == MAGIC).then_some(())?;
    words.next()?.parse().ok()
}

/// Whether there is nothing in the directory but what does not count, so that it may be taken.
fn is_unused(directory: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name != FILE && !IGNORED.iter().any(|ignored| name == *ignored) {
            return Ok(false);
        }
    }
    Ok(true)
}
