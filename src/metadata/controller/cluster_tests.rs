//! Brokers that come, go and die, and what becomes of their partitions: told as scripts, and for any history.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use model::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, TopicId, TopicIdPartition};
use proptest::prelude::*;
use protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionRequest, BrokerId as WireBrokerId, ElectLeadersRequest, TopicName as WireTopicName,
};
use protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::tests_support::registration;
use super::*;
use crate::configs::StaticConfig;
use crate::image::{Broker, Image, Partition};
use crate::records::{ConfigResource, MetadataRecord};

const SESSION_MS: u64 = 9000;
const CLUSTER: &str = "c";
/// No broker of the tests, so that all of them can be dead.
const CONTROLLER: BrokerId = BrokerId::MAX;

fn id(id: i32) -> BrokerId {
    BrokerId::new(id).expect("a broker id")
}

fn topic_id() -> TopicId {
    TopicId(Uuid::from_u128(1))
}

/// A controller, its image and its sessions, without a quorum: what it decides is applied.
struct Cluster {
    image: Image,
    sessions: BrokerSessions,
    statics: StaticConfig,
    now_ms: u64,
    incarnations: u128,
    /// Somebody asked for an unclean election.
    is_forced: bool,
    /// Who lost its data by what is being applied.
    lost: BTreeSet<BrokerId>,
    /// Whom the leader vouches for.
    vouched: BTreeSet<BrokerId>,
}

impl Cluster {
    /// Brokers that are up, and a topic `t` whose partitions have these replicas, all in sync.
    fn new(brokers: &[i32], partitions: &[&[i32]], configs: &[(&str, &str)]) -> Self {
        let image = Image::default().apply(1, &[MetadataRecord::Cluster { cluster_id: CLUSTER.to_owned() }]).0;
        let sessions = BrokerSessions::begin(CONTROLLER, &image, SESSION_MS, 0);
        let mut cluster = Self {
            image,
            sessions,
            statics: StaticConfig::new(),
            now_ms: 0,
            incarnations: 0,
            is_forced: false,
            lost: BTreeSet::new(),
            vouched: BTreeSet::new(),
        };
        for broker in brokers {
            cluster.register(*broker, false).expect("a first registration");
            cluster.beat(*broker, false, false).expect("a registered broker");
        }
        let mut records = vec![MetadataRecord::Topic { name: "t".to_owned(), topic_id: topic_id() }];
        records.extend(configs.iter().map(|(key, value)| MetadataRecord::Config {
            resource: ConfigResource::topic("t"),
            key: (*key).to_owned(),
            value: Some((*value).to_owned()),
        }));
        for (index, replicas) in partitions.iter().enumerate() {
            let replicas: Vec<BrokerId> = replicas.iter().map(|broker| id(*broker)).collect();
            records.push(MetadataRecord::Partition {
                topic_id: topic_id(),
                partition: crate::image::index_of(index),
                isr: replicas.clone(),
                leader: replicas.first().copied(),
                replicas,
                leader_epoch: LeaderEpoch::ZERO,
                partition_epoch: 0,
            });
        }
        cluster.apply(&records);
        cluster
    }

