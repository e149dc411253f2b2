//! Draws the curves of one loss as SVG.

use web_sys::Element;

use super::{
    dom, format,
    history::{decimals, ticks},
};

/// Room for the numbers on the left and below, in pixels.
const LEFT: f64 = 34.0;
const BELOW: f64 = 18.0;
const ABOVE: f64 = 8.0;

/// Width and height of a chart in pixels. Asked of all charts before any is drawn: after each change the browser would
/// lay the whole page out again to answer.
pub fn size(svg: &Element) -> [f64; 2] {
    let bounds = svg.get_bounding_client_rect();
    [bounds.width(), bounds.height()]
}

/// Draws both directions of a loss over the steps, up to step `last` at least once that far, on a chart of this [`size`].
pub fn draw(svg: &Element, [width, height]: [f64; 2], curves: &[Vec<(f64, f64)>; 2], last: f64) {
    svg.set_text_content(None);
    if width < LEFT * 2.0 {
        return;
    }
    let all = || curves.iter().flatten();
    let largest = all().map(|point| point.1).fold(0.0, f64::max);
    let least = all().map(|point| point.1).fold(0.0, f64::min);
    // The axis grows with the training: a fresh one is not a dot at the left.
    let reached = all().map(|point| point.0).fold(0.0, f64::max);
    let end = if reached > 0.0 { reached } else { last.max(1.0) };
    let levels = ticks(least, largest);
    let top = levels.last().copied().unwrap_or(1.0);
    let bottom = levels.first().copied().unwrap_or(0.0);
    let span = (top - bottom).max(f64::MIN_POSITIVE);
    let digits = decimals(levels.get(1).map_or(1.0, |second| second - bottom));
    let x = |step: f64| LEFT + (width - LEFT - 2.0) * step / end;
    let y = |value: f64| height - BELOW - (height - BELOW - ABOVE) * (value - bottom) / span;

    for level in &levels {
        let line = part(svg, "line", &[("class", "grid")]);
        place(&line, &[("x1", LEFT), ("x2", width), ("y1", y(*level)), ("y2", y(*level))]);
        let number = part(svg, "text", &[("text-anchor", "end")]);
        place(&number, &[("x", LEFT - 6.0), ("y", y(*level) + 4.0)]);
        let text = if *level == 0.0 { "0".into() } else { format::decimal(*level, digits) };
        number.set_text_content(Some(&text));
    }
    for (step, anchor) in [(0.0, "start"), (end, "end")] {
        let number = part(svg, "text", &[("text-anchor", anchor)]);
        place(&number, &[("x", x(step)), ("y", height - 3.0)]);
        let text = format::grouped(step as u64);
        number.set_text_content(Some(&if step > 0.0 { ["step ", &text].concat() } else { text }));
    }
    // The first direction lies on top.
    for (curve, class) in curves.iter().zip(["ab", "ba"]).rev() {
        let mut points = String::with_capacity(curve.len() * 12);
        for (step, value) in curve {
            points.push_str(&tenths(x(*step)));
            points.push(',');
            points.push_str(&tenths(y(*value)));
            points.push(' ');
        }
        part(svg, "polyline", &[("class", class), ("points", &points)]);
    }
}

fn part(svg: &Element, name: &str, attributes: &[(&str, &str)]) -> Element {
    let made = dom::document().create_element_ns(Some("http://www.w3.org/2000/svg"), name);
    // The fallback is never drawn, and never needed: the names above are valid.
    let element = made.unwrap_or_else(|_| dom::create("span"));
    for (name, value) in attributes {
        dom::attribute(&element, name, value);
    }
    dom::append(svg, &[&element]);
    element
}

fn place(element: &Element, numbers: &[(&str, f64)]) {
    for (name, value) in numbers {
        dom::attribute(element, name, &tenths(*value));
    }
}

/// A coordinate with one decimal; never negative here.
fn tenths(value: f64) -> String {
    let tenths = (value.max(0.0) * 10.0).round() as u64;
    [&(tenths / 10).to_string(), ".", &(tenths % 10).to_string()].concat()
}
