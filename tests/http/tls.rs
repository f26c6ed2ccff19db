//! TLS with certificates of a test CA: to the app, by HTTP/1.1 and HTTP/2, and to Polar.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use support::tls::{Authority, terminate_tls};
use support::{Answer, bearer, echo, start_polar};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::{Layer, service_fn};
use tower_polar_logout::client::{PolarClient, RevokeOutcome};
use tower_polar_logout::{PolarLogoutLayer, PolarServer, TokenLocation};

async fn serve_app(acceptor: TlsAcceptor, layer: &PolarLogoutLayer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let calls = Arc::new(AtomicUsize::new(0));
    let service = layer.layer(service_fn(move |request| {
        let calls = Arc::clone(&calls);
        async move { Ok::<_, Infallible>(echo(request, &calls).await) }
    }));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (acceptor, service) = (acceptor.clone(), service.clone());
            tokio::spawn(async move {
                let tls = acceptor.accept(stream).await.expect("a handshake");
                let server = auto::Builder::new(TokioExecutor::new());
                let service = TowerToHyperService::new(service);
                let _ = server.serve_connection(TokioIo::new(tls), service).await;
            });
        }
    });
    port
}

async fn send(
    authority: &Authority,
    alpn: &str,
    port: u16,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = authority.connector(alpn).connect(name, stream).await.expect("a handshake");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    let mut request =
        Request::builder().method(method).uri(format!("https://localhost:{port}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    let response = if alpn == "h2" {
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        send.send_request(request).await
    } else {
        let (mut send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        send.send_request(request).await
    };
    Answer::read(response.expect("an answer")).await
}

/// The connection to Polar uses TLS too.
#[tokio::test]
async fn logout_works_over_tls_by_http1_and_http2() {
    let authority = Authority::new();
    let polar = start_polar().await;
    let plain = polar.url().trim_start_matches("http://").to_owned();
    let polar_port = terminate_tls(authority.acceptor(&[]), plain).await;
    let client = PolarClient::builder(polar.credentials())
        .server(PolarServer::Url(format!("https://localhost:{polar_port}")))
        .root_certificates(authority.pem());
    let layer = PolarLogoutLayer::builder(client)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .refresh_token(TokenLocation::cookie("refresh_token"))
        .build()
        .await
        .expect("a layer");
    let port = serve_app(authority.acceptor(&["h2", "http/1.1"]), &layer).await;

    for alpn in ["http/1.1", "h2"] {
        let pair = polar.mint();
        let authorization = bearer(&pair.access);
        // HTTP/2 clients may split the cookie header into crumbs (RFC 9113, section 8.2.3).
        let refresh = format!("refresh_token={}", pair.refresh);
        let headers =
            [("authorization", &*authorization), ("cookie", "a=1"), ("cookie", &*refresh)];
        let answer = send(&authority, alpn, port, Method::GET, "/me", &headers).await;
        assert!(answer.is_from_app(), "{alpn}");
        let answer = send(&authority, alpn, port, Method::POST, "/logout", &headers).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{alpn}");
        assert!(!polar.is_alive(&pair.access) && !polar.is_alive(&pair.refresh), "{alpn}");
        for headers in [&headers[..1], &headers[1..]] {
            let answer = send(&authority, alpn, port, Method::GET, "/me", headers).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{alpn}");
        }
        assert!(layer.handle().is_revoked(&pair.refresh), "{alpn}");
    }
}

#[tokio::test]
async fn server_with_an_unknown_certificate_is_sent_nothing() {
    let polar = start_polar().await;
    let plain = polar.url().trim_start_matches("http://").to_owned();
    let port = terminate_tls(Authority::new().acceptor(&[]), plain).await;
    let client = PolarClient::builder(polar.credentials())
        .server(PolarServer::Url(format!("https://localhost:{port}")))
        .root_certificates(Authority::new().pem())
        .build()
        .expect("a client");
    let token = polar.mint().access;
    let outcome = client.revoke(&token.parse().expect("a token"), None).await;
    assert!(matches!(outcome, RevokeOutcome::TryAgain { .. }), "{outcome:?}");
    assert!(polar.requests().is_empty());
    assert!(polar.is_alive(&token));
}
