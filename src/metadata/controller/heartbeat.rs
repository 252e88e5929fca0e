//! BrokerHeartbeat: how a broker comes to lead and how it stops (`BrokerHeartbeatManager.calculateNextBrokerState`,
//! `ReplicationControlManager.processBrokerHeartbeat`).
//!
//! ```text
//!            has the log up to its registration            wants to stop, leads something
//!   fenced -------------------------------------> unfenced ------------------------------> in controlled shutdown
//!     ^                                              |                                                |
//!     +---- session over, or wants to be fenced -----+---- wants to stop, leads nothing ----+         |
//!     +------------------------------------- may stop <------------------------------------+---------+ all others know
//! ```

use model::{BrokerEpoch, BrokerId};
use protocol::ErrorCode;

use super::elections::{Passage, fence_broker, leads_any, pass, standing};
use super::sessions::BrokerSessions;
use super::{Decision, Refusal};
use crate::configs::ConfigView;
use crate::image::{Broker, Image};
use crate::records::MetadataRecord;

/// What a broker says from time to time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The broker.
    pub broker_id: BrokerId,
    /// The epoch of its registration.
    pub broker_epoch: BrokerEpoch,
    /// Up to where it has applied the metadata log; 0 for nothing.
    pub metadata_index: u64,
    /// It does not want to lead.
    pub wants_fence: bool,
    /// It wants to stop.
    pub wants_shutdown: bool,
}

/// What it hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeartbeatReply {
    /// It has the log up to its registration.
    pub is_caught_up: bool,
    /// It may not lead.
    pub is_fenced: bool,
    /// It may stop now.
    pub should_shut_down: bool,
}

/// Refuses an epoch that is not that of the broker's registration (`ClusterControlManager.checkBrokerEpoch`).
///
/// # Errors
/// STALE_BROKER_EPOCH.
pub fn check_broker_epoch(image: &Image, id: BrokerId, epoch: BrokerEpoch) -> Result<&Broker, Refusal> {
    let stale = |message: String| Refusal::new(ErrorCode::StaleBrokerEpoch, message);
    let broker = image.broker(id).ok_or_else(|| stale(format!("No broker registration found for broker id {id}")))?;
    if broker.epoch != epoch {
        return Err(stale(format!("Expected broker epoch {}, but got broker epoch {epoch}", broker.epoch)));
    }
    Ok(broker)
}

/// Decides on a heartbeat. The session is renewed whatever comes of it.
///
/// # Errors
/// STALE_BROKER_EPOCH, by which a broker learns that it must register again.
pub fn heartbeat(
    view: ConfigView<'_>,
    sessions: &mut BrokerSessions,
    heartbeat: &Heartbeat,
    now_ms: u64,
) -> Result<Decision<HeartbeatReply>, Refusal> {
    let image = view.image();
    let broker = check_broker_epoch(image, heartbeat.broker_id, heartbeat.broker_epoch)?;
    // The epoch is the index of the registration.
    let is_caught_up = i64::try_from(heartbeat.metadata_index).unwrap_or(i64::MAX) >= broker.epoch.get();
    if !broker.fenced {
        sessions.touch(broker, heartbeat.metadata_index, now_ms);
    }
    let nothing = Vec::new();
    let reply = |records: Vec<MetadataRecord>, is_fenced: bool, should_shut_down: bool| Decision {
        records,
        response: HeartbeatReply { is_caught_up, is_fenced, should_shut_down },
    };
    if broker.fenced {
        let unfences = !heartbeat.wants_shutdown && !heartbeat.wants_fence && is_caught_up;
        return Ok(if unfences { reply(unfence(view, broker), false, false) } else { reply(nothing, true, heartbeat.wants_shutdown) });
    }
    if broker.in_controlled_shutdown {
        if leads_any(image, broker.id) {
            return Ok(reply(pass(view, Passage::Leaves(broker.id)), false, false));
        }
        // A new active controller does not know since when: from now on, then.
        sessions.shutting_down_since(broker.id, image.index());
        return Ok(if sessions.others_know_of_shutdown(image, broker.id) {
            reply(fence_broker(view, broker), true, true)
        } else {
            reply(nothing, false, false)
        });
    }
    Ok(match (heartbeat.wants_fence, heartbeat.wants_shutdown) {
        (true, stops) => reply(fence_broker(view, broker), true, stops),
        (false, true) if leads_any(image, broker.id) => reply(begin_shutdown(view, broker), false, false),
        (false, true) => reply(fence_broker(view, broker), true, true),
        (false, false) => reply(nothing, false, false),
    })
}

/// The broker may lead, and leads at once what nobody else could.
fn unfence(view: ConfigView<'_>, broker: &Broker) -> Vec<MetadataRecord> {
    let standing = standing(broker, Some(false), broker.in_controlled_shutdown.then_some(false));
    std::iter::once(standing).chain(pass(view, Passage::Comes(broker.id))).collect()
}

/// The broker's partitions move away while it still serves.
fn begin_shutdown(view: ConfigView<'_>, broker: &Broker) -> Vec<MetadataRecord> {
    let standing = standing(broker, None, Some(true));
    std::iter::once(standing).chain(pass(view, Passage::Leaves(broker.id))).collect()
}