    fn view(&self) -> ConfigView<'_> {
        ConfigView::new(&self.image, id(1), &self.statics)
    }

    fn apply(&mut self, records: &[MetadataRecord]) -> Vec<UncleanElection> {
        if records.is_empty() {
            return Vec::new();
        }
        let unclean = unclean_elections(&self.image, records);
        let (image, delta) = self.image.apply(self.image.index() + 1, records);
        assert_eq!(delta.ignored_records, 0, "{records:?}");
        let allows_unclean = self.is_forced || self.view().election_rules("t").unclean_leader_election;
        for changed in &delta.partitions_changed {
            let after = image.partition(*changed).expect("it changed");
            check_partition(&image, after);
            if let Some(before) = self.image.partition(*changed) {
                self.check_step(before, after, allows_unclean);
            }
        }
        self.image = image;
        self.sessions.follow(&self.image, self.now_ms);
        unclean
    }

    /// What a change may do to a partition.
    fn check_step(&self, before: &Partition, after: &Partition, allows_unclean: bool) {
        assert!(after.leader_epoch >= before.leader_epoch && after.partition_epoch >= before.partition_epoch, "epochs never go back");
        assert!(after.partition_epoch > before.partition_epoch || before == after, "each change is seen by compare-and-set");
        assert!(after.leader_epoch > before.leader_epoch || before.leader == after.leader);
        if let Some(leader) = after.leader.filter(|_| before.leader != after.leader) {
            let was_complete = [&before.isr, &before.eligible_leader_replicas].iter().any(|ids| ids.contains(&leader));
            let mut complete = before.isr.iter().chain(&before.eligible_leader_replicas);
            let all_lost = complete.all(|id| self.lost.contains(id)) && before.last_known_leader == Some(leader);
            let is_allowed = was_complete || self.vouched.contains(&leader) || allows_unclean || all_lost;
            assert!(is_allowed, "{leader} may lack what was acknowledged: {before:?} became {after:?}");
        }
        for eligible in after.eligible_leader_replicas.iter().filter(|id| !before.eligible_leader_replicas.contains(id)) {
            assert!(before.isr.contains(eligible) && !self.lost.contains(eligible), "eligible is only who was in sync and is whole");
        }
    }

    fn broker(&self, broker: i32) -> Option<&Broker> {
        self.image.broker(id(broker)).map(AsRef::as_ref)
    }

    fn partition(&self, index: i32) -> &Partition {
        let partition = TopicIdPartition { topic_id: topic_id(), partition: PartitionIndex::new_or_zero(index) };
        self.image.partition(partition).expect("a partition")
    }

    fn register(&mut self, broker: i32, is_whole: bool) -> Result<Vec<UncleanElection>, Refusal> {
        self.incarnations += 1;
        let previous_epoch = self.broker(broker).map(|broker| broker.epoch).filter(|_| is_whole);
        let wish =
            RegistrationWish { cluster_id: CLUSTER.to_owned(), registration: registration(broker, self.incarnations), previous_epoch };
        let decision = admit_broker(self.view(), wish, self.sessions.is_alive(id(broker), self.now_ms))?;
        Ok(self.apply(&decision.records))
    }

    /// A heartbeat of a broker that has the whole metadata log.
    fn beat(&mut self, broker: i32, wants_fence: bool, wants_shutdown: bool) -> Result<HeartbeatReply, Refusal> {
        let broker_epoch = self.broker(broker).map_or(BrokerEpoch::ZERO, |broker| broker.epoch);
        let beat = Heartbeat { broker_id: id(broker), broker_epoch, metadata_index: self.image.index(), wants_fence, wants_shutdown };
        let mut sessions = self.sessions.clone();
        let decision = heartbeat(self.view(), &mut sessions, &beat, self.now_ms)?;
        self.sessions = sessions;
        self.apply(&decision.records);
        Ok(decision.response)
    }

    fn fence(&mut self, broker: i32) {
        let records = self.broker(broker).map(|broker| fence_broker(self.view(), broker)).unwrap_or_default();
        self.apply(&records);
    }

    /// A request of the partition's leader, resting on what is newest, less so many changes of the partition.
    fn alter(&mut self, leader: i32, isr: &[i32], behind: i32) -> Option<ErrorCode> {
        let partition = self.partition(0);
        let members = isr.iter().map(|member| {
            let epoch = self.broker(*member).map_or(-1, |broker| broker.epoch.get());
            BrokerState::default().with_broker_id(WireBrokerId(*member)).with_broker_epoch(epoch)
        });
        let asked = PartitionData::default()
            .with_partition_index(0)
            .with_leader_epoch(partition.leader_epoch.get())
            .with_partition_epoch(partition.partition_epoch - behind)
            .with_new_isr_with_epochs(members.collect());
        let request = AlterPartitionRequest::default()
            .with_broker_id(WireBrokerId(leader))
            .with_broker_epoch(self.broker(leader).map_or(-1, |broker| broker.epoch.get()))
            .with_topics(vec![TopicData::default().with_topic_id(topic_id().0).with_partitions(vec![asked])]);
        match alter_partition(self.view(), &request) {
            Ok(decision) => {
                self.vouched = isr.iter().map(|member| id(*member)).collect();
                self.apply(&decision.records);
                self.vouched.clear();
                ErrorCode::try_from_code(decision.response[0].partitions[0].error_code)
            }
            Err(refusal) => Some(refusal.code),
        }
    }

    fn reassign(&mut self, replicas: Option<&[i32]>) -> Option<ErrorCode> {
        let replicas = replicas.map(|ids| ids.iter().map(|id| WireBrokerId(*id)).collect());
        let asked = ReassignablePartition::default().with_partition_index(0).with_replicas(replicas);
        let topic = ReassignableTopic::default().with_name(name("t")).with_partitions(vec![asked]);
        let decision = alter_partition_reassignments(self.view(), &AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]));
        self.apply(&decision.records);
        ErrorCode::try_from_code(decision.response[0].partitions[0].error_code)
    }

    fn elect(&mut self, election_type: i8) {
        let request = ElectLeadersRequest::default().with_election_type(election_type).with_topic_partitions(None);
        let decision = elect_leaders(self.view(), &request).expect("a known type");
        self.apply(&decision.records);
    }

    /// One verb; what it printed.
    fn play(&mut self, words: &[&str]) -> String {
        let ids = |at: usize| {
            let list = words.get(at).copied().unwrap_or_default();
            list.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().expect("an id")).collect::<Vec<i32>>()
        };
        let one = words.get(1).and_then(|id| id.parse().ok()).unwrap_or(0);
        let told = |code: Option<ErrorCode>| code.map_or_else(String::new, |code| format!(" {code:?}"));
        match words {
            ["register", _] => told(self.register(one, false).err().map(|refusal| refusal.code)),
            ["register", _, "whole"] => told(self.register(one, true).err().map(|refusal| refusal.code)),
            ["beat", _] => told(self.beat(one, false, false).err().map(|refusal| refusal.code)),
            ["stop", _] => match self.beat(one, false, true) {
                Ok(reply) if reply.should_shut_down => " may stop".to_owned(),
                Ok(_) => String::new(),
                Err(refusal) => told(Some(refusal.code)),
            },
            ["fence", _] => {
                self.fence(one);
                String::new()
            }
            ["alter", _, _] => told(self.alter(one, &ids(2), 0)),
            ["alter", _, _, "late"] => told(self.alter(one, &ids(2), 1)),
            ["move", "cancel"] => told(self.reassign(None)),
            ["move", _] => told(self.reassign(Some(&ids(1)))),
            ["prefer"] => {
                let records = balance_leaders(self.view(), 10).records;
                self.apply(&records);
                String::new()
            }
            ["unclean"] => {
                let records = elect_unclean_leaders(self.view(), 10);
                self.apply(&records);
                String::new()
            }
            other => panic!("unknown verb {other:?}"),
        }
    }
}

