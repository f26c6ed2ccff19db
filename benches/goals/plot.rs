//! Plots the cost against the number of revoked tokens, as an SVG.
//!
//! Both axes are logarithmic. The colours are halfway between black and white, so that they are
//! legible on both.

use std::fmt::Write;

/// Curves of nanoseconds over the number of revoked tokens.
pub(crate) struct Plot {
    pub(crate) curves: Vec<(&'static str, Vec<(f64, f64)>)>,
}

const COLOURS: [&str; 3] = ["#2f81f7", "#d0661b", "#8b6fd0"];
/// The vertical distance of each curve's name from its curve. The lowest curve's name is below it.
const NAME_BELOW: [f64; 3] = [22.0, -24.0, -10.0];
const GREY: &str = "#7a828c";

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = WIDTH - 40.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = HEIGHT - 60.0;

const FEWEST: f64 = 1e3;
const MOST: f64 = 5e6;
const CHEAPEST: f64 = 10.0;
const DEAREST: f64 = 10_000.0;

impl Plot {
    pub(crate) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"{GREY}\">\n"
        );
        let middle = f64::midpoint(LEFT, RIGHT);
        text(&mut svg, middle, 24.0, "Cost of a request with a bearer token that is not revoked");
        text(&mut svg, middle, HEIGHT - 14.0, "revoked tokens");
        let upright = format!("rotate(-90 20 {0})", f64::midpoint(TOP, BOTTOM));
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"{}\" text-anchor=\"middle\" transform=\"{upright}\">nanoseconds, \
             net of the same request without a layer</text>",
            f64::midpoint(TOP, BOTTOM)
        );
        for (at, label) in [
            (1e3, "1,000"),
            (1e4, "10,000"),
            (1e5, "100,000"),
            (1e6, "1 million"),
            (MOST, "5 million"),
        ] {
            line(&mut svg, (x(at), TOP), (x(at), BOTTOM));
            text(&mut svg, x(at), BOTTOM + 20.0, label);
        }
        for (at, label) in [(1e1, "10"), (1e2, "100"), (1e3, "1,000"), (1e4, "10,000")] {
            line(&mut svg, (LEFT, y(at)), (RIGHT, y(at)));
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y(at) + 4.0
            );
        }
        for (n, (name, points)) in self.curves.iter().enumerate() {
            curve(&mut svg, (name, NAME_BELOW[n]), points, COLOURS[n]);
        }
        svg + "</svg>\n"
    }
}

fn curve(svg: &mut String, (name, below): (&str, f64), points: &[(f64, f64)], colour: &str) {
    let path: Vec<_> =
        points.iter().map(|&(revoked, ns)| format!("{:.1},{:.1}", x(revoked), y(ns))).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
        path.join(" ")
    );
    for &(revoked, ns) in points {
        let (x, y) = (x(revoked), y(ns));
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
    }
    let &(_, first) = points.first().expect("a point");
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\" font-weight=\"bold\">{name}</text>",
        LEFT + 10.0,
        y(first) + below
    );
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{GREY}\" stroke-opacity=\"0.35\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>");
}

fn x(revoked: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * (revoked / FEWEST).ln() / (MOST / FEWEST).ln()
}

fn y(nanoseconds: f64) -> f64 {
    let nanoseconds = nanoseconds.clamp(CHEAPEST, DEAREST);
    BOTTOM - (BOTTOM - TOP) * (nanoseconds / CHEAPEST).ln() / (DEAREST / CHEAPEST).ln()
}
