//! Listening sockets from configured addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use broker::config::{HostPort, Listener};
use tokio::net::TcpListener;
use wire::{ListenOptions, ReservedPort};

use crate::Problem;

/// A listener that is bound and does not accept yet.
#[derive(Debug)]
pub struct BoundListener {
    /// The listener's name.
    pub name: String,
    /// The socket.
    pub socket: TcpListener,
    /// Where it is really bound.
    pub address: SocketAddr,
    /// What clients are told.
    pub advertised: HostPort,
}

impl BoundListener {
    /// A second handle of the socket. Connections come to whichever accepts.
    pub(crate) fn clone_socket(&self) -> Result<TcpListener, Problem> {
        let cloned = || TcpListener::from_std(std::net::TcpListener::from(self.socket.as_fd().try_clone_to_owned()?));
        cloned().map_err(|source| Problem::Listen { address: self.address.to_string(), source })
    }
}

/// Binds all listeners, or none.
///
/// # Errors
/// One sentence that names the address.
pub async fn bind_all(listeners: &[Listener], backlog: i32) -> Result<Vec<BoundListener>, Problem> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let socket = bind_one(&listener.bind, ListenOptions { backlog }).await?;
        let address = socket.local_addr().map_err(|source| Problem::Listen { address: listener.bind.to_string(), source })?;
        let advertised = listener.advertised_when_bound(address.port());
        bound.push(BoundListener { name: listener.name.clone(), socket, address, advertised });
    }
    Ok(bound)
}

/// Binds one address.
///
/// # Errors
/// One sentence that names the address.
pub(crate) async fn bind_one(address: &HostPort, options: ListenOptions) -> Result<TcpListener, Problem> {
    with_one(address, |candidate| wire::bind(candidate, options)).await
}

/// Reserves an address and its port, or any free one for port 0. Also gives the address with that port.
///
/// # Errors
/// One sentence that names the address.
pub(crate) async fn reserve_one(address: &HostPort) -> Result<(ReservedPort, HostPort), Problem> {
    let reserved = with_one(address, wire::reserve).await?;
    let bound = reserved.address().map_err(|source| Problem::Listen { address: address.to_string(), source })?;
    Ok((reserved, HostPort { host: address.host.clone(), port: bound.port() }))
}

async fn with_one<T>(address: &HostPort, take: impl Fn(SocketAddr) -> io::Result<T>) -> Result<T, Problem> {
    let refuse = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => Problem::PortInUse { address: address.to_string() },
        _ => Problem::Listen { address: address.to_string(), source },
    };
    let mut last = None;
    for candidate in resolve(address).await? {
        match take(candidate) {
            Ok(socket) => return Ok(socket),
            // A taken port is taken; another address of the same name would only hide it.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(refuse(error)),
            Err(error) => last = Some(error),
        }
    }
    Err(refuse(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))))
}

/// The addresses to try in turn: an empty host is every address, with IPv6 where the machine has it.
async fn resolve(address: &HostPort) -> Result<Vec<SocketAddr>, Problem> {
    if address.host.is_empty() {
        let every = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        return Ok(every.map(|ip| SocketAddr::new(ip, address.port)).to_vec());
    }
    match tokio::net::lookup_host((address.host.as_str(), address.port)).await {
        Ok(found) => Ok(found.collect()),
        Err(source) => Err(Problem::UnknownHost { address: address.to_string(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(host: &str, port: u16) -> Listener {
        let bind = HostPort { host: host.to_owned(), port };
        let security_protocol = broker::config::SecurityProtocol::Plaintext;
        Listener { name: "PLAINTEXT".to_owned(), bind: bind.clone(), security_protocol, advertised: bind }
    }

    #[tokio::test]
    async fn port_zero_becomes_a_free_port_that_clients_are_told() {
        let bound = bind_all(&[listener("127.0.0.1", 0)], 50).await.expect("binds");
        assert_ne!(bound[0].address.port(), 0);
        assert_eq!(bound[0].advertised.to_string(), bound[0].address.to_string());
    }

    #[tokio::test]
    async fn a_taken_port_is_one_sentence() {
        let taken = bind_all(&[listener("localhost", 0)], 50).await.expect("binds");
        let port = taken[0].address.port();
        let problem = bind_all(&[listener("localhost", port)], 50).await.expect_err("taken").to_string();
        assert_eq!(problem, format!("cannot listen on localhost:{port}: the port is in use by another process"));
    }

    #[tokio::test]
    async fn a_host_that_nobody_knows_is_one_sentence() {
        let problem = bind_all(&[listener("no-such-host.invalid", 1)], 50).await.expect_err("unknown").to_string();
        assert!(problem.starts_with("cannot listen on no-such-host.invalid:1: the host is not known here"), "{problem}");
    }
}
