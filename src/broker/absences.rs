//! Who has just gone: leaders that this broker lost contact with before the controller has decided on it, and brokers that were fenced a moment ago.
//!
//! Clients ask for metadata in the very moment in which a leader's connections close, before anybody can have elected another one. librdkafka, told
//! the old leader then, asks again only at the next tick of a second; and a broker that is missing in the same answer that names the next leader
//! costs it another second. So who is asked waits for the election a little, and goes on to list who is gone, as Kafka does for the nine
//! seconds of a session.
//!
//! It decides nothing: a leader is one until the metadata says otherwise.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metadata::Image;
use model::BrokerId;
use parking_lot::Mutex;
use wire::clock::SharedClock;

/// So long the loss of contact counts. If the metadata still names the leader then, it is alive for all but this broker.
const LOSS_COUNTS_FOR: Duration = Duration::from_secs(2);
/// So long a fenced broker is listed: until clients have looked a second time.
const LISTED_FOR: Duration = Duration::from_secs(3);

/// Who has just gone.
#[derive(Debug)]
pub struct Absences {
    clock: SharedClock,
    /// Since when this broker has no contact to a leader.
    lost: Mutex<BTreeMap<BrokerId, Duration>>,
    /// How many those are, so that asking costs nothing while all is well.
    lost_count: AtomicUsize,
    /// Since when brokers are fenced that were not before.
    fenced: Mutex<BTreeMap<BrokerId, Duration>>,
}

impl Absences {
    /// Nobody has gone.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, lost: Mutex::default(), lost_count: AtomicUsize::new(0), fenced: Mutex::default() }
    }

    /// A connection to a leader was closed, or refused. Only the first one counts until there is contact again.
    pub fn lost(&self, leader: BrokerId) {
        let mut lost = self.lost.lock();
        lost.entry(leader).or_insert_with(|| self.clock.monotonic());
        self.lost_count.store(lost.len(), Ordering::Release);
    }

    /// A leader has answered, or is not asked any more.
    pub fn found(&self, leader: BrokerId) {
        if self.lost_count.load(Ordering::Acquire) > 0 {
            let mut lost = self.lost.lock();
            lost.remove(&leader);
            self.lost_count.store(lost.len(), Ordering::Release);
        }
    }

    /// Whether contact to a leader was lost a moment ago.
    #[must_use]
    pub fn is_lost(&self, leader: BrokerId) -> bool {
        self.is_any_lost()
            && self.lost.lock().get(&leader).is_some_and(|since| self.clock.monotonic().saturating_sub(*since) < LOSS_COUNTS_FOR)
    }

    /// Whether contact to any leader was lost.
    #[must_use]
    pub fn is_any_lost(&self) -> bool {
        self.lost_count.load(Ordering::Acquire) > 0
    }

    /// Notes who is fenced in an image and was not in the one before.
    pub(crate) fn note(&self, former: &Image, image: &Image) {
        let mut fenced = self.fenced.lock();
        fenced.retain(|id, _| image.broker(*id).is_some_and(|broker| broker.fenced));
        for former in former.alive_brokers() {
            if image.broker(former.id).is_some_and(|broker| broker.fenced) {
                fenced.insert(former.id, self.clock.monotonic());
            }
        }
    }

    /// Whether a broker was fenced a moment ago.
    #[must_use]
    pub fn is_just_fenced(&self, id: BrokerId) -> bool {
        self.fenced.lock().get(&id).is_some_and(|since| self.clock.monotonic().saturating_sub(*since) < LISTED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use wire::clock::ManualClock;

    use super::*;

    #[test]
    fn a_lost_leader_counts_for_a_while_however_often_it_is_tried_and_not_once_it_answers() {
        let clock = ManualClock::new(Timestamp(0));
        let absences = Absences::new(clock.shared());
        let [one, other] = [1, 2].map(BrokerId::new_or_zero);
        assert!(!absences.is_lost(one) && !absences.is_any_lost());
        absences.lost(one);
        assert!(absences.is_lost(one) && !absences.is_lost(other));
        clock.advance(LOSS_COUNTS_FOR / 2);
        absences.lost(one);
        clock.advance(LOSS_COUNTS_FOR / 2);
        assert!(!absences.is_lost(one));
        absences.found(one);
        assert!(!absences.is_any_lost());
        absences.lost(one);
        assert!(absences.is_lost(one));
    }
}
