//! APIs of idempotent producers; those of transactions come with transactions.

pub(crate) mod init_producer_id;