fn name(name: &str) -> WireTopicName {
    WireTopicName(StrBytes::from_string(name.to_owned()))
}

fn list(ids: &[BrokerId]) -> String {
    if ids.is_empty() { "-".to_owned() } else { ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",") }
}

fn print(partition: &Partition) -> String {
    let leader = partition.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string());
    let mut text = format!("{leader}@{} of {} isr {}", partition.leader_epoch, list(&partition.replicas), list(&partition.isr));
    if !partition.eligible_leader_replicas.is_empty() {
        let _fits = write!(text, " elr {}", list(&partition.eligible_leader_replicas));
    }
    if let Some(last) = partition.last_known_leader {
        let _fits = write!(text, " last {last}");
    }
    if partition.is_reassigning() {
        let _fits = write!(text, " +{} -{}", list(&partition.adding_replicas), list(&partition.removing_replicas));
    }
    text
}

/// Each line of the script is a verb, `|`, and the first partition after it: leader at its epoch, replicas, in-sync set, and what else there is.
#[track_caller]
fn check(mut cluster: Cluster, script: &str) {
    let mut printed = String::new();
    let mut expected = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let verb = line.split('|').next().unwrap_or_default().trim();
        let told = cluster.play(&verb.split_whitespace().collect::<Vec<_>>());
        let _fits = writeln!(printed, "{verb:<20}| {}{told}", print(cluster.partition(0)));
        let _fits = writeln!(expected, "{line}");
    }
    assert_eq!(printed, expected, "\n{printed}");
}

