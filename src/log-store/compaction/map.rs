//! The newest offset of each key, in bounded memory: 16 bytes of a key's hash and 8 of its offset, open addressing. Keys are not kept: two keys
//! with one 128-bit hash count as one.
//!
//! In Kafka: `SkimpyOffsetMap` (which hashes with MD5).

use std::hash::{DefaultHasher, Hasher};

use model::Offset;

/// What one key takes.
pub(crate) const SLOT_BYTES: usize = size_of::<Slot>();

/// A key's hash and its offset plus one; all zero is a free slot.
type Slot = [u64; 3];

/// How a cleaner hashes and how much memory its map may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapLimits {
    /// Bytes of all slots together.
    pub(crate) memory_bytes: usize,
    /// How many of a thousand slots may be filled.
    pub(crate) load_permille: u32,
    /// Nobody outside can know which keys share a hash.
    pub(crate) seeds: [u64; 2],
}

/// Why a key was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    seeds: [u64; 2],
    keys: usize,
    keys_max: usize,
    /// Up to where the log has been looked at.
    end: Offset,
}

impl OffsetMap {
    /// A map for a part of a log that begins at `start` and has at most `records_max` records: no larger than the limits, and no larger than needed.
    pub(crate) fn new(limits: &MapLimits, start: Offset, records_max: u64) -> Self {
        let slots_max = (limits.memory_bytes / SLOT_BYTES).max(2);
        let needed = slots_for(usize::try_from(records_max).unwrap_or(usize::MAX), limits.load_permille);
        let count = slots_max.min(needed).max(2);
        // One key at least, or it would never go on; one slot free at least, or a search would never end.
        let keys_max = share(count, limits.load_permille).clamp(1, count - 1);
        Self { slots: vec![[0; 3]; count], seeds: limits.seeds, keys: 0, keys_max, end: start }
    }

    /// Takes note of a key at an offset, behind all that it has seen. A full map takes no more, not even keys that it knows.
    pub(crate) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        if self.keys >= self.keys_max {
            return Err(Full);
        }
        let [first, second] = self.hash(key);
        let at = self.find(first, second);
        if let Some(slot) = self.slots.get_mut(at) {
            if slot[2] == 0 {
                self.keys += 1;
            }
            *slot = [first, second, offset.get().unsigned_abs() + 1];
        }
        self.end = self.end.max(offset + 1);
        Ok(())
    }

    /// The newest offset of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Offset> {
        let [first, second] = self.hash(key);
        let slot = self.slots.get(self.find(first, second))?;
        i64::try_from(slot[2].checked_sub(1)?).ok().and_then(Offset::new)
    }

    /// Everything before this offset has been looked at.
    pub(crate) fn advance_end(&mut self, to: Offset) {
        self.end = self.end.max(to);
    }

    /// The end of what it knows.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// The memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.len() * SLOT_BYTES
    }

    /// Which part of the slots that the limits allow is filled.
    pub(crate) fn utilization(&self, limits: &MapLimits) -> f64 {
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        count(self.keys) / count((limits.memory_bytes / SLOT_BYTES).max(2))
    }

    /// The place of the hash, or the free one where it would be.
    fn find(&self, first: u64, second: u64) -> usize {
        let count = self.slots.len();
        // The upper half of the product spreads the hash over the slots without a division.
        let product = u128::from(first) * u128::try_from(count).unwrap_or(1);
        let mut at = usize::try_from(product >> 64).unwrap_or(0);
        loop {
            match self.slots.get(at) {
                Some([_, _, 0]) => return at,
                Some([one, two, _]) if *one == first && *two == second => return at,
                Some(_) => at = if at + 1 == count { 0 } else { at + 1 },
                None => at = 0,
            }
        }
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        self.seeds.map(|seed| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(key);
            hasher.finish()
        })
    }
}

