use crate::token::PolarToken;
use std::ops::ControlFlow;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encodings {
    Text,
    TextAndBase64,
}
pub(super) fn search(
    text: &[u8],
    _with: Encodings,
    found: &mut impl FnMut(PolarToken<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for at in memchr::memmem::find_iter(text, PolarToken::PREFIX) {
        if let Some(token) = PolarToken::at_start(&text[at..]) {
            found(token)?;
        }
    }
    ControlFlow::Continue(())
}
