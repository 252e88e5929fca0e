//! Why a configuration is refused. Each text is the one sentence that a person sees.

use model::config::InvalidValue;
use thiserror::Error;

/// A refused configuration.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ConfigProblem {
    /// A value does not fit its row.
    #[error("{problem} ({origin}).")]
    Value {
        /// Key, value and what is allowed.
        problem: InvalidValue,
        /// Where the value was given.
        origin: String,
    },
    /// A key of klamm's own that does not exist.
    #[error("Unknown configuration {key} ({origin}); klamm's own keys are: {known}.")]
    UnknownOwnKey {
        /// The key.
        key: String,
        /// Where it was given.
        origin: String,
        /// The keys that there are.
        known: String,
    },
    /// A listener that cannot be read.
    #[error("Invalid value {value} for configuration {key}: expected NAME://host:port with a port between 0 and 65535.")]
    MalformedListener {
        /// `listeners` or `advertised.listeners`.
        key: &'static str,
        /// The part that cannot be read.
        value: String,
    },
    /// Nowhere to listen.
    #[error("Configuration listeners names no listener for clients.")]
    NoListener,
    /// A name twice.
    #[error("Configuration {key} names the listener {name} twice; each listener must have its own name.")]
    DuplicateListener {
        /// `listeners` or `advertised.listeners`.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// A port twice.
    #[error("Configuration listeners uses port {port} twice; only an IPv4 and an IPv6 address may share a port.")]
    DuplicatePort {
        /// The port.
        port: u16,
    },
    /// A listener without a protocol.
    #[error("Listener {name} has no security protocol; add {name}:PLAINTEXT to listener.security.protocol.map.")]
    UnmappedListener {
        /// The listener's name.
        name: String,
    },
    /// A map that cannot be read.
    #[error(
        "Invalid value {value} for configuration listener.security.protocol.map: expected NAME:PROTOCOL, where the protocol is one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL."
    )]
    MalformedProtocolMap {
        /// The part that cannot be read.
        value: String,
    },
    /// A protocol that is not there yet.
    #[error("Listener {name} uses the security protocol {protocol}, which klamm does not speak yet; only PLAINTEXT is available.")]
    ProtocolUnavailable {
        /// The listener's name.
        name: String,
        /// The protocol.
        protocol: String,
    },
    /// An advertised address that no client can reach.
    #[error(
        "Listener {name} would tell clients the address {host}, which no client can reach; name a reachable one in advertised.listeners."
    )]
    UnroutableAdvertised {
        /// The listener's name.
        name: String,
        /// The address.
        host: String,
    },
    /// An advertised listener that is not opened.
    #[error("Configuration advertised.listeners names the listener {name}, which listeners does not have.")]
    UnknownAdvertised {
        /// The listener's name.
        name: String,
    },
    /// The brokers' listener that is not opened.
    #[error("Configuration inter.broker.listener.name is {name}, which is not a listener for clients.")]
    UnknownInterBroker {
        /// The listener's name.
        name: String,
    },
    /// Two ways to name the brokers' listener.
    #[error("Only one of inter.broker.listener.name and security.inter.broker.protocol may be given.")]
    TwoInterBrokerKeys,
    /// Two numbers of the broker.
    #[error("node.id is {node_id} and broker.id is {broker_id}; they are two names of one number, so give one of them.")]
    TwoIds {
        /// The one.
        node_id: i64,
        /// The other.
        broker_id: i64,
    },
    /// A process that would serve no client.
    #[error("Configuration process.roles is {value}; every klamm process is a broker, so broker must be among the roles.")]
    NotABroker {
        /// The value.
        value: String,
    },
    /// More than one directory, or none.
    #[error("Configuration {key} names {count} directories; klamm keeps all data of a broker in one.")]
    DirectoryCount {
        /// `log.dirs` or `log.dir`.
        key: &'static str,
        /// How many.
        count: usize,
    },
    /// A cluster id that cannot be one.
    #[error("The cluster id {value:?} is not usable: it must have 1 to 64 characters out of letters, digits, '-' and '_'.")]
    ClusterId {
        /// The value.
        value: String,
    },
    /// An override that cannot be read.
    #[error(
        "Invalid value {value} for configuration max.connections.per.ip.overrides: expected an address or a host's name, a colon and a number."
    )]
    MalformedOverride {
        /// The part that cannot be read.
        value: String,
    },
    /// An address that cannot be read.
    #[error("Invalid value {value} for configuration klamm.http.listen: expected HOST:PORT, as 127.0.0.1:9080.")]
    MalformedHttpListen {
        /// The value.
        value: String,
    },
    /// A voter that cannot be read, or that is named twice.
    #[error("Invalid value {value} for configuration controller.quorum.voters: expected ID@HOST:PORT, each id once, as 1@host:9093.")]
    MalformedVoter {
        /// The part that cannot be used.
        value: String,
    },
    /// A seed that cannot be read.
    #[error("Invalid value {value} for configuration controller.quorum.bootstrap.servers: expected HOST:PORT, as host:9093.")]
    MalformedBootstrapServer {
        /// The part that cannot be used.
        value: String,
    },
    /// A controller outside of the quorum.
    #[error(
        "Configuration controller.quorum.voters does not name node.id {broker_id}; a broker that does not vote has process.roles=broker."
    )]
    NotAVoter {
        /// This broker.
        broker_id: model::BrokerId,
    },
    /// A vote for who is no controller.
    #[error(
        "Configuration controller.quorum.auto.join.enable is true, but process.roles is broker; only a broker that is a controller too can have a vote."
    )]
    VotesWithoutRole,
    /// Nowhere to hear the other voters.
    #[error(
        "Configuration controller.quorum.voters names several voters, so controller.listener.names must name one of the listeners in listeners."
    )]
    NoControllerListener,
    /// Bounds the wrong way round.
    #[error("Configuration {low_key} ({low}) must not be more than {high_key} ({high}).")]
    Bounds {
        /// The lower bound's key.
        low_key: &'static str,
        /// Its value.
        low: i64,
        /// The upper bound's key.
        high_key: &'static str,
        /// Its value.
        high: i64,
    },
    /// A cleaner thread that could note next to nothing.
    #[error("Configuration log.cleaner.dedupe.buffer.size ({bytes}) must be more than 1 MiB for each of log.cleaner.threads ({threads}).")]
    CleanerMemory {
        /// The memory of all.
        bytes: i64,
        /// How many they are.
        threads: i64,
    },
}
