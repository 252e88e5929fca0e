//! What is asked of a shard, one file per operation.

mod add_partitions_to_txn;
mod describe_transactions;
mod end_txn;
mod expiration;
mod init_producer_id;
mod list_transactions;
pub(crate) mod markers;
mod timers;

use std::sync::Arc;

use model::{ProducerEpoch, ProducerId, Timestamp};
use protocol::ErrorCode;

use crate::effects::{Effects, RequestMeta, TimerEffect, TimerKey, TxnReply};
use crate::shard::TxnShard;
use crate::transaction::{Producer, Transaction};

/// The producer that a request names, of whom only the id may be one.
#[derive(Clone, Copy)]
struct Named {
    id: ProducerId,
    /// `None` is an epoch that nobody has.
    epoch: Option<ProducerEpoch>,
}

impl Named {
    /// `None` where it names nobody.
    fn new(id: i64, epoch: i16) -> Option<Self> {
        Some(Self { id: ProducerId::new(id)?, epoch: ProducerEpoch::new(epoch) })
    }

    fn producer(self) -> Option<Producer> {
        Some(Producer { id: self.id, epoch: self.epoch? })
    }
}

/// The producer that a request names; `None` where it names nobody.
fn producer(id: i64, epoch: i16) -> Option<Producer> {
    Some(Producer { id: ProducerId::new(id)?, epoch: ProducerEpoch::new(epoch)? })
}

fn answer(meta: &RequestMeta, reply: TxnReply) -> Effects {
    Effects { replies: vec![(meta.reply, reply)], ..Effects::default() }
}

/// A producer id that the operation spends.
fn take(spare: Option<ProducerId>, effects: &mut Effects) -> Result<ProducerId, ErrorCode> {
    let id = spare.ok_or(ErrorCode::CoordinatorLoadInProgress)?;
    effects.took_producer_id = true;
    Ok(id)
}

impl TxnShard {
    /// Ends an operation that decides a transaction: its markers go out, or it is completed at once if no partition needs one.
    fn decide(&mut self, now: Timestamp, id: &Arc<str>, prepared: Transaction, mut effects: Effects) -> Effects {
        effects.timers.push(TimerEffect::Cancel { key: TimerKey::Timeout { transactional_id: Arc::clone(id) } });
        effects.markers.extend(self.markers_of(id, &prepared, self.next_delivery, &prepared.partitions));
        let completed = prepared.completed(now).filter(|_| prepared.partitions.is_empty());
        let steps = std::iter::once(prepared).chain(completed).map(|step| (Arc::clone(id), step));
        self.finish(now, steps.collect(), effects)
    }

    /// Aborts an open transaction in the name of the coordinator: its producer is fenced.
    fn fence(&mut self, now: Timestamp, id: &Arc<str>, spare: Option<ProducerId>, mut effects: Effects) -> Result<Effects, ErrorCode> {
        let transaction = self.transactions.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let version = self.config.transaction_version;
        let needs_id = version.supports_epoch_bump() && transaction.is_epoch_exhausted();
        let next_producer_id = if needs_id { Some(take(spare, &mut effects)?) } else { None };
        let prepared = transaction.fenced(version, next_producer_id, now);
        Ok(self.decide(now, id, prepared, effects))
    }

    /// The own copy of a transactional id, and what is known of it.
    fn known(&self, transactional_id: &str) -> Result<(Arc<str>, &Transaction), ErrorCode> {
        let known = self.transactions.get_key_value(transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        Ok((Arc::clone(known.0), known.1))
    }
}
