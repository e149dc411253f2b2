//! Shows the Train place.

use web_sys::{
    Event, HtmlButtonElement, HtmlCanvasElement, HtmlElement, HtmlInputElement, HtmlOptionElement, HtmlSelectElement,
};

use super::{
    app::send,
    chart, dom, format,
    history::CURVES,
    inspector_view::{self, InspectorView},
    models::Origin,
    settings_view::{self, SettingsView},
    state::{Message, State},
    training::{Message as Train, Phase, Preview, Source, Training, settings::about_curve},
    view,
};
use crate::{
    config::{Field, GanMode, PRESETS, SAME, TrainConfig},
    protocol::Direction,
};

/// The kinds of preview pictures, in the order of the columns.
const COLUMNS: [&str; 6] = ["real_a", "fake_b", "rec_a", "real_b", "fake_a", "rec_b"];
/// The controls that say what the generators from A and from B start from.
const STARTS: [&str; 2] = ["start-ab", "start-ba"];
/// The curves are drawn at most this often.
const CHART_PAUSE_MS: f64 = 250.0;

/// What is on the screen now.
#[derive(Default)]
pub struct TrainView {
    preview: Option<(u64, usize)>,
    drawn: Option<(u64, f64, GanMode)>,
    drawn_at: f64,
    skipped: usize,
    /// Steps that are offered to go on.
    more: Option<u64>,
    settings: SettingsView,
    starts: Vec<(String, String)>,
    inspector: InspectorView,
}

/// Connects the controls of the Train place.
pub fn connect() {
    let select: HtmlSelectElement = dom::by_id("preset");
    // One-sided trainings are the command line's (`TrainConfig::check`).
    let is_one_sided = |name| TrainConfig::preset(name).is_some_and(|config| config.is_one_sided());
    for preset in PRESETS.iter().filter(|preset| !is_one_sided(preset.name)) {
        let option: HtmlOptionElement = dom::create("option");
        option.set_value(preset.name);
        option.set_text(preset.label);
        dom::append(&select, &[&option]);
    }
    dom::on(&select.clone(), "change", move |_: Event| send(Message::Train(Train::Preset(select.value()))));
    let length: HtmlSelectElement = dom::by_id("train-minutes");
    dom::on(&length.clone(), "change", move |_: Event| {
        if let Some(minutes) = Field::named("minutes") {
            send(Message::Train(Train::Set(minutes, length.value())));
        }
    });
    for id in STARTS {
        dom::on(&dom::html(id), "change", |_: Event| {
            let starts = STARTS.map(|id| dom::by_id::<HtmlSelectElement>(id).value());
            send(Message::Train(Train::StartFrom(starts)));
        });
    }
    for (id, source) in [("source-builtin", Source::BuiltIn), ("source-own", Source::Own)] {
        dom::on(&dom::html(id), "change", move |_: Event| send(Message::Train(Train::UseSource(source))));
    }
    for (id, second) in [("name-a", false), ("name-b", true)] {
        let input: HtmlInputElement = dom::by_id(id);
        dom::on(&input.clone(), "input", move |_: Event| {
            send(Message::Train(Train::Name(second, input.value().trim().to_owned())));
        });
    }
    let [every, rows]: [HtmlInputElement; 2] = ["train-preview_every", "preview-rows"].map(dom::by_id);
    for input in [&every, &rows] {
        let [every, rows] = [every.clone(), rows.clone()];
        dom::on(input, "change", move |_: Event| {
            // Something else than a number counts as 0.
            let [every, rows] = [&every, &rows].map(HtmlInputElement::value_as_number);
            send(Message::Train(Train::Previews { every: every as u64, rows: rows as u32 }));
        });
    }
    settings_view::connect();
    inspector_view::connect();
    let smoothing: HtmlInputElement = dom::by_id("smoothing");
    dom::on(&smoothing.clone(), "input", move |_: Event| {
        send(Message::Train(Train::Smoothing(smoothing.value_as_number() / 100.0)));
    });
    let timeline: HtmlInputElement = dom::by_id("timeline-range");
    dom::on(&timeline.clone(), "input", move |_: Event| {
        send(Message::Train(Train::Look(timeline.value_as_number() as usize)));
    });
    let buttons = [
        ("train-start", Train::Start),
        ("train-step", Train::StepOnce),
        ("train-pause", Train::Pause),
        ("train-resume", Train::Resume),
        ("train-stop", Train::Stop),
        ("kept-go-on", Train::GoOn),
        ("train-slower", Train::GoOnSlower),
        ("kept-forget", Train::Forget),
        ("unimport", Train::Unimport),
        ("save-training", Train::SaveAll),
        ("use-ab", Train::Use(Direction::AtoB)),
        ("use-ba", Train::Use(Direction::BtoA)),
        ("export-ab", Train::Save(Direction::AtoB)),
        ("export-ba", Train::Save(Direction::BtoA)),
    ];
    let more: HtmlInputElement = dom::by_id("more-steps");
    dom::on_click("train-go-on", move || {
        // Something else than a number counts as 0, and that as 1.
        send(Message::Train(Train::Extend(more.value_as_number() as u64)));
    });
    for (id, message) in buttons {
        dom::on_click(id, move || send(Message::Train(message.clone())));
    }
}

