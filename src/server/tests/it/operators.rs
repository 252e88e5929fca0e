//! What operators see: metrics that are exact, health that turns, a page, structured logs.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use protocol::StrBytes;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest,
    InitProducerIdResponse, MetadataRequest, OffsetCommitRequest, ProduceRequest, TransactionalId,
};
use record_batch::BatchBuilder;

use crate::client::{Client, PATIENCE, topic_name};
use crate::{Running, klamm, output};

const PRODUCE: i16 = 9;
const FETCH: i16 = 12;

/// A broker with a listener for operators.
/// On an address of its own: a port of 127.0.0.1 may have been that of another test's broker a moment ago, whose clients and fellows try it again and
/// would be counted here.
fn start() -> (Running, String) {
    let running = Running::start(&mut klamm(&["--ephemeral", "--listen", "127.0.0.9:0", "--http", "127.0.0.9:0"]));
    let http = running.http.clone().expect("it says where");
    (running, http)
}

/// One request; the status and the body, or nothing if nobody answers.
fn try_request(address: &str, line: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = text.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

fn get(address: &str, path: &str) -> (u16, String) {
    try_request(address, &format!("GET {path}")).expect("answers")
}

/// A scrape, as a look-up from a series to its value.
struct Scrape(String);

impl Scrape {
    fn of(http: &str) -> Self {
        let (status, text) = get(http, "/metrics");
        assert_eq!(status, 200, "{text}");
        Self(text)
    }

    fn value(&self, series: &str) -> Option<f64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().expect("a number"))
    }

    fn expect(&self, expected: &[(&str, f64)]) {
        for (series, value) in expected {
            assert_eq!(self.value(series), Some(*value), "{series} in\n{}", self.0);
        }
    }

    fn names(&self) -> BTreeSet<&str> {
        let samples = self.0.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| line.split(['{', ' ']).next()).collect()
    }
}

fn batch(values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(1_700_000_000_000, None, Some(value), &[]);
    }
    builder.build()
}

fn create(client: &mut Client, name: &str, partitions: i32) {
    let topic = CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(partitions).with_replication_factor(1);
    let response = client.call(5, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000));
    assert_eq!(response.topics[0].error_code, 0);
}

/// Produces one batch and gives the code of the answer.
fn produce(client: &mut Client, topic: &str, partition: i32, records: &Bytes) -> i16 {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records.clone()));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
    client.call(PRODUCE, &request).responses[0].partition_responses[0].error_code
}

fn fetch_request(topic: &str, partition: i32, bytes_max: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_partition(partition).with_partition_max_bytes(bytes_max).with_current_leader_epoch(-1);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_bytes(bytes_max)
        .with_min_bytes(1)
        .with_max_wait_ms(10_000)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Finds the group's coordinator, which makes the offsets topic, and commits as somebody who is no member.
fn commit(client: &mut Client, group: &str, topic: &str, partition: i32, offset: i64) {
    let key = StrBytes::from_string(group.to_owned());
    assert_eq!(client.call(3, &FindCoordinatorRequest::default().with_key(key.clone())).error_code, 0);
    let partition =
        OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset).with_committed_metadata(None);
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request =
        OffsetCommitRequest::default().with_group_id(GroupId(key)).with_generation_id_or_member_epoch(-1).with_topics(vec![topic]);
    assert_eq!(client.call(7, &request).topics[0].partitions[0].error_code, 0);
}

/// A topic with five batches, one refused batch, one fetch, and a group that has read eleven of fifteen records. The bytes of the batches.
fn traffic(client: &mut Client) -> f64 {
    create(client, "orders", 2);
    let mut bytes = 0;
    for number in 0..5_u8 {
        let records = batch(&[b"a", b"bb", &vec![number; 1000 * usize::from(number)]]);
        assert_eq!(produce(client, "orders", 0, &records), 0);
        bytes += records.len();
    }
    assert_eq!(produce(client, "orders", 9, &batch(&[b"x"])), 3);
    let response = client.call(FETCH, &fetch_request("orders", 0, 1 << 20));
    assert_eq!(response.responses[0].partitions[0].records.as_ref().expect("records").len(), bytes);
    commit(client, "readers", "orders", 0, 11);
    u32::try_from(bytes).expect("a few kilobytes").into()
}

