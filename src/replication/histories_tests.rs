//! Random histories of three replicas: appends, fetches, elections, changes of the in-sync set, in any order and with answers that come late or never.
//! Logs are lists of epochs, since what tells two records at one offset apart is the term that wrote them.

use std::collections::BTreeSet;

use model::{BrokerId, LeaderEpoch, Offset};

use crate::{Ask, Effects, Event, FollowerLog, FollowerState, IsrProposal, LeaderState, PartitionTerm, Repair};

const REPLICAS: usize = 3;

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

fn id(place: usize) -> BrokerId {
    BrokerId::new_or_zero(i32::try_from(place).expect("few"))
}

fn offset(length: usize) -> Offset {
    Offset::new_or_zero(i64::try_from(length).expect("short"))
}

fn length(offset: Offset) -> usize {
    usize::try_from(offset.get()).expect("not negative")
}

fn epoch(value: i32) -> LeaderEpoch {
    LeaderEpoch::new_or_zero(value)
}

enum Role {
    Leads(LeaderState),
    Follows(FollowerState),
}

struct Replica {
    /// The epoch of each record.
    log: Vec<i32>,
    role: Role,
    high_watermark: usize,
}

impl Replica {
    /// As `PartitionLog::end_offset_for_epoch`: the newest epoch, also one without a record, ends with the log.
    fn end_of(&self, asked: i32, newest: i32) -> Option<(LeaderEpoch, Offset)> {
        if asked == newest {
            return Some((epoch(asked), offset(self.log.len())));
        }
        let next = self.log.iter().position(|written| *written > asked);
        let next = next.or_else(|| (newest > asked).then_some(self.log.len()))?;
        let floor = self.log.iter().take(next).next_back().copied();
        Some((epoch(floor.unwrap_or(asked)), offset(next)))
    }

    fn as_follower(&self) -> FollowerLog {
        FollowerLog {
            log_start: Offset::ZERO,
            log_end: offset(self.log.len()),
            last_epoch: self.log.last().and_then(|last| LeaderEpoch::new(*last)),
        }
    }
}

