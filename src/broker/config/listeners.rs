//! Where the broker listens, and what address each listener tells its clients.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::values::Values;
use super::{ConfigProblem, Mode};

/// How a listener's bytes are protected. Only PLAINTEXT is there yet; a configuration that asks for another one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
}

impl SecurityProtocol {
    /// Its number on the wire and in records.
    #[must_use]
    pub const fn to_wire(self) -> i16 {
        match self {
            Self::Plaintext => 0,
        }
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext => f.write_str("PLAINTEXT"),
        }
    }
}

/// A host and a port. IPv6 hosts are kept without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, an address, or nothing for every address.
    pub host: String,
    /// The port; 0 is any free one.
    pub port: u16,
}

impl HostPort {
    /// Whether the host means every address of the machine.
    #[must_use]
    pub fn is_every_address(&self) -> bool {
        self.host.is_empty() || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in upper case.
    pub name: String,
    /// Where to bind.
    pub bind: HostPort,
    /// How its bytes are protected.
    pub security_protocol: SecurityProtocol,
    /// What clients are told. Port 0 stands for the port that was bound.
    pub advertised: HostPort,
}

impl Listener {
    /// What clients are told once the port is known.
    #[must_use]
    pub fn advertised_when_bound(&self, bound_port: u16) -> HostPort {
        let port = if self.advertised.port == 0 { bound_port } else { self.advertised.port };
        HostPort { host: self.advertised.host.clone(), port }
    }
}

/// A name and an address as they stand in `listeners`.
#[derive(Clone)]
struct Named {
    name: String,
    address: HostPort,
}

/// All listeners.
pub(super) struct Listeners {
    /// Those for clients, and for the brokers among themselves.
    pub(super) clients: Vec<Listener>,
    /// The name of the one that brokers use among themselves.
    pub(super) inter_broker: String,
    /// Those of the metadata quorum, in the order of `controller.listener.names`. Opened only where there are several voters.
    pub(super) controllers: Vec<Listener>,
}

/// Reads all listeners.
pub(super) fn read(values: &Values, mode: Mode, host_name: &str) -> Result<Listeners, ConfigProblem> {
    let controllers: Vec<String> = values.list("controller.listener.names").into_iter().map(str::to_uppercase).collect();
    let is_for_clients = |named: &Named| !controllers.contains(&named.name);
    let opened = parse("listeners", values)?;
    refuse_shared_ports(&opened)?;
    let (opened, quorum): (Vec<Named>, Vec<Named>) = opened.into_iter().partition(is_for_clients);
    let told: Vec<Named> = parse("advertised.listeners", values)?.into_iter().filter(is_for_clients).collect();
    if let Some(stranger) = told.iter().find(|told| !opened.iter().any(|opened| opened.name == told.name)) {
        return Err(ConfigProblem::UnknownAdvertised { name: stranger.name.clone() });
    }
    let protocols = protocols(values)?;
    let mut listeners = Vec::with_capacity(opened.len());
    for Named { name, address } in opened {
        let security_protocol = protocol_of(&name, &protocols)?;
        let explicit = told.iter().find(|told| told.name == name).map(|told| told.address.clone());
        let advertised = advertise(&name, &address, explicit, mode, host_name)?;
        listeners.push(Listener { name, bind: address, security_protocol, advertised });
    }
    let inter_broker = inter_broker(values, &listeners)?;
    let listener_of = |name: &String| {
        let bind = quorum.iter().find(|one| one.name == *name)?.address.clone();
        // What security a controller listener has matters once it is opened; PLAINTEXT is all there is.
        Some(Listener { name: name.clone(), bind: bind.clone(), security_protocol: SecurityProtocol::Plaintext, advertised: bind })
    };
    let controllers = controllers.iter().filter_map(listener_of).collect();
    Ok(Listeners { clients: listeners, inter_broker, controllers })
}

fn parse(key: &'static str, values: &Values) -> Result<Vec<Named>, ConfigProblem> {
    let mut listeners: Vec<Named> = Vec::new();
    for text in values.list(key) {
        let named = parse_one(text).ok_or_else(|| ConfigProblem::MalformedListener { key, value: text.to_owned() })?;
        if listeners.iter().any(|earlier| earlier.name == named.name) {
            return Err(ConfigProblem::DuplicateListener { key, name: named.name });
        }
        listeners.push(named);
    }
    Ok(listeners)
}

fn parse_one(text: &str) -> Option<Named> {
    let (name, address) = text.split_once("://")?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    is_name.then(|| parse_address(address)).flatten().map(|address| Named { name: name.to_uppercase(), address })
}

/// Reads `host:port`, `[v6]:port` or `:port`.
#[must_use]
pub fn parse_address(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = is_port.then(|| port.parse().ok()).flatten()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let inner = rest.strip_suffix(']')?;
            // A zone (fe80::1%eth0) is the system's business.
            inner.split('%').next()?.parse::<Ipv6Addr>().ok()?;
            inner
        }
        None if host.contains(':') => {
            host.parse::<Ipv6Addr>().ok()?;
            host
        }
        None => host,
    };
    let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'%'));
    is_host.then(|| HostPort { host: host.to_owned(), port })
}

