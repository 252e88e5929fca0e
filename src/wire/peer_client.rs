//! The smallest client: one connection that sends frames and reads answers. For health checks, the command line's tools, other brokers, and tests.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The largest answer that the client takes.
const ANSWER_BYTES_MAX: usize = 100 << 20;

/// As much room an answer gets before any of it has come.
const READ_BYTES_MIN: usize = 64 << 10;

/// A connection to a broker. It has no deadlines of its own: wrap its calls in [`crate::clock::timeout_at`].
#[derive(Debug)]
pub struct PeerClient {
    stream: TcpStream,
}

impl PeerClient {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Connects to a host, which may have several addresses.
    ///
    /// # Errors
    /// What the system says of the last address.
    pub async fn connect_to(host: &str, port: u16) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in tokio::net::lookup_host((host, port)).await? {
            match Self::connect(address).await {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends one frame and reads one answer.
    ///
    /// # Errors
    /// The socket failed, or the peer closed it.
    pub async fn exchange(&mut self, frame: &[u8]) -> io::Result<Bytes> {
        self.send(frame).await?;
        self.receive().await
    }

    /// Sends one frame; the length is put before it.
    ///
    /// # Errors
    /// The socket failed, or the frame is too long for its prefix.
    pub async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = i32::try_from(frame.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut framed = Vec::with_capacity(frame.len() + 4);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(frame);
        self.stream.write_all(&framed).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads one answer, without its length.
    ///
    /// # Errors
    /// The socket failed, the peer closed it (`UnexpectedEof`), or the length is impossible (`InvalidData`).
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        let claimed = self.stream.read_i32().await?;
        let length = usize::try_from(claimed).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {claimed} bytes")))?;
        let mut answer = Vec::with_capacity(length.min(READ_BYTES_MIN));
        (&mut self.stream).take(length as u64).read_to_end(&mut answer).await?;
        if answer.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.into())
    }

    /// Waits until the connection is of no more use although nothing was asked: the peer has closed it, or says something on its own.
    /// Nothing is lost if the wait is given up.
    pub async fn ended(&self) {
        let _closed_or_not = self.stream.peek(&mut [0]).await;
    }

    /// The socket itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}
