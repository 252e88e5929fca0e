//! The follower's state of one partition: what to fetch next, and what an answer of the leader means for its log.

use model::{LeaderEpoch, Offset};

/// A follower's log at one moment. All of it is as durable as an acknowledgement asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerLog {
    /// Where it begins.
    pub log_start: Offset,
    /// The next offset to be written.
    pub log_end: Offset,
    /// The epoch of its last batch; none if it has no batch.
    pub last_epoch: Option<LeaderEpoch>,
}

/// How long a follower waits after the first fault.
const BACKOFF_FIRST_MS: u64 = 20;
/// More of them change nothing.
const FAULTS_MAX: u32 = 32;

/// What to ask the leader for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchPosition {
    /// The first offset wanted; the leader takes it that all before it is there.
    pub offset: Offset,
    /// The term that the follower knows.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the batch before the offset, by which the leader sees whether the logs part (KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Where the follower's log begins.
    pub log_start: Offset,
}

/// What a follower asks for next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Records.
    Records(FetchPosition),
    /// Where the leader's log begins and ends, since the follower's end lies outside of it.
    Bounds {
        /// The term that the follower knows.
        current_leader_epoch: LeaderEpoch,
    },
    /// Nothing before this time.
    NothingUntil {
        /// Of the monotonic clock, in milliseconds.
        until_ms: u64,
    },
    /// Nothing before the metadata names another term.
    Nothing,
}

/// Why the leader gave nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchFault {
    /// The follower's log ends outside of the leader's (OFFSET_OUT_OF_RANGE).
    OutOfRange,
    /// The follower's term is over (FENCED_LEADER_EPOCH): newer metadata is on its way.
    Fenced,
    /// Anything else: the leader does not know yet that it leads, its disk fails, the connection broke.
    Passing,
}

/// What the follower must do to its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repair {
    /// Cut it, so that it ends there.
    Truncate(Offset),
    /// Drop all of it and begin there.
    Reset(Offset),
    /// Nothing.
    Nothing,
}

/// A partition on a broker that follows, for one leader epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowerState {
    leader_epoch: LeaderEpoch,
    phase: Phase,
    /// Faults in a row.
    faults: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Fetching,
    /// The leader's bounds are needed.
    Lost,
    Waiting {
        until_ms: u64,
        lost: bool,
    },
    Fenced,
}

impl FollowerState {
    /// A follower at the begin of a term.
    #[must_use]
    pub const fn new(leader_epoch: LeaderEpoch) -> Self {
        Self { leader_epoch, phase: Phase::Fetching, faults: 0 }
    }

    /// The term.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// What to ask for at this moment.
    #[must_use]
    pub fn next(&self, log: &FollowerLog, now_ms: u64) -> Ask {
        let current_leader_epoch = self.leader_epoch;
        match self.phase {
            Phase::Fenced => Ask::Nothing,
            Phase::Waiting { until_ms, .. } if now_ms < until_ms => Ask::NothingUntil { until_ms },
            Phase::Lost | Phase::Waiting { lost: true, .. } => Ask::Bounds { current_leader_epoch },
            Phase::Fetching | Phase::Waiting { lost: false, .. } => Ask::Records(FetchPosition {
                offset: log.log_end,
                current_leader_epoch,
                last_fetched_epoch: log.last_epoch,
                log_start: log.log_start,
            }),
        }
    }

    /// The leader gave an answer, with records or without.
    pub const fn fetched(&mut self) {
        self.phase = Phase::Fetching;
        self.faults = 0;
    }

    /// The leader gave nothing. After a passing fault it is asked again, the first time soon, since a new leader may just not know yet that it
    /// leads, and later each time after twice as long, up to `backoff_max_ms`.
    pub fn failed(&mut self, fault: FetchFault, now_ms: u64, backoff_max_ms: u64) {
        let backoff_ms = BACKOFF_FIRST_MS.checked_shl(self.faults).unwrap_or(u64::MAX).min(backoff_max_ms);
        self.faults = self.faults.saturating_add(1).min(FAULTS_MAX);
        let lost = matches!(self.phase, Phase::Lost | Phase::Waiting { lost: true, .. });
        self.phase = match fault {
            FetchFault::OutOfRange => Phase::Lost,
            FetchFault::Fenced => Phase::Fenced,
            FetchFault::Passing => Phase::Waiting { until_ms: now_ms.saturating_add(backoff_ms), lost },
        };
    }

