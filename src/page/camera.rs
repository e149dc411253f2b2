//! The camera: one picture from its dialog, or frame after frame while it is live.

use std::cell::Cell;

use js_sys::{Function, Reflect};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    CanvasRenderingContext2d, Event, HtmlButtonElement, HtmlCanvasElement, HtmlDialogElement, HtmlVideoElement,
    KeyboardEvent, MediaStream, MediaStreamConstraints, MediaStreamTrack,
};

use super::{
    app::{read, send},
    dom, frames, piles,
    state::{LiveMessage, Message, Picture},
};
use crate::protocol::Input;

/// Where the browser cannot tell of new frames, one is taken to come after so many milliseconds.
const FRAME_MS: i32 = 33;

/// Frames on their way from the live camera to the page.
#[derive(Default)]
struct Feed {
    /// Grows with every camera that is turned on or off, so that what the last one still sends is not mixed up.
    round: Cell<u32>,
    /// Whether there is a frame that has not been taken yet.
    is_fresh: Cell<bool>,
    /// The longer side of the frame that is asked for.
    wanted: Cell<Option<u32>>,
}

/// Milliseconds between two pictures that a pile gets by itself.
const SERIES_MS: i32 = 1_000;

/// Pictures that the dialog takes for a pile.
#[derive(Clone, Copy, Debug)]
struct Shots {
    pile: usize,
    taken: u32,
    /// Whether the next follows by itself.
    is_series: bool,
    /// Grows with every series, so that one that was ended does not go on beside the next.
    series: u32,
}

thread_local! {
    static FEED: Feed = Feed::default();
    static SHOTS: Cell<Option<Shots>> = const { Cell::new(None) };
}

/// Connects the camera's dialog and its controls on the stage.
pub fn connect() {
    dom::on_click("camera", || spawn_local(open(None)));
    for (pile, id) in ["camera-a", "camera-b"].into_iter().enumerate() {
        dom::on_click(id, move || spawn_local(open(Some(pile))));
    }
    dom::on_click("camera-cancel", || dialog().close());
    dom::on_click("camera-series", || {
        let Some(shots) = SHOTS.get() else { return };
        let shots = Shots { is_series: !shots.is_series, series: shots.series + 1, ..shots };
        SHOTS.set(Some(shots));
        show_shots();
        go_on_with(shots.series);
    });
    dom::on(&dialog(), "close", |_: Event| {
        SHOTS.set(None);
        turn_off(&still());
    });
    dom::on(&still(), "loadeddata", |_: Event| enable(true));
    dom::on_click("camera-take", || {
        if SHOTS.get().is_some() {
            return spawn_local(shoot());
        }
        if let Ok((width, height, bytes)) = grab(&still(), None) {
            let input = Input::Pixels { width, height };
            send(Message::Pictures(vec![Picture { name: "camera.png".into(), input, bytes, sample: None }]));
        }
        dialog().close();
    });
    dom::on_click("camera-live", go_live);
    dom::on(&dom::document(), "visibilitychange", |_: Event| tell(LiveMessage::Visible(!dom::document().hidden())));
    dom::on(&dom::document(), "keydown", |event: KeyboardEvent| {
        if event.key() == "Escape" && read(|state| state.live.is_some()) {
            tell(LiveMessage::Stop);
        }
    });
}

fn tell(message: LiveMessage) {
    send(Message::Live(message));
}

fn dialog() -> HtmlDialogElement {
    dom::by_id("camera-dialog")
}

/// The video in the dialog.
fn still() -> HtmlVideoElement {
    dom::by_id("camera-video")
}

/// The video that frames are taken from; nobody sees it.
fn feed() -> HtmlVideoElement {
    dom::by_id("live-video")
}

