//! A data directory that no broker has open, for reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::TopicIdPartition;

use crate::engine::Engine;
use crate::layout::{self, Claim};
use crate::{OpenError, StorageError, StoreOptions, SyncedLog, store};

/// A data directory held for reading: no broker begins there while this lives, and nothing in it changes.
pub struct StoppedStore {
    pub(super) directory: PathBuf,
    /// The database, if it could be opened.
    pub(super) index: Result<Arc<Engine>, Arc<OpenError>>,
    /// Also where the engine, which has its own, did not open.
    _claim: Claim,
}

impl std::fmt::Debug for StoppedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoppedStore").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl StoppedStore {
    /// Holds a data directory. An index that does not open is no error here: the check says so.
    ///
    /// # Errors
    /// If it is none, a broker has it open ([`OpenError::AlreadyInUse`]), or a newer klamm wrote it.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let hold = || layout::look(directory)?.map(Claim).ok_or_else(|| OpenError::Foreign { path: directory.to_owned() });
        let claim = hold()?;
        let index = Engine::look(StoreOptions::new(directory), hold()?).map(Arc::new).map_err(Arc::new);
        Ok(Self { directory: directory.to_owned(), index, _claim: claim })
    }

    /// A synced log, to be read; `None` without an index.
    #[must_use]
    pub fn synced_log(&self, name: &str) -> Option<SyncedLog> {
        self.index.as_ref().ok().map(|engine| SyncedLog::new(Arc::clone(engine), name))
    }

    /// The partitions that have a row or a directory and are not being deleted.
    ///
    /// # Errors
    /// If the directory or the index cannot be read.
    pub fn partitions(&self) -> Result<Vec<TopicIdPartition>, StorageError> {
        match &self.index {
            Ok(engine) => store::partitions(engine),
            Err(_) => super::place::partitions_in(&self.directory),
        }
    }
}
