//! Flags, environment and file become one map: flags beat the environment, the environment beats the file.

use std::collections::BTreeMap;
use std::path::Path;

use broker::config::{Mode, Origin, RawConfig, parse_address};

use crate::args::BrokerArgs;
use crate::{Problem, environment};

/// The environment of the process.
pub type Variables = BTreeMap<String, String>;

/// A properties file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertiesFile {
    /// As it was named.
    pub path: String,
    /// Its entries in order.
    pub entries: Vec<(String, String)>,
}

/// Which defaults hold.
#[must_use]
pub const fn mode(args: &BrokerArgs) -> Mode {
    if args.is_server { Mode::Server } else { Mode::Developer }
}

/// Merges all that was given. `ephemeral` is the temporary data directory, if there is one.
///
/// # Errors
/// A flag's value is not understood.
pub fn merge(
    args: &BrokerArgs,
    variables: &Variables,
    file: Option<PropertiesFile>,
    ephemeral: Option<&Path>,
    host_name: &str,
) -> Result<RawConfig, Problem> {
    let mut raw = RawConfig { host_name: host_name.to_owned(), ..RawConfig::default() };
    if let Some(file) = file {
        for (key, value) in file.entries {
            raw.set(key, value, Origin::File { path: file.path.clone() });
        }
    }
    for (variable, value) in variables {
        if let Some(key) = environment::key_of(variable) {
            raw.set(key, value, Origin::Environment { variable: variable.clone() });
        }
    }
    raw.cluster_id = variables.get("CLUSTER_ID").cloned();
    for (key, value) in &args.overrides {
        raw.set(key, value, Origin::Flag { flag: "--override" });
    }
    if let Some(listen) = &args.listen {
        if parse_address(listen).is_none() {
            return Err(Problem::address("--listen", listen, "127.0.0.1:9092"));
        }
        raw.set("listeners", format!("PLAINTEXT://{listen}"), Origin::Flag { flag: "--listen" });
    }
    if let Some(http) = &args.http {
        if parse_address(http).is_none() {
            return Err(Problem::address("--http", http, "127.0.0.1:9080"));
        }
        raw.set("klamm.http.listen", http, Origin::Flag { flag: "--http" });
    }
    if let Some(data) = args.data.as_deref() {
        raw.set("log.dirs", data.to_string_lossy(), Origin::Flag { flag: "--data" });
    }
    if let Some(directory) = ephemeral {
        raw.set("log.dirs", directory.to_string_lossy(), Origin::Flag { flag: "--ephemeral" });
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> BrokerArgs {
        let (is_server, is_ephemeral, brokers) = (true, false, 1);
        let (listen, http, join, broker_id, data) = (None, None, None, None, None);
        BrokerArgs { is_server, config_file: None, listen, http, brokers, join, broker_id, data, is_ephemeral, overrides: Vec::new() }
    }

    fn file(key: &str, value: &str) -> Option<PropertiesFile> {
        Some(PropertiesFile { path: "f".to_owned(), entries: vec![(key.to_owned(), value.to_owned())] })
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn value(raw: &RawConfig, key: &str) -> Option<String> {
        raw.entries.get(key).map(|given| format!("{} {}", given.value, given.origin))
    }

    #[test]
    fn flags_beat_the_environment_and_the_environment_beats_the_file() {
        let key = "num.partitions";
        let none = merge(&args(), &variables(&[]), file(key, "1"), None, "h").expect("good");
        assert_eq!(value(&none, key).as_deref(), Some("1 from f"));
        let environment = variables(&[("KAFKA_NUM_PARTITIONS", "2"), ("CLUSTER_ID", "c"), ("HOME", "/")]);
        let two = merge(&args(), &environment, file(key, "1"), None, "h").expect("good");
        assert_eq!(value(&two, key).as_deref(), Some("2 from the environment variable KAFKA_NUM_PARTITIONS"));
        assert_eq!((two.cluster_id.as_deref(), two.entries.len()), (Some("c"), 1));
        let flags = BrokerArgs { overrides: vec![(key.to_owned(), "3".to_owned())], ..args() };
        let three = merge(&flags, &environment, file(key, "1"), None, "h").expect("good");
        assert_eq!(value(&three, key).as_deref(), Some("3 from --override"));
    }

    #[test]
    fn the_developers_flags_are_keys_as_well() {
        let flags = BrokerArgs {
            is_server: false,
            listen: Some("[::1]:0".to_owned()),
            http: Some(":1".to_owned()),
            data: Some("d".into()),
            ..args()
        };
        let environment = variables(&[("KAFKA_LISTENERS", "X://y:1"), ("KAFKA_LOG_DIRS", "e")]);
        let raw = merge(&flags, &environment, None, None, "h").expect("good");
        assert_eq!(value(&raw, "listeners").as_deref(), Some("PLAINTEXT://[::1]:0 from --listen"));
        assert_eq!(value(&raw, "log.dirs").as_deref(), Some("d from --data"));
        assert_eq!(value(&raw, "klamm.http.listen").as_deref(), Some(":1 from --http"));
        let ephemeral = BrokerArgs { is_ephemeral: true, data: None, ..flags };
        let raw = merge(&ephemeral, &environment, None, Some(Path::new("/t")), "h").expect("good");
        assert_eq!(value(&raw, "log.dirs").as_deref(), Some("/t from --ephemeral"));
    }

    #[test]
    fn an_address_without_a_port_is_refused_in_one_sentence() {
        for listen in ["here", "here:", "here:70000", "a b:1", ""] {
            let flags = BrokerArgs { listen: Some(listen.to_owned()), ..args() };
            let problem = merge(&flags, &variables(&[]), None, None, "h").expect_err("refused").to_string();
            assert!(problem.starts_with(&format!("invalid value '{listen}' for '--listen <HOST:PORT>'")), "{problem}");
            let flags = BrokerArgs { http: Some(listen.to_owned()), ..args() };
            let problem = merge(&flags, &variables(&[]), None, None, "h").expect_err("refused").to_string();
            assert!(problem.starts_with(&format!("invalid value '{listen}' for '--http <HOST:PORT>'")), "{problem}");
            assert_eq!(problem.contains("port 70000 is out of range"), listen == "here:70000", "{problem}");
        }
    }
}