fn three(configs: &[(&str, &str)]) -> Cluster {
    Cluster::new(&[1, 2, 3], &[&[1, 2, 3]], configs)
}

#[test]
fn a_dead_leader_is_followed_by_the_next_in_sync_and_comes_back_as_a_follower() {
    check(
        three(&[]),
        "
        fence 1             | 2@1 of 1,2,3 isr 2,3
        register 1          | 2@1 of 1,2,3 isr 2,3
        beat 1              | 2@1 of 1,2,3 isr 2,3
        alter 2 2,3,1       | 2@1 of 1,2,3 isr 2,3,1
        prefer              | 1@2 of 1,2,3 isr 2,3,1
        ",
    );
}

#[test]
fn the_last_in_sync_leaves_no_leader_but_stays_eligible_and_leads_when_it_is_back_whole() {
    check(
        three(&[]),
        "
        fence 1             | 2@1 of 1,2,3 isr 2,3
        fence 2             | 3@2 of 1,2,3 isr 3
        fence 3             | -@3 of 1,2,3 isr - elr 3 last 3
        register 1          | -@3 of 1,2,3 isr - elr 3 last 3
        beat 1              | -@3 of 1,2,3 isr - elr 3 last 3
        register 3 whole    | -@3 of 1,2,3 isr - elr 3 last 3
        beat 3              | 3@4 of 1,2,3 isr 3
        ",
    );
}

#[test]
fn with_min_insync_replicas_all_who_left_a_too_small_set_may_lead() {
    // Nothing is acknowledged while one of three is in sync, so 2 and 1 miss nothing that 3 has.
    check(
        three(&[("min.insync.replicas", "2")]),
        "
        fence 1             | 2@1 of 1,2,3 isr 2,3
        fence 2             | 3@2 of 1,2,3 isr 3 elr 2
        fence 3             | -@3 of 1,2,3 isr - elr 2,3 last 3
        register 2 whole    | -@3 of 1,2,3 isr - elr 2,3 last 3
        beat 2              | 2@4 of 1,2,3 isr 2 elr 3
        register 3 whole    | 2@4 of 1,2,3 isr 2 elr 3
        beat 3              | 2@4 of 1,2,3 isr 2 elr 3
        alter 2 2,3         | 2@4 of 1,2,3 isr 2,3
        ",
    );
}

#[test]
fn who_may_have_lost_its_data_is_eligible_for_nothing() {
    check(
        three(&[("min.insync.replicas", "2")]),
        "
        fence 1             | 2@1 of 1,2,3 isr 2,3
        fence 2             | 3@2 of 1,2,3 isr 3 elr 2
        register 2          | 3@2 of 1,2,3 isr 3
        fence 3             | -@3 of 1,2,3 isr - elr 3 last 3
        beat 2              | -@3 of 1,2,3 isr - elr 3 last 3
        register 3          | -@3 of 1,2,3 isr - last 3
        beat 3              | 3@4 of 1,2,3 isr 3
        ",
    );
}

#[test]
fn a_broker_that_registers_again_while_it_leads_loses_leadership_first() {
    let mut cluster = three(&[]);
    cluster.now_ms = SESSION_MS;
    check(
        cluster,
        "
        register 1          | 2@1 of 1,2,3 isr 2,3
        register 2 whole    | 3@2 of 1,2,3 isr 3
        register 3 whole    | -@3 of 1,2,3 isr - elr 3 last 3
        ",
    );
}

