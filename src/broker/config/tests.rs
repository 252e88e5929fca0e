use super::*;

fn raw(pairs: &[(&str, &str)]) -> RawConfig {
    let mut raw = RawConfig { host_name: "castle".to_owned(), ..RawConfig::default() };
    for (key, value) in pairs {
        raw.set(*key, *value, Origin::File { path: "server.properties".to_owned() });
    }
    raw
}

fn server(pairs: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig::from_map(&raw(pairs), Mode::Server).expect("a good configuration")
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    BrokerConfig::from_map(&raw(pairs), Mode::Server).expect_err("a bad configuration").to_string()
}

fn addresses(config: &BrokerConfig) -> Vec<String> {
    config.listeners.iter().map(|one| format!("{} {} {}", one.name, one.bind, one.advertised)).collect()
}

#[test]
fn a_developer_gets_a_broker_on_the_loopback_that_needs_no_second_one() {
    let config = BrokerConfig::from_map(&RawConfig::default(), Mode::Developer).expect("defaults");
    assert_eq!(addresses(&config), ["PLAINTEXT 127.0.0.1:9092 127.0.0.1:9092"]);
    assert_eq!(config.data_directory, PathBuf::from("klamm-data"));
    assert_eq!((config.offsets_topic_replication_factor, config.groups.initial_rebalance_delay_ms), (1, 0));
    assert!(config.auto_create_topics_enable);
    assert_eq!(config.broker_id.get(), 1);
    assert_eq!(config.set.get("group.initial.rebalance.delay.ms").map(String::as_str), Some("0"));
}

#[test]
fn a_server_gets_kafkas_defaults() {
    let config = server(&[]);
    assert_eq!(addresses(&config), ["PLAINTEXT :9092 castle:9092"]);
    assert_eq!((config.offsets_topic_num_partitions, config.offsets_topic_replication_factor), (50, 3));
    assert_eq!(config.groups.initial_rebalance_delay_ms, 3000);
    assert_eq!(config.connection_limits.frame_bytes_max, 104_857_600);
    assert_eq!(config.connection_limits.idle_max, Some(Duration::from_secs(600)));
    assert_eq!(config.connection_limits.send_buffer_bytes, None);
    assert_eq!(config.request_memory_bytes_max, None);
    assert_eq!(config.groups, GroupConfig::default());
}

#[test]
fn each_listener_tells_its_own_address_and_controllers_are_not_opened() {
    let config = server(&[
        ("process.roles", "broker,controller"),
        ("listeners", "PLAINTEXT://:19092,BROKER://0.0.0.0:9093,CONTROLLER://0.0.0.0:9094,SIX://[::1]:9095"),
        ("advertised.listeners", "PLAINTEXT://outside:32768,broker://inside:9093"),
        ("listener.security.protocol.map", "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT"),
        ("inter.broker.listener.name", "BROKER"),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", "1@localhost:9094"),
    ]);
    assert_eq!(addresses(&config), ["PLAINTEXT :19092 outside:32768", "BROKER 0.0.0.0:9093 inside:9093", "SIX [::1]:9095 [::1]:9095"]);
    assert_eq!(config.inter_broker_listener, "BROKER");
    assert!(config.unknown_keys.is_empty() && config.unused_keys.is_empty());
}

