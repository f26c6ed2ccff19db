//! A token, its hash, and the order to revoke it.

mod polar_token;
mod reading;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(crate) use self::polar_token::PolarToken;
pub(crate) use self::reading::read;
use crate::error::Error;

/// A token that an authorization server could have issued: 1 to [`Token::MAX_LEN`] bytes of visible
/// ASCII.
///
/// Polar's own tokens are 54 bytes of `[A-Za-z0-9_]`. The bounds here are wider, so that the tokens
/// of any RFC 7009 server fit. They exclude values that Polar answers with a 500 (not ASCII), or
/// with a 200 that revokes nothing (white space).
///
/// The text is wiped from memory on drop, and `Debug` does not show it. The time of a comparison
/// shows only whether the two tokens are equally long.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The longest token that is sent to an authorization server, in bytes: 4 KiB.
    pub const MAX_LEN: usize = 4096;

    /// The token in these bytes; `None` if no authorization server could have issued it.
    pub(crate) fn parse(value: impl AsRef<[u8]>) -> Option<Self> {
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

/// # Errors
///
/// No authorization server could have issued the value: it is empty, longer than
/// [`Token::MAX_LEN`], or not visible ASCII. The message does not contain the value.
impl TryFrom<&[u8]> for Token {
    type Error = Error;

    fn try_from(value: &[u8]) -> Result<Self, Error> {
        Self::parse(value).ok_or_else(|| {
            Error::configuration(
                "the value cannot be a token: give 1 to 4096 characters of visible ASCII, without \
                 white space",
            )
        })
    }
}

/// The same as `TryFrom<&[u8]>`.
impl FromStr for Token {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        value.as_bytes().try_into()
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

/// The SHA-256 digest of a token or of another credential. The denylist holds only digests.
///
/// `Debug` shows the first four bytes, which is enough to correlate log lines.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(value: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(value).into())
    }

    fn of_parts(parts: [&[u8]; 3]) -> Self {
        let [first, second, third] = parts;
        let digest = Sha256::new().chain_update(first).chain_update(second).chain_update(third);
        Self(digest.finalize().into())
    }

    /// The hash by which requests with this credential are recognised; `None` if no request could
    /// be recognised by this value: it is too short, or it holds a token of Polar's and other text.
    #[must_use]
    pub fn of_credential(value: impl AsRef<[u8]>) -> Option<Self> {
        let value = value.as_ref().trim_ascii();
        match PolarToken::at_start(value) {
            Some(token) if token.as_bytes().len() == value.len() => Some(Self::of(value)),
            // Requests are recognised by the token alone.
            _ if PolarToken::is_in(value) => None,
            _ => read(value, |_, hash| hash),
        }
    }

    /// A stored digest, from its 32 bytes.
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
/// Polar uses the hint as a filter: it answers a wrong hint with 200 and revokes nothing. Without a
/// hint, Polar searches both kinds, so none is sent by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenTypeHint {
    /// `access_token`
    AccessToken,
    /// `refresh_token`
    RefreshToken,
}

impl TokenTypeHint {
    /// The value that is sent to the server.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// How the app uses a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CredentialKind {
    AccessToken,
    RefreshToken,
    /// The app's own credential, for example a session id. Polar does not know it.
    SessionId,
    /// A value in a place of Polar's token that Polar cannot have issued, for example an encrypted
    /// cookie, a password, or another system's key. Never sent.
    Unrecognized,
}

impl CredentialKind {
    /// Whether an authorization server issued it. Requests that carry a revoked token are
    /// rejected.
    pub(crate) fn is_token(self) -> bool {
        matches!(self, Self::AccessToken | Self::RefreshToken)
    }
}

/// The authorization server that tokens are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Issuer {
    Polar,
    /// Another RFC 7009 server.
    Other,
}

impl Issuer {
    /// Polar's tokens have 54 bytes today. This leaves room for a longer format.
    const LONGEST_OF_POLAR: usize = 128;

    /// Whether the server could have issued this value. Other values are never sent: they may be
    /// passwords or another system's keys.
    pub(crate) fn could_have_issued(self, value: &[u8]) -> bool {
        match self {
            Self::Polar => {
                value.starts_with(PolarToken::PREFIX)
                    && value.len() <= Self::LONGEST_OF_POLAR
                    && value.iter().all(u8::is_ascii_graphic)
            }
            Self::Other => Token::parse(value).is_some(),
        }
    }
}

