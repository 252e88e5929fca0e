//! What goes wrong, each as the one sentence that a person reads.

use std::io;

use protocol::ErrorCode;
use thiserror::Error;

/// What prevents a command.
#[derive(Debug, Error)]
pub enum ToolProblem {
    /// No bootstrap broker answers.
    #[error("no broker answers at {address} ({reason}); start one with 'klamm', or name another with -b HOST:PORT")]
    Unreachable {
        /// The last address that was tried.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The broker at the bootstrap address sends clients to an address that is not reachable from here.
    #[error(
        "broker {broker_id} says that it is at {address}, which does not answer from here ({reason}); \
         set advertised.listeners of that broker to an address that its clients can reach"
    )]
    Advertised {
        /// Which broker.
        broker_id: i32,
        /// Where it says to be.
        address: String,
        /// What happened.
        reason: String,
    },
    /// A broker that answered before does not any more.
    #[error("the broker at {address} does not answer {api} any more ({reason}); look at its log, then try again")]
    Lost {
        /// Its address.
        address: String,
        /// The request.
        api: &'static str,
        /// What happened.
        reason: String,
    },
    /// Whoever answers there does not speak Kafka's protocol.
    #[error("what answers at {address} is no Kafka broker without TLS ({reason}); check host and port")]
    NotKafka {
        /// The address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// There is no version that both sides speak.
    #[error("the broker at {address} does not serve {api} in a version that this tool knows; it needs Apache Kafka 3.0 or later")]
    TooOld {
        /// The broker's address.
        address: String,
        /// The request.
        api: &'static str,
    },
    /// A topic is not there.
    #[error("topic '{0}' does not exist; 'klamm topics' lists those that do, 'klamm topics create {0}' creates it")]
    NoTopic(String),
    /// A partition is not there.
    #[error("topic '{topic}' has no partition {partition}; it has {count}, from 0 on")]
    NoPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// How many there are.
        count: usize,
    },
    /// A group is not there.
    #[error("group '{0}' does not exist; 'klamm groups' lists those that do")]
    NoGroup(String),
    /// A group has members.
    #[error("group '{group}' is in use by {members}; stop them, then {action} it")]
    GroupInUse {
        /// The group.
        group: String,
        /// How many members it has, in words.
        members: String,
        /// What was to be done.
        action: &'static str,
    },
    /// A reader asks for an offset that is not there.
    #[error("partition {partition} of '{topic}' has no offset {offset}, only {start} up to {end}; use --from beginning or --from end")]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was asked for.
        offset: i64,
        /// The first one that is there.
        start: i64,
        /// The next one to be written.
        end: i64,
    },
    /// There are not enough brokers to move a replica to.
    #[error(
        "partition {partition} of topic '{topic}' has {}, and no other broker that runs could take that of broker {broker}; \
         start another broker, or give the topic fewer replicas",
        crate::output::count(*replicas, "replica")
    )]
    NoRoom {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How many replicas it has.
        replicas: usize,
        /// Whose replica was to be moved.
        broker: i32,
    },
    /// A broker does not have the metadata.
    #[error("no broker {broker} has the cluster's metadata; see klamm voters")]
    NoReplica {
        /// The broker.
        broker: i32,
    },
    /// The broker refuses.
    #[error("{subject}: the broker answers {}{}; {}", name(*.code), told(.message.as_deref()), advice(*.code))]
    Refused {
        /// What was to be done, and with what.
        subject: String,
        /// Kafka's code.
        code: i16,
        /// The broker's own words.
        message: Option<String>,
    },
    /// A batch in an answer cannot be read.
    #[error(
        "partition {partition} of '{topic}' holds a batch that cannot be read at offset {offset} ({reason}); go on behind it with --from"
    )]
    Batch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// A request cannot be made of what was given.
    #[error("cannot ask the broker: {0}; shorten what was given")]
    Encode(String),
    /// A format is not understood.
    #[error("the format is not understood: {0}; see klamm consume --help")]
    Format(String),
    /// Standard input failed.
    #[error("cannot read standard input: {0}; what came before it was sent")]
    Input(io::Error),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}; start it without --group")]
    Signals(io::Error),
    /// A second signal came while the first one was obeyed.
    #[error("interrupted before the group was left; it waits for this member until the session ends")]
    Interrupted,
    /// Standard output failed.
    #[error("cannot write to standard output: {0}; make room or choose another file")]
    Output(#[from] io::Error),
}

impl ToolProblem {
    /// A code of the broker as a problem.
    pub(crate) fn refused(subject: impl Into<String>, code: i16, message: Option<&str>) -> Self {
        Self::Refused { subject: subject.into(), code, message: message.filter(|text| !text.is_empty()).map(str::to_owned) }
    }

    /// Whether it may pass without anybody's help: a broker that was there before is gone, or refuses with an error that Kafka calls retriable.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Advertised { .. } | Self::Lost { .. } => true,
            Self::Refused { code, .. } => crate::cluster::is_retriable(*code),
            Self::NotKafka { .. }
            | Self::TooOld { .. }
            | Self::NoTopic(_)
            | Self::NoPartition { .. }
            | Self::NoReplica { .. }
            | Self::NoRoom { .. }
            | Self::NoGroup(_)
            | Self::GroupInUse { .. }
            | Self::OutOfRange { .. }
            | Self::Batch { .. }
            | Self::Encode(_)
            | Self::Format(_)
            | Self::Input(_)
            | Self::Signals(_)
            | Self::Interrupted
            | Self::Output(_) => false,
        }
    }
}

fn name(code: i16) -> String {
    protocol::error_name(code)
}

fn told(message: Option<&str>) -> String {
    message.map(|message| format!(" ({})", message.trim_end_matches('.'))).unwrap_or_default()
}

/// What to do after a code. What has no line of its own is either passing or something for the broker's log.
fn advice(code: i16) -> &'static str {
    match ErrorCode::try_from_code(code) {
        Some(ErrorCode::TopicAlreadyExists) => "choose another name, or pass --if-not-exists",
        Some(ErrorCode::InvalidTopicException) => "use letters, digits, '.', '_' and '-', at most 249 of them",
        Some(ErrorCode::InvalidPartitions) => "give a number of partitions from 1 on",
        Some(ErrorCode::InvalidReplicationFactor) => "give at most as many replicas as there are brokers ('klamm describe' counts them)",
        Some(ErrorCode::InvalidConfig) => "correct the --config that it names",
        Some(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge) => "shorten the record, or raise the topic's max.message.bytes",
        Some(ErrorCode::InvalidRecord) => "a compacted topic takes records with keys only: give them with -K",
        Some(ErrorCode::InconsistentGroupProtocol) => "its members share partitions in another way than by 'range'; choose another --group",
        Some(ErrorCode::InvalidSessionTimeout) => {
            "give --session-timeout-ms between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
        }
        Some(ErrorCode::NonEmptyGroup) => "stop the group's members first",
        Some(ErrorCode::TopicAuthorizationFailed | ErrorCode::GroupAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed) => {
            "ask for the right to do so"
        }
        Some(error) if error.is_retriable() => "try again in a moment",
        _ => "the broker's log says more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_code_the_brokers_words_and_what_to_do() {
        let problem = ToolProblem::refused("topic 'a'", 36, Some("Topic 'a' already exists."));
        assert_eq!(
            problem.to_string(),
            "topic 'a': the broker answers TOPIC_ALREADY_EXISTS (Topic 'a' already exists); choose another name, or pass --if-not-exists"
        );
        assert!(ToolProblem::refused("x", 6, None).to_string().ends_with("NOT_LEADER_OR_FOLLOWER; try again in a moment"));
    }
}
