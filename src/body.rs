//! The bodies that pass through the layer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use pin_project_lite::pin_project;
use zeroize::Zeroizing;

use crate::signal::RevocationSignal;

pin_project! {
    /// The body of a request behind the layer: the caller's, untouched, or, where the layer had to
    /// read it to find a token, the same bytes and trailers again.
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        state: RequestState<B>,
    }
}

pin_project! {
    #[project = RequestStateProjected]
    #[derive(Debug)]
    enum RequestState<B> {
        Untouched { #[pin] body: B },
        // Boxed: every request is as large as the larger of the two, and nearly none is this one.
        Replayed { read: Box<ReadBody> },
    }
}

/// A body that has been read to its end. Its data is wiped when the last clone of it is gone.
pub(crate) struct ReadBody {
    pub(crate) data: Bytes,
    trailers: Option<HeaderMap>,
}

/// Without what was read: it was read for the tokens in it.
impl fmt::Debug for ReadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBody").field("len", &self.data.len()).finish_non_exhaustive()
    }
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    TooLarge,
    /// The connection ended, or what came is no HTTP.
    Broken,
}

impl ReadBody {
    pub(crate) async fn of<B>(body: B, limit: usize) -> Result<Self, ReadError>
    where
        B: Body<Data = Bytes>,
    {
        // Said in advance by Content-Length: no need to wait for it.
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(ReadError::TooLarge);
        }
        let mut body = std::pin::pin!(body);
        let mut data = Zeroizing::new(Vec::with_capacity(announced));
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            match frame.map_err(|_| ReadError::Broken)?.into_data() {
                Ok(chunk) if chunk.len() > limit - data.len() => return Err(ReadError::TooLarge),
                Ok(chunk) => append(&mut data, &chunk),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(Self { data: Bytes::from_owner(data), trailers })
    }
}

/// Appends, and wipes what it must be moved away from.
fn append(data: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let length = data.len() + chunk.len();
    if length > data.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * data.capacity())));
        larger.extend_from_slice(data);
        *data = larger;
    }
    data.extend_from_slice(chunk);
}

impl<B> RequestBody<B> {
    pub(crate) fn untouched(body: B) -> Self {
        Self { state: RequestState::Untouched { body } }
    }

    pub(crate) fn replayed(read: ReadBody) -> Self {
        Self { state: RequestState::Replayed { read: Box::new(read) } }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().state.project() {
            RequestStateProjected::Untouched { body } => body.poll_frame(cx),
            RequestStateProjected::Replayed { read } => {
                let frame = if read.data.is_empty() {
                    read.trailers.take().map(Frame::trailers)
                } else {
                    Some(Frame::data(std::mem::take(&mut read.data)))
                };
                Poll::Ready(frame.map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            RequestState::Untouched { body } => body.is_end_stream(),
            RequestState::Replayed { read } => read.data.is_empty() && read.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            RequestState::Untouched { body } => body.size_hint(),
            RequestState::Replayed { read } => SizeHint::with_exact(read.data.len() as u64),
        }
    }
}

pin_project! {
    /// The body of a response of the layer: the inner service's, or the layer's own.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        state: ResponseState<B>,
    }
}

pin_project! {
    #[project = ResponseStateProjected]
    #[derive(Debug)]
    enum ResponseState<B> {
        Inner { #[pin] body: B },
        UntilRevoked { #[pin] body: B, until: Until },
        Own { body: Full<Bytes> },
    }
}

type FrameOf<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

/// Ends a body when the credential of its request is revoked.
struct Until {
    signal: RevocationSignal,
    /// Most responses are over with their first frame, and never wait.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    has_begun: bool,
    is_over: bool,
}

impl Until {
    fn poll_frame<B>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<FrameOf<B>>>
    where
        B: Body,
    {
        if !self.has_begun {
            self.has_begun = true;
            let first = body.as_mut().poll_frame(cx);
            if first.is_ready() {
                return first;
            }
        }
        if self.is_revoked(cx) { Poll::Ready(None) } else { body.poll_frame(cx) }
    }

    fn is_revoked(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_over {
            let waiting = self.waiting.get_or_insert_with(|| {
                let signal = self.signal.clone();
                Box::pin(async move { signal.revoked().await })
            });
            self.is_over = waiting.as_mut().poll(cx).is_ready();
        }
        self.is_over
    }
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Until").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { state: ResponseState::Inner { body } }
    }

    pub(crate) fn until_revoked(body: B, signal: RevocationSignal) -> Self {
        Self {
            state: ResponseState::UntilRevoked {
                body,
                until: Until { signal, waiting: None, has_begun: false, is_over: false },
            },
        }
    }

    pub(crate) fn own(body: Bytes) -> Self {
        Self { state: ResponseState::Own { body: Full::new(body) } }
    }
}

/// The empty body, which `CorsLayer`, `TimeoutLayer` or `SessionManagerLayer` may have to answer with
/// where they stand directly outside of the layer.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::own(Bytes::new())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().state.project() {
            ResponseStateProjected::Inner { body } => body.poll_frame(cx),
            ResponseStateProjected::UntilRevoked { body, until } => until.poll_frame(body, cx),
            ResponseStateProjected::Own { body } => {
                Pin::new(body).poll_frame(cx).map_err(|never| match never {})
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            ResponseState::Inner { body } | ResponseState::UntilRevoked { body, .. } => {
                body.is_end_stream()
            }
            ResponseState::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            ResponseState::Inner { body } | ResponseState::UntilRevoked { body, .. } => {
                body.size_hint()
            }
            ResponseState::Own { body } => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn a_read_body_comes_back_with_its_trailers() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().expect("a value"))]);
        let body = Full::new(Bytes::from("data"))
            .with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
        let read = ReadBody::of(body, 4).await.expect("it fits");
        let replayed = RequestBody::<Full<Bytes>>::replayed(read);
        assert_eq!(replayed.size_hint().exact(), Some(4));
        assert!(!replayed.is_end_stream());
        let again = replayed.collect().await.expect("a body");
        assert_eq!(again.trailers(), Some(&trailers));
        assert_eq!(again.to_bytes(), "data");
    }

    #[tokio::test]
    async fn a_body_past_the_limit_is_not_read_whether_it_says_so_or_not() {
        let said = Full::new(Bytes::from("12345"));
        assert_eq!(ReadBody::of(said, 4).await.err(), Some(ReadError::TooLarge));

        let chunks = [
            Ok::<_, Infallible>(Frame::data(Bytes::from("123"))),
            Ok(Frame::data(Bytes::from("45"))),
        ];
        let unsaid = http_body_util::StreamBody::new(futures_util::stream::iter(chunks));
        assert_eq!(ReadBody::of(unsaid, 4).await.err(), Some(ReadError::TooLarge));
    }
}
