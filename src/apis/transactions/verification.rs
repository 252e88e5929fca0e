//! What stands before the first write of a transaction to a partition (KIP-890): the coordinator must know of it.
//!
//! In Kafka: `ReplicaManager.maybeSendPartitionsToTransactionCoordinator`, `TransactionSupportedOperation`.

use broker::partitions::{Partition, TransactionCheck, VerifiedProducer};
use broker::verification::{Asked, Question, Refusals};
use model::{ProducerEpoch, ProducerId, Sequence, TopicPartition};
use protocol::ErrorCode;

use crate::api::Context;

/// What clients of a request's version understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Understands {
    /// Neither TRANSACTION_ABORTABLE nor implicit partitions.
    Little,
    /// TRANSACTION_ABORTABLE.
    Abortable,
    /// Partitions join by being written to.
    ImplicitPartitions,
}

/// The writes of one producer in its transaction that wait for the coordinator's word.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) transactional_id: String,
    pub(crate) understands: Understands,
}

impl Writer {
    /// What a batch of the producer needs, and whether the coordinator must be asked.
    pub(crate) fn begin(
        &self,
        cx: &Context,
        partition: &Partition,
        producer: (ProducerId, ProducerEpoch, Sequence),
    ) -> (TransactionCheck, bool) {
        let has_own_epoch = self.understands == Understands::ImplicitPartitions;
        if !has_own_epoch && !is_enabled(cx) {
            return (TransactionCheck::Unchecked, false);
        }
        let (producer_id, producer_epoch, first_sequence) = producer;
        let verified = VerifiedProducer { producer_id, producer_epoch, first_sequence, has_own_epoch };
        let check = partition.begin_verification(&verified, cx.broker.clock.now());
        (check, matches!(check, TransactionCheck::Verified(_)))
    }

    /// Asks for these partitions.
    pub(crate) async fn ask(&self, cx: &Context, producer: (ProducerId, ProducerEpoch), partitions: Vec<TopicPartition>) -> Refusals {
        let question = if self.understands == Understands::ImplicitPartitions { Question::Join } else { Question::IsIn };
        let transactional_id = self.transactional_id.clone();
        let asked = Asked { transactional_id, producer_id: producer.0, producer_epoch: producer.1, partitions, question };
        cx.broker.verifier.ask(&asked).await
    }

    /// The code that a client of this version is told.
    pub(crate) fn told(&self, error: ErrorCode) -> ErrorCode {
        match error {
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ErrorCode::TransactionAbortable if self.understands == Understands::Little => ErrorCode::InvalidTxnState,
            other => other,
        }
    }
}

fn is_enabled(cx: &Context) -> bool {
    cx.broker.config.effective(&cx.broker.metadata.image(), "transaction.partition.verification.enable") != "false"
}
