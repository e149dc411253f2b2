//! The model cards, and what stands behind them.

use wasm_bindgen_futures::spawn_local;
use web_sys::{
    Element, Event, HtmlButtonElement, HtmlDialogElement, HtmlElement, HtmlImageElement, HtmlProgressElement,
};

use super::{
    app::{self, send},
    dom, format,
    models::{Model, Origin, Status},
    net,
    state::{Message, State},
    view,
};
use crate::protocol::WeightFormat;

/// Where it says who made the samples.
const CREDITS: &str = "static/samples/CREDITS.md";

/// The cards on the screen.
#[derive(Default)]
pub struct Cards {
    shown: Vec<Shown>,
}

/// One card: what decides its elements, and those that change.
struct Shown {
    id: String,
    title: String,
    choose: HtmlButtonElement,
    state: HtmlElement,
    progress: HtmlProgressElement,
}

/// Connects the dialog that tells about a model.
pub fn connect() {
    dom::on_click("samples-about", || spawn_local(tell_credits()));
    dom::on_click("about-close", || dom::by_id::<HtmlDialogElement>("about-dialog").close());
}

impl Cards {
    /// Shows the cards.
    pub fn show(&mut self, state: &State) {
        let is_same = self.shown.len() == state.models.len()
            && self
                .shown
                .iter()
                .zip(&state.models)
                .all(|(shown, model)| shown.id == model.id() && shown.title == model.listed.title);
        if !is_same {
            let list = dom::html("models");
            list.set_text_content(None);
            self.shown = state.models.iter().map(|model| card(&list, model)).collect();
        }
        dom::show(&dom::html("models-empty"), !state.models_listed);
        for (shown, model) in self.shown.iter().zip(&state.models) {
            let is_chosen = state.chosen.as_deref() == Some(model.id());
            dom::attribute(&shown.choose, "aria-pressed", if is_chosen { "true" } else { "false" });
            let (kind, text) = status(model);
            dom::attribute(&shown.state, "data-state", kind);
            dom::text(&shown.state, &text);
            dom::show(&shown.progress, matches!(model.status, Status::Downloading { .. } | Status::Loading));
            let fraction = match model.status {
                Status::Downloading { received, total } => view::share(received, total),
                _ => None,
            };
            view::show_progress(&shown.progress, fraction);
        }
    }
}

fn status(model: &Model) -> (&'static str, String) {
    match &model.status {
        Status::Absent => ("absent", String::new()),
        Status::Downloading { received, total } => ("busy", view::download_text(*received, *total)),
        Status::Loading => ("busy", "Loading…".into()),
        Status::Loaded if model.origin == Origin::Trained => ("ready", "In training".into()),
        Status::Loaded => ("ready", "Ready".into()),
        // The reason stands on the stage or in a message: a card does not grow.
        Status::Failed(_) => ("failed", "Could not be loaded".into()),
    }
}

