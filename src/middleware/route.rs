//! A method and an exact path.

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri};

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    method: Method,
    path: String,
}

impl Route {
    pub(crate) fn new(method: Method, path: String) -> Result<Self, Error> {
        check_path(&path)?;
        Ok(Self { method, path })
    }

    /// A HEAD is a GET without its body, and routers give it to the same handler.
    pub(crate) fn matches(&self, method: &Method, uri: &Uri) -> bool {
        self.path == uri.path()
            && (self.method == *method || (self.method == Method::GET && *method == Method::HEAD))
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }
}

/// The methods that the routes of a path have, for `Allow` (RFC 9110, section 10.2.1).
pub(crate) fn allow(routes: &[Route], uri: &Uri) -> HeaderValue {
    let methods: Vec<_> = routes
        .iter()
        .filter(|route| route.path == uri.path())
        .map(|route| route.method.as_str())
        .collect();
    HeaderValue::from_str(&methods.join(", ")).expect("methods are tokens")
}

/// A path as it stands in a request line: absolute, without a query, percent-encoded.
pub(crate) fn check_path(path: &str) -> Result<(), Error> {
    if !path.starts_with('/') {
        return Err(Error::configuration(format!(
            "the path `{path}` does not begin with `/`; write `/{path}`"
        )));
    }
    let as_sent: Result<PathAndQuery, _> = path.parse();
    if !as_sent.is_ok_and(|as_sent| as_sent.as_str() == path && as_sent.query().is_none())
        || path.contains('#')
    {
        return Err(Error::configuration(format!(
            "the path `{path}` never arrives like that; give it without query and fragment, \
             percent-encoded"
        )));
    }
    // axum 0.7 writes `/:id`; a colon further in is an ordinary character.
    if path.contains(['{', '}', '*']) || path.contains("/:") {
        return Err(Error::configuration(format!(
            "the path `{path}` looks like a pattern, but is matched to the letter; give each path"
        )));
    }
    Ok(())
}