/// A load factor in thousandths.
pub(crate) fn load_permille(factor: f64) -> u32 {
    // Found rather than converted, since a float becomes an integer only by a lossy cast.
    (1..=1_000_u32).rev().find(|permille| f64::from(*permille) <= factor * 1_000.0 + 1e-6).unwrap_or(1)
}

/// So many slots make room for `keys`.
fn slots_for(keys: usize, load_permille: u32) -> usize {
    let needed = u128::try_from(keys).unwrap_or(0) * 1_000 / u128::from(load_permille.max(1)) + 2;
    usize::try_from(needed).unwrap_or(usize::MAX)
}

/// The part of a count, rounded down.
fn share(count: usize, permille: u32) -> usize {
    let scaled = u128::try_from(count).unwrap_or(0) * u128::from(permille) / 1_000;
    usize::try_from(scaled).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: MapLimits = MapLimits { memory_bytes: 24_000, load_permille: 900, seeds: [1, 2] };

    fn offset(value: i64) -> Offset {
        Offset::new_or_zero(value)
    }

    #[test]
    fn a_slot_takes_24_bytes_and_nine_tenths_of_them_are_filled() {
        assert_eq!(SLOT_BYTES, 24);
        let mut map = OffsetMap::new(&LIMITS, Offset::ZERO, u64::MAX);
        assert_eq!(map.memory_bytes(), 24_000);
        let taken = (0_i64..).take_while(|number| map.put(&number.to_be_bytes(), offset(*number)).is_ok()).count();
        assert_eq!(taken, 900);
        assert_eq!(map.end(), offset(900));
        assert!((0..900_i64).all(|number| map.get(&number.to_be_bytes()) == Some(offset(number))));
        assert_eq!(map.get(&900_i64.to_be_bytes()), None);
        assert_eq!(map.put(&0_i64.to_be_bytes(), offset(5_000)), Err(Full));
    }

    #[test]
    fn a_short_log_needs_a_small_map_and_a_tiny_one_still_takes_a_key() {
        assert!(OffsetMap::new(&LIMITS, Offset::ZERO, 10).memory_bytes() < 20 * 24);
        let mut map = OffsetMap::new(&MapLimits { memory_bytes: 0, ..LIMITS }, Offset::ZERO, 100);
        assert_eq!(map.put(b"a", offset(7)), Ok(()));
        assert_eq!(map.put(b"b", offset(8)), Err(Full));
        assert_eq!((map.get(b"a"), map.get(b"b")), (Some(offset(7)), None));
    }

    #[test]
    fn a_load_factor_is_read_in_thousandths() {
        let read = [0.9, 0.75, 1.0, 5.0, 0.0005, 0.0, f64::NAN].map(load_permille);
        assert_eq!(read, [900, 750, 1_000, 1_000, 1, 1, 1]);
    }

    #[test]
    fn all_records_of_a_log_find_room_in_the_map_made_for_them() {
        for load_factor in [0.1, 0.5, 0.75, 0.9, 1.0] {
            let limits = MapLimits { memory_bytes: 1 << 20, load_permille: load_permille(load_factor), seeds: [3, 4] };
            let mut map = OffsetMap::new(&limits, Offset::ZERO, 77);
            assert!((0..77_i64).all(|number| map.put(&number.to_be_bytes(), offset(number)).is_ok()), "{load_factor}");
        }
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_map_knows(puts in prop::collection::vec(0_u16..400, 0..700)) {
            let mut map = OffsetMap::new(&LIMITS, Offset::ZERO, u64::MAX);
            let mut plain = HashMap::new();
            for (at, key) in puts.iter().enumerate() {
                let at = offset(i64::try_from(at).unwrap());
                prop_assert_eq!(map.put(&key.to_be_bytes(), at), Ok(()));
                plain.insert(*key, at);
            }
            for key in 0..400_u16 {
                prop_assert_eq!(map.get(&key.to_be_bytes()), plain.get(&key).copied());
            }
        }
    }
}
