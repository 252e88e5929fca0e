//! Client quotas as the metadata holds them: entities and their values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The kinds of entity, by Kafka's names.
pub const USER: &str = "user";
/// A client id.
pub const CLIENT_ID: &str = "client-id";
/// An address.
pub const IP: &str = "ip";

/// Whom a quota concerns: names by kind (`user`, `client-id`, `ip`), where no name means the default of the kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct QuotaEntity(pub BTreeMap<String, Option<String>>);

/// A quota's value. It is kept by its bits, so that records and images can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QuotaValue(u64);

impl QuotaValue {
    /// From the wire's number.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        Self(value.to_bits())
    }

    /// The number: bytes per second, percent, or changes per second.
    #[must_use]
    pub const fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// The values of one entity, by Kafka's keys.
pub type QuotaValues = BTreeMap<String, QuotaValue>;