/// Kafka's rule: each listener has its own port, but for one IPv4 and one IPv6 address.
fn refuse_shared_ports(listeners: &[Named]) -> Result<(), ConfigProblem> {
    let family = |host: &str| host.split('%').next().and_then(|host| host.parse::<IpAddr>().ok()).map(|address| address.is_ipv6());
    for (position, one) in listeners.iter().enumerate() {
        let port = one.address.port;
        for other in listeners.iter().skip(position + 1).filter(|other| port != 0 && other.address.port == port) {
            match (family(&one.address.host), family(&other.address.host)) {
                (Some(left), Some(right)) if left != right => {}
                _ => return Err(ConfigProblem::DuplicatePort { port }),
            }
        }
    }
    Ok(())
}

fn protocols(values: &Values) -> Result<BTreeMap<String, String>, ConfigProblem> {
    let mut map = BTreeMap::new();
    for text in values.list("listener.security.protocol.map") {
        let malformed = || ConfigProblem::MalformedProtocolMap { value: text.to_owned() };
        let (name, protocol) = text.split_once(':').ok_or_else(malformed)?;
        let protocol = protocol.trim().to_uppercase();
        if !matches!(protocol.as_str(), "PLAINTEXT" | "SSL" | "SASL_PLAINTEXT" | "SASL_SSL") {
            return Err(malformed());
        }
        map.insert(name.trim().to_uppercase(), protocol);
    }
    Ok(map)
}

fn protocol_of(name: &str, protocols: &BTreeMap<String, String>) -> Result<SecurityProtocol, ConfigProblem> {
    match protocols.get(name).map(String::as_str) {
        Some("PLAINTEXT") => Ok(SecurityProtocol::Plaintext),
        Some(protocol) => Err(ConfigProblem::ProtocolUnavailable { name: name.to_owned(), protocol: protocol.to_owned() }),
        None => Err(ConfigProblem::UnmappedListener { name: name.to_owned() }),
    }
}

/// What a listener tells its clients. An address that means every address is never told: for a developer it becomes `localhost`; a server told
/// nothing names its machine if its host is empty, and is refused if it is a literal such as 0.0.0.0, both as Kafka does.
fn advertise(name: &str, bind: &HostPort, explicit: Option<HostPort>, mode: Mode, host_name: &str) -> Result<HostPort, ConfigProblem> {
    let is_explicit = explicit.is_some();
    let address = explicit.unwrap_or_else(|| bind.clone());
    if !address.is_every_address() {
        return Ok(address);
    }
    let stand_in = match mode {
        Mode::Developer if !is_explicit => "localhost",
        Mode::Developer | Mode::Server if address.host.is_empty() => host_name,
        Mode::Developer | Mode::Server => return Err(ConfigProblem::UnroutableAdvertised { name: name.to_owned(), host: address.host }),
    };
    Ok(HostPort { host: stand_in.to_owned(), port: address.port })
}

fn inter_broker(values: &Values, listeners: &[Listener]) -> Result<String, ConfigProblem> {
    let named = values.text("inter.broker.listener.name").filter(|name| !name.is_empty()).map(str::to_uppercase);
    if named.is_some() && values.is_given("security.inter.broker.protocol") {
        return Err(ConfigProblem::TwoInterBrokerKeys);
    }
    let Some(first) = listeners.first() else { return Err(ConfigProblem::NoListener) };
    match named {
        Some(name) if listeners.iter().any(|listener| listener.name == name) => Ok(name),
        Some(name) => Err(ConfigProblem::UnknownInterBroker { name }),
        None => Ok(listeners.iter().find(|listener| listener.name == "PLAINTEXT").unwrap_or(first).name.clone()),
    }
}