impl TrainView {
    /// Shows the Train place.
    pub fn show(&mut self, state: &State) {
        let training = &state.training;
        show_sources(training);
        self.show_starts(state);
        self.settings.show(training);
        show_piles(training);
        show_actions(training);
        self.show_more(training);
        show_captions(training);
        show_generators(training);
        show_kept(training);
        self.show_stage(training);
        self.show_skipped(training);
        self.show_charts(training);
    }

    fn show_starts(&mut self, state: &State) {
        let training = &state.training;
        let models = state.models.iter().filter(|model| model.origin != Origin::Trained);
        let models = models.map(|model| (model.id().to_owned(), model.listed.title.clone()));
        let choices: Vec<_> = [(String::new(), "Random weights".into())].into_iter().chain(models).collect();
        let is_same = self.starts == choices;
        for (way, id) in STARTS.into_iter().enumerate() {
            let select: HtmlSelectElement = dom::by_id(id);
            if !is_same {
                select.set_text_content(None);
                let same = (way == 1).then(|| (SAME.to_owned(), "The same weights".to_owned()));
                for (value, text) in choices.iter().cloned().chain(same) {
                    let option: HtmlOptionElement = dom::create("option");
                    option.set_value(&value);
                    option.set_text(&text);
                    dom::append(&select, &[&option]);
                }
            }
            select.set_disabled(training.phase.is_active() || training.imported.is_some());
            if select.value() != training.starts[way] {
                select.set_value(&training.starts[way]);
            }
        }
        self.starts = choices;
    }

    /// The window has another size.
    pub fn forget_sizes(&mut self) {
        self.drawn = None;
        self.drawn_at = 0.0;
    }

    fn show_stage(&mut self, training: &Training) {
        let is_inspecting = self.inspector.show(training);
        let preview = training.preview().filter(|_| !is_inspecting);
        let has_preview = preview.is_some();
        dom::show(&dom::html("train-empty"), !has_preview && !is_inspecting);
        dom::show(&dom::html("preview-scroll"), has_preview);
        let gathering: web_sys::HtmlProgressElement = dom::by_id("train-gathering");
        dom::show(&gathering, matches!(training.phase, Phase::Gathering { .. } | Phase::Starting));
        let (text, fraction) = match &training.phase {
            Phase::Gathering { done, total } if training.source == Source::BuiltIn => (
                ["Downloading the pictures: ", &view::download_text(*done, *total), "."].concat(),
                view::share(*done, *total),
            ),
            Phase::Gathering { done, total } => ("Reading the pictures…".into(), view::share(*done, *total)),
            Phase::Starting => ("Setting up the networks…".into(), None),
            Phase::Running | Phase::Paused => ("The first previews come soon.".into(), None),
            _ => {
                let [a, b] = training.domains();
                let text = ["Two generators learn to turn ", a, " into ", b, " and back. Start, and watch them here."];
                (text.concat(), None)
            }
        };
        dom::text(&dom::html("train-empty-text"), &text);
        view::show_progress(&gathering, fraction);

        dom::show(&dom::html("timeline"), has_preview && training.previews.len() > 1);
        if let Some(preview) = preview {
            let key = (preview.step, training.previews.len());
            if self.preview != Some(key) {
                self.preview = Some(key);
                show_preview(preview, training.domains());
                show_timeline(training, preview.step);
            }
        }
    }

    /// Offers to go on with a training that has ended.
    fn show_more(&mut self, training: &Training) {
        let more = training.more_steps();
        if self.more == more {
            return;
        }
        self.more = more;
        dom::show(&dom::html("train-more"), more.is_some());
        // Fails only for names with spaces.
        let _ = dom::html("train-start").class_list().toggle_with_force("button--main", more.is_none());
        if let Some(more) = more {
            dom::by_id::<HtmlInputElement>("more-steps").set_value_as_number(more as f64);
        }
    }

