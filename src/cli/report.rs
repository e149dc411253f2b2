//! `cyclegan report`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::prelude::*;
use serde::Deserialize;

use super::ExitStatus;
use super::train::{METRICS, read_config};
use super::translate::write_whole;
use crate::config::TrainConfig;
use crate::protocol::{Losses, Quality};

/// At most so many previews are shown, evenly over the training.
const PREVIEWS: usize = 12;
/// Points of a curve; more are averaged.
const POINTS: usize = 400;

/// Writes one HTML file about a training: its losses, its pictures over time, and how it was made.
///
/// `train` does so by itself at its end. The file needs nothing beside it and nothing from the network.
///
/// Example: cyclegan report runs/horse
#[derive(clap::Args)]
pub struct Arguments {
    /// The run's folder, as given to train --out.
    run: PathBuf,
    /// Where to write to; report.html in the run's folder if not given.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// # Errors
/// When the folder holds no run, or the file cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("report.html"));
    write(&arguments.run, &out)?;
    println!("{}", out.display());
    Ok(ExitStatus::Done)
}

/// One line of `metrics.jsonl`; a step's losses, or how good the generators are.
#[derive(Deserialize)]
struct Line {
    step: u64,
    losses: Option<Losses>,
    learning_rate: Option<f64>,
    quality: Option<Quality>,
}

