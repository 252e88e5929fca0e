//! DescribeTransactions (key 65, version 0): what the coordinator knows of transactional ids (KIP-664).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! kafka-transactions --describe in `compat-tests`.

use protocol::messages::describe_transactions_response::TransactionState;
use protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct DescribeTransactions;

impl Api for DescribeTransactions {
    const KEY: i16 = 65;
    const NAME: &'static str = "DescribeTransactions";
    const VERSIONS: Versions = Versions::new(0, 0);
    type Request = DescribeTransactionsRequest;
    type Response = DescribeTransactionsResponse;

    async fn handle(cx: Context, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
        let mut states = Vec::with_capacity(request.transactional_ids.len());
        for id in request.transactional_ids {
            let one = DescribeTransactionsRequest::default().with_transactional_ids(vec![id.clone()]);
            let operation = move |shard: &mut txn_coordinator::TxnShard, _now, meta| shard.describe_transactions(meta, one);
            match call(&cx, &id, operation, pick!(DescribeTransactions)).await {
                Ok(described) => states.extend(described.transaction_states),
                Err(error) => states.push(TransactionState::default().with_transactional_id(id.clone()).with_error_code(error.code())),
            }
        }
        DescribeTransactionsResponse::default().with_transaction_states(states)
    }
}
