//! `klamm describe`: the cluster.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use crate::ToolProblem;
use crate::args::DescribeArgs;
use crate::cluster::Cluster;
use crate::output;

pub(crate) async fn run(args: &DescribeArgs) -> Result<(), ToolProblem> {
    let mut cluster = Cluster::connect(&args.common).await?;
    let topics = cluster.metadata(None, false).await?;
    let own: Vec<_> = topics.iter().filter(|topic| !topic.is_internal).collect();
    let partitions: usize = own.iter().map(|topic| topic.partitions.len()).sum();
    let (view, features) = (&cluster.view, cluster.features());
    let mut out = output::stdout();
    if args.common.json {
        let broker = |broker: &crate::cluster::Broker| json!({ "id": broker.id, "address": broker.address, "rack": broker.rack });
        let levels: Map<String, Value> = features.iter().map(|feature| (feature.name.clone(), json!(feature.level))).collect();
        let document = json!({
            "cluster_id": view.id, "controller": view.controller, "brokers": view.brokers.values().map(broker).collect::<Vec<Value>>(),
            "topics": own.len(), "partitions": partitions, "features": levels,
        });
        output::json(&mut out, &document)?;
        return Ok(out.flush()?);
    }
    writeln!(out, "cluster   {}", view.id.as_deref().unwrap_or("without an id"))?;
    writeln!(out, "topics    {} with {}", own.len(), output::count(partitions, "partition"))?;
    let levels: Vec<String> = features.iter().map(|feature| format!("{}={}", feature.name, feature.level)).collect();
    writeln!(out, "features  {}", if levels.is_empty() { "none".to_owned() } else { levels.join(" ") })?;
    writeln!(out, "brokers   {}", view.brokers.len())?;
    let row = |broker: &crate::cluster::Broker| {
        let role = if view.controller == Some(broker.id) { "yes" } else { "no" };
        vec![broker.id.to_string(), broker.address.clone(), broker.rack.clone().unwrap_or_else(|| "-".to_owned()), role.to_owned()]
    };
    let rows: Vec<Vec<String>> = view.brokers.values().map(row).collect();
    output::table(&mut out, &["ID", "ADDRESS", "RACK", "CONTROLLER"], &rows)?;
    Ok(out.flush()?)
}