/// A line of a chart: its name, and its points.
type Curve = (&'static str, Vec<(f64, f64)>);

/// Writes the report of the run in `folder`.
///
/// # Errors
/// When the folder holds no run, or the file cannot be written.
pub fn write(folder: &Path, out: &Path) -> Result<()> {
    let config = read_config(folder)?;
    let lines = metrics(&folder.join(METRICS))?;
    let Some(last) = lines.last() else { bail!("no step of {} is recorded yet", folder.display()) };
    let previews = previews(folder)?;
    let page = page(last.step, &lines, &previews, &config)?;
    write_whole(out, page.into_string().as_bytes())
}

/// The lines in order. Steps that were made again after a resume count as they were made last.
fn metrics(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines: Vec<Line> = Vec::new();
    // A line that was cut by a crash is none.
    for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        while lines.last().is_some_and(|last| last.step > line.step) {
            lines.pop();
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Steps and files of the previews to show.
fn previews(folder: &Path) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if let Some(step) = stem.strip_prefix("preview-").and_then(|step| step.parse::<u64>().ok()) {
            files.push((step, path));
        }
    }
    files.sort();
    let last = files.len().saturating_sub(1);
    let mut chosen: Vec<usize> = (0..PREVIEWS).map(|place| place * last / (PREVIEWS - 1)).collect();
    chosen.dedup();
    let chosen = chosen.into_iter().filter_map(|place| files.get(place));
    chosen.map(|(step, path)| Ok((*step, std::fs::read(path)?))).collect()
}

fn page(steps: u64, lines: &[Line], previews: &[(u64, Vec<u8>)], config: &TrainConfig) -> Result<Markup> {
    let losses = |name, value: fn(&Losses) -> f32| -> Curve {
        let points = lines.iter().filter_map(|line| Some((line.step as f64, f64::from(value(&line.losses?)))));
        (name, averaged(&points.collect::<Vec<_>>()))
    };
    let quality = |name, value: fn(&Quality) -> Option<f32>| -> Curve {
        let point = |line: &Line| Some((line.step as f64, f64::from(value(line.quality.as_ref()?)?)));
        (name, lines.iter().filter_map(point).collect())
    };
    let rate = lines.iter().filter_map(|line| Some((line.step as f64, line.learning_rate?))).collect::<Vec<_>>();
    let charts = [
        (
            "Adversarial loss",
            "How well each generator fools its discriminator; 0.25 in the least-squares form means nobody can tell.",
            vec![losses("A → B", |l| l.adversarial_ab), losses("B → A", |l| l.adversarial_ba)],
        ),
        (
            "Cycle-consistency loss",
            "How far a picture is from itself after going there and back.",
            vec![losses("A → B → A", |l| l.cycle_a), losses("B → A → B", |l| l.cycle_b)],
        ),
        (
            "Identity loss",
            "How much a picture that already belongs there is changed.",
            vec![losses("of A", |l| l.identity_a), losses("of B", |l| l.identity_b)],
        ),
        (
            "Discriminator loss",
            "How often the discriminators are wrong about real and generated.",
            vec![losses("of A", |l| l.discriminator_a), losses("of B", |l| l.discriminator_b)],
        ),
        (
            "Structural similarity, held-out pictures",
            "Of a picture that went there and back to itself, and of a translation to the real counterpart where there is one; higher is better.",
            vec![
                quality("A → B → A", |q| Some(q.cycle_ssim[0])),
                quality("B → A → B", |q| Some(q.cycle_ssim[1])),
                quality("A → B, paired", |q| q.paired_ssim.map(|both| both[0])),
                quality("B → A, paired", |q| q.paired_ssim.map(|both| both[1])),
            ],
        ),
        (
            "Patch distance, held-out pictures",
            "Sliced Wasserstein distance of patches of translations to patches of real pictures; lower is better.",
            vec![quality("A → B", |q| Some(q.distance[0])), quality("B → A", |q| Some(q.distance[1]))],
        ),
        ("Learning rate", "Of both Adam optimisers.", vec![("rate", averaged(&rate))]),
    ];
    let (a, b) = (&config.domain_a, &config.domain_b);
    let title = format!("{a} ⇄ {b}, {steps} steps");
    let encoded =
        |png: &[u8]| format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png));
    let mut figures = Vec::new();
    for (name, about, curves) in charts {
        let curves: Vec<Curve> = curves.into_iter().filter(|(_, points)| !points.is_empty()).collect();
        if !curves.is_empty() {
            figures.push((name, about, chart(&curves).map_err(|error| anyhow!("cannot draw {name}: {error}"))?));
        }
    }
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p { "A is " (a) ", B is " (b) "." }
                section {
                    h2 { "Curves" }
                    div.charts {
                        @for (name, about, svg) in &figures {
                            figure { figcaption { b { (name) } " " (about) } (PreEscaped(svg)) }
                        }
                    }
                }
                section {
                    h2 { "Fixed samples over time" }
                    p { "Each row: a picture of A, its translation, and back; the same for B." }
                    @for (step, png) in previews.iter().rev() {
                        figure { figcaption { "Step " (step) } img src=(encoded(png)) alt={ "Previews at step " (step) }; }
                    }
                }
                section {
                    h2 { "How it was made" }
                    div.options {
                        @for group in groups(config) {
                            table {
                                caption { (group.0) }
                                @for (name, about, value) in group.1 { tr title=(about) { th { (name) } td { (value) } } }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// The options by their headings: name, documentation and value.
fn groups(config: &TrainConfig) -> Vec<(&'static str, Vec<(&'static str, String, String)>)> {
    let mut groups: Vec<(&str, Vec<_>)> = Vec::new();
    for field in TrainConfig::FIELDS {
        if groups.last().is_none_or(|(group, _)| *group != field.group) {
            groups.push((field.group, Vec::new()));
        }
        if let Some((_, options)) = groups.last_mut() {
            options.push((field.name, field.about(), config.get(field.name).unwrap_or_default()));
        }
    }
    groups
}

const STYLE: &str = ":root{color-scheme:light}body{font:16px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;\
padding:0 1rem;color:#1b1b1f;background:#fff}.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1rem}\
figure{margin:0 0 1rem}figcaption{font-size:.875rem;color:#55555c}figcaption b{color:#1b1b1f}svg,img{max-width:100%;height:auto}\
.options{columns:24rem;column-gap:2rem}table{break-inside:avoid;margin-bottom:1rem;border-spacing:0}\
caption{text-align:left;font-weight:600;padding:.25rem 0}th{text-align:left;font-weight:400;color:#55555c;padding-right:1.5rem}td{font-variant-numeric:tabular-nums}";

/// Neighbours averaged until few enough are left to draw.
fn averaged(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |part: &[(f64, f64)]| {
        let sum = part.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / part.len() as f64, sum.1 / part.len() as f64)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

/// A chart as SVG.
fn chart(curves: &[Curve]) -> Result<String, Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let first = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = points().map(|point| point.0).fold(0.0, f64::max);
    let top = points().map(|point| point.1).filter(|value| value.is_finite()).fold(0.0, f64::max);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (560, 260)).into_drawing_area();
        let range = (first.min(last - 1.0)..last, 0.0..if top > 0.0 { 1.05 * top } else { 1.0 });
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(56)
            .build_cartesian_2d(range.0, range.1)?;
        chart.configure_mesh().light_line_style(TRANSPARENT).x_labels(6).y_labels(5).draw()?;
        for (index, (name, points)) in curves.iter().enumerate() {
            let colour =
                [RGBColor(0, 90, 200), RGBColor(214, 90, 0), RGBColor(0, 130, 80), RGBColor(150, 50, 160)][index % 4];
            let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
            chart
                .draw_series(series)?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart.configure_series_labels().border_style(TRANSPARENT).background_style(WHITE.mix(0.8)).draw()?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_made_again_counts_as_made_last_and_a_cut_line_is_none() {
        let folder = std::env::temp_dir().join(format!("cyclegan-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let losses =
            |cycle_a: f32| serde_json::to_string(&Losses { cycle_a, ..Losses::default() }).expect("plain data");
        let line = |step: u64, cycle: f32| {
            format!("{{\"step\":{step},\"losses\":{},\"learning_rate\":2e-4}}\n", losses(cycle))
        };
        let text = [line(1, 1.0), line(2, 2.0), line(3, 3.0), line(2, 4.0), "{\"step\":3,\"los".into()].concat();
        std::fs::write(folder.join("metrics.jsonl"), text).expect("a file");
        let lines = metrics(&folder.join("metrics.jsonl")).expect("lines");
        let found: Vec<_> = lines.iter().map(|line| (line.step, line.losses.map(|losses| losses.cycle_a))).collect();
        assert_eq!(found, [(1, Some(1.0)), (2, Some(2.0)), (2, Some(4.0))]);
        assert!(
            write(&folder, &folder.join("report.html")).is_err_and(|error| error.to_string().contains("is no run"))
        );
        std::fs::write(folder.join("config.json"), "{\"domain_a\":\"<cat>\",\"domain_b\":\"dog\",\"size\":32}")
            .expect("a file");
        write(&folder, &folder.join("report.html")).expect("a run");
        let page = std::fs::read_to_string(folder.join("report.html")).expect("a report");
        std::fs::remove_dir_all(&folder).expect("it is ours");
        assert!(page.contains("&lt;cat&gt; ⇄ dog, 2 steps") && !page.contains("<cat>"));
        assert!(page.contains("<svg") && page.contains("Learning rate"));
        assert!(
            !page.contains("http://") || page.matches("http://").count() == page.matches("http://www.w3.org").count()
        );
    }

    #[test]
    fn many_points_are_averaged() {
        let points: Vec<_> = (0..4000).map(|step| (f64::from(step), 1.0)).collect();
        let few = averaged(&points);
        assert_eq!((few.len(), few[0]), (400, (4.5, 1.0)));
        assert_eq!(averaged(&points[..3]), points[..3]);
        assert_eq!(averaged(&[]), []);
    }
}
