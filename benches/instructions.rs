//! Counts the instructions that the layer adds to a request, and compares them with the recorded
//! figures.
//!
//! `cargo bench --bench instructions` compares; with `-- record` it records the new figures.
//!
//! Unlike a time, a count is the same on a busy machine. The program runs itself under valgrind,
//! which has no SHA instructions. So a hash takes ten times as many instructions there as on a
//! processor that has them; a hash alone is counted too, and subtracted. A thousand tokens are
//! revoked and not a million: the filter takes the same number of instructions for both.
//!
//! It then sends headers of 512 KiB that are made to be slow, to find costs that are not linear. No
//! header, whatever its content, may take more than 80 instructions a byte.

#[path = "common/revoked.rs"]
mod revoked;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::task::{Context, Waker};
use std::{env, fs, iter};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use sha2::{Digest, Sha256};
use tokio::runtime;
use tower::{Layer, Service, service_fn};
use tower_polar_logout::PolarLogoutLayer;

use self::revoked::layer_of;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
const PREAMBLE: &str = "\
# Instructions that the layer adds to a request, without the hash of its token.
# Recorded by `cargo bench --bench instructions -- record`.
";
const ROOM: f64 = 0.05;

/// glibc copies memory with the processor's fastest instructions. The figures must be the same on
/// all x86-64 processors, so glibc is restricted to instructions that all of them have.
const PLAIN_COPIES: &str = "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-Fast_Unaligned_Copy,\
    -SSSE3,-SSE4_1,-ERMS,-Prefer_ERMS,-Prefer_FSRM";

const REVOKED: u32 = 1_000;
const REQUESTS: u32 = 100;

/// Not revoked.
const TOKEN: &str = "polar_at_u_0000000000000000000000000000000000000001000";