#[test]
fn unclean_elections_happen_only_where_the_topic_allows_them() {
    let script = |outcome: &str| {
        format!(
            "
            fence 1             | 2@1 of 1,2 isr 2
            register 1          | 2@1 of 1,2 isr 2
            fence 2             | -@2 of 1,2 isr - elr 2 last 2
            beat 1              | {outcome}
            "
        )
    };
    check(Cluster::new(&[1, 2], &[&[1, 2]], &[]), &script("-@2 of 1,2 isr - elr 2 last 2"));
    check(Cluster::new(&[1, 2], &[&[1, 2]], &[("unclean.leader.election.enable", "true")]), &script("1@3 of 1,2 isr 1"));
}

#[test]
fn an_unclean_election_is_told() {
    let mut cluster = Cluster::new(&[1, 2], &[&[1, 2]], &[]);
    cluster.fence(1);
    cluster.register(1, false).expect("a dead broker's id");
    cluster.fence(2);
    cluster.beat(1, false, false).expect("registered");
    cluster.apply(&[MetadataRecord::Config {
        resource: ConfigResource::topic("t"),
        key: "unclean.leader.election.enable".to_owned(),
        value: Some("true".to_owned()),
    }]);
    let records = elect_unclean_leaders(cluster.view(), 10);
    let told = cluster.apply(&records);
    let expected = UncleanElection { topic: "t".into(), partition: PartitionIndex::ZERO, leader: id(1) };
    assert_eq!((told, cluster.partition(0).isr.as_slice()), (vec![expected], [id(1)].as_slice()));
}

#[test]
fn a_stopping_broker_hands_over_and_stops_when_the_others_know() {
    check(
        three(&[]),
        "
        stop 1              | 2@1 of 1,2,3 isr 2,3
        stop 1              | 2@1 of 1,2,3 isr 2,3
        alter 2 2,3,1       | 2@1 of 1,2,3 isr 2,3 IneligibleReplica
        beat 2              | 2@1 of 1,2,3 isr 2,3
        stop 1              | 2@1 of 1,2,3 isr 2,3
        beat 3              | 2@1 of 1,2,3 isr 2,3
        stop 1              | 2@1 of 1,2,3 isr 2,3 may stop
        register 1 whole    | 2@1 of 1,2,3 isr 2,3
        beat 1              | 2@1 of 1,2,3 isr 2,3
        alter 2 2,3,1       | 2@1 of 1,2,3 isr 2,3,1
        ",
    );
}

#[test]
fn in_sync_sets_change_only_on_the_newest_word_of_the_leader() {
    check(
        three(&[]),
        "
        alter 1 1,2         | 1@0 of 1,2,3 isr 1,2
        alter 1 1,2,3 late  | 1@0 of 1,2,3 isr 1,2 InvalidUpdateVersion
        alter 2 1,2,3       | 1@0 of 1,2,3 isr 1,2 InvalidRequest
        alter 1 2           | 1@0 of 1,2,3 isr 1,2 InvalidRequest
        alter 1 1,1         | 1@0 of 1,2,3 isr 1,2 InvalidRequest
        alter 1 1,9         | 1@0 of 1,2,3 isr 1,2 InvalidRequest
        fence 3             | 1@0 of 1,2,3 isr 1,2
        alter 1 1,2,3       | 1@0 of 1,2,3 isr 1,2 IneligibleReplica
        alter 1 1,2         | 1@0 of 1,2,3 isr 1,2
        ",
    );
}

#[test]
fn a_move_adds_then_removes_and_ends_when_the_new_replicas_are_in_sync() {
    check(
        Cluster::new(&[1, 2, 3, 4], &[&[1, 2]], &[]),
        "
        move 3,4            | 1@0 of 3,4,1,2 isr 1,2 +3,4 -1,2
        alter 1 1,2,3       | 1@0 of 3,4,1,2 isr 1,2,3 +3,4 -1,2
        alter 1 1,2,3,4     | 3@1 of 3,4 isr 3,4 NewLeaderElected
        move 4,3            | 3@1 of 4,3 isr 3,4
        move 4              | 4@2 of 4 isr 4
        move 4,1            | 4@2 of 4,1 isr 4 +1 --
        move cancel         | 4@3 of 4 isr 4
        move cancel         | 4@3 of 4 isr 4 NoReassignmentInProgress
        move 7              | 4@3 of 4 isr 4 InvalidReplicaAssignment
        ",
    );
}

