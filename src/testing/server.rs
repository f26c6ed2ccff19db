//! The socket: reads calls from connections and writes the answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::call::Call;
use super::oauth::Endpoint;
use super::state::State;
use super::work;

/// How long Polar keeps an idle connection open.
const IDLE: Duration = Duration::from_secs(5);

/// How long to wait if a connection cannot be accepted, for example for lack of file descriptors.
const BREATHER: Duration = Duration::from_millis(50);

pub(super) async fn listen(listener: TcpListener, state: Arc<State>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                state.spawn(connection(stream, Arc::clone(&state)));
            }
            Err(_) => sleep(BREATHER).await,
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| serve(request, Arc::clone(&state)));
    // Errors are expected: the caller sent no HTTP or hung up, or a fault closes the connection.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Answers a request. An error closes the connection without an answer.
async fn serve(request: Request<Incoming>, state: Arc<State>) -> io::Result<Response<Full<Bytes>>> {
    let call = Call::read(request).await.map_err(io::Error::other)?;
    let endpoint = Endpoint::at(&call.path).filter(|endpoint| endpoint.takes(&call.method));
    let in_flight = state.receive(endpoint, &call);
    // In a task of its own: if the caller hangs up, hyper drops this future, but Polar completes
    // the call.
    let working = state.spawn(work::answer(call, endpoint, Arc::clone(&state)));
    let Some(answer) = working.await.ok().flatten().flatten() else {
        return Err(io::ErrorKind::ConnectionAborted.into());
    };
    if in_flight.is_some() && answer.status.is_success() {
        state.seen.send_modify(|seen| seen.answered += 1);
    }
    Ok(answer.into_response())
}
