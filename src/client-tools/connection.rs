//! One connection: the versions that its broker speaks, headers, deadlines.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use protocol::messages::{
    AddRaftVoterRequest, AlterPartitionReassignmentsRequest, ApiVersionsRequest, ConsumerGroupDescribeRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeQuorumRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest,
    ListOffsetsRequest, ListPartitionReassignmentsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
    RemoveRaftVoterRequest, ResponseHeader, SyncGroupRequest,
};
use protocol::{Decodable as _, HeaderVersion as _, Request, StrBytes};
use wire::PeerClient;
use wire::clock::{Clock as _, SystemClock, timeout_at};

use crate::ToolProblem;

/// What an answer may take in memory.
const ANSWER_MEMORY_BYTES_MAX: usize = 512 << 20;

/// A request that the tools send, with the versions that they know how to fill in.
pub(crate) trait Spoken: Request {
    /// Kafka's name.
    const NAME: &'static str;
    /// The lowest version.
    const MIN: i16;
    /// The highest version.
    const MAX: i16;
}

macro_rules! spoken {
    ($($request:ident $name:literal $min:literal $max:literal)*) => {
        $(impl Spoken for $request {
            const NAME: &'static str = $name;
            const MIN: i16 = $min;
            const MAX: i16 = $max;
        })*
    };
}

// The lowest versions are those of Apache Kafka 3.0. The highest stop before topic ids take the place of names, where they do.
spoken! {
    ApiVersionsRequest "ApiVersions" 3 3
    MetadataRequest "Metadata" 9 12
    ProduceRequest "Produce" 9 12
    FetchRequest "Fetch" 11 12
    ListOffsetsRequest "ListOffsets" 6 10
    CreateTopicsRequest "CreateTopics" 5 7
    DeleteTopicsRequest "DeleteTopics" 6 6
    DescribeConfigsRequest "DescribeConfigs" 1 4
    FindCoordinatorRequest "FindCoordinator" 4 6
    ListGroupsRequest "ListGroups" 4 5
    DescribeGroupsRequest "DescribeGroups" 5 6
    ConsumerGroupDescribeRequest "ConsumerGroupDescribe" 0 1
    DeleteGroupsRequest "DeleteGroups" 2 2
    OffsetFetchRequest "OffsetFetch" 8 9
    OffsetCommitRequest "OffsetCommit" 8 9
    InitProducerIdRequest "InitProducerId" 4 5
    JoinGroupRequest "JoinGroup" 7 9
    SyncGroupRequest "SyncGroup" 5 5
    HeartbeatRequest "Heartbeat" 4 4
    LeaveGroupRequest "LeaveGroup" 4 5
    AlterPartitionReassignmentsRequest "AlterPartitionReassignments" 0 1
    ListPartitionReassignmentsRequest "ListPartitionReassignments" 0 0
    DescribeQuorumRequest "DescribeQuorum" 2 2
    AddRaftVoterRequest "AddRaftVoter" 0 0
    RemoveRaftVoterRequest "RemoveRaftVoter" 0 0
}

/// A cluster-wide feature that was finalized, with its level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Feature {
    /// As `metadata.version`.
    pub(crate) name: String,
    /// Its level.
    pub(crate) level: i16,
}

/// A connection to one broker.
pub(crate) struct Connection {
    client: PeerClient,
    address: String,
    versions: BTreeMap<i16, (i16, i16)>,
    pub(crate) features: Vec<Feature>,
    timeout: Duration,
    next_correlation_id: i32,
}

