//! `klamm topics`.

use std::collections::BTreeMap;
use std::io::Write as _;

use protocol::ErrorCode;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest};
use serde_json::{Map, Value, json};

use crate::ToolProblem;
use crate::args::{Common, TopicsAction, TopicsArgs};
use crate::cluster::{Cluster, Topic, text, topic_name};
use crate::offsets::{self, EARLIEST, LATEST, Place};
use crate::output;

/// Kafka's number for topics among the things that have a configuration.
const TOPIC_RESOURCE: i8 = 2;
/// Kafka's number for a value that was set for the topic itself.
const TOPIC_CONFIG_SOURCE: i8 = 1;

pub(crate) async fn run(args: &TopicsArgs) -> Result<(), ToolProblem> {
    let mut cluster = Cluster::connect(&args.common).await?;
    match &args.action {
        None => list(&mut cluster, args).await,
        Some(TopicsAction::Create { names, partitions, replication_factor, configs, if_not_exists }) => {
            let config =
                |(key, value): &(String, String)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)));
            let topic = |name: &String| {
                CreatableTopic::default()
                    .with_name(topic_name(name))
                    // -1: the broker's own default.
                    .with_num_partitions(partitions.unwrap_or(-1))
                    .with_replication_factor(replication_factor.unwrap_or(-1))
                    .with_configs(configs.iter().map(config).collect())
            };
            create(&mut cluster, &args.common, names.iter().map(topic).collect(), *if_not_exists).await
        }
        Some(TopicsAction::Delete { names }) => delete(&mut cluster, &args.common, names).await,
        Some(TopicsAction::Describe { names }) => describe(&mut cluster, args, names).await,
    }
}

async fn list(cluster: &mut Cluster, args: &TopicsArgs) -> Result<(), ToolProblem> {
    let topics = shown(cluster.metadata(None, false).await?, args);
    let replicas = |topic: &Topic| topic.partitions.first().map_or(0, |partition| partition.replicas.len());
    let mut out = output::stdout();
    if args.common.json {
        let topic = |topic: &Topic| json!({ "topic": topic.name, "partitions": topic.partitions.len(), "replicas": replicas(topic), "internal": topic.is_internal });
        output::json(&mut out, &topics.iter().map(topic).collect())?;
    } else {
        let row = |topic: &Topic| vec![topic.name.clone(), topic.partitions.len().to_string(), replicas(topic).to_string()];
        output::table(&mut out, &["TOPIC", "PARTITIONS", "REPLICAS"], &topics.iter().map(row).collect::<Vec<_>>())?;
    }
    Ok(out.flush()?)
}

/// Internal topics are shown where somebody asks for them.
fn shown(mut topics: Vec<Topic>, args: &TopicsArgs) -> Vec<Topic> {
    topics.retain(|topic| args.internal || !topic.is_internal);
    topics
}

async fn create(cluster: &mut Cluster, common: &Common, topics: Vec<CreatableTopic>, if_not_exists: bool) -> Result<(), ToolProblem> {
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(cluster.timeout_ms());
    let answer = cluster.ask_controller(&request).await?;
    let mut created = Vec::new();
    let mut problem = None;
    for topic in &answer.topics {
        let name = topic.name.to_string();
        let exists = ErrorCode::try_from_code(topic.error_code) == Some(ErrorCode::TopicAlreadyExists);
        match topic.error_code {
            0 => created.push((name, topic.num_partitions)),
            _ if exists && if_not_exists => {}
            code => problem = Some(ToolProblem::refused(format!("topic '{name}'"), code, topic.error_message.as_deref())),
        }
    }
    settle(cluster, &created).await?;
    let mut out = output::stdout();
    if common.json {
        output::json(&mut out, &created.iter().map(|(name, partitions)| json!({ "created": name, "partitions": partitions })).collect())?;
    } else {
        for (name, partitions) in &created {
            writeln!(out, "created topic {name} with {}", output::count(usize::try_from(*partitions).unwrap_or(0), "partition"))?;
        }
    }
    out.flush()?;
    problem.map_or(Ok(()), Err)
}

/// Waits until all partitions of new topics have leaders: Apache Kafka's controller answers before its brokers know them.
async fn settle(cluster: &mut Cluster, created: &[(String, i32)]) -> Result<(), ToolProblem> {
    let names: Vec<String> = created.iter().map(|(name, _)| name.clone()).collect();
    let deadline = cluster.deadline();
    loop {
        let topics = if names.is_empty() { Vec::new() } else { cluster.metadata(Some(&names), false).await? };
        let are_led = topics.iter().all(|topic| topic.partitions.iter().all(|partition| partition.leader.is_some()));
        if (topics.len() == names.len() && are_led) || !cluster.pause(deadline).await {
            return Ok(());
        }
    }
}

