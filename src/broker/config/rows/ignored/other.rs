//! Kafka's keys about all else that change nothing in klamm.

use model::config::{Kind, Row};

use super::super::{INT, INT_LOW, LONG, LONG_LOW, dynamic, fixed};
use super::unused;

pub(super) const ROWS: &[Row] = &[
    fixed("alter.config.policy.class.name", Kind::Class, None, unused!("A Java class that may refuse changes of configurations.")),
    fixed(
        "authorizer.class.name",
        Kind::Text,
        Some(""),
        unused!("A Java class that decides who may do what; without one everybody may do everything."),
    ),
    dynamic("background.threads", Kind::Int(1, INT), Some("10"), unused!("The threads for work that no request waits for.")),
    fixed("client.quota.callback.class", Kind::Class, None, unused!("A Java class that says which quota a request falls under.")),
    dynamic(
        "config.providers",
        Kind::List(&[]),
        Some(""),
        unused!("The names of Java plug-ins that resolve references within values of configurations."),
    ),
    fixed("create.topic.policy.class.name", Kind::Class, None, unused!("A Java class that may refuse the creation of topics.")),
    fixed(
        "delete.records.purgatory.purge.interval.requests",
        Kind::Int(INT_LOW, INT),
        Some("1"),
        unused!("After how many finished requests the waiting deletions of records are tidied up."),
    ),
    fixed("early.start.listeners", Kind::List(&[]), None, unused!("The listeners that open before the broker knows the metadata.")),
    fixed(
        "fetch.purgatory.purge.interval.requests",
        Kind::Int(INT_LOW, INT),
        Some("1000"),
        unused!("After how many finished requests the waiting fetches are tidied up."),
    ),
    fixed(
        "kafka.metrics.polling.interval.secs",
        Kind::Int(1, INT),
        Some("10"),
        unused!("How often the reporters of kafka.metrics.reporters look at the metrics, in seconds."),
    ),
    fixed("kafka.metrics.reporters", Kind::List(&[]), Some(""), unused!("Java classes that report the metrics of the older library.")),
    dynamic(
        "metric.reporters",
        Kind::List(&[]),
        Some("org.apache.kafka.common.metrics.JmxReporter"),
        unused!("Java classes that report metrics."),
    ),
    fixed("metrics.num.samples", Kind::Int(1, INT), Some("2"), unused!("The samples that are kept to compute a metric.")),
    fixed("metrics.recording.level", Kind::Text, Some("INFO"), unused!("From which level on metrics are recorded: INFO, DEBUG or TRACE.")),
    fixed("metrics.sample.window.ms", Kind::Long(1, LONG), Some("30000"), unused!("The length of each sample of a metric.")),
    dynamic("num.io.threads", Kind::Int(1, INT), Some("8"), unused!("The threads that answer requests.")),
    dynamic(
        "num.network.threads",
        Kind::Int(1, INT),
        Some("3"),
        unused!("The threads of each listener that read requests and write answers."),
    ),
    fixed(
        "producer.purgatory.purge.interval.requests",
        Kind::Int(INT_LOW, INT),
        Some("1000"),
        unused!("After how many finished requests the waiting produces are tidied up."),
    ),
    fixed(
        "queued.max.requests",
        Kind::Int(1, INT),
        Some("500"),
        unused!("How many requests may wait before connections are read no further."),
    ),
    fixed(
        "socket.connection.setup.timeout.max.ms",
        Kind::Long(LONG_LOW, LONG),
        Some("30000"),
        unused!("The longest time that a broker waits for a connection to another, after failures."),
    ),
    fixed(
        "socket.connection.setup.timeout.ms",
        Kind::Long(LONG_LOW, LONG),
        Some("10000"),
        unused!("How long a broker waits at first for a connection to another."),
    ),
    fixed("telemetry.max.bytes", Kind::Int(1, INT), Some("1048576"), unused!("The largest report of metrics that is taken from a client.")),
    fixed(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        Kind::Int(1, INT),
        Some("10000"),
        unused!("How often transactions that lasted too long are aborted."),
    ),
    fixed(
        "transaction.state.log.load.buffer.size",
        Kind::Int(1, INT),
        Some("5242880"),
        unused!("How many bytes of transactions' state are read at once when a coordinator takes over."),
    ),
    fixed(
        "transaction.two.phase.commit.enable",
        Kind::Boolean,
        Some("false"),
        unused!("Whether transactions may be committed in two phases by somebody else."),
    ),
];
