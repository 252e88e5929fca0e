//! `KAFKA_*` variables, as Kafka's container image reads them.

/// The key that a variable sets: without the prefix, in lower case, `___` for `-`, `__` for `_`, `_` for `.`.
#[must_use]
pub fn key_of(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix("KAFKA_").filter(|rest| !rest.is_empty())?;
    // The longest first. The stand-ins are no characters of a key, so that a later step does not take the result of an earlier one.
    let marked = rest.to_lowercase().replace("___", "\u{1}").replace("__", "\u{2}").replace('_', ".");
    Some(marked.replace('\u{1}', "-").replace('\u{2}', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_become_what_kafkas_image_makes_of_them() {
        let table = [
            ("KAFKA_NODE_ID", Some("node.id")),
            ("KAFKA_LOG_DIRS", Some("log.dirs")),
            ("KAFKA_A__B", Some("a_b")),
            ("KAFKA_A___B", Some("a-b")),
            ("KAFKA_A___B__C_D", Some("a-b_c.d")),
            ("KAFKA_LISTENER_NAME_X_SASL_JAAS_CONFIG", Some("listener.name.x.sasl.jaas.config")),
            ("KAFKA_KLAMM_DURABILITY", Some("klamm.durability")),
            ("KAFKA_", None),
            ("CLUSTER_ID", None),
            ("XKAFKA_A", None),
        ];
        for (variable, key) in table {
            assert_eq!(key_of(variable).as_deref(), key, "{variable}");
        }
    }
}
