//! Decisions, as Kafka makes them: codes and sentences are those of Apache Kafka 4.3.

use model::config::{Kind, Row, Scope};
use model::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, ProducerId, TopicId, TopicIdPartition};
use protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use protocol::messages::{BrokerId as WireBrokerId, TopicName as WireTopicName};
use protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::tests_support::{image_of_brokers, registration};
use super::*;
use crate::configs::{DescribeOptions, StaticConfig, TopicCompression};
use crate::image::Image;
use crate::records::{ConfigResource, MetadataRecord};

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn name(value: &str) -> WireTopicName {
    WireTopicName(text(value))
}

fn asked(topic: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(name(topic)).with_num_partitions(partitions).with_replication_factor(replicas)
}

fn with_config(topic: CreatableTopic, key: &str, value: Option<&str>) -> CreatableTopic {
    let mut configs = topic.configs.clone();
    configs.push(CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text)));
    topic.with_configs(configs)
}

fn manual(topic: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|(partition, brokers)| {
        let ids = brokers.iter().map(|broker| WireBrokerId(*broker)).collect();
        CreatableReplicaAssignment::default().with_partition_index(*partition).with_broker_ids(ids)
    });
    asked(topic, -1, -1).with_assignments(assignments.collect())
}

fn next_ids() -> impl Iterator<Item = Uuid> {
    (100..).map(Uuid::from_u128)
}

fn create(image: &Image, topics: Vec<CreatableTopic>) -> Decision<Vec<CreatableTopicResult>> {
    create_with(image, topics, false, &StaticConfig::new())
}

fn create_with(
    image: &Image,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
    statics: &StaticConfig,
) -> Decision<Vec<CreatableTopicResult>> {
    let context = TopicContext {
        view: ConfigView::new(image, BrokerId::new_or_zero(1), statics),
        defaults: TopicDefaults { num_partitions: 3, replication_factor: 1 },
    };
    let request = CreateTopicsRequest::default().with_topics(topics).with_validate_only(validate_only);
    create_topics(&context, &request, &mut next_ids(), &mut Unlimited)
}

/// The image after the decision.
fn applied<T>(image: &Image, decision: &Decision<T>) -> Image {
    let (image, delta) = image.apply(image.index() + 1, &decision.records);
    assert_eq!(delta.ignored_records, 0);
    image
}

fn image_with(topics: Vec<CreatableTopic>) -> Image {
    let image = image_of_brokers(&[1]);
    let decision = create(&image, topics);
    assert!(decision.response.iter().all(|result| result.error_code == 0), "{:?}", decision.response);
    applied(&image, &decision)
}

fn refusal_of(decision: &Decision<Vec<CreatableTopicResult>>) -> (ErrorCode, String) {
    assert_eq!(decision.records, []);
    let [result] = decision.response.as_slice() else { panic!("one result expected") };
    let code = ErrorCode::try_from_code(result.error_code).expect("a refusal");
    (code, result.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

#[track_caller]
fn refuses(image: &Image, topic: CreatableTopic, code: ErrorCode, message: &str) {
    assert_eq!(refusal_of(&create(image, vec![topic])), (code, message.to_owned()));
}

#[test]
fn a_topic_is_created_with_defaults_ids_and_its_effective_configurations() {
    let image = image_of_brokers(&[1]);
    let decision = create(&image, vec![with_config(asked("t", -1, -1), "cleanup.policy", Some("compact"))]);
    let result = &decision.response[0];
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 3, 1));
    assert_eq!(result.topic_id, Uuid::from_u128(100));
    let configs = result.configs.as_ref().expect("configurations");
    let policy = configs.iter().find(|config| config.name.as_str() == "cleanup.policy").expect("a row");
    assert_eq!((policy.value.as_deref(), policy.config_source), (Some("compact"), 1));
    let image = applied(&image, &decision);
    let topic = image.topic_by_name("t").expect("created");
    assert_eq!(topic.partition_count(), 3);
    let partition = topic.partition(PartitionIndex::new_or_zero(2)).expect("the third");
    assert_eq!((partition.leader, partition.leader_epoch), (Some(BrokerId::new_or_zero(1)), LeaderEpoch::ZERO));
}

