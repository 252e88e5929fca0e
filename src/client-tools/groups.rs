//! `klamm groups`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use protocol::ErrorCode;
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use protocol::messages::{DeleteGroupsRequest, GroupId, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest};
use serde_json::{Value, json};
use wire::clock::Clock as _;

use crate::ToolProblem;
use crate::args::{Common, GroupsAction, GroupsArgs, Position};
use crate::cluster::{Cluster, is_retriable, text, topic_name};
use crate::group_members::{self, Group, Member};
use crate::offsets::{self, EARLIEST, LATEST, Place};
use crate::output;

pub(crate) async fn run(args: &GroupsArgs) -> Result<(), ToolProblem> {
    let mut cluster = Cluster::connect(&args.common).await?;
    match &args.action {
        None => list(&mut cluster, &args.common).await,
        Some(GroupsAction::Describe { group }) => describe(&mut cluster, &args.common, group).await,
        Some(GroupsAction::Reset { group, topic, partitions, to, dry_run }) => {
            let reset = Reset { group, topic, partitions, to: *to, dry_run: *dry_run };
            reset.run(&mut cluster, &args.common).await
        }
        Some(GroupsAction::Delete { groups }) => delete(&mut cluster, &args.common, groups).await,
    }
}

async fn list(cluster: &mut Cluster, common: &Common) -> Result<(), ToolProblem> {
    let deadline = cluster.deadline();
    cluster.metadata(Some(&[]), false).await?;
    let brokers: Vec<i32> = cluster.view.brokers.keys().copied().collect();
    let mut groups = BTreeMap::new();
    for broker in brokers {
        // Each broker knows the groups that it coordinates; while it loads them it says so.
        loop {
            let answer = cluster.ask(broker, &ListGroupsRequest::default()).await?;
            if answer.error_code == 0 {
                for group in answer.groups {
                    let row = [group.group_type.to_string(), group.protocol_type.to_string(), group.group_state.to_string()];
                    groups.insert(group.group_id.to_string(), row);
                }
                break;
            }
            if !is_retriable(answer.error_code) || !cluster.pause(deadline).await {
                return Err(ToolProblem::refused(format!("groups of broker {broker}"), answer.error_code, None));
            }
        }
    }
    let mut out = output::stdout();
    if common.json {
        let group = |(name, [kind, protocol, state]): (&String, &[String; 3])| json!({ "group": name, "type": kind, "protocol": protocol, "state": state });
        output::json(&mut out, &groups.iter().map(group).collect())?;
    } else {
        let told = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
        let rows: Vec<Vec<String>> = groups.iter().map(|(name, row)| std::iter::once(name).chain(row).map(told).collect()).collect();
        output::table(&mut out, &["GROUP", "TYPE", "PROTOCOL", "STATE"], &rows)?;
    }
    Ok(out.flush()?)
}

/// The offsets that a group has committed.
pub(crate) async fn committed(cluster: &mut Cluster, coordinator: i32, group: &str) -> Result<BTreeMap<Place, i64>, ToolProblem> {
    let deadline = cluster.deadline();
    let asked = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    loop {
        let answer = cluster.ask(coordinator, &request).await?;
        let Some(found) = answer.groups.into_iter().next() else { return Ok(BTreeMap::new()) };
        if found.error_code != 0 {
            if is_retriable(found.error_code) && cluster.pause(deadline).await {
                continue;
            }
            return Err(ToolProblem::refused(format!("offsets of group '{group}'"), found.error_code, None));
        }
        let mut offsets = BTreeMap::new();
        for topic in &found.topics {
            let known = topic.partitions.iter().filter(|partition| partition.error_code == 0 && partition.committed_offset >= 0);
            offsets.extend(known.map(|partition| ((topic.name.to_string(), partition.partition_index), partition.committed_offset)));
        }
        return Ok(offsets);
    }
}

/// A partition as `groups describe` shows it.
struct Row<'a> {
    place: Place,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<&'a Member>,
}

impl Row<'_> {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