#[test]
fn what_is_counted_is_exact() {
    let (running, http) = start();
    let mut client = Client::honest(&running.address);
    let bytes = traffic(&mut client);
    let scrape = Scrape::of(&http);
    scrape.expect(&[
        ("kafka_network_requestmetrics_requests_total{request=\"Produce\",version=\"9\"}", 6.0),
        ("kafka_network_requestmetrics_totaltimems_count{request=\"Produce\"}", 6.0),
        ("kafka_network_requestmetrics_errors_total{request=\"Produce\",error=\"NONE\"}", 5.0),
        ("kafka_network_requestmetrics_errors_total{request=\"Produce\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"}", 1.0),
        ("kafka_network_requestmetrics_requests_total{request=\"Fetch\",version=\"12\"}", 1.0),
        ("kafka_network_requestmetrics_requests_total{request=\"FetchConsumer\",version=\"12\"}", 1.0),
        // The answer's own code, and the partition's.
        ("kafka_network_requestmetrics_errors_total{request=\"FetchConsumer\",error=\"NONE\"}", 2.0),
        ("kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"}", 15.0),
        ("kafka_server_brokertopicmetrics_bytesin_total{topic=\"orders\"}", bytes),
        ("kafka_server_brokertopicmetrics_bytesout_total{topic=\"orders\"}", bytes),
        ("kafka_server_brokertopicmetrics_bytesout_total", bytes),
        ("kafka_server_brokertopicmetrics_totalproducerequests_total{topic=\"orders\"}", 5.0),
        ("kafka_server_brokertopicmetrics_failedproducerequests_total", 1.0),
        ("kafka_log_log_size{topic=\"orders\",partition=\"0\"}", bytes),
        ("kafka_log_log_logendoffset{topic=\"orders\",partition=\"0\"}", 15.0),
        ("kafka_log_log_logendoffset{topic=\"orders\",partition=\"1\"}", 0.0),
        ("kafka_topic_partitions{topic=\"orders\"}", 2.0),
        ("kafka_consumergroup_current_offset{consumergroup=\"readers\",topic=\"orders\",partition=\"0\"}", 11.0),
        ("kafka_consumergroup_lag{consumergroup=\"readers\",topic=\"orders\",partition=\"0\"}", 4.0),
        ("kafka_consumergroup_lag_sum{consumergroup=\"readers\",topic=\"orders\"}", 4.0),
        ("kafka_coordinator_group_groupmetadatamanager_numgroups", 1.0),
        ("kafka_coordinator_group_groupmetadatamanager_numgroupsempty", 1.0),
        ("kafka_controller_kafkacontroller_activecontrollercount", 1.0),
        ("kafka_controller_kafkacontroller_globaltopiccount", 2.0),
        ("kafka_server_socket_server_metrics_connection_count{listener=\"PLAINTEXT\"}", 1.0),
        ("kafka_network_socketserver_memorypoolused", 0.0),
        ("klamm_connections_accepted_total", 1.0),
        ("klamm_unknown_server_errors_total", 0.0),
    ]);
    // The coordinator's own record is counted too, as in Kafka.
    assert!(scrape.value("kafka_server_brokertopicmetrics_messagesin_total").expect("there") > 15.0);
    drop(client);
    // The broker notices in its own time that the client has gone.
    while Scrape::of(&http).value("klamm_connections_closed_total{reason=\"socket\"}") != Some(1.0) {}
    Scrape::of(&http).expect(&[("kafka_server_socket_server_metrics_connection_count{listener=\"PLAINTEXT\"}", 0.0)]);
}

#[test]
fn a_fetch_that_waits_is_seen_waiting_and_its_wait_is_in_its_time() {
    let (running, http) = start();
    let mut client = Client::honest(&running.address);
    create(&mut client, "quiet", 1);
    let mut reader = Client::honest(&running.address);
    let posted = reader.post(FETCH, &fetch_request("quiet", 0, 1 << 20)).expect("sent");
    let waiting = "kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation=\"Fetch\"}";
    while Scrape::of(&http).value(waiting) != Some(1.0) {}
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(20) {}
    assert_eq!(produce(&mut client, "quiet", 0, &batch(&[b"x"])), 0);
    reader.answer::<FetchRequest>(FETCH, posted).expect("answered");
    let scrape = Scrape::of(&http);
    scrape.expect(&[(waiting, 0.0), ("kafka_network_requestmetrics_totaltimems_count{request=\"FetchConsumer\"}", 1.0)]);
    assert!(scrape.value("kafka_network_requestmetrics_totaltimems_sum{request=\"Fetch\"}").expect("there") >= 20.0);
    assert!(scrape.value("kafka_network_requestmetrics_totaltimems_bucket{request=\"Fetch\",le=\"10\"}").expect("there") == 0.0);
}

