//! Where reads that may wait for the disk run: never on a network worker.
//!
//! Kafka reads on its request handler threads (`num.io.threads`); here the runtime's pool of blocking threads is that, and whoever builds the
//! runtime bounds it.

/// Runs `read` on a thread that may wait; `None` if it panicked or the broker stops.
pub async fn off_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => Some(result),
        Err(error) => {
            tracing::error!(%error, "a read did not end");
            None
        }
    }
}