fn card(list: &Element, model: &Model) -> Shown {
    let listed = &model.listed;
    let name = model.id().replace(':', "-");
    let item = dom::create_text("li", "card", "");
    let choose: HtmlButtonElement = dom::create("button");
    choose.set_type("button");
    choose.set_class_name("card__choose");
    choose.set_id(&["model-", &name].concat());

    let art = dom::create_text("span", "card__art", "");
    art.set_inner_html(r##"<svg class="icon icon--large" aria-hidden="true"><use href="#icon-cycle"/></svg>"##);
    for address in [&listed.before, &listed.picture].into_iter().flatten() {
        let image: HtmlImageElement = dom::create("img");
        image.set_alt("");
        image.set_src(address);
        let gone = image.clone();
        dom::on(&image, "error", move |_: Event| gone.remove());
        dom::append(&art, &[&image]);
    }

    let text = dom::create_text("span", "card__text", "");
    let state = dom::create_text("span", "card__state", "");
    let title = dom::create_text("span", "card__title", &listed.title);
    let sentence = dom::create_text("span", "card__sentence", &listed.sentence);
    dom::append(&text, &[&title, &sentence, &state]);
    dom::append(&choose, &[&art, &text]);
    let id = model.id().to_owned();
    dom::on(&choose, "click", move |_: Event| send(Message::ChooseModel(id.clone())));

    let progress: HtmlProgressElement = dom::create("progress");
    progress.set_class_name("card__progress");
    progress.set_max(100.0);
    dom::attribute(&progress, "aria-label", &["Loading ", &listed.title].concat());
    dom::append(&item, &[&choose, &progress]);

    if model.origin != Origin::Trained {
        let about: HtmlButtonElement = dom::create("button");
        about.set_type("button");
        about.set_class_name("card__about");
        about.set_id(&["about-", &name].concat());
        dom::attribute(&about, "aria-label", &["About ", &listed.title].concat());
        about.set_inner_html(r##"<svg class="icon" aria-hidden="true"><use href="#icon-info"/></svg>"##);
        let id = model.id().to_owned();
        dom::on(&about, "click", move |_: Event| spawn_local(tell_about(id.clone())));
        dom::append(&item, &[&about]);
    }
    dom::append(list, &[&item]);
    Shown { id: model.id().into(), title: listed.title.clone(), choose, state, progress }
}

/// Opens the dialog with all that is known about a model.
async fn tell_about(id: String) {
    let Some(model) = app::read(|state| state.model(&id).cloned()) else { return };
    let text = dom::html("about-text");
    text.set_text_content(None);
    dom::text(&dom::html("about-title"), &model.listed.title);
    // Fails only when it is open already.
    let _ = dom::by_id::<HtmlDialogElement>("about-dialog").show_modal();
    dom::append(&text, &[&facts(&model), &fine_tuner(&id)]);
    if model.status == Status::Loaded {
        dom::append(&text, &[&dom::create_text("p", "hint", "Save the weights for other programs:"), &savers(&id)]);
    }
    if let Some(address) = &model.listed.card {
        match net::fetch_text(address).await {
            Ok(card) => show_markdown(&text, &card, address),
            Err(problem) => dom::append(&text, &[&dom::create_text("p", "hint", &problem)]),
        }
    }
}

/// The button that leads to a training of this model.
fn fine_tuner(id: &str) -> HtmlElement {
    let row = dom::create_text("div", "buttons", "");
    let button: HtmlButtonElement = dom::create("button");
    button.set_type("button");
    button.set_id("fine-tune");
    button.set_class_name("button");
    button.set_text_content(Some("Fine-tune on my pictures"));
    let id = id.to_owned();
    dom::on(&button, "click", move |_: Event| {
        dom::by_id::<HtmlDialogElement>("about-dialog").close();
        send(Message::FineTune(id.clone()));
    });
    dom::append(&row, &[&button]);
    row
}

/// Buttons that save a loaded model, one a format.
fn savers(id: &str) -> HtmlElement {
    let row = dom::create_text("div", "buttons", "");
    for format in [WeightFormat::Safetensors, WeightFormat::Pytorch, WeightFormat::Onnx] {
        let button: HtmlButtonElement = dom::create("button");
        button.set_type("button");
        button.set_class_name("button");
        button.set_text_content(Some(format.ending()));
        let id = id.to_owned();
        dom::on(&button, "click", move |_: Event| send(Message::SaveModel { model: id.clone(), format }));
        dom::append(&row, &[&button]);
    }
    row
}

/// What the weight file says about itself, once it is loaded.
fn facts(model: &Model) -> HtmlElement {
    let list: HtmlElement = dom::create("ul");
    let mut lines = vec![model.listed.sentence.clone()];
    if let Some(info) = &model.info {
        lines.push([&info.architecture, ", ", &format::grouped(info.parameters), " parameters"].concat());
        let [reads, writes] = info.channels;
        if ![0, 3].contains(&reads) || ![0, 3].contains(&writes) {
            lines.push(["Channels: ", &reads.to_string(), " → ", &writes.to_string()].concat());
        }
        if info.size > 0 {
            lines.push(["Trained on images of ", &info.size.to_string(), " pixels"].concat());
        }
        if info.step > 0 {
            lines.push([&format::grouped(info.step), " training steps"].concat());
        }
        if !info.data.is_empty() {
            lines.push(["Data: ", &info.data].concat());
        }
        lines.extend(info.notes.iter().cloned());
    }
    if !model.listed.licence.is_empty() {
        lines.push(["Licence: ", &model.listed.licence].concat());
    }
    for line in lines {
        dom::append(&list, &[&dom::create_text("li", "", &line)]);
    }
    list
}

/// Shows the Markdown that model cards are written in: headings, paragraphs, lists, code and tables (as text).
/// Their pictures lie beside the file, whose address is `address`.
fn show_markdown(target: &Element, source: &str, address: &str) {
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let take_while = |lines: &mut std::iter::Peekable<std::str::Lines>, test: &dyn Fn(&str) -> bool| {
            let mut taken = String::new();
            while let Some(next) = lines.next_if(|next| test(next)) {
                taken.push('\n');
                taken.push_str(next);
            }
            taken
        };
        let element = if line.trim().is_empty() {
            continue;
        } else if let Some((about, file)) = line.strip_prefix("![").and_then(|rest| rest.split_once("](")) {
            picture(about, file.trim_end_matches(')'), address)
        } else if line.starts_with("```") {
            let code = take_while(&mut lines, &|next| !next.starts_with("```"));
            lines.next();
            dom::create_text("pre", "", code.trim_start_matches('\n'))
        } else if line.starts_with('|') {
            let rest = take_while(&mut lines, &|next| next.starts_with('|'));
            dom::create_text("pre", "", &[line, &rest].concat())
        } else if line.starts_with('#') {
            dom::create_text("h3", "", line.trim_start_matches('#').trim())
        } else if let Some(first) = line.strip_prefix("- ") {
            let rest = take_while(&mut lines, &|next| next.starts_with("- ") || next.starts_with("  "));
            let list: HtmlElement = dom::create("ul");
            for entry in [first, &rest].concat().split("\n- ") {
                dom::append(&list, &[&dom::create_text("li", "", &plain(entry))]);
            }
            list
        } else {
            let starts = ["#", "|", "- ", "```", "!["];
            let goes_on = |next: &str| !next.trim().is_empty() && !starts.iter().any(|start| next.starts_with(start));
            let rest = take_while(&mut lines, &goes_on);
            dom::create_text("p", "", &plain(&[line, &rest].concat()))
        };
        dom::append(target, &[&element]);
    }
}

/// A picture of a model card; one that is not there leaves no trace.
fn picture(about: &str, file: &str, address: &str) -> HtmlElement {
    let folder = address.rsplit_once('/').map_or("", |(folder, _)| folder);
    let image: HtmlImageElement = dom::create("img");
    image.set_alt(about);
    image.set_src(&[folder, "/", file].concat());
    let gone = image.clone();
    dom::on(&image, "error", move |_: Event| gone.remove());
    let figure: HtmlElement = dom::create("figure");
    dom::append(&figure, &[&image, &dom::create_text("figcaption", "hint", about)]);
    figure
}

/// Opens the dialog with who made the photos among the samples.
async fn tell_credits() {
    let text = dom::html("about-text");
    text.set_text_content(None);
    dom::text(&dom::html("about-title"), "The samples");
    // Fails only when it is open already.
    let _ = dom::by_id::<HtmlDialogElement>("about-dialog").show_modal();
    match net::fetch_text(CREDITS).await {
        Ok(credits) => show_markdown(&text, &credits, CREDITS),
        Err(problem) => dom::append(&text, &[&dom::create_text("p", "hint", &problem)]),
    }
}

/// Text without the marks for bold and code, its lines joined.
fn plain(text: &str) -> String {
    text.replace("**", "").replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}
