//! Who is in a group: of both protocols, the classic one and KIP-848's.

use protocol::ErrorCode;
use protocol::messages::{ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId};

use crate::ToolProblem;
use crate::cluster::{Cluster, is_retriable, text};
use crate::group_protocol;
use crate::offsets::Place;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its id.
    pub(crate) id: String,
    /// Its `group.instance.id`.
    pub(crate) instance_id: Option<String>,
    /// Its client's name.
    pub(crate) client_id: String,
    /// Where it is.
    pub(crate) host: String,
    /// What it reads.
    pub(crate) assigned: Vec<Place>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Kafka's word.
    pub(crate) state: String,
    /// `classic` or `consumer`.
    pub(crate) kind: &'static str,
    /// The assignor, if it is known.
    pub(crate) assignor: String,
    /// By id.
    pub(crate) members: Vec<Member>,
}

/// Describes a group; `None` if there is none.
pub(crate) async fn describe(cluster: &mut Cluster, coordinator: i32, group: &str) -> Result<Option<Group>, ToolProblem> {
    let deadline = cluster.deadline();
    loop {
        let refused = match describe_once(cluster, coordinator, group).await? {
            Ok(found) => return Ok(found),
            Err(code) => code,
        };
        if !is_retriable(refused) || !cluster.pause(deadline).await {
            return Err(ToolProblem::refused(format!("group '{group}'"), refused, None));
        }
    }
}

async fn describe_once(cluster: &mut Cluster, coordinator: i32, group: &str) -> Result<Result<Option<Group>, i16>, ToolProblem> {
    if cluster.serves::<ConsumerGroupDescribeRequest>(coordinator).await? {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
        let answer = cluster.ask(coordinator, &request).await?;
        if let Some(found) = answer.groups.into_iter().next() {
            match ErrorCode::try_from_code(found.error_code) {
                None => return Ok(Ok(Some(consumer_group(found)))),
                // A classic group, or none.
                Some(ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion) => {}
                Some(error) => return Ok(Err(error.code())),
            }
        }
    }
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    let answer = cluster.ask(coordinator, &request).await?;
    let Some(found) = answer.groups.into_iter().next() else { return Ok(Ok(None)) };
    Ok(match ErrorCode::try_from_code(found.error_code) {
        None if found.group_state.as_str() == "Dead" => Ok(None),
        None => Ok(Some(classic_group(found))),
        Some(ErrorCode::GroupIdNotFound) => Ok(None),
        Some(error) => Err(error.code()),
    })
}

fn consumer_group(found: protocol::messages::consumer_group_describe_response::DescribedGroup) -> Group {
    let mut members = Vec::new();
    for member in found.members {
        let mut assigned = Vec::new();
        for topic in &member.assignment.topic_partitions {
            assigned.extend(topic.partitions.iter().map(|partition| (topic.topic_name.to_string(), *partition)));
        }
        assigned.sort();
        members.push(Member {
            id: member.member_id.to_string(),
            instance_id: member.instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assigned,
        });
    }
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Group { state: found.group_state.to_string(), kind: "consumer", assignor: found.assignor_name.to_string(), members }
}

fn classic_group(found: protocol::messages::describe_groups_response::DescribedGroup) -> Group {
    let mut members = Vec::new();
    for member in found.members {
        members.push(Member {
            id: member.member_id.to_string(),
            instance_id: member.group_instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            // Of a protocol other than the consumers' nothing is known.
            assigned: group_protocol::assigned(member.member_assignment).unwrap_or_default(),
        });
    }
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Group { state: found.group_state.to_string(), kind: "classic", assignor: found.protocol_data.to_string(), members }
}
