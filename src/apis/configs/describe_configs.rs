//! DescribeConfigs (key 32, versions 1-4): configurations of topics, brokers, groups and client metrics, with where they come from.
//!
//! - A null or empty list of keys means all.
//! - A broker is asked by its own id, or with an empty name for the cluster's default; another id is INVALID_REQUEST.
//! - A broker's keys for single listeners (`listener.name.NAME.`) are listed where they are set.
//! - Synonyms and (from version 3) types and documentation as asked; sensitive values are null.
//!
//! # Deviations
//! - The documentation sentences are our own.
//!
//! # Tests
//! Java tools `kafka-configs --describe` and `kafka-topics --describe`; `describe_configs` in `metadata`.

use metadata::configs::{ConfigView, DescribeOptions, GROUP_ROWS};
use metadata::controller::ConfigTables;
use protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use crate::api::{Api, Context, Versions};

pub(crate) struct DescribeConfigs;

impl Api for DescribeConfigs {
    const KEY: i16 = 32;
    const NAME: &'static str = "DescribeConfigs";
    const VERSIONS: Versions = Versions::new(1, 4);
    type Request = DescribeConfigsRequest;
    type Response = DescribeConfigsResponse;

    async fn handle(cx: Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
        let image = cx.broker.metadata.image();
        let config = &cx.broker.config;
        let view = ConfigView::new(&image, config.broker_id, &config.set);
        let options = DescribeOptions { synonyms: request.include_synonyms, documentation: request.include_documentation };
        let tables = ConfigTables { broker: &config.rows, group: GROUP_ROWS };
        let mut response = DescribeConfigsResponse::default();
        response.results = request.resources.iter().map(|resource| view.describe(resource, options, tables)).collect();
        response
    }
}