#[test]
fn a_broker_that_is_no_controller_observes_those_that_are() {
    let broker = ("process.roles", "broker");
    let seeds = |given: &[(&str, &str)]| match server(given).quorum {
        Some(QuorumConfig::Observer { seeds, .. }) => seeds.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    assert_eq!(seeds(&[broker, ("node.id", "4"), ("controller.quorum.voters", "1@a:9093,2@b:9093")]), ["a:9093", "b:9093"]);
    assert_eq!(seeds(&[broker, ("node.id", "4"), ("controller.quorum.bootstrap.servers", "a:9093,[::1]:1")]), ["a:9093", "[::1]:1"]);
    assert!(seeds(&[("process.roles", "broker,controller"), ("controller.quorum.bootstrap.servers", "a:9093")]).is_empty());
    let refused = refusal(&[broker, ("controller.quorum.bootstrap.servers", "a")]);
    assert!(refused.ends_with("expected HOST:PORT, as host:9093."), "{refused}");
}

#[test]
fn a_controller_may_ask_for_its_vote_itself() {
    let (roles, auto) = (("process.roles", "broker,controller"), ("controller.quorum.auto.join.enable", "true"));
    let seeds = ("controller.quorum.bootstrap.servers", "a:9093");
    let observes = |given: &[(&str, &str)]| match server(given).quorum {
        Some(QuorumConfig::Observer { wants_vote, .. }) => Some(wants_vote),
        _ => None,
    };
    assert_eq!(observes(&[roles, auto, seeds]), Some(true));
    assert_eq!(observes(&[auto, seeds]), Some(true));
    assert_eq!(observes(&[roles, auto]), None, "nobody to ask: it is a cluster by itself");
    assert_eq!(observes(&[("process.roles", "broker"), seeds]), Some(false));
    let refused = refusal(&[("process.roles", "broker"), auto, seeds]);
    assert!(refused.contains("controller.quorum.auto.join.enable is true, but process.roles is broker"), "{refused}");
}

#[test]
fn several_voters_make_this_broker_one_of_them_with_a_controller_listener() {
    let three = ("controller.quorum.voters", "1@a:9093,2@b:9093,3@[::1]:9093");
    let listeners = ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093");
    let names = ("controller.listener.names", "CONTROLLER");
    let quorum = server(&[("node.id", "2"), three, listeners, names]).quorum;
    let Some(QuorumConfig::Voter { voters, listener }) = quorum else { panic!("{quorum:?}") };
    let voters: Vec<String> = voters.iter().map(|(id, address)| format!("{id}@{address}")).collect();
    assert_eq!(voters, ["1@a:9093", "2@b:9093", "3@[::1]:9093"]);
    assert_eq!((listener.name.as_str(), listener.bind.port), ("CONTROLLER", 9093));
    assert_eq!(server(&[("controller.quorum.voters", "1@a:9093"), listeners, names]).quorum, None);

    let refused = refusal(&[("node.id", "4"), three, listeners, names]);
    assert_eq!(
        refused,
        "Configuration controller.quorum.voters does not name node.id 4; a broker that does not vote has process.roles=broker."
    );
    assert!(refusal(&[("node.id", "2"), three]).contains("controller.listener.names must name one of the listeners"));
    for malformed in ["1@a:9093,1@b:9093", "1:a:9093,2@b:1", "x@a:1,2@b:1", "1@a,2@b:1", "1@0.0.0.0:9093,2@b:1"] {
        let refused = refusal(&[("controller.quorum.voters", malformed), listeners, names]);
        assert!(refused.ends_with("expected ID@HOST:PORT, each id once, as 1@host:9093."), "{refused}");
    }
}

#[test]
fn an_address_that_means_every_address_is_never_told() {
    assert_eq!(
        refusal(&[("listeners", "PLAINTEXT://0.0.0.0:9092")]),
        "Listener PLAINTEXT would tell clients the address 0.0.0.0, which no client can reach; name a reachable one in advertised.listeners."
    );
    assert!(refusal(&[("listeners", "PLAINTEXT://[::]:9092")]).contains("the address ::,"));
    assert!(refusal(&[("listeners", "PLAINTEXT://:1"), ("advertised.listeners", "PLAINTEXT://0.0.0.0:1")]).contains("0.0.0.0"));
    let developer = BrokerConfig::from_map(&raw(&[("listeners", "PLAINTEXT://0.0.0.0:9092")]), Mode::Developer).expect("good");
    assert_eq!(addresses(&developer), ["PLAINTEXT 0.0.0.0:9092 localhost:9092"]);
}

#[test]
fn port_zero_is_told_as_the_port_that_was_bound() {
    let config = server(&[
        ("listeners", "PLAINTEXT://127.0.0.1:0,OTHER://127.0.0.1:0"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT"),
    ]);
    assert_eq!(config.listeners[0].advertised_when_bound(4711).to_string(), "127.0.0.1:4711");
    assert_eq!(config.listener("OTHER").map(|one| one.advertised_when_bound(5).port), Some(5));
}

#[test]
fn a_refusal_is_one_sentence_that_names_key_value_and_range() {
    let table: &[(&[(&str, &str)], &str)] = &[
        (
            &[("num.partitions", "0")],
            "Invalid value 0 for configuration num.partitions: Value must be at least 1 (from server.properties).",
        ),
        (
            &[("delete.topic.enable", "maybe")],
            "Invalid value maybe for configuration delete.topic.enable: Expected value to be either true or false (from server.properties).",
        ),
        (
            &[("klamm.speed", "9")],
            "Unknown configuration klamm.speed (from server.properties); klamm's own keys are: klamm.durability, klamm.http.listen, klamm.journal.file.bytes.",
        ),
        (
            &[("klamm.durability", "disk")],
            "Invalid value disk for configuration klamm.durability: String must be one of: os, group (from server.properties).",
        ),
        (
            &[("node.id", "1"), ("broker.id", "2")],
            "node.id is 1 and broker.id is 2; they are two names of one number, so give one of them.",
        ),
        (&[("log.dirs", "a,b")], "Configuration log.dirs names 2 directories; klamm keeps all data of a broker in one."),
        (
            &[("listeners", "PLAINTEXT://h:65536")],
            "Invalid value PLAINTEXT://h:65536 for configuration listeners: expected NAME://host:port with a port between 0 and 65535.",
        ),
        (&[("listeners", "A://h:1,a://h:2")], "Configuration listeners names the listener A twice; each listener must have its own name."),
        (
            &[("listeners", "PLAINTEXT://a:1,SSL://b:1")],
            "Configuration listeners uses port 1 twice; only an IPv4 and an IPv6 address may share a port.",
        ),
        (&[("listeners", "X://h:1")], "Listener X has no security protocol; add X:PLAINTEXT to listener.security.protocol.map."),
        (
            &[("listeners", "SSL://h:1")],
            "Listener SSL uses the security protocol SSL, which klamm does not speak yet; only PLAINTEXT is available.",
        ),
        (&[("advertised.listeners", "X://h:1")], "Configuration advertised.listeners names the listener X, which listeners does not have."),
        (&[("inter.broker.listener.name", "X")], "Configuration inter.broker.listener.name is X, which is not a listener for clients."),
        (&[("listeners", "")], "Configuration listeners names no listener for clients."),
        (
            &[("process.roles", "controller")],
            "Configuration process.roles is controller; every klamm process is a broker, so broker must be among the roles.",
        ),
        (
            &[("group.min.session.timeout.ms", "9"), ("group.max.session.timeout.ms", "8")],
            "Configuration group.min.session.timeout.ms (9) must not be more than group.max.session.timeout.ms (8).",
        ),
        (
            &[("log.cleaner.threads", "128")],
            "Configuration log.cleaner.dedupe.buffer.size (134217728) must be more than 1 MiB for each of log.cleaner.threads (128).",
        ),
        (
            &[("max.connections.per.ip.overrides", "there:1, over there:1")],
            "Invalid value over there:1 for configuration max.connections.per.ip.overrides: expected an address or a host's name, a colon and a \
             number.",
        ),
    ];
    for (pairs, sentence) in table {
        assert_eq!(&refusal(pairs), sentence);
    }
}

#[test]
fn one_port_serves_an_ipv4_and_an_ipv6_address() {
    let config = server(&[
        ("listeners", "PLAINTEXT://127.0.0.1:1,SIX://[::1]:1"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT"),
    ]);
    assert_eq!(config.listeners.len(), 2);
}

#[test]
fn strange_keys_of_a_file_or_a_flag_are_noted_and_those_of_the_environment_pass_quietly() {
    let mut raw = raw(&[("log.segmnt.bytes", "1"), ("num.network.threads", "3")]);
    raw.set("num.partition", "3", Origin::Flag { flag: "--override" });
    raw.set("heap.opts", "-Xmx1g", Origin::Environment { variable: "KAFKA_HEAP_OPTS".to_owned() });
    let config = BrokerConfig::from_map(&raw, Mode::Server).expect("good");
    assert_eq!(config.unknown_keys, ["log.segmnt.bytes", "num.partition"]);
    assert_eq!(config.unused_keys, ["num.network.threads"]);
}

#[test]
fn a_cluster_id_is_a_plain_word() {
    let with = |id: &str| BrokerConfig::from_map(&RawConfig { cluster_id: Some(id.to_owned()), ..raw(&[]) }, Mode::Server);
    assert_eq!(with("4L6g3nShT-eMCtK--X86sw").expect("good").cluster_id.as_deref(), Some("4L6g3nShT-eMCtK--X86sw"));
    assert!(with("a b").is_err() && with("").is_err());
}

#[test]
fn the_older_name_of_the_data_directory_counts_when_it_is_given_alone() {
    let developer = BrokerConfig::from_map(&raw(&[("log.dir", "/data")]), Mode::Developer).expect("good");
    assert_eq!(developer.data_directory, PathBuf::from("/data"));
    assert_eq!(server(&[("log.dir", "/a"), ("log.dirs", "/b")]).data_directory, PathBuf::from("/b"));
    assert_eq!(server(&[("broker.id", "7")]).broker_id.get(), 7);
}
