//! Old mistakes, to be put back in one at a time.

/// A mistake that some system once made. The rows are those of the project's list of anomalies (A) and of weak spots of in-sync replication (R).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// R1, KIP-101: a follower cuts its log to its own high watermark when a term begins.
    TruncateToHighWatermark,
    /// R2, KIP-279: a follower whose log parts from the leader's cuts only what lies beyond the leader's end.
    IgnoreDivergingEpoch,
    /// R4: a new leader takes followers in before they have what it had when its term began.
    ForgetEpochStart,
    /// R5, KIP-966: a broker that lost data says that it has all.
    ClaimWholeData,
    /// R8, KIP-497: the controller takes a change of the in-sync set that rests on an older one.
    IgnorePartitionEpoch,
    /// R8: the leader counts a smaller set before the controller has it.
    ShrinkBeforeController,
    /// R9: elections are unclean.
    UncleanElections,
    /// R11: a follower reports what its disk does not have.
    FollowerReportsUnsynced,
    /// R11: the leader counts what its own disk does not have.
    LeaderCountsUnsynced,
    /// A8: what comes late is taken for new.
    TakeLateAnswers,
    /// A9: consumers read what is not replicated.
    ReadBeyondHighWatermark,
    /// Acknowledged as soon as it is appended.
    AcknowledgeAtAppend,
    /// R4, A6: a new leader answers consumers before it knows what its predecessor showed them.
    ServeBeforeCurrentHighWatermark,
    /// R7, KIP-841: the controller lets fenced brokers be in sync.
    LetFencedJoin,
    /// R8: the leader does not count a member that it has proposed and the controller may have taken.
    IgnorePendingExpand,
    /// R10, KIP-966: the leader acknowledges though fewer are in sync than min.insync.replicas.
    IgnoreMinInsyncReplicas,
    /// R5, KIP-841: a broker that registers again stays in the in-sync sets.
    StayInSyncOverRestart,
    /// A8: the controller takes what a leader of an earlier term asks for.
    IgnoreLeaderEpochOfAlter,
    /// A3: a leader that was started again goes on in its term.
    LeadOnUnderOldEpoch,
    /// R6, KIP-903: the controller does not look at the registrations that a leader names beside the members of an in-sync set.
    IgnoreMemberEpochs,
    /// A controller appends in a later term what it decided in an earlier one, before others decided.
    AppendInLaterTerm,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::TruncateToHighWatermark,
        Self::IgnoreDivergingEpoch,
        Self::ForgetEpochStart,
        Self::ClaimWholeData,
        Self::IgnorePartitionEpoch,
        Self::ShrinkBeforeController,
        Self::UncleanElections,
        Self::FollowerReportsUnsynced,
        Self::LeaderCountsUnsynced,
        Self::TakeLateAnswers,
        Self::ReadBeyondHighWatermark,
        Self::AcknowledgeAtAppend,
        Self::ServeBeforeCurrentHighWatermark,
        Self::LetFencedJoin,
        Self::IgnorePendingExpand,
        Self::IgnoreMinInsyncReplicas,
        Self::StayInSyncOverRestart,
        Self::IgnoreLeaderEpochOfAlter,
        Self::LeadOnUnderOldEpoch,
        Self::IgnoreMemberEpochs,
        Self::AppendInLaterTerm,
    ];
}
