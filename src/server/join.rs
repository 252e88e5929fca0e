//! `klamm --join HOST:PORT`: a broker becomes one of a cluster that runs, and remembers that it is.
//!
//! The seed is asked which cluster it is of, who votes in it and which ids are taken. What the newcomer is from then on stands beside its data,
//! under the name and in the words of Kafka (`meta.properties`), so that it is the same broker when it is started again, with `--join` or without.
//! It observes the metadata quorum until it is made a voter (`klamm voters add`), or asks to be one (`controller.quorum.auto.join.enable`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::config::{HostPort, Origin, RawConfig, parse_address};
use broker::quorum_frames::Who;
use model::BrokerId;
use wire::clock::SystemClock;

use crate::{Problem, properties};

const META: &str = "meta.properties";
/// What the file system itself puts into a directory.
const LOST_AND_FOUND: &str = "lost+found";
/// A broker that has just died counts as running until the controller has noticed.
const ID_FREE_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);

/// What a joined broker remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    cluster_id: String,
    broker_id: BrokerId,
    /// Where to ask for the cluster.
    seeds: Vec<String>,
    /// The port that it had, if it was told none.
    port: Option<u16>,
}

/// Where it is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    path: PathBuf,
    membership: Membership,
    /// Whether it was told where to listen.
    is_told_where: bool,
}

impl Note {
    /// Which broker of which cluster it is, for people.
    pub(crate) fn member(&self) -> String {
        format!("broker {} of cluster {}", self.membership.broker_id, self.membership.cluster_id)
    }

    /// Writes it down, whole or not at all, with the port that the broker has: other voters look for it there when all begin anew.
    pub(crate) fn write(&self, port: Option<u16>) -> io::Result<()> {
        let Membership { cluster_id, broker_id, seeds, port: _ } = &self.membership;
        let seeds = seeds.join(",");
        let mut text = format!("version=1\ncluster.id={cluster_id}\nnode.id={broker_id}\nklamm.join={seeds}\n");
        if let Some(port) = port.filter(|_| !self.is_told_where) {
            text.push_str(&format!("klamm.port={port}\n"));
        }
        let unfinished = self.path.with_extension("properties.tmp");
        fs::write(&unfinished, text)?;
        fs::File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, &self.path)
    }
}

/// What a broker is asked to join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// `--join`, if it was given.
    pub(crate) seed: Option<&'a str>,
    /// `--broker-id`.
    pub(crate) broker_id: Option<i32>,
}