#[test]
fn the_series_of_a_deleted_topic_vanish_and_the_totals_stay() {
    let (running, http) = start();
    let mut client = Client::honest(&running.address);
    let bytes = traffic(&mut client);
    let topic = DeleteTopicState::default().with_name(Some(topic_name("orders")));
    let response = client.call(6, &DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000));
    assert_eq!(response.responses[0].error_code, 0);
    let scrape = Scrape::of(&http);
    assert!(!scrape.0.contains("orders"), "{}", scrape.0);
    assert!(scrape.value("kafka_server_brokertopicmetrics_bytesin_total").expect("there") >= bytes);
    // A topic of the same name is another one.
    create(&mut client, "orders", 1);
    Scrape::of(&http).expect(&[("kafka_server_brokertopicmetrics_bytesin_total{topic=\"orders\"}", 0.0)]);
}

/// One record in a transaction of the id, which stays open.
fn begin_transaction(client: &mut Client, id: &'static str, topic: &str) -> InitProducerIdResponse {
    let transactional_id = || TransactionalId(StrBytes::from_static_str(id));
    let find = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![StrBytes::from_static_str(id)]);
    assert_eq!(client.call(4, &find).coordinators[0].error_code, 0);
    let init = InitProducerIdRequest::default().with_transactional_id(Some(transactional_id())).with_transaction_timeout_ms(60_000);
    let producer = client.call(5, &init);
    assert_eq!(producer.error_code, 0);
    let (producer_id, epoch) = (model::ProducerId::new(producer.producer_id.0), model::ProducerEpoch::new(producer.producer_epoch));
    let builder = BatchBuilder::new().with_producer(producer_id.expect("an id"), epoch.expect("an epoch"), model::Sequence::new(0));
    let mut builder = builder.with_transactional(true);
    builder.append(1_700_000_000_000, None, Some(b"x"), &[]);
    let data = PartitionProduceData::default().with_records(Some(builder.build()));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_transactional_id(Some(transactional_id())).with_acks(-1).with_timeout_ms(10_000);
    assert_eq!(client.call(12, &request.with_topic_data(vec![topic])).responses[0].partition_responses[0].error_code, 0);
    producer
}

#[test]
fn an_open_transaction_is_seen_until_its_markers_are_written() {
    let (running, http) = start();
    let mut client = Client::honest(&running.address);
    create(&mut client, "orders", 1);
    let producer = begin_transaction(&mut client, "<till>", "orders");
    let lag = "kafka_cluster_partition_laststableoffsetlag{topic=\"orders\",partition=\"0\"}";
    let scrape = Scrape::of(&http);
    scrape.expect(&[(lag, 1.0), ("klamm_transactional_ids{state=\"Ongoing\"}", 1.0)]);
    assert!(scrape.value("klamm_transaction_open_ms_max").expect("there") >= 0.0);
    let page = get(&http, "/").1;
    assert!(page.contains("&lt;till&gt;") && page.contains("Ongoing"), "{page}");
    let end = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(StrBytes::from_static_str("<till>")))
        .with_producer_id(producer.producer_id)
        .with_producer_epoch(producer.producer_epoch)
        .with_committed(true);
    assert_eq!(client.call(5, &end).error_code, 0);
    while Scrape::of(&http).value("klamm_transactional_ids{state=\"CompleteCommit\"}") != Some(1.0) {}
    Scrape::of(&http).expect(&[(lag, 0.0), ("klamm_transaction_open_ms_max", 0.0)]);
}

#[test]
fn every_row_of_the_tables_and_every_name_on_the_dashboard_is_exported() {
    let (running, http) = start();
    let mut client = Client::honest(&running.address);
    traffic(&mut client);
    begin_transaction(&mut client, "till", "orders");
    let scrape = Scrape::of(&http);
    let names = scrape.names();
    let is_exported = |name: &str| names.contains(name) || names.contains(format!("{name}_count").as_str());
    for row in broker::metrics::rows::ROWS.iter().chain(server::http::rows::ROWS) {
        assert!(is_exported(row.name), "{} is not exported", row.name);
    }
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../docs/grafana.json")).expect("JSON");
    let mut shown = BTreeSet::new();
    metric_names(&dashboard, &mut shown);
    assert!(shown.len() > 20, "{shown:?}");
    for name in shown {
        assert!(is_exported(&name), "{name} is on the dashboard and not exported");
    }
}

