//! The two ways bytes leave: gathered memory, and file ranges by sendfile. What is Linux's own is in this file, each with a fallback.

use std::io::{self, IoSlice};

use model::FileRange;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The most bytes that one call takes from a file, so that one connection does not hold its thread for long.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Writes the slices. `more` says that a file range follows at once: the kernel then does not send the tail of this write on its own.
///
/// # Errors
/// `WouldBlock` when the socket's buffer is full; else the socket's error.
pub(crate) fn memory(stream: &TcpStream, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    stream.try_io(Interest::WRITABLE, || {
        let flags = more_flag(more) | no_signal();
        Ok(sendmsg(stream, slices, &mut SendAncillaryBuffer::default(), flags)?)
    })
}

#[cfg(target_os = "linux")]
fn more_flag(more: bool) -> SendFlags {
    if more { SendFlags::MORE } else { SendFlags::empty() }
}

#[cfg(not(target_os = "linux"))]
fn more_flag(_more: bool) -> SendFlags {
    SendFlags::empty()
}

#[cfg(not(target_vendor = "apple"))]
fn no_signal() -> SendFlags {
    SendFlags::NOSIGNAL
}

#[cfg(target_vendor = "apple")]
fn no_signal() -> SendFlags {
    SendFlags::empty()
}

/// Writes from the beginning of the file range. Zero means that the file has ended.
///
/// # Errors
/// `WouldBlock` when the socket's buffer is full; else the file's or the socket's error.
#[cfg(target_os = "linux")]
pub(crate) fn file(stream: &TcpStream, range: &FileRange) -> io::Result<usize> {
    stream.try_io(Interest::WRITABLE, || {
        let mut position = range.position;
        Ok(rustix::fs::sendfile(stream, &*range.file, Some(&mut position), range.length_bytes.min(FILE_BYTES_MAX))?)
    })
}

/// Writes from the beginning of the file range, by way of memory. Zero means that the file has ended.
///
/// # Errors
/// `WouldBlock` when the socket's buffer is full; else the file's or the socket's error.
#[cfg(not(target_os = "linux"))]
pub(crate) fn file(stream: &TcpStream, range: &FileRange) -> io::Result<usize> {
    by_memory(stream, range)
}

/// The fallback for systems without sendfile: what the socket does not take is read again at the next call.
#[cfg(any(test, not(target_os = "linux")))]
pub(crate) fn by_memory(stream: &TcpStream, range: &FileRange) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;

    let mut buffer = vec![0; range.length_bytes.min(FILE_BYTES_MAX / 16)];
    let read = range.file.read_at(&mut buffer, range.position)?;
    let Some(filled) = buffer.get(..read).filter(|filled| !filled.is_empty()) else { return Ok(0) };
    memory(stream, &[IoSlice::new(filled)], read < range.length_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn the_fallback_sends_the_same_bytes() {
        let mut file = tempfile::tempfile().expect("a file");
        let content: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
        file.write_all(&content).expect("written");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let sender = TcpStream::connect(address).await.expect("connects");
        let (mut receiver, _) = listener.accept().await.expect("accepts");
        let mut range = FileRange { file: Arc::new(file), position: 10, length_bytes: 900_000 };
        let sending = tokio::spawn(async move {
            while range.length_bytes > 0 {
                sender.writable().await.expect("writable");
                match by_memory(&sender, &range) {
                    Ok(sent) => {
                        range.position += sent as u64;
                        range.length_bytes -= sent;
                    }
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        });
        let mut received = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut receiver, &mut received).await.expect("reads");
        sending.await.expect("sends");
        assert!(received == content[10..900_010]);
    }
}
