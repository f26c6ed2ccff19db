//! The rules for requests that carry a revoked credential, by path.

use super::route::check_path;
use crate::error::Error;

/// How a request with a revoked credential is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenRevoked {
    /// A request with a revoked token is answered 401, and the inner service never sees it. The
    /// default.
    ///
    /// A cookie, a query parameter or an item of `Sec-WebSocket-Protocol` may have been planted or
    /// left over. A revoked token there is taken out, and the request goes on, in two cases:
    ///
    /// - An access token that is not revoked stands in a configured place.
    /// - The revoked token does not stand in a configured place.
    ///
    /// A revoked session id is always taken out, and the request goes on.
    #[default]
    Reject,
    /// Every revoked credential is taken out of the request, and the request goes on. Use it for a
    /// login page or a public page, which must work for a browser that carries a revoked cookie.
    /// The answer removes the cookie from the browser. If a token cannot be taken out, for example
    /// from the path, the request is answered 401 here too.
    ///
    /// Copies that an outer layer has made stay in the request, for example axum's `OriginalUri`,
    /// or parsed cookies in the request's extensions.
    Anonymous,
}

/// The default, and the paths that have another rule.
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
        check_each_has_one_rule(&paths, "when_revoked_at")?;
        check_each_has_one_rule(&prefixes, "when_revoked_under")?;
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(Self { default, paths, prefixes })
    }

    /// The rule for a path: its own, or that of the longest prefix, or the default.
    pub(crate) fn at(&self, path: &str) -> WhenRevoked {
        let own = || self.paths.iter().find(|(known, _)| known == path);
        let prefix = || self.prefixes.iter().find(|(prefix, _)| is_under(path, prefix));
        own().or_else(prefix).map_or(self.default, |(_, when)| *when)
    }
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_each_has_one_rule(rules: &[(String, WhenRevoked)], option: &str) -> Result<(), Error> {
    for (at, (path, when)) in rules.iter().enumerate() {
        let others = &rules[..at];
        if let Some((_, other)) = others.iter().find(|rule| rule.0 == *path && rule.1 != *when) {
            let path = if path.is_empty() { "/" } else { path };
            return Err(Error::configuration(format!(
                "`{option}` gives both `{other:?}` and `{when:?}` to `{path}`: remove one of them"
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

    /// An exact path goes before prefixes, and a longer prefix before a shorter one.
    #[test]
    fn most_specific_rule_wins() {
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
    fn conflicting_rules_are_a_configuration_error() {
        let twice = |path, other| [(path, Anonymous), (other, Reject)];
        let error = rules(&twice("/", "/"), &[]).expect_err("a path");
        assert!(error.to_string().contains("both `Anonymous` and `Reject` to `/`"), "{error}");
        let error = rules(&[], &twice("/a", "/a/")).expect_err("a prefix");
        assert!(error.to_string().contains("to `/a`"), "{error}");
        let error = rules(&[], &twice("/", "/")).expect_err("everything");
        assert!(error.to_string().contains("to `/`"), "{error}");
        assert!(rules(&[("/", Anonymous); 2], &[("/", Reject); 2]).is_ok());
    }
}
