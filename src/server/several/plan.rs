//! What each of several brokers is started with.

use std::net::SocketAddr;
use std::path::Path;

use broker::config::{BrokerConfig, HostPort, Mode, Origin, RawConfig, parse_address};
use tokio::net::TcpListener;
use wire::ReservedPort;

use crate::Problem;
use crate::http::HttpServer;
use crate::listener::reserve_one;

/// The name of the brokers' controller listeners.
const CONTROLLER: &str = "CONTROLLER";
/// A process that dies takes all of its brokers along, so a short session only has to outlast a pause of one of them.
const HEARTBEAT_MS: &str = "100";
const SESSION_MS: &str = "1500";

/// One of the brokers.
pub(crate) struct Planned {
    /// With the ports that it has in every life.
    pub(crate) config: BrokerConfig,
    /// What operators connect to, bound: it belongs to the process.
    pub(crate) http: Option<(TcpListener, SocketAddr)>,
    _ports: Vec<ReservedPort>,
}

/// The listeners of one broker, with their ports.
struct Listeners {
    /// By their names.
    clients: Vec<(String, HostPort)>,
    controller: HostPort,
    ports: Vec<ReservedPort>,
}

impl Listeners {
    async fn reserve(model: &BrokerConfig, id: u16) -> Result<Self, Problem> {
        let (mut clients, mut ports) = (Vec::new(), Vec::new());
        for listener in &model.listeners {
            let wanted = HostPort { host: listener.bind.host.clone(), port: shifted(listener.bind.port, id) };
            let (port, address) = reserve_one(&wanted).await?;
            clients.push((listener.name.clone(), address));
            ports.push(port);
        }
        let (port, controller) = reserve_one(&HostPort { host: "127.0.0.1".to_owned(), port: 0 }).await?;
        ports.push(port);
        Ok(Self { clients, controller, ports })
    }
}

/// Plans so many brokers out of what one is started with. Their client listeners take the ports from the given one on, their data lies side by
/// side in the given directory.
///
/// # Errors
/// One sentence.
pub(crate) async fn plan(raw: &RawConfig, count: u16) -> Result<Vec<Planned>, Problem> {
    let model = BrokerConfig::from_map(raw, Mode::Developer)?;
    let mut reserved = Vec::new();
    for id in 1..=count {
        reserved.push((id, Listeners::reserve(&model, id).await?));
    }
    let voters: Vec<String> = reserved.iter().map(|(id, listeners)| format!("{id}@{}", listeners.controller)).collect();
    let voters = voters.join(",");
    let mut planned = Vec::new();
    for (id, listeners) in reserved {
        let config = config_of(raw, &model, (id, count), (&voters, &listeners))?;
        let http = match &config.http_listen {
            Some(listen) => Some(HttpServer::bind(listen).await?),
            None => None,
        };
        planned.push(Planned { config, http, _ports: listeners.ports });
    }
    Ok(planned)
}

fn shifted(port: u16, id: u16) -> u16 {
    if port == 0 { 0 } else { port.saturating_add(id - 1) }
}

fn config_of(
    raw: &RawConfig,
    model: &BrokerConfig,
    (id, count): (u16, u16),
    (voters, reserved): (&str, &Listeners),
) -> Result<BrokerConfig, Problem> {
    let mut raw = raw.clone();
    let origin = || Origin::Flag { flag: "--brokers" };
    let mut listeners: Vec<String> = reserved.clients.iter().map(|(name, address)| format!("{name}://{address}")).collect();
    listeners.push(format!("{CONTROLLER}://{}", reserved.controller));
    raw.set("listeners", listeners.join(","), origin());
    raw.set("controller.listener.names", CONTROLLER, origin());
    raw.set("controller.quorum.voters", voters, origin());
    raw.set("node.id", id.to_string(), origin());
    raw.set("log.dirs", data_of(&model.data_directory, id).to_string_lossy(), origin());
    if let Some(http) = model.http_listen.as_ref().and_then(|http| parse_address(&http.to_string())) {
        raw.set("klamm.http.listen", HostPort { port: shifted(http.port, id), ..http }.to_string(), origin());
    }
    let replicas = count.min(3);
    let defaults = [
        ("default.replication.factor", replicas.to_string()),
        ("offsets.topic.replication.factor", replicas.to_string()),
        ("min.insync.replicas", (if replicas == 3 { 2 } else { 1 }).to_string()),
        ("broker.heartbeat.interval.ms", HEARTBEAT_MS.to_owned()),
        ("broker.session.timeout.ms", SESSION_MS.to_owned()),
    ];
    for (key, value) in defaults {
        if !raw.entries.contains_key(key) {
            raw.set(key, value, origin());
        }
    }
    Ok(BrokerConfig::from_map(&raw, Mode::Developer)?)
}

fn data_of(directory: &Path, id: u16) -> std::path::PathBuf {
    directory.join(format!("broker-{id}"))
}
