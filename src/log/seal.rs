//! Tokens at rest: readable by the holder of the client secret, and by nobody else.

use std::fmt;

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::log::SealedToken;
use crate::token::{Token, TokenHash};

/// Says what the derived key is for, so that no other use of the secret ever shares it.
const PURPOSE: &[u8] = b"tower-polar-logout sealed token";
/// The first byte of a sealed token: what follows is a nonce and a ciphertext.
const FORMAT: u8 = 1;
const NONCE_LEN: usize = 24;

/// Seals with the key of one secret, and opens with those of its predecessors too.
pub(crate) struct Sealer {
    current: Key,
    previous: Vec<Key>,
}

/// Boxed: what is moved leaves a copy behind.
struct Key(Box<Zeroizing<[u8; 32]>>);

impl Sealer {
    pub(crate) fn new<'a>(secret: &str, previous: impl IntoIterator<Item = &'a str>) -> Self {
        Self { current: Key::of(secret), previous: previous.into_iter().map(Key::of).collect() }
    }

    /// Opens what `former` did.
    pub(crate) fn opens_too(&mut self, former: Self) {
        for key in [former.current].into_iter().chain(former.previous) {
            // Each once: an app may exchange a secret for the same one, hour by hour.
            if key != self.current && !self.previous.contains(&key) {
                self.previous.push(key);
            }
        }
    }

    /// `None` only where the system gives no random bytes.
    pub(crate) fn seal(&self, token: &Token, hash: &TokenHash) -> Option<SealedToken> {
        let nonce = XNonce::try_generate().ok()?;
        // The hash is bound in: a sealed token that is moved to another entry does not open.
        let payload = Payload { msg: token.as_str().as_bytes(), aad: hash.as_bytes() };
        let ciphertext = self.current.cipher().encrypt(&nonce, payload).ok()?;
        let sealed: Vec<u8> = [FORMAT].into_iter().chain(nonce).chain(ciphertext).collect();
        Some(SealedToken::from_bytes(sealed))
    }

    /// `None` for what another secret sealed, and for what was tampered with.
    pub(crate) fn open(&self, sealed: &SealedToken, hash: &TokenHash) -> Option<Token> {
        let (FORMAT, rest) = sealed.as_bytes().split_first().map(|(first, rest)| (*first, rest))?
        else {
            return None;
        };
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = XNonce::try_from(nonce).ok()?;
        [&self.current].into_iter().chain(&self.previous).find_map(|key| {
            let payload = Payload { msg: ciphertext, aad: hash.as_bytes() };
            let token = Zeroizing::new(key.cipher().decrypt(&nonce, payload).ok()?);
            Token::parse(&*token)
        })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Key {
    fn of(secret: &str) -> Self {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        Hkdf::<Sha256>::new(None, secret.as_bytes())
            .expand(PURPOSE, &mut **key)
            .expect("32 bytes are within what HKDF-SHA-256 gives");
        Self(key)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&**self.0).into())
    }
}

impl PartialEq for Key {
    /// In a time that says nothing about the keys.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&**other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> (Token, TokenHash) {
        let text = "polar_at_u_secret";
        (Token::parse(text).expect("a token"), TokenHash::of(text))
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_secret_and_no_other() {
        let (token, hash) = token();
        let sealed = Sealer::new("secret", []).seal(&token, &hash).expect("sealed");
        assert_eq!(Sealer::new("secret", []).open(&sealed, &hash), Some(token.clone()));
        assert_eq!(Sealer::new("other", []).open(&sealed, &hash), None);
        assert_eq!(Sealer::new("other", ["secret"]).open(&sealed, &hash), Some(token));
    }

    #[test]
    fn secrets_that_are_exchanged_back_and_forth_are_kept_once_each_and_all_open() {
        let (token, hash) = token();
        let secrets = ["one", "two", "two", "three"];
        let mut sealer = Sealer::new(secrets[0], ["zero"]);
        for secret in secrets.iter().cycle().take(1_000) {
            let former = std::mem::replace(&mut sealer, Sealer::new(secret, []));
            sealer.opens_too(former);
        }
        for secret in ["zero", "one", "two", "three"] {
            let kept = Sealer::new(secret, []).seal(&token, &hash).expect("sealed");
            assert_eq!(sealer.open(&kept, &hash), Some(token.clone()), "{secret}");
        }
        assert_eq!(sealer.previous.len(), 3);
    }

    #[test]
    fn it_shows_nothing_and_is_never_the_same_twice() {
        let (token, hash) = token();
        let sealer = Sealer::new("secret", []);
        let (first, second) = (sealer.seal(&token, &hash), sealer.seal(&token, &hash));
        assert_ne!(first, second);
        let first = first.expect("sealed");
        assert!(!String::from_utf8_lossy(first.as_bytes()).contains("secret"));
        assert_eq!(format!("{first:?}"), "SealedToken(..)");
    }

    #[test]
    fn what_was_moved_cut_or_flipped_does_not_open() {
        let (token, hash) = token();
        let keeper = Sealer::new("secret", []);
        let sealed = keeper.seal(&token, &hash).expect("sealed");
        assert_eq!(keeper.open(&sealed, &TokenHash::of("another")), None);
        for len in 0..sealed.as_bytes().len() {
            let cut = SealedToken::from_bytes(&sealed.as_bytes()[..len]);
            assert_eq!(keeper.open(&cut, &hash), None, "{len}");
            let mut flipped = sealed.as_bytes().to_vec();
            flipped[len] ^= 1;
            assert_eq!(keeper.open(&SealedToken::from_bytes(flipped), &hash), None, "{len}");
        }
    }
}
