//! Messages as bytes: a length of four bytes, then JSON.

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::error::LinkError;

/// The longest message, in bytes.
pub const LONGEST: usize = 1024 * 1024;
const PREFIX: usize = 4;

/// A message's bytes. They may hold a session's credentials.
pub(crate) type Frame = Zeroizing<Vec<u8>>;

/// Writes a message as a frame.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Frame, LinkError> {
    let mut bytes = Zeroizing::new(vec![0; PREFIX]);
    serde_json::to_writer(&mut *bytes, message).map_err(|_| LinkError::Garbage)?;
    let length = bytes.len() - PREFIX;
    let prefix = u32::try_from(length).ok().filter(|_| length <= LONGEST).ok_or(LinkError::TooLong(length))?;
    bytes[..PREFIX].copy_from_slice(&prefix.to_be_bytes());
    Ok(bytes)
}

/// Sends one message.
pub(crate) async fn send<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), LinkError> {
    to.write_all(&encode(message)?).await?;
    Ok(to.flush().await?)
}

/// Takes messages off a stream. A read that is given up halfway loses nothing.
pub(crate) struct Reader<R> {
    from: R,
    buffer: Frame,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, buffer: Frame::default() }
    }

    /// The next message; `None` if the other end closed the stream between two.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinkError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.from.read_buf(&mut *self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(LinkError::Cut) };
            }
        }
    }

    fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinkError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > LONGEST {
            return Err(LinkError::TooLong(length));
        }
        let end = PREFIX + length;
        let Some(bytes) = self.buffer.get(PREFIX..end) else { return Ok(None) };
        let message = serde_json::from_slice(bytes).map_err(|_| LinkError::Garbage)?;
        // A new buffer, so that the old one is zeroed.
        self.buffer = Zeroizing::new(self.buffer[end..].to_vec());
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<Option<Vec<u32>>, LinkError> {
        Reader::new(bytes).next().await
    }

    #[tokio::test]
    async fn what_is_sent_arrives_in_order_however_it_is_cut_into_pieces() {
        let (mut near, far) = tokio::io::duplex(3);
        let sender = tokio::spawn(async move {
            for message in [vec![1_u32, 2, 3], Vec::new(), vec![4]] {
                send(&mut near, &message).await.unwrap();
            }
        });
        let mut reader = Reader::new(far);
        let mut got = Vec::new();
        while let Some(message) = reader.next::<Vec<u32>>().await.unwrap() {
            got.push(message);
        }
        sender.await.unwrap();
        assert_eq!(got, [vec![1, 2, 3], Vec::new(), vec![4]]);
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_refused_before_it_is_read() {
        let length = u32::try_from(LONGEST + 1).unwrap();
        assert!(matches!(read(&length.to_be_bytes()).await, Err(LinkError::TooLong(_))));
        assert!(matches!(encode(&"x".repeat(LONGEST)), Err(LinkError::TooLong(_))));
        assert!(encode(&"x".repeat(LONGEST - 2)).is_ok());
    }

    #[tokio::test]
    async fn a_message_that_is_cut_is_told_from_a_link_that_was_closed() {
        let whole = encode(&vec![1_u32]).unwrap();
        assert!(matches!(read(&whole).await, Ok(Some(_))));
        assert!(matches!(read(&[]).await, Ok(None)));
        for end in 1..whole.len() {
            assert!(matches!(read(&whole[..end]).await, Err(LinkError::Cut)), "{end}");
        }
    }

    #[tokio::test]
    async fn garbage_is_refused_and_not_repeated() {
        let mut bytes = 8_u32.to_be_bytes().to_vec();
        bytes.extend(b"my-token");
        let error = read(&bytes).await.unwrap_err();
        assert!(matches!(error, LinkError::Garbage) && !error.to_string().contains("my-token"));
    }
}