    fn show_skipped(&mut self, training: &Training) {
        let count = training.skipped.len();
        if self.skipped == count {
            return;
        }
        self.skipped = count;
        dom::show(&dom::html("skipped"), count > 0);
        let title = if count == 1 { " picture could not be used" } else { " pictures could not be used" };
        dom::text(&dom::html("skipped-title"), &[&count.to_string(), title].concat());
        let list = dom::html("skipped-list");
        list.set_text_content(None);
        for (file, reason) in &training.skipped {
            dom::append(&list, &[&dom::create_text("li", "", &[file, ": ", reason].concat())]);
        }
    }

    fn show_charts(&mut self, training: &Training) {
        let key = (training.step, training.smoothing, training.config.gan_mode);
        if self.drawn == Some(key) && !training.history.is_empty() {
            return;
        }
        let now = dom::window().performance().map_or(f64::MAX, |clock| clock.now());
        let wait = self.drawn_at + CHART_PAUSE_MS - now;
        if wait > 0.0 && self.drawn.is_some() {
            dom::after(wait as i32 + 1, super::app::want_frame);
            return;
        }
        self.drawn = Some(key);
        self.drawn_at = now;
        let [a, b] = training.domains();
        let ways = [[a, " → ", b].concat(), [b, " → ", a].concat()];
        for (id, way) in ["legend-ab", "legend-ba"].iter().zip(&ways) {
            dom::text(&dom::html(id), way);
        }
        let svgs =
            [0, 1, 2, 3].map(|index: usize| dom::by_id::<web_sys::Element>(&["chart-", &index.to_string()].concat()));
        let sizes = svgs.each_ref().map(chart::size);
        for (index, ((name, svg), size)) in CURVES.iter().zip(&svgs).zip(sizes).enumerate() {
            let number = index.to_string();
            let curves = [0, 1].map(|way| training.history.curve(index, way, training.smoothing));
            let last = |way: usize| curves[way].last().map(|(_, value)| format::short(*value)).unwrap_or_default();
            let [ab, ba] = [last(0), last(1)];
            let now = if training.history.is_empty() { String::new() } else { [&ab, " / ", &ba].concat() };
            dom::text(&dom::html(&["chart-now-", &number].concat()), &now);
            let label = [*name, " loss. ", &ways[0], ": ", &ab, ". ", &ways[1], ": ", &ba, "."].concat();
            dom::attribute(svg, "aria-label", if now.is_empty() { name } else { &label });
            let about = about_curve(index, training.config.gan_mode);
            dom::text(&dom::html(&["chart-about-", &number].concat()), about);
            let steps = if training.is_unsized() { training.step.max(1) } else { training.config.steps };
            chart::draw(svg, size, &curves, steps as f64);
        }
    }
}

fn show_sources(training: &Training) {
    let is_active = training.phase.is_active();
    let config = &training.config;
    // Fails only for names with odd characters.
    let _ = dom::html("train-source").toggle_attribute_with_force("disabled", is_active);
    let source = if training.source == Source::BuiltIn { "source-builtin" } else { "source-own" };
    dom::by_id::<HtmlInputElement>(source).set_checked(true);
    let select: HtmlSelectElement = dom::by_id("preset");
    select.set_disabled(is_active);
    if select.value() != config.preset {
        select.set_value(&config.preset);
    }
    let about = PRESETS.iter().find(|preset| preset.name == config.preset).map_or("", |preset| preset.about);
    dom::text(&dom::html("preset-about"), about);
    let length: HtmlSelectElement = dom::by_id("train-minutes");
    length.set_disabled(is_active || training.imported.is_some());
    let minutes = format::decimal(config.minutes, 0);
    if length.value() != minutes {
        length.set_value(&minutes);
    }
    let focused = dom::document().active_element().map(|element| element.id()).unwrap_or_default();
    let numbers =
        [("train-preview_every", config.preview_every as f64), ("preview-rows", training.preview_rows.into())];
    for (id, value) in numbers {
        let input: HtmlInputElement = dom::by_id(id);
        if focused != id && input.value_as_number() != value {
            input.set_value_as_number(value);
        }
    }
}

