//! Checks the redirect after a logout: its target is this site or an allowed origin.

use http::{HeaderValue, Uri};

use crate::error::{Error, without_user};

/// The `Location` header of the answer.
pub(super) fn redirect(
    target: Option<&str>,
    allowed_origins: &[String],
) -> Result<Option<HeaderValue>, Error> {
    for allowed in allowed_origins {
        check_origin(allowed)?;
    }
    let Some(target) = target else { return Ok(None) };
    let refuse = |why: &str| {
        let target = without_user(target);
        Err(Error::configuration(format!("`redirect_to(\"{target}\")` {why}")))
    };
    if target.starts_with('/') {
        // Browsers read `//host` and `/\host` as another host.
        if matches!(target.as_bytes().get(1), Some(b'/' | b'\\')) {
            return refuse("leads to another host; use a path like `/`");
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
        Err(_) => refuse("does not fit into a header; percent-encode it"),
    }
}

fn check_origin(allowed: &str) -> Result<(), Error> {
    // The value may contain a password, so the text does not repeat it.
    let Some(origin) = origin(allowed) else {
        return Err(Error::configuration(
            "the origin given to `allow_redirect_origin` is invalid: write it like \
             `https://www.example.com`, without a user name or a password",
        ));
    };
    if origin != allowed {
        return Err(Error::configuration(format!(
            "the origin given to `allow_redirect_origin` has more than scheme, host and port: \
             write `{origin}`"
        )));
    }
    Ok(())
}

fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    // Text before an `@` can look like the host.
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    Some(format!("{scheme}://{authority}"))
}