#[test]
fn a_validated_topic_gives_the_same_answer_and_no_records() {
    let image = image_of_brokers(&[1]);
    let real = create(&image, vec![asked("t", 2, 1)]);
    let validated = create_with(&image, vec![asked("t", 2, 1)], true, &StaticConfig::new());
    assert_eq!(validated.response, real.response);
    assert_eq!(validated.records, []);
}

#[test]
fn topics_are_refused_with_kafkas_codes_and_sentences() {
    let image = image_with(vec![asked("there", 1, 1), asked("a.b", 1, 1)]);
    use ErrorCode as Code;
    refuses(&image, asked("there", 1, 1), Code::TopicAlreadyExists, "Topic 'there' already exists.");
    refuses(&image, asked("a.b", 1, 1), Code::TopicAlreadyExists, "Topic 'a.b' already exists.");
    refuses(&image, asked("a_b", 1, 1), Code::InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b");
    refuses(&image, asked("", 1, 1), Code::InvalidTopicException, "Topic name is invalid: the empty string is not allowed");
    refuses(&image, asked("t", 0, 1), Code::InvalidPartitions, "Number of partitions was set to an invalid non-positive value.");
    refuses(
        &image,
        asked("t", 1, 0),
        Code::InvalidReplicationFactor,
        "Replication factor must be larger than 0, or -1 to use the default value.",
    );
    refuses(
        &image,
        asked("t", 1, 3),
        Code::InvalidReplicationFactor,
        "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) are \
         registered.",
    );
    refuses(
        &image,
        with_config(asked("t", 1, 1), "retention.ms", Some("x")),
        Code::InvalidConfig,
        "Invalid value x for configuration retention.ms: Not a number of type LONG",
    );
    refuses(&image, with_config(asked("t", 1, 1), "no.such", Some("1")), Code::InvalidConfig, "Unknown topic config name: no.such");
    refuses(
        &image,
        with_config(asked("t", 1, 1), "retention.ms", None),
        Code::InvalidConfig,
        "Null value not supported for topic configs: retention.ms",
    );
    refuses(
        &image,
        asked("__cluster_metadata", 1, 1),
        Code::InvalidRequest,
        "Creation of internal topic __cluster_metadata is prohibited.",
    );
    refuses(&image, asked("t", i32::MAX, 1), Code::PolicyViolation, "Excessively large number of partitions per request.");
    refuses(&image, asked("t", 10_001, 1), Code::PolicyViolation, "Excessively large number of partitions per request.");
}

#[test]
fn a_topic_named_twice_is_refused_once_and_the_others_are_created() {
    let image = image_of_brokers(&[1]);
    let decision = create(&image, vec![asked("twice", 1, 1), asked("once", 1, 1), asked("twice", 2, 1)]);
    let results: Vec<(&str, i16)> = decision.response.iter().map(|result| (result.name.as_str(), result.error_code)).collect();
    assert_eq!(results, [("once", 0), ("twice", ErrorCode::InvalidRequest.code())]);
    assert_eq!(decision.response[1].error_message.as_deref(), Some("Duplicate topic name."));
    assert_eq!(applied(&image, &decision).topic_count(), 1);
}

#[test]
fn two_topics_of_one_request_may_not_collide_either() {
    let decision = create(&image_of_brokers(&[1]), vec![asked("a.b", 1, 1), asked("a_b", 1, 1)]);
    assert_eq!(decision.response[1].error_code, ErrorCode::InvalidTopicException.code());
}

#[test]
fn manual_assignments_are_checked_as_kafka_does() {
    let image = image_of_brokers(&[1, 2]);
    let invalid = |topic: CreatableTopic, message: &str| refuses(&image, topic, ErrorCode::InvalidReplicaAssignment, message);
    invalid(manual("t", &[(0, &[])]), "The manual partition assignment includes an empty replica list.");
    invalid(manual("t", &[(0, &[9])]), "The manual partition assignment includes broker 9, but no such broker is registered.");
    invalid(manual("t", &[(0, &[1, 1])]), "The manual partition assignment includes the broker 1 more than once.");
    invalid(manual("t", &[(0, &[1]), (0, &[1])]), "Found multiple manual partition assignments for partition 0");
    invalid(manual("t", &[(1, &[1])]), "partitions should be a consecutive 0-based integer sequence");
    invalid(
        manual("t", &[(0, &[1, 2]), (1, &[1])]),
        "The manual partition assignment includes a partition with 1 replica(s), but this is not consistent with previous partitions, which \
         have 2 replica(s).",
    );
    refuses(
        &image,
        manual("t", &[(0, &[1])]).with_num_partitions(1),
        ErrorCode::InvalidRequest,
        "A manual partition assignment was specified, but numPartitions was not set to -1.",
    );
    let image = applied(&image, &create(&image, vec![manual("t", &[(1, &[1, 2]), (0, &[2, 1])])]));
    let topic = image.topic_by_name("t").expect("created");
    let leaders: Vec<_> = topic.partitions.iter().map(|partition| partition.leader.map(BrokerId::get)).collect();
    assert_eq!(leaders, [Some(2), Some(1)]);
}

#[test]
fn the_offsets_topic_is_created_once_with_its_own_configurations() {
    let image = image_of_brokers(&[1]);
    let statics = StaticConfig::new();
    let topic = InternalTopic::ConsumerOffsets { partitions: 50, replication_factor: 1, segment_bytes: 104_857_600 };
    let decide = |image: &Image| {
        let context = TopicContext {
            view: ConfigView::new(image, BrokerId::new_or_zero(1), &statics),
            defaults: TopicDefaults { num_partitions: 1, replication_factor: 1 },
        };
        create_internal_topic(&context, topic, Uuid::from_u128(5)).expect("one broker suffices")
    };
    let image = applied(&image, &decide(&image));
    let created = image.topic_by_name("__consumer_offsets").expect("created");
    assert_eq!((created.partition_count(), created.is_internal()), (50, true));
    let config = ConfigView::new(&image, BrokerId::new_or_zero(1), &statics).topic("__consumer_offsets");
    assert_eq!((config.compact, config.delete, config.segment_bytes), (true, false, 104_857_600));
    assert_eq!(config.compression, TopicCompression::Producer);
    let again = decide(&image);
    assert_eq!((again.records.len(), again.response), (0, TopicId(Uuid::from_u128(5))));
}

#[test]
fn topics_are_deleted_by_name_and_by_id_and_each_mistake_has_its_answer() {
    let image = image_with(vec![asked("a", 1, 1), asked("b", 1, 1), asked("c", 1, 1)]);
    let id = |topic: &str| image.topic_id(topic).expect("created").0;
    let state = |topic: Option<&str>, id: Uuid| DeleteTopicState::default().with_name(topic.map(name)).with_topic_id(id);
    let request = DeleteTopicsRequest::default().with_topics(vec![
        state(Some("a"), Uuid::nil()),
        state(None, id("b")),
        state(None, id("c")),
        state(Some("c"), Uuid::nil()),
        state(Some("nobody"), Uuid::nil()),
        state(None, Uuid::from_u128(7)),
        state(None, Uuid::nil()),
        state(Some("a"), id("a")),
    ]);
    let decision = delete_topics(&image, &request, &mut Unlimited);
    let mut codes: Vec<(Option<&str>, i16)> =
        decision.response.iter().map(|result| (result.name.as_ref().map(|name| name.as_str()), result.error_code)).collect();
    codes.sort_unstable();
    let invalid = ErrorCode::InvalidRequest.code();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(
        codes,
        [
            (None, invalid),
            (None, ErrorCode::UnknownTopicId.code()),
            (Some("a"), 0),
            (Some("a"), invalid),
            (Some("b"), 0),
            (Some("c"), invalid),
            (Some("nobody"), unknown)
        ]
    );
    let after = applied(&image, &decision);
    assert_eq!(after.topics().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn a_topic_of_the_old_field_named_twice_is_not_deleted() {
    let image = image_with(vec![asked("a", 1, 1)]);
    let decision = delete_topics(&image, &DeleteTopicsRequest::default().with_topic_names(vec![name("a"), name("a")]), &mut Unlimited);
    assert_eq!((decision.records.len(), decision.response.len()), (0, 1));
    assert_eq!(decision.response[0].error_message.as_deref(), Some("Duplicate topic name."));
}

#[test]
fn a_deleted_topic_takes_its_configurations_with_it_and_its_name_comes_back_with_another_id() {
    let image = image_with(vec![with_config(asked("t", 1, 1), "retention.ms", Some("1"))]);
    let old = image.topic_id("t");
    let image = applied(&image, &delete_topics(&image, &DeleteTopicsRequest::default().with_topic_names(vec![name("t")]), &mut Unlimited));
    assert!(image.config_overrides(&ConfigResource::topic("t")).is_empty());
    let context_image = image.clone();
    let statics = StaticConfig::new();
    let context = TopicContext {
        view: ConfigView::new(&context_image, BrokerId::new_or_zero(1), &statics),
        defaults: TopicDefaults { num_partitions: 1, replication_factor: 1 },
    };
    let request = CreateTopicsRequest::default().with_topics(vec![asked("t", 1, 1)]);
    let image = applied(&image, &create_topics(&context, &request, &mut (900..).map(Uuid::from_u128), &mut Unlimited));
    assert_ne!(image.topic_id("t"), old);
}

fn more_partitions(topic: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default().with_name(name(topic)).with_count(count).with_assignments(None)
}

#[test]
fn partitions_are_added_up_to_the_new_total_or_refused_with_kafkas_sentences() {
    let image = image_with(vec![asked("t", 2, 1)]);
    let ask = |topic: CreatePartitionsTopic| {
        create_partitions(&image, &CreatePartitionsRequest::default().with_topics(vec![topic]), &mut Unlimited)
    };
    let decision = ask(more_partitions("t", 5));
    assert_eq!(applied(&image, &decision).topic_by_name("t").map(|topic| topic.partition_count()), Some(5));
    let refusal = |topic: CreatePartitionsTopic| {
        let decision = ask(topic);
        assert_eq!(decision.records, []);
        let result = &decision.response[0];
        (ErrorCode::try_from_code(result.error_code), result.error_message.as_ref().map(ToString::to_string))
    };
    let sentence = |text: &str| Some(text.to_owned());
    assert_eq!(refusal(more_partitions("nobody", 5)), (Some(ErrorCode::UnknownTopicOrPartition), None));
    assert_eq!(refusal(more_partitions("t", 2)), (Some(ErrorCode::InvalidPartitions), sentence("Topic already has 2 partition(s).")));
    assert_eq!(
        refusal(more_partitions("t", 1)),
        (Some(ErrorCode::InvalidPartitions), sentence("The topic t currently has 2 partition(s); 1 would not be an increase."))
    );
    assert_eq!(refusal(more_partitions("t", i32::MAX)).0, Some(ErrorCode::PolicyViolation));
    let one = vec![CreatePartitionsAssignment::default().with_broker_ids(vec![WireBrokerId(1)])];
    assert_eq!(
        refusal(more_partitions("t", 5).with_assignments(Some(one))),
        (
            Some(ErrorCode::InvalidReplicaAssignment),
            sentence("Attempted to add 3 additional partition(s), but only 1 assignment(s) were specified.")
        )
    );
}

#[test]
fn partitions_of_a_topic_named_twice_are_refused_in_one_result() {
    let image = image_with(vec![asked("t", 1, 1)]);
    let request = CreatePartitionsRequest::default().with_topics(vec![more_partitions("t", 2), more_partitions("t", 3)]);
    let decision = create_partitions(&image, &request, &mut Unlimited);
    assert_eq!((decision.records.len(), decision.response.len()), (0, 1));
}

#[test]
fn each_start_of_a_broker_gives_a_new_broker_epoch_and_new_leader_epochs() {
    let image = image_with(vec![asked("t", 2, 1)]);
    let first = image.broker(BrokerId::new_or_zero(1)).expect("registered").epoch;
    let decision = register_broker(&image, registration(1, 2), false).expect("a restart");
    let (image, delta) = image.apply(50, &decision.records);
    let broker = image.broker(BrokerId::new_or_zero(1)).expect("registered");
    assert!(broker.epoch > first);
    assert_eq!(broker.epoch, BrokerEpoch::new_or_zero(50));
    assert_eq!(delta.partitions_changed.len(), 2);
    let topic = image.topic_by_name("t").expect("created");
    assert!(topic.partitions.iter().all(|partition| partition.leader_epoch.get() == 1 && partition.partition_epoch == 1));
}

#[test]
fn a_second_process_of_a_living_broker_is_refused() {
    let image = image_of_brokers(&[1]);
    assert!(register_broker(&image, registration(1, 2), true).is_err());
    assert!(register_broker(&image, registration(1, 1), true).is_ok());
}

#[test]
fn a_partition_without_a_leader_gets_its_in_sync_broker_back() {
    let image = image_with(vec![asked("t", 1, 1)]);
    let id = TopicIdPartition { topic_id: image.topic_id("t").expect("created"), partition: PartitionIndex::ZERO };
    let leaderless =
        MetadataRecord::PartitionChange { topic_id: id.topic_id, partition: id.partition, isr: None, leader: Some(None), replicas: None };
    let image = image.apply(60, &[leaderless]).0;
    let image = applied(&image, &register_broker(&image, registration(1, 2), false).expect("a restart"));
    let partition = image.partition(id).expect("there");
    assert_eq!((partition.leader, partition.leader_epoch.get()), (Some(BrokerId::new_or_zero(1)), 2));
}

#[test]
fn producer_ids_come_in_blocks_that_never_overlap() {
    let mut image = image_of_brokers(&[1]);
    let broker = image.broker(BrokerId::new_or_zero(1)).expect("registered").clone();
    for block in 0..3 {
        let decision = allocate_producer_ids(&image, broker.id, broker.epoch).expect("allocated");
        assert_eq!(decision.response, ProducerIdBlock { first: ProducerId::new_or_zero(block * 1000), count: 1000 });
        image = applied(&image, &decision);
    }
    let stale = allocate_producer_ids(&image, broker.id, BrokerEpoch::new_or_zero(999));
    assert_eq!(stale, Err(ProducerIdsError::StaleBrokerEpoch));
    assert_eq!(allocate_producer_ids(&image, BrokerId::new_or_zero(9), broker.epoch), Err(ProducerIdsError::NotRegistered));
}

const BROKER_ROWS: &[Row] = &[
    Row { name: "log.retention.ms", kind: Kind::Long(-1, i64::MAX), default: None, scope: Scope::Broker, synonym: None, doc: "How long." },
    Row { name: "log.dirs", kind: Kind::Text, default: None, scope: Scope::Static, synonym: None, doc: "Where." },
    Row { name: "sasl.secret", kind: Kind::Password, default: None, scope: Scope::Broker, synonym: None, doc: "Hidden." },
];

const TABLES: ConfigTables<'static> = ConfigTables { broker: BROKER_ROWS, group: &[] };

fn alter(image: &Image, resource_type: i8, resource: &str, changes: &[(&str, i8, Option<&str>)]) -> (i16, Option<String>, Image) {
    let configs = changes.iter().map(|(key, operation, value)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(*operation).with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(resource))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let statics = StaticConfig::new();
    let decision = incremental_alter_configs(ConfigView::new(image, BrokerId::new_or_zero(1), &statics), &request, TABLES);
    let result = &decision.response[0];
    (result.error_code, result.error_message.as_ref().map(ToString::to_string), applied(image, &decision))
}

#[test]
fn topic_configurations_are_set_deleted_appended_and_subtracted() {
    let image = image_with(vec![asked("t", 1, 1)]);
    let value = |image: &Image, key: &str| image.config_overrides(&ConfigResource::topic("t")).get(key).cloned();
    let (code, _, image) = alter(&image, 2, "t", &[("retention.ms", 0, Some("5")), ("cleanup.policy", 2, Some("compact"))]);
    assert_eq!(code, 0);
    assert_eq!(value(&image, "cleanup.policy").as_deref(), Some("delete,compact"));
    let (code, _, image) = alter(&image, 2, "t", &[("retention.ms", 1, None), ("cleanup.policy", 3, Some("delete"))]);
    assert_eq!((code, value(&image, "retention.ms"), value(&image, "cleanup.policy").as_deref()), (0, None, Some("compact")));
}

#[test]
fn a_resource_is_altered_whole_or_not_at_all() {
    let image = image_with(vec![asked("t", 1, 1)]);
    let (code, message, after) = alter(&image, 2, "t", &[("segment.ms", 0, Some("5")), ("retention.ms", 0, Some("x"))]);
    assert_eq!(code, ErrorCode::InvalidConfig.code());
    assert_eq!(message.as_deref(), Some("Invalid value x for configuration retention.ms: Not a number of type LONG"));
    assert!(after.config_overrides(&ConfigResource::topic("t")).is_empty());
}

#[test]
fn alterations_are_refused_with_kafkas_codes() {
    let image = image_with(vec![asked("t", 1, 1)]);
    let refusal = |resource_type: i8, resource: &str, changes: &[(&str, i8, Option<&str>)]| {
        let (code, message, after) = alter(&image, resource_type, resource, changes);
        assert_eq!(after.config_overrides(&ConfigResource::topic("t")).len(), 0);
        (ErrorCode::try_from_code(code).expect("refused"), message.unwrap_or_default())
    };
    let is = |code: ErrorCode, message: &str| (code, message.to_owned());
    assert_eq!(
        refusal(2, "t", &[("retention.ms", 2, Some("5"))]),
        is(ErrorCode::InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST.")
    );
    assert_eq!(
        refusal(2, "t", &[("retention.ms", 0, Some("5")), ("retention.ms", 0, Some("6"))]),
        is(ErrorCode::InvalidRequest, "Error due to duplicate config keys")
    );
    assert_eq!(refusal(2, "t", &[("retention.ms", 0, None)]).0, ErrorCode::InvalidRequest);
    assert_eq!(refusal(2, "nobody", &[("retention.ms", 0, Some("5"))]).0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(refusal(2, "", &[]), is(ErrorCode::InvalidRequest, "Default topic resources are not allowed."));
    assert_eq!(
        refusal(4, "1", &[("log.dirs", 0, Some("/"))]),
        is(ErrorCode::InvalidRequest, "Cannot update these configs dynamically: [log.dirs]")
    );
    assert_eq!(refusal(99, "t", &[]).0, ErrorCode::InvalidRequest);
}

fn describe(image: &Image, statics: &StaticConfig, resource_type: i8, resource: &str, key: &str) -> DescribeConfigsResourceResult {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(resource))
        .with_configuration_keys(Some(vec![text(key)]));
    let view = ConfigView::new(image, BrokerId::new_or_zero(1), statics);
    let result = view.describe(&resource, DescribeOptions { synonyms: true, documentation: true }, TABLES);
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    result.configs.into_iter().next().expect("the key is there")
}

fn synonyms(entry: &DescribeConfigsResourceResult) -> Vec<String> {
    let print = |value: &Option<StrBytes>| value.as_deref().map_or_else(|| "null".to_owned(), str::to_owned);
    entry.synonyms.iter().map(|synonym| format!("{}:{}={}", synonym.source, synonym.name.as_str(), print(&synonym.value))).collect()
}

#[test]
fn a_default_is_described_with_its_brokers_synonym() {
    let image = image_with(vec![asked("t", 1, 1)]);
    let entry = describe(&image, &StaticConfig::new(), 2, "t", "segment.bytes");
    assert_eq!((entry.value.as_deref(), entry.config_source, entry.config_type), (Some("1073741824"), 5, 3));
    assert_eq!(synonyms(&entry), ["5:log.segment.bytes=1073741824"]);
    assert!(!entry.read_only && !entry.is_sensitive && entry.documentation.is_some());
    // Kafka drops synonyms that come before the strongest key of a family, so these defaults have none.
    assert_eq!(synonyms(&describe(&image, &StaticConfig::new(), 2, "t", "retention.ms")), [""; 0]);
}

#[test]
fn a_topics_value_hides_the_dynamic_the_static_and_the_default_one_in_this_order() {
    let image = image_with(vec![asked("t", 1, 1)]);
    let statics = StaticConfig::from([("message.max.bytes".to_owned(), "100".to_owned())]);
    let entry = describe(&image, &statics, 2, "t", "max.message.bytes");
    assert_eq!((entry.value.as_deref(), entry.config_source), (Some("100"), 4));
    let (_, _, image) = alter(&image, 4, "", &[("message.max.bytes", 0, Some("200"))]);
    let (_, _, image) = alter(&image, 4, "1", &[("message.max.bytes", 0, Some("300"))]);
    let entry = describe(&image, &statics, 2, "t", "max.message.bytes");
    assert_eq!((entry.value.as_deref(), entry.config_source), (Some("300"), 2));
    let (_, _, image) = alter(&image, 2, "t", &[("max.message.bytes", 0, Some(" 400 "))]);
    let entry = describe(&image, &statics, 2, "t", "max.message.bytes");
    assert_eq!((entry.value.as_deref(), entry.config_source), (Some("400"), 1));
    assert_eq!(
        synonyms(&entry),
        [
            "1:max.message.bytes=400",
            "2:message.max.bytes=300",
            "3:message.max.bytes=200",
            "4:message.max.bytes=100",
            "5:message.max.bytes=1048588"
        ]
    );
    assert_eq!(ConfigView::new(&image, BrokerId::new_or_zero(1), &statics).topic("t").max_message_bytes, 400);
}

#[test]
fn hours_in_the_brokers_file_become_milliseconds_of_the_topic() {
    let image = image_with(vec![asked("t", 1, 1)]);
    let statics = StaticConfig::from([("log.retention.hours".to_owned(), "2".to_owned())]);
    let view = ConfigView::new(&image, BrokerId::new_or_zero(1), &statics);
    assert_eq!(view.topic("t").retention_ms, Some(7_200_000));
    let entry = describe(&image, &statics, 2, "t", "retention.ms");
    assert_eq!((entry.value.as_deref(), entry.config_source), (Some("7200000"), 5));
    let statics = StaticConfig::from([("log.retention.hours".to_owned(), "-1".to_owned())]);
    assert_eq!(ConfigView::new(&image, BrokerId::new_or_zero(1), &statics).topic("t").retention_ms, None);
}

#[test]
fn brokers_are_described_by_their_own_id_and_secrets_are_hidden() {
    let image = image_of_brokers(&[1]);
    let statics = StaticConfig::from([("log.dirs".to_owned(), "/d".to_owned()), ("sasl.secret".to_owned(), "s".to_owned())]);
    let entry = describe(&image, &statics, 4, "1", "log.dirs");
    assert_eq!((entry.value.as_deref(), entry.config_source, entry.read_only), (Some("/d"), 4, true));
    let secret = describe(&image, &statics, 4, "1", "sasl.secret");
    assert_eq!((secret.value.as_deref(), secret.is_sensitive, synonyms(&secret)), (None, true, vec!["4:sasl.secret=null".to_owned()]));
    let view = ConfigView::new(&image, BrokerId::new_or_zero(1), &statics);
    let refused = |resource_type: i8, resource: &str| {
        let resource = DescribeConfigsResource::default().with_resource_type(resource_type).with_resource_name(text(resource));
        let result = view.describe(&resource, DescribeOptions::default(), TABLES);
        (ErrorCode::try_from_code(result.error_code), result.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
    };
    let invalid = Some(ErrorCode::InvalidRequest);
    assert_eq!(refused(4, "2"), (invalid, "Unexpected broker id, expected 1 or empty string, but received 2".to_owned()));
    assert_eq!(refused(4, "x"), (invalid, "Broker id must be an integer, but it is: x".to_owned()));
    assert_eq!(refused(2, "nobody").0, Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(refused(2, "a b").0, Some(ErrorCode::InvalidTopicException));
}

#[test]
fn the_default_of_all_brokers_lists_only_what_is_set() {
    let image = image_of_brokers(&[1]);
    let (_, _, image) = alter(&image, 4, "", &[("log.retention.ms", 0, Some("7"))]);
    let entry = describe(&image, &StaticConfig::new(), 4, "", "log.retention.ms");
    assert_eq!((entry.value.as_deref(), entry.config_source), (Some("7"), 3));
}

#[test]
fn a_cluster_begins_once() {
    let image = image_of_brokers(&[1]);
    let records = bootstrap_cluster(&image, "id", &[("group.version", 1), ("transaction.version", 0)]);
    let image = image.apply(9, &records).0;
    assert_eq!((image.cluster_id(), image.feature_level("group.version"), image.features_epoch()), (Some("id"), 1, 9));
    assert_eq!(image.features().count(), 1, "level 0 is no finalized feature");
    assert_eq!(bootstrap_cluster(&image, "other", &[]), []);
}
