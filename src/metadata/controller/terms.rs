//! Which decisions count: those that were appended in the term that they were made in.

/// Whether a decision that was made in one term of the controller counts where it stands in the metadata log.
///
/// It was made on the image of its term. A controller that lost its leadership and won it back since would append it behind what another one
/// decided in between. `None`: written down before decisions had terms.
#[must_use]
pub fn counts(decided_in: Option<u64>, appended_in: u64) -> bool {
    decided_in.is_none_or(|term| term == appended_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_counts_in_its_own_term_only() {
        assert!(counts(Some(3), 3) && counts(None, 3));
        assert!(!counts(Some(3), 4) && !counts(Some(3), 2));
    }
}
