//! Curves as SVG.

use plotters::prelude::*;

/// A line of a chart: its name, and its points.
pub type Curve = (&'static str, Vec<(f64, f64)>);

/// The colours of a chart's curves, in order: red, green, blue.
pub const COLOURS: [(u8, u8, u8); 4] = [(0, 90, 200), (214, 90, 0), (0, 130, 80), (150, 50, 160)];

/// Points of a curve; more are averaged.
const POINTS: usize = 400;

/// Neighbours averaged until few enough are left to draw.
pub fn averaged(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |part: &[(f64, f64)]| {
        let sum = part.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / part.len() as f64, sum.1 / part.len() as f64)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

/// A chart as SVG, without a legend.
///
/// # Errors
/// When it cannot be drawn.
pub fn chart(curves: &[Curve]) -> Result<String, Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let first = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = points().map(|point| point.0).fold(0.0, f64::max);
    let values = || points().map(|point| point.1).filter(|value| value.is_finite());
    // Some losses are below zero: a Wasserstein distance is.
    let (bottom, top) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let margin = if top > bottom { 0.05 * (top - bottom) } else { 1.0 };
    let bottom = if bottom < 0.0 { bottom - margin } else { bottom };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (560, 260)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            // The last step's number is centred below the edge.
            .margin_right(32)
            .x_label_area_size(28)
            .y_label_area_size(72)
            .build_cartesian_2d(first.min(last - 1.0)..last, bottom..top + margin)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 230))
            .axis_style(RGBColor(120, 120, 130))
            .label_style(("sans-serif", 17))
            .x_label_formatter(&|step| format!("{step:.0}"))
            .x_labels(6)
            .y_labels(5)
            .draw()?;
        for ((_, points), (red, green, blue)) in curves.iter().zip(COLOURS.into_iter().cycle()) {
            let colour = RGBColor(red, green, blue).stroke_width(2);
            chart.draw_series(LineSeries::new(points.iter().copied(), colour))?;
        }
        area.present()?;
    }
    // The size is the page's to choose.
    Ok(svg.replacen("width=\"560\" height=\"260\"", "", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_points_are_averaged() {
        let points: Vec<_> = (0..4000).map(|step| (f64::from(step), 1.0)).collect();
        let few = averaged(&points);
        assert_eq!((few.len(), few[0]), (400, (4.5, 1.0)));
        assert_eq!(averaged(&points[..3]), points[..3]);
        assert_eq!(averaged(&[]), []);
    }

    #[test]
    fn a_curve_below_zero_is_in_the_picture() {
        let svg = chart(&[("loss", vec![(1.0, -2.0), (2.0, 1.0), (3.0, -1.0)])]).expect("a chart");
        let line = svg.split("<polyline").find(|line| line.contains("#005AC8")).expect("the curve");
        let points = line.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("points");
        for point in points.split_whitespace() {
            let (x, y) = point.split_once(',').expect("two numbers");
            let inside = |text: &str, end: f64| text.parse::<f64>().is_ok_and(|number| (0.0..end).contains(&number));
            assert!(inside(x, 560.0) && inside(y, 232.0), "{point}: above the axis' labels");
        }
        assert!(svg.contains("viewBox") && !svg.contains("width=\"560\" height"));
    }
}
