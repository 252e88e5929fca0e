//! A blocking connection to a broker, cheap for the machine that it shares with the broker.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::codec::{Reader, Writer, key};

/// How long any one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer: what a Fetch of all partitions may bring, and some.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// An error with a text.
#[must_use]
pub fn fault(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream, answer: Vec::new() })
    }

    /// The same connection for another thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, answer: Vec::new() })
    }

    /// Sends a request that has its length prefix already.
    ///
    /// # Errors
    /// What the system says.
    pub fn send_framed(&mut self, framed: &[u8]) -> io::Result<()> {
        self.stream.write_all(framed)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, request: Writer) -> io::Result<()> {
        self.send_framed(&framed(request))
    }

    /// Reads one answer, from its correlation id on.
    ///
    /// # Errors
    /// The socket failed, or the length is impossible.
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let length = usize::try_from(i32::from_be_bytes(prefix)).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
        let length = length.ok_or_else(|| fault("an answer of impossible length"))?;
        if self.answer.len() < length {
            self.answer.resize(length, 0);
        }
        let answer = self.answer.get_mut(..length).unwrap_or_default();
        self.stream.read_exact(answer)?;
        Ok(answer)
    }

    /// Creates a topic and waits until all its partitions have a leader.
    ///
    /// # Errors
    /// The broker refused, or did not get ready within the time of an answer.
    pub fn create_topic(&mut self, topic: &str, partitions: usize) -> io::Result<()> {
        let mut request = Writer::request(key::CREATE_TOPICS, 4, 1);
        request.count(1).string(topic).count(partitions).i16(1).count(0).count(0).i32(30_000).i8(0);
        self.send(request)?;
        let mut answer = Reader::new(self.receive()?);
        let code = answer.take(4 + 4 + 4).and_then(|_| answer.string()).and_then(|_| answer.i16());
        match code {
            // 36: it exists already.
            Some(0 | 36) => {}
            code => return Err(fault(format!("CreateTopics: error {code:?}"))),
        }
        let began = Instant::now();
        while self.partitions_with_leader(topic)? < partitions {
            if began.elapsed() > ANSWER_TIMEOUT {
                return Err(fault("partitions without a leader"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// How many partitions of the topic have a leader.
    ///
    /// # Errors
    /// The answer cannot be read.
    pub fn partitions_with_leader(&mut self, topic: &str) -> io::Result<usize> {
        let mut request = Writer::request(key::METADATA, 4, 2);
        request.count(1).string(topic).i8(0);
        self.send(request)?;
        let answer = self.receive()?;
        count_leaders(Reader::new(answer)).ok_or_else(|| fault("Metadata: cannot read the answer"))
    }
}

/// Puts the length before a request.
#[must_use]
pub fn framed(request: Writer) -> Vec<u8> {
    let mut framed = Writer::default();
    framed.bytes(&request.0);
    framed.0
}

fn count_leaders(mut answer: Reader<'_>) -> Option<usize> {
    answer.take(4 + 4)?;
    for _ in 0..answer.count()? {
        answer.i32()?;
        answer.string()?;
        answer.i32()?;
        answer.string()?;
    }
    answer.string()?;
    answer.i32()?;
    if answer.count()? != 1 {
        return None;
    }
    answer.i16()?;
    answer.string()?;
    answer.i8()?;
    let mut leaders = 0;
    for _ in 0..answer.count()? {
        let code = answer.i16()?;
        answer.i32()?;
        let leader = answer.i32()?;
        for _ in 0..2 {
            let replicas = answer.count()?;
            answer.take(replicas.checked_mul(4)?)?;
        }
        leaders += usize::from(code == 0 && leader >= 0);
    }
    Some(leaders)
}