/// Makes the configuration of a broker that joins or has joined; leaves that of any other as it is.
///
/// # Errors
/// One sentence.
pub(crate) async fn plan(raw: &mut RawConfig, data: &Path, wish: Wish<'_>) -> Result<Option<Note>, Problem> {
    let path = data.join(META);
    let remembered = read(data)?;
    if wish.seed.is_none() && remembered.is_none() {
        return Ok(None);
    }
    let refused = |reason: String| Problem::Join(reason);
    let seed = wish.seed.map(|text| address_of(text).map(|_| text.to_owned())).transpose()?;
    let seeds: Vec<String> = seed.clone().into_iter().chain(remembered.iter().flat_map(|known| known.seeds.clone())).collect();
    let wants_id = remembered.is_none() && wish.broker_id.is_none();
    let found = find(&seeds, wants_id).await;
    let membership = match (remembered, found) {
        (Some(known), Ok((who, at))) if who.cluster_id != known.cluster_id => {
            return Err(refused(format!(
                "the broker at {at} is of cluster {}, but {} belongs to cluster {}; use another directory, or another seed",
                who.cluster_id,
                data.display(),
                known.cluster_id
            )));
        }
        (Some(known), _) if wish.broker_id.is_some_and(|wished| wished != known.broker_id.get()) => {
            return Err(refused(format!(
                "{} belongs to broker {}; use another directory, or leave --broker-id out",
                data.display(),
                known.broker_id
            )));
        }
        (Some(known), Ok((who, _))) => Membership { seeds: seeds_of(seed.as_deref(), &who), ..known },
        // It knows enough to look for the others while it starts.
        (Some(known), Err(_)) => known,
        (None, Err(reason)) => return Err(refused(reason)),
        (None, Ok((who, at))) => {
            if !is_fresh(data)? {
                return Err(refused(format!(
                    "{} holds the data of a broker that has not joined a cluster; name an empty directory with --data",
                    data.display()
                )));
            }
            if let Some(wished) = raw.cluster_id.as_ref().filter(|wished| **wished != who.cluster_id) {
                return Err(refused(format!("the broker at {at} is of cluster {}, not of {wished}", who.cluster_id)));
            }
            let broker_id = id_for(wish.broker_id, &who, &at).await?;
            Membership { cluster_id: who.cluster_id.clone(), broker_id, seeds: seeds_of(seed.as_deref(), &who), port: None }
        }
    };
    let origin = || Origin::Flag { flag: "--join" };
    if !asks_for_vote(raw) {
        raw.set("process.roles", "broker", origin());
    }
    raw.set("node.id", membership.broker_id.to_string(), origin());
    raw.set("controller.quorum.bootstrap.servers", membership.seeds.join(","), origin());
    let is_told_where = raw.entries.contains_key("listeners");
    if !is_told_where {
        // The port of a developer's first broker is likely to be taken by that; the one that it had before may be taken meanwhile.
        let port = membership.port.filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap_or(0);
        raw.set("listeners", format!("PLAINTEXT://127.0.0.1:{port}"), origin());
    }
    raw.cluster_id = Some(membership.cluster_id.clone());
    Ok(Some(Note { path, membership, is_told_where }))
}

/// Whether the newcomer is told to ask for a vote, which only a controller may have.
fn asks_for_vote(raw: &RawConfig) -> bool {
    raw.entries.get("controller.quorum.auto.join.enable").is_some_and(|entry| entry.value.trim().eq_ignore_ascii_case("true"))
}

/// The first seed that answers.
async fn find(seeds: &[String], wants_id: bool) -> Result<(Who, String), String> {
    let clock = SystemClock::shared();
    let mut last = String::new();
    for seed in seeds {
        let Some(address) = parse_address(seed) else { continue };
        match broker::ask_who(&address, wants_id, &*clock).await {
            Ok(who) if who.cluster_id.is_empty() => last = format!("the broker at {seed} is not in a cluster yet"),
            Ok(who) => return Ok((who, seed.clone())),
            Err(error) => last = format!("no broker of a klamm cluster answers at {seed} ({error})"),
        }
    }
    Err(last)
}

/// The id of a newcomer: the one that it wishes, if no running broker has it, else the one that it is offered.
async fn id_for(wished: Option<i32>, who: &Who, seed: &str) -> Result<BrokerId, Problem> {
    let Some(wished) = wished else {
        return who.offered.ok_or_else(|| Problem::Join(format!("the broker at {seed} offers no broker id; give one with --broker-id")));
    };
    let refused = |why: &str| Problem::Join(format!("broker id {wished} {why}; choose another with --broker-id, or leave it out"));
    let wished = BrokerId::new(wished).ok_or_else(|| refused("is not possible"))?;
    let clock = SystemClock::shared();
    let until = clock.monotonic() + ID_FREE_WITHIN;
    let mut who = who.clone();
    loop {
        match use_of(wished, &who) {
            Use::Free => return Ok(wished),
            Use::Votes => return Err(refused("belongs to a voter of the metadata quorum")),
            Use::Runs if clock.monotonic() >= until => return Err(refused("is in use by a running broker")),
            Use::Runs => clock.sleep_until(clock.monotonic() + PAUSE).await,
        }
        if let Ok((newer, _)) = find(&[seed.to_owned()], false).await {
            who = newer;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Runs,
    Votes,
}

/// Whose an id is. That of a broker that does not run may be taken over: its disk may have been lost.
fn use_of(id: BrokerId, who: &Who) -> Use {
    if who.voters.contains_key(&id) {
        Use::Votes
    } else if who.brokers.iter().any(|broker| broker.id == id && broker.is_alive) {
        Use::Runs
    } else {
        Use::Free
    }
}

/// Where the cluster is found next time: by the seed, and by those who vote.
fn seeds_of(seed: Option<&str>, who: &Who) -> Vec<String> {
    let mut seeds: Vec<String> = seed.into_iter().map(str::to_owned).collect();
    for address in who.voters.values().map(ToString::to_string) {
        if !seeds.contains(&address) {
            seeds.push(address);
        }
    }
    seeds
}

fn address_of(text: &str) -> Result<HostPort, Problem> {
    let address = parse_address(text).filter(|address| !address.is_every_address());
    address.ok_or_else(|| Problem::address("--join", text, "127.0.0.1:9092"))
}

fn is_fresh(data: &Path) -> Result<bool, Problem> {
    match fs::read_dir(data) {
        Ok(mut entries) => Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOST_AND_FOUND))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(Problem::Data { path: data.to_owned(), source }),
    }
}

