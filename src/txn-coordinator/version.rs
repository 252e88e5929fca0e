//! The feature `transaction.version`.

/// A level of the feature `transaction.version`: of the cluster, or of what a client's request shows it to follow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum TransactionVersion {
    /// 0: records without tagged fields.
    #[default]
    V0,
    /// 1: records with tagged fields (KIP-915).
    V1,
    /// 2: partitions are added by the leaders that are written to, and each transaction has an epoch of its own (KIP-890).
    V2,
}

impl TransactionVersion {
    /// The level of that number; `None` if there is no such level.
    #[must_use]
    pub const fn from_feature_level(level: i16) -> Option<Self> {
        match level {
            0 => Some(Self::V0),
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn feature_level(self) -> i16 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// Whether each transaction has an epoch of its own.
    #[must_use]
    pub const fn supports_epoch_bump(self) -> bool {
        matches!(self, Self::V2)
    }

    /// The version of the values in `__transaction_state`.
    pub(crate) const fn log_value_version(self) -> i16 {
        match self {
            Self::V0 => 0,
            Self::V1 | Self::V2 => 1,
        }
    }

    /// What a client follows that sends AddPartitionsToTxn in that version: from 4 on it is a partition's leader that asks (KIP-890).
    pub(crate) const fn of_add_partitions_to_txn(api_version: i16) -> Self {
        if api_version > 3 { Self::V2 } else { Self::V0 }
    }

    /// What a client follows that sends EndTxn in that version.
    pub(crate) const fn of_end_txn(api_version: i16) -> Self {
        if api_version > 4 { Self::V2 } else { Self::V0 }
    }
}