fn show_piles(training: &Training) {
    dom::show(&dom::html("piles"), training.source == Source::Own);
    for (pile, name) in ["a", "b"].into_iter().enumerate() {
        let count = training.piles[pile];
        let text = match (&training.zip, count) {
            _ if training.frames.is_some_and(|(filled, ..)| filled == pile) => {
                let (_, done, total) = training.frames.unwrap_or_default();
                ["Taking frames: ", &done.to_string(), " of ", &total.to_string()].concat()
            }
            (Some(zip), _) => ["From ", zip].concat(),
            (None, 0) => "Drop pictures, a folder or a video".into(),
            (None, 1) => "1 picture".into(),
            (None, count) => [&count.to_string(), " pictures"].concat(),
        };
        dom::text(&dom::html(&["count-", name].concat()), &text);
        let is_full = count > 0 || training.zip.is_some();
        dom::show(&dom::html(&["empty-", name].concat()), is_full);
        // Fails only for names with odd characters.
        let _ = dom::html(&["pile-", name].concat()).toggle_attribute_with_force("data-full", is_full);
    }
}

fn show_actions(training: &Training) {
    let phase = &training.phase;
    let buttons = [
        ("train-start", !phase.is_active()),
        ("train-pause", *phase == Phase::Running),
        ("train-resume", *phase == Phase::Paused),
        ("train-step", *phase == Phase::Paused),
        ("train-stop", phase.is_active()),
    ];
    let focused = dom::document().active_element().map(|element| element.id()).unwrap_or_default();
    for (id, visible) in buttons {
        dom::show(&dom::html(id), visible);
    }
    let start: HtmlButtonElement = dom::by_id("train-start");
    let problem = training.problem().filter(|_| !phase.is_active());
    start.set_disabled(problem.is_some());
    dom::text(&dom::html("train-problem"), problem.as_deref().unwrap_or_default());
    let kept = training.kept.as_ref().filter(|_| training.has_diverged && !phase.is_active());
    let slower = dom::html("train-slower");
    dom::show(&slower, kept.is_some());
    if let Some(kept) = kept {
        let text = ["Go on from step ", &format::grouped(kept.step), " at half the rate"];
        dom::text(&slower, &text.concat());
    }
    let start_text = match phase {
        _ if training.imported.is_some() => "Go on training",
        Phase::Ended { .. } => "Train again",
        _ => "Start training",
    };
    dom::text(&start, start_text);
    // Fails only for names with spaces.
    let _ = dom::html("train-resume").class_list().toggle_with_force("button--main", true);
    dom::by_id::<HtmlButtonElement>("train-stop").set_disabled(*phase == Phase::Stopping);
    // Whoever pressed a button that is gone stands on the one that came in its place.
    if let Some((gone, _)) = buttons.iter().find(|(id, visible)| *id == focused && !visible) {
        let next = match (*gone, phase) {
            ("train-pause", Phase::Paused) => "train-resume",
            ("train-resume", Phase::Running) => "train-pause",
            (_, phase) if phase.is_active() => "train-stop",
            _ if training.more_steps().is_some() => "train-go-on",
            _ => "train-start",
        };
        let _ = dom::html(next).focus();
    }
}

fn show_captions(training: &Training) {
    let (title, caption) = match &training.phase {
        Phase::Idle => ("Ready to train", String::new()),
        Phase::Gathering { .. } | Phase::Starting => ("Getting ready", String::new()),
        Phase::Running => ("Training", progress_text(training, true)),
        Phase::Paused => ("Paused", progress_text(training, false)),
        Phase::Stopping => ("Stopping after this step", progress_text(training, false)),
        Phase::Ended { trouble: Some(trouble) } => ("That did not work", trouble.clone()),
        Phase::Ended { trouble: None } if training.step >= training.config.steps => {
            ("Done", progress_text(training, false))
        }
        Phase::Ended { trouble: None } => ("Stopped", progress_text(training, false)),
    };
    dom::text(&dom::html("train-title"), title);
    dom::text(&dom::html("train-caption"), &caption);
    let share = training.step as f64 / training.config.steps.max(1) as f64;
    view::show_progress(&dom::by_id("train-progress"), Some(share));
}

fn progress_text(training: &Training, is_running: bool) -> String {
    let mut parts = vec![
        if training.is_unsized() {
            ["Step ", &format::grouped(training.step)].concat()
        } else {
            ["Step ", &format::grouped(training.step), " of ", &format::grouped(training.config.steps)].concat()
        },
        ["epoch ", &training.epoch.to_string()].concat(),
    ];
    if training.learning_rate > 0.0 {
        // In the unit of its setting.
        parts.push(["rate ", &format::decimal(training.learning_rate * 1e4, 2), "×10⁻⁴"].concat());
    }
    let speed = f64::from(training.steps_per_second);
    if is_running && speed > 0.0 {
        let digits = if speed < 10.0 { 2 } else { 0 };
        parts.push([&format::decimal(speed, digits), " steps/s"].concat());
        if !training.is_unsized() {
            parts.push([&format::duration(training.seconds_left()), " left"].concat());
        }
    }
    if let Some(kept) = training.kept.as_ref().filter(|_| training.phase.is_active()) {
        parts.push(["kept at step ", &format::grouped(kept.step)].concat());
    }
    if training.begun.images_a > 0 {
        let (a, b) = (training.begun.images_a.into(), training.begun.images_b.into());
        parts.push([&format::grouped(a), " + ", &format::grouped(b), " pictures"].concat());
    }
    parts.join(" · ")
}