async fn delete(cluster: &mut Cluster, common: &Common, names: &[String]) -> Result<(), ToolProblem> {
    let state = |name: &String| DeleteTopicState::default().with_name(Some(topic_name(name)));
    let request = DeleteTopicsRequest::default().with_topics(names.iter().map(state).collect()).with_timeout_ms(cluster.timeout_ms());
    let answer = cluster.ask_controller(&request).await?;
    let mut deleted = Vec::new();
    let mut problem = None;
    // Kafka shuffles its answer; people read theirs in the order in which they asked.
    let mut answers: Vec<_> = answer.responses.iter().map(|topic| (topic.name.as_ref().map(|name| name.to_string()), topic)).collect();
    answers.sort_by_key(|(name, _)| names.iter().position(|asked| Some(asked) == name.as_ref()));
    for (name, topic) in answers {
        let name = name.unwrap_or_default();
        match ErrorCode::try_from_code(topic.error_code) {
            None => deleted.push(name),
            Some(ErrorCode::UnknownTopicOrPartition) => problem = Some(ToolProblem::NoTopic(name)),
            Some(error) => {
                problem = Some(ToolProblem::refused(format!("topic '{name}'"), error.code(), topic.error_message.as_deref()));
            }
        }
    }
    let mut out = output::stdout();
    if common.json {
        output::json(&mut out, &deleted.iter().map(|name| json!({ "deleted": name })).collect())?;
    } else {
        for name in &deleted {
            writeln!(out, "deleted topic {name}")?;
        }
    }
    out.flush()?;
    problem.map_or(Ok(()), Err)
}

async fn describe(cluster: &mut Cluster, args: &TopicsArgs, names: &[String]) -> Result<(), ToolProblem> {
    let topics = if names.is_empty() {
        shown(cluster.metadata(None, false).await?, args)
    } else {
        let topics = cluster.metadata(Some(names), false).await?;
        if let Some(missing) = names.iter().find(|name| topics.iter().all(|topic| topic.name != **name)) {
            return Err(ToolProblem::NoTopic(missing.clone()));
        }
        topics
    };
    let configs = configs_of(cluster, &topics).await?;
    let led =
        |topic: &Topic| topic.partitions.iter().filter(|p| p.leader.is_some()).map(|p| (topic.name.clone(), p.index)).collect::<Vec<_>>();
    let places: Vec<Place> = topics.iter().flat_map(led).collect();
    let starts = offsets::list(cluster, &places, EARLIEST).await?;
    let ends = offsets::list(cluster, &places, LATEST).await?;
    let mut out = output::stdout();
    let mut documents = Vec::new();
    for (index, topic) in topics.iter().enumerate() {
        let of = |offsets: &BTreeMap<Place, i64>, partition: i32| offsets.get(&(topic.name.clone(), partition)).copied();
        let own = configs.get(&topic.name).cloned().unwrap_or_default();
        if args.common.json {
            let partition = |p: &crate::cluster::Partition| {
                json!({ "partition": p.index, "leader": p.leader, "replicas": p.replicas, "isr": p.in_sync_replicas,
                        "start": of(&starts, p.index), "end": of(&ends, p.index) })
            };
            let settings: Map<String, Value> = own.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
            let partitions: Vec<Value> = topic.partitions.iter().map(partition).collect();
            documents.push(json!({ "topic": topic.name, "internal": topic.is_internal, "configs": settings, "partitions": partitions }));
            continue;
        }
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "topic {} with {}", topic.name, output::count(topic.partitions.len(), "partition"))?;
        for (key, value) in &own {
            writeln!(out, "config {key}={value}")?;
        }
        let told = |offset: Option<i64>| offset.map_or("-".to_owned(), |offset| offset.to_string());
        let row = |p: &crate::cluster::Partition| {
            let leader = p.leader.map_or("none".to_owned(), |leader| leader.to_string());
            vec![
                p.index.to_string(),
                leader,
                output::ids(&p.replicas),
                output::ids(&p.in_sync_replicas),
                told(of(&starts, p.index)),
                told(of(&ends, p.index)),
            ]
        };
        output::table(
            &mut out,
            &["PARTITION", "LEADER", "REPLICAS", "ISR", "START", "END"],
            &topic.partitions.iter().map(row).collect::<Vec<_>>(),
        )?;
    }
    if args.common.json {
        output::json(&mut out, &Value::Array(documents))?;
    }
    Ok(out.flush()?)
}

/// What was set for the topics themselves, by topic and key.
async fn configs_of(cluster: &mut Cluster, topics: &[Topic]) -> Result<BTreeMap<String, Vec<(String, String)>>, ToolProblem> {
    let resource = |topic: &Topic| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(text(&topic.name))
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
    let mut configs = BTreeMap::new();
    for result in cluster.ask_any(&request).await?.results {
        let name = result.resource_name.to_string();
        if result.error_code != 0 {
            return Err(ToolProblem::refused(
                format!("configuration of topic '{name}'"),
                result.error_code,
                result.error_message.as_deref(),
            ));
        }
        let own = result.configs.iter().filter(|config| config.config_source == TOPIC_CONFIG_SOURCE);
        let mut own: Vec<(String, String)> =
            own.map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string).unwrap_or_default())).collect();
        own.sort();
        configs.insert(name, own);
    }
    Ok(configs)
}