#[test]
fn a_second_process_of_a_living_broker_is_refused_until_its_session_is_over() {
    let mut cluster = three(&[]);
    let refusal = cluster.register(1, false).expect_err("the broker is alive");
    assert_eq!(refusal.code, ErrorCode::DuplicateBrokerRegistration);
    let epoch = cluster.broker(1).expect("registered").epoch;
    assert_eq!(cluster.sessions.suspects(), []);
    cluster.sessions.contact_lost(id(1), BrokerEpoch::ZERO, 0, 0);
    assert_eq!(cluster.sessions.suspects(), [], "an earlier run's connection means nothing");
    cluster.sessions.contact_lost(id(1), epoch, 0, 100);
    assert_eq!(cluster.sessions.suspects(), [(id(1), epoch)]);
    cluster.now_ms = 99;
    assert!(cluster.register(1, false).is_err());
    cluster.now_ms = 100;
    assert_eq!(cluster.sessions.over(100), Some(id(1)));
    cluster.register(1, false).expect("the broker is dead");
}

#[test]
fn a_registration_whose_answer_was_lost_is_answered_again_and_changes_nothing() {
    let mut cluster = three(&[]);
    let wish = |incarnation: u128| RegistrationWish {
        cluster_id: CLUSTER.to_owned(),
        registration: registration(1, incarnation),
        previous_epoch: None,
    };
    let again = admit_broker(cluster.view(), wish(1), true).expect("the same run");
    assert_eq!((again.records.len(), again.response), (0, cluster.broker(1).map(|broker| broker.epoch)));
    let foreign = RegistrationWish { cluster_id: "other".to_owned(), ..wish(1) };
    assert_eq!(admit_broker(cluster.view(), foreign, true).expect_err("foreign").code, ErrorCode::InconsistentClusterId);
    cluster.apply(&[MetadataRecord::Feature { name: "metadata.version".to_owned(), level: 30 }]);
    assert_eq!(admit_broker(cluster.view(), wish(1), true).expect_err("too old").code, ErrorCode::UnsupportedVersion);
}

#[test]
fn a_heartbeat_of_an_earlier_run_renews_nothing() {
    let mut cluster = three(&[]);
    let old = cluster.broker(1).expect("registered").epoch;
    cluster.now_ms = SESSION_MS;
    cluster.register(1, false).expect("the session is over");
    let beat = Heartbeat { broker_id: id(1), broker_epoch: old, metadata_index: 99, wants_fence: false, wants_shutdown: false };
    let mut sessions = cluster.sessions.clone();
    let refusal = heartbeat(cluster.view(), &mut sessions, &beat, cluster.now_ms).expect_err("an old epoch");
    assert_eq!((refusal.code, sessions), (ErrorCode::StaleBrokerEpoch, cluster.sessions.clone()));
}

#[test]
fn a_broker_behind_its_own_registration_stays_fenced() {
    let mut cluster = three(&[]);
    cluster.fence(1);
    cluster.register(1, false).expect("dead");
    let epoch = cluster.broker(1).expect("registered").epoch;
    let beat = Heartbeat { broker_id: id(1), broker_epoch: epoch, metadata_index: 1, wants_fence: false, wants_shutdown: false };
    let decision = heartbeat(cluster.view(), &mut cluster.sessions.clone(), &beat, 0).expect("registered");
    assert_eq!((decision.records.len(), decision.response.is_caught_up, decision.response.is_fenced), (0, false, true));
}

