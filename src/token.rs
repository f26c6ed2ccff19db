//! A token, its hash, and the order to revoke it.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::Error;

/// A token that an authorization server could have issued: 1 to [`Token::MAX_LEN`] bytes of visible
/// ASCII.
///
/// Polar's own tokens are 54 bytes of `[A-Za-z0-9_]`. The bounds here are wider, so that any
/// RFC 7009 server's fit, but exclude what Polar answers with a 500 (not ASCII) or with a 200 that
/// revokes nothing (white space).
///
/// The text is wiped from memory on drop, and `Debug` does not show it. Two are compared in a time
/// that tells no more than whether they are equally long.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The longest token that is sent to an authorization server, in bytes: 4 KiB.
    pub const MAX_LEN: usize = 4096;

    /// The token in these bytes, or `None` where no authorization server could have issued it.
    #[must_use]
    pub fn parse(value: impl AsRef<[u8]>) -> Option<Self> {
        let value = value.as_ref();
        if value.is_empty() || value.len() > Self::MAX_LEN {
            return None;
        }
        if !value.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        Some(Self(Zeroizing::new(text.to_owned())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The SHA-256 digest of a token or of another credential: all that is kept of a revoked one.
///
/// `Debug` shows the first four bytes, enough to tie log lines together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(value: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(value).into())
    }

    /// A digest as it was stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(")?;
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("..)")
    }
}

/// `token_type_hint` of RFC 7009, section 2.1.
///
/// Polar takes the hint as a filter: a wrong one is answered with 200 and revokes nothing. Without
/// one, Polar searches both kinds, so none is sent unless asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenTypeHint {
    /// `access_token`
    AccessToken,
    /// `refresh_token`
    RefreshToken,
}

impl TokenTypeHint {
    /// The value as it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// What a credential is to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CredentialKind {
    AccessToken,
    RefreshToken,
    /// The application's own, a session id say: nothing that Polar knows.
    Opaque,
}

/// Where a credential that is to be revoked was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundIn {
    Bearer,
    Cookie,
    Header,
    Query,
    Form,
    Json,
    /// In a response that sets it, though its request's credential was revoked meanwhile.
    SetCookie,
    /// In no request: the application itself revokes it.
    Handle,
}

impl FoundIn {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Cookie => "cookie",
            Self::SetCookie => "set_cookie",
            Self::Header => "header",
            Self::Query => "query",
            Self::Form => "form",
            Self::Json => "json",
            Self::Handle => "handle",
        }
    }
}

/// The order to revoke one credential: reject it here from now on, and tell Polar where it is
/// Polar's.
///
/// ```
/// use std::time::Duration;
/// use tower_polar_logout::Revocation;
///
/// let token = "polar_at_u_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
/// let order = Revocation::access_token(token)?.expires_in(Duration::from_secs(3600));
/// # Ok::<(), tower_polar_logout::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Revocation {
    pub(crate) hash: TokenHash,
    pub(crate) kind: CredentialKind,
    pub(crate) lifetime: Option<Duration>,
    /// What Polar is told; `None` for what it could not have issued.
    pub(crate) token: Option<Token>,
    pub(crate) found_in: FoundIn,
}

impl Revocation {
    /// Revokes an access token, here and at Polar.
    ///
    /// A value that Polar cannot have issued (see [`Token`]) is rejected here and never sent.
    ///
    /// # Errors
    ///
    /// The value is empty.
    pub fn access_token(value: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::parse(value.as_ref(), CredentialKind::AccessToken).ok_or_else(empty)
    }

    /// Revokes a refresh token, here and at Polar, as [`Revocation::access_token`] does.
    ///
    /// # Errors
    ///
    /// The value is empty.
    pub fn refresh_token(value: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::parse(value.as_ref(), CredentialKind::RefreshToken).ok_or_else(empty)
    }

    /// Revokes a credential of the application's own, here only: a session id, an API key.
    ///
    /// # Errors
    ///
    /// The value is empty.
    pub fn opaque(value: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::parse(value.as_ref(), CredentialKind::Opaque).ok_or_else(empty)
    }

    /// How long from now the credential could still be accepted, where the application knows it
    /// better than the retention configured for its kind. Rejected for at least that long.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// `None` for the empty value: nobody accepts it as a credential, and to deny it would shut out
    /// every browser that holds an emptied cookie.
    pub(crate) fn parse(value: &[u8], kind: CredentialKind) -> Option<Self> {
        if value.is_empty() {
            return None;
        }
        let token = match kind {
            CredentialKind::Opaque => None,
            CredentialKind::AccessToken | CredentialKind::RefreshToken => Token::parse(value),
        };
        Some(Self {
            hash: TokenHash::of(value),
            kind,
            lifetime: None,
            token,
            found_in: FoundIn::Handle,
        })
    }
}

fn empty() -> Error {
    Error::configuration("an empty value is no credential: nothing to revoke")
}
