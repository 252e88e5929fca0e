use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use record_batch::{BatchBuilder, BatchIter, CheckedBatch};

use super::batch_check::Density;
use super::segment_check::{Expected, Indexed, ProducedBatches, SegmentCheck};
use crate::block::OpenBlock;
use crate::keys::index::{Mark, Row};
use crate::producer_state::ProducerEntry;

fn offset(value: i64) -> Offset {
    Offset::new_or_zero(value)
}

/// Batches of two records each, of producer 7 and one leader epoch, and the row of each pair of batches, with a mark for each batch.
fn segment(batches: i32) -> (Vec<u8>, Vec<Indexed>) {
    let (mut bytes, mut rows) = (Vec::new(), Vec::new());
    let mut block = OpenBlock::new(Offset::ZERO, 0, Offset::ZERO, 0);
    for number in 0..batches {
        let (producer, epoch) = (ProducerId::new_or_zero(7), ProducerEpoch::new_or_zero(1));
        let mut builder = BatchBuilder::new().with_producer(producer, epoch, Sequence::new(number * 2));
        builder.append(1_000 + i64::from(number), None, Some(b"a"), &[]);
        builder.append(1_000, None, Some(b"b"), &[]);
        let checked = CheckedBatch::from_trusted(builder.build()).expect("a batch");
        let batch = checked.into_sequenced(offset(i64::from(number) * 2), LeaderEpoch::ZERO, None);
        block.add(batch.header(), batch.head(), batch.tail(), 1);
        bytes.extend_from_slice(&batch.to_bytes());
        if number % 2 == 1 {
            let closed = block.close();
            rows.push(Indexed { row: closed.row, marks: Some(closed.marks) });
        }
    }
    (bytes, rows)
}

/// What is said of a segment, with the sum of its batches.
fn said(bytes: &[u8], rows: Vec<Indexed>, produced: &mut ProducedBatches) -> Vec<String> {
    let expected = Expected { base_offset: Offset::ZERO, end_offset: Offset::MAX, density: Density::Dense, rows, epochs: None };
    let mut check = SegmentCheck::new(expected, None);
    let mut position = 0;
    for batch in BatchIter::new(bytes) {
        let batch = batch.expect("a batch");
        check.batch(position, &batch, produced);
        position += u64::try_from(batch.bytes().len()).expect("small");
    }
    check.end(position);
    check.flaws.iter().map(|(position, flaw)| format!("{position}: {flaw}")).collect()
}

#[test]
fn rows_that_fit_say_nothing_and_each_that_does_not_is_told_once() {
    let (bytes, rows) = segment(6);
    let size = u64::try_from(bytes.len()).expect("small") / 6;
    assert_eq!(said(&bytes, rows.clone(), &mut ProducedBatches::default()), Vec::<String>::new());
    // The index may lag.
    assert_eq!(said(&bytes, rows.iter().take(1).cloned().collect(), &mut ProducedBatches::default()), Vec::<String>::new());
    type Change = fn(&mut Row);
    let table: [(Change, String); 7] = [
        (|row| row.crc ^= 1, format!("{}: the index row of offset 4 does not fit: the checksum of its bytes is another one", size * 2)),
        (|row| row.position += 1, format!("{}: the index row of offset 4 does not fit: no batch begins at its position", size * 2 + 1)),
        (|row| row.length -= 1, format!("{}: the index row of offset 4 does not fit: no batch ends where it says", size * 2)),
        (
            |row| row.end_offset = offset(7),
            format!("{}: the index row of offset 4 does not fit: the batches there have other offsets", size * 2),
        ),
        (
            |row| row.base_offset = offset(3),
            format!("{}: the index row of offset 3 does not fit: the batches there have other offsets", size * 2),
        ),
        (
            |row| row.max_timestamp += 1,
            format!("{}: the index row of offset 4 does not fit: the largest timestamp there is another one", size * 2),
        ),
        (
            |row| row.max_timestamp_offset = offset(4),
            format!("{}: the index row of offset 4 does not fit: the largest timestamp there is another one", size * 2),
        ),
    ];
    for (change, told) in table {
        let mut changed = rows.clone();
        change(&mut changed[1].row);
        assert_eq!(said(&bytes, changed, &mut ProducedBatches::default()), [told]);
    }
    let mut behind = rows;
    behind[2].row.length *= 2;
    let told = format!("{}: the index row of offset 8 does not fit: the file ends before", size * 4);
    assert_eq!(said(&bytes, behind, &mut ProducedBatches::default()), [told]);
}

