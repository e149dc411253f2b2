//! Shows one picture on its way through the networks, with the discriminators' maps over it.

use std::rc::Rc;

use web_sys::{Event, HtmlCanvasElement, HtmlInputElement, HtmlSelectElement};

use super::{
    app::send,
    dom, format,
    state::Message,
    training::{Look, Message as Train, Seen, Training, settings::patch_side},
};
use crate::protocol::Direction;

/// What is on the screen now.
#[derive(Default)]
pub struct InspectorView {
    seen: Option<(Rc<Seen>, Direction)>,
}

/// From generated to real: even steps of lightness, told apart by all eyes (matplotlib's `plasma`).
const HEAT: [[f32; 3]; 5] =
    [[13.0, 8.0, 135.0], [126.0, 3.0, 168.0], [204.0, 71.0, 120.0], [248.0, 149.0, 64.0], [240.0, 249.0, 33.0]];

/// Connects the inspector's controls.
pub fn connect() {
    let looks = [
        ("view-samples", Look::Open(false)),
        ("view-one", Look::Open(true)),
        ("inspect-before", Look::Step(-1)),
        ("inspect-next", Look::Step(1)),
    ];
    for (id, look) in looks {
        dom::on_click(id, move || send(Message::Train(Train::Inspect(look.clone()))));
    }
    let maps: HtmlInputElement = dom::by_id("inspect-maps");
    dom::on(&maps.clone(), "change", move |_: Event| {
        send(Message::Train(Train::Inspect(Look::Maps(maps.checked()))));
    });
    let from: HtmlSelectElement = dom::by_id("inspect-from");
    dom::on(&from.clone(), "change", move |_: Event| {
        let direction = if from.value() == "a" { Direction::AtoB } else { Direction::BtoA };
        send(Message::Train(Train::Inspect(Look::From(direction))));
    });
}

impl InspectorView {
    /// Shows it; whether it is on the stage.
    pub fn show(&mut self, training: &Training) -> bool {
        let inspector = &training.inspector;
        let can_open = training.has_networks();
        let is_open = inspector.is_open && can_open;
        dom::show(&dom::html("train-bar"), can_open || !training.previews.is_empty());
        dom::by_id::<HtmlInputElement>("view-one").set_disabled(!can_open);
        let view = if is_open { "view-one" } else { "view-samples" };
        dom::by_id::<HtmlInputElement>(view).set_checked(true);
        dom::show(&dom::html("inspect-bar"), is_open);
        dom::show(&dom::html("inspector"), is_open);
        dom::attribute(&dom::html("train-stage"), "data-view", if is_open { "one" } else { "samples" });
        if !is_open {
            return false;
        }
        let [a, b] = training.domains();
        dom::text(&dom::html("inspect-a"), a);
        dom::text(&dom::html("inspect-b"), b);
        for id in ["heat-0", "heat-1", "heat-legend"] {
            dom::show(&dom::html(id), inspector.has_maps);
        }
        if let Some(seen) = &inspector.seen {
            let key = (seen.clone(), inspector.direction);
            if !self.seen.as_ref().is_some_and(|(old, way)| Rc::ptr_eq(old, seen) && *way == inspector.direction) {
                self.seen = Some(key);
                show(seen, inspector.direction, training);
            }
        }
        true
    }
}

fn show(seen: &Seen, direction: Direction, training: &Training) {
    let [a, b] = training.domains();
    let (own, other) = if direction == Direction::AtoB { (a, b) } else { (b, a) };
    let about = &seen.about;
    dom::text(&dom::html("inspect-name"), &about.picture);
    dom::text(&dom::html("inspect-step"), &["at step ", &format::grouped(about.step)].concat());
    let [real, fake] = about.realness.map(|realness| format::percent(realness) + " real");
    let captions = [
        (own.to_owned(), real.as_str()),
        (["→ ", other].concat(), fake.as_str()),
        (["→ ", own].concat(), "and back"),
        ([own, " as it is"].concat(), "identity"),
    ];
    let what = ["the picture", "its translation", "its reconstruction", "its identity mapping"];
    for (index, ((name, text), what)) in captions.into_iter().zip(what).enumerate() {
        let number = index.to_string();
        dom::text(&dom::html(&["seen-name-", &number].concat()), &name);
        dom::text(&dom::html(&["seen-text-", &number].concat()), text);
        let canvas: HtmlCanvasElement = dom::by_id(&["seen-", &number].concat());
        dom::attribute(&canvas, "aria-label", &[&name, ", ", what, ", ", text].concat());
        dom::paint(&canvas, about.side, about.side, &seen.pictures[index]);
        if let Some(map) = seen.maps.get(index) {
            let heat: HtmlCanvasElement = dom::by_id(&["heat-", &number].concat());
            let colours: Vec<u8> = map.iter().flat_map(|value| colour(*value)).collect();
            dom::paint(&heat, about.map[0], about.map[1], &colours);
        }
    }
    let side = patch_side(&training.config).min(training.config.size);
    let [width, height] = about.map;
    let text = [&format::size(width, height), " patches of ", &side.to_string(), " px"].concat();
    dom::text(&dom::html("heat-text"), &text);
}

fn colour(value: u8) -> [u8; 4] {
    let place = f32::from(value) / 255.0 * (HEAT.len() - 1) as f32;
    let below = (place as usize).min(HEAT.len() - 2);
    let share = place - below as f32;
    let mix = |channel: usize| (HEAT[below][channel] * (1.0 - share) + HEAT[below + 1][channel] * share) as u8;
    [mix(0), mix(1), mix(2), 255]
}
