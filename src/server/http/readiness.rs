//! Whether clients are served, and if not, the one sentence that says why.

use super::{Phase, Served};

/// # Errors
/// The sentence.
pub(super) fn check(phase: &Phase) -> Result<(), String> {
    match phase {
        Phase::Serving(served) => check_served(served),
        Phase::Starting | Phase::Stopping | Phase::Paused | Phase::Killed => Err(why_not(phase).to_owned()),
    }
}

/// What a phase in which nothing is served says.
pub(super) const fn why_not(phase: &Phase) -> &'static str {
    match phase {
        Phase::Starting => "The broker is starting: it opens its data.",
        Phase::Serving(_) => "The broker serves.",
        Phase::Stopping => "The broker is stopping.",
        Phase::Paused => "The broker is paused.",
        Phase::Killed => "The broker was killed.",
    }
}

fn check_served(served: &Served) -> Result<(), String> {
    let broker = &served.broker;
    if broker.controller.leader().is_none() {
        return Err("The metadata quorum has no leader that this broker knows of.".to_owned());
    }
    let (me, image) = (broker.config.broker_id, broker.metadata.image());
    for topic in image.topics() {
        for (partition, state) in topic.partitions().filter(|(_, state)| state.replicas.contains(&me)) {
            let id = model::TopicIdPartition { topic_id: topic.id, partition };
            // A damaged one is offline until somebody deletes its topic; the others are served.
            if broker.partitions.get(id).is_none() && !broker.partitions.is_damaged(id) {
                return Err(format!("The log of {}-{partition} is not open, though the metadata place it here.", topic.name));
            }
            if state.leader.is_none() {
                return Err(format!("Partition {}-{partition} has no leader.", topic.name));
            }
        }
    }
    Ok(())
}
