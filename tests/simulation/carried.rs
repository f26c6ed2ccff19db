//! Where a request carries a token, and how the token is written there.

use bytes::Bytes;
use fastrand::Rng;
use http::header::{AUTHORIZATION, COOKIE};
use http::{Method, Request};
use http_body_util::Full;
use tower_polar_logout::{PolarLogoutLayerBuilder, TokenLocation};

const NAME: &str = "access_token";
const HEADER: &str = "x-access-token";
/// Carries a refresh token.
pub(crate) const REFRESH_HEADER: &str = "x-refresh-token";

/// Polar has not issued this token.
const ANOTHER: &str = "polar_at_u_000000000000000000000000000000000000another";

pub(crate) fn locations(builder: PolarLogoutLayerBuilder) -> PolarLogoutLayerBuilder {
    builder
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie(NAME))
        .access_token(TokenLocation::header(HEADER))
        .access_token(TokenLocation::query(NAME))
        .refresh_token(TokenLocation::header(REFRESH_HEADER))
}

/// A form of a token that some app reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Bearer,
    BearerInAnyCase,
    SecondAuthorization,
    Cookie,
    QuotedCookie,
    EncodedCookie,
    SecondCookie,
    Header,
    SecondHeader,
    Query,
    EncodedQuery,
}

const FORMS: [Form; 11] = [
    Form::Bearer,
    Form::BearerInAnyCase,
    Form::SecondAuthorization,
    Form::Cookie,
    Form::QuotedCookie,
    Form::EncodedCookie,
    Form::SecondCookie,
    Form::Header,
    Form::SecondHeader,
    Form::Query,
    Form::EncodedQuery,
];

impl Form {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        rng.choice(FORMS).expect("some")
    }

    /// A form that carries this token alone: a logout revokes every token that it finds.
    pub(crate) fn alone(rng: &mut Rng) -> Self {
        match Self::any(rng) {
            Self::SecondAuthorization => Self::Bearer,
            Self::SecondCookie => Self::Cookie,
            Self::SecondHeader => Self::Header,
            alone => alone,
        }
    }

    /// A dead cookie beside a living one may have been planted, so only the dead one is taken out.
    pub(crate) fn has_two_cookies(self) -> bool {
        self == Self::SecondCookie
    }

    pub(crate) fn carries_another(self) -> bool {
        matches!(self, Self::SecondAuthorization | Self::SecondCookie | Self::SecondHeader)
    }

    pub(crate) fn request(self, method: Method, path: &str, token: &str) -> Request<Full<Bytes>> {
        let encoded = || format!("%{:02X}{}", token.as_bytes()[0], &token[1..]);
        let request = Request::builder().method(method);
        let at_path = |request: http::request::Builder| request.uri(path);
        let request = match self {
            Self::Bearer => at_path(request).header(AUTHORIZATION, format!("Bearer {token}")),
            Self::BearerInAnyCase => {
                at_path(request).header(AUTHORIZATION, format!("bEaReR  {token}"))
            }
            Self::SecondAuthorization => at_path(request)
                .header(AUTHORIZATION, format!("Bearer {ANOTHER}"))
                .header(AUTHORIZATION, format!("Bearer {token}")),
            Self::Cookie => at_path(request).header(COOKIE, format!("a=b; {NAME}={token}; c=d")),
            Self::QuotedCookie => at_path(request).header(COOKIE, format!("{NAME}=\"{token}\"")),
            Self::EncodedCookie => at_path(request).header(COOKIE, format!("{NAME}={}", encoded())),
            Self::SecondCookie => at_path(request)
                .header(COOKIE, format!("{NAME}={ANOTHER}"))
                .header(COOKIE, format!("{NAME}={token}")),
            Self::Header => at_path(request).header(HEADER, token),
            Self::SecondHeader => at_path(request).header(HEADER, ANOTHER).header(HEADER, token),
            Self::Query => request.uri(format!("{path}?a=b&{NAME}={token}")),
            Self::EncodedQuery => request.uri(format!("{path}?{NAME}={}", encoded())),
        };
        request.body(Full::default()).expect("a request")
    }
}