#[test]
fn a_mark_that_does_not_fit_is_told_once_for_its_row() {
    let (bytes, rows) = segment(6);
    let size = u64::try_from(bytes.len()).expect("small") / 6;
    let told =
        format!("{}: the index row of offset 4 does not fit: the marks within its block are not those of the batches there", size * 2);
    let changed = |change: &dyn Fn(&mut Vec<Mark>)| {
        let mut rows = rows.clone();
        let marks = rows[1].marks.as_mut().expect("readable");
        assert_eq!(marks.len(), 2);
        change(marks);
        said(&bytes, rows, &mut ProducedBatches::default())
    };
    assert_eq!(changed(&|_| {}), Vec::<String>::new());
    // An older row has none, and a row may have fewer than batches.
    assert_eq!(changed(&Vec::clear), Vec::<String>::new());
    let first_two = {
        let heads: Vec<u8> = [2, 3].into_iter().flat_map(|at| bytes[at * bytes.len() / 6..][..21].to_vec()).collect();
        crc32c::crc32c(&heads)
    };
    let one = |marks: &mut Vec<Mark>| {
        marks.truncate(1);
        marks[0].heads_crc = first_two;
    };
    assert_eq!(changed(&one), Vec::<String>::new());
    type Change = fn(&mut Vec<Mark>);
    let wrong: [Change; 8] = [
        |marks| marks[0].heads_crc ^= 1,
        |marks| marks[1].heads_crc ^= 1,
        |marks| marks[0].base_offset = offset(5),
        |marks| marks[1].base_offset = offset(7),
        |marks| marks[1].position -= 1,
        |marks| marks[1].position += 1,
        |marks| marks.truncate(1),
        |marks| marks.push(Mark { position: marks[1].position + 1, ..marks[1] }),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        assert_eq!(changed(&change), std::slice::from_ref(&told), "{number}");
    }
    let mut unreadable = rows.clone();
    unreadable[1].marks = None;
    assert_eq!(said(&bytes, unreadable, &mut ProducedBatches::default()), [told]);
}

#[test]
fn a_producers_state_is_held_against_the_batches_that_it_names() {
    let (bytes, _) = segment(6);
    let written = |first_offset: i64, first_sequence: i32| crate::producer_state::WrittenBatch {
        first_sequence: Sequence::new_or_zero(first_sequence),
        last_sequence: Sequence::new_or_zero(first_sequence + 1),
        first_offset: offset(first_offset),
        last_offset: offset(first_offset + 1),
        timestamp: -1,
    };
    let missing = |producer: i64, epoch: i16, batches: &[(i64, i32)]| {
        let mut entry = ProducerEntry::new(ProducerEpoch::new_or_zero(epoch), None);
        batches.iter().for_each(|(first_offset, first_sequence)| entry.push(written(*first_offset, *first_sequence)));
        let mut produced = ProducedBatches::default();
        produced.add(ProducerId::new_or_zero(producer), &entry);
        assert_eq!(said(&bytes, Vec::new(), &mut produced), Vec::<String>::new());
        produced.missing(Offset::ZERO..offset(12)).into_iter().map(|(_, offset)| offset.get()).collect::<Vec<_>>()
    };
    assert_eq!(missing(7, 1, &[(8, 8), (10, 10)]), Vec::<i64>::new());
    assert_eq!(missing(7, 1, &[(8, 8), (10, 9)]), [10]);
    assert_eq!(missing(7, 1, &[(9, 9)]), [9]);
    assert_eq!(missing(7, 2, &[(8, 8)]), [8]);
    assert_eq!(missing(8, 1, &[(8, 8)]), [8]);
    // Beyond what is looked at nothing is said.
    assert_eq!(missing(7, 1, &[(12, 12)]), Vec::<i64>::new());
}
