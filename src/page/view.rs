//! Shows the state: the frame of the page and the Translate place. Only what changed is touched.

use web_sys::{Event, HtmlButtonElement, HtmlProgressElement};

use super::{
    app::{self, send},
    cards::Cards,
    dom, format,
    live_view::LiveView,
    models::Status,
    picture_view::PictureView,
    state::{Done, Halt, Message, Place, Purpose, Stage, State, Worker},
    strip::Strip,
    train_view::TrainView,
    tuning_view,
};
use crate::protocol::Stage as Part;

/// Buttons of the Translate place that come and go.
const ACTIONS: [&str; 10] =
    ["camera", "choose", "back-again", "save", "smaller", "retry", "go-on", "stop", "keep", "cancel"];

/// What is on the screen now.
#[derive(Default)]
pub struct View {
    place: Option<Place>,
    notices: Vec<super::state::Notice>,
    cards: Cards,
    picture: PictureView,
    live: LiveView,
    train: TrainView,
    strip: Strip,
    file_name: String,
}

/// Connects the controls of the Translate place.
pub fn connect() {
    dom::on_click("cancel", || send(Message::Cancel));
    dom::on_click("retry", || send(Message::Retry));
    dom::on_click("smaller", || send(Message::TranslateSmaller));
    dom::on_click("back-again", || send(Message::BackAgain));
    dom::on_click("clear-storage", || {
        wasm_bindgen_futures::spawn_local(async {
            super::net::clear_store().await;
            app::show_storage().await;
        });
    });
    for (id, back) in [("side-result", false), ("side-back", true)] {
        dom::on(&dom::html(id), "change", move |_: Event| send(Message::ShowBack(back)));
    }
    dom::on_click("go-on", || send(Message::GoOn));
    super::cards::connect();
    super::live_view::connect();
    super::strip::connect();
    tuning_view::connect();
    super::picture_view::connect();
}

impl View {
    /// Shows the state.
    pub fn show(&mut self, state: &State) {
        self.show_frame(state);
        self.show_notices(state);
        match state.place {
            Place::Translate => {
                self.cards.show(state);
                self.picture.show(state);
                self.live.show(state.live.as_ref());
                self.show_stage(state);
                tuning_view::show(state);
                self.strip.show(state);
            }
            Place::Train => self.train.show(state),
        }
    }

    /// The window has another size: what was measured is void.
    pub fn forget_sizes(&mut self) {
        self.train.forget_sizes();
    }

    fn show_frame(&mut self, state: &State) {
        let (kind, name, note) = match &state.worker {
            Worker::Starting => ("starting", "Starting…", None),
            Worker::Ready { device, note, .. } => ("ready", device.as_str(), note.as_deref()),
            Worker::Dead(_) => ("dead", "Not running", None),
        };
        let device = dom::html("device");
        dom::attribute(&device, "data-state", kind);
        dom::attribute(&device, "title", name);
        dom::text(&dom::html("device-name"), name);
        let device_note = dom::html("device-note");
        dom::show(&device_note, note.is_some());
        dom::text(&device_note, note.unwrap_or_default());

        if self.place == Some(state.place) {
            return;
        }
        let places = [(Place::Translate, "translate"), (Place::Train, "train")];
        for (place, name) in places {
            let is_here = place == state.place;
            dom::show(&dom::html(&["place-", name].concat()), is_here);
            let link = dom::html(&["go-", name].concat());
            if is_here {
                dom::attribute(&link, "aria-current", "page");
            } else {
                let _ = link.remove_attribute("aria-current");
            }
            if is_here && self.place.is_some() {
                // Fails only on a page that is being left.
                let _ = dom::window().location().set_hash(name);
                dom::window().scroll_to_with_x_and_y(0.0, 0.0);
            }
        }
        self.place = Some(state.place);
    }