    /// The leader says that the logs part: of its epochs up to the follower's last one the largest is `leaders.0`, and it ends at `leaders.1`.
    /// `own` is the same of the follower's log for that epoch. What is left may part from the leader's log once more, at an older epoch; the next
    /// fetch tells (KIP-279). In Kafka: `AbstractFetcherThread.getOffsetTruncationState`.
    pub fn diverged(
        &mut self,
        log: &FollowerLog,
        leaders: (LeaderEpoch, Offset),
        own: Option<(LeaderEpoch, Offset)>,
        now_ms: u64,
        backoff_max_ms: u64,
    ) -> Repair {
        let to = match own {
            // The follower does not have the leader's epoch: what it has beyond an older one the leader does not have.
            Some((epoch, end)) if epoch != leaders.0 => end,
            Some((_, end)) => end.min(leaders.1),
            None => leaders.1,
        };
        if to >= log.log_end {
            // Nothing would change, and the same question would be asked at once.
            self.failed(FetchFault::Passing, now_ms, backoff_max_ms);
            return Repair::Nothing;
        }
        self.phase = Phase::Fetching;
        if to < log.log_start { Repair::Reset(to) } else { Repair::Truncate(to) }
    }

    /// Where the leader's log begins and ends. In Kafka: `AbstractFetcherThread.fetchOffsetAndApplyTruncateAndBuild`.
    pub fn bounded(&mut self, log: &FollowerLog, leader_start: Offset, leader_end: Offset) -> Repair {
        self.phase = Phase::Fetching;
        if leader_end < log.log_start || leader_start > log.log_end {
            // They have nothing in common.
            Repair::Reset(leader_start)
        } else if leader_end < log.log_end {
            Repair::Truncate(leader_end)
        } else {
            Repair::Nothing
        }
    }
}

