//! AddRaftVoter and RemoveRaftVoter: whether what is asked for can be, before the metadata quorum is asked (KIP-853; `AddVoterHandler`,
//! `RemoveVoterHandler`).

use std::collections::BTreeSet;

use model::BrokerId;
use protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest};
use protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::Refusal;
use crate::image::Image;

/// Whom an AddRaftVoter concerns, if it can be made.
///
/// # Errors
/// INCONSISTENT_CLUSTER_ID; INVALID_REQUEST without a voter, its directory or a listener; DUPLICATE_VOTER for an id that votes; REQUEST_TIMED_OUT for
/// a directory that is not the one in which that broker's log is, since such a replica has nothing of the log.
pub fn check_add_voter(image: &Image, voters: &BTreeSet<BrokerId>, request: &AddRaftVoterRequest) -> Result<BrokerId, Refusal> {
    check_cluster(image, request.cluster_id.as_ref())?;
    let valid = BrokerId::new(request.voter_id).filter(|_| !request.voter_directory_id.is_nil());
    let id = valid.ok_or_else(|| Refusal::new(ErrorCode::InvalidRequest, "Add voter request didn't include a valid voter".to_owned()))?;
    if request.listeners.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "Add voter request didn't include an endpoint of the voter".to_owned()));
    }
    if voters.contains(&id) {
        let message = format!("The voter id {id} is already part of the set of voters {}.", listed(voters));
        return Err(Refusal::new(ErrorCode::DuplicateVoter, message));
    }
    if directory_of(image, id) != Some(request.voter_directory_id) {
        let message = format!("Broker {id} does not have the metadata log in directory {}.", request.voter_directory_id);
        return Err(Refusal::new(ErrorCode::RequestTimedOut, message));
    }
    Ok(id)
}

/// Whom a RemoveRaftVoter concerns, if it can be made.
///
/// # Errors
/// INCONSISTENT_CLUSTER_ID; INVALID_REQUEST without a voter or its directory; VOTER_NOT_FOUND for who does not vote, from that directory, or is the
/// only one that does.
pub fn check_remove_voter(image: &Image, voters: &BTreeSet<BrokerId>, request: &RemoveRaftVoterRequest) -> Result<BrokerId, Refusal> {
    check_cluster(image, request.cluster_id.as_ref())?;
    let valid = BrokerId::new(request.voter_id).filter(|_| !request.voter_directory_id.is_nil());
    let id =
        valid.ok_or_else(|| Refusal::new(ErrorCode::InvalidRequest, "Remove voter request didn't include a valid voter".to_owned()))?;
    // One that registered before directories had ids is asked for by whatever id.
    let is_other = directory_of(image, id).is_some_and(|known| known != request.voter_directory_id);
    if is_other || !voters.contains(&id) || voters.len() < 2 {
        let message =
            format!("Cannot remove voter {id} with directory {} from the set of voters {}.", request.voter_directory_id, listed(voters));
        return Err(Refusal::new(ErrorCode::VoterNotFound, message));
    }
    Ok(id)
}

/// No id is any cluster's, as in Kafka.
fn check_cluster(image: &Image, given: Option<&StrBytes>) -> Result<(), Refusal> {
    let expected = image.cluster_id().unwrap_or_default();
    match given.filter(|given| given.as_str() != expected) {
        Some(given) => {
            let message = format!("The given id \"{given}\" doesn't match the cluster id \"{expected}\"");
            Err(Refusal::new(ErrorCode::InconsistentClusterId, message))
        }
        None => Ok(()),
    }
}

fn directory_of(image: &Image, id: BrokerId) -> Option<Uuid> {
    image.broker(id)?.directory_id
}

fn listed(voters: &BTreeSet<BrokerId>) -> String {
    voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use protocol::messages::add_raft_voter_request::Listener;

    use super::super::tests_support::image_of_brokers;
    use super::*;
    use crate::records::MetadataRecord;

    fn image() -> Image {
        let image = image_of_brokers(&[1, 2, 3]);
        image.apply(9, &[MetadataRecord::Cluster { cluster_id: "c".to_owned() }]).0
    }

    fn add(cluster: Option<&'static str>, id: i32, directory: u128, listeners: usize) -> Result<i32, ErrorCode> {
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(cluster.map(StrBytes::from_static_str))
            .with_voter_id(id)
            .with_voter_directory_id(Uuid::from_u128(directory))
            .with_listeners(vec![Listener::default(); listeners]);
        let voters = BTreeSet::from([BrokerId::new_or_zero(1)]);
        check_add_voter(&image(), &voters, &request).map(BrokerId::get).map_err(|refusal| refusal.code)
    }

    fn remove(cluster: Option<&'static str>, id: i32, directory: u128, voters: &[i32]) -> Result<i32, ErrorCode> {
        let request = RemoveRaftVoterRequest::default()
            .with_cluster_id(cluster.map(StrBytes::from_static_str))
            .with_voter_id(id)
            .with_voter_directory_id(Uuid::from_u128(directory));
        let voters = voters.iter().copied().map(BrokerId::new_or_zero).collect();
        check_remove_voter(&image(), &voters, &request).map(BrokerId::get).map_err(|refusal| refusal.code)
    }

    #[test]
    fn whoever_has_the_log_in_the_named_directory_may_vote() {
        assert_eq!(add(Some("c"), 2, 2, 1), Ok(2));
        assert_eq!(add(None, 2, 2, 1), Ok(2), "no cluster id is any");
        assert_eq!(add(Some("d"), 2, 2, 1), Err(ErrorCode::InconsistentClusterId));
        assert_eq!(add(Some("d"), -1, 0, 0), Err(ErrorCode::InconsistentClusterId), "the cluster is looked at first");
        assert_eq!(add(Some("c"), -1, 2, 1), Err(ErrorCode::InvalidRequest));
        assert_eq!(add(Some("c"), 2, 0, 1), Err(ErrorCode::InvalidRequest));
        assert_eq!(add(Some("c"), 2, 2, 0), Err(ErrorCode::InvalidRequest));
        assert_eq!(add(Some("c"), 1, 7, 1), Err(ErrorCode::DuplicateVoter), "by its id, whatever the directory");
        assert_eq!(add(Some("c"), 2, 7, 1), Err(ErrorCode::RequestTimedOut));
        assert_eq!(add(Some("c"), 9, 9, 1), Err(ErrorCode::RequestTimedOut));
    }

    #[test]
    fn only_a_voter_goes_and_never_the_last() {
        assert_eq!(remove(Some("c"), 2, 2, &[1, 2]), Ok(2));
        assert_eq!(remove(None, 1, 1, &[1, 2]), Ok(1));
        assert_eq!(remove(Some("d"), 2, 2, &[1, 2]), Err(ErrorCode::InconsistentClusterId));
        assert_eq!(remove(Some("c"), -1, 2, &[1, 2]), Err(ErrorCode::InvalidRequest));
        assert_eq!(remove(Some("c"), 2, 0, &[1, 2]), Err(ErrorCode::InvalidRequest));
        assert_eq!(remove(Some("c"), 2, 7, &[1, 2]), Err(ErrorCode::VoterNotFound));
        assert_eq!(remove(Some("c"), 3, 3, &[1, 2]), Err(ErrorCode::VoterNotFound));
        assert_eq!(remove(Some("c"), 1, 1, &[1]), Err(ErrorCode::VoterNotFound));
    }
}
