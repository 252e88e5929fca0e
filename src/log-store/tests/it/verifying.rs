//! The coordinator's word on a transaction, and the append that it allows.

use log_store::{AppendError, PartitionLog, TransactionCheck, VerifiedProducer};
use model::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{AppendOrigin, BatchBuilder, CheckedBatch, EndTxnMarker};

use crate::scratch::*;

fn data(producer_epoch: i16, first_sequence: i32) -> CheckedBatch {
    let (id, epoch) = (ProducerId::new_or_zero(7), ProducerEpoch::new_or_zero(producer_epoch));
    let mut builder = BatchBuilder::new().with_producer(id, epoch, Sequence::new(first_sequence)).with_transactional(true);
    builder.append(NOW, None, Some(b"value"), &[]);
    CheckedBatch::from_trusted(builder.build()).unwrap()
}

fn marker(producer_epoch: i16) -> CheckedBatch {
    let marker = EndTxnMarker { is_commit: true, coordinator_epoch: 0 };
    let bytes = marker.batch(ProducerId::new_or_zero(7), ProducerEpoch::new_or_zero(producer_epoch), Timestamp(NOW));
    CheckedBatch::from_trusted(bytes).unwrap()
}

fn verify(log: &PartitionLog, producer_epoch: i16, first_sequence: i32, has_own_epoch: bool) -> TransactionCheck {
    let producer_epoch = ProducerEpoch::new_or_zero(producer_epoch);
    let first_sequence = Sequence::new(first_sequence).unwrap();
    let producer = VerifiedProducer { producer_id: ProducerId::new_or_zero(7), producer_epoch, first_sequence, has_own_epoch };
    log.begin_verification(&producer, Timestamp(NOW))
}

#[test]
fn a_word_that_came_before_the_end_of_the_transaction_is_worth_nothing_after_it() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    let word = verify(&log, 0, 0, false);
    send(&store, &log, marker(0), TransactionCheck::Unchecked, AppendOrigin::Coordinator).unwrap();
    let refused = send(&store, &log, data(0, 0), word, AppendOrigin::Client).unwrap_err();
    assert!(matches!(refused, AppendError::Unverified { .. }), "{refused}");
    let word = verify(&log, 0, 0, false);
    send(&store, &log, data(0, 0), word, AppendOrigin::Client).unwrap();
    // Open by now, of this epoch and no other.
    assert_eq!(verify(&log, 0, 1, false), TransactionCheck::Ongoing);
    assert_ne!(verify(&log, 1, 0, false), TransactionCheck::Ongoing);
    send(&store, &log, data(0, 1), TransactionCheck::Ongoing, AppendOrigin::Client).unwrap();
    send(&store, &log, marker(0), TransactionCheck::Unchecked, AppendOrigin::Coordinator).unwrap();
    let refused = send(&store, &log, data(0, 2), TransactionCheck::Ongoing, AppendOrigin::Client).unwrap_err();
    assert!(matches!(refused, AppendError::Unverified { .. }), "{refused}");
}

#[test]
fn a_later_batch_does_not_overtake_the_first_one_whose_verification_failed() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    verify(&log, 0, 0, false);
    let word = verify(&log, 0, 1, false);
    let refused = send(&store, &log, data(0, 1), word, AppendOrigin::Client).unwrap_err();
    assert!(matches!(refused, AppendError::OutOfOrderSequence { .. }), "{refused}");
    send(&store, &log, data(0, 0), word, AppendOrigin::Client).unwrap();
    // With an epoch for each transaction there is no other first sequence than zero.
    let other = crate::scratch::log(&store, 1);
    let word = verify(&other, 3, 5, true);
    let refused = send(&store, &other, data(3, 5), word, AppendOrigin::Client).unwrap_err();
    assert!(matches!(refused, AppendError::OutOfOrderSequence { .. }), "{refused}");
}

#[test]
fn with_an_epoch_for_each_transaction_the_marker_of_an_ended_one_does_not_end_the_next() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    let end = |epoch| send(&store, &log, marker(epoch), TransactionCheck::EpochPerTransaction, AppendOrigin::Coordinator);
    send(&store, &log, data(0, 0), TransactionCheck::Unchecked, AppendOrigin::Client).unwrap();
    end(1).unwrap();
    // Sent again, since its answer was lost.
    end(1).unwrap();
    send(&store, &log, data(1, 0), TransactionCheck::Unchecked, AppendOrigin::Client).unwrap();
    let refused = end(1).unwrap_err();
    assert!(matches!(refused, AppendError::InvalidProducerEpoch { .. }), "{refused}");
    end(2).unwrap();
}

#[test]
fn with_an_epoch_for_each_transaction_a_word_on_the_next_one_outlives_the_marker_of_the_last_one_and_no_later_marker() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    let end = |epoch| send(&store, &log, marker(epoch), TransactionCheck::EpochPerTransaction, AppendOrigin::Coordinator);
    send(&store, &log, data(0, 0), TransactionCheck::Unchecked, AppendOrigin::Client).unwrap();
    let word = verify(&log, 1, 0, true);
    end(1).unwrap();
    send(&store, &log, data(1, 0), word, AppendOrigin::Client).unwrap();
    end(2).unwrap();
    let word = verify(&log, 2, 0, true);
    end(3).unwrap();
    let refused = send(&store, &log, data(2, 0), word, AppendOrigin::Client).unwrap_err();
    assert!(matches!(refused, AppendError::Unverified { .. } | AppendError::InvalidProducerEpoch { .. }), "{refused}");
}
