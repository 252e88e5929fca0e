//! Who votes in the metadata quorum, and where.

use std::collections::BTreeMap;

use model::BrokerId;

use super::ConfigProblem;
use super::listeners::{HostPort, Listener, parse_address};
use super::values::Values;

/// This broker's part in a quorum of several brokers. A broker alone needs none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumConfig {
    /// It votes.
    Voter {
        /// All voters and where their controller listeners are reached (`controller.quorum.voters`). This broker is one of them.
        voters: BTreeMap<BrokerId, HostPort>,
        /// This broker's own controller listener (the first of `controller.listener.names`).
        listener: Listener,
    },
    /// It has the metadata and no vote (`process.roles=broker`), or none yet.
    Observer {
        /// Where to ask who votes (`controller.quorum.bootstrap.servers`, or the addresses in `controller.quorum.voters`); at least one.
        seeds: Vec<HostPort>,
        /// Whether it asks for a vote once it has the metadata (`controller.quorum.auto.join.enable`).
        wants_vote: bool,
    },
}

/// Reads the voters; `None` if there is at most one, as in Kafka's own file for a single broker: then nobody else has to be reached.
pub(super) fn read(values: &Values, broker_id: BrokerId, controllers: Vec<Listener>) -> Result<Option<QuorumConfig>, ConfigProblem> {
    let mut voters = BTreeMap::new();
    for text in values.list("controller.quorum.voters") {
        let (id, address) = parse_voter(text).ok_or_else(|| ConfigProblem::MalformedVoter { value: text.to_owned() })?;
        if voters.insert(id, address).is_some() {
            return Err(ConfigProblem::MalformedVoter { value: text.to_owned() });
        }
    }
    let mut seeds = Vec::new();
    for text in values.list("controller.quorum.bootstrap.servers") {
        let address = parse_address(text).filter(|address| !address.is_every_address());
        seeds.push(address.ok_or_else(|| ConfigProblem::MalformedBootstrapServer { value: text.to_owned() })?);
    }
    let roles = values.list("process.roles");
    let is_broker_only = !roles.is_empty() && !roles.contains(&"controller");
    let wants_vote = values.boolean("controller.quorum.auto.join.enable");
    if is_broker_only && wants_vote {
        return Err(ConfigProblem::VotesWithoutRole);
    }
    if is_broker_only && !voters.contains_key(&broker_id) {
        seeds.extend(voters.into_values());
        return Ok((!seeds.is_empty()).then_some(QuorumConfig::Observer { seeds, wants_vote }));
    }
    if wants_vote && voters.is_empty() && !seeds.is_empty() {
        return Ok(Some(QuorumConfig::Observer { seeds, wants_vote }));
    }
    if voters.len() < 2 {
        return Ok(None);
    }
    if !voters.contains_key(&broker_id) {
        return Err(ConfigProblem::NotAVoter { broker_id });
    }
    let listener = controllers.into_iter().next().ok_or(ConfigProblem::NoControllerListener)?;
    Ok(Some(QuorumConfig::Voter { voters, listener }))
}

/// `id@host:port`.
fn parse_voter(text: &str) -> Option<(BrokerId, HostPort)> {
    let (id, address) = text.split_once('@')?;
    let address = parse_address(address).filter(|address| !address.is_every_address())?;
    Some((BrokerId::new(id.trim().parse().ok()?)?, address))
}
