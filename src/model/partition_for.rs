//! Which partition of a coordinator's topic holds a key.

/// The partition of a group or a transactional id among `partitions`: the Java hash of its UTF-16 code units, as Kafka's
/// `GroupMetadataManager.partitionFor`, `TransactionStateManager.partitionFor` and every tool that looks a coordinator up by itself compute it. Zero
/// when there are no partitions.
#[must_use]
pub fn partition_for(key: &str, partitions: i32) -> i32 {
    let hash = key.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's Utils.abs: the one int without a positive counterpart counts as zero.
    hash.checked_abs().unwrap_or(0).checked_rem(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_that_of_javas_string_hash() {
        // "hello".hashCode() is 99162322, "".hashCode() is 0, "a😀" is ('a' * 31 + 0xD83D) * 31 + 0xDE00.
        assert_eq!(partition_for("hello", 50), 22);
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("a😀", i32::MAX), (97 * 31 + 0xD83D) * 31 + 0xDE00);
    }

    #[test]
    fn the_hash_without_a_positive_counterpart_is_partition_zero() {
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("hello", 0), 0);
    }
}