/// The headers that a request carries, and their highest permitted cost.
struct Scenario {
    name: &'static str,
    headers: fn() -> Vec<(&'static str, String)>,
    /// How many tokens the layer hashes.
    hashes: u32,
    /// The highest permitted figure, apart from the recorded one. It does not include the cost of a
    /// request without a token.
    at_most: Option<u32>,
}

const KIB_512: u32 = 512 * 1024;
const MOST_A_BYTE: f64 = 80.0;

const fn usual(
    name: &'static str,
    headers: fn() -> Vec<(&'static str, String)>,
    hashes: u32,
) -> Scenario {
    Scenario { name, headers, hashes, at_most: None }
}

const fn promised(
    name: &'static str,
    headers: fn() -> Vec<(&'static str, String)>,
    at_most: u32,
) -> Scenario {
    Scenario { name, headers, hashes: 0, at_most: Some(at_most) }
}

const SCENARIOS: &[Scenario] = &[
    usual("no-token", || vec![("accept", "text/html".to_owned())], 0),
    usual("bearer", || vec![("authorization", format!("Bearer {TOKEN}"))], 1),
    usual(
        "cookie",
        || vec![("cookie", format!("a=1; theme=dark; access_token={TOKEN}; lang=en"))],
        1,
    ),
    // The goals are 1,000 and 3,000. The search for the names of two configured cookies takes 230
    // for each.
    promised("browser", || of_a_browser(&cookies_of_a_browser()), 1_300),
    promised(
        "browser-with-50-escapes",
        || of_a_browser(&cookies_of_a_browser().replacen('.', "%22%3A", 25)),
        3_900,
    ),
    usual(
        "browser-with-a-token",
        || of_a_browser(&format!("{}; access_token={TOKEN}", cookies_of_a_browser())),
        1,
    ),
];

/// The pieces that a header of 512 KiB repeats, in `Cookie` and in `Authorization`.
const REPEATED: &[(&str, &str)] = &[
    ("cookies", "preference=0123456789abcdef; "),
    ("semicolons", ";"),
    ("quotes", "\""),
    ("quotes-and-semicolons", "\";"),
    ("names", "access_token=;"),
    ("names-with-a-value", "access_token=0123456789abcdef;"),
    ("names-with-an-escaped-value", "access_token=%30123456789abcdef;"),
    ("percents", "%"),
    ("escaped-percents", "%25"),
    ("escaped-letters", "%70"),
    ("half-escapes", "%2"),
    ("backslashes", "\\"),
    ("json-escapes", "\\u0070"),
    ("hex-escapes", "\\x70"),
    ("octal-escapes", "\\160"),
    ("quoted-letters", "\\p"),
    ("first-letters", "p_"),
    ("prefixes", "polar_"),
    ("longer-prefixes", "polar_at_u_"),
    ("escaped-prefixes", "%70olar_at_u_"),
    ("base64-prefixes", "cG9sYXJf"),
    ("base64-prefixes-shifted", "wb2xhcl9"),
    ("base64-prefixes-shifted-twice", "BvbGFyX"),
    ("escaped-base64", "%63G9sYXJf"),
];

/// The headers that a browser sends to a site with analytics.
fn of_a_browser(cookies: &str) -> Vec<(&'static str, String)> {
    let others = [
        ("host", "app.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://app.example.com/settings/profile"),
        ("connection", "keep-alive"),
        ("upgrade-insecure-requests", "1"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
    ];
    let others = others.map(|(name, value)| (name, value.to_owned()));
    others.into_iter().chain([("cookie", cookies.to_owned())]).collect()
}

/// 600 bytes.
fn cookies_of_a_browser() -> String {
    let cookies: Vec<_> =
        (0..10).map(|n| format!("_ga_{n}ABC=GS2.1.s17312.{n}.o1.g1.t17.j60.l0.h")).collect();
    let mut cookies = cookies.join("; ");
    cookies.push_str("; consent=");
    while cookies.len() < 600 {
        cookies.push('x');
    }
    cookies
}

/// How often the piece fits into 512 KiB.
fn repetitions(piece: &str) -> u32 {
    KIB_512 / u32::try_from(piece.len()).expect("a short piece")
}

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario")
}

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let arguments: Vec<_> = env::args().skip(1).filter(|text| text != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["record"] => record(),
        ["run", what] => run(what),
        _ => panic!("cargo bench --bench instructions [-- record]"),
    }
}

fn record() -> ExitCode {
    let mut text = PREAMBLE.to_owned();
    let figures = SCENARIOS.iter().map(|scenario| (scenario.name, added(scenario).to_string()));
    for (name, figure) in iter::once(("toolchain", toolchain())).chain(figures) {
        writeln!(text, "{name}: {figure}").expect("a string takes it");
    }
    fs::write(RECORDED, &text).expect("a file to write to");
    print!("{text}");
    ExitCode::SUCCESS
}

fn compare() -> ExitCode {
    let text = fs::read_to_string(RECORDED).expect("recorded figures");
    let recorded = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("`{name}` is not recorded: run with `-- record`"))
    };
    let mut code = ExitCode::SUCCESS;
    println!("| instructions a request | at most | recorded | figure | |\n|---|---|---|---|---|");
    let without_a_token: u32 = recorded("no-token").parse().expect("a recorded figure");
    for scenario in SCENARIOS {
        let figure = added(scenario);
        let before: f64 = recorded(scenario.name).parse().expect("a recorded figure");
        let ratio = f64::from(figure) / before;
        let verdict = if scenario.at_most.is_some_and(|at_most| figure > at_most + without_a_token)
        {
            code = ExitCode::FAILURE;
            "**more than promised**"
        } else if ratio > 1.0 + ROOM {
            code = ExitCode::FAILURE;
            "**more than recorded**"
        } else if ratio < 1.0 - ROOM {
            "less: record it"
        } else {
            "as recorded"
        };
        let at_most = scenario.at_most.map(|at_most| (at_most + without_a_token).to_string());
        let at_most = at_most.unwrap_or_default();
        println!("| {} | {at_most} | {before} | {figure} | {verdict} |", scenario.name);
    }
    let hash = count("hash", REQUESTS);
    println!("\n| instructions a byte of 512 KiB | Cookie | Authorization |\n|---|---|---|");
    for (name, piece) in REPEATED {
        let hashes = if name.contains("-value") { repetitions(piece) } else { 0 };
        let figures = ["cookie", "authorization"].map(|header| {
            let all = f64::from(count(&format!("repeated {header} {name}"), 1));
            let hashes = if header == "cookie" { f64::from(hashes) * f64::from(hash) } else { 0.0 };
            (all - hashes) / f64::from(KIB_512)
        });
        let is_too_much = figures.iter().any(|figure| *figure > MOST_A_BYTE);
        let verdict = if is_too_much { " **too much**" } else { "" };
        if is_too_much {
            code = ExitCode::FAILURE;
        }
        println!("| {name} | {:.1} | {:.1} |{verdict}", figures[0], figures[1]);
    }
    if recorded("toolchain") != toolchain() {
        println!("\nRecorded with {}; this is {}.", recorded("toolchain"), toolchain());
    }
    println!("\nTo make these the recorded figures: `cargo bench --bench instructions -- record`");
    code
}

