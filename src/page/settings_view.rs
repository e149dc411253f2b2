//! Shows the settings of a training: one control for each option, in groups that open.

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlElement, HtmlInputElement};

use super::{
    app::send,
    dom,
    state::Message,
    training::{
        Message as Train, Training,
        settings::{about, applies, changed, group_title, settings},
    },
};
use crate::config::{Field, Kind, TrainConfig};

/// What is on the screen now.
#[derive(Default)]
pub struct SettingsView {
    shown: Option<(TrainConfig, Option<&'static str>, bool, bool)>,
}

fn groups() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    settings().filter_map(move |(field, _)| (std::mem::replace(&mut last, field.group) != field.group).then_some(last))
}

/// The option of exactly that name.
fn option(name: &str) -> Option<&'static Field> {
    settings().map(|(field, _)| field).find(|field| field.name == name)
}

/// Makes the controls.
pub fn connect() {
    let mut html = String::new();
    for group in groups() {
        html.push_str("<details class=\"advanced\"><summary>");
        html.push_str(group_title(group));
        html.push_str(" <span class=\"changed\" id=\"changed-");
        html.push_str(group);
        html.push_str("\"></span></summary>");
        for (field, label) in settings().filter(|(field, _)| field.group == group) {
            control(&mut html, field, label);
        }
        html.push_str("</details>");
    }
    let all = dom::html("settings");
    // Every word of it is ours: no text of a visitor's gets in here.
    let _ = all.insert_adjacent_html("beforeend", &html);
    dom::on(&all, "change", |event: Event| {
        let Some(control) = event.target().map(JsCast::unchecked_into::<HtmlInputElement>) else { return };
        let Some(field) = control.id().strip_prefix("train-").and_then(option) else { return };
        // A select has a value just as an input has.
        let value = match field.kind {
            Kind::Flag => control.checked().to_string(),
            _ => control.value(),
        };
        send(Message::Train(Train::Set(field, value)));
    });
    dom::on_click("save-settings", || send(Message::Train(Train::SaveSettings)));
}

fn control(html: &mut String, field: &Field, label: &str) {
    let name = field.name;
    let attributes = ["id=\"train-", name, "\" aria-describedby=\"about-", name, "\""].concat();
    let control = match field.kind {
        Kind::Choice(names) => {
            let options: String = names.iter().map(|(name, _)| ["<option>", name, "</option>"].concat()).collect();
            ["<select ", &attributes, ">", &options, "</select>"].concat()
        }
        Kind::Flag => ["<input type=\"checkbox\" ", &attributes, ">"].concat(),
        Kind::Text => ["<input type=\"text\" ", &attributes, ">"].concat(),
        Kind::Whole | Kind::Number => {
            let step = match field.kind {
                Kind::Number => "any",
                _ if name == "size" => "4",
                _ => "1",
            };
            ["<input type=\"number\" min=\"0\" step=\"", step, "\" ", &attributes, ">"].concat()
        }
    };
    let parts = [
        "<div class=\"setting\"><label for=\"train-",
        name,
        "\">",
        label,
        "</label>",
        &control,
        "<p class=\"hint\"><code>",
        name,
        "</code> <span id=\"about-",
        name,
        "\"></span></p></div>",
    ];
    html.push_str(&parts.concat());
}

impl SettingsView {
    /// Shows the settings.
    pub fn show(&mut self, training: &Training) {
        let wrong = training.mistake.as_ref().map(|(name, _)| *name);
        let (is_active, is_imported) = (training.phase.is_active(), training.imported.is_some());
        let config = &training.config;
        if self.shown.as_ref().is_some_and(|(shown, other, active, imported)| {
            shown == config && *other == wrong && (*active, *imported) == (is_active, is_imported)
        }) {
            return;
        }
        self.shown = Some((config.clone(), wrong, is_active, is_imported));
        // Fails only for names with odd characters.
        let _ = dom::html("settings").toggle_attribute_with_force("disabled", is_active);
        for group in groups() {
            let text = match changed(group, config) {
                0 => String::new(),
                count => [&count.to_string(), " changed"].concat(),
            };
            dom::text(&dom::html(&["changed-", group].concat()), &text);
        }
        let focused = dom::document().active_element().map(|element| element.id()).unwrap_or_default();
        for (field, _) in settings() {
            let id = ["train-", field.name].concat();
            let control: Element = dom::by_id(&id);
            if let Some(row) = control.parent_element() {
                dom::show(&row.unchecked_into::<HtmlElement>(), applies(field.name, config));
            }
            let input: HtmlInputElement = control.unchecked_into();
            // Of a training that goes on, all but its length is settled.
            input.set_disabled(is_imported && field.name != "steps");
            let is_wrong = wrong == Some(field.name);
            dom::attribute(&input, "aria-invalid", if is_wrong { "true" } else { "false" });
            let value = config.get(field.name).unwrap_or_default();
            let value = value.strip_suffix(".0").unwrap_or(&value);
            dom::text(&dom::html(&["about-", field.name].concat()), &about(field, value));
            match field.kind {
                Kind::Flag => input.set_checked(value == "true"),
                // What cannot be stays as it was typed, to be put right; what is being typed is nobody else's.
                _ if is_wrong || focused == id || input.value() == value => {}
                _ => input.set_value(value),
            }
        }
    }
}
