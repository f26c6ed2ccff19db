//! What becomes of a request that carries a revoked credential, by its path.

use super::route::check_path;
use crate::error::Error;

/// How a request with a revoked credential is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenRevoked {
    /// A revoked token is answered 401, and the inner service never sees the request. The default.
    ///
    /// A cookie, a query parameter or an item of `Sec-WebSocket-Protocol` can have been planted, or
    /// be left over from before. So it is taken out, and the request goes on, if a living access
    /// token stands in a configured place, or if the dead token was in no configured place. A dead
    /// session id is always taken out, and the request goes on.
    #[default]
    Reject,
    /// Every revoked credential is taken out of the request, and the request goes on: for a login
    /// page or a public page, which must work for a browser that carries a dead cookie. The answer
    /// removes the cookie from the browser. A token that cannot be taken out, in the path for
    /// example, is answered 401 here too.
    ///
    /// Copies that a layer further out has made are not touched: axum's `OriginalUri`, or parsed
    /// cookies in the request's extensions.
    Anonymous,
}

/// The default, and the paths where another rule holds.
#[derive(Debug)]
pub(crate) struct Rules {
    default: WhenRevoked,
    paths: Vec<(String, WhenRevoked)>,
    /// Without a slash at the end; longer ones first.
    prefixes: Vec<(String, WhenRevoked)>,
}

impl Rules {
    pub(crate) fn new(
        default: WhenRevoked,
        paths: Vec<(String, WhenRevoked)>,
        mut prefixes: Vec<(String, WhenRevoked)>,
    ) -> Result<Self, Error> {
        for (path, _) in paths.iter().chain(&prefixes) {
            check_path(path)?;
        }
        for (prefix, _) in &mut prefixes {
            prefix.truncate(prefix.trim_end_matches('/').len());
        }
        check_each_has_one_rule(&paths, "at ")?;
        check_each_has_one_rule(&prefixes, "under ")?;
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(Self { default, paths, prefixes })
    }

    /// What holds at a path: its own rule, or that of the longest prefix, or the default.
    pub(crate) fn at(&self, path: &str) -> WhenRevoked {
        let own = || self.paths.iter().find(|(known, _)| known == path);
        let prefix = || self.prefixes.iter().find(|(prefix, _)| is_under(path, prefix));
        own().or_else(prefix).map_or(self.default, |(_, when)| *when)
    }
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_each_has_one_rule(rules: &[(String, WhenRevoked)], place: &str) -> Result<(), Error> {
    for (at, (path, when)) in rules.iter().enumerate() {
        let others = &rules[..at];
        if let Some((_, other)) = others.iter().find(|it| it.0 == *path && it.1 != *when) {
            let path = if path.is_empty() { "/" } else { path };
            return Err(Error::configuration(format!(
                "both `{other:?}` and `{when:?}` hold {place}`{path}`: leave one of them out"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::WhenRevoked::{Anonymous, Reject};
    use super::*;

    fn rules(
        paths: &[(&str, WhenRevoked)],
        prefixes: &[(&str, WhenRevoked)],
    ) -> Result<Rules, Error> {
        let owned = |rules: &[(&str, WhenRevoked)]| {
            rules.iter().map(|(path, when)| ((*path).to_owned(), *when)).collect()
        };
        Rules::new(Reject, owned(paths), owned(prefixes))
    }

    #[test]
    fn a_prefix_holds_for_whole_segments() {
        for prefix in ["/assets", "/assets/"] {
            let rules = rules(&[], &[(prefix, Anonymous)]).expect("rules");
            for path in ["/assets", "/assets/", "/assets/x", "/assets/x/y.css"] {
                assert_eq!(rules.at(path), Anonymous, "{prefix}: {path}");
            }
            for path in ["/", "/asset", "/assetsx", "/assets.css", "/x/assets", "/Assets", "*"] {
                assert_eq!(rules.at(path), Reject, "{prefix}: {path}");
            }
        }
    }

    #[test]
    fn a_path_goes_before_prefixes_and_a_longer_one_before_a_shorter() {
        let prefixes = [("/", Anonymous), ("/api", Reject), ("/api/public", Anonymous)];
        let mut turned = prefixes;
        turned.reverse();
        for prefixes in [prefixes, turned] {
            let paths = [("/account", Reject), ("/api/health", Anonymous)];
            let rules = rules(&paths, &prefixes).expect("rules");
            for (path, expected) in [
                ("/", Anonymous),
                ("/about", Anonymous),
                ("/account", Reject),
                ("/account/x", Anonymous),
                ("/api", Reject),
                ("/api/x", Reject),
                ("/api/health", Anonymous),
                ("/api/public", Anonymous),
                ("/api/public/x", Anonymous),
                ("/api/publicly", Reject),
            ] {
                assert_eq!(rules.at(path), expected, "{path}");
            }
        }
    }

    #[test]
    fn two_rules_for_one_path_are_a_configuration_error() {
        let twice = |path, other| [(path, Anonymous), (other, Reject)];
        let error = rules(&twice("/", "/"), &[]).expect_err("a path");
        assert!(error.to_string().contains("both `Anonymous` and `Reject` hold at `/`"), "{error}");
        let error = rules(&[], &twice("/a", "/a/")).expect_err("a prefix");
        assert!(error.to_string().contains("hold under `/a`"), "{error}");
        let error = rules(&[], &twice("/", "/")).expect_err("everything");
        assert!(error.to_string().contains("hold under `/`"), "{error}");
        assert!(rules(&[("/", Anonymous); 2], &[("/", Reject); 2]).is_ok());
    }
}
