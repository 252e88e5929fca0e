//! Kafka's keys about remote storage that change nothing in klamm.

use model::config::{Kind, Row};

use super::super::{INT, LONG, dynamic, fixed};
use super::unused;

pub(super) const ROWS: &[Row] = &[
    dynamic(
        "follower.fetch.last.tiered.offset.enable",
        Kind::Boolean,
        Some("false"),
        unused!("Whether a new follower begins where remote storage ends instead of at the log's start."),
    ),
    dynamic("remote.fetch.max.wait.ms", Kind::Int(1, INT), Some("500"), unused!("How long a fetch waits for remote storage.")),
    dynamic(
        "remote.list.offsets.request.timeout.ms",
        Kind::Long(1, LONG),
        Some("30000"),
        unused!("How long a look-up of offsets waits for remote storage."),
    ),
    dynamic(
        "remote.log.index.file.cache.total.size.bytes",
        Kind::Long(1, LONG),
        Some("1073741824"),
        unused!("The disk for copies of remote segments' indexes."),
    ),
    dynamic(
        "remote.log.manager.copier.thread.pool.size",
        Kind::Int(1, INT),
        Some("10"),
        unused!("The threads that copy segments to remote storage."),
    ),
    dynamic(
        "remote.log.manager.copy.max.bytes.per.second",
        Kind::Long(1, LONG),
        Some("9223372036854775807"),
        unused!("How many bytes per second are copied to remote storage at most."),
    ),
    fixed(
        "remote.log.manager.copy.quota.window.num",
        Kind::Int(1, INT),
        Some("11"),
        unused!("The samples that are kept to measure copies to remote storage."),
    ),
    fixed(
        "remote.log.manager.copy.quota.window.size.seconds",
        Kind::Int(1, INT),
        Some("1"),
        unused!("The length of each sample of copies to remote storage, in seconds."),
    ),
    dynamic(
        "remote.log.manager.expiration.thread.pool.size",
        Kind::Int(1, INT),
        Some("10"),
        unused!("The threads that delete remote segments when they have become old."),
    ),
    dynamic(
        "remote.log.manager.fetch.max.bytes.per.second",
        Kind::Long(1, LONG),
        Some("9223372036854775807"),
        unused!("How many bytes per second are read from remote storage at most."),
    ),
    fixed(
        "remote.log.manager.fetch.quota.window.num",
        Kind::Int(1, INT),
        Some("11"),
        unused!("The samples that are kept to measure reads from remote storage."),
    ),
    fixed(
        "remote.log.manager.fetch.quota.window.size.seconds",
        Kind::Int(1, INT),
        Some("1"),
        unused!("The length of each sample of reads from remote storage, in seconds."),
    ),
    dynamic(
        "remote.log.manager.follower.thread.pool.size",
        Kind::Int(1, INT),
        Some("2"),
        unused!("The threads that followers use for remote storage."),
    ),
    fixed(
        "remote.log.manager.task.interval.ms",
        Kind::Long(1, LONG),
        Some("30000"),
        unused!("How often segments to copy and to delete are looked for in remote storage."),
    ),
    fixed(
        "remote.log.manager.thread.pool.size",
        Kind::Int(1, INT),
        Some("2"),
        unused!("The older number of all threads for remote storage."),
    ),
    fixed(
        "remote.log.metadata.custom.metadata.max.bytes",
        Kind::Int(0, INT),
        Some("128"),
        unused!("The largest note that a remote storage's plug-in may keep with a segment."),
    ),
    fixed(
        "remote.log.metadata.manager.class.name",
        Kind::NonEmptyText,
        Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"),
        unused!("The Java class that knows which remote segments there are."),
    ),
    fixed(
        "remote.log.metadata.manager.class.path",
        Kind::Text,
        None,
        unused!("Where the Java class that knows the remote segments is loaded from."),
    ),
    fixed(
        "remote.log.metadata.manager.impl.prefix",
        Kind::NonEmptyText,
        Some("rlmm.config."),
        unused!("How the keys begin that are handed to the class that knows the remote segments."),
    ),
    fixed(
        "remote.log.metadata.manager.listener.name",
        Kind::NonEmptyText,
        None,
        unused!("The listener by which the class that knows the remote segments reaches its topic."),
    ),
    fixed(
        "remote.log.reader.max.pending.tasks",
        Kind::Int(1, INT),
        Some("100"),
        unused!("How many reads from remote storage may wait before further ones are refused."),
    ),
    dynamic("remote.log.reader.threads", Kind::Int(1, INT), Some("10"), unused!("The threads that read from remote storage.")),
    fixed(
        "remote.log.storage.manager.class.name",
        Kind::NonEmptyText,
        None,
        unused!("The Java class that reads and writes remote storage."),
    ),
    fixed("remote.log.storage.manager.class.path", Kind::Text, None, unused!("Where the Java class of remote storage is loaded from.")),
    fixed(
        "remote.log.storage.manager.impl.prefix",
        Kind::NonEmptyText,
        Some("rsm.config."),
        unused!("How the keys begin that are handed to the class of remote storage."),
    ),
    fixed("remote.log.storage.system.enable", Kind::Boolean, Some("false"), unused!("Whether topics can have remote storage.")),
];
