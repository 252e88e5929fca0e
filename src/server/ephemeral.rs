//! The folder of `--ephemeral`: made in the system's folder for temporary files, gone at exit, and after a kill at a later start of klamm.
//!
//! A living broker holds the lock on its folder. A start of klamm looks for folders of the same name pattern that belong to the same user and that
//! nobody has locked, and removes them in the background. A folder is locked by who removes it, too, so that neither two of them nor one of them and
//! a broker that has just made its folder get into each other's way.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use crate::Problem;

/// A folder of ours is named by this and [`RANDOM_LENGTH`] letters or digits.
const PREFIX: &str = "klamm-ephemeral-";
const RANDOM_LENGTH: usize = 6;
/// So often a folder is taken away by who removes dead ones, before it is locked, until somebody is told.
const ATTEMPTS: usize = 16;

/// The folder of a broker, which holds the lock.
pub(crate) struct Ephemeral {
    directory: TempDir,
    /// Dropped last. None where the file system knows no locks: then nobody can lock the folder to remove it.
    _lock: Option<File>,
}

impl Ephemeral {
    /// Makes a folder.
    ///
    /// # Errors
    /// If there can be none.
    pub(crate) fn make() -> Result<Self, Problem> {
        Self::make_in(&std::env::temp_dir()).map_err(|source| Problem::System { action: "make a temporary directory", source })
    }

    fn make_in(parent: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let directory = tempfile::Builder::new().prefix(PREFIX).rand_bytes(RANDOM_LENGTH).tempdir_in(parent)?;
            match lock(directory.path()) {
                Ok(Some(lock)) => return Ok(Self { directory, _lock: Some(lock) }),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Self { directory, _lock: None }),
                // Somebody took it for a dead one's in this very moment.
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes what killed brokers left, without holding anybody up; what is not done when the process ends is done by the next one.
pub(crate) fn remove_dead_in_background() {
    let remove = || {
        let removed = remove_dead(&std::env::temp_dir());
        if !removed.is_empty() {
            tracing::info!(count = removed.len(), "removed the data of ephemeral brokers that were killed");
        }
    };
    // Without a thread they stay for the next start.
    let _refused = std::thread::Builder::new().name("remove-dead".to_owned()).spawn(remove);
}

/// Removes the folders of dead brokers, and gives their names. What cannot be looked at or removed is somebody else's business.
fn remove_dead(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_our_name));
    ours.map(|entry| entry.path()).filter(|path| remove_if_dead(path).unwrap_or(false)).collect()
}

fn is_our_name(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX);
    random.is_some_and(|random| random.len() == RANDOM_LENGTH && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn remove_if_dead(path: &Path) -> io::Result<bool> {
    let Some(_lock) = lock(path)? else { return Ok(false) };
    // Somebody may look at a dead broker's data with a broker of his own.
    let folders = std::fs::read_dir(path)?.flatten().map(|entry| entry.path());
    if folders.chain([path.to_owned()]).any(|folder| log_store::is_in_use(&folder)) {
        return Ok(false);
    }
    // It follows no links.
    std::fs::remove_dir_all(path)?;
    Ok(true)
}

/// Locks a folder of this user's; `None` if somebody has locked it, or it is no such folder (any more).
fn lock(path: &Path) -> io::Result<Option<File>> {
    let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let folder = match opened {
        Ok(folder) => File::from(folder),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = folder.metadata()?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // The name may mean another folder by now.
    let is_same = std::fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (found.dev(), found.ino()));
    Ok(is_same.then_some(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(parent).expect("readable");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_dead_broker_left_goes_and_nothing_else() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = |name: &str| parent.path().join(name);
        std::fs::create_dir_all(path("klamm-ephemeral-dead01/index")).expect("made");
        std::fs::write(path("klamm-ephemeral-dead01/index/CURRENT"), "x").expect("written");
        let living = Ephemeral::make_in(parent.path()).expect("made");
        let living_name = living.path().file_name().expect("a name").to_str().expect("text").to_owned();
        // Others' names, a file, and a link to a folder that is nobody's business.
        for other in ["klamm-ephemeral-seven07", "klamm-ephemeral-", "klamm-ephemeral-a_b_c_", "klamm-abcdef", "target"] {
            std::fs::create_dir(path(other)).expect("made");
            std::fs::write(path(other).join("kept"), "x").expect("written");
        }
        std::fs::write(path("klamm-ephemeral-file01"), "x").expect("written");
        std::os::unix::fs::symlink(path("target"), path("klamm-ephemeral-link01")).expect("linked");
        std::os::unix::fs::symlink(path("target"), path("klamm-ephemeral-dead01/link")).expect("linked");
        let before = names(parent.path());
        assert_eq!(remove_dead(parent.path()), [path("klamm-ephemeral-dead01")]);
        let expected: Vec<_> = before.into_iter().filter(|name| name != "klamm-ephemeral-dead01").collect();
        assert_eq!(names(parent.path()), expected);
        assert_eq!(names(&path("target")), ["kept"]);
        assert!(expected.contains(&living_name));
        // Its lock keeps it while it lives, and its end removes it.
        drop(living);
        assert!(!names(parent.path()).contains(&living_name));
    }

    #[test]
    fn a_dead_brokers_data_stays_while_somebody_looks_at_it() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("klamm-ephemeral-dead02");
        for data in [path.clone(), path.join("broker-1")] {
            std::fs::create_dir_all(&data).expect("made");
            let store = log_store::Store::open(log_store::StoreOptions::new(&data)).expect("opens");
            assert!(remove_dead(parent.path()).is_empty(), "{}", data.display());
            drop(store);
            std::fs::remove_dir_all(&path).expect("removed");
        }
    }

    #[test]
    fn a_folder_that_somebody_removes_already_is_left_to_him() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("klamm-ephemeral-dead03");
        std::fs::create_dir(&path).expect("made");
        let held = lock(&path).expect("lockable").expect("free");
        assert!(remove_dead(parent.path()).is_empty());
        drop(held);
        assert_eq!(remove_dead(parent.path()), [path]);
    }
}