/// The metrics that the expressions of a dashboard name.
fn metric_names(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                if let (true, Some(text)) = (key == "expr" || key == "query", value.as_str()) {
                    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                    found.extend(
                        words
                            .filter(|word| word.starts_with("kafka_") || word.starts_with("klamm_") || word.starts_with("process_"))
                            .map(str::to_owned),
                    );
                }
                metric_names(value, found);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| metric_names(value, found)),
        _ => {}
    }
}

#[test]
fn readiness_turns_when_the_broker_stops() {
    let (running, http) = start();
    assert_eq!(get(&http, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(&http, "/readyz"), (200, "ready\n".to_owned()));
    // A reader that does not read keeps the broker for its grace: far more than the sockets' buffers hold waits for it.
    let mut client = Client::honest(&running.address);
    create(&mut client, "large", 1);
    let records = batch(&[&vec![7; 1_000_000]]);
    for _ in 0..40 {
        assert_eq!(produce(&mut client, "large", 0, &records), 0);
    }
    client.post(FETCH, &fetch_request("large", 0, 50_000_000)).expect("sent");
    let fetched = "kafka_network_requestmetrics_totaltimems_count{request=\"Fetch\"}";
    while Scrape::of(&http).value(fetched) != Some(1.0) {}
    running.signal("TERM");
    loop {
        match try_request(&http, "GET /readyz").expect("answers while it stops") {
            (200, _) => {}
            answer => {
                assert_eq!(answer, (503, "The broker is stopping.\n".to_owned()));
                break;
            }
        }
    }
    assert_eq!(get(&http, "/healthz").0, 200);
    assert_eq!(get(&http, "/metrics").0, 503);
    drop(client);
    assert!(running.wait().success());
}

#[test]
fn the_page_shows_topics_groups_and_clients_and_runs_nothing_that_they_say() {
    let (running, http) = start();
    let mut client = Client::honest(&running.address);
    traffic(&mut client);
    commit(&mut client, "<script>alert(1)</script>", "orders", 1, 0);
    let (status, page) = get(&http, "/");
    assert_eq!(status, 200);
    assert!(page.contains(">orders</button>") && page.contains(">readers</button>") && page.contains("127.0.0.1:"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !page.contains("<script>alert"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing is loaded from elsewhere");
}

#[test]
fn other_paths_and_methods_are_refused() {
    let (_running, http) = start();
    assert_eq!(get(&http, "/favicon.ico").0, 404);
    assert_eq!(try_request(&http, "POST /metrics").expect("answers").0, 405);
    assert_eq!(try_request(&http, "HEAD /healthz").expect("answers"), (200, String::new()));
    assert_eq!(try_request(&http, "nonsense").expect("answers").0, 400);
}

#[test]
fn an_address_that_cannot_be_had_prevents_the_start_before_data_is_touched() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("bound").to_string();
    let data = tempfile::tempdir().expect("a directory");
    let directory = data.path().join("data");
    let refused = output(&mut klamm(&["--listen", "127.0.0.1:0", "--data", &directory.display().to_string(), "--http", &address]));
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(text, format!("klamm: cannot listen on {address}: the port is in use by another process\n"));
    assert!(!directory.exists());
    let refused = output(&mut klamm(&["--ephemeral", "--override", "klamm.http.listen=here"]));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("expected HOST:PORT"), "{refused:?}");
}

#[test]
fn logs_are_one_json_object_per_line_if_asked_for() {
    let mut command = klamm(&["--ephemeral", "--listen", "127.0.0.1:0"]);
    let mut running = Running::start(command.env("KLAMM_LOG", "info,wire=debug").env("KLAMM_LOG_FORMAT", "json"));
    let mut log = running.child.stderr.take().expect("piped");
    Client::honest(&running.address).call(1, &MetadataRequest::default());
    running.signal("TERM");
    assert!(running.wait().success());
    let mut text = String::new();
    log.read_to_string(&mut text).expect("text");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let messages: Vec<_> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    assert!(messages.contains(&"stopping") && messages.contains(&"connection closed"), "{text}");
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string() && line["target"].is_string()), "{text}");
    let refused = output(klamm(&["--ephemeral"]).env("KLAMM_LOG_FORMAT", "xml"));
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        "klamm: the environment variable KLAMM_LOG_FORMAT is xml; it may be text or json\n"
    );
}
