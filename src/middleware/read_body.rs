//! Reads a body, to look for tokens in it.

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::Body;
use http_body_util::BodyExt;
use zeroize::Zeroizing;

use super::answers::ReplyKind;

/// Reads a body to its end, at most so many bytes, unless the caller is gone before. What was read
/// is wiped when the last clone of it is gone. Trailers are dropped.
pub(crate) async fn read_body<B: Body>(
    headers: &HeaderMap,
    body: B,
    limit: usize,
    gone: impl Future<Output = ()>,
) -> Result<Bytes, ReplyKind> {
    let is_identity = |coding: &http::HeaderValue| {
        coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")
    };
    if !headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
        return Err(ReplyKind::BodyEncoded);
    }
    tokio::select! {
        // A request that has arrived in full counts, though its caller be gone already.
        biased;
        read = read(body, limit) => read,
        () = gone => Err(ReplyKind::BodyBroken),
    }
}

async fn read<B: Body>(body: B, limit: usize) -> Result<Bytes, ReplyKind> {
    // Said in advance by Content-Length: no need to wait for it.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(ReplyKind::BodyTooLarge);
    }
    let mut body = std::pin::pin!(body);
    let mut data = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let Ok(mut chunk) = frame.map_err(|_| ReplyKind::BodyBroken)?.into_data() else { continue };
        if chunk.remaining() > limit - data.len() {
            return Err(ReplyKind::BodyTooLarge);
        }
        reserve(&mut data, chunk.remaining());
        while chunk.has_remaining() {
            let part = chunk.chunk();
            let length = part.len();
            data.extend_from_slice(part);
            chunk.advance(length);
        }
    }
    Ok(Bytes::from_owner(data))
}

/// Makes room, and wipes what must be moved away from.
fn reserve(data: &mut Zeroizing<Vec<u8>>, more: usize) {
    let length = data.len() + more;
    if length > data.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * data.capacity())));
        larger.extend_from_slice(data);
        *data = larger;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use http::HeaderValue;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    async fn read_with_coding(coding: Option<&'static str>) -> Result<Bytes, ReplyKind> {
        let coding = coding.map(|it| (CONTENT_ENCODING, HeaderValue::from_static(it)));
        let headers = HeaderMap::from_iter(coding);
        read_body(&headers, Full::new(Bytes::from("data")), 4, pending()).await
    }

    #[tokio::test]
    async fn body_is_read_unless_it_is_compressed() {
        for coding in [None, Some("identity"), Some("Identity")] {
            assert_eq!(read_with_coding(coding).await.expect("a body"), "data");
        }
        assert_eq!(read_with_coding(Some("gzip")).await, Err(ReplyKind::BodyEncoded));
    }

    #[tokio::test]
    async fn body_past_the_limit_is_not_read() {
        let said = Full::new(Bytes::from("12345"));
        assert_eq!(read(said, 4).await, Err(ReplyKind::BodyTooLarge));

        let chunks = [
            Ok::<_, Infallible>(Frame::data(Bytes::from("123"))),
            Ok(Frame::data(Bytes::from("45"))),
        ];
        let unsaid = StreamBody::new(futures_util::stream::iter(chunks));
        assert_eq!(read(unsaid, 4).await, Err(ReplyKind::BodyTooLarge));
    }
}
