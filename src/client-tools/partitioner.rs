//! Which partition a key belongs to, as the Java client decides it: `BuiltInPartitioner.partitionForKey`, `Utils.murmur2`.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The partition of a key among `count`; 0 if there is none.
pub(crate) fn partition_of(key: &[u8], count: usize) -> usize {
    let positive = murmur2(key) & 0x7fff_ffff;
    usize::try_from(positive).ok().and_then(|hash| hash.checked_rem(count)).unwrap_or(0)
}

fn murmur2(data: &[u8]) -> u32 {
    // Java's int arithmetic wraps, and so does its length.
    let mut hash = SEED ^ u32::try_from(data.len() & 0xffff_ffff).unwrap_or(0);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut mixed = word.iter().rev().fold(0, |value: u32, byte| value << 8 | u32::from(*byte)).wrapping_mul(MULTIPLIER);
        mixed = (mixed ^ mixed >> SHIFT).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash = (hash ^ rest.iter().rev().fold(0, |value: u32, byte| value << 8 | u32::from(*byte))).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_java_client() {
        // From org.apache.kafka.common.utils.Utils.murmur2 of kafka-clients 4.3.1.
        let table: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in table {
            assert_eq!(murmur2(key).cast_signed(), expected, "{key:?}");
        }
    }

    #[test]
    fn a_key_keeps_its_partition_and_no_partition_is_none_of_the_topics() {
        assert_eq!(partition_of(b"k", 6), partition_of(b"k", 6));
        assert!((0..100_u8).all(|key| partition_of(&[key], 7) < 7));
        assert_eq!(partition_of(b"k", 0), 0);
    }
}
