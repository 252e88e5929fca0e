//! What a person reads when the broker answers: where it is and how to use it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use broker::config::Mode;

use crate::node::Address;
use crate::several::Shown;

/// The ready text. Its first line begins with `klamm is ready on HOST:PORT`, for scripts that started it with port 0.
/// `member` says which broker of which cluster it is, where that is not of its own making.
pub(crate) fn text(
    addresses: &[Address],
    http: Option<SocketAddr>,
    mode: Mode,
    data: &Path,
    is_ephemeral: bool,
    member: Option<&str>,
) -> String {
    let mut told = addresses.iter().map(|address| address.advertised.to_string());
    let first = told.next().unwrap_or_default();
    let mut text = format!("klamm is ready on {first}");
    for (address, other) in addresses.iter().skip(1).zip(told) {
        let _infallible = write!(text, ", {other} ({})", address.listener);
    }
    let gone = if is_ephemeral { ", gone at exit" } else { "" };
    let member = member.map(|member| format!("{member}, ")).unwrap_or_default();
    let _infallible = writeln!(text, " ({member}data in {}{gone})", data.display());
    if let Some(http) = http {
        let _infallible = writeln!(text, "status on http://{http}/ (also /metrics, /healthz, /readyz)");
    }
    if mode == Mode::Developer {
        let _infallible = write!(text, "{}", usage(&first));
    }
    text
}

/// The ready text of several brokers. Its first line begins with `klamm is ready on HOST:PORT`, too.
pub(crate) fn text_of_several(brokers: &[Shown], is_ephemeral: bool) -> String {
    let all: Vec<String> =
        brokers.iter().filter_map(|shown| shown.addresses.first()).map(|address| address.advertised.to_string()).collect();
    let mut text = format!("klamm is ready on {} ({} brokers, one cluster)\n", all.join(","), brokers.len());
    for Shown { id, http, data, .. } in brokers {
        let gone = if is_ephemeral { ", gone at exit" } else { "" };
        let status = http.map(|http| format!(", status on http://{http}/")).unwrap_or_default();
        let _infallible = writeln!(text, "  broker {id}: data in {}{gone}{status}", data.display());
    }
    if let Some(http) = brokers.iter().find_map(|shown| shown.http).filter(|http| http.ip().is_loopback()) {
        let _infallible = writeln!(text, "\n  Kill one, start it again, or have it fall silent:");
        for words in ["kill 2", "restart 2", "pause 3", "resume 3"] {
            let _infallible = writeln!(text, "    klamm brokers --at {http} {words}");
        }
    }
    let _infallible = write!(text, "{}", usage(&all.join(",")));
    text
}

fn usage(address: &str) -> String {
    format!(
        "
  Send and read, with klamm's own tools or with kcat:
    echo hello | klamm produce greetings -b {address}
    klamm consume greetings -b {address} -e
    echo hello | kcat -b {address} -P -t greetings
    kcat -b {address} -C -t greetings -o beginning -e
    kcat -b {address} -G readers greetings
    kcat -b {address} -L

  With the Java tools:
    kafka-topics.sh --bootstrap-server {address} --create --topic greetings --partitions 6
    kafka-console-producer.sh --bootstrap-server {address} --topic greetings
    kafka-console-consumer.sh --bootstrap-server {address} --topic greetings --from-beginning

  Ctrl-C stops it.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::config::HostPort;

    fn address(listener: &str, host: &str, port: u16) -> Address {
        let bound = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Address { listener: listener.to_owned(), bound, advertised: HostPort { host: host.to_owned(), port } }
    }

    #[test]
    fn a_developer_reads_how_to_use_it_on_one_screen() {
        let text = text(&[address("PLAINTEXT", "127.0.0.1", 4711)], None, Mode::Developer, Path::new("klamm-data"), false, None);
        assert!(text.starts_with("klamm is ready on 127.0.0.1:4711 (data in klamm-data)\n"));
        assert!(text.contains("kcat -b 127.0.0.1:4711 -P"));
        assert!(text.lines().count() <= 24 && text.lines().all(|line| line.len() <= 100));
    }

    #[test]
    fn a_broker_that_joined_says_which_it_is_and_of_which_cluster() {
        let member = Some("broker 2 of cluster abc");
        let text = text(&[address("PLAINTEXT", "127.0.0.1", 4711)], None, Mode::Developer, Path::new("second"), false, member);
        assert!(text.starts_with("klamm is ready on 127.0.0.1:4711 (broker 2 of cluster abc, data in second)\n"));
    }

    #[test]
    fn a_server_names_its_listeners_on_one_line() {
        let addresses = [address("PLAINTEXT", "a", 1), address("BROKER", "::1", 2)];
        assert_eq!(
            text(&addresses, Some(std::net::SocketAddr::from(([127, 0, 0, 1], 3))), Mode::Server, Path::new("/d"), true, None),
            "klamm is ready on a:1, [::1]:2 (BROKER) (data in /d, gone at exit)\n\
             status on http://127.0.0.1:3/ (also /metrics, /healthz, /readyz)\n"
        );
    }
}
