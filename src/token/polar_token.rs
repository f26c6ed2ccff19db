//! The shape of Polar's tokens.

use super::{CredentialKind, TokenHash};

/// A token of Polar's shape: `polar_at_` or `polar_rt_`, then `u_` or `o_`, then 43 letters and
/// digits.
///
/// Measured on Polar's own server: every token that it issued had this shape.
#[derive(Clone, Copy)]
pub(crate) struct PolarToken<'a>(&'a [u8; 54]);

impl<'a> PolarToken<'a> {
    pub(crate) const LEN: usize = 54;

    /// The beginning of every Polar token.
    pub(crate) const PREFIX: &'static [u8] = b"polar_";

    /// The token that this text begins with, whatever follows it.
    #[inline]
    pub(crate) fn at_start(text: &'a [u8]) -> Option<Self> {
        let token = text.first_chunk::<54>()?;
        let [
            b'p',
            b'o',
            b'l',
            b'a',
            b'r',
            b'_',
            b'a' | b'r',
            b't',
            b'_',
            b'u' | b'o',
            b'_',
            rest @ ..,
        ] = token
        else {
            return None;
        };
        // No branch for each byte. The one after 16 bytes keeps a text full of `polar_at_u_` cheap.
        let all =
            |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric());
        let (first, second) = rest.split_at(16);
        (all(first) && all(second)).then_some(Self(token))
    }

    /// Whether a token may have this byte at this index.
    #[inline]
    pub(crate) fn may_have(byte: u8, index: usize) -> bool {
        match index {
            0..11 => byte == b"polar_at_u_"[index] || byte == b"polar_rt_o_"[index],
            11..Self::LEN => byte.is_ascii_alphanumeric(),
            _ => false,
        }
    }

    /// Whether this text contains a token that is not encoded.
    pub(crate) fn is_in(text: &[u8]) -> bool {
        memchr::memmem::find_iter(text, Self::PREFIX)
            .any(|at| PolarToken::at_start(&text[at..]).is_some())
    }

    #[inline]
    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn hash(self) -> TokenHash {
        TokenHash::of(self.0)
    }

    pub(crate) fn kind(self) -> CredentialKind {
        match self.0[Self::PREFIX.len()] {
            b'a' => CredentialKind::AccessToken,
            _ => CredentialKind::RefreshToken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &[u8] = b"polar_at_u_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

    #[test]
    fn token_is_recognised_by_its_shape_alone() {
        for (token, kind) in [
            (TOKEN.to_vec(), CredentialKind::AccessToken),
            ([TOKEN, b"more"].concat(), CredentialKind::AccessToken),
            ([b"polar_rt_o_", &TOKEN[11..]].concat(), CredentialKind::RefreshToken),
        ] {
            let found = PolarToken::at_start(&token).expect("a token");
            assert_eq!((found.as_bytes(), found.kind()), (&token[..54], kind));
        }
        for other in [
            &TOKEN[..53],
            &[b"polar_ci_u_", &TOKEN[11..]].concat(),
            &[b"polar_at_x_", &TOKEN[11..]].concat(),
            &[b"POLAR_AT_U_", &TOKEN[11..]].concat(),
            &[&TOKEN[..30], b"-", &TOKEN[31..]].concat(),
        ] {
            assert!(PolarToken::at_start(other).is_none());
        }
    }

    #[test]
    fn token_is_found_behind_a_prefix_without_token() {
        assert!(PolarToken::is_in(&[b"polar_at_u_", TOKEN, b"]"].concat()));
        assert!(!PolarToken::is_in(b"polar_at_u_ polar_rt_o_"));
    }
}
