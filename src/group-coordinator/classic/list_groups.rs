//! ListGroups: the groups of this shard.

use model::Timestamp;
use protocol::StrBytes;
use protocol::messages::list_groups_response::ListedGroup;
use protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use crate::effects::{Effects, GroupReply, RequestMeta};
use crate::group::Group;
use crate::operation::Operation;
use crate::replies::text;
use crate::shard::GroupShard;

const CLASSIC: &str = "classic";
/// ListGroups from here on says in which state a group is (KIP-518).
const LIST_WITH_STATES: i16 = 4;
/// ListGroups from here on says of which type a group is (KIP-848).
const LIST_WITH_TYPES: i16 = 5;

impl GroupShard {
    /// Handles ListGroups. Names of states and types are compared without regard to case; unknown ones match nothing.
    pub fn list_groups(&mut self, now: Timestamp, meta: RequestMeta, request: ListGroupsRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let named = |names: &[StrBytes], name: &str| names.is_empty() || names.iter().any(|one| one.trim().eq_ignore_ascii_case(name));
        let is_asked = |group: &&Group| named(&request.states_filter, group.state.name()) && named(&request.types_filter, CLASSIC);
        let list = |group: &Group| {
            let listed = ListedGroup::default()
                .with_group_id(GroupId(text(&group.id)))
                .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or("")));
            let state = if meta.api_version >= LIST_WITH_STATES { group.state.name() } else { "" };
            let kind = if meta.api_version >= LIST_WITH_TYPES { CLASSIC } else { "" };
            listed.with_group_state(StrBytes::from_static_str(state)).with_group_type(StrBytes::from_static_str(kind))
        };
        let groups = self.groups.values().filter(is_asked).map(list).collect();
        operation.reply(meta.reply, GroupReply::ListGroups(ListGroupsResponse::default().with_groups(groups)));
        operation.effects
    }
}