/// Adds what the camera shows to the pile.
async fn shoot() {
    let Some(Shots { pile, .. }) = SHOTS.get() else { return };
    let name = ["camera-", &js_sys::Date::now().to_string(), ".jpg"].concat();
    let Ok(picture) = frames::snapshot(&still(), &name).await else { return };
    // The dialog may have been closed meanwhile; the picture was wanted all the same.
    piles::fill(pile, vec![picture]);
    SHOTS.set(SHOTS.get().map(|shots| Shots { taken: shots.taken + 1, ..shots }));
    show_shots();
}

fn go_on_with(series: u32) {
    if SHOTS.get().is_some_and(|shots| shots.is_series && shots.series == series) {
        spawn_local(async move {
            shoot().await;
            dom::after(SERIES_MS, move || go_on_with(series));
        });
    }
}

fn show_shots() {
    let Some(Shots { taken, is_series, .. }) = SHOTS.get() else { return };
    dom::attribute(&dom::html("camera-series"), "aria-pressed", if is_series { "true" } else { "false" });
    let text = match taken {
        0 => String::new(),
        1 => "1 picture added.".into(),
        count => [&count.to_string(), " pictures added."].concat(),
    };
    dom::text(&dom::html("camera-count"), &text);
}

fn enable(is_ready: bool) {
    for id in ["camera-live", "camera-take", "camera-series"] {
        dom::by_id::<HtmlButtonElement>(id).set_disabled(!is_ready);
    }
}

/// Opens the dialog: for one picture to translate, or for pictures for a pile.
async fn open(pile: Option<usize>) {
    let shots = pile.map(|pile| Shots { pile, taken: 0, is_series: false, series: 0 });
    SHOTS.set(shots);
    let title = match pile {
        None => "Take a picture",
        Some(0) => "Pictures for A",
        Some(_) => "Pictures for B",
    };
    dom::text(&dom::html("camera-title"), title);
    dom::text(&dom::html("camera-cancel"), if pile.is_some() { "Done" } else { "Cancel" });
    dom::show(&dom::html("camera-live"), pile.is_none());
    dom::show(&dom::html("camera-series"), pile.is_some());
    dom::show(&dom::html("camera-count"), pile.is_some());
    show_shots();
    let text = dom::html("camera-text");
    dom::text(&text, "Waiting for the camera…");
    enable(false);
    if dialog().show_modal().is_err() {
        return;
    }
    match stream().await {
        // Closed while the browser was asking.
        Ok(stream) if !dialog().open() => stop(&stream),
        Ok(stream) => {
            still().set_src_object(Some(&stream));
            dom::text(&text, "");
        }
        Err(error) => {
            let name = Reflect::get(&error, &"name".into()).ok().and_then(|name| name.as_string());
            let reason = match name.as_deref() {
                Some("NotAllowedError") => "The camera may not be used. Allow it in the browser, then try again.",
                Some("NotFoundError") => "There is no camera on this machine.",
                Some("NotReadableError") => "Another program uses the camera.",
                _ => "This browser gives no camera to this page.",
            };
            dom::text(&text, reason);
        }
    }
}

async fn stream() -> Result<MediaStream, JsValue> {
    let constraints = MediaStreamConstraints::new();
    constraints.set_video(&true.into());
    // On insecure pages there is no such property, and reading it throws.
    let devices = Reflect::get(&dom::window().navigator(), &"mediaDevices".into())?;
    let devices: web_sys::MediaDevices = devices.dyn_into()?;
    JsFuture::from(devices.get_user_media_with_constraints(&constraints)?).await?.dyn_into()
}

fn stop(stream: &MediaStream) {
    for track in stream.get_tracks() {
        track.unchecked_into::<MediaStreamTrack>().stop();
    }
}

fn turn_off(video: &HtmlVideoElement) {
    if let Some(stream) = video.src_object() {
        stop(&stream);
    }
    video.set_src_object(None);
}

