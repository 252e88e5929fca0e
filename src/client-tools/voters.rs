//! `klamm voters`: who votes in the metadata quorum, and changes of that (KIP-853).

use std::io::Write as _;

use protocol::messages::add_raft_voter_request::Listener;
use protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use protocol::messages::describe_quorum_response::ReplicaState;
use protocol::messages::{AddRaftVoterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest};
use serde_json::json;

use crate::ToolProblem;
use crate::args::{VotersAction, VotersArgs};
use crate::cluster::{Cluster, text, topic_name};
use crate::output;

const METADATA_TOPIC: &str = "__cluster_metadata";

/// A broker that has the metadata log.
struct Replica {
    state: ReplicaState,
    votes: bool,
    leads: bool,
}

impl Replica {
    fn role(&self) -> &'static str {
        match (self.leads, self.votes) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "observer",
        }
    }

    /// The id of its directory in Kafka's form; none of a broker that tells none.
    fn directory(&self) -> Option<String> {
        let id = self.state.replica_directory_id;
        (!id.is_nil()).then(|| base64(id.as_bytes()))
    }
}

/// 16 bytes as Kafka writes an id: URL-safe base64 without padding.
fn base64(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from_be_bytes(*bytes);
    let sextet = |place: u32| {
        // The last of 22 characters has two bits only.
        let shifted = if place == 21 { bits << 4 } else { bits >> (122 - 6 * place) };
        usize::try_from(shifted & 63).ok().and_then(|value| ALPHABET.get(value)).map_or('A', |byte| char::from(*byte))
    };
    (0..22).map(sextet).collect()
}

/// What DescribeQuorum tells.
struct Quorum {
    replicas: Vec<Replica>,
    high_watermark: i64,
    leader_epoch: i32,
    /// The name of a listener by which voters are reached.
    listener: String,
}

pub(crate) async fn run(args: &VotersArgs) -> Result<(), ToolProblem> {
    let mut cluster = Cluster::connect(&args.common).await?;
    cluster.metadata(None, false).await?;
    let quorum = describe(&mut cluster).await?;
    match args.action {
        None | Some(VotersAction::List) => list(args, &quorum),
        Some(VotersAction::Add { broker }) => {
            let directory_id = replica(&quorum, broker)?.replica_directory_id;
            let (host, port) = address_of(&cluster, broker)?;
            let listener = Listener::default().with_name(text(&quorum.listener)).with_host(text(&host)).with_port(port);
            let request = AddRaftVoterRequest::default()
                .with_cluster_id(cluster.view.id.as_deref().map(text))
                .with_timeout_ms(cluster.timeout_ms())
                .with_voter_id(broker)
                .with_voter_directory_id(directory_id)
                .with_listeners(vec![listener]);
            let response = cluster.ask_controller(&request).await?;
            done(args, broker, true, response.error_code, response.error_message.as_deref())
        }
        Some(VotersAction::Remove { broker }) => {
            let request = RemoveRaftVoterRequest::default()
                .with_cluster_id(cluster.view.id.as_deref().map(text))
                .with_voter_id(broker)
                .with_voter_directory_id(replica(&quorum, broker)?.replica_directory_id);
            let response = cluster.ask_controller(&request).await?;
            done(args, broker, false, response.error_code, response.error_message.as_deref())
        }
    }
}

async fn describe(cluster: &mut Cluster) -> Result<Quorum, ToolProblem> {
    let partitions = vec![PartitionData::default()];
    let request = DescribeQuorumRequest::default()
        .with_topics(vec![TopicData::default().with_topic_name(topic_name(METADATA_TOPIC)).with_partitions(partitions)]);
    let response = cluster.ask_controller(&request).await?;
    let partition = response.topics.first().and_then(|topic| topic.partitions.first());
    let code = if response.error_code != 0 { response.error_code } else { partition.map_or(0, |partition| partition.error_code) };
    let Some(partition) = partition.filter(|_| code == 0) else {
        return Err(ToolProblem::refused("the metadata quorum", code, response.error_message.as_deref()));
    };
    let row = |state: &ReplicaState, votes: bool| Replica { state: state.clone(), votes, leads: state.replica_id == partition.leader_id };
    let voters = partition.current_voters.iter().map(|state| row(state, true));
    let replicas = voters.chain(partition.observers.iter().map(|state| row(state, false))).collect();
    let listener = response.nodes.iter().flat_map(|node| &node.listeners).map(|listener| listener.name.to_string()).next();
    Ok(Quorum {
        replicas,
        high_watermark: partition.high_watermark,
        leader_epoch: partition.leader_epoch,
        listener: listener.unwrap_or_else(|| "CONTROLLER".to_owned()),
    })
}

fn replica(quorum: &Quorum, broker: i32) -> Result<&ReplicaState, ToolProblem> {
    let found = quorum.replicas.iter().map(|replica| &replica.state).find(|state| state.replica_id.0 == broker);
    found.ok_or(ToolProblem::NoReplica { broker })
}

/// Host and port of a broker's listener for clients.
fn address_of(cluster: &Cluster, broker: i32) -> Result<(String, u16), ToolProblem> {
    let known = cluster.view.brokers.get(&broker).and_then(|known| known.address.rsplit_once(':'));
    let known = known.and_then(|(host, port)| Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?)));
    known.ok_or(ToolProblem::NoReplica { broker })
}

fn list(args: &VotersArgs, quorum: &Quorum) -> Result<(), ToolProblem> {
    let mut out = output::stdout();
    let lag = |replica: &Replica| {
        let end = replica.state.log_end_offset;
        (end >= 0).then(|| quorum.high_watermark.saturating_sub(end).max(0))
    };
    if args.common.json {
        let rows = quorum.replicas.iter().map(|replica| {
            let (id, directory) = (replica.state.replica_id.0, replica.directory());
            json!({ "broker": id, "role": replica.role(), "lag": lag(replica), "directory": directory })
        });
        let replicas = rows.collect::<Vec<_>>();
        output::json(&mut out, &json!({ "leaderEpoch": quorum.leader_epoch, "replicas": replicas }))?;
    } else {
        let rows = quorum.replicas.iter().map(|replica| {
            let none = || "-".to_owned();
            let lag = lag(replica).map_or_else(none, |lag| lag.to_string());
            let id = replica.state.replica_id.0.to_string();
            vec![id, replica.role().to_owned(), lag, replica.directory().unwrap_or_else(none)]
        });
        output::table(&mut out, &["BROKER", "ROLE", "LAG", "DIRECTORY"], &rows.collect::<Vec<_>>())?;
    }
    Ok(out.flush()?)
}

fn done(args: &VotersArgs, broker: i32, votes: bool, code: i16, message: Option<&str>) -> Result<(), ToolProblem> {
    if code != 0 {
        let subject = if votes { format!("the vote of broker {broker}") } else { format!("taking the vote of broker {broker}") };
        return Err(ToolProblem::refused(subject, code, message));
    }
    let mut out = output::stdout();
    if args.common.json {
        output::json(&mut out, &json!({ "broker": broker, "votes": votes }))?;
    } else if votes {
        writeln!(out, "broker {broker} votes in the metadata quorum")?;
    } else {
        writeln!(out, "broker {broker} votes in the metadata quorum no more; it observes")?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_kafkas_form() {
        assert_eq!(base64(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(base64(&[255; 16]), "_____________________w");
        assert_eq!(base64(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "AAAAAAAAAAAAAAAAAAAAAQ");
    }
}
