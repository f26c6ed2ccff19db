//! Where a browser may be sent after a logout: this site, or an origin that was allowed by name.

use http::{HeaderValue, Uri};

use crate::error::Error;

/// The `Location` to answer with.
pub(super) fn redirect(
    target: Option<&str>,
    allowed_origins: &[String],
) -> Result<Option<HeaderValue>, Error> {
    for allowed in allowed_origins {
        check_origin(allowed)?;
    }
    let Some(target) = target else { return Ok(None) };
    let refuse = |why: &str| Err(Error::configuration(format!("the redirect to `{target}` {why}")));
    if target.starts_with('/') {
        // Browsers read `//host` and `/\host` as another host.
        if matches!(target.as_bytes().get(1), Some(b'/' | b'\\')) {
            return refuse("leads to another host; give a path like `/`");
        }
    } else {
        let Some(origin) = origin(target) else {
            return refuse("is neither a path like `/` nor an absolute http or https URL");
        };
        if !allowed_origins.contains(&origin) {
            return refuse(&format!(
                "leads to another origin; allow it with `.allow_redirect_origin(\"{origin}\")`"
            ));
        }
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("must be percent-encoded ASCII");
    }
    match HeaderValue::from_str(target) {
        Ok(value) => Ok(Some(value)),
        Err(_) => refuse("does not fit into a header"),
    }
}

fn check_origin(allowed: &str) -> Result<(), Error> {
    // What may be a password is not repeated.
    let Some(origin) = origin(allowed) else {
        return Err(Error::configuration(
            "an allowed redirect origin must be like `https://www.example.com`, without a user name \
             or a password",
        ));
    };
    if origin != allowed {
        return Err(Error::configuration(format!(
            "an allowed redirect origin has neither path nor query: write `{origin}`"
        )));
    }
    Ok(())
}

fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    // What stands before an `@` can pretend to be the host.
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    Some(format!("{scheme}://{authority}"))
}