#[test]
fn sessions_end_one_by_one_and_begin_anew_with_a_new_controller() {
    let mut cluster = three(&[]);
    assert_eq!(cluster.sessions.next_deadline_ms(), Some(SESSION_MS));
    cluster.now_ms = 5000;
    cluster.beat(2, false, false).expect("registered");
    assert_eq!(cluster.sessions.over(SESSION_MS), Some(id(1)));
    cluster.fence(1);
    assert_eq!(cluster.sessions.over(SESSION_MS), Some(id(3)));
    cluster.fence(3);
    assert_eq!((cluster.sessions.over(SESSION_MS), cluster.sessions.next_deadline_ms()), (None, Some(14_000)));
    let mut anew = BrokerSessions::begin(CONTROLLER, &cluster.image, SESSION_MS, 1_000_000);
    assert_eq!((anew.next_deadline_ms(), anew.over(1_008_999), anew.over(1_009_000)), (Some(1_009_000), None, Some(id(2))));
    assert!(!anew.is_alive(id(2), 1_000_000), "it is only supposed to be alive");
    assert_eq!(anew.suspects().len(), 1);
    anew.touch(cluster.broker(2).expect("registered"), 1, 1_000_001);
    assert!(anew.is_alive(id(2), 1_000_001) && anew.suspects().is_empty());
    assert_eq!(BrokerSessions::begin(id(2), &cluster.image, SESSION_MS, 0).next_deadline_ms(), None, "its own broker lives");
}

#[test]
fn an_unregistered_broker_is_eligible_for_nothing() {
    let mut cluster = three(&[("min.insync.replicas", "2")]);
    cluster.fence(1);
    cluster.fence(2);
    assert_eq!(cluster.partition(0).eligible_leader_replicas, [id(2)]);
    let decision = unregister_broker(cluster.view(), 2).expect("a fenced broker");
    cluster.apply(&decision.records);
    assert_eq!((cluster.partition(0).eligible_leader_replicas.len(), cluster.broker(2)), (0, None));
}

