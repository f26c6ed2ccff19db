//! The HTTP client of the examples, for their own calls to Polar (and the demo's to itself).

use std::error::Error;
use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// The longest time for an answer, and its largest size in bytes.
const TIMEOUT: Duration = Duration::from_secs(5);
const LIMIT: usize = 64 * 1024;

/// An HTTP client that follows no redirects.
#[derive(Clone)]
pub(crate) struct HttpClient(
    BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, ClientError>,
);

impl HttpClient {
    pub(crate) fn new(uses_tls: bool) -> Result<Self, String> {
        let builder = Client::builder(TokioExecutor::new());
        if !uses_tls {
            return Ok(Self(BoxCloneSyncService::new(builder.build_http())));
        }
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(ring::default_provider())
            .map_err(|error| format!("{error}: install the package `ca-certificates`"))?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(BoxCloneSyncService::new(builder.build(connector))))
    }

    pub(crate) async fn send(
        self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, NoAnswer> {
        let exchange = async {
            let (head, body) = request.into_parts();
            let request = Request::from_parts(head, Full::from(body));
            let (head, body) = self.0.oneshot(request).await?.into_parts();
            let body = Limited::new(body, LIMIT).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body.to_vec()))
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(answer) => answer.map_err(NoAnswer::Failed),
            Err(_) => Err(NoAnswer::Late),
        }
    }
}

/// Why there was no answer. It contains no URL and no body, so it can be shown to users.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    Late,
    Failed(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => write!(f, "no answer within {} s", TIMEOUT.as_secs()),
            // The last error of the chain is the cause, for example "Connection refused".
            Self::Failed(error) => {
                let mut last: &dyn Error = &**error;
                while let Some(source) = last.source() {
                    last = source;
                }
                write!(f, "{last}")
            }
        }
    }
}

impl Error for NoAnswer {}
