//! The strip below the stage: samples to try, and the results of this visit.

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlButtonElement, HtmlCanvasElement, HtmlElement};

use super::{
    app::{self, send},
    dom, format,
    models::Origin,
    state::{Done, KEPT_BYTES, Message, Stage, State},
};

/// What is in it now.
#[derive(Default)]
pub struct Strip {
    samples: Vec<String>,
    results: Vec<u32>,
}

/// Connects its buttons.
pub fn connect() {
    dom::on_click("save-all", || send(Message::SaveAll));
    dom::on_click("go-on-later", || send(Message::GoOn));
}

impl Strip {
    /// Shows the samples of the chosen model and the results.
    pub fn show(&mut self, state: &State) {
        let chosen = state.chosen_model();
        let samples = chosen.map(|model| model.listed.samples.as_slice()).unwrap_or_default();
        // A model without samples of its own lends itself to all of them.
        let samples = match chosen {
            Some(model) if model.origin != Origin::Listed => {
                state.models.iter().flat_map(|model| &model.listed.samples).cloned().collect()
            }
            _ => samples.to_vec(),
        };
        if self.samples != samples {
            let list = dom::html("samples");
            list.set_text_content(None);
            for address in &samples {
                dom::append(&list, &[&sample_thumb(address)]);
            }
            self.samples = samples;
        }
        dom::show(&dom::html("samples-part"), !self.samples.is_empty());
        let current = state.request.as_ref().and_then(|request| request.picture.sample.as_deref());
        press(&dom::html("samples"), current.filter(|_| state.stage != Stage::Example));

        let numbers: Vec<u32> = state.results.iter().rev().map(|done| done.number).collect();
        if self.results != numbers {
            let list = dom::html("results");
            // New ones come first; what is there already stays, with its focus.
            for done in &state.results {
                if !self.results.contains(&done.number) {
                    let _ = list.prepend_with_node_1(&result_thumb(done));
                }
            }
            while list.child_element_count() as usize > numbers.len() {
                let Some(last) = list.last_element_child() else { break };
                last.remove();
            }
            self.results = numbers;
        }
        dom::show(&dom::html("results-part"), !self.results.is_empty());
        let current = match state.stage {
            Stage::Done { number, .. } => Some(number.to_string()),
            _ => None,
        };
        press(&dom::html("results"), current.as_deref());
        show_head(state);
    }
}

/// Shows what is kept, and what can be done with all of it.
fn show_head(state: &State) {
    let count = state.results.len();
    let save_all = dom::html("save-all");
    dom::show(&save_all, count > 1);
    let text = match &state.packing {
        Some(packing) => {
            let next = (packing.packed + 1).min(packing.total());
            ["Packing ", &next.to_string(), " of ", &packing.total().to_string(), "…"].concat()
        }
        None => "Save all (zip)".into(),
    };
    dom::text(&save_all, &text);

    let waiting = state.queue.len();
    let is_waiting = state.batch.as_ref().is_some_and(|batch| batch.is_paused);
    let go_on = dom::html("go-on-later");
    dom::show(&go_on, is_waiting && state.job.is_none() && !matches!(state.stage, Stage::Halted(_)));
    dom::text(&go_on, &["Go on with the ", &waiting.to_string(), " that wait"].concat());

    let mut kept =
        [&count.to_string(), " kept, ", &format::bytes(state.kept_bytes()), " of ", &format::bytes(KEPT_BYTES)]
            .concat();
    if state.forgotten > 0 {
        kept.push_str(&["; ", &state.forgotten.to_string(), " older made room"].concat());
    }
    let hint = dom::html("kept");
    dom::show(&hint, count > 1);
    dom::text(&hint, &kept);
}

/// Marks the button in `list` whose `data-key` is `key`, and no other.
fn press(list: &Element, key: Option<&str>) {
    let Ok(buttons) = list.query_selector_all("button") else { return };
    for button in (0..buttons.length()).filter_map(|index| buttons.item(index)?.dyn_into::<Element>().ok()) {
        let is_it = key.is_some() && button.get_attribute("data-key").as_deref() == key;
        dom::attribute(&button, "aria-pressed", if is_it { "true" } else { "false" });
    }
}

fn thumb(key: &str, label: &str, picture: &Element) -> HtmlElement {
    let item: HtmlElement = dom::create("li");
    let button: HtmlButtonElement = dom::create("button");
    button.set_type("button");
    button.set_class_name("thumb");
    dom::attribute(&button, "aria-label", label);
    dom::attribute(&button, "aria-pressed", "false");
    dom::attribute(&button, "title", label);
    dom::attribute(&button, "data-key", key);
    dom::append(&button, &[picture]);
    dom::append(&item, &[&button]);
    item
}

fn sample_thumb(address: &str) -> HtmlElement {
    let image: web_sys::HtmlImageElement = dom::create("img");
    image.set_alt("");
    image.set_src(address);
    let file = address.rsplit('/').next().unwrap_or(address);
    let name = file.split('.').next().unwrap_or(file).replace('-', " ");
    let item = thumb(address, &["Sample: ", &name].concat(), &image);
    // A sample that is not there is no choice.
    let gone = item.clone();
    dom::on(&image, "error", move |_: Event| gone.remove());
    let address = address.to_owned();
    dom::on(&item, "click", move |_: Event| app::use_sample(address.clone()));
    item
}

fn result_thumb(done: &Done) -> HtmlElement {
    let canvas: HtmlCanvasElement = dom::create("canvas");
    super::picture_view::paint_thumb(&canvas, done.width, done.height, &done.after);
    let label = [&done.request.picture.name, ", ", &done.title].concat();
    let number = done.number;
    let item = thumb(&number.to_string(), &label, &canvas);
    dom::on(&item, "click", move |_: Event| send(Message::ShowDone(number)));
    item
}
