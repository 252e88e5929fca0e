//! The way to the controller listeners of the other voters: for the metadata quorum's messages and for requests to the active controller.
//!
//! Connections are kept and used by one exchange at a time; one that failed, or whose exchange was given up, is dropped.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use model::BrokerId;
use parking_lot::Mutex;
use quorum::Peers;
use wire::PeerClient;

use crate::config::HostPort;

/// The request key of a quorum message on a controller listener. No key of Kafka's: what follows the length prefix is the key, a version, a
/// correlation id and the message.
pub const QUORUM_MESSAGE_KEY: i16 = 20_001;
const HEAD_BYTES: usize = 8;

/// The other voters, by their addresses. Cheap to clone.
#[derive(Clone)]
pub struct VoterPeers {
    inner: Arc<Inner>,
}

struct Inner {
    addresses: BTreeMap<BrokerId, HostPort>,
    idle: Mutex<Vec<(BrokerId, PeerClient)>>,
}

impl VoterPeers {
    /// The ways to these addresses. Nothing is connected yet.
    #[must_use]
    pub fn new(addresses: BTreeMap<BrokerId, HostPort>) -> Self {
        Self { inner: Arc::new(Inner { addresses, idle: Mutex::default() }) }
    }

    /// The voters.
    pub fn ids(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.inner.addresses.keys().copied()
    }

    /// Where a voter's controller listener is.
    #[must_use]
    pub fn address(&self, voter: BrokerId) -> Option<&HostPort> {
        self.inner.addresses.get(&voter)
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

    async fn connect(&self, voter: BrokerId) -> io::Result<PeerClient> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("voter {voter} is not in controller.quorum.voters"));
        let address = self.address(voter).ok_or_else(unknown)?;
        let candidates: Vec<SocketAddr> = tokio::net::lookup_host((address.host.as_str(), address.port)).await?.collect();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for candidate in candidates {
            match PeerClient::connect(candidate).await {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A quorum message as the frame of a request.
fn frame_of(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_BYTES + message.len());
    frame.extend_from_slice(&QUORUM_MESSAGE_KEY.to_be_bytes());
    frame.extend_from_slice(&[0; HEAD_BYTES - 2]);
    frame.extend_from_slice(message);
    frame
}

/// The quorum message in a request's frame, and the correlation id that its answer begins with; `None` if it is another request.
#[must_use]
pub fn quorum_message(frame: &[u8]) -> Option<([u8; 4], &[u8])> {
    let (head, message) = frame.split_at_checked(HEAD_BYTES)?;
    let correlation_id = head.get(4..)?.try_into().ok()?;
    head.starts_with(&QUORUM_MESSAGE_KEY.to_be_bytes()).then_some((correlation_id, message))
}

impl Peers for VoterPeers {
    fn call(&self, voter: BrokerId, message: Vec<u8>) -> quorum::BoxFuture<io::Result<Vec<u8>>> {
        let peers = self.clone();
        Box::pin(async move {
            let answer = peers.exchange(voter, &frame_of(&message)).await?;
            // Behind the correlation id.
            answer.get(4..).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::InvalidData.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_message_is_told_from_other_requests() {
        let frame = frame_of(b"hello");
        assert_eq!(quorum_message(&frame), Some(([0; 4], &b"hello"[..])));
        assert_eq!(quorum_message(&[0, 18, 0, 0, 0, 0, 0, 1, 9]), None);
        assert_eq!(quorum_message(&frame[..7]), None);
    }
}