/// Recorded because the figures depend on the compiler.
fn toolchain() -> String {
    let version = Command::new("rustc").arg("--version").output().expect("rustc").stdout;
    format!("{} on {}", String::from_utf8_lossy(&version).trim(), env::consts::ARCH)
}

/// The cost of a request with the layer, minus the cost without it and the hashes.
fn added(Scenario { name, hashes, .. }: &Scenario) -> u32 {
    let added =
        count(&format!("with {name}"), REQUESTS) - count(&format!("without {name}"), REQUESTS);
    if *hashes == 0 { added } else { added - hashes * count("hash", REQUESTS) }
}

/// The instructions that [`counted`] takes for each request.
fn count(what: &str, requests: u32) -> u32 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=instructions::counted*")
        .arg(env::current_exe().expect("this program"))
        .args(["run", what])
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
        .output()
        .expect("this bench needs `valgrind`: install it");
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.unwrap_or_else(|| panic!("callgrind did not count: {report}"));
    let collected: u32 = collected.trim().parse().expect("a number");
    assert!(output.status.success() && collected > 0, "{report}");
    collected / requests
}

/// The part that runs under valgrind.
fn run(what: &str) -> ExitCode {
    match what.split(' ').collect::<Vec<_>>()[..] {
        ["with", name] => {
            call(&mut layer().layer(service_fn(app)), &(scenario(name).headers)(), REQUESTS);
        }
        ["without", name] => call(&mut service_fn(app), &(scenario(name).headers)(), REQUESTS),
        ["repeated", header, name] => {
            let header = ["cookie", "authorization"].into_iter().find(|known| *known == header);
            let (_, piece) = REPEATED.iter().find(|(known, _)| *known == name).expect("a piece");
            let headers =
                vec![(header.expect("a header"), piece.repeat(repetitions(piece) as usize))];
            call(&mut layer().layer(service_fn(app)), &headers, 1);
        }
        ["hash"] => {
            for _ in 0..REQUESTS {
                counted(&mut || {
                    black_box(Sha256::digest(black_box(TOKEN)));
                });
            }
        }
        _ => panic!("unknown argument `{what}`"),
    }
    ExitCode::SUCCESS
}

type Body = Empty<bytes::Bytes>;

fn call<S>(service: &mut S, headers: &[(&'static str, String)], requests: u32)
where
    S: Service<Request<Body>>,
{
    // Shared by all requests, so that none of them frees a value: the cost of that differs between
    // runs.
    let values = headers.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    });
    let headers: HeaderMap = values.collect();
    for _ in 0..requests {
        let mut request = Request::new(Body::new());
        *request.uri_mut() = Uri::from_static("/me");
        *request.headers_mut() = headers.clone();
        let mut request = Some(request);
        counted(&mut || {
            let response = std::pin::pin!(service.call(request.take().expect("once")));
            let response = response.poll(&mut Context::from_waker(Waker::noop()));
            assert!(black_box(response).is_ready());
        });
    }
}

/// callgrind counts the function of this name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

fn app<B>(_: Request<B>) -> Ready<Result<Response<Body>, Infallible>> {
    ready(Ok(Response::new(Body::new())))
}

fn layer() -> PolarLogoutLayer {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(layer_of(REVOKED))
}
