//! The controls below the stage: at which size to compute, and how much of the translation to show.

use web_sys::{Event, HtmlInputElement, HtmlSelectElement};

use super::{
    app::send,
    dom,
    models::{Model, Origin},
    state::{Message, Stage, State},
};
use crate::protocol::Size;

/// The choices, by their values in `index.html`.
const SIZES: [(&str, Size); 4] =
    [("model", Size::Model), ("512", Size::Side(512)), ("1024", Size::Side(1024)), ("full", Size::Full)];

/// Connects the controls.
pub fn connect() {
    let select: HtmlSelectElement = dom::by_id("size");
    dom::on(&select.clone(), "change", move |_: Event| {
        if let Some((_, size)) = SIZES.iter().find(|(name, _)| *name == select.value()) {
            send(Message::SetSize(*size));
        }
    });
    let strength: HtmlInputElement = dom::by_id("strength");
    dom::on(&strength.clone(), "input", move |_: Event| {
        send(Message::Strength(strength.value_as_number() as u32));
    });
}

/// Shows them.
pub fn show(state: &State) {
    let select: HtmlSelectElement = dom::by_id("size");
    let is_live = state.live.is_some();
    // The camera has a control of its own, beside its rate.
    dom::show(&dom::html("tuning-size"), !is_live);
    let (name, _) = SIZES.iter().find(|(_, size)| *size == state.size).unwrap_or(&SIZES[0]);
    if select.value() != *name {
        select.set_value(name);
    }
    let side = state.chosen_model().and_then(|model| trained_at(model, state)).and_then(|side| Size::Model.side(side));
    let side = side.map_or(String::new(), |side| [", ", &side.to_string(), " px"].concat());
    dom::text(&dom::html("size-model"), &["Model’s", &side].concat());

    let percent = state.strength.to_string();
    let strength: HtmlInputElement = dom::by_id("strength");
    if strength.value() != percent {
        strength.set_value(&percent);
    }
    let text = [&percent, " %"].concat();
    dom::attribute(&strength, "aria-valuetext", &text);
    dom::text(&dom::html("strength-text"), &text);
    // What came back is compared with the original as it is.
    strength.set_disabled(matches!(state.stage, Stage::Done { back: true, .. }));
}

/// Side of the pictures that a model was trained on, once it is known; 0 where its file does not say.
fn trained_at(model: &Model, state: &State) -> Option<u32> {
    match model.origin {
        Origin::Trained => Some(state.training.config.size),
        _ => model.info.as_ref().map(|info| info.size),
    }
}
