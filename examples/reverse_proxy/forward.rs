//! Forwards a request to the app, and the app's answer to the caller.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::copy_bidirectional;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::headers::{self, Caller};

/// The body of a caller, of the app or of the proxy. Boxed, because the layer answers with an empty
/// body, and `Incoming` has none.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// The app behind the proxy.
pub(crate) struct Upstream {
    client: Client<HttpConnector, AnyBody>,
    authority: Authority,
    /// The longest time from the end of a request to the head of its answer.
    time_limit: Duration,
    trusts_forwarded: bool,
}

impl Upstream {
    pub(crate) fn new(authority: Authority, time_limit: Duration, trusts_forwarded: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(time_limit));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, authority, time_limit, trusts_forwarded }
    }

    /// Returns the app's answer, or 400, 502 or 504 in plain text.
    pub(crate) async fn answer(
        self: Arc<Self>,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Result<Response<AnyBody>, Infallible> {
        Ok(match self.forward(peer, request).await {
            Ok(response) => response.map(BodyExt::boxed_unsync),
            Err(status) => {
                let text = Full::from(format!("{status}\n")).map_err(|never| match never {});
                let mut response = Response::new(text.boxed_unsync());
                *response.status_mut() = status;
                response
            }
        })
    }

    async fn forward(
        &self,
        peer: IpAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, StatusCode> {
        // `CONNECT` asks for a tunnel, which would go past the layer.
        if request.method() == Method::CONNECT {
            return Err(StatusCode::BAD_REQUEST);
        }
        let host = headers::host(&request).ok_or(StatusCode::BAD_REQUEST)?;
        *request.uri_mut() = self.uri(request.uri()).ok_or(StatusCode::BAD_REQUEST)?;
        *request.version_mut() = Version::HTTP_11;
        let upgrade = headers::asks_for_websocket(request.headers())
            .then(|| hyper::upgrade::on(&mut request));
        let caller = Caller { peer, host, trusts_forwarded: self.trusts_forwarded };
        headers::to_upstream(request.headers_mut(), caller, upgrade.is_some());

        let mut response = self.send(request).await?;
        *response.version_mut() = Version::HTTP_11;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switches {
            let is_websocket = headers::asks_for_websocket(response.headers());
            let Some(caller) = upgrade.filter(|_| is_websocket) else {
                warn!("the app switched to a protocol that the caller did not ask for");
                return Err(StatusCode::BAD_GATEWAY);
            };
            tokio::spawn(tunnel(caller, hyper::upgrade::on(&mut response)));
        }
        headers::to_caller(response.headers_mut(), switches);
        Ok(response)
    }

    /// `None` for a target without a path, for example that of `OPTIONS *`.
    fn uri(&self, asked: &Uri) -> Option<Uri> {
        let path = asked.path_and_query().filter(|_| asked.path().starts_with('/'));
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .ok()
            .filter(|_| path.is_some())
    }

    async fn send(&self, request: Request<Incoming>) -> Result<Response<Incoming>, StatusCode> {
        // The guard is dropped together with the body: when the whole body has been sent.
        let (guard, sent) = oneshot::channel::<Infallible>();
        let request = request.map(|body| {
            body.map_frame(move |frame| {
                let _ = &guard;
                // Drops trailers: the layer has not searched them, and an app may merge them into
                // the headers.
                frame.into_data().map_or_else(|_| Frame::data(Bytes::new()), Frame::data)
            })
            .boxed_unsync()
        });
        let too_late = async {
            let _ = sent.await;
            sleep(self.time_limit).await;
        };
        tokio::select! {
            answer = self.client.request(request) => answer.map_err(|error| status_of(&error)),
            () = too_late => {
                warn!("the app did not answer within UPSTREAM_TIMEOUT");
                Err(StatusCode::GATEWAY_TIMEOUT)
            }
        }
    }
}

fn status_of(error: &legacy::Error) -> StatusCode {
    let cause = error.source();
    // A user error of hyper's: the body to send, which is the caller's, has failed.
    if cause.and_then(|cause| cause.downcast_ref()).is_some_and(hyper::Error::is_user) {
        debug!(error = cause, "the body of a caller's request could not be read");
        return StatusCode::BAD_REQUEST;
    }
    warn!(error = cause, "the app cannot be reached or did not answer in HTTP: check UPSTREAM");
    StatusCode::BAD_GATEWAY
}

/// Carries bytes both ways until either side closes.
async fn tunnel(caller: OnUpgrade, upstream: OnUpgrade) {
    let upgraded = async { Ok::<_, hyper::Error>((caller.await?, upstream.await?)) };
    match upgraded.await {
        Ok((caller, upstream)) => {
            let (mut caller, mut upstream) = (TokioIo::new(caller), TokioIo::new(upstream));
            // An error is expected: either side may hang up at any time.
            let _ = copy_bidirectional(&mut caller, &mut upstream).await;
        }
        Err(error) => debug!(%error, "a connection could not be upgraded"),
    }
}
