//! A request whose body was read to its end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::seen::last_value;

/// The largest body that Polar reads, in bytes.
pub(super) const MAX_BODY: usize = 10_485_760;

pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    /// Empty if the body was not a form or was too large.
    pub(super) form: Vec<(String, String)>,
    pub(super) too_large: bool,
}

impl Call {
    /// Reads the body to its end, even if it is too large: if the connection is closed with unread
    /// bytes, the caller may lose the answer.
    pub(super) async fn read(request: Request<Incoming>) -> hyper::Result<Self> {
        let (head, mut body) = request.into_parts();
        let mut bytes = BytesMut::new();
        let mut too_large = false;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            too_large |= bytes.len() + data.len() > MAX_BODY;
            if too_large {
                bytes = BytesMut::new();
            } else {
                bytes.extend_from_slice(&data);
            }
        }
        let form = if is_form(&head.headers) {
            form_urlencoded::parse(&bytes).into_owned().collect()
        } else {
            Vec::new()
        };
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default();
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self { method: head.method, path, query, headers: head.headers, form, too_large })
    }

    /// The value of a query parameter; the last one counts.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        last_value(&self.query, name)
    }

    /// The value of a form field; the last one counts.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        last_value(&self.form, name)
    }

    pub(super) fn bearer(&self) -> Option<String> {
        self.authorization("bearer")
    }

    /// Client id and secret, each percent-decoded (RFC 6749, section 2.3.1).
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let decoded = STANDARD.decode(self.authorization("basic")?).ok()?;
        let text = String::from_utf8_lossy(&decoded);
        let (id, secret) = text.split_once(':')?;
        let decode = |part| percent_decode_str(part).decode_utf8_lossy().into_owned();
        Some((decode(id), decode(secret)))
    }

    fn authorization(&self, scheme: &str) -> Option<String> {
        let value = String::from_utf8_lossy(self.headers.get(AUTHORIZATION)?.as_bytes());
        let (given, credentials) = value.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then(|| credentials.trim().to_owned())
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