/// The place in which a credential to be revoked was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundIn {
    Authorization,
    Cookie,
    Subprotocol,
    Header,
    Path,
    Query,
    Body,
    /// In the response to a request whose credential was revoked meanwhile.
    SetCookie,
    /// Not in a request: the app revokes it through the handle.
    Handle,
}

impl FoundIn {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Cookie => "cookie",
            Self::Subprotocol => "subprotocol",
            Self::Header => "header",
            Self::Path => "path",
            Self::Query => "query",
            Self::Body => "body",
            Self::SetCookie => "set_cookie",
            Self::Handle => "handle",
        }
    }
}

/// An order to revoke one credential. The layer denies the credential, and sends it to Polar if it
/// is one of Polar's tokens.
///
/// An app that keeps only hashes can make the order from a [`TokenHash`]. Such a credential is
/// denied here but not sent to Polar, because Polar cannot revoke a hash.
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
    /// The token that can be sent; `None` for the app's own credentials.
    pub(crate) token: Option<Token>,
    /// Its logout carries too many tokens, so this one is denied but not sent.
    pub(crate) is_one_too_many: bool,
    pub(crate) found_in: FoundIn,
}

impl Revocation {
    /// Revokes an access token, here and at Polar.
    ///
    /// A value that Polar cannot have issued is denied here and never sent. The outcome is then
    /// [`Unrecognized`](crate::LogoutOutcome::Unrecognized).
    ///
    /// # Errors
    ///
    /// No request could be recognised by this value, for one of these reasons:
    ///
    /// - It has fewer than 16 bytes. Characters at its ends count only if they are letters, digits
    ///   or one of `-._~+/=`.
    /// - It holds one of Polar's tokens and other text.
    pub fn access_token(value: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::parse(value.as_ref(), CredentialKind::AccessToken)
    }

    /// Revokes a refresh token, here and at Polar, as [`Revocation::access_token`] does.
    ///
    /// # Errors
    ///
    /// As [`Revocation::access_token`].
    pub fn refresh_token(value: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::parse(value.as_ref(), CredentialKind::RefreshToken)
    }

    /// Revokes one of the app's own session ids, here only. If the value is one of Polar's tokens,
    /// it is not sent either, and the outcome is
    /// [`Unrecognized`](crate::LogoutOutcome::Unrecognized).
    ///
    /// # Errors
    ///
    /// As [`Revocation::access_token`].
    pub fn session_id(value: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::parse(value.as_ref(), CredentialKind::SessionId)
    }

    /// Denies the credential for at least this long from now, instead of the retention configured
    /// for its kind. Use it if the app knows how long the credential could be accepted.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    fn parse(value: &[u8], kind: CredentialKind) -> Result<Self, Error> {
        let value = value.trim_ascii();
        let sent = |text: &[u8]| if kind.is_token() { Token::parse(text) } else { None };
        if let Some(token) = PolarToken::at_start(value)
            && token.as_bytes().len() == value.len()
        {
            return Ok(Self::new(token.hash(), token.kind(), sent(value), FoundIn::Handle));
        }
        if PolarToken::is_in(value) {
            return Err(Error::configuration(
                "the value holds one of Polar's tokens and other text: give the token alone",
            ));
        }
        read(value, |text, hash| Self::new(hash, kind, sent(text), FoundIn::Handle)).ok_or_else(|| {
            Error::configuration(
                "no request could be recognised by this value: give a credential of at least 16 \
                 bytes",
            )
        })
    }

    pub(crate) fn new(
        hash: TokenHash,
        kind: CredentialKind,
        token: Option<Token>,
        found_in: FoundIn,
    ) -> Self {
        Self { hash, kind, lifetime: None, token, is_one_too_many: false, found_in }
    }
}

/// For [`TokenHash::of_credential`]. Requests are recognised by that hash, and not always by the
/// digest of the bytes as they are.
///
/// The outcome is [`Unrecognized`](crate::LogoutOutcome::Unrecognized), because nothing is sent to
/// Polar. The hash is denied for
/// [`session_id_retention`](crate::PolarLogoutLayerBuilder::session_id_retention), unless
/// [`expires_in`](Revocation::expires_in) says otherwise.
impl From<TokenHash> for Revocation {
    fn from(hash: TokenHash) -> Self {
        Self::new(hash, CredentialKind::Unrecognized, None, FoundIn::Handle)
    }
}
