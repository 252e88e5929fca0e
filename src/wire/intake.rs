//! Cuts a connection's byte stream into frames, each in an allocation of its own.
//!
//! Reading goes through a stash, from which short frames are copied out, so that one read may bring many; a long frame is read straight into
//! its own buffer. A frame must not share its allocation with others, because whoever keeps a slice of it (the log's tail) accounts for all
//! of it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::net::TcpStream;

use crate::{BoxFuture, BudgetPermit, CloseReason, MemoryBudget};

/// What one read may bring into the stash; also how far a connection reads ahead while its requests wait.
const STASH_BYTES: usize = 64 << 10;
/// The same after a long frame: most of the next one shall not take the way through the stash.
const STASH_BYTES_AFTER_LONG: usize = 4 << 10;
/// A frame's buffer begins with at most this much, whatever its prefix claims.
const TRUSTED_BYTES: usize = 64 << 10;
/// The length of a frame's prefix.
const PREFIX_BYTES: usize = 4;

/// A frame that is longer than what the stash held of it.
struct Body {
    buffer: Vec<u8>,
    length: usize,
    permit: BudgetPermit,
}

/// The reading side of one connection.
#[derive(Default)]
pub(crate) struct Intake {
    stash: BytesMut,
    body: Option<Body>,
    /// The wait for the budget, while there is one.
    granting: Option<BoxFuture<'static, BudgetPermit>>,
    /// The longest frame that came whole: so much is allocated at once for the next ones.
    longest: usize,
    last_was_long: bool,
    peer_closed: bool,
    read_bytes: u64,
}

/// What a read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Read {
    /// Bytes, or the news that the peer has closed.
    Progress,
    /// Nothing: the stash is as full as it may be, or the peer has closed before.
    Full,
}

impl Intake {
    /// Whether the peer has closed its side.
    pub(crate) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether a frame was begun and is not whole.
    pub(crate) fn is_partial(&self) -> bool {
        self.body.is_some() || !self.stash.is_empty()
    }

    /// Whether a frame waits for the memory budget.
    pub(crate) fn waits_for_budget(&self) -> bool {
        self.granting.is_some()
    }

    /// How many bytes have come since the connection began.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Takes the next frame if it is whole and granted. `None` says that more bytes or the budget must come first.
    ///
    /// # Errors
    /// The prefix claims an impossible length.
    pub(crate) fn take_frame(
        &mut self,
        cx: &mut Context<'_>,
        budget: &MemoryBudget,
        bytes_max: usize,
    ) -> Result<Option<(Bytes, BudgetPermit)>, CloseReason> {
        if let Some(body) = self.body.take_if(|body| body.buffer.len() >= body.length) {
            self.completed(body.length);
            return Ok(Some((Bytes::from(body.buffer), body.permit)));
        }
        if self.body.is_some() {
            return Ok(None);
        }
        let Some(prefix) = self.stash.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let claimed = i32::from_be_bytes(*prefix);
        let length = usize::try_from(claimed).ok().filter(|length| *length <= bytes_max).ok_or(CloseReason::FrameSize(claimed))?;
        let Poll::Ready(permit) = self.poll_permit(cx, budget, length) else { return Ok(None) };
        self.stash.advance(PREFIX_BYTES);
        if let Some(whole) = self.stash.get(..length) {
            let frame = Bytes::copy_from_slice(whole);
            self.stash.advance(length);
            self.completed(length);
            return Ok(Some((frame, permit)));
        }
        let mut buffer = Vec::with_capacity(length.min(self.longest.max(TRUSTED_BYTES)));
        buffer.extend_from_slice(&self.stash);
        self.stash.clear();
        self.body = Some(Body { buffer, length, permit });
        Ok(None)
    }

    /// Reads once. While a frame's body is incomplete the bytes go there, else into the stash, up to its bound.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<io::Result<Read>> {
        if self.peer_closed {
            return Poll::Ready(Ok(Read::Full));
        }
        let body = self.body.as_mut().filter(|body| body.buffer.len() < body.length);
        if body.is_none() && self.stash.len() >= STASH_BYTES {
            return Poll::Ready(Ok(Read::Full));
        }
        let Self { stash, last_was_long, longest, .. } = self;
        let outcome = loop {
            match stream.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    if stash.is_empty() && stash.capacity() > 0 {
                        // An idle connection holds no buffer.
                        *stash = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
            let read = match self.body.as_mut().filter(|body| body.buffer.len() < body.length) {
                Some(body) => {
                    body.grow(*longest);
                    let missing = body.length - body.buffer.len();
                    let room = (body.buffer.capacity() - body.buffer.len()).min(missing);
                    stream.try_read_buf(&mut (&mut body.buffer).limit(room))
                }
                None => {
                    let room = if *last_was_long { STASH_BYTES_AFTER_LONG } else { STASH_BYTES - stash.len() };
                    stash.reserve(room);
                    stream.try_read_buf(&mut stash.limit(room))
                }
            };
            match read {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                outcome => break outcome,
            }
        };
        match outcome? {
            0 => self.peer_closed = true,
            read => self.read_bytes += read as u64,
        }
        Poll::Ready(Ok(Read::Progress))
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>, budget: &MemoryBudget, length: usize) -> Poll<BudgetPermit> {
        if self.granting.is_none()
            && let Some(permit) = budget.try_take(length)
        {
            return Poll::Ready(permit);
        }
        let granting = self.granting.get_or_insert_with(|| budget.take(length));
        let permit = ready!(granting.as_mut().poll(cx));
        self.granting = None;
        Poll::Ready(permit)
    }

    fn completed(&mut self, length: usize) {
        self.longest = self.longest.max(length);
        self.last_was_long = length > STASH_BYTES;
    }
}

impl Body {
    /// Makes room: what is there doubles, and the last step is exact, so that the frame's allocation is the frame's length.
    fn grow(&mut self, longest: usize) {
        if self.buffer.len() == self.buffer.capacity() {
            let capacity = self.length.min(longest.max(TRUSTED_BYTES).max(self.buffer.len() * 2));
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
    }
}
