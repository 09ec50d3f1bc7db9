//! A client of PostgreSQL's protocol that does only what it is told, byte by byte: for what a
//! driver would never send, and for comparing answers to the byte. Written from PostgreSQL's own
//! description of the protocol, on purpose without the router's codec.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::pg::Address;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message of the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub tag: u8,
    /// What follows its length.
    pub body: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tag {
            b'E' | b'N' => write!(f, "{}{:?}", char::from(self.tag), self.fields()),
            tag => {
                let shown = self.body.get(..200).unwrap_or(&self.body);
                write!(f, "{}\"{}\"", char::from(tag), shown.escape_ascii())
            }
        }
    }
}

impl Message {
    /// The fields of an ErrorResponse or a NoticeResponse by their letter.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<char, String> {
        let fields = self.body.split(|&byte| byte == 0);
        fields
            .filter_map(|field| {
                let (&letter, text) = field.split_first()?;
                Some((
                    char::from(letter),
                    String::from_utf8_lossy(text).into_owned(),
                ))
            })
            .collect()
    }

    /// The SQLSTATE of an ErrorResponse.
    #[must_use]
    pub fn sqlstate(&self) -> Option<String> {
        (self.tag == b'E')
            .then(|| self.fields().remove(&'C'))
            .flatten()
    }

    /// The body up to its first zero byte, as text.
    #[must_use]
    pub fn text(&self) -> String {
        let text = self
            .body
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// The values of a DataRow; none is NULL.
    ///
    /// # Errors
    /// When the body ends within a value.
    pub fn values(&self) -> anyhow::Result<Vec<Option<Vec<u8>>>> {
        let mut rest = self.body.as_slice();
        let count = u16::from_be_bytes(take(&mut rest)?);
        let mut values = Vec::new();
        for _ in 0..count {
            let length = i32::from_be_bytes(take(&mut rest)?);
            values.push(match usize::try_from(length) {
                Err(_) => None,
                Ok(length) => {
                    let (value, after) = rest
                        .split_at_checked(length)
                        .context("row ends within a value")?;
                    rest = after;
                    Some(value.to_vec())
                }
            });
        }
        Ok(values)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> anyhow::Result<[u8; N]> {
    let (first, after) = rest
        .split_first_chunk::<N>()
        .context("message ends within a number")?;
    *rest = after;
    Ok(*first)
}

/// The types of some messages, as text: `TDDCZ`.
#[must_use]
pub fn tags(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| char::from(message.tag))
        .collect()
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// The parameters that the server has reported so far.
    pub parameters: BTreeMap<String, String>,
    /// The process id and the secret of BackendKeyData.
    pub cancel_key: Vec<u8>,
}

impl Raw {
    /// Connects and sends nothing.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(("127.0.0.1", port))).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            parameters: BTreeMap::new(),
            cancel_key: Vec::new(),
        })
    }

    /// Logs in where the server trusts.
    ///
    /// # Errors
    /// When the server answers anything but a session.
    pub async fn connect(address: &Address) -> anyhow::Result<Self> {
        Self::connect_with(address, &[]).await
    }

    /// As [`Self::connect`], with further startup parameters.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_with(
        address: &Address,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut raw = Self::open(address.port).await?;
        let mut all = vec![
            ("user", address.user.as_str()),
            ("database", &address.database),
        ];
        all.extend_from_slice(parameters);
        raw.send(&startup(&all)).await?;
        for message in raw.until_ready().await? {
            match message.tag {
                b'K' => raw.cancel_key = message.body,
                b'R' | b'S' | b'Z' | b'N' => {}
                _ => anyhow::bail!("login answered by {:?}", message.fields()),
            }
        }
        Ok(raw)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .context("send")??)
    }

    /// The next byte, which is how SSLRequest is answered; none when the server closed.
    ///
    /// # Errors
    /// When nothing comes.
    pub async fn byte(&mut self) -> anyhow::Result<Option<u8>> {
        let mut byte = [0];
        let read = timeout(PATIENCE, self.stream.read(&mut byte))
            .await
            .context("receive")?;
        Ok(matches!(read, Ok(1)).then_some(byte[0]))
    }

    /// The next message; none when the server closed the connection.
    ///
    /// # Errors
    /// When nothing comes in time, or the connection ends within a message.
    pub async fn receive(&mut self) -> anyhow::Result<Option<Message>> {
        let Some(tag) = self.byte().await? else {
            return Ok(None);
        };
        let body = timeout(PATIENCE, async {
            let length = usize::try_from(self.stream.read_i32().await?)?;
            let mut body = vec![0; length.checked_sub(4).context("length below 4")?];
            self.stream.read_exact(&mut body).await?;
            anyhow::Ok(body)
        });
        let message = Message {
            tag,
            body: body.await.context("receive the rest")??,
        };
        if tag == b'S' {
            let mut parts = message.body.split(|&byte| byte == 0);
            let mut part = || {
                parts
                    .next()
                    .map(|part| String::from_utf8_lossy(part).into_owned())
            };
            if let (Some(name), Some(value)) = (part(), part()) {
                self.parameters.insert(name, value);
            }
        }
        Ok(Some(message))
    }

    /// All messages up to and including ReadyForQuery, or up to the end of the connection.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn until_ready(&mut self) -> anyhow::Result<Vec<Message>> {
        let mut messages = Vec::new();
        while let Some(message) = self.receive().await? {
            let ready = message.tag == b'Z';
            messages.push(message);
            if ready {
                break;
            }
        }
        Ok(messages)
    }

    /// Runs a simple query.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn query(&mut self, sql: &str) -> anyhow::Result<Vec<Message>> {
        self.exchange(&query(sql)).await
    }

    /// Sends bytes and reads up to ReadyForQuery.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn exchange(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Message>> {
        self.send(bytes).await?;
        self.until_ready().await
    }

    /// Whether the server has closed the connection, or does so before long.
    ///
    /// # Errors
    /// When it does not.
    pub async fn closed(&mut self) -> anyhow::Result<Vec<Message>> {
        let mut messages = Vec::new();
        while let Some(message) = self.receive().await? {
            messages.push(message);
        }
        Ok(messages)
    }
}

