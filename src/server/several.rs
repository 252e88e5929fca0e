//! `klamm --brokers N`: several brokers in one process, which replicate among themselves as if they stood on machines of their own.

use std::path::Path;

use broker::config::{BrokerConfig, HostPort, Mode, Origin, RawConfig, parse_address};
use wire::ListenOptions;

use crate::Problem;
use crate::listener::{BoundListener, bind_one};

/// The name of the brokers' controller listeners.
const CONTROLLER: &str = "CONTROLLER";
/// A process that dies takes all of its brokers along, so a short session only has to outlast a pause of one of them.
const HEARTBEAT_MS: &str = "100";
const SESSION_MS: &str = "1500";

/// One of the brokers: its configuration, and its controller listener, which is bound before the others must know where it is.
pub(crate) struct Planned {
    pub(crate) config: BrokerConfig,
    pub(crate) controller: BoundListener,
}

/// Plans so many brokers out of what one is started with. Their client listeners take the ports from the given one on, their data lies side by
/// side in the given directory.
///
/// # Errors
/// One sentence.
pub(crate) async fn plan(raw: &RawConfig, count: u16) -> Result<Vec<Planned>, Problem> {
    let model = BrokerConfig::from_map(raw, Mode::Developer)?;
    let mut controllers = Vec::new();
    for _ in 0..count {
        let any = HostPort { host: "127.0.0.1".to_owned(), port: 0 };
        let socket = bind_one(&any, ListenOptions { backlog: model.listen_backlog }).await?;
        let address = socket.local_addr().map_err(|source| Problem::Listen { address: any.to_string(), source })?;
        let advertised = HostPort { host: any.host, port: address.port() };
        controllers.push(BoundListener { name: CONTROLLER.to_owned(), socket, address, advertised });
    }
    let voters: Vec<String> = (1..).zip(&controllers).map(|(id, bound): (u16, _)| format!("{id}@{}", bound.address)).collect();
    let voters = voters.join(",");
    let numbered = (1..=count).zip(controllers);
    numbered.map(|(id, controller)| Ok(Planned { config: config_of(raw, &model, (id, count), &voters)?, controller })).collect()
}

fn config_of(raw: &RawConfig, model: &BrokerConfig, (id, count): (u16, u16), voters: &str) -> Result<BrokerConfig, Problem> {
    let mut raw = raw.clone();
    let origin = || Origin::Flag { flag: "--brokers" };
    let shifted = |port: u16| if port == 0 { 0 } else { port.saturating_add(id - 1) };
    let mut listeners = Vec::new();
    for listener in &model.listeners {
        let bind = HostPort { host: listener.bind.host.clone(), port: shifted(listener.bind.port) };
        listeners.push(format!("{}://{bind}", listener.name));
    }
    listeners.push(format!("{CONTROLLER}://127.0.0.1:0"));
    raw.set("listeners", listeners.join(","), origin());
    raw.set("controller.listener.names", CONTROLLER, origin());
    raw.set("controller.quorum.voters", voters, origin());
    raw.set("node.id", id.to_string(), origin());
    raw.set("log.dirs", data_of(&model.data_directory, id).to_string_lossy(), origin());
    if let Some(http) = model.http_listen.as_ref().and_then(|http| parse_address(&http.to_string())) {
        raw.set("klamm.http.listen", HostPort { port: shifted(http.port), ..http }.to_string(), origin());
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
