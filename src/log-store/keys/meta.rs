//! Family 1, `meta`: what the broker keeps about itself (cluster id, node id ...). Owner: the broker, through `Store::kv_get` and
//! `Store::kv_put_synced`. Rows live as long as the directory.
//!
//! Key: 1, the caller's key. Value: the caller's bytes.

pub(crate) const ORDINAL: u8 = 1;

pub(crate) fn key(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(ORDINAL);
    key.extend_from_slice(name);
    key
}
