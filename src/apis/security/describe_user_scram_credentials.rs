//! DescribeUserScramCredentials (key 50, version 0): which users have credentials for SCRAM.
//!
//! - No list of users, or an empty one, means all who have some: nobody has.
//! - A user who has none is RESOURCE_NOT_FOUND; one who is named twice is DUPLICATE_RESOURCE, once.
//!
//! # Deviations
//! - Credentials cannot be set yet (AlterUserScramCredentials is not served).
//!
//! # Tests
//! Java tools `kafka-configs --describe --entity-type users`.

use std::collections::BTreeMap;

use protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::{Api, Context, Versions};

pub(crate) struct DescribeUserScramCredentials;

impl Api for DescribeUserScramCredentials {
    const KEY: i16 = 50;
    const NAME: &'static str = "DescribeUserScramCredentials";
    const VERSIONS: Versions = Versions::new(0, 0);
    type Request = DescribeUserScramCredentialsRequest;
    type Response = DescribeUserScramCredentialsResponse;

    async fn handle(_cx: Context, request: DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for user in request.users.into_iter().flatten() {
            *times.entry(user.name.to_string()).or_default() += 1;
        }
        let results = times.into_iter().map(|(user, times)| refused(user, times > 1));
        DescribeUserScramCredentialsResponse::default().with_results(results.collect())
    }
}

fn refused(user: String, is_doubled: bool) -> DescribeUserScramCredentialsResult {
    let (code, message) = if is_doubled {
        (ErrorCode::DuplicateResource, format!("The user {user} is named twice in one request."))
    } else {
        (ErrorCode::ResourceNotFound, format!("The user {user} has no SCRAM credentials."))
    };
    DescribeUserScramCredentialsResult::default()
        .with_user(StrBytes::from_string(user))
        .with_error_code(code.code())
        .with_error_message(Some(StrBytes::from_string(message)))
}
