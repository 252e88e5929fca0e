//! The way to the voters of the metadata quorum: for its messages and for requests to the active controller; and the mailboxes of the observers.
//!
//! Connections are kept and used by one exchange at a time; one that failed, or whose exchange was given up, is dropped.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use model::BrokerId;
use parking_lot::{Mutex, RwLock};
use quorum::Peers;
use wire::PeerClient;

use crate::config::HostPort;
use crate::mailboxes::Mailboxes;
use crate::quorum_frames::framed_message;

/// The voters, by their addresses. Cheap to clone.
#[derive(Clone)]
pub struct VoterPeers {
    inner: Arc<Inner>,
}

struct Inner {
    addresses: RwLock<BTreeMap<BrokerId, HostPort>>,
    /// The cluster that this broker is in; empty before it is known.
    cluster_id: RwLock<String>,
    mailboxes: Mailboxes,
    idle: Mutex<Vec<(BrokerId, PeerClient)>>,
}

impl VoterPeers {
    /// The ways to these addresses. Nothing is connected yet.
    #[must_use]
    pub fn new(addresses: BTreeMap<BrokerId, HostPort>) -> Self {
        let (addresses, cluster_id) = (RwLock::new(addresses), RwLock::default());
        Self { inner: Arc::new(Inner { addresses, cluster_id, mailboxes: Mailboxes::default(), idle: Mutex::default() }) }
    }

    /// The cluster that this broker is in; empty before it is known.
    #[must_use]
    pub(crate) fn cluster_id(&self) -> String {
        self.inner.cluster_id.read().clone()
    }

    /// Takes over which cluster this broker is in.
    pub(crate) fn is_of(&self, cluster_id: &str) {
        if *self.inner.cluster_id.read() != cluster_id {
            cluster_id.clone_into(&mut self.inner.cluster_id.write());
        }
    }

    /// The voters, and where they take what is meant for them.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<BrokerId, HostPort> {
        self.inner.addresses.read().clone()
    }

    /// Where a voter takes what is meant for it.
    #[must_use]
    pub fn address(&self, voter: BrokerId) -> Option<HostPort> {
        self.inner.addresses.read().get(&voter).cloned()
    }

    /// Takes over who votes.
    pub(crate) fn learn(&self, voters: BTreeMap<BrokerId, HostPort>) {
        let mut known = self.inner.addresses.write();
        if *known != voters {
            *known = voters;
            self.inner.idle.lock().clear();
        }
    }

    /// Where observers fetch what is meant for them.
    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.inner.mailboxes
    }

    /// Sends a frame to a voter and returns its answer's frame.
    ///
    /// # Errors
    /// If the voter is not reached, or closes the connection instead of an answer.
    pub async fn exchange(&self, voter: BrokerId, frame: &[u8]) -> io::Result<Bytes> {
        let kept = {
            let mut idle = self.inner.idle.lock();
            idle.iter().position(|(id, _)| *id == voter).map(|place| idle.swap_remove(place).1)
        };
        if let Some(mut client) = kept {
            match client.exchange(frame).await {
                Ok(answer) => {
                    self.inner.idle.lock().push((voter, client));
                    return Ok(answer);
                }
                // The voter may have been started anew since the connection was used last. What it refuses for a reason it refuses again.
                Err(error) => tracing::debug!(%voter, %error, "a kept connection is of no use any more"),
            }
        }
        let mut client = self.connect(voter).await?;
        let answer = client.exchange(frame).await?;
        self.inner.idle.lock().push((voter, client));
        Ok(answer)
    }

    /// Connects to a voter, to see whether it is there.
    ///
    /// # Errors
    /// If it is not reached.
    pub async fn probe(&self, voter: BrokerId) -> io::Result<()> {
        let client = self.connect(voter).await?;
        self.inner.idle.lock().push((voter, client));
        Ok(())
    }

    /// A new connection to a voter.
    ///
    /// # Errors
    /// If it is not reached.
    pub(crate) async fn connect(&self, voter: BrokerId) -> io::Result<PeerClient> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("it is not known where voter {voter} is"));
        let address = self.address(voter).ok_or_else(unknown)?;
        PeerClient::connect_to(&address.host, address.port).await
    }
}

impl Peers for VoterPeers {
    fn call(&self, to: BrokerId, message: Vec<u8>) -> quorum::BoxFuture<io::Result<Vec<u8>>> {
        if self.address(to).is_none() {
            return Box::pin(self.inner.mailboxes.send(to, message));
        }
        let peers = self.clone();
        Box::pin(async move {
            let answer = peers.exchange(to, &framed_message(&peers.cluster_id(), &message)).await?;
            // Behind the correlation id.
            answer.get(4..).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::InvalidData.into())
        })
    }

    fn contact(&self, voter: BrokerId) -> quorum::BoxFuture<io::Result<()>> {
        let peers = self.clone();
        Box::pin(async move {
            peers.connect(voter).await?.ended().await;
            Ok(())
        })
    }
}
