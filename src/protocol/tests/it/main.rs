//! What the scan promises, checked for every message in every version.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation, missing_docs)]

mod error_codes;
mod fetch_response;
mod header;
mod messages;
mod scan;
