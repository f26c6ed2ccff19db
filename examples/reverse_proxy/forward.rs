//! A request on its way to the app, and the answer on its way back.

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

/// One that came, or one of the proxy's own. Boxed, because `Incoming` alone has no empty body for
/// the layer to answer with.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// The app behind the proxy.
pub(crate) struct Upstream {
    client: Client<HttpConnector, AnyBody>,
    authority: Authority,
    /// From the end of a request to the head of its answer.
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

    /// The app's answer; or 400, 502 or 504, in plain text.
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
        // Asks for a tunnel past the layer, whatever it names.
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
                warn!("the app switches to a protocol that nobody asked for");
                return Err(StatusCode::BAD_GATEWAY);
            };
            tokio::spawn(tunnel(caller, hyper::upgrade::on(&mut response)));
        }
        headers::to_caller(response.headers_mut(), switches);
        Ok(response)
    }

    /// `None` for `OPTIONS *`, which names nothing that an app serves.
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
        // Dropped together with the body, which is when all of it is sent.
        let (guard, sent) = oneshot::channel::<Infallible>();
        let request = request.map(|body| {
            body.map_frame(move |frame| {
                let _ = &guard;
                // Trailers become nothing: an app may merge them into the headers, and would read
                // what the layer has not looked at.
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
                warn!("the app takes too long to answer");
                Err(StatusCode::GATEWAY_TIMEOUT)
            }
        }
    }
}

fn status_of(error: &legacy::Error) -> StatusCode {
    let cause = error.source();
    // hyper's word for it: the body that it was to send has failed, which is the caller's.
    if cause.and_then(|cause| cause.downcast_ref()).is_some_and(hyper::Error::is_user) {
        debug!(error = cause, "the body of a request is broken");
        return StatusCode::BAD_REQUEST;
    }
    warn!(error = cause, "the app cannot be reached, or answers no HTTP");
    StatusCode::BAD_GATEWAY
}

/// Carries bytes both ways until either side closes.
async fn tunnel(caller: OnUpgrade, upstream: OnUpgrade) {
    let upgraded = async { Ok::<_, hyper::Error>((caller.await?, upstream.await?)) };
    match upgraded.await {
        Ok((caller, upstream)) => {
            let (mut caller, mut upstream) = (TokioIo::new(caller), TokioIo::new(upstream));
            // Either may hang up as it likes.
            let _ = copy_bidirectional(&mut caller, &mut upstream).await;
        }
        Err(error) => debug!(%error, "a connection could not be upgraded"),
    }
}
