//! How many instructions the layer adds to a request, held against the recorded figures.
//!
//! `cargo bench --bench instructions`, and with `-- record` the figures become the recorded ones.
//!
//! Unlike a time, a count is the same on a busy machine. It runs itself under valgrind, which has no
//! SHA instructions, so there the hash is ten times what it is on a processor that has them: a hash
//! by itself is counted in the same way and subtracted. A thousand tokens are revoked, not a
//! million: the filter takes as many instructions for either.
//!
//! Then headers of 8 KiB that aim at what is slow, each beside a plain one of its length. There the
//! hashes count too, at a tenth.

#[path = "common/revoked.rs"]
mod revoked;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::task::{Context, Waker};
use std::{env, fs, iter};

use http::{Request, Response};
use http_body_util::Empty;
use sha2::{Digest, Sha256};
use tokio::runtime;
use tower::{Layer, Service, service_fn};
use tower_polar_logout::{PolarLogoutLayer, TokenLocation};

use self::revoked::{layer_of, revoke, without_polar};

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
const PREAMBLE: &str = "\
# Instructions that the layer adds to a request, without the hash of its token.
# Recorded by `cargo bench --bench instructions -- record`.
";
const ROOM: f64 = 0.05;

/// glibc copies memory with what the processor is best at. These figures are to be the same on all
/// x86-64 processors, so it takes what every one has.
const PLAIN_COPIES: &str = "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-Fast_Unaligned_Copy,\
    -SSSE3,-SSE4_1,-ERMS,-Prefer_ERMS,-Prefer_FSRM";

const REVOKED: u32 = 1_000;
const REQUESTS: u32 = 100;

/// Not revoked.
const TOKEN: &str = "polar_at_u_0000000000000000000000000000000000000001000";

/// A header that a request carries, and the lengths of what the layer hashes of it.
struct Scenario {
    name: &'static str,
    header: &'static str,
    value: fn() -> String,
    hashed: fn() -> Vec<usize>,
    /// The scenario it is compared with.
    plain: Option<&'static str>,
}

const LENGTH: usize = 8 * 1024;

const fn usual(name: &'static str, header: &'static str, value: fn() -> String) -> Scenario {
    Scenario { name, header, value, hashed: || vec![TOKEN.len()], plain: None }
}

const fn cookies(name: &'static str, value: fn() -> String) -> Scenario {
    let hashed = Vec::new;
    Scenario { name, header: "cookie", value, hashed, plain: Some("8-kib-of-cookies") }
}

const fn bearers(
    name: &'static str,
    value: fn() -> String,
    hashed: fn() -> Vec<usize>,
) -> Scenario {
    Scenario { name, header: "authorization", value, hashed, plain: Some("8-kib-bearer") }
}

const fn values(name: &'static str, value: fn() -> String, hashed: fn() -> Vec<usize>) -> Scenario {
    Scenario { hashed, plain: Some("8-kib-cookie"), ..cookies(name, value) }
}

const fn queries(name: &'static str, value: fn() -> String) -> Scenario {
    Scenario { header: QUERY, plain: Some("8-kib-of-fields"), ..cookies(name, value) }
}

/// Not a header.
const QUERY: &str = "query";

