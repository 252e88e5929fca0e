//! What a reader does while its broker is gone, or nobody leads what it reads.

use std::io::IsTerminal as _;
use std::time::Duration;

use crate::ToolProblem;
use crate::cluster::Cluster;

/// Waits for a broker to come back: without an end, as Kafka's consumers do, or as long as a broker may take to answer where all that is wanted is
/// to be read and done with.
pub(crate) struct Patience {
    is_endless: bool,
    deadline: Duration,
    is_told: bool,
}

impl Patience {
    pub(crate) fn new(cluster: &Cluster, is_endless: bool) -> Self {
        Self { is_endless, deadline: cluster.deadline(), is_told: false }
    }

    /// All is well.
    pub(crate) fn renew(&mut self, cluster: &Cluster) {
        self.deadline = cluster.deadline();
        self.is_told = false;
    }

    /// Waits a moment, if the problem is one that passes.
    ///
    /// # Errors
    /// The problem itself, if it does not pass or has lasted for too long.
    pub(crate) async fn wait(&mut self, cluster: &Cluster, problem: ToolProblem) -> Result<(), ToolProblem> {
        if !problem.is_passing() {
            return Err(problem);
        }
        if self.is_endless {
            if !self.is_told && std::io::stderr().is_terminal() {
                eprintln!("klamm: {problem}; it is waited for, Ctrl-C ends that");
            }
            self.is_told = true;
            self.deadline = cluster.deadline();
        }
        if cluster.pause(self.deadline).await { Ok(()) } else { Err(problem) }
    }
}
