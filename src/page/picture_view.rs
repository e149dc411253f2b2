//! The pictures on the stage: the original and what became of it, the slider between them, and the example.

use wasm_bindgen::{JsCast, closure::Closure};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, Event, HtmlCanvasElement, HtmlImageElement, HtmlInputElement, ImageBitmap};

use super::{
    app, dom,
    models::Model,
    state::{Live, Picture, Stage, State, mixed},
};
use crate::protocol::Input;

/// Side of the thumbnails in the strip, in device pixels.
const THUMB: u32 = 144;
/// A picture is never shown more than this many times as large as it is.
const LARGEST_ZOOM: u32 = 8;

/// What the canvases hold now.
#[derive(Default)]
pub struct PictureView {
    /// The result's number, whether its way back, and at how many percent.
    compared: Option<(u32, bool, u32)>,
    busy: usize,
    live: u32,
    example: Option<Example>,
}

/// The chosen model's example: both pictures, from the moment they are asked for.
struct Example {
    model: String,
    before: HtmlImageElement,
    after: HtmlImageElement,
    /// At how many percent, if it is.
    is_shown: Option<u32>,
}

impl Example {
    fn is_ready(&self) -> bool {
        [&self.before, &self.after].iter().all(|image| image.complete() && image.natural_width() > 0)
    }
}

/// Connects the slider and the save button.
pub fn connect() {
    let slider: HtmlInputElement = dom::by_id("slider");
    let split = |slider: &HtmlInputElement| {
        dom::property(&dom::html("compare"), "--split", &[&slider.value(), "%"].concat());
    };
    split(&slider);
    dom::on(&slider.clone(), "input", move |_: Event| split(&slider));
    dom::on_click("save", || {
        let name = dom::html("save").get_attribute("data-file").unwrap_or_default();
        save(&dom::by_id("picture-after"), name);
    });
}

/// Saves what a canvas shows as a PNG file.
fn save(canvas: &HtmlCanvasElement, name: String) {
    let ready = Closure::once_into_js(move |blob: Option<Blob>| {
        let saved = blob.ok_or_else(|| "the browser made no PNG of it".into()).and_then(|blob| dom::save(&blob, &name));
        if let Err(error) = saved {
            app::tell(["The picture could not be saved: ", &dom::message_of(&error), "."].concat(), true);
        }
    });
    if let Err(error) = canvas.to_blob(ready.unchecked_ref()) {
        app::tell(["The picture could not be saved: ", &dom::message_of(&error), "."].concat(), true);
    }
}

impl PictureView {
    /// Whether the example can be seen.
    pub fn has_example(&self) -> bool {
        self.example.as_ref().is_some_and(Example::is_ready)
    }

    /// Shows the pictures that the stage is about.
    pub fn show(&mut self, state: &State) {
        self.fetch_example(state.chosen_model());
        match &state.stage {
            Stage::Example => self.show_example(state.strength),
            Stage::Done { number, back } => self.show_done(state, *number, *back),
            Stage::Live => self.show_live(state.live.as_ref(), state.strength),
            _ => self.show_busy(state),
        }
        let is_compared = match state.stage {
            Stage::Example => self.has_example(),
            Stage::Done { .. } => true,
            Stage::Live => state.live.as_ref().is_some_and(|live| live.frame.is_some()),
            _ => false,
        };
        dom::show(&dom::html("compare"), is_compared);
        let is_alone = !is_compared && !matches!(state.stage, Stage::Example | Stage::Live) && state.request.is_some();
        let canvas: HtmlCanvasElement = dom::by_id("picture-busy");
        dom::show(&canvas, is_alone && canvas.width() > 0);
    }

    fn fetch_example(&mut self, model: Option<&Model>) {
        let Some(model) = model else { return self.example = None };
        if self.example.as_ref().is_some_and(|example| example.model == model.id()) {
            return;
        }
        self.example = None;
        let (Some(before), Some(after)) = (&model.listed.before, &model.listed.picture) else { return };
        let image = |address: &str| {
            let image: HtmlImageElement = dom::create("img");
            dom::on(&image, "load", |_: Event| app::want_frame());
            image.set_src(address);
            image
        };
        let (before, after) = (image(before), image(after));
        self.example = Some(Example { model: model.id().into(), before, after, is_shown: None });
    }

    fn show_example(&mut self, strength: u32) {
        let Some(example) = self.example.as_mut().filter(|example| example.is_ready()) else { return };
        if example.is_shown == Some(strength) && self.compared.is_none() {
            return;
        }
        example.is_shown = Some(strength);
        self.compared = None;
        let (width, height) = (example.after.natural_width(), example.after.natural_height());
        let (before, after) = (&example.before, &example.after);
        for (id, image) in [("picture-before", before), ("picture-after", after)] {
            let canvas: HtmlCanvasElement = dom::by_id(id);
            canvas.set_width(width);
            canvas.set_height(height);
            let Ok(context) = dom::context(&canvas) else { continue };
            let draw = |image: &HtmlImageElement| {
                let (width, height) = (f64::from(width), f64::from(height));
                // Fails only for broken images, which are not ready.
                let _ = context.draw_image_with_html_image_element_and_dw_and_dh(image, 0.0, 0.0, width, height);
            };
            draw(image);
            if id == "picture-after" && strength < 100 {
                context.set_global_alpha(1.0 - f64::from(strength) / 100.0);
                draw(before);
            }
        }
        fit(width, height);
        label("Result", false);
    }

