//! The end of a history: no faults any more, and in time all must be well again.

use crate::invariants::Violation;
use crate::world::{BROKERS, World};

/// Steps in the end, in each of which everybody does everything.
const SETTLING_ROUNDS: usize = 300;

impl World {
    /// Everybody does everything once, and everything gets through.
    pub(crate) fn round(&mut self) -> Result<(), Violation> {
        self.now_ms += 20;
        for place in 0..BROKERS {
            self.start(place);
            self.tell(place);
        }
        self.deliver_all()?;
        self.fence_dead()?;
        for place in 0..BROKERS {
            while self.learn_one(place)? {}
            self.sync(place)?;
            self.look_for_lag(place)?;
            self.fetch(place);
            self.ask_again(place);
        }
        self.deliver_all()?;
        self.append_decided()?;
        self.note(0);
        self.check()
    }

    fn deliver_all(&mut self) -> Result<(), Violation> {
        while !self.under_way.is_empty() {
            let envelope = self.under_way.remove(0);
            self.deliver(envelope)?;
        }
        Ok(())
    }

    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        self.cuts.clear();
        self.under_way.clear();
        self.held.clear();
        self.append_decided()?;
        let is_well = |world: &Self| {
            let first = world.brokers.first().map(|broker| &broker.log);
            world.partition().isr.len() == BROKERS && world.brokers.iter().all(|broker| Some(&broker.log) == first)
        };
        for _ in 0..SETTLING_ROUNDS {
            self.round()?;
            if is_well(self) {
                break;
            }
        }
        if !is_well(self) {
            let lengths: Vec<usize> = self.brokers.iter().map(|broker| broker.log.len()).collect();
            let what = format!("brokers do not come to one log: {lengths:?}, {:?}", self.partition());
            return Err(Violation { invariant: "Liveness", what });
        }
        let before = self.promises.acknowledged.iter().flatten().count();
        for _ in 0..SETTLING_ROUNDS {
            for place in 0..BROKERS {
                self.produce(place)?;
                self.sync(place)?;
            }
            self.round()?;
            if self.promises.acknowledged.iter().flatten().count() > before {
                return Ok(());
            }
        }
        Err(Violation { invariant: "Liveness", what: "no record is taken any more".to_owned() })
    }
}