/// Where a follower's high watermark and log start are to be after an answer that named the leader's.
#[must_use]
pub fn follow_offsets(log: &FollowerLog, leader_high_watermark: Offset, leader_log_start: Offset) -> (Offset, Offset) {
    let high_watermark = leader_high_watermark.min(log.log_end).max(log.log_start);
    (high_watermark, leader_log_start.min(high_watermark).max(log.log_start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(value: i32) -> LeaderEpoch {
        LeaderEpoch::new_or_zero(value)
    }

    fn offset(value: i64) -> Offset {
        Offset::new_or_zero(value)
    }

    fn log(log_start: i64, log_end: i64, last_epoch: i32) -> FollowerLog {
        FollowerLog { log_start: offset(log_start), log_end: offset(log_end), last_epoch: LeaderEpoch::new(last_epoch) }
    }

    #[test]
    fn it_fetches_from_its_end_and_names_its_last_epoch() {
        let state = FollowerState::new(epoch(5));
        let position =
            FetchPosition { offset: offset(10), current_leader_epoch: epoch(5), last_fetched_epoch: Some(epoch(3)), log_start: offset(2) };
        assert_eq!(state.next(&log(2, 10, 3), 0), Ask::Records(position));
        let empty = FetchPosition { last_fetched_epoch: None, offset: offset(2), ..position };
        assert_eq!(state.next(&log(2, 2, -1), 0), Ask::Records(empty));
    }

    #[test]
    fn after_a_passing_fault_it_waits_and_after_a_fence_for_the_metadata() {
        let mut state = FollowerState::new(epoch(5));
        let mut now_ms = 100;
        for wait_ms in [20, 40, 50, 50] {
            state.failed(FetchFault::Passing, now_ms, 50);
            now_ms += wait_ms;
            assert_eq!(state.next(&log(0, 10, 3), now_ms - 1), Ask::NothingUntil { until_ms: now_ms });
            assert!(matches!(state.next(&log(0, 10, 3), now_ms), Ask::Records(_)));
        }
        state.fetched();
        state.failed(FetchFault::Passing, 1_000, 50);
        assert_eq!(state.next(&log(0, 10, 3), 1_000), Ask::NothingUntil { until_ms: 1_020 });
        state.failed(FetchFault::Fenced, 150, 50);
        assert_eq!(state.next(&log(0, 10, 3), u64::MAX), Ask::Nothing);
    }

    #[test]
    fn a_fault_while_it_asks_for_the_leaders_bounds_does_not_make_it_forget_to() {
        let mut state = FollowerState::new(epoch(5));
        state.failed(FetchFault::OutOfRange, 0, 50);
        let bounds = Ask::Bounds { current_leader_epoch: epoch(5) };
        assert_eq!(state.next(&log(0, 10, 3), 0), bounds);
        state.failed(FetchFault::Passing, 0, 50);
        assert_eq!(state.next(&log(0, 10, 3), 50), bounds);
        assert_eq!(state.bounded(&log(0, 10, 3), offset(0), offset(10)), Repair::Nothing);
        assert!(matches!(state.next(&log(0, 10, 3), 50), Ask::Records(_)));
    }

    #[test]
    fn it_cuts_its_log_where_the_leaders_epoch_ends_or_its_own() {
        let diverged = |log: FollowerLog, leaders: (i32, i64), own: Option<(i32, i64)>| {
            let own = own.map(|(of, end)| (epoch(of), offset(end)));
            FollowerState::new(epoch(9)).diverged(&log, (epoch(leaders.0), offset(leaders.1)), own, 0, 50)
        };
        // Both have the epoch: the shorter of both ends counts.
        assert_eq!(diverged(log(0, 10, 3), (3, 7), Some((3, 10))), Repair::Truncate(offset(7)));
        assert_eq!(diverged(log(0, 10, 3), (2, 8), Some((2, 6))), Repair::Truncate(offset(6)));
        // The follower lacks it: all beyond its next older one goes, whatever the leader's ends at.
        assert_eq!(diverged(log(0, 10, 3), (2, 8), Some((1, 4))), Repair::Truncate(offset(4)));
        assert_eq!(diverged(log(0, 10, 3), (2, 3), Some((1, 4))), Repair::Truncate(offset(4)));
        assert_eq!(diverged(log(0, 10, 3), (2, 3), None), Repair::Truncate(offset(3)));
        // Before its begin there is nothing to keep.
        assert_eq!(diverged(log(5, 10, 3), (2, 3), Some((2, 5))), Repair::Reset(offset(3)));
    }

    #[test]
    fn an_answer_that_would_change_nothing_is_not_asked_for_again_at_once() {
        let mut state = FollowerState::new(epoch(9));
        assert_eq!(state.diverged(&log(0, 10, 3), (epoch(3), offset(12)), Some((epoch(3), offset(10))), 100, 50), Repair::Nothing);
        assert_eq!(state.next(&log(0, 10, 3), 100), Ask::NothingUntil { until_ms: 120 });
    }

    #[test]
    fn outside_of_the_leaders_log_it_begins_anew_or_is_cut() {
        let bounded = |log: FollowerLog, start: i64, end: i64| FollowerState::new(epoch(9)).bounded(&log, offset(start), offset(end));
        assert_eq!(bounded(log(0, 10, 3), 20, 50), Repair::Reset(offset(20)), "retention went past it");
        assert_eq!(bounded(log(0, 0, -1), 20, 50), Repair::Reset(offset(20)), "a new replica");
        assert_eq!(bounded(log(0, 60, 3), 20, 50), Repair::Truncate(offset(50)));
        assert_eq!(bounded(log(55, 60, 3), 20, 50), Repair::Reset(offset(20)));
        assert_eq!(bounded(log(0, 40, 3), 20, 50), Repair::Nothing);
    }

    #[test]
    fn the_followers_high_watermark_is_the_lesser_of_the_leaders_and_its_own_end() {
        assert_eq!(follow_offsets(&log(0, 10, 3), offset(7), offset(2)), (offset(7), offset(2)));
        assert_eq!(follow_offsets(&log(0, 10, 3), offset(17), offset(12)), (offset(10), offset(10)));
        assert_eq!(follow_offsets(&log(5, 10, 3), offset(0), offset(0)), (offset(5), offset(5)));
    }
}
