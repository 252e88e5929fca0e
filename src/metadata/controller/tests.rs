//! Decisions, as Kafka makes them.