async fn describe(cluster: &mut Cluster, common: &Common, name: &str) -> Result<(), ToolProblem> {
    let coordinator = cluster.coordinator(name).await?;
    let Some(group) = group_members::describe(cluster, coordinator, name).await? else {
        return Err(ToolProblem::NoGroup(name.to_owned()));
    };
    let committed = committed(cluster, coordinator, name).await?;
    let mut places: BTreeSet<Place> = committed.keys().cloned().collect();
    places.extend(group.members.iter().flat_map(|member| member.assigned.iter().cloned()));
    // Of a topic that was deleted there is no end.
    let names: Vec<String> = places.iter().map(|(topic, _)| topic.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let topics = if names.is_empty() { Vec::new() } else { cluster.metadata(Some(&names), false).await? };
    let exists = |place: &&Place| topics.iter().any(|topic| topic.name == place.0 && topic.partitions.iter().any(|p| p.index == place.1));
    let living: Vec<Place> = places.iter().filter(exists).cloned().collect();
    let ends = offsets::list(cluster, &living, LATEST).await?;
    let row = |place: Place| {
        let member = group.members.iter().find(|member| member.assigned.contains(&place));
        Row { committed: committed.get(&place).copied(), end: ends.get(&place).copied(), member, place }
    };
    show(common, name, &group, &places.into_iter().map(row).collect::<Vec<_>>())
}

fn show(common: &Common, name: &str, group: &Group, rows: &[Row<'_>]) -> Result<(), ToolProblem> {
    let mut out = output::stdout();
    if common.json {
        let member = |member: &Member| json!({ "member": member.id, "instance": member.instance_id, "client": member.client_id, "host": member.host, "partitions": member.assigned.len() });
        let partition = |row: &Row<'_>| {
            json!({ "topic": row.place.0, "partition": row.place.1, "committed": row.committed, "end": row.end, "lag": row.lag(),
                    "member": row.member.map(|member| &member.id) })
        };
        let document = json!({
            "group": name, "type": group.kind, "state": group.state, "assignor": group.assignor,
            "members": group.members.iter().map(member).collect::<Vec<Value>>(), "partitions": rows.iter().map(partition).collect::<Vec<Value>>(),
        });
        output::json(&mut out, &document)?;
        return Ok(out.flush()?);
    }
    let assignor = if group.assignor.is_empty() { String::new() } else { format!(", assignor {}", group.assignor) };
    writeln!(out, "group {name} ({}) is {} with {}{assignor}", group.kind, group.state, output::count(group.members.len(), "member"))?;
    let told = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let row = |row: &Row<'_>| {
        let (member, client, host) =
            row.member.map_or(("-", "-", "-"), |member| (member.id.as_str(), member.client_id.as_str(), member.host.as_str()));
        let numbers = [row.place.1.to_string(), told(row.committed), told(row.end), told(row.lag())];
        std::iter::once(row.place.0.clone()).chain(numbers).chain([member, client, host].map(str::to_owned)).collect::<Vec<String>>()
    };
    let head = ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "CLIENT", "HOST"];
    output::table(&mut out, &head, &rows.iter().map(row).collect::<Vec<_>>())?;
    Ok(out.flush()?)
}

async fn delete(cluster: &mut Cluster, common: &Common, groups: &[String]) -> Result<(), ToolProblem> {
    let mut deleted = Vec::new();
    let mut problem = None;
    for group in groups {
        let deadline = cluster.deadline();
        let coordinator = cluster.coordinator(group).await?;
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        loop {
            let answer = cluster.ask(coordinator, &request).await?;
            let code = answer.results.first().map_or(-1, |result| result.error_code);
            match ErrorCode::try_from_code(code) {
                None => deleted.push(group),
                Some(error) if error.is_retriable() && cluster.pause(deadline).await => continue,
                Some(ErrorCode::GroupIdNotFound) => problem = Some(ToolProblem::NoGroup(group.clone())),
                Some(_) => problem = Some(ToolProblem::refused(format!("group '{group}'"), code, None)),
            }
            break;
        }
    }
    let mut out = output::stdout();
    if common.json {
        output::json(&mut out, &deleted.iter().map(|name| json!({ "deleted": name })).collect())?;
    } else {
        for name in &deleted {
            writeln!(out, "deleted group {name}")?;
        }
    }
    out.flush()?;
    problem.map_or(Ok(()), Err)
}

/// `groups reset`.
struct Reset<'a> {
    group: &'a str,
    topic: &'a str,
    partitions: &'a [i32],
    to: Position,
    dry_run: bool,
}

