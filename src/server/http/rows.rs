//! The metrics of sockets and of the process; those of the broker are in `broker::metrics::rows`.

const OWN: &str = "klamm";
const CLIENTS: &str = "Prometheus' client libraries";

broker::metric_rows! {
    CONNECTIONS = "kafka_server_socket_server_metrics_connection_count", Gauge, &["listener"],
        "kafka.server:type=socket-server-metrics connection-count", "Open connections, by listener.";
    MEMORY_AVAILABLE = "kafka_network_socketserver_memorypoolavailable", Gauge, &[],
        "kafka.network:type=SocketServer,name=MemoryPoolAvailable", "Bytes that further requests may hold.";
    MEMORY_USED = "kafka_network_socketserver_memorypoolused", Gauge, &[],
        "kafka.network:type=SocketServer,name=MemoryPoolUsed", "Bytes that requests in flight hold.";
    MEMORY_WAITS = "klamm_memory_pool_waits_total", Counter, &[], OWN, "How often a request had to wait until others gave memory back.";
    ACCEPTED = "klamm_connections_accepted_total", Counter, &[], OWN, "Connections that were taken.";
    REFUSED = "klamm_connections_refused_total", Counter, &[], OWN, "Connections that a limit turned away.";
    CLOSED = "klamm_connections_closed_total", Counter, &["reason"], OWN,
        "Connections that ended, by reason; partial_frame and write_stalled are peers that stalled, excess those that a lowered max.connections ended.";
    BUILD = "klamm_build_info", Gauge, &["version"], OWN, "Always 1; the label tells the version.";
    CPU = "process_cpu_seconds_total", Counter, &[], CLIENTS, "CPU time of the process, user and system, in seconds.";
    RESIDENT = "process_resident_memory_bytes", Gauge, &[], CLIENTS, "Resident memory.";
    VIRTUAL = "process_virtual_memory_bytes", Gauge, &[], CLIENTS, "Virtual memory.";
    OPEN_FDS = "process_open_fds", Gauge, &[], CLIENTS, "Open file descriptors.";
    MAX_FDS = "process_max_fds", Gauge, &[], CLIENTS, "The most file descriptors that may be open.";
    THREADS = "process_threads", Gauge, &[], CLIENTS, "Threads of the process.";
    STARTED = "process_start_time_seconds", Gauge, &[], CLIENTS, "When the broker was started, in seconds since 1970.";
}
