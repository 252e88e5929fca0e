//! One connection to the active controller, for what a broker tells of itself and for nothing else.
//!
//! The controller takes the end of a connection on which a broker told that it lives for a sign that the broker is dead. So no other exchange may end it by
//! being given up, and whoever tells sees its end and tells again on a new one at once, whatever cut it.

use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use model::BrokerId;
use protocol::Request;
use wire::PeerClient;

use crate::controller_channel::{Carrier, ControllerChannel};
use crate::voter_peers::VoterPeers;

/// The connection; made with the first request, and anew when another broker leads.
pub(crate) struct ControllerLine {
    channel: ControllerChannel,
    kept: Kept,
}

struct Kept {
    peers: VoterPeers,
    client: Option<(BrokerId, PeerClient)>,
}

impl ControllerLine {
    pub(crate) fn new(channel: ControllerChannel, peers: VoterPeers) -> Self {
        Self { channel, kept: Kept { peers, client: None } }
    }

    /// Sends a request of this broker's own, as [`ControllerChannel::send`].
    ///
    /// # Errors
    /// If no controller answered by the deadline, or its answer cannot be read.
    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R, deadline: Duration) -> io::Result<R::Response> {
        self.channel.send_by(&mut self.kept, version, request, deadline).await
    }

    /// Ends when the connection has ended. Never, if there is none.
    pub(crate) async fn ended(&self) {
        match &self.kept.client {
            Some((_, client)) => client.ended().await,
            None => pending().await,
        }
    }
}

impl Carrier for Kept {
    async fn carry(&mut self, to: BrokerId, frame: &[u8]) -> io::Result<Bytes> {
        if let Some((_, mut client)) = self.client.take().filter(|(kept, _)| *kept == to) {
            match client.exchange(frame).await {
                Ok(answer) => {
                    self.client = Some((to, client));
                    return Ok(answer);
                }
                Err(error) => tracing::debug!(voter = %to, %error, "the connection to the controller has ended"),
            }
        }
        let mut client = self.peers.connect(to).await?;
        let answer = client.exchange(frame).await?;
        self.client = Some((to, client));
        Ok(answer)
    }
}