impl Reset<'_> {
    async fn run(&self, cluster: &mut Cluster, common: &Common) -> Result<(), ToolProblem> {
        let topic = cluster.topic(self.topic, false).await?;
        let places: Vec<Place> = chosen(&topic, self.partitions)?.into_iter().map(|partition| (topic.name.clone(), partition)).collect();
        let coordinator = cluster.coordinator(self.group).await?;
        // A group that does not exist yet may have offsets too: its members then begin there.
        let found = group_members::describe(cluster, coordinator, self.group).await?;
        let members = found.map_or(0, |group| group.members.len());
        if members > 0 {
            return Err(ToolProblem::GroupInUse {
                group: self.group.to_owned(),
                members: output::count(members, "member"),
                action: "reset",
            });
        }
        let before = committed(cluster, coordinator, self.group).await?;
        let after = resolve(cluster, &places, self.to).await?;
        if !self.dry_run {
            self.commit(cluster, coordinator, &after).await?;
        }
        let mut out = output::stdout();
        if common.json {
            let row = |(place, offset): (&Place, &i64)| json!({ "topic": place.0, "partition": place.1, "before": before.get(place), "after": offset });
            let rows: Vec<Value> = after.iter().map(row).collect();
            output::json(&mut out, &json!({ "group": self.group, "dry_run": self.dry_run, "partitions": rows }))?;
        } else {
            let told = |offset: Option<&i64>| offset.map_or("-".to_owned(), ToString::to_string);
            let row =
                |(place, offset): (&Place, &i64)| vec![place.0.clone(), place.1.to_string(), told(before.get(place)), offset.to_string()];
            output::table(&mut out, &["TOPIC", "PARTITION", "BEFORE", "AFTER"], &after.iter().map(row).collect::<Vec<_>>())?;
            if self.dry_run {
                writeln!(out, "nothing was changed (--dry-run)")?;
            }
        }
        Ok(out.flush()?)
    }

    async fn commit(&self, cluster: &mut Cluster, coordinator: i32, offsets: &BTreeMap<Place, i64>) -> Result<(), ToolProblem> {
        let partition = |(place, offset): (&Place, &i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(place.1)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(text("")))
        };
        let topic =
            OffsetCommitRequestTopic::default().with_name(topic_name(self.topic)).with_partitions(offsets.iter().map(partition).collect());
        // From nobody of the group, which the broker takes only while the group has no members.
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(self.group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let deadline = cluster.deadline();
        loop {
            let answer = cluster.ask(coordinator, &request).await?;
            let refused = answer.topics.iter().flat_map(|topic| &topic.partitions).find(|partition| partition.error_code != 0);
            match refused {
                None => return Ok(()),
                Some(partition) if is_retriable(partition.error_code) && cluster.pause(deadline).await => {}
                Some(partition) => {
                    let subject = format!("offset of partition {} for group '{}'", partition.partition_index, self.group);
                    return Err(ToolProblem::refused(subject, partition.error_code, None));
                }
            }
        }
    }
}

/// The partitions that were named, or all.
pub(crate) fn chosen(topic: &crate::cluster::Topic, named: &[i32]) -> Result<Vec<i32>, ToolProblem> {
    let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
    if let Some(missing) = named.iter().find(|partition| !all.contains(partition)) {
        return Err(ToolProblem::NoPartition { topic: topic.name.clone(), partition: *missing, count: all.len() });
    }
    Ok(if named.is_empty() { all } else { named.iter().copied().collect::<BTreeSet<_>>().into_iter().collect() })
}

/// Where a position is in each place, within what is there.
pub(crate) async fn resolve(cluster: &mut Cluster, places: &[Place], position: Position) -> Result<BTreeMap<Place, i64>, ToolProblem> {
    let starts = offsets::list(cluster, places, EARLIEST).await?;
    let ends = offsets::list(cluster, places, LATEST).await?;
    let time = match position {
        Position::Timestamp(timestamp) => Some(timestamp),
        Position::Age(age) => Some(cluster.clock.now().0.saturating_sub(age).max(0)),
        Position::Earliest | Position::Latest | Position::Offset(_) | Position::BeforeEnd(_) => None,
    };
    let times = match time {
        Some(time) => offsets::list(cluster, places, time).await?,
        None => BTreeMap::new(),
    };
    let mut resolved = BTreeMap::new();
    for (place, start) in starts {
        let end = ends.get(&place).copied().unwrap_or(start).max(start);
        let offset = match position {
            Position::Earliest => start,
            Position::Latest => end,
            Position::Offset(offset) => offset,
            Position::BeforeEnd(count) => end.saturating_sub(count),
            Position::Timestamp(_) | Position::Age(_) => times.get(&place).copied().filter(|offset| *offset >= 0).unwrap_or(end),
        };
        resolved.insert(place, offset.clamp(start, end));
    }
    Ok(resolved)
}
