//! Frames: versioned, length-prefixed, bounded.
//!
//! ```text
//! +--------+---------+------------+-----------------+
//! | "PLIM" | version | length     | payload         |
//! | 4 B    | u16 LE  | u32 LE     | length B        |   payload: postcard
//! +--------+---------+------------+-----------------+
//! ```

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Raised whenever a message changes: host and agent must be the same build.
pub const PROTOCOL_VERSION: u16 = 2;

/// The longest payload that either side accepts, in bytes. A slice's histograms are the largest thing ever sent.
pub const FRAME_BYTES_MAX: u32 = 4 * 1024 * 1024;

const MAGIC: [u8; 4] = *b"PLIM";
const HEADER_BYTES: usize = 10;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end closed the stream between two frames.
    #[error("the stream was closed by the other end")]
    Closed,
    /// The bytes do not begin like a frame: something else writes into this stream.
    #[error("these bytes are no frame: expected \"PLIM\", got {0:02x?}")]
    NotAFrame([u8; 4]),
    /// The other end is another build.
    #[error("the other end speaks protocol {theirs}, this end {PROTOCOL_VERSION}")]
    Version {
        /// The version in the frame's header.
        theirs: u16,
    },
    /// The payload is longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes exceeds the limit of {FRAME_BYTES_MAX}")]
    TooLong(u64),
    /// The payload is not the message that was expected.
    #[error("the frame does not hold the expected message: {0}")]
    Payload(#[from] postcard::Error),
    /// The stream itself failed, or its deadline passed ([`io::ErrorKind::TimedOut`]).
    #[error("the stream failed: {0}")]
    Stream(#[from] io::Error),
}

/// Writes one message as one frame and flushes.
///
/// # Errors
/// [`FrameError::TooLong`] when the message does not fit a frame; [`FrameError::Stream`] when writing fails.
pub fn write_frame<T: Serialize>(writer: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let mut frame = Vec::with_capacity(256);
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    let mut frame = postcard::to_extend(message, frame)?;
    let length = frame.len() - HEADER_BYTES;
    let length_u32 = u32::try_from(length).ok().filter(|length| *length <= FRAME_BYTES_MAX);
    let length_u32 = length_u32.ok_or(FrameError::TooLong(length as u64))?;
    frame[6..HEADER_BYTES].copy_from_slice(&length_u32.to_le_bytes());
    writer.write_all(&frame)?;
    writer.flush()?;
    Ok(())
}

/// Reads one frame and decodes its message. Allocates no more than what really arrives.
///
/// # Errors
/// Every variant of [`FrameError`].
pub fn read_frame<T: DeserializeOwned>(reader: &mut impl Read) -> Result<T, FrameError> {
    let mut header = [0; HEADER_BYTES];
    read_header(reader, &mut header)?;
    let magic = [header[0], header[1], header[2], header[3]];
    if magic != MAGIC {
        return Err(FrameError::NotAFrame(magic));
    }
    let theirs = u16::from_le_bytes([header[4], header[5]]);
    if theirs != PROTOCOL_VERSION {
        return Err(FrameError::Version { theirs });
    }
    let length = u32::from_le_bytes([header[6], header[7], header[8], header[9]]);
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(u64::from(length)));
    }
    let mut payload = Vec::new();
    let got = reader.take(u64::from(length)).read_to_end(&mut payload)?;
    if got < length as usize {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(postcard::from_bytes(&payload)?)
}

/// Fills the header; an end of stream before its first byte is a clean close.
fn read_header(reader: &mut impl Read, header: &mut [u8; HEADER_BYTES]) -> Result<(), FrameError> {
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match reader.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, Request};
    use proptest::prelude::*;

    #[test]
    fn a_message_survives_the_stream() {
        let mut stream = Vec::new();
        write_frame(&mut stream, &Request::Hello).unwrap();
        write_frame(&mut stream, &Request::CleanUp).unwrap();
        let mut reader = stream.as_slice();
        assert_eq!(read_frame::<Request>(&mut reader).unwrap(), Request::Hello);
        assert_eq!(read_frame::<Request>(&mut reader).unwrap(), Request::CleanUp);
        assert!(matches!(read_frame::<Request>(&mut reader), Err(FrameError::Closed)));
    }

    #[test]
    fn a_frame_cut_short_is_an_error_at_every_length() {
        let mut stream = Vec::new();
        write_frame(&mut stream, &Reply::Failed { cause: crate::Cause::Workload, message: "no".into() }).unwrap();
        for length in 1..stream.len() {
            let error = read_frame::<Reply>(&mut &stream[..length]).unwrap_err();
            assert!(matches!(error, FrameError::Stream(_)), "at {length}: {error}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut stream = Vec::new();
        write_frame(&mut stream, &Request::Hello).unwrap();
        stream[4] = 9;
        let error = read_frame::<Request>(&mut stream.as_slice()).unwrap_err();
        assert!(matches!(error, FrameError::Version { theirs: 9 }), "{error}");
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
        let mut stream = Vec::new();
        write_frame(&mut stream, &Request::Hello).unwrap();
        stream[6..10].copy_from_slice(&(FRAME_BYTES_MAX + 1).to_le_bytes());
        assert!(matches!(read_frame::<Request>(&mut stream.as_slice()), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn a_message_beyond_the_limit_is_not_sent() {
        let mut stream = Vec::new();
        let message = "x".repeat(FRAME_BYTES_MAX as usize + 1);
        let error = write_frame(&mut stream, &Reply::Failed { cause: crate::Cause::Workload, message }).unwrap_err();
        assert!(matches!(error, FrameError::TooLong(_)));
        assert!(stream.is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let _ = read_frame::<Reply>(&mut bytes.as_slice());
            let _ = read_frame::<Request>(&mut bytes.as_slice());
        }

        #[test]
        fn arbitrary_payloads_in_a_valid_frame_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut stream = MAGIC.to_vec();
            stream.extend(PROTOCOL_VERSION.to_le_bytes());
            stream.extend((payload.len() as u32).to_le_bytes());
            stream.extend(&payload);
            if let Ok(reply) = read_frame::<Reply>(&mut stream.as_slice()) {
                let _ = reply.check();
            }
        }
    }
}