const SCENARIOS: &[Scenario] = &[
    usual("bearer", "authorization", || format!("Bearer {TOKEN}")),
    usual("cookie", "cookie", || format!("a=1; theme=dark; access_token={TOKEN}; lang=en")),
    Scenario { hashed: Vec::new, ..usual("no-token", "accept", || "text/html".to_owned()) },
    usual("8-kib-of-cookies", "cookie", || {
        let cookie = "; preference=0123456789abcdef";
        format!("access_token={TOKEN}{}", repeated(cookie, LENGTH - TOKEN.len()))
    }),
    cookies("semicolons", || repeated(";", LENGTH)),
    cookies("quotes", || repeated("\"", LENGTH)),
    cookies("percents", || repeated("%", LENGTH)),
    cookies("percents-in-values", || repeated("a=%41;", LENGTH)),
    cookies("percents-in-names", || repeated("access_toke%41=;", LENGTH)),
    cookies("quotes-and-semicolons", || repeated("\";", LENGTH)),
    cookies("names-alone", || repeated("access_token;", LENGTH)),
    Scenario {
        hashed: || vec![1; MOST_CREDENTIALS],
        ..cookies("cookies-of-the-name", || repeated("access_token=a;", LENGTH))
    },
    cookies("names-without-a-cookie", || repeated("xaccess_token=", LENGTH)),
    cookies("names-before-a-quote", || format!("x{}\";", repeated(" access_token=", LENGTH))),
    cookies("escaped-letters", || repeated("%61;", LENGTH)),
    Scenario {
        plain: None,
        ..values("8-kib-cookie", || named(&repeated("0", LENGTH)), || vec![LENGTH])
    },
    values("percents-in-the-value", || named(&repeated("%", LENGTH)), || vec![LENGTH]),
    values("escapes-in-the-value", || named(&repeated("%41", LENGTH)), || vec![LENGTH, LENGTH / 3]),
    values("quotes-in-the-value", || named(&repeated("\"", LENGTH)), || vec![LENGTH; 2]),
    values("commas-in-the-value", || named(&repeated("a,", LENGTH)), || vec![1, LENGTH]),
    values(
        "backslashes-in-the-value",
        || named(&format!("\"{}\"", repeated("\\a", LENGTH))),
        || vec![LENGTH],
    ),
    // Refused after the first of four readings.
    values(
        "quoted-escapes-in-the-value",
        || named(&format!("\"%41{}\"", repeated("0", LENGTH))),
        || vec![LENGTH],
    ),
    Scenario {
        hashed: || vec![LENGTH],
        plain: None,
        ..bearers("8-kib-bearer", || format!("Bearer {}", repeated("0", LENGTH)), Vec::new)
    },
    bearers("commas", || format!("Bearer {}", repeated(",", LENGTH)), || vec![LENGTH]),
    bearers(
        "bearers-joined",
        || format!("Bearer {}", repeated("a,", LENGTH)),
        || iter::once(LENGTH).chain(vec![1; MOST_CREDENTIALS - 1]).collect(),
    ),
    usual("8-kib-of-fields", QUERY, || {
        let field = "&preference=0123456789abcdef";
        format!("access_token={TOKEN}{}", repeated(field, LENGTH - TOKEN.len()))
    }),
    queries("ampersands", || repeated("&", LENGTH)),
    queries("plusses", || repeated("+=&", LENGTH)),
    queries("escapes-in-fields", || repeated("%61=&", LENGTH)),
    queries("escapes-in-names-of-fields", || repeated("access_toke%41=&", LENGTH)),
    bearers("spaces", || format!("Bearer {}a", repeated(" ", LENGTH)), || vec![1]),
];

/// As many are looked at, of one request.
const MOST_CREDENTIALS: usize = 64;

fn repeated(text: &str, length: usize) -> String {
    text.repeat(length / text.len())
}

fn named(value: &str) -> String {
    format!("access_token={value}")
}

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario")
}

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let arguments: Vec<_> = env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["record"] => record(),
        ["run", what] => run(what),
        _ => panic!("cargo bench --bench instructions [-- record]"),
    }
}

fn record() -> ExitCode {
    let mut text = PREAMBLE.to_owned();
    let figures = measured().map(|it| (it.name, it.figure.to_string()));
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
        line.unwrap_or_else(|| panic!("`{name}` is not recorded: see `-- record`"))
    };
    let mut code = ExitCode::SUCCESS;
    println!("| instructions a request | recorded | figure | |\n|---|---|---|---|");
    let measured: Vec<_> = measured().collect();
    for Measured { name, figure, .. } in &measured {
        let before: f64 = recorded(name).parse().expect("a recorded figure");
        let ratio = f64::from(*figure) / before;
        let verdict = if ratio > 1.0 + ROOM {
            code = ExitCode::FAILURE;
            "**more than recorded**"
        } else if ratio < 1.0 - ROOM {
            "less: please record it"
        } else {
            "as recorded"
        };
        println!("| {name} | {before} | {figure} | {verdict} |");
    }
    println!("\n| 8 KiB | times what a plain header takes |\n|---|---|");
    for it in &measured {
        let plain = scenario(it.name).plain;
        if let Some(plain) = measured.iter().find(|other| Some(other.name) == plain) {
            println!("| {} | {:.1} |", it.name, it.with_hashes() / plain.with_hashes());
        }
    }
    if recorded("toolchain") != toolchain() {
        println!("\nRecorded with {}; this is {}.", recorded("toolchain"), toolchain());
    }
    println!("\nTo make these the recorded figures: `cargo bench --bench instructions -- record`");
    code
}

