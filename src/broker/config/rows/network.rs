//! Where the broker listens and what address it tells.

use model::config::{Kind, Row};

use super::{INT, INT_LOW, LONG, LONG_LOW, dynamic, fixed};

pub(super) const ROWS: &[Row] = &[
    fixed(
        "listeners",
        Kind::List(&[]),
        Some("PLAINTEXT://:9092"),
        "Where to listen, as NAME://host:port separated by commas; an empty host is every address, port 0 is any free port.",
    ),
    fixed(
        "advertised.listeners",
        Kind::List(&[]),
        None,
        "The addresses that clients are told, by listener name; a listener that is not named here tells its own.",
    ),
    fixed(
        "listener.security.protocol.map",
        Kind::Text,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        "The security protocol of each listener name, as NAME:PROTOCOL separated by commas.",
    ),
    fixed("inter.broker.listener.name", Kind::Text, None, "The listener that brokers use among themselves."),
    fixed(
        "security.inter.broker.protocol",
        Kind::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        Some("PLAINTEXT"),
        "The listener that brokers use among themselves, chosen by its protocol if inter.broker.listener.name is not given.",
    ),
    fixed(
        "klamm.http.listen",
        Kind::Text,
        None,
        "Where operators find metrics, health and a status page, as host:port; nowhere if it is not given. Whoever reaches it may read it.",
    ),
    fixed(
        "controller.listener.names",
        Kind::List(&[]),
        None,
        "The names of the listeners of the metadata quorum; the first is opened if there are several voters.",
    ),
    fixed("socket.request.max.bytes", Kind::Int(1, INT), Some("104857600"), "The largest request; a larger one closes its connection."),
    fixed(
        "socket.send.buffer.bytes",
        Kind::Int(INT_LOW, INT),
        Some("102400"),
        "The send buffer of a socket; klamm leaves it to the system unless the key is given, -1 does so too.",
    ),
    fixed(
        "socket.receive.buffer.bytes",
        Kind::Int(INT_LOW, INT),
        Some("102400"),
        "The receive buffer of a socket; klamm leaves it to the system unless the key is given, -1 does so too.",
    ),
    dynamic(
        "max.connections",
        Kind::Int(0, INT),
        Some("2147483647"),
        "The connections that the broker holds at once; while it holds as many, further ones wait. listener.name.NAME.max.connections is for one listener.",
    ),
    dynamic(
        "max.connections.per.ip",
        Kind::Int(0, INT),
        Some("2147483647"),
        "The connections that the broker holds from one address at once; further ones are closed.",
    ),
    dynamic(
        "max.connection.creation.rate",
        Kind::Int(0, INT),
        Some("2147483647"),
        "The new connections that the broker takes per second, over the span of quota.window.num samples; beyond it, further ones wait. Also for one listener, behind listener.name.NAME.",
    ),
    dynamic(
        "max.connections.per.ip.overrides",
        Kind::Text,
        Some(""),
        "Other limits for single addresses, as HOST:NUMBER separated by commas; a name is looked up when the key is set and when the broker starts.",
    ),
    fixed(
        "connections.max.idle.ms",
        Kind::Long(LONG_LOW, LONG),
        Some("600000"),
        "How long a connection may be silent before it is closed; a negative number is for ever.",
    ),
];
