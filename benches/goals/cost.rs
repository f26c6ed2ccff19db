//! Compares the cost of a request through the layer with the cost through other middleware.

use std::thread;

use axum::body::Body;
use http::Request;
use tower::{Layer, service_fn};
use tower_polar_logout::{PolarLogoutLayer, TokenHash};

use crate::peers::{self, Moka};
use crate::plot::Plot;
use crate::race::{Entry, Race, Times};
use crate::subject::{self, FEW, MANY, Users, app};
use crate::table::{Goal, row};

const REVOKED: [u32; 5] = [1_000, 10_000, 100_000, MILLION, 5_000_000];
const MILLION: u32 = 1_000_000;

/// The rows about a single request, and the curves.
pub(crate) fn measure() -> Plot {
    let (layers, mokas) = fill();
    for users in [FEW, MANY] {
        lookup(users, &layers[3], &mokas[3]);
    }
    request(&layers, &mokas)
}

/// The layer and moka alone, with the same revoked tokens. Both are filled at the same time,
/// because each takes long.
fn fill() -> (Vec<PolarLogoutLayer>, Vec<Moka>) {
    let mokas = thread::spawn(|| REVOKED.map(peers::moka_of).to_vec());
    let layers = REVOKED.map(subject::layer_of).to_vec();
    (layers, mokas.join().expect("moka, filled"))
}

/// Measures hash and lookup minus hash, for both. So both compute the hash, and for both the
/// processor may begin with the next token early.
fn lookup(users: Users, layer: &PolarLogoutLayer, moka: &Moka) {
    let mut race = Race::default();
    let hash = race.calls(users.tokens(), |token| TokenHash::of(token));
    let (handle, moka) = (layer.handle(), moka.clone());
    let ours = race.calls(users.tokens(), move |token| handle.is_revoked(token));
    let theirs = race.calls(users.tokens(), move |token| moka.contains_key(&TokenHash::of(token)));
    let times = race.run();
    let (ours, theirs) = (times.net(ours, hash), times.net(theirs, hash));
    row(
        &format!(
            "lookup of a token that is not revoked, without its hash, {}: speed relative to moka's \
             `contains_key` with foldhash",
            users.name
        ),
        Goal::AtLeast(5.0),
        theirs / ours,
        " x",
        &format!("{ours:.1} ns, moka {theirs:.0} ns"),
    );
}

fn request(layers: &[PolarLogoutLayer], mokas: &[Moka]) -> Plot {
    let mut race = Race::default();
    let [few, many] = [FEW, MANY].map(|users| Bearers::enter(&mut race, users, layers, mokas));

    let bare_without = race.requests(service_fn(app), subject::without_token);
    let ours_without = race.requests(layers[3].layer(service_fn(app)), subject::without_token);
    let known = subject::token(0);
    let bare_known = race.requests(service_fn(app), always_bearer(&known));
    let one_bearer = race.requests(peers::one_bearer(&known), always_bearer(&known));

    let (sessions, cookie) = peers::sessions();
    let bare_session = race.requests(service_fn(app), always_cookie(&cookie));
    let sessions = race.requests(sessions, always_cookie(&cookie));
    let (users, cookie) = peers::users();
    let bare_user = race.requests(service_fn(app), always_cookie(&cookie));
    let users = race.requests(users, always_cookie(&cookie));

    let times = race.run();
    let sessions = times.net(sessions, bare_session);
    let users = times.net(users, bare_user);
    few.report(&times, sessions, users);
    many.report(&times, sessions, users);
    let without = times.net(ours_without, bare_without);
    let one = times.net(one_bearer, bare_known);
    row(
        "request without a token, net, relative to tower-http's \
         `ValidateRequestHeaderLayer::bearer` on the one token that it lets pass",
        Goal::AtMost(1.1),
        without / one,
        " x",
        &format!(
            "{without:.1} ns, tower-http {one:.1} ns; no layer {:.0} ns",
            times.of(bare_without)
        ),
    );
    many.plot(&times, sessions)
}

