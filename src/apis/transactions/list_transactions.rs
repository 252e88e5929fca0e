//! ListTransactions (key 66, versions 0-2): the transactional ids that this broker coordinates (KIP-664).
//!
//! - Version 1 filters by how long a transaction lasts (KIP-994), version 2 by a pattern of ids (KIP-1152), in RE2's syntax as in Kafka.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! kafka-transactions --list in `compat-tests`.

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use regex::{Regex, RegexBuilder};

use super::pick;
use crate::api::{Api, Context, Versions};

/// What a compiled pattern may take in memory.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub(crate) struct ListTransactions;

impl Api for ListTransactions {
    const KEY: i16 = 66;
    const NAME: &'static str = "ListTransactions";
    const VERSIONS: Versions = Versions::new(0, 2);
    type Request = ListTransactionsRequest;
    type Response = ListTransactionsResponse;

    async fn handle(cx: Context, request: ListTransactionsRequest) -> ListTransactionsResponse {
        let mut response = ListTransactionsResponse::default();
        let pattern = match request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty()).map(whole).transpose() {
            Ok(pattern) => Arc::new(pattern),
            Err(_) => return response.with_error_code(ErrorCode::InvalidRegularExpression.code()),
        };
        let replies = cx.broker.transactions.call_all(cx.version, || {
            let (request, pattern) = (request.clone(), Arc::clone(&pattern));
            Box::new(move |shard, now, meta| {
                let is_named = |id: &str| pattern.as_ref().as_ref().is_none_or(|pattern: &Regex| pattern.is_match(id));
                shard.list_transactions(now, meta, request, &is_named)
            })
        });
        match replies.await {
            Err(error) => response.error_code = error.code(),
            Ok(replies) => {
                for part in replies.into_iter().filter_map(pick!(ListTransactions)) {
                    response.transaction_states.extend(part.transaction_states);
                    response.unknown_state_filters = part.unknown_state_filters;
                }
            }
        }
        response
    }
}

/// The pattern has to fit the whole id.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // By itself first: a bracket too many must not close ours.
    Regex::new(pattern)?;
    RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build()
}
