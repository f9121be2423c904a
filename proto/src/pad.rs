// SPDX-License-Identifier: EUPL-1.2
//! The form of every plain text before it is sealed: 32 random bytes, the length (u32, big
//! endian), the message, zeros up to a fixed size. So sizes say nothing (SAME-ANSWER), and the
//! digest of a plain text says nothing either.

use zeroize::Zeroizing;

/// Bytes before the message.
pub const HEAD: usize = 36;

/// Pads a message to exactly `size` bytes.
///
/// # Errors
/// Where the message does not fit.
pub fn pad(salt: [u8; 32], message: &[u8], size: usize) -> Result<Zeroizing<Vec<u8>>, PadError> {
    let room = size.saturating_sub(HEAD);
    let length = u32::try_from(message.len()).map_err(|_| PadError::TooLong { room })?;
    if size < HEAD || message.len() > room {
        return Err(PadError::TooLong { room });
    }
    // Reserved whole, so that no copy of the message stays behind in a grown buffer.
    let mut plain = Zeroizing::new(Vec::with_capacity(size));
    plain.extend_from_slice(&salt);
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(message);
    plain.resize(size, 0);
    Ok(plain)
}

/// The message in a padded plain text.
///
/// # Errors
/// Where the length is wrong or the padding is not zero: one plain text has one form.
pub fn unpad(plain: &[u8]) -> Result<&[u8], PadError> {
    let (head, rest) = plain.split_at_checked(HEAD).ok_or(PadError::Form)?;
    let length = head.get(32..).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let length = length.and_then(|length| usize::try_from(length).ok()).ok_or(PadError::Form)?;
    let (message, padding) = rest.split_at_checked(length).ok_or(PadError::Form)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(PadError::Form);
    }
    Ok(message)
}

/// Why something cannot be padded or unpadded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PadError {
    /// The message is longer than its padded size allows.
    #[error("the message is longer than the {room} bytes that its padded size leaves")]
    TooLong {
        /// Bytes there would have been.
        room: usize,
    },
    /// Not a padded plain text.
    #[error("the opened bytes are not a padded message")]
    Form,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_size_whatever_the_message() {
        for length in [0, 1, 63, 64] {
            let plain = pad([9; 32], &vec![7; length], 100).unwrap();
            assert_eq!(plain.len(), 100);
            assert_eq!(unpad(&plain).unwrap(), vec![7; length]);
        }
        assert_eq!(pad([9; 32], &[7; 65], 100), Err(PadError::TooLong { room: 64 }));
        assert!(pad([9; 32], &[1], 10).is_err());
    }

    #[test]
    fn one_form_only() {
        let mut plain = pad([0; 32], b"ab", 64).unwrap().to_vec();
        plain[63] = 1;
        assert_eq!(unpad(&plain), Err(PadError::Form));
        assert_eq!(unpad(&plain[..35]), Err(PadError::Form));
        plain[32] = 255;
        assert_eq!(unpad(&plain), Err(PadError::Form));
    }
}
