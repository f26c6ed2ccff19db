//! The requests that revoke and introspect a token.
//!
//! Buffers that hold a token or a secret are wiped. They have their full size from the start,
//! because a buffer that grows leaves a copy of its contents in the old memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use serde::Serialize;
use zeroize::Zeroizing;

use super::credentials::{ClientAuthMethod, ClientCredentials};
use super::server::Endpoints;
use crate::error::Error;
use crate::token::{Token, TokenTypeHint};

/// Makes the requests of one client to one server.
///
/// Nothing of the caller's request but the token is used: if the caller's `Authorization` or
/// `Cookie` header were sent too, Polar would answer 401 and revoke nothing.
#[derive(Clone)]
pub(super) struct Requests {
    endpoints: Endpoints,
    credentials: ClientCredentials,
    method: ClientAuthMethod,
    /// The header for `client_secret_basic`; `None` for `client_secret_post`.
    basic: Option<HeaderValue>,
}

impl Requests {
    pub(super) fn new(
        endpoints: Endpoints,
        credentials: ClientCredentials,
        method: ClientAuthMethod,
    ) -> Result<Self, Error> {
        credentials.check()?;
        let basic = match method {
            ClientAuthMethod::ClientSecretPost => None,
            ClientAuthMethod::ClientSecretBasic => Some(basic(&credentials)?),
        };
        Ok(Self { endpoints, credentials, method, basic })
    }

    /// The same with other credentials.
    pub(super) fn with_credentials(&self, credentials: ClientCredentials) -> Result<Self, Error> {
        Self::new(self.endpoints.clone(), credentials, self.method)
    }

    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    pub(super) fn auth_method(&self) -> ClientAuthMethod {
        self.method
    }

    /// A revoke request (RFC 7009, section 2.1).
    pub(super) fn revoke(
        &self,
        token: &Token,
        hint: Option<TokenTypeHint>,
    ) -> Request<Full<Bytes>> {
        let mut form = vec![("token", token.as_str())];
        form.extend(hint.map(|hint| ("token_type_hint", hint.as_str())));
        self.request(&self.endpoints.revocation, form)
    }

    /// An introspection request (RFC 7662, section 2.1); `None` if the endpoint is not known.
    pub(super) fn introspect(&self, token: &Token) -> Option<Request<Full<Bytes>>> {
        let endpoint = self.endpoints.introspection.as_ref()?;
        Some(self.request(endpoint, vec![("token", token.as_str())]))
    }

    /// A token request (RFC 6749, section 4.1.3) with a made-up code; `None` if the token endpoint
    /// is not known, or if the credentials cannot be sent with this method.
    pub(super) fn exchange_made_up_code(
        &self,
        method: ClientAuthMethod,
    ) -> Option<Request<Full<Bytes>>> {
        let endpoint = self.endpoints.token.as_ref()?;
        let requests = Self::new(self.endpoints.clone(), self.credentials.clone(), method).ok()?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", "made-up"),
            ("redirect_uri", "https://localhost/"),
        ];
        Some(requests.request(endpoint, form.into()))
    }

    fn request<'a>(
        &'a self,
        endpoint: &Uri,
        mut form: Vec<(&'a str, &'a str)>,
    ) -> Request<Full<Bytes>> {
        if self.basic.is_none() {
            form.push(("client_id", &self.credentials.id));
            form.push(("client_secret", &self.credentials.secret));
        }
        let form = urlencoded(&form);
        let mut request = Request::post(endpoint.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            // Polar answers 411 without it, and not every transport adds it.
            .header(CONTENT_LENGTH, form.len())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("tower-polar-logout/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(form))
            .expect("parts that were checked when this was built");
        if let Some(basic) = &self.basic {
            request.headers_mut().insert(AUTHORIZATION, basic.clone());
        }
        request
    }
}

/// An escaped byte takes three bytes.
const ESCAPED: usize = 3;

/// A form (RFC 6749, appendix B). It is wiped when its last clone is dropped.
fn urlencoded(form: &[(&str, &str)]) -> Bytes {
    let separators = 2 * form.len();
    let lengths = form.iter().map(|(name, value)| name.len() + value.len());
    let capacity = ESCAPED * lengths.sum::<usize>() + separators;
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    let mut serializer = form_urlencoded::Serializer::new(&mut *text);
    form.serialize(serde_urlencoded::Serializer::new(&mut serializer))
        .expect("pairs of text always serialize");
    debug_assert!(text.len() <= capacity, "the buffer has not grown");
    Bytes::from_owner(text)
}

/// The `Authorization` header: id and secret are form-encoded before they are joined (RFC 6749,
/// section 2.3.1). The value is wiped when its last clone is dropped.
fn basic(credentials: &ClientCredentials) -> Result<HeaderValue, Error> {
    let ClientCredentials { id, secret } = credentials;
    let capacity = ESCAPED * (id.len() + secret.len()) + ":".len();
    let mut pair = Zeroizing::new(String::with_capacity(capacity));
    pair.extend(form_urlencoded::byte_serialize(id.as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.as_bytes()));

    // Base64 takes four characters for each three bytes, rounded up.
    let capacity = "Basic ".len() + 4 * pair.len().div_ceil(3);
    let mut value = Zeroizing::new(String::with_capacity(capacity));
    value.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut value);
    debug_assert!(value.len() <= capacity, "the buffer has not grown");
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value))
        .map_err(|_| Error::configuration("the client credentials cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::super::server::PolarServer;
    use super::*;

    fn requests(method: ClientAuthMethod) -> Requests {
        let endpoints = PolarServer::Production.endpoints(false).expect("URLs");
        Requests::new(endpoints, ClientCredentials::new("polar_ci_1", "s+c:r%t"), method)
            .expect("credentials")
    }

    async fn body(request: Request<Full<Bytes>>) -> String {
        let bytes = request.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    fn token() -> Token {
        Token::parse("a&b=c").expect("a token")
    }

    #[tokio::test]
    async fn form_holds_the_token_and_the_credentials() {
        let request = requests(ClientAuthMethod::ClientSecretPost).revoke(&token(), None);
        assert_eq!(request.headers()[CONTENT_TYPE], "application/x-www-form-urlencoded");
        assert!(!request.headers().contains_key(AUTHORIZATION));
        let length = request.headers()[CONTENT_LENGTH].clone();
        let body = body(request).await;
        assert_eq!(body, "token=a%26b%3Dc&client_id=polar_ci_1&client_secret=s%2Bc%3Ar%25t");
        assert_eq!(length, body.len().to_string());
    }

    #[tokio::test]
    async fn basic_sends_the_credentials_encoded_in_the_header() {
        let request = requests(ClientAuthMethod::ClientSecretBasic)
            .revoke(&token(), Some(TokenTypeHint::RefreshToken));
        let expected = STANDARD.encode("polar_ci_1:s%2Bc%3Ar%25t");
        assert_eq!(request.headers()[AUTHORIZATION], format!("Basic {expected}"));
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        assert_eq!(body(request).await, "token=a%26b%3Dc&token_type_hint=refresh_token");
    }
}
