//! Which entity's quota holds for a client.

use std::collections::HashMap;

use metadata::client_quotas::{CLIENT_ID, QuotaEntity, USER};

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// The principal's name.
    pub user: &'a str,
    /// The client id of the request's header; empty if there is none.
    pub client_id: &'a str,
}

/// The limits of client ids, alone or under one user.
#[derive(Clone, Debug, Default, PartialEq)]
struct ClientIds {
    by_name: HashMap<String, f64>,
    default: Option<f64>,
}

impl ClientIds {
    /// A client id's own limit, or that of the default. An empty client id has none.
    fn limit(&self, client_id: &str) -> Option<f64> {
        if client_id.is_empty() {
            return None;
        }
        self.by_name.get(client_id).copied().or(self.default)
    }

    fn set(&mut self, name: Option<&str>, limit: Option<f64>) {
        match (name, limit) {
            (None, limit) => self.default = limit,
            (Some(name), Some(limit)) => {
                self.by_name.insert(name.to_owned(), limit);
            }
            (Some(name), None) => {
                self.by_name.remove(name);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.default.is_none()
    }
}

/// The limits of a user.
#[derive(Clone, Debug, Default, PartialEq)]
struct UserLimits {
    own: Option<f64>,
    client_ids: ClientIds,
}

impl UserLimits {
    fn is_empty(&self) -> bool {
        self.own.is_none() && self.client_ids.is_empty()
    }
}

/// A limit, and among whom it is shared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found<'a> {
    /// The limit.
    pub(crate) limit: f64,
    /// All with this user and client id use it together; an empty part is everybody's.
    pub(crate) shared: Client<'a>,
}

/// The limits that the metadata has of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    users: HashMap<String, UserLimits>,
    default_user: UserLimits,
    client_ids: ClientIds,
}

impl Limits {
    /// Sets or removes the limit of an entity. Entities of other kinds (addresses) change nothing.
    pub fn set(&mut self, entity: &QuotaEntity, limit: Option<f64>) {
        let part = |kind: &str| entity.0.get(kind).map(Option::as_deref);
        match (part(USER), part(CLIENT_ID)) {
            (None, None) => {}
            (None, Some(client_id)) => self.client_ids.set(client_id, limit),
            (Some(None), client_id) => set_user(&mut self.default_user, client_id, limit),
            (Some(Some(user)), client_id) => {
                let limits = self.users.entry(user.to_owned()).or_default();
                set_user(limits, client_id, limit);
                if limits.is_empty() {
                    self.users.remove(user);
                }
            }
        }
    }

    /// Whether nobody is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.default_user.is_empty() && self.client_ids.is_empty()
    }

    /// The most specific limit of a client, in the order of `ClientQuotaManager`'s class comment.
    pub(crate) fn find<'a>(&self, client: Client<'a>) -> Option<Found<'a>> {
        let Client { user, client_id } = client;
        for limits in self.users.get(user).into_iter().chain([&self.default_user]) {
            if let Some(limit) = limits.client_ids.limit(client_id) {
                return Some(Found { limit, shared: client });
            }
            if let Some(limit) = limits.own {
                return Some(Found { limit, shared: Client { user, client_id: "" } });
            }
        }
        self.client_ids.limit(client_id).map(|limit| Found { limit, shared: Client { user: "", client_id } })
    }
}

fn set_user(limits: &mut UserLimits, client_id: Option<Option<&str>>, limit: Option<f64>) {
    match client_id {
        None => limits.own = limit,
        Some(client_id) => limits.client_ids.set(client_id, limit),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn entity(parts: &[(&str, Option<&str>)]) -> QuotaEntity {
        QuotaEntity(parts.iter().map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned))).collect())
    }

    /// From the most to the least specific, with the sharing that each has for user `u` and client id `c`.
    fn levels() -> Vec<(QuotaEntity, (&'static str, &'static str))> {
        vec![
            (entity(&[(USER, Some("u")), (CLIENT_ID, Some("c"))]), ("u", "c")),
            (entity(&[(USER, Some("u")), (CLIENT_ID, None)]), ("u", "c")),
            (entity(&[(USER, Some("u"))]), ("u", "")),
            (entity(&[(USER, None), (CLIENT_ID, Some("c"))]), ("u", "c")),
            (entity(&[(USER, None), (CLIENT_ID, None)]), ("u", "c")),
            (entity(&[(USER, None)]), ("u", "")),
            (entity(&[(CLIENT_ID, Some("c"))]), ("", "c")),
            (entity(&[(CLIENT_ID, None)]), ("", "c")),
        ]
    }

    proptest! {
        #[test]
        fn the_most_specific_of_the_set_limits_holds_whatever_else_is_set(set in proptest::collection::vec(any::<bool>(), 8)) {
            let mut limits = Limits::default();
            for (place, (entity, _)) in levels().iter().enumerate() {
                limits.set(entity, Some(1.0));
                limits.set(entity, set[place].then_some(place as f64 + 1.0));
            }
            limits.set(&entity(&[(USER, Some("x"))]), Some(99.0));
            let found = limits.find(Client { user: "u", client_id: "c" });
            let expected = set.iter().position(|is_set| *is_set);
            prop_assert_eq!(found.map(|found| found.limit), expected.map(|place| place as f64 + 1.0));
            let shared = found.map(|found| (found.shared.user, found.shared.client_id));
            prop_assert_eq!(shared, expected.map(|place| levels()[place].1));
        }
    }

    #[test]
    fn an_empty_client_id_falls_to_its_user() {
        let mut limits = Limits::default();
        limits.set(&entity(&[(CLIENT_ID, None)]), Some(1.0));
        limits.set(&entity(&[(USER, Some("u")), (CLIENT_ID, None)]), Some(2.0));
        assert_eq!(limits.find(Client { user: "u", client_id: "" }), None);
        limits.set(&entity(&[(USER, None)]), Some(3.0));
        assert_eq!(limits.find(Client { user: "u", client_id: "" }).map(|found| found.limit), Some(3.0));
    }

    #[test]
    fn removing_all_that_was_set_leaves_nothing() {
        let mut limits = Limits::default();
        for (entity, _) in levels() {
            limits.set(&entity, Some(1.0));
        }
        assert!(!limits.is_empty());
        for (entity, _) in levels() {
            limits.set(&entity, None);
        }
        assert_eq!(limits, Limits::default());
        assert!(limits.is_empty());
    }
}
