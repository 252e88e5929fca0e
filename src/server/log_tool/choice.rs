//! Which partitions of a data directory are meant, and what their topics are called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use log_store::inspect::{StoppedStore, partitions_in};
use log_store::{OpenError, StorageError};
use model::{TopicId, TopicIdPartition};

use super::LogProblem;
use super::args::Part;

/// The log that holds the cluster's metadata.
const METADATA: &str = "metadata";

/// The topics' names, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<TopicId, String>,
    /// Why there are none.
    pub(super) reason: Option<String>,
}

impl Names {
    /// The names in a stopped broker's metadata.
    pub(super) fn of(store: &StoppedStore) -> Self {
        let Some(log) = store.synced_log(METADATA) else {
            return Self { reason: Some("its index does not open".to_owned()), ..Self::default() };
        };
        match quorum::look(&log) {
            Ok(found) => {
                let names = found.image.topics().map(|topic| (topic.id, topic.name.to_string())).collect();
                Self { names, reason: None }
            }
            Err(error) => Self { reason: Some(error.to_string()), ..Self::default() },
        }
    }

    pub(super) fn get(&self, id: TopicIdPartition) -> Option<&str> {
        self.names.get(&id.topic_id).map(String::as_str)
    }

    /// The topic's name, or its id, with the partition.
    pub(super) fn label(&self, id: TopicIdPartition) -> String {
        self.get(id).map_or_else(|| id.to_string(), |name| format!("{name}-{}", id.partition))
    }
}

/// A data directory, stopped or not.
pub(super) struct Opened {
    pub(super) directory: PathBuf,
    /// `None` while a broker runs.
    pub(super) stopped: Option<StoppedStore>,
    pub(super) names: Names,
}

impl Opened {
    pub(super) fn open(directory: &Path) -> Result<Self, LogProblem> {
        match StoppedStore::open(directory) {
            Ok(stopped) => {
                let names = Names::of(&stopped);
                Ok(Self { directory: directory.to_owned(), stopped: Some(stopped), names })
            }
            Err(OpenError::AlreadyInUse { .. }) => Ok(Self { directory: directory.to_owned(), stopped: None, names: Names::default() }),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn partition_directory(&self, id: TopicIdPartition) -> PathBuf {
        self.directory.join("partitions").join(id.to_string())
    }

    /// The partitions that were asked for, by name and number.
    pub(super) fn chosen(&self, part: &Part) -> Result<Vec<TopicIdPartition>, LogProblem> {
        let mut all = self.all()?;
        all.sort_by_key(|id| (self.names.get(*id).map(str::to_owned), *id));
        if let Some(topic) = &part.topic {
            let is_known = all.iter().any(|id| is_named(id, topic, self.names.get(*id)));
            if !is_known && self.stopped.is_none() {
                return Err(LogProblem::NamesInUse(self.directory.clone()));
            }
            if let Some(reason) = self.names.reason.as_ref().filter(|_| !is_known) {
                return Err(LogProblem::Names { directory: self.directory.clone(), reason: reason.clone() });
            }
            all.retain(|id| is_named(id, topic, self.names.get(*id)));
        }
        if !part.partitions.is_empty() {
            all.retain(|id| part.partitions.contains(&id.partition.get()));
        }
        if all.is_empty() && (part.topic.is_some() || !part.partitions.is_empty()) {
            let topic = part.topic.as_ref().map(|topic| format!("topic '{topic}'"));
            let numbers: Vec<String> = part.partitions.iter().map(|number| format!("partition {number}")).collect();
            let what = topic.into_iter().chain(numbers).collect::<Vec<String>>().join(", ");
            return Err(LogProblem::Nothing { directory: self.directory.clone(), what });
        }
        Ok(all)
    }

    fn all(&self) -> Result<Vec<TopicIdPartition>, StorageError> {
        match &self.stopped {
            Some(stopped) => stopped.partitions(),
            None => partitions_in(&self.directory),
        }
    }
}

fn is_named(id: &TopicIdPartition, topic: &str, name: Option<&str>) -> bool {
    name == Some(topic) || id.topic_id.to_string() == topic
}
