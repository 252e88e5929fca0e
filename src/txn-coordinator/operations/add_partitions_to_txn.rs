//! AddPartitionsToTxn and AddOffsetsToTxn: partitions join a transaction, or a leader asks whether they have.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{PartitionIndex, Timestamp, TopicName, TopicPartition, partition_for};
use protocol::ErrorCode;
use protocol::messages::AddOffsetsToTxnRequest;
use protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTransaction;

use super::{Named, answer};
use crate::effects::{Effects, RequestMeta, TimerEffect, TimerKey};
use crate::replies;
use crate::shard::TxnShard;
use crate::transaction::{State, Transaction};
use crate::version::TransactionVersion;

/// The topic whose partitions hold the offsets of groups.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The longest name that a topic may have.
const TOPIC_NAME_BYTES_MAX: usize = 249;

impl TxnShard {
    /// Handles one transaction of AddPartitionsToTxn (up to version 3 a request has one, from the client; later ones come from leaders and have
    /// several). That the topics exist was checked by the caller. All partitions join or none.
    ///
    /// With `verify_only` nothing is written: a partition that is not in the transaction gets TRANSACTION_ABORTABLE (KIP-890). A leader that asks
    /// must ask before it appends the first batch of a transaction, and append only if nothing of that transaction has ended meanwhile.
    pub fn add_partitions_to_txn(&mut self, now: Timestamp, meta: RequestMeta, request: AddPartitionsToTxnTransaction) -> Effects {
        let transactional_id = request.transactional_id.as_str();
        let asked = partitions(&request);
        let named: BTreeSet<TopicPartition> = asked.clone().unwrap_or_default();
        let from = Named::new(request.producer_id.0, request.producer_epoch);
        let all = |error: Option<ErrorCode>| {
            let partitions = named.iter().map(|partition| (partition, error));
            replies::add_partitions(meta.api_version, transactional_id, partitions)
        };
        if asked.is_none() || transactional_id.is_empty() {
            return answer(&meta, all(Some(ErrorCode::InvalidRequest)));
        }
        if request.verify_only {
            return match self.verifiable(transactional_id, from) {
                Err(error) => answer(&meta, all(Some(error))),
                Ok(transaction) => {
                    let is_in = |partition| transaction.partitions.contains(partition);
                    let verified = |partition| (partition, (!is_in(partition)).then_some(ErrorCode::TransactionAbortable));
                    answer(&meta, replies::add_partitions(meta.api_version, transactional_id, named.iter().map(verified)))
                }
            };
        }
        let client_version = TransactionVersion::of_add_partitions_to_txn(meta.api_version);
        match self.joined(now, transactional_id, from, &named, client_version) {
            Err(error) => answer(&meta, all(Some(error))),
            Ok(None) => answer(&meta, all(None)),
            Ok(Some(step)) => self.join(now, step, answer(&meta, all(None))),
        }
    }

    /// Handles AddOffsetsToTxn: the partition of `__consumer_offsets` that holds the group joins the transaction. `offsets_partitions` is how many
    /// that topic has. Only clients without transaction.version 2 send it.
    pub fn add_offsets_to_txn(
        &mut self,
        now: Timestamp,
        meta: RequestMeta,
        request: AddOffsetsToTxnRequest,
        offsets_partitions: i32,
    ) -> Effects {
        let partition = PartitionIndex::new_or_zero(partition_for(&request.group_id, offsets_partitions));
        let named = BTreeSet::from([TopicPartition { topic: TopicName::from(OFFSETS_TOPIC), partition }]);
        let from = Named::new(request.producer_id.0, request.producer_epoch);
        let reply = |outcome| replies::add_offsets(meta.api_version, outcome);
        match self.joined(now, &request.transactional_id, from, &named, TransactionVersion::V0) {
            Err(error) => answer(&meta, reply(Err(error))),
            Ok(None) => answer(&meta, reply(Ok(()))),
            Ok(Some(step)) => self.join(now, step, answer(&meta, reply(Ok(())))),
        }
    }

    fn verifiable(&self, transactional_id: &str, from: Option<Named>) -> Result<&Transaction, ErrorCode> {
        let (_, transaction) = self.known(transactional_id)?;
        check_producer(transaction, from)?;
        if transaction.state.prepared().is_some() { Err(ErrorCode::ConcurrentTransactions) } else { Ok(transaction) }
    }

    /// The step of partitions that join; `None` if they are all in.
    fn joined(
        &self,
        now: Timestamp,
        transactional_id: &str,
        from: Option<Named>,
        partitions: &BTreeSet<TopicPartition>,
        client_version: TransactionVersion,
    ) -> Result<Option<(Arc<str>, Transaction)>, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let (id, transaction) = self.known(transactional_id)?;
        // KAFKA-18575: the client may know the next epoch, or the next producer id, before the last transaction is finished. It must wait, not die.
        if transaction.state.prepared().is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        check_producer(transaction, from)?;
        if transaction.state == State::Ongoing && partitions.is_subset(&transaction.partitions) {
            return Ok(None);
        }
        Ok(Some((id, transaction.with_partitions(partitions.clone(), client_version, now))))
    }

    fn join(&mut self, now: Timestamp, step: (Arc<str>, Transaction), mut effects: Effects) -> Effects {
        if let Some(at) = step.1.timeout_at() {
            effects.timers.push(TimerEffect::Arm { key: TimerKey::Timeout { transactional_id: Arc::clone(&step.0) }, at });
        }
        self.finish(now, vec![step], effects)
    }
}

fn check_producer(transaction: &Transaction, from: Option<Named>) -> Result<(), ErrorCode> {
    match from {
        Some(from) if from.id != transaction.producer_id => Err(ErrorCode::InvalidProducerIdMapping),
        Some(from) if from.producer().is_some_and(|from| transaction.is_of(from)) => Ok(()),
        Some(_) => Err(ErrorCode::ProducerFenced),
        None => Err(ErrorCode::InvalidProducerIdMapping),
    }
}

/// The partitions that a request names; `None` if one of them cannot exist.
fn partitions(request: &AddPartitionsToTxnTransaction) -> Option<BTreeSet<TopicPartition>> {
    let mut named = BTreeSet::new();
    for topic in &request.topics {
        if topic.name.len() > TOPIC_NAME_BYTES_MAX {
            return None;
        }
        let name = TopicName::from(topic.name.as_str());
        for partition in &topic.partitions {
            named.insert(TopicPartition { topic: name.clone(), partition: PartitionIndex::new(*partition)? });
        }
    }
    Some(named)
}