    fn show_done(&mut self, state: &State, number: u32, is_back: bool) {
        let Some(done) = state.done(number) else { return };
        let key = (number, is_back, state.strength);
        let same_picture = self.compared.is_some_and(|(shown, back, _)| (shown, back) == (number, is_back));
        if self.compared == Some(key) {
            return;
        }
        self.compared = Some(key);
        self.busy = 0;
        let back = done.back.as_ref().filter(|_| is_back);
        match back {
            Some(back) => dom::paint(&dom::by_id("picture-after"), done.width, done.height, &back.pixels),
            None => dom::paint(&dom::by_id("picture-after"), done.width, done.height, &done.shown(state.strength)),
        }
        if same_picture {
            return;
        }
        dom::paint(&dom::by_id("picture-before"), done.width, done.height, &done.before);
        fit(done.width, done.height);
        let has_alpha = done.before.chunks_exact(4).any(|pixel| pixel[3] < 255);
        label(if back.is_some() { "Back again" } else { "Result" }, has_alpha);
    }

    /// The camera's last frame and its translation.
    fn show_live(&mut self, live: Option<&Live>, strength: u32) {
        let count = live.map_or(0, |live| live.count);
        if self.live == count {
            return;
        }
        self.live = count;
        let Some(frame) = live.and_then(|live| live.frame.as_ref()) else { return };
        // What comes next is painted anew.
        (self.compared, self.busy) = (Some((0, false, 0)), 0);
        dom::paint(&dom::by_id("picture-before"), frame.width, frame.height, &frame.before);
        let after = mixed(&frame.before, &frame.after, strength);
        dom::paint(&dom::by_id("picture-after"), frame.width, frame.height, &after);
        fit(frame.width, frame.height);
        label("Result", false);
    }

    /// The picture of the last request, alone.
    fn show_busy(&mut self, state: &State) {
        let Some(request) = &state.request else { return };
        let key = std::rc::Rc::as_ptr(&request.picture) as usize;
        if self.busy == key {
            return;
        }
        // What comes next is painted anew.
        self.compared = Some((0, false, 0));
        self.busy = key;
        let canvas: HtmlCanvasElement = dom::by_id("picture-busy");
        dom::attribute(&canvas, "aria-label", &request.picture.name);
        canvas.set_width(0);
        match request.picture.input {
            Input::Pixels { width, height } => {
                dom::paint(&canvas, width, height, &request.picture.bytes);
                fit(width, height);
            }
            Input::File { .. } => {
                let picture = request.picture.clone();
                // What the browser cannot read (TIFF) the worker still may: then there is no picture until the result.
                spawn_local(async move {
                    let _ = paint_file(&canvas, &picture).await;
                });
            }
        }
    }
}

/// Paints an image file, if the browser can read it.
async fn paint_file(canvas: &HtmlCanvasElement, picture: &Picture) -> Result<(), wasm_bindgen::JsValue> {
    let blob = dom::blob(&picture.bytes, "")?;
    let bitmap = JsFuture::from(dom::window().create_image_bitmap_with_blob(&blob)?).await?;
    let bitmap: ImageBitmap = bitmap.dyn_into()?;
    canvas.set_width(bitmap.width());
    canvas.set_height(bitmap.height());
    fit(bitmap.width(), bitmap.height());
    dom::context(canvas)?.draw_image_with_image_bitmap(&bitmap, 0.0, 0.0)?;
    app::want_frame();
    Ok(())
}

/// Gives the stage the shape of the picture.
fn fit(width: u32, height: u32) {
    let stage = dom::html("stage");
    dom::property(&stage, "--ratio", &[&width.to_string(), " / ", &height.to_string()].concat());
    let largest = width.saturating_mul(LARGEST_ZOOM).to_string();
    dom::property(&stage, "--largest", &[&largest, "px"].concat());
}

fn label(after: &str, has_alpha: bool) {
    dom::text(&dom::html("tag-after"), after);
    dom::attribute(&dom::html("picture-after"), "aria-label", after);
    // Fails only for names with odd characters.
    let _ = dom::html("compare").toggle_attribute_with_force("data-alpha", has_alpha);
}

/// Paints the middle of a picture, small.
pub fn paint_thumb(canvas: &HtmlCanvasElement, width: u32, height: u32, pixels: &[u8]) {
    let whole: HtmlCanvasElement = dom::create("canvas");
    dom::paint(&whole, width, height, pixels);
    canvas.set_width(THUMB);
    canvas.set_height(THUMB);
    let side = f64::from(width.min(height));
    let (left, top) = ((f64::from(width) - side) / 2.0, (f64::from(height) - side) / 2.0);
    if let Ok(context) = dom::context(canvas) {
        let target = f64::from(THUMB);
        // Fails only for canvases without pixels.
        let _ = context.draw_image_with_html_canvas_element_and_sw_and_sh_and_dx_and_dy_and_dw_and_dh(
            &whole, left, top, side, side, 0.0, 0.0, target, target,
        );
    }
}
