//! APIs of the connection itself.

pub(crate) mod api_versions;