    fn show_notices(&mut self, state: &State) {
        if self.notices == state.notices {
            return;
        }
        self.notices.clone_from(&state.notices);
        let list = dom::html("notices");
        list.set_text_content(None);
        for (index, notice) in state.notices.iter().enumerate() {
            let class = if notice.is_error { "notice notice--error" } else { "notice" };
            let item = dom::create_text("div", class, "");
            let text = dom::create_text("p", "", &notice.text);
            let close: HtmlButtonElement = dom::create("button");
            close.set_type("button");
            close.set_class_name("button button--icon");
            dom::attribute(&close, "aria-label", "Close this message");
            close.set_inner_html(r##"<svg class="icon" aria-hidden="true"><use href="#icon-close"/></svg>"##);
            dom::on(&close, "click", move |_: Event| send(Message::Dismiss(index)));
            dom::append(&item, &[&text, &close]);
            dom::append(&list, &[&item]);
            if text.scroll_height() > text.client_height() {
                // So that a long one can be scrolled from the keyboard.
                text.set_tab_index(0);
            }
        }
    }

    fn show_stage(&mut self, state: &State) {
        let kind = match &state.stage {
            Stage::Example if self.picture.has_example() => "example",
            Stage::Example => "empty",
            Stage::Busy => "busy",
            Stage::Live => "live",
            Stage::Done { .. } => "done",
            Stage::Failed(_) | Stage::Halted(Halt::Failed(_)) => "failed",
            Stage::TooLarge { .. } | Stage::Cancelled | Stage::Halted(_) => "message",
        };
        let stage = dom::html("stage");
        if stage.get_attribute("data-state").as_deref() != Some(kind) {
            dom::attribute(&stage, "data-state", kind);
            // On a phone the cards are far below the stage: what was chosen there begins up here.
            if stage.get_bounding_client_rect().top() < 0.0 {
                stage.scroll_into_view_with_bool(true);
            }
        }
        dom::show(&dom::html("panel-empty"), kind == "empty");
        show_busy(state);
        show_message(state);

        let done = match state.stage {
            Stage::Done { number, back } => state.done(number).map(|done| (done, back)),
            _ => None,
        };
        dom::show(&dom::html("sides"), done.is_some_and(|(done, _)| done.back.is_some()));
        if let Some((_, back)) = done {
            let side: web_sys::HtmlInputElement = dom::by_id(if back { "side-back" } else { "side-result" });
            side.set_checked(true);
        }
        let (title, caption) = captions(state, done, kind == "example");
        dom::text(&dom::html("caption-title"), &title);
        dom::text(&dom::html("caption"), &caption);
        self.file_name = done.map(|(done, back)| file_name(done, back)).unwrap_or_default();
        dom::attribute(&dom::html("save"), "data-file", &self.file_name);
        show_actions(state, done);
    }
}

fn show_busy(state: &State) {
    let panel = dom::html("panel-busy");
    let is_first_frame = state.live.as_ref().is_some_and(|live| live.frame.is_none());
    let is_busy = state.stage == Stage::Busy || is_first_frame;
    dom::show(&panel, is_busy);
    if !is_busy {
        return;
    }
    show_queue(state);
    let (model, progress) = match &state.job {
        Some(job) => (state.model(&job.request.model), job.progress),
        None => (state.chosen_model(), None),
    };
    let is_back = state.job.as_ref().is_some_and(|job| matches!(job.request.purpose, Purpose::Back(_)));
    let (text, fraction) = match (model.map(|model| &model.status), progress) {
        _ if state.reading.is_some() => ("Reading the picture…".into(), None),
        (_, Some((Part::Decoding, _))) => ("Reading the picture…".into(), None),
        (_, Some((Part::Translating, fraction))) => {
            let what = if is_back { "Bringing it back… " } else { "Translating… " };
            ([what, &format::percent(fraction)].concat(), Some(f64::from(fraction)))
        }
        (Some(Status::Downloading { received, total }), _) => {
            ([("Downloading the model… "), &download_text(*received, *total)].concat(), share(*received, *total))
        }
        _ if state.worker == Worker::Starting => ("Getting ready…".into(), None),
        (Some(Status::Loading), _) => ("Loading the model…".into(), None),
        _ if is_first_frame => ("Waiting for the first frame…".into(), None),
        _ => ("Waiting for its turn…".into(), None),
    };
    dom::text(&dom::html("busy-text"), &text);
    show_progress(&dom::by_id("progress"), fraction);
}

/// How far the queue is.
fn show_queue(state: &State) {
    let batch = state.batch.as_ref().filter(|batch| !batch.is_paused);
    dom::show(&dom::html("queue"), batch.is_some());
    let Some(batch) = batch else { return };
    let [current, total] = [batch.current(), batch.total].map(|count| count.to_string());
    let failed = match batch.failures.len() {
        0 => String::new(),
        count => [", ", &count.to_string(), " failed"].concat(),
    };
    dom::text(&dom::html("queue-text"), &[&current, " of ", &total, &failed].concat());
    let finished = batch.done + batch.failures.len();
    show_progress(&dom::by_id("queue-progress"), Some(finished as f64 / batch.total as f64));
}

/// `2.1 of 5.9 MB`.
pub fn download_text(received: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => [&format::bytes(received), " of ", &format::bytes(total)].concat(),
        None => format::bytes(received),
    }
}

