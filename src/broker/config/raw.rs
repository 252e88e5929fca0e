//! What was given, as text, and where.

use std::collections::BTreeMap;
use std::fmt;

/// Which of klamm's two faces is started: it decides the defaults of what was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `klamm`: a broker for a laptop or a test.
    Developer,
    /// `klamm server`: Kafka's own defaults.
    Server,
}

impl Mode {
    /// The defaults that differ from Kafka's.
    #[must_use]
    pub const fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Server => &[],
            Self::Developer => &[
                ("group.initial.rebalance.delay.ms", "0"),
                ("listeners", "PLAINTEXT://127.0.0.1:9092"),
                ("log.dirs", "klamm-data"),
                ("offsets.topic.num.partitions", "4"),
                ("offsets.topic.replication.factor", "1"),
                ("share.coordinator.state.topic.min.isr", "1"),
                ("share.coordinator.state.topic.num.partitions", "4"),
                ("share.coordinator.state.topic.replication.factor", "1"),
                ("transaction.state.log.min.isr", "1"),
                ("transaction.state.log.num.partitions", "4"),
                ("transaction.state.log.replication.factor", "1"),
            ],
        }
    }
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a properties file.
    File {
        /// The file as it was named.
        path: String,
    },
    /// In an environment variable.
    Environment {
        /// The variable.
        variable: String,
    },
    /// On the command line.
    Flag {
        /// The flag.
        flag: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => write!(f, "from {path}"),
            Self::Environment { variable } => write!(f, "from the environment variable {variable}"),
            Self::Flag { flag } => write!(f, "from {flag}"),
        }
    }
}

/// A value as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The text.
    pub value: String,
    /// Where it was given.
    pub origin: Origin,
}

/// All that was given, by key; of several places the strongest has already won.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawConfig {
    /// The keys, known or not.
    pub entries: BTreeMap<String, Given>,
    /// The id of a cluster that is made anew, if one was given (`CLUSTER_ID`).
    pub cluster_id: Option<String>,
    /// The machine's name, which a listener on every address tells if nothing else is given.
    pub host_name: String,
}

impl RawConfig {
    /// Sets a key; an earlier value is replaced.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>, origin: Origin) {
        self.entries.insert(key.into(), Given { value: value.into(), origin });
    }
}
