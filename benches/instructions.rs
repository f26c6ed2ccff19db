//! How many instructions the layer adds to a request, held against the recorded figures.
//!
//! `cargo bench --bench instructions`, and with `-- record` the figures become the recorded ones.
//!
//! Unlike a time, a count is the same on a busy machine. It runs itself under valgrind, which has no
//! SHA instructions, so there the hash is ten times what it is on a processor that has them: a hash
//! by itself is counted in the same way and subtracted. A thousand tokens are revoked, not a
//! million: the filter takes as many instructions for either.

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
use tower_polar_logout::PolarLogoutLayer;

use self::revoked::layer_of;

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

/// A name, and the header that a request carries.
const SCENARIOS: [(&str, &str, &str); 3] = [
    ("bearer", "authorization", "Bearer {token}"),
    ("cookie", "cookie", "a=1; theme=dark; access_token={token}; lang=en"),
    ("no-token", "accept", "text/html"),
];

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
    for (name, figure) in iter::once(("toolchain", toolchain())).chain(measured()) {
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
        line.unwrap_or_else(|| panic!("`{name}` is not recorded"))
    };
    let mut code = ExitCode::SUCCESS;
    println!("| instructions a request | recorded | figure | |\n|---|---|---|---|");
    for (name, figure) in measured() {
        let before: f64 = recorded(name).parse().expect("a recorded figure");
        let ratio = figure.parse::<f64>().expect("a figure") / before;
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

/// For each scenario what a request costs with the layer, minus what it costs without.
fn measured() -> impl Iterator<Item = (&'static str, String)> {
    let hash = count("hash");
    SCENARIOS.iter().map(move |(name, _, value)| {
        let added = count(&format!("with {name}")) - count(&format!("without {name}"));
        let hashes = if value.contains("{token}") { hash } else { 0 };
        (*name, (added - hashes).to_string())
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
        Some(("with", scenario)) => call(&mut layer().layer(service_fn(app)), scenario),
        Some((_, scenario)) => call(&mut service_fn(app), scenario),
        None => (0..REQUESTS).for_each(|_| {
            counted(&mut || {
                black_box(Sha256::digest(black_box(TOKEN)));
            });
        }),
    }
    ExitCode::SUCCESS
}

type Body = Empty<bytes::Bytes>;

fn call<S>(service: &mut S, scenario: &str)
where
    S: Service<Request<Body>>,
{
    let known = SCENARIOS.iter().find(|(name, ..)| *name == scenario);
    let (_, header, value) = known.expect("a scenario");
    for _ in 0..REQUESTS {
        let value = value.replace("{token}", TOKEN);
        let request = Request::builder().uri("/me").header(*header, value).body(Body::new());
        let mut request = Some(request.expect("a request"));
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

fn layer() -> PolarLogoutLayer {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(layer_of(REVOKED))
}