impl Connection {
    /// Connects to `HOST:PORT` and asks for the versions. The reason of a failure is text without advice.
    pub(crate) async fn open(clock: &SystemClock, address: &str, timeout: Duration) -> Result<Self, ConnectFault> {
        let deadline = clock.monotonic() + timeout;
        let connected = timeout_at(clock, deadline, connect(address)).await;
        let client =
            connected.unwrap_or_else(|_| Err(format!("no connection within {} ms", timeout.as_millis()))).map_err(ConnectFault::Connect)?;
        let versions = BTreeMap::from([(ApiVersionsRequest::KEY, (ApiVersionsRequest::MIN, ApiVersionsRequest::MAX))]);
        let mut connection = Self { client, address: address.to_owned(), versions, features: Vec::new(), timeout, next_correlation_id: 0 };
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("klamm-tools"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer = connection.call(clock, &request).await.map_err(|problem| ConnectFault::Speak(Box::new(problem)))?;
        if answer.error_code != 0 {
            return Err(ConnectFault::Speak(Box::new(ToolProblem::TooOld { address: address.to_owned(), api: ApiVersionsRequest::NAME })));
        }
        connection.versions = answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        let feature = |key: &protocol::messages::api_versions_response::FinalizedFeatureKey| Feature {
            name: key.name.to_string(),
            level: key.max_version_level,
        };
        connection.features = answer.finalized_features.iter().map(feature).collect();
        connection.features.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(connection)
    }

    /// The highest version that both sides speak.
    pub(crate) fn version<R: Spoken>(&self) -> Option<i16> {
        let (min, max) = *self.versions.get(&R::KEY)?;
        let version = max.min(R::MAX);
        (version >= min.max(R::MIN)).then_some(version)
    }

    /// Sends a request and waits for its answer. After an error other than [`ToolProblem::TooOld`] the connection is of no use.
    pub(crate) async fn call<R: Spoken>(&mut self, clock: &SystemClock, request: &R) -> Result<R::Response, ToolProblem> {
        self.call_within(clock, request, self.timeout).await
    }

    /// The same, with another time-out.
    pub(crate) async fn call_within<R: Spoken>(
        &mut self,
        clock: &SystemClock,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, ToolProblem> {
        let too_old = || ToolProblem::TooOld { address: self.address.clone(), api: R::NAME };
        let version = self.version::<R>().ok_or_else(too_old)?;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let frame = protocol::encode_request("klamm-tools", self.next_correlation_id, version, request).map_err(ToolProblem::Encode)?;
        let deadline = clock.monotonic() + timeout;
        let exchanged = timeout_at(clock, deadline, self.client.exchange(&frame)).await;
        let lost = |reason: String| ToolProblem::Lost { address: self.address.clone(), api: R::NAME, reason };
        let answer = match exchanged {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => return Err(self.not_kafka(&error)),
            Ok(Err(error)) => return Err(lost(error.to_string())),
            Err(_) => return Err(lost(format!("no answer within {} ms", timeout.as_millis()))),
        };
        self.decode::<R>(version, answer)
    }

    fn decode<R: Spoken>(&self, version: i16, mut answer: Bytes) -> Result<R::Response, ToolProblem> {
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(|error| self.not_kafka(&error))?;
        if header.correlation_id != self.next_correlation_id {
            return Err(self.not_kafka(&"the correlation id does not fit"));
        }
        protocol::decode_response::<R>(version, &answer, ANSWER_MEMORY_BYTES_MAX).map_err(|error| self.not_kafka(&error))
    }

    fn not_kafka(&self, reason: &dyn std::fmt::Display) -> ToolProblem {
        ToolProblem::NotKafka { address: self.address.clone(), reason: reason.to_string() }
    }
}

/// Why there is no connection.
pub(crate) enum ConnectFault {
    /// Nobody is there.
    Connect(String),
    /// Somebody is there, and it is no broker that can be used.
    Speak(Box<ToolProblem>),
}

async fn connect(address: &str) -> Result<PeerClient, String> {
    let mut last = "the host has no address".to_owned();
    for candidate in tokio::net::lookup_host(address).await.map_err(|error| error.to_string())? {
        match PeerClient::connect(candidate).await {
            Ok(client) => return Ok(client),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}
