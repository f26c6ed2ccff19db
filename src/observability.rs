//! Every span, event and metric. This module holds documentation only.
//!
//! Operators see spans and events through [`tracing`](https://docs.rs/tracing), and with the feature
//! `metrics` counters, gauges and a histogram through [`metrics`](https://docs.rs/metrics). Without a
//! `tracing` subscriber errors go unnoticed, for example a wrong client secret.
//!
//! No event, span or metric holds a token, a session id or a client secret. A credential shows as the
//! first four bytes of its SHA-256, `TokenHash(2cf24dba..)`.
//!
//! # Spans
//!
//! | span | level, target | fields | around |
//! |---|---|---|---|
//! | `logout` | INFO, `tower_polar_logout::logout` | `id` | one logout, by a request or through [`LogoutHandle::revoke`](crate::LogoutHandle::revoke); within the span of the request, if there is one |
//! | `delivery` | INFO, `tower_polar_logout::delivery` | `id`, `hash`, `attempt` | one attempt to have Polar revoke a token |
//!
//! The `id`, eight random hex digits, ties a logout to every attempt to deliver one of its tokens,
//! days later too. If several logouts revoke one token at the same time, it is delivered once,
//! under the `id` of the first. A token that this process took over from another process has a new
//! `id`. A request that is not a logout has no span, because a span would cost time.
//!
//! # Steps
//!
//! Events with a field `step` show the progress of a token, in this order. `elapsed_ms` counts from
//! the beginning of the logout, or of the delivery if the token was taken over. All have `hash`.
//!
//! | `step` | level | further fields | meaning |
//! |---|---|---|---|
//! | `denied` | DEBUG | `elapsed_ms` | the token is denied here from now on |
//! | `recorded` | DEBUG | `id`, `elapsed_ms` | the token is in the log; perhaps long after the logout, so the event itself has the `id` |
//! | `forwarded` | DEBUG | `attempt`, `elapsed_ms` | Polar is called, for the `attempt`th time |
//! | `confirmed` | DEBUG | `elapsed_ms` | Polar confirmed: the end |
//! | `retrying` | WARN; ERROR if the configuration must be fixed | `elapsed_ms`; `reason`, if Polar or the line to it gave one | Polar did not confirm; the token will be sent again |
//! | `dead_letter` | ERROR | `elapsed_ms`, `reason`; neither if the log holds the token sealed under another client secret | the token will never reach Polar: the end |
//! | `rejected` | DEBUG | | a request with this revoked token was answered 401; in the span of that request |
//! | `stripped` | DEBUG | | a request went on after its revoked credentials were taken out; in the span of that request |
//!
//! # Audit
//!
//! One INFO event for each logout, with the target `tower_polar_logout::audit`, so that a filter
//! can send it elsewhere:
//!
//! | field | |
//! |---|---|
//! | `id` | as above |
//! | `outcome` | [`LogoutOutcome::as_str`](crate::LogoutOutcome::as_str), when the logout was answered |
//! | `credentials` | the revoked ones: `authorization TokenHash(2cf24dba..), cookie TokenHash(486ea462..)`. Each stands behind its carrier: `authorization`, `cookie`, `subprotocol`, `header`, `path`, `query`, `body`; `handle` if the app itself revoked it; `set_cookie` if a response was to set it |
//! | `elapsed_ms` | the time until the logout was answered |
//!
//! # Refused logouts
//!
//! A logout that another site made the browser send is answered 403, and is an INFO event with the
//! target `tower_polar_logout::csrf`:
//!
//! | field | |
//! |---|---|
//! | `reason` | `sec_fetch_site`, `origin` (another host than `Host`, from a browser without `Sec-Fetch-Site`), or `null_origin` (`Origin: null` from such a browser, and no `Referer` of this site) |
//! | `from` | the host in `Origin`, if there is one |
//!
//! # Unrecognized credentials
//!
//! If a place of Polar's token held another value on a logout, for example an encrypted cookie,
//! there is a WARN event with the field `place`, once for each place. The value is denied here, and
//! not sent to Polar.
//!
//! # Cookies taken back
//!
//! An INFO event with the field `count` says that cookies were taken out of a response, because a
//! credential of its request was revoked meanwhile.
//!
//! # Metrics
//!
//! With the feature `metrics`, the layer reports these metrics to the recorder that the app
//! installs, for example one for [Prometheus](https://docs.rs/metrics-exporter-prometheus).
//! **Install it before [`build()`](crate::PolarLogoutLayerBuilder::build)**: a layer looks up its
//! metrics once, when it is built, so that a request costs an atomic addition and no allocation. A
//! layer that was built before the recorder was installed reports nothing.
//!
//! | metric | type | unit | labels | meaning |
//! |---|---|---|---|---|
//! | `polar_logout_requests_total` | counter | requests | `verdict`: `passed`, `stripped` (passed after its revoked credentials were taken out), `rejected` (401), `unsure` (503), `unreadable` (the body of a logout, or behind a [`CheckBodyLayer`](crate::CheckBodyLayer): 400, 413, 415), `cross_site` (a logout from another site: 403), `logout` | requests, by the verdict on them; a logout with an unreadable body counts as `logout` too |
//! | `polar_logout_logouts_total` | counter | logouts | `outcome`: [`LogoutOutcome::as_str`](crate::LogoutOutcome::as_str) | logouts that were answered, those through the handle included |
//! | `polar_logout_unrecognized_total` | counter | credentials | | credentials in a place of Polar's token that were not sent, because they are no token |
//! | `polar_logout_attempts_total` | counter | calls | | calls to Polar that were begun |
//! | `polar_logout_polar_call_duration_seconds` | histogram | seconds | `result`: `confirmed`, or [`ErrorClass::as_str`](crate::ErrorClass::as_str) | calls to Polar, those that ask whether a revocation took hold included |
//! | `polar_logout_confirmed_total` | counter | tokens | | revocations that Polar confirmed |
//! | `polar_logout_dead_letters_total` | counter | tokens | | tokens that will never reach Polar |
//! | `polar_logout_adopted_total` | counter | tokens | | tokens that were taken over from another process |
//! | `polar_logout_denylist_refused_total` | counter | revocations | | revocations that the denylist had no room for |
//! | `polar_logout_log_skipped_total` | counter | entries | | entries of the log that could not be read |
//! | `polar_logout_pending` | gauge | tokens | | tokens on their way to Polar |
//! | `polar_logout_oldest_pending_age_seconds` | gauge | seconds | | how long ago this process accepted the oldest of them |
//! | `polar_logout_paused` | gauge | 0 or 1 | | whether delivery is paused |
//! | `polar_logout_denylist_size` | gauge | credentials | | revoked credentials that are held |
//! | `polar_logout_denylist_capacity` | gauge | credentials | | how many can be held |
//! | `polar_logout_log_lag_seconds` | gauge | seconds | | for how long the log has not been followed to its end |
//! | `polar_logout_log_held` | gauge | appends | | appends that were accepted while the log was down, and are not in the log yet |
//!
//! Gauges are set every second at least. The layers of one process share these series. Their values
//! are added, also those of gauges: for two layers that are paused `polar_logout_paused` is 2, and
//! ages are summed. The share of a layer is subtracted when the layer is dropped.
//!
//! The exporter for Prometheus writes a histogram as a summary unless it is given buckets; a call
//! to Polar takes from 10 ms to 35 s, the default time-out.
//!
//! Worth an alarm: `polar_logout_oldest_pending_age_seconds` above some minutes,
//! `polar_logout_dead_letters_total` that grows, `polar_logout_denylist_size` above 80 % of
//! `polar_logout_denylist_capacity`, `polar_logout_log_lag_seconds` above some seconds.