/// SSLRequest.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// GSSENCRequest.
pub const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

/// StartupMessage of protocol 3.0.
#[must_use]
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    for (name, value) in parameters {
        body.extend(zero_ended(name));
        body.extend(zero_ended(value));
    }
    body.push(0);
    [length_of(&body), body].concat()
}

/// CancelRequest; `key` is the body of BackendKeyData.
#[must_use]
pub fn cancel(key: &[u8]) -> Vec<u8> {
    let body = [&[0x04, 0xd2, 0x16, 0x2e], key].concat();
    [length_of(&body), body].concat()
}

/// Any message.
#[must_use]
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [vec![tag], length_of(body), body.to_vec()].concat()
}

fn length_of(body: &[u8]) -> Vec<u8> {
    i32::try_from(body.len() + 4)
        .unwrap_or(i32::MAX)
        .to_be_bytes()
        .to_vec()
}

fn zero_ended(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn count_of(count: usize) -> [u8; 2] {
    u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes()
}

/// Query.
#[must_use]
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &zero_ended(sql))
}

/// Parse; a type OID of 0 is left to the server.
#[must_use]
pub fn parse(name: &str, sql: &str, type_oids: &[u32]) -> Vec<u8> {
    let mut body = [zero_ended(name), zero_ended(sql)].concat();
    body.extend(count_of(type_oids.len()));
    body.extend(type_oids.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

/// Bind with one format for all parameters; results come as text.
#[must_use]
pub fn bind(portal: &str, name: &str, binary: bool, values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = [zero_ended(portal), zero_ended(name)].concat();
    body.extend([0, 1, 0, u8::from(binary)]);
    body.extend(count_of(values.len()));
    for value in values {
        match value {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                body.extend(i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
                body.extend_from_slice(bytes);
            }
        }
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

/// Describe of a statement (`b'S'`) or a portal (`b'P'`).
#[must_use]
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[vec![kind], zero_ended(name)].concat())
}

/// Close of a statement (`b'S'`) or a portal (`b'P'`).
#[must_use]
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[vec![kind], zero_ended(name)].concat())
}

/// Execute; a limit of 0 is none.
#[must_use]
pub fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    message(
        b'E',
        &[zero_ended(portal), max_rows.to_be_bytes().to_vec()].concat(),
    )
}

/// Parse, Bind and Execute of a statement without a name and without parameters; no Sync.
#[must_use]
pub fn unsynced(sql: &str) -> Vec<u8> {
    [
        parse("", sql, &[]),
        bind("", "", false, &[]),
        execute("", 0),
    ]
    .concat()
}

/// Sync.
#[must_use]
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// Flush.
#[must_use]
pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

/// Terminate.
#[must_use]
pub fn terminate() -> Vec<u8> {
    message(b'X', &[])
}