struct World {
    dice: Dice,
    replicas: Vec<Replica>,
    /// What the controller has.
    leader: usize,
    leader_epoch: i32,
    partition_epoch: i32,
    isr: BTreeSet<BrokerId>,
    /// A proposal on its way to the controller, with the leader epoch of who sent it.
    proposal: Option<(i32, IsrProposal)>,
    /// All that a leader ever counted as replicated.
    committed: Vec<i32>,
    now_ms: u64,
    cuts: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let follower = || Replica { log: Vec::new(), role: Role::Follows(FollowerState::new(epoch(0))), high_watermark: 0 };
        let mut world = Self {
            dice: Dice(seed),
            replicas: (0..REPLICAS).map(|_| follower()).collect(),
            leader: 0,
            leader_epoch: 0,
            partition_epoch: 0,
            isr: (0..REPLICAS).map(id).collect(),
            proposal: None,
            committed: Vec::new(),
            now_ms: 0,
            cuts: 0,
        };
        world.install(0);
        world
    }

    /// Tells a replica what the controller has.
    fn install(&mut self, place: usize) {
        let leads = place == self.leader;
        let replicas: Vec<_> = (0..REPLICAS).map(id).collect();
        let isr: Vec<_> = self.isr.iter().copied().collect();
        let replica = &mut self.replicas[place];
        if !leads {
            replica.role = Role::Follows(FollowerState::new(epoch(self.leader_epoch)));
            return;
        }
        let log_end = offset(replica.log.len());
        let term = PartitionTerm {
            replicas: &replicas,
            isr: &isr,
            leader_epoch: epoch(self.leader_epoch),
            partition_epoch: self.partition_epoch,
            epoch_start: log_end,
            now_ms: self.now_ms,
        };
        let state = LeaderState::new(id(place), &term, log_end, offset(replica.high_watermark), 1);
        replica.role = Role::Leads(state);
        self.take(place, Effects::default());
    }

    /// The leader's high watermark becomes what is committed: a record below it must never differ from what was below one before.
    fn take(&mut self, place: usize, effects: Effects) {
        let replica = &mut self.replicas[place];
        let Role::Leads(state) = &replica.role else { return };
        replica.high_watermark = length(state.high_watermark());
        let shown = &replica.log[..replica.high_watermark];
        let common = shown.len().min(self.committed.len());
        assert_eq!(shown[..common], self.committed[..common], "a leader shows other records than were committed");
        if shown.len() > self.committed.len() {
            self.committed = shown.to_vec();
        }
        if let Some(proposal) = effects.propose {
            self.proposal = Some((state.leader_epoch().get(), proposal));
        }
    }

    fn append(&mut self) {
        // Any replica that thinks it leads appends, a dethroned one too.
        let place = self.dice.below(REPLICAS);
        let replica = &mut self.replicas[place];
        let Role::Leads(state) = &mut replica.role else { return };
        replica.log.push(state.leader_epoch().get());
        let effects = state.handle(Event::LocalLogEnd(offset(replica.log.len())));
        self.take(place, effects);
    }

    fn fetch(&mut self) {
        let (place, from) = (self.dice.below(REPLICAS), self.dice.below(REPLICAS));
        let Role::Follows(state) = &self.replicas[place].role else { return };
        let Ask::Records(position) = state.next(&self.replicas[place].as_follower(), self.now_ms) else { return };
        let Role::Leads(leader) = &self.replicas[from].role else { return };
        if leader.leader_epoch() != position.current_leader_epoch {
            return;
        }
        let newest = leader.leader_epoch().get();
        let parted = position.last_fetched_epoch.and_then(|last| {
            let (end_epoch, end) = self.replicas[from].end_of(last.get(), newest).expect("a leader's epoch is the newest");
            (end_epoch < last || end < position.offset).then_some((end_epoch, end))
        });
        if let Some(leaders) = parted {
            self.part(place, leaders);
            return;
        }
        let Role::Leads(leader) = &mut self.replicas[from].role else { return };
        let effects = leader.handle(Event::Fetched { broker: id(place), offset: position.offset, eligible: true, now_ms: self.now_ms });
        let leader_high_watermark = length(leader.high_watermark());
        self.take(from, effects);
        if self.dice.below(4) == 0 {
            // The answer is lost.
            return;
        }
        let begin = length(position.offset);
        let count = self.dice.below(3) + 1;
        let records: Vec<i32> = self.replicas[from].log.iter().skip(begin).take(count).copied().collect();
        let replica = &mut self.replicas[place];
        replica.log.extend(records);
        replica.high_watermark = replica.high_watermark.max(leader_high_watermark.min(replica.log.len()));
    }

    fn part(&mut self, place: usize, leaders: (LeaderEpoch, Offset)) {
        let replica = &mut self.replicas[place];
        let own = replica.end_of(leaders.0.get(), replica.log.last().copied().unwrap_or(-1));
        let log = replica.as_follower();
        let Role::Follows(state) = &mut replica.role else { return };
        let Repair::Truncate(to) = state.diverged(&log, leaders, own, self.now_ms, 0) else { panic!("nothing to cut at {leaders:?}") };
        assert!(length(to) >= replica.high_watermark, "cut below the high watermark");
        replica.log.truncate(length(to));
        self.cuts += 1;
    }

    fn elect(&mut self) {
        let members: Vec<_> = self.isr.iter().copied().collect();
        let chosen = members[self.dice.below(members.len())];
        self.leader = usize::try_from(chosen.get()).expect("not negative");
        self.leader_epoch += 1;
        self.partition_epoch += 1;
        let log = &self.replicas[self.leader].log;
        assert!(log.starts_with(&self.committed), "a member in sync lacks what was committed");
        // Some hear of it now, others later or never.
        for place in 0..REPLICAS {
            if self.dice.below(3) > 0 {
                self.install(place);
            }
        }
    }

    fn hear(&mut self) {
        let place = self.dice.below(REPLICAS);
        let known = match &self.replicas[place].role {
            Role::Leads(state) => state.leader_epoch(),
            Role::Follows(state) => state.leader_epoch(),
        };
        if known.get() < self.leader_epoch {
            self.install(place);
        }
    }

    /// The controller decides a proposal; its answer may be lost, and the leader hears of it with the next election only.
    fn decide(&mut self) {
        let Some((leader_epoch, proposal)) = self.proposal.take() else { return };
        if leader_epoch != self.leader_epoch || proposal.partition_epoch != self.partition_epoch {
            return;
        }
        self.isr.clone_from(&proposal.isr);
        self.partition_epoch += 1;
        if self.dice.below(4) > 0 {
            let event = Event::Committed { isr: proposal.isr, partition_epoch: self.partition_epoch };
            self.tell_leader(event);
        }
    }

    /// The metadata says what it said before, or what an answer that was lost would have said.
    fn repeat(&mut self) {
        self.tell_leader(Event::Committed { isr: self.isr.clone(), partition_epoch: self.partition_epoch });
    }

    fn lag(&mut self) {
        self.now_ms += 300;
        let event = Event::CheckLag { now_ms: self.now_ms, lag_max_ms: 500 };
        self.tell_leader(event);
    }

    fn tell_leader(&mut self, event: Event) {
        let leader = self.leader;
        if let Role::Leads(state) = &mut self.replicas[leader].role
            && state.leader_epoch().get() == self.leader_epoch
        {
            let effects = state.handle(event);
            self.take(leader, effects);
        }
    }

    fn step(&mut self) {
        match self.dice.below(40) {
            0..10 => self.append(),
            10..32 => self.fetch(),
            32..33 => self.hear(),
            33..35 => self.decide(),
            35..36 => self.repeat(),
            36..39 => self.lag(),
            _ => self.elect(),
        }
    }

    /// Nothing fails any more: all replicas come to the same log.
    fn settle(&mut self) {
        for place in 0..REPLICAS {
            self.install(place);
        }
        for _ in 0..20_000 {
            self.fetch();
        }
        let leader = self.replicas[self.leader].log.clone();
        for replica in &self.replicas {
            assert_eq!(replica.log, leader, "the logs differ in the end");
        }
        assert!(leader.starts_with(&self.committed));
    }
}

#[test]
fn whatever_happens_nothing_committed_is_lost_and_all_logs_are_equal_in_the_end() {
    let (mut cuts, mut committed) = (0, 0);
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step();
        }
        world.settle();
        cuts += world.cuts;
        committed += world.committed.len();
    }
    assert!(cuts > 500 && committed > 10_000, "the histories exercise too little: {cuts} cuts, {committed} records committed");
}