fn read(data: &Path) -> Result<Option<Membership>, Problem> {
    let path = data.join(META);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Problem::Data { path: data.to_owned(), source }),
    };
    let entries = properties::parse(&properties::decode(&bytes)).map_err(|source| Problem::Properties { path: path.clone(), source })?;
    let value = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    // Kafka's own file has no seeds in it; what to say of such a directory is known better where it is opened.
    let Some(seeds) = value("klamm.join") else { return Ok(None) };
    let broker_id = value("node.id").and_then(|id| id.parse().ok()).and_then(BrokerId::new);
    let (Some(cluster_id), Some(broker_id)) = (value("cluster.id"), broker_id) else {
        return Err(Problem::Join(format!("{} does not say cluster.id and node.id", path.display())));
    };
    let port = value("klamm.port").and_then(|port| port.parse().ok());
    Ok(Some(Membership { cluster_id, broker_id, seeds: seeds.split(',').map(str::to_owned).collect(), port }))
}

#[cfg(test)]
mod tests {
    use broker::quorum_frames::Resident;

    use super::*;

    fn id(id: i32) -> BrokerId {
        BrokerId::new(id).expect("an id")
    }

    fn who(voters: &[i32], brokers: &[(i32, bool)]) -> Who {
        let address = |port: i32| HostPort { host: "h".to_owned(), port: u16::try_from(port).expect("small") };
        Who {
            cluster_id: "c".to_owned(),
            voters: voters.iter().map(|voter| (id(*voter), address(*voter))).collect(),
            offered: None,
            brokers: brokers.iter().map(|(broker, is_alive)| Resident { id: id(*broker), is_alive: *is_alive }).collect(),
        }
    }

    #[test]
    fn the_id_of_a_broker_that_does_not_run_may_be_taken_over() {
        let who = who(&[1], &[(1, false), (2, true), (3, false)]);
        assert_eq!([1, 2, 3, 4].map(|wished| use_of(id(wished), &who)), [Use::Votes, Use::Runs, Use::Free, Use::Free]);
    }

    #[test]
    fn a_membership_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(read(directory.path()).expect("readable"), None);
        assert!(is_fresh(directory.path()).expect("readable"));
        let seeds = seeds_of(Some("s:1"), &who(&[1, 2], &[]));
        assert_eq!(seeds, ["s:1", "h:1", "h:2"]);
        let membership = Membership { cluster_id: "c".to_owned(), broker_id: id(3), seeds, port: Some(5) };
        let note = Note { path: directory.path().join(META), membership, is_told_where: false };
        note.write(Some(5)).expect("writable");
        assert_eq!(read(directory.path()).expect("readable"), Some(note.membership.clone()));
        Note { is_told_where: true, ..note }.write(Some(5)).expect("writable");
        assert_eq!(read(directory.path()).expect("readable").and_then(|known| known.port), None, "it is told each time");
        assert!(!is_fresh(directory.path()).expect("readable"));
    }
}