/// Requests with a bearer token, and the services that they go through.
struct Bearers {
    users: Users,
    bare: Entry,
    floor: Entry,
    ours: [Entry; 5],
    from_fn: [Entry; 5],
    tower_http: Entry,
    bare_cookies: Entry,
    ours_by_cookie: Entry,
}

impl Bearers {
    fn enter(race: &mut Race, users: Users, layers: &[PolarLogoutLayer], mokas: &[Moka]) -> Self {
        let bearers = || {
            let mut tokens = users.tokens();
            move || subject::bearer(&tokens())
        };
        let cookies = || {
            let mut tokens = users.tokens();
            move || subject::cookie_among_four(&tokens())
        };
        Self {
            users,
            bare: race.requests(service_fn(app), bearers()),
            floor: race.requests(peers::Floor(service_fn(app)), bearers()),
            ours: each(layers, |layer| race.requests(layer.layer(service_fn(app)), bearers())),
            from_fn: each(mokas, |moka| {
                race.requests(peers::middleware_fn(moka.clone()), bearers())
            }),
            tower_http: race.requests(peers::async_authorization(mokas[3].clone()), bearers()),
            bare_cookies: race.requests(service_fn(app), cookies()),
            ours_by_cookie: race.requests(layers[3].layer(service_fn(app)), cookies()),
        }
    }

    fn report(&self, times: &Times, sessions: f64, login: f64) {
        let net = |entry| times.net(entry, self.bare);
        let ours = self.ours.map(net);
        let (bearer, users) = (ours[3], self.users.name);
        let against = |what: &str, goal, peer: f64, name: &str| {
            row(
                &format!("bearer token, not revoked, {users}, net, relative to {what}"),
                goal,
                bearer / peer,
                " x",
                &format!("{bearer:.0} ns, {name} {peer:.0} ns"),
            );
        };
        let floor = net(self.floor);
        against("finding and hashing it", Goal::AtMost(1.3), floor, "finding and hashing");
        against(
            "tower-sessions' `SessionManagerLayer` with `MemoryStore`, session untouched",
            Goal::AtMost(0.08),
            sessions,
            "tower-sessions",
        );
        let from_fn = net(self.from_fn[3]);
        against("axum `from_fn` with moka", Goal::AtMost(0.4), from_fn, "`from_fn`");
        against(
            "tower-http `AsyncRequireAuthorizationLayer` with moka",
            Goal::None,
            net(self.tower_http),
            "tower-http",
        );
        against("axum-login `login_required`", Goal::None, login, "axum-login");
        let by_cookie = times.net(self.ours_by_cookie, self.bare_cookies);
        row(
            &format!(
                "the token in one of four cookies, {users}, net, relative to the bearer figure"
            ),
            Goal::AtMost(1.3),
            by_cookie / bearer,
            " x",
            &format!("{by_cookie:.0} ns, bearer {bearer:.0} ns"),
        );
        row(
            &format!("bearer figure with 5,000,000 revoked, {users}, relative to that with 1,000"),
            Goal::AtMost(2.0),
            ours[4] / ours[0],
            " x",
            &format!("{:.0} ns, {:.0} ns", ours[4], ours[0]),
        );
    }

    fn plot(&self, times: &Times, sessions: f64) -> Plot {
        let net = |entry| times.net(entry, self.bare);
        let curve = |figures: [f64; 5]| REVOKED.map(f64::from).into_iter().zip(figures).collect();
        Plot {
            curves: vec![
                ("this layer", curve(self.ours.map(net))),
                ("axum from_fn with moka", curve(self.from_fn.map(net))),
                ("tower-sessions, for any number", curve([sessions; 5])),
            ],
        }
    }
}

fn each<T>(of: &[T], enter: impl FnMut(&T) -> Entry) -> [Entry; 5] {
    let entries: Vec<_> = of.iter().map(enter).collect();
    entries.try_into().unwrap_or_else(|_| panic!("one for each number of revoked tokens"))
}

fn always_bearer(token: &str) -> impl FnMut() -> Request<Body> + use<> {
    let token = token.to_owned();
    move || subject::bearer(&token)
}

fn always_cookie(cookie: &str) -> impl FnMut() -> Request<Body> + use<> {
    let cookie = cookie.to_owned();
    move || subject::cookie(&cookie)
}
