//! The controller listener of a broker that is one of several: messages of the metadata quorum from the first moment, requests to the active
//! controller once this broker knows enough to be it.

use std::sync::{Arc, OnceLock};

use apis::Apis;
use broker::voter_peers::quorum_message;
use bytes::{BufMut as _, Bytes, BytesMut};
use quorum::MetadataQuorum;
use wire::{CloseReason, ConnectionContext, Dispatch, Outcome, ResponseFrame};

const STARTING: CloseReason = CloseReason::Refused("this broker is starting");

/// What answers on the controller listener. Its parts come while the broker starts; whoever asks before that is turned away and asks again.
#[derive(Default)]
pub(crate) struct ControllerDoor {
    quorum: OnceLock<Arc<dyn MetadataQuorum>>,
    apis: OnceLock<Apis>,
}

impl ControllerDoor {
    /// Lets messages of other voters in.
    pub(crate) fn open_to_voters(&self, quorum: Arc<dyn MetadataQuorum>) {
        // There is one quorum in a broker's life.
        let _is_first = self.quorum.set(quorum);
    }

    /// Lets requests to the active controller in.
    pub(crate) fn open_to_brokers(&self, apis: Apis) {
        let _is_first = self.apis.set(apis);
    }
}

impl Dispatch for ControllerDoor {
    fn dispatch(&self, connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome {
        let Some((correlation_id, message)) = quorum_message(&frame) else {
            return self.apis.get().map_or(Outcome::Close(STARTING), |apis| apis.dispatch(connection, frame));
        };
        let Some(quorum) = self.quorum.get() else { return Outcome::Close(STARTING) };
        let answer = quorum.receive(message.to_vec());
        Outcome::serial(async move {
            match answer.await {
                Ok(answer) => {
                    let mut frame = BytesMut::with_capacity(correlation_id.len() + answer.len());
                    frame.put_slice(&correlation_id);
                    frame.put_slice(&answer);
                    Outcome::Reply(ResponseFrame::from(frame.freeze()))
                }
                Err(error) => Outcome::Close(CloseReason::Undecodable(error.to_string())),
            }
        })
    }

    fn connection_closed(&self, connection: &Arc<ConnectionContext>) {
        if let Some(apis) = self.apis.get() {
            apis.connection_closed(connection);
        }
    }
}
