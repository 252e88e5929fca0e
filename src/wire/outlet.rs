//! What waits to be written to one connection, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use model::{FileRange, Piece};
use tokio::net::TcpStream;

use crate::{CloseReason, ResponseFrame, send};

/// The most slices that one write gathers; well under the system's IOV_MAX of 1,024.
const SLICES_MAX: usize = 64;

/// Bytes on their way out. What is sent is cut off at the front.
enum Unsent {
    /// A length prefix, and how much of it is sent; it lives here so that it needs no allocation.
    Prefix([u8; 4], usize),
    Memory(Bytes),
    File(FileRange),
}

/// The answers that are ready and not yet taken by the socket.
#[derive(Default)]
pub(crate) struct Outlet {
    unsent: VecDeque<Unsent>,
    /// Where in the connection's stream each unwritten answer ends.
    ends: VecDeque<u64>,
    queued_bytes: u64,
    written_bytes: u64,
}

impl Outlet {
    /// Puts an answer behind the others.
    ///
    /// # Errors
    /// The answer is longer than its length prefix can say.
    pub(crate) fn push(&mut self, frame: ResponseFrame) -> Result<(), CloseReason> {
        let length = frame.length_bytes();
        let prefix = i32::try_from(length).map_err(|_| CloseReason::AnswerSize(length))?;
        self.unsent.push_back(Unsent::Prefix(prefix.to_be_bytes(), 0));
        for piece in frame.pieces {
            match piece {
                Piece::Memory(bytes) if bytes.is_empty() => {}
                Piece::Memory(bytes) => self.unsent.push_back(Unsent::Memory(bytes)),
                Piece::File(range) if range.length_bytes == 0 => {}
                Piece::File(range) => self.unsent.push_back(Unsent::File(range)),
            }
        }
        self.queued_bytes += length as u64 + 4;
        self.ends.push_back(self.queued_bytes);
        Ok(())
    }

    /// How many answers are not wholly written.
    pub(crate) fn answers(&self) -> usize {
        self.ends.len()
    }

    /// Whether all is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.unsent.is_empty()
    }

    /// How many bytes wait.
    pub(crate) fn unwritten_bytes(&self) -> u64 {
        self.queued_bytes - self.written_bytes
    }

    /// How many bytes the socket has taken since the connection began.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Writes what the socket takes. `Ready(true)` says that something was written, `Ready(false)` that there was nothing to write.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<Result<bool, CloseReason>> {
        let before = self.written_bytes;
        while !self.unsent.is_empty() {
            match stream.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending if self.written_bytes > before => break,
                Poll::Pending => return Poll::Pending,
            }
            match self.write_once(stream) {
                Ok(0) => return Poll::Ready(Err(CloseReason::FileTooShort)),
                Ok(written) => self.cut(written),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Poll::Ready(Ok(self.written_bytes > before))
    }

    fn write_once(&self, stream: &TcpStream) -> io::Result<usize> {
        if let Some(Unsent::File(range)) = self.unsent.front() {
            return send::file(stream, range);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut filled = 0;
        let mut file_follows = false;
        for (unsent, slot) in self.unsent.iter().zip(slices.iter_mut()) {
            *slot = match unsent {
                Unsent::Prefix(bytes, sent) => IoSlice::new(bytes.get(*sent..).unwrap_or_default()),
                Unsent::Memory(bytes) => IoSlice::new(bytes),
                Unsent::File(_) => {
                    file_follows = true;
                    break;
                }
            };
            filled += 1;
        }
        send::memory(stream, slices.get(..filled).unwrap_or_default(), file_follows)
    }

    /// Cuts off what the socket took.
    fn cut(&mut self, written: usize) {
        self.written_bytes += written as u64;
        let mut left = written;
        while left > 0 {
            let Some(front) = self.unsent.front_mut() else { break };
            let length = match front {
                Unsent::Prefix(bytes, sent) => bytes.len() - *sent,
                Unsent::Memory(bytes) => bytes.len(),
                Unsent::File(range) => range.length_bytes,
            };
            if left >= length {
                left -= length;
                self.unsent.pop_front();
                continue;
            }
            match front {
                Unsent::Prefix(_, sent) => *sent += left,
                Unsent::Memory(bytes) => bytes.advance(left),
                Unsent::File(range) => {
                    range.position += left as u64;
                    range.length_bytes -= left;
                }
            }
            left = 0;
        }
        while self.ends.front().is_some_and(|end| *end <= self.written_bytes) {
            self.ends.pop_front();
        }
    }
}
