//! File ranges in answers.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use model::{FileRange, Piece};
use wire::{ConnectionLimits, Outcome, ResponseFrame};

use crate::harness::{Harness, is_cut};

fn file_of(content: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Arc::new(file)
}

#[tokio::test]
async fn file_ranges_and_memory_arrive_in_order_through_small_socket_buffers() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|index| (index * 7 % 253) as u8).collect();
    let file = file_of(&content);
    let range = |position: u64, length_bytes| Piece::File(FileRange { file: Arc::clone(&file), position, length_bytes });
    let pieces = vec![
        Piece::Memory(Bytes::from_static(b"head")),
        range(0, 3_000_000),
        range(5, 0),
        range(1_234_567, 99_999),
        Piece::Memory(Bytes::new()),
        Piece::Memory(Bytes::from(vec![9; 300_000])),
        range(2_999_999, 1),
        Piece::Memory(Bytes::from_static(b"tail")),
    ];
    let mut expected = b"head".to_vec();
    expected.extend_from_slice(&content);
    expected.extend_from_slice(&content[1_234_567..1_234_567 + 99_999]);
    expected.extend_from_slice(&[9; 300_000]);
    expected.push(content[2_999_999]);
    expected.extend_from_slice(b"tail");
    let limits = ConnectionLimits { send_buffer_bytes: Some(8 << 10), ..ConnectionLimits::default() };
    let harness = Harness::start(limits, move |_, _| Outcome::Reply(ResponseFrame { pieces: pieces.clone() }));
    let mut client = harness.client().await;
    for _ in 0..3 {
        client.send(b"fetch").await.unwrap();
    }
    for _ in 0..3 {
        assert!(client.receive().await.unwrap() == expected);
    }
}

#[tokio::test]
async fn an_answer_of_more_pieces_than_one_write_gathers_arrives_whole() {
    let pieces: Vec<Piece> = (0..5000_u16).map(|index| Piece::Memory(Bytes::copy_from_slice(&index.to_be_bytes()))).collect();
    let expected: Vec<u8> = (0..5000_u16).flat_map(u16::to_be_bytes).collect();
    let harness = Harness::start(ConnectionLimits::default(), move |_, _| Outcome::Reply(ResponseFrame { pieces: pieces.clone() }));
    assert!(harness.client().await.exchange(b"many").await.unwrap() == expected);
}

#[tokio::test]
async fn a_file_that_ends_within_its_range_ends_the_connection() {
    let file = file_of(b"short");
    let pieces = vec![Piece::File(FileRange { file, position: 0, length_bytes: 100 })];
    let mut harness = Harness::start(ConnectionLimits::default(), move |_, _| Outcome::Reply(ResponseFrame { pieces: pieces.clone() }));
    let mut client = harness.client().await;
    client.send(b"fetch").await.unwrap();
    assert!(is_cut(&mut client).await);
    harness.closed().await;
}
