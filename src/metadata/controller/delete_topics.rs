//! DeleteTopics (`ControllerApis.deleteTopics`, `ReplicationControlManager.deleteTopics`).

use std::collections::BTreeSet;

use model::TopicId;
use protocol::messages::TopicName as WireTopicName;
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::{Decision, MutationQuota, Refusal};
use crate::image::Image;
use crate::records::MetadataRecord;

const UNKNOWN_NAME: &str = "This server does not host this topic-partition.";
const UNKNOWN_ID: &str = "This server does not host this topic ID.";

/// Decides a DeleteTopics request, by names (in either field) and by ids. The partitions that go are paid for from `quota`.
#[must_use]
pub fn delete_topics(image: &Image, request: &DeleteTopicsRequest, quota: &mut dyn MutationQuota) -> Decision<Vec<DeletableTopicResult>> {
    let mut results = Vec::new();
    let mut names = Vec::new();
    let mut ids = Vec::new();
    names.extend(request.topic_names.iter().map(|name| name.as_str()));
    for topic in &request.topics {
        match (topic.name.as_ref().map(|name| name.as_str()), topic.topic_id) {
            (None, id) if id.is_nil() => results.push(refused(None, id, "Neither topic name nor id were specified.")),
            (None, id) => ids.push(id),
            (Some(name), id) if id.is_nil() => names.push(name),
            (Some(name), id) => results.push(refused(Some(name), id, "You may not specify both topic name and topic id.")),
        }
    }
    let (names, duplicate_names) = split_duplicates(names);
    let (ids, mut duplicate_ids) = split_duplicates(ids);
    results.extend(duplicate_names.into_iter().map(|name| refused(Some(name), Uuid::nil(), "Duplicate topic name.")));
    results.extend(duplicate_ids.iter().map(|id| refused(None, *id, "Duplicate topic id.")));

    let mut doomed: Vec<(Uuid, String)> = Vec::new();
    for id in ids {
        match image.topic_by_id(TopicId(id)) {
            Some(topic) => doomed.push((id, topic.name.as_str().to_owned())),
            None => results.push(result(None, id, Some(Refusal::new(ErrorCode::UnknownTopicId, UNKNOWN_ID.to_owned())))),
        }
    }
    for name in names {
        let Some(TopicId(id)) = image.topic_id(name) else {
            let refusal = Refusal::new(ErrorCode::UnknownTopicOrPartition, UNKNOWN_NAME.to_owned());
            results.push(result(Some(name), Uuid::nil(), Some(refusal)));
            continue;
        };
        let before = doomed.len();
        doomed.retain(|(other, _)| *other != id);
        if doomed.len() < before || duplicate_ids.contains(&id) {
            duplicate_ids.push(id);
            results.push(refused(Some(name), id, "The provided topic name maps to an ID that was already supplied."));
        } else {
            doomed.push((id, name.to_owned()));
        }
    }
    let mut records = Vec::with_capacity(doomed.len());
    for (id, name) in doomed {
        let partitions = image.topic_by_id(TopicId(id)).map_or(0, |topic| topic.partitions.len());
        let paid = quota.take(partitions);
        if paid.is_ok() {
            records.push(MetadataRecord::RemoveTopic { topic_id: TopicId(id) });
        }
        results.push(result(Some(&name), id, paid.err().map(Refusal::from)));
    }
    Decision { records, response: results }
}

/// What occurs once, and what occurs more often, each in the order of its first occurrence.
fn split_duplicates<T: Ord + Copy>(given: Vec<T>) -> (Vec<T>, Vec<T>) {
    let mut seen = BTreeSet::new();
    let mut repeated = BTreeSet::new();
    let mut distinct = Vec::new();
    for item in given {
        if seen.insert(item) {
            distinct.push(item);
        } else {
            repeated.insert(item);
        }
    }
    distinct.into_iter().partition(|item| !repeated.contains(item))
}

fn refused(name: Option<&str>, id: Uuid, message: &str) -> DeletableTopicResult {
    result(name, id, Some(Refusal::new(ErrorCode::InvalidRequest, message.to_owned())))
}

fn result(name: Option<&str>, id: Uuid, refusal: Option<Refusal>) -> DeletableTopicResult {
    let result =
        DeletableTopicResult::default().with_name(name.map(|name| WireTopicName(StrBytes::from_string(name.to_owned())))).with_topic_id(id);
    match refusal {
        Some(refusal) => result.with_error_code(refusal.code.code()).with_error_message(refusal.message.map(StrBytes::from_string)),
        None => result.with_error_message(None),
    }
}