/// Takes the dialog's camera over for the stage.
fn go_live() {
    let Some(stream) = still().src_object() else { return };
    still().set_src_object(None);
    dialog().close();
    let round = begin_round();
    for track in stream.get_tracks() {
        dom::on(&track.unchecked_into::<MediaStreamTrack>(), "ended", move |_: Event| {
            if is_now(round) {
                tell(LiveMessage::Lost("The camera was unplugged, or something else has taken it.".into()));
            }
        });
    }
    let video = feed();
    video.set_src_object(Some(&stream));
    // Browsers start by themselves only what can be seen. The promise fails where the camera is off again already.
    if let Ok(playing) = video.play() {
        spawn_local(async move { drop(JsFuture::from(playing).await) });
    }
    watch(round);
    tell(LiveMessage::Start);
}

/// Turns the live camera off.
pub fn close() {
    begin_round();
    turn_off(&feed());
}

fn begin_round() -> u32 {
    FEED.with(|feed| {
        feed.is_fresh.set(false);
        feed.wanted.set(None);
        feed.round.set(feed.round.get() + 1);
        feed.round.get()
    })
}

fn is_now(round: u32) -> bool {
    FEED.with(|feed| feed.round.get() == round)
}

/// Takes note of every new frame of the live camera.
fn watch(round: u32) {
    let next = Closure::once_into_js(move || {
        if is_now(round) {
            FEED.with(|feed| feed.is_fresh.set(true));
            deliver();
            watch(round);
        }
    });
    let video = feed();
    // Not every browser has it, and web-sys does not know it yet.
    match Reflect::get(&video, &"requestVideoFrameCallback".into()).map(JsCast::dyn_into::<Function>) {
        Ok(Ok(request)) => drop(request.call1(&video, &next)),
        _ => drop(dom::window().set_timeout_with_callback_and_timeout_and_arguments_0(next.unchecked_ref(), FRAME_MS)),
    }
}

/// Sends the next frame that has not been taken yet, at a longer side of `side` pixels.
pub fn take_frame(side: u32) {
    FEED.with(|feed| feed.wanted.set(Some(side)));
    deliver();
}

fn deliver() {
    let video = feed();
    let Some(side) = FEED.with(|feed| feed.wanted.get().filter(|_| feed.is_fresh.get())) else { return };
    if video.video_width() == 0 {
        return;
    }
    FEED.with(|feed| {
        feed.is_fresh.set(false);
        feed.wanted.set(None);
    });
    match grab(&video, Some(side)) {
        Ok((width, height, pixels)) => tell(LiveMessage::Frame { width, height, pixels }),
        Err(error) => tell(LiveMessage::Lost(["The camera gave no picture: ", &dom::message_of(&error)].concat())),
    }
}

/// What a video shows now, as RGBA8, shrunk to a longer side if one is given.
fn grab(video: &HtmlVideoElement, side: Option<u32>) -> Result<(u32, u32, Vec<u8>), JsValue> {
    let [width, height] = [video.video_width(), video.video_height()].map(f64::from);
    let scale = side.map_or(1.0, |side| (f64::from(side) / width.max(height)).min(1.0));
    let [width, height] = [width, height].map(|side| (side * scale).round().max(1.0));
    let canvas: HtmlCanvasElement = dom::create("canvas");
    canvas.set_width(width as u32);
    canvas.set_height(height as u32);
    // Read back every time: it need not go to the graphics card and return.
    let options = js_sys::Object::new();
    Reflect::set(&options, &"willReadFrequently".into(), &true.into())?;
    let Some(context) = canvas.get_context_with_context_options("2d", &options)? else {
        return Err("this browser has no 2D canvas".into());
    };
    let context: CanvasRenderingContext2d = context.dyn_into()?;
    context.draw_image_with_html_video_element_and_dw_and_dh(video, 0.0, 0.0, width, height)?;
    let pixels = context.get_image_data(0.0, 0.0, width, height)?.data().0;
    Ok((width as u32, height as u32, pixels))
}
