//! Randomness, handed in so that a test can fix it.

use std::fmt::Debug;

use uuid::Uuid;

/// Where member ids, topic ids and the like come from.
pub trait Entropy: Send + Sync + Debug {
    /// A fresh random id.
    fn uuid(&self) -> Uuid;
}

/// The operating system's randomness.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}