fn show_generators(training: &Training) {
    dom::show(&dom::html("generators"), training.has_generators());
    let [a, b] = training.domains();
    dom::text(&dom::html("generator-ab"), &[a, " → ", b].concat());
    dom::text(&dom::html("generator-ba"), &[b, " → ", a].concat());
}

/// The training that this machine keeps, and the one that is given as a file.
fn show_kept(training: &Training) {
    let is_active = training.phase.is_active();
    let so_far = |config: &TrainConfig, step: u64| {
        let way = [&config.domain_a, " ⇄ ", &config.domain_b].concat();
        [&way, ", step ", &format::grouped(step), " of ", &format::grouped(config.steps)].concat()
    };
    let kept = training.kept.as_ref().filter(|_| !is_active);
    dom::show(&dom::html("kept-training"), kept.is_some());
    if let Some(kept) = kept {
        let seconds = (js_sys::Date::now() - kept.time) / 1000.0;
        let ago = if seconds < 60.0 { "now".into() } else { [&format::duration(seconds), " ago"].concat() };
        let parts = ["Kept on this machine: ", &so_far(&kept.config, kept.step), " · ", &ago, " · "];
        dom::text(&dom::html("kept-text"), &[&parts.concat(), format::bytes(kept.bytes).as_str()].concat());
        let go_on = dom::html("kept-go-on");
        // What is still in the worker goes on from there.
        dom::show(&go_on, training.more_steps().is_none() || kept.step != training.step);
        let text = match kept.is_complete() {
            true => ["Go on for ", &format::grouped(kept.config.steps), " more"].concat(),
            false => "Go on".into(),
        };
        dom::text(&go_on, &text);
    }
    let imported = training.imported.as_ref();
    dom::show(&dom::html("imported"), imported.is_some());
    dom::show(&dom::html("import"), imported.is_none() && !is_active);
    if let Some(imported) = imported {
        let text = ["Goes on with ", &imported.file, ": ", &so_far(&imported.config, imported.step), "."].concat();
        dom::text(&dom::html("imported-text"), &text);
    }
}

/// The previews so far as places on a line.
fn show_timeline(training: &Training, step: u64) {
    let last = training.previews.len() - 1;
    let range: HtmlInputElement = dom::by_id("timeline-range");
    range.set_max(&last.to_string());
    range.set_value_as_number(training.looked_at.unwrap_or(last) as f64);
    let text = ["Step ", &format::grouped(step)].concat();
    dom::attribute(&range, "aria-valuetext", &text);
    dom::text(&dom::html("timeline-step"), &text);
}

/// Fills the grid of previews: a row a sample, a column a kind.
fn show_preview(preview: &Preview, [a, b]: [&str; 2]) {
    let head = dom::html("preview-head");
    head.set_text_content(None);
    let to_b = ["→ ", b].concat();
    let to_a = ["→ ", a].concat();
    for text in [a, &to_b, "back", b, &to_a, "back"] {
        let cell = dom::create_text("th", "", text);
        dom::attribute(&cell, "scope", "col");
        dom::append(&head, &[&cell]);
    }
    let rows = preview.cells.iter().map(|cell| cell.row + 1).max().unwrap_or(0);
    dom::property(&dom::html("train-stage"), "--rows", &rows.to_string());
    let body = dom::html("preview-body");
    body.set_text_content(None);
    for row in 0..rows {
        let line: HtmlElement = dom::create("tr");
        for kind in COLUMNS {
            let entry: HtmlElement = dom::create("td");
            let found =
                preview.cells.iter().zip(&preview.pixels).find(|(cell, _)| cell.row == row && cell.kind == kind);
            if let Some((cell, pixels)) = found {
                let canvas: HtmlCanvasElement = dom::create("canvas");
                dom::attribute(&canvas, "role", "img");
                dom::attribute(&canvas, "aria-label", &[kind, ", sample ", &(row + 1).to_string()].concat());
                dom::paint(&canvas, cell.width, cell.height, pixels);
                dom::append(&entry, &[&canvas]);
            }
            dom::append(&line, &[&entry]);
        }
        dom::append(&body, &[&line]);
    }
}
