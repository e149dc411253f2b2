//! Pictures out of moving ones: frames of a video file, and of whatever a `<video>` shows.

use js_sys::{Array, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AddEventListenerOptions, EventTarget, File, HtmlCanvasElement, HtmlVideoElement, Url};

use super::{dom, intake};

/// Frames taken from a video, evenly spaced; fewer from one that is so short that they would be alike.
const MOST_FRAMES: f64 = 100.0;
/// Seconds between two of them at least.
const APART: f64 = 0.2;
/// The longer side of a frame at most.
const SIDE: f64 = 1280.0;
/// A browser that takes longer for one frame will not bring it at all.
const PATIENCE_MS: i32 = 20_000;
/// Beyond the end of every video.
const FAR: f64 = 1e7;

/// Frames of a video file as JPEG files; the error is a sentence.
pub async fn of(file: &File, progress: impl Fn(u32, u32)) -> Result<Vec<File>, String> {
    let video: HtmlVideoElement = dom::create("video");
    video.set_muted(true);
    video.set_preload("auto");
    let frames = match Url::create_object_url_with_blob(file) {
        Ok(address) => {
            let frames = read(&video, &address, file, progress).await;
            // Lets go of the decoder.
            video.set_src("");
            let _ = Url::revoke_object_url(&address);
            frames
        }
        Err(error) => Err(error),
    };
    frames.map_err(|_| [&file.name(), " is no video that this browser can play."].concat())
}

async fn read(
    video: &HtmlVideoElement,
    address: &str,
    file: &File,
    progress: impl Fn(u32, u32),
) -> Result<Vec<File>, JsValue> {
    let ready = happens(video, "loadeddata");
    video.set_src(address);
    ready.await?;
    if !video.duration().is_finite() {
        // What was recorded in a browser does not say how long it is; its end does.
        seek(video, FAR).await?;
    }
    let duration = video.duration();
    let count = (duration / APART).clamp(1.0, MOST_FRAMES) as u32;
    let mut frames = Vec::new();
    for place in 0..count {
        seek(video, (f64::from(place) + 0.5) * duration / f64::from(count)).await?;
        let name = [&file.name(), "-", &place.to_string(), ".jpg"].concat();
        frames.push(snapshot(video, &name).await?);
        progress(place + 1, count);
    }
    Ok(frames)
}

async fn seek(video: &HtmlVideoElement, seconds: f64) -> Result<(), JsValue> {
    let there = happens(video, "seeked");
    video.set_current_time(seconds);
    there.await
}

/// Waits for an event of a video; an error where there is an error, or nothing for long.
fn happens(video: &EventTarget, kind: &str) -> impl Future<Output = Result<(), JsValue>> + use<> {
    let promise = Promise::new(&mut |resolve, reject| {
        let once = AddEventListenerOptions::new();
        once.set_once(true);
        for (kind, settle) in [(kind, &resolve), ("error", &reject)] {
            // Fails only for objects that are no event targets.
            let _ = video.add_event_listener_with_callback_and_add_event_listener_options(kind, settle, &once);
        }
        // Fails only without a window.
        let _ = dom::window().set_timeout_with_callback_and_timeout_and_arguments_0(&reject, PATIENCE_MS);
    });
    async move { JsFuture::from(promise).await.map(drop) }
}

/// What a video shows now, as a JPEG file.
pub async fn snapshot(video: &HtmlVideoElement, name: &str) -> Result<File, JsValue> {
    let [width, height] = [video.video_width(), video.video_height()].map(f64::from);
    let scale = (SIDE / width.max(height)).min(1.0);
    let [width, height] = [width, height].map(|side| (side * scale).round().max(1.0));
    let canvas: HtmlCanvasElement = dom::create("canvas");
    canvas.set_width(width as u32);
    canvas.set_height(height as u32);
    dom::context(&canvas)?.draw_image_with_html_video_element_and_dw_and_dh(video, 0.0, 0.0, width, height)?;
    let blob = intake::jpeg(&canvas).await?.ok_or("no picture")?;
    File::new_with_blob_sequence(&Array::of1(&blob), name)
}