/// How much of a known total is there.
pub fn share(received: u64, total: Option<u64>) -> Option<f64> {
    total.filter(|total| *total > 0).map(|total| received as f64 / total as f64)
}

/// Sets a progress bar, or lets it flow while the end is not known.
pub fn show_progress(bar: &HtmlProgressElement, fraction: Option<f64>) {
    match fraction {
        Some(fraction) => bar.set_value((fraction * 1000.0).round() / 10.0),
        None => {
            let _ = bar.remove_attribute("value");
        }
    }
}

fn show_message(state: &State) {
    let (title, text) = match &state.stage {
        Stage::Failed(reason) => ("That did not work", reason.clone()),
        Stage::Cancelled => ("Cancelled", "The picture is still here.".into()),
        Stage::Halted(why) => halted(why, state),
        Stage::TooLarge { asked, fits, needed, limit } => {
            let text = [
                format::size(asked.0, asked.1),
                " pixels would take ".into(),
                format::bytes(*needed),
                " of memory; ".into(),
                format::bytes(*limit),
                " may be used. ".into(),
                format::size(fits.0, fits.1),
                " fits.".into(),
            ];
            ("Too large for this machine", text.concat())
        }
        _ => return dom::show(&dom::html("panel-message"), false),
    };
    dom::text(&dom::html("message-title"), title);
    dom::text(&dom::html("message-text"), &text);
    dom::show(&dom::html("panel-message"), true);
}

/// Why the queue stands still, and what can be done.
fn halted(why: &Halt, state: &State) -> (&'static str, String) {
    let done = state.batch.as_ref().map_or_else(String::new, |batch| {
        [&batch.done.to_string(), " of ", &batch.total.to_string(), " pictures are done"].concat()
    });
    match why {
        Halt::Stopped => ("Stopped", [&done, ". The others wait."].concat()),
        Halt::Failed(reason) => ("That did not work", [reason, " ", &done, "; the others wait."].concat()),
        Halt::Full => {
            let bytes = format::bytes(state.kept_bytes());
            let rest = " of memory, all that results may take. Save them now: when it goes on, the oldest make room.";
            ("The memory for results is full", [&done, " and take ", &bytes, rest].concat())
        }
    }
}

