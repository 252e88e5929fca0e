use crate::scratch::*;

#[test]
fn a_synced_log_keeps_entries_and_values_apart_by_name() {
    let dir = scratch();
    let store = open(dir.path());
    let (raft, other) = (store.synced_log("raft"), store.synced_log("raft2"));
    assert_eq!((raft.first_index().unwrap(), raft.last_index().unwrap()), (None, None));
    raft.append((1..=300).map(|index: u64| (index, index.to_be_bytes()))).unwrap();
    other.append([(7, b"x")]).unwrap();
    raft.save_value("vote", b"me").unwrap();
    raft.truncate_from(291).unwrap();
    raft.purge_to(10).unwrap();
    drop((raft, other, store));

    let store = open(dir.path());
    let raft = store.synced_log("raft");
    assert_eq!((raft.first_index().unwrap(), raft.last_index().unwrap()), (Some(11), Some(290)));
    let entries = raft.read(255..=257).unwrap();
    assert_eq!(entries.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [255, 256, 257]);
    assert_eq!(entries[1].1, 256_u64.to_be_bytes());
    assert_eq!(raft.read(..).unwrap().len(), 280);
    assert_eq!(raft.read(300..).unwrap(), []);
    assert_eq!(raft.load_value("vote").unwrap().as_deref(), Some(b"me".as_slice()));
    assert_eq!(store.synced_log("raft2").load_value("vote").unwrap(), None);
    assert_eq!(store.synced_log("raft2").last_index().unwrap(), Some(7));
}