/// One step of a history. Numbers are brokers 1 to 4.
#[derive(Clone, Debug)]
enum Step {
    Register(i32, bool),
    Beat(i32, bool, bool),
    Fence(i32),
    Unregister(i32),
    Alter(i32, Vec<i32>, i32),
    Move(Option<Vec<i32>>),
    Prefer,
    Elect(i8),
    Unclean(bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let broker = || 1..5_i32;
    let some = || prop::collection::btree_set(1..5_i32, 1..4).prop_map(|ids| ids.into_iter().collect::<Vec<_>>()).prop_shuffle();
    prop_oneof![
        2 => (broker(), any::<bool>()).prop_map(|(broker, whole)| Step::Register(broker, whole)),
        6 => broker().prop_map(|broker| Step::Beat(broker, false, false)),
        1 => (broker(), any::<bool>(), any::<bool>()).prop_map(|(broker, fence, stop)| Step::Beat(broker, fence, stop)),
        3 => broker().prop_map(Step::Fence),
        1 => broker().prop_map(Step::Unregister),
        6 => (broker(), some(), 0..2_i32).prop_map(|(leader, isr, behind)| Step::Alter(leader, isr, behind)),
        2 => prop::option::weighted(0.8, some()).prop_map(Step::Move),
        1 => Just(Step::Prefer),
        1 => (0..2_i8).prop_map(Step::Elect),
        1 => any::<bool>().prop_map(Step::Unclean),
        1 => (0..20_000_u64).prop_map(Step::Pass),
    ]
}

fn take(cluster: &mut Cluster, step: &Step) {
    cluster.is_forced = matches!(step, Step::Elect(1));
    cluster.lost = match step {
        Step::Register(broker, false) | Step::Unregister(broker) => BTreeSet::from([id(*broker)]),
        _ => BTreeSet::new(),
    };
    // Refusals are part of a history.
    match step {
        Step::Register(broker, whole) => drop(cluster.register(*broker, *whole)),
        Step::Beat(broker, fence, stop) => drop(cluster.beat(*broker, *fence, *stop)),
        Step::Fence(broker) => cluster.fence(*broker),
        Step::Unregister(broker) => {
            let decided = unregister_broker(cluster.view(), *broker);
            cluster.apply(&decided.map(|decision| decision.records).unwrap_or_default());
        }
        Step::Alter(leader, isr, behind) => drop(cluster.alter(*leader, isr, *behind)),
        Step::Move(replicas) => drop(cluster.reassign(replicas.as_deref())),
        Step::Prefer => {
            let records = balance_leaders(cluster.view(), 1).records;
            cluster.apply(&records);
        }
        Step::Elect(kind) => cluster.elect(*kind),
        Step::Unclean(allowed) => {
            let value = Some(allowed.to_string());
            let key = "unclean.leader.election.enable".to_owned();
            cluster.apply(&[MetadataRecord::Config { resource: ConfigResource::topic("t"), key, value }]);
        }
        Step::Pass(ms) => {
            cluster.now_ms += ms;
            while let Some(dead) = cluster.sessions.over(cluster.now_ms) {
                cluster.fence(dead.get());
            }
        }
    }
}

fn distinct(ids: &[BrokerId]) -> BTreeSet<BrokerId> {
    let set: BTreeSet<BrokerId> = ids.iter().copied().collect();
    assert_eq!(set.len(), ids.len(), "{ids:?} names one twice");
    set
}

/// `ValidControllerIsrAndElr` of KIP-966's specification, and what else always holds.
fn check_partition(image: &Image, partition: &Partition) {
    let replicas = distinct(&partition.replicas);
    let isr = distinct(&partition.isr);
    let eligible = distinct(&partition.eligible_leader_replicas);
    assert!(!replicas.is_empty() && isr.is_subset(&replicas) && eligible.is_subset(&replicas) && isr.is_disjoint(&eligible));
    let is_alive = |id: &BrokerId| image.broker(*id).is_some_and(|broker| broker.is_active());
    if let Some(leader) = partition.leader {
        assert!(isr.contains(&leader) && is_alive(&leader), "the leader must be in sync and alive");
        assert_eq!(partition.last_known_leader, None);
    }
    assert!(isr.iter().all(is_alive), "nobody who is fenced or stops is in sync");
    assert!(!isr.is_empty() || partition.leader.is_none());
    assert!(isr.is_empty() || partition.leader.is_some(), "who is in sync may lead");
    assert!(distinct(&partition.adding_replicas).is_subset(&replicas) && distinct(&partition.removing_replicas).is_subset(&replicas));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_leaders_are_in_sync_and_alive_and_epochs_never_go_back(
        steps in prop::collection::vec(step(), 1..120),
        min_insync in 1..4_u8,
    ) {
        let mut cluster = Cluster::new(&[1, 2, 3, 4], &[&[1, 2, 3], &[2]], &[("min.insync.replicas", &min_insync.to_string())]);
        for step in &steps {
            let before = cluster.image.clone();
            take(&mut cluster, step);
            for (_, partition) in cluster.image.topic_by_id(topic_id()).expect("the topic").partitions() {
                check_partition(&cluster.image, partition);
            }
            for broker in cluster.image.brokers() {
                let old = before.broker(broker.id);
                prop_assert!(old.is_none_or(|old| broker.epoch >= old.epoch));
            }
        }
        prop_assert_eq!(Image::from_snapshot(&cluster.image.to_snapshot()), Ok(cluster.image));
    }

    /// A8: what was sent before the newest change of a partition changes nothing any more, whatever it asks.
    #[test]
    fn a_late_request_changes_nothing(steps in prop::collection::vec(step(), 1..60), late in prop::collection::vec(1..5_i32, 1..4)) {
        let mut cluster = Cluster::new(&[1, 2, 3, 4], &[&[1, 2, 3]], &[]);
        for step in &steps {
            take(&mut cluster, step);
        }
        let before = cluster.image.clone();
        for leader in 1..5 {
            prop_assert!(cluster.alter(leader, &late, 1).is_some());
        }
        prop_assert_eq!(cluster.image, before);
    }
}
