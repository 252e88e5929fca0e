//! Where brokers meet each other: the controller listener, and the listener that they use among themselves.
//!
//! The controller listener takes messages of the metadata quorum from the first moment, and requests to the active controller once this broker
//! knows enough to be it. Beside clients' requests every broker takes what brokers ask each other where they fetch. While it starts it takes there
//! nothing else: brokers that vote and have no controller listener would otherwise wait for each other.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apis::Apis;
use broker::quorum_door::{Opened, QuorumDoor};
use bytes::Bytes;
use tokio::sync::watch;
use wire::{CloseReason, ConnectionBounds, ConnectionContext, Dispatch, ListenerName, Outcome, ResponseFrame};

const STARTING: CloseReason = CloseReason::Refused("this broker is starting");

/// What answers to brokers. Its parts come while the broker starts; whoever asks before that is turned away and asks again.
#[derive(Default)]
pub(crate) struct ControllerDoor {
    quorum: OnceLock<QuorumDoor>,
    apis: OnceLock<Apis>,
}

impl ControllerDoor {
    /// Lets what belongs to the quorum in.
    pub(crate) fn open_to_quorum(&self, quorum: QuorumDoor) {
        // There is one quorum in a broker's life.
        let _is_first = self.quorum.set(quorum);
    }

    /// Lets requests to the active controller in.
    pub(crate) fn open_to_brokers(&self, apis: Apis) {
        let _is_first = self.apis.set(apis);
    }

    fn request(&self, connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome {
        self.apis.get().map_or(Outcome::Close(STARTING), |apis| apis.dispatch(connection, frame))
    }

    fn own_frame(&self, connection: &Arc<ConnectionContext>, frame: &Bytes) -> Outcome {
        let Some(quorum) = self.quorum.get() else { return Outcome::Close(STARTING) };
        match quorum.open(frame) {
            Opened::Request(request) => self.request(connection, request),
            Opened::Answer(answer) => Outcome::serial(async move {
                match answer.await {
                    Ok(answer) => Outcome::Reply(ResponseFrame::from(answer)),
                    Err(error) => Outcome::Close(CloseReason::Undecodable(error)),
                }
            }),
            Opened::Malformed => Outcome::Close(CloseReason::Undecodable("a frame of klamm's own cannot be read".to_owned())),
        }
    }
}

impl Dispatch for ControllerDoor {
    fn dispatch(&self, connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome {
        if QuorumDoor::is_meant(&frame) { self.own_frame(connection, &frame) } else { self.request(connection, frame) }
    }

    fn connection_closed(&self, connection: &Arc<ConnectionContext>) {
        if let Some(apis) = self.apis.get() {
            apis.connection_closed(connection);
        }
    }
}

/// What answers where brokers fetch, while this broker starts.
pub(crate) struct EarlyDoor(pub(crate) Arc<ControllerDoor>);

impl Dispatch for EarlyDoor {
    fn dispatch(&self, connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome {
        // IMPORTANT: a client that comes too soon must hear nothing. By the controller's list of APIs it would take the broker for one that cannot
        // serve it, and give up.
        if QuorumDoor::is_meant(&frame) { self.0.own_frame(connection, &frame) } else { Outcome::Close(STARTING) }
    }

    fn connection_closed(&self, connection: &Arc<ConnectionContext>) {
        self.0.connection_closed(connection);
    }
}

/// What answers on the listeners for clients.
pub(crate) struct ClientDoor {
    apis: Apis,
    /// What brokers ask on this listener. Who became a voter later is reached there and nowhere else, by the voters with a listener of their own
    /// for it too.
    brokers: (ListenerName, Arc<ControllerDoor>),
}

impl ClientDoor {
    pub(crate) fn new(apis: Apis, brokers: (ListenerName, Arc<ControllerDoor>)) -> Self {
        Self { apis, brokers }
    }
}

impl Dispatch for ClientDoor {
    fn dispatch(&self, connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome {
        let (listener, door) = &self.brokers;
        if QuorumDoor::is_meant(&frame) && connection.listener() == listener {
            return door.own_frame(connection, &frame);
        }
        self.apis.dispatch(connection, frame)
    }

    fn connection_accepted(&self, address: IpAddr) -> Result<(), Duration> {
        self.apis.connection_accepted(address)
    }

    fn connection_bounds(&self) -> Option<watch::Receiver<Arc<ConnectionBounds>>> {
        self.apis.connection_bounds()
    }

    fn accept_pause(&self, listener: &ListenerName) -> Duration {
        self.apis.accept_pause(listener)
    }

    fn connection_closed(&self, connection: &Arc<ConnectionContext>) {
        self.apis.connection_closed(connection);
        let (_, door) = &self.brokers;
        door.connection_closed(connection);
    }
}
