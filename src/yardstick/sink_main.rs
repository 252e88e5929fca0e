//! `yardstick --listen HOST:PORT --data DIR`: the bare sink, until SIGTERM or SIGINT.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wire::clock::SystemClock;
use wire::{ConnectionLimits, ListenOptions, ListenerName, MemoryBudget, Server, bind};
use yardstick::load::Arguments;
use yardstick::sink::Sink;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let address: SocketAddr = arguments.text("listen")?.parse()?;
    let directory = PathBuf::from(arguments.text("data")?);
    std::fs::create_dir_all(&directory)?;
    let listener = bind(address, ListenOptions::default())?;
    let sink = Arc::new(Sink::new(directory, listener.local_addr()?));
    let shutdown = CancellationToken::new();
    let server = Server::new(sink, ConnectionLimits::default(), SystemClock::shared(), MemoryBudget::new(1 << 30), shutdown.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        shutdown.cancel();
    });
    server.serve(listener, ListenerName::from("PLAINTEXT")).await;
    Ok(())
}
