//! What a stopped broker's metadata log holds, without a quorum.

use std::collections::BTreeSet;

use log_store::SyncedLog;
use metadata::Image;
use model::BrokerId;
use openraft::EntryPayload;
use thiserror::Error;

use crate::disk::{Disk, DiskError};
use crate::node::broker_of;
use crate::types::Membership;
use crate::{format, state_machine};

/// Why a metadata log cannot be looked at.
#[derive(Debug, Error)]
#[error("the metadata log cannot be read: {0}")]
pub struct UnreadableMetadata(DiskError);

/// What a metadata log holds. Its last entries may not have been agreed upon: it is a look at this disk, not at the cluster.
#[derive(Clone, Debug, Default)]
pub struct OnDisk {
    /// The image after the last entry.
    pub image: Image,
    /// Who votes by the last word on that, agreed upon or not; while voters change, the former and the new ones. Empty if the log has not begun.
    pub voters: BTreeSet<BrokerId>,
    /// Voters and observers.
    pub members: BTreeSet<BrokerId>,
}

/// Looks at a log that no quorum uses at present.
///
/// # Errors
/// If snapshot or entries cannot be read.
pub fn look(log: &SyncedLog) -> Result<OnDisk, UnreadableMetadata> {
    read(log).map_err(UnreadableMetadata)
}

pub(crate) fn read(disk: &dyn Disk) -> Result<OnDisk, DiskError> {
    let (mut found, mut from) = (OnDisk::default(), 0);
    if let Some((_, snapshot)) = state_machine::snapshot_on(disk)? {
        found.image = Image::from_snapshot(&snapshot.image)?;
        from = snapshot.last.map_or(0, |last| last.index.saturating_add(1));
        found.take_over(snapshot.membership.membership());
    }
    for (index, bytes) in disk.read(from, u64::MAX)? {
        let entry = format::decode_entry(&bytes)?;
        let records = match entry.payload {
            EntryPayload::Normal(proposal) => proposal.counting(&entry.log_id).unwrap_or_default(),
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(membership) => {
                found.take_over(&membership);
                Vec::new()
            }
        };
        found.image = found.image.apply(index, &records).0;
    }
    Ok(found)
}

impl OnDisk {
    fn take_over(&mut self, membership: &Membership) {
        self.voters = membership.voter_ids().filter_map(broker_of).collect();
        self.members = membership.nodes().filter_map(|(id, _)| broker_of(*id)).collect();
    }
}
