//! APIs about who may connect and what they may do.

pub(crate) mod describe_user_scram_credentials;
