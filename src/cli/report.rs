//! `cyclegan report`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;

use super::ExitStatus;
use super::chart::{COLOURS, Curve, averaged, chart};
use super::train::{METRICS, read_config};
use super::translate::write_whole;
use crate::config::{Field, TrainConfig};
use crate::protocol::{Losses, Quality};

/// At most so many previews are shown, evenly over the training.
const PREVIEWS: usize = 12;

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
    let is_one_sided = config.is_one_sided();
    let curve = |name, value: &dyn Fn(&Losses) -> Option<f32>| -> Curve {
        let points = lines.iter().filter_map(|line| Some((line.step as f64, f64::from(value(&line.losses?)?))));
        (name, averaged(&points.collect::<Vec<_>>()))
    };
    let losses = |name, value: fn(&Losses) -> f32| curve(name, &|losses| Some(value(losses)));
    // Terms that a one-sided training does not have.
    let both = |name, value: fn(&Losses) -> f32| curve(name, &|losses| (!is_one_sided).then(|| value(losses)));
    let quality = |name, value: fn(&Quality) -> Option<f32>| -> Curve {
        let point = |line: &Line| Some((line.step as f64, f64::from(value(line.quality.as_ref()?)?)));
        (name, lines.iter().filter_map(point).collect())
    };
    let rate = lines.iter().filter_map(|line| Some((line.step as f64, line.learning_rate?))).collect::<Vec<_>>();
    let charts = [
        (
            "Adversarial loss",
            "How well each generator fools its discriminator; 0.25 in the least-squares form means nobody can tell.",
            vec![losses("A → B", |l| l.adversarial_ab), both("B → A", |l| l.adversarial_ba)],
        ),
        (
            "Cycle-consistency loss",
            "How far a picture is from itself after going there and back.",
            vec![both("A → B → A", |l| l.cycle_a), both("B → A → B", |l| l.cycle_b)],
        ),
        (
            "Identity loss",
            "How much a picture that already belongs there is changed.",
            vec![both("of A", |l| l.identity_a), both("of B", |l| l.identity_b)],
        ),
        (
            "Contrastive losses",
            "How hard a patch of a translation is to be found among those of the picture: NCE of A, NCE_Y of B and its own translation.",
            vec![curve("NCE", &|l| l.nce), curve("NCE_Y", &|l| l.nce_y)],
        ),
        (
            "Discriminator loss",
            "How often the discriminators are wrong about real and generated.",
            vec![both("of A", |l| l.discriminator_a), losses("of B", |l| l.discriminator_b)],
        ),
        (
            "Structural similarity, held-out pictures",
            "Of a picture that went there and back to itself, and of a translation to the real counterpart where there is one; higher is better.",
            vec![
                quality("A → B → A", |q| q.cycle_ssim[0]),
                quality("B → A → B", |q| q.cycle_ssim[1]),
                quality("A → B, paired", |q| q.paired_ssim?[0]),
                quality("B → A, paired", |q| q.paired_ssim?[1]),
            ],
        ),
        (
            "Patch distance, held-out pictures",
            "Sliced Wasserstein distance of patches of translations to patches of real pictures; lower is better.",
            vec![quality("A → B", |q| q.distance[0]), quality("B → A", |q| q.distance[1])],
        ),
        ("Learning rate", "Of both Adam optimisers.", vec![("rate", averaged(&rate))]),
    ];
    let (a, b) = (&config.domain_a, &config.domain_b);
    let arrow = if is_one_sided { "→" } else { "⇄" };
    let title = format!("{a} {arrow} {b}, {steps} steps");
    let encoded =
        |png: &[u8]| format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png));
    let mut figures = Vec::new();
    for (name, about, curves) in charts {
        let curves: Vec<Curve> = curves.into_iter().filter(|(_, points)| !points.is_empty()).collect();
        if !curves.is_empty() {
            let svg = chart(&curves).map_err(|error| anyhow!("cannot draw {name}: {error}"))?;
            let names: Vec<&str> = curves.iter().map(|(name, _)| *name).collect();
            figures.push((name, about, names, svg));
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
                p { "A is " (a) ", B is " (b) ". Trained from the preset " (config.preset) ", " (steps) " of " (config.steps) " steps." }
                section {
                    h2 { "Curves" }
                    div.charts {
                        @for (name, about, curves, svg) in &figures {
                            figure {
                                figcaption { b { (name) } " " (about) }
                                @if curves.len() > 1 {
                                    ul {
                                        @for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
                                            li { span style={ "background:" (css(*colour)) } {} (curve) }
                                        }
                                    }
                                }
                                (PreEscaped(svg))
                            }
                        }
                    }
                }
                section {
                    h2 { "Fixed samples over time" }
                    p {
                        "Each row, from left to right: a picture of " (a) ", translated to " (b)
                        @if !is_one_sided {
                            ", and back to " (a) "; a picture of " (b) ", translated to " (a) ", and back to " (b)
                        }
                        "."
                    }
                    div.samples {
                        @for (step, png) in previews {
                            figure { figcaption { "Step " (step) } img src=(encoded(png)) alt={ "Previews at step " (step) }; }
                        }
                    }
                }
                section {
                    h2 { "How it was made" }
                    div.options {
                        @for (group, fields) in groups() {
                            table {
                                caption { (group) }
                                @for field in fields {
                                    tr title=(field.about()) {
                                        th { (field.name) }
                                        td { (config.get(field.name).unwrap_or_default()) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// The options by their headings.
fn groups() -> Vec<(&'static str, Vec<&'static Field>)> {
    let mut groups: Vec<(&str, Vec<_>)> = Vec::new();
    for field in TrainConfig::FIELDS {
        match groups.last_mut() {
            Some((group, fields)) if *group == field.group => fields.push(field),
            _ => groups.push((field.group, vec![field])),
        }
    }
    groups
}

/// A colour of a chart for a style sheet.
fn css((red, green, blue): (u8, u8, u8)) -> String {
    format!("rgb({red},{green},{blue})")
}

const STYLE: &str = ":root{color-scheme:light}body{font:16px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;\
color:#1b1b1f;background:#fff}.charts,.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(22rem,100%),1fr));gap:1.5rem}\
figure{margin:0;display:flex;flex-direction:column}figcaption{font-size:.875rem;color:#55555c}figcaption b{color:#1b1b1f}\
svg{width:100%;height:auto;margin-top:auto}.samples img{width:100%;height:auto;image-rendering:pixelated}\
ul{list-style:none;display:flex;flex-wrap:wrap;gap:0 1rem;margin:0;padding:0;font-size:.875rem}\
li span{display:inline-block;width:1rem;height:.2rem;margin-right:.4rem;vertical-align:middle}\
.options{columns:22rem;column-gap:2rem}table{break-inside:avoid;margin-bottom:1rem;border-spacing:0}\
caption{text-align:left;font-weight:600;padding:.25rem 0}\
th{text-align:left;font-weight:400;color:#55555c;padding-right:1.5rem}td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}";

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
}
