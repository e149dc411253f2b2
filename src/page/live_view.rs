//! Shows the camera at work: the controls on the stage and the rate.

use web_sys::{Event, HtmlSelectElement};

use super::{
    app::send,
    dom, format,
    rate::Rate,
    state::{Live, LiveMessage, Message},
};

/// The rate is written anew at most this often: nobody reads faster.
const PAUSE_MS: f64 = 500.0;

/// What is on the screen now.
#[derive(Default)]
pub struct LiveView {
    rate: Rate,
    written_at: f64,
}

/// Connects the controls.
pub fn connect() {
    dom::on_click("keep", || send(Message::Live(LiveMessage::Keep)));
    dom::on_click("stop", || send(Message::Live(LiveMessage::Stop)));
    let side: HtmlSelectElement = dom::by_id("live-side");
    dom::on(&side.clone(), "change", move |_: Event| {
        if let Ok(side) = side.value().parse() {
            send(Message::Live(LiveMessage::Side(side)));
        }
    });
}

impl LiveView {
    /// Shows the controls while the camera is live.
    pub fn show(&mut self, live: Option<&Live>) {
        dom::show(&dom::html("live-bar"), live.is_some());
        let Some(live) = live else { return self.rate = Rate::default() };
        let side: HtmlSelectElement = dom::by_id("live-side");
        let value = live.side.to_string();
        if side.value() != value {
            side.set_value(&value);
        }
        let now = js_sys::Date::now();
        self.rate.note(now, live.count);
        if now - self.written_at < PAUSE_MS {
            return;
        }
        self.written_at = now;
        let text = match (self.rate.per_second(), &live.frame) {
            (Some(rate), Some(frame)) => {
                let size = format::size(frame.width, frame.height);
                [&format::decimal(rate, 1), " frames/s · ", &size].concat()
            }
            _ => String::new(),
        };
        dom::text(&dom::html("live-rate"), &text);
    }
}