/// Code differs from compiler to compiler, and so do the figures.
fn toolchain() -> String {
    let version = Command::new("rustc").arg("--version").output().expect("rustc").stdout;
    format!("{} on {}", String::from_utf8_lossy(&version).trim(), env::consts::ARCH)
}

struct Measured {
    name: &'static str,
    /// What a request costs with the layer, minus what it costs without, and the hashes.
    figure: u32,
    hashes: u32,
}

impl Measured {
    /// As on a processor that has SHA instructions.
    fn with_hashes(&self) -> f64 {
        f64::from(self.figure) + f64::from(self.hashes) / 10.0
    }
}

fn measured() -> impl Iterator<Item = Measured> {
    SCENARIOS.iter().map(|Scenario { name, hashed, .. }| {
        let added = count(&format!("with {name}")) - count(&format!("without {name}"));
        let hashes = if hashed().is_empty() { 0 } else { count(&format!("hashes {name}")) };
        Measured { name, figure: added - hashes, hashes }
    })
}

/// Instructions that [`counted`] takes, each time.
fn count(what: &str) -> u32 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=instructions::counted*")
        .arg(env::current_exe().expect("this program"))
        .args(["run", what])
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
        .output()
        .expect("valgrind is needed to count instructions: install it");
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.unwrap_or_else(|| panic!("callgrind has not counted: {said}"));
    let collected: u32 = collected.trim().parse().expect("a number");
    assert!(output.status.success() && collected > 0, "{said}");
    collected / REQUESTS
}

/// What runs under valgrind.
fn run(what: &str) -> ExitCode {
    match what.split_once(' ') {
        Some(("with", name)) => {
            let scenario = scenario(name);
            call(&mut layer(scenario).layer(service_fn(app)), scenario);
        }
        Some(("without", name)) => call(&mut service_fn(app), scenario(name)),
        Some(("hashes", name)) => hash(&(scenario(name).hashed)()),
        _ => panic!("what is `{what}`?"),
    }
    ExitCode::SUCCESS
}

type Body = Empty<bytes::Bytes>;

fn hash(lengths: &[usize]) {
    let values: Vec<_> = lengths.iter().map(|length| repeated("0", *length)).collect();
    for _ in 0..REQUESTS {
        counted(&mut || {
            for value in &values {
                black_box(Sha256::digest(black_box(value)));
            }
        });
    }
}

fn call<S>(service: &mut S, Scenario { header, value, .. }: &Scenario)
where
    S: Service<Request<Body>>,
{
    for _ in 0..REQUESTS {
        let request = match *header {
            QUERY => Request::builder().uri(format!("/me?{}", value())),
            header => Request::builder().uri("/me").header(header, value()),
        };
        let mut request = Some(request.body(Body::new()).expect("a request"));
        counted(&mut || {
            let response = std::pin::pin!(service.call(request.take().expect("once")));
            let response = response.poll(&mut Context::from_waker(Waker::noop()));
            assert!(black_box(response).is_ready());
        });
    }
}

/// The name that callgrind looks for.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

fn app<B>(_: Request<B>) -> Ready<Result<Response<Body>, Infallible>> {
    ready(Ok(Response::new(Body::new())))
}

fn layer(Scenario { header, .. }: &Scenario) -> PolarLogoutLayer {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if *header != QUERY {
            return layer_of(REVOKED).await;
        }
        let reads_queries = without_polar().access_token(TokenLocation::query("access_token"));
        let layer = reads_queries.limit(REVOKED as usize).build().await.expect("a layer");
        revoke(&layer.handle(), REVOKED, |order| order).await;
        layer
    })
}
