//! What brokers ask of the active controller, on its listener. Clients are not told of it.

pub(crate) mod allocate_producer_ids;
pub(crate) mod alter_partition;
pub(crate) mod api_versions;
pub(crate) mod broker_heartbeat;
pub(crate) mod broker_registration;