/// The caption's title and text.
fn captions(state: &State, done: Option<(&Done, bool)>, is_example: bool) -> (String, String) {
    let chosen = || state.chosen_model().map(|model| model.listed.title.clone()).unwrap_or_default();
    if let Some((done, is_back)) = done {
        let [columns, rows] = done.computed;
        let computed = match (columns, rows) == (done.width, done.height) {
            true => String::new(),
            false => [", computed at ", &format::size(columns, rows)].concat(),
        };
        let size = [&format::size(done.width, done.height), computed.as_str()].concat();
        let run = |time| [&size, " · ", &format::milliseconds(time), " · ", &done.device].concat();
        return match done.back.as_ref().filter(|_| is_back) {
            Some(back) => {
                let error = format::decimal(back.mean_absolute_error, 1);
                let title = [&done.title, " and back"].concat();
                (title, ["mean absolute error ", &error, " of 255 · ", &run(back.milliseconds)].concat())
            }
            None => {
                let said = std::iter::once(run(done.milliseconds)).chain(done.notes.iter().cloned());
                (done.title.clone(), said.collect::<Vec<_>>().join(" · "))
            }
        };
    }
    match (&state.job, &state.stage) {
        (Some(job), _) => {
            let title = state.model(&job.request.model).map(|model| model.listed.title.clone()).unwrap_or_default();
            (title, job.request.picture.name.clone())
        }
        (None, Stage::Example) if is_example => (chosen(), "An example. Drop a picture, or try a sample.".into()),
        (None, Stage::Example) => (chosen(), String::new()),
        (None, Stage::Live) => (chosen(), live_caption(state)),
        (None, _) => {
            let name = state.request.as_ref().map(|request| request.picture.name.clone()).unwrap_or_default();
            (chosen(), name)
        }
    }
}

/// The rate stands elsewhere: what stands here is read out at every change.
fn live_caption(state: &State) -> String {
    match state.live.as_ref().map_or(0, |live| live.kept) {
        0 => "The camera, live.".into(),
        1 => "The camera, live. One picture kept.".into(),
        kept => ["The camera, live. ", &kept.to_string(), " pictures kept."].concat(),
    }
}

/// Shows the buttons that make sense now; the first of them in importance is the main one.
fn show_actions(state: &State, done: Option<(&Done, bool)>) {
    let (main, others): (&str, &[&str]) = match &state.stage {
        Stage::Busy => ("cancel", &["choose"]),
        Stage::Live => ("keep", &["stop"]),
        Stage::Done { .. } => {
            let is_back_done = done.is_some_and(|(done, _)| done.back.is_some());
            let has_way_back = state.way_back().is_some() && !is_back_done;
            ("save", if has_way_back { &["camera", "choose", "back-again"] } else { &["camera", "choose"] })
        }
        Stage::TooLarge { .. } => ("smaller", &["camera", "choose"]),
        Stage::Halted(_) => ("go-on", &["camera", "choose"]),
        Stage::Failed(_) | Stage::Cancelled if state.request.is_some() => ("retry", &["camera", "choose"]),
        _ => ("choose", &["camera"]),
    };
    let focused = dom::document().active_element().map(|element| element.id()).unwrap_or_default();
    for id in ACTIONS {
        let button = dom::html(id);
        let is_main = id == main;
        dom::show(&button, is_main || others.contains(&id));
        // Fails only for names with spaces.
        let _ = button.class_list().toggle_with_force("button--main", is_main);
    }
    // Whoever pressed a button that is gone stands on the one that came in its place.
    if ACTIONS.contains(&focused.as_str()) && dom::html(&focused).hidden() {
        let _ = dom::html(main).focus();
    }
    if let Stage::TooLarge { fits, .. } = state.stage {
        dom::text(&dom::html("smaller"), &["Translate at ", &format::size(fits.0, fits.1)].concat());
    }
    let choose = if done.is_some() { "Another" } else { "Choose a picture" };
    dom::text(&dom::html("choose-text"), choose);
}

/// Name of the file that the picture on the stage is saved as.
fn file_name(done: &Done, is_back: bool) -> String {
    let name = &done.request.picture.name;
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let model = done.request.model.replace(':', "-");
    [stem, "-", &model, if is_back { "-and-back.png" } else { ".png" }].concat()
}
