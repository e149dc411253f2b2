//! Short words for what the page does with the document.

use js_sys::Uint8Array;
use wasm_bindgen::{Clamped, JsCast, JsValue, closure::Closure, throw_str};
use web_sys::{
    Blob, BlobPropertyBag, CanvasRenderingContext2d, Document, Element, Event, EventTarget, HtmlAnchorElement,
    HtmlCanvasElement, HtmlElement, ImageData, Url, Window,
};

/// The window. The page runs nowhere else.
pub fn window() -> Window {
    web_sys::window().unwrap_or_else(|| throw_str("the page needs a window"))
}

/// The document.
pub fn document() -> Document {
    window().document().unwrap_or_else(|| throw_str("the page needs a document"))
}

/// The element of that id. `index.html` and this code are one: a missing one is a bug.
pub fn by_id<T: JsCast>(id: &str) -> T {
    match document().get_element_by_id(id).map(JsCast::dyn_into) {
        Some(Ok(element)) => element,
        _ => throw_str(&["index.html lacks #", id].concat()),
    }
}

/// The element of that id, as HTML.
pub fn html(id: &str) -> HtmlElement {
    by_id(id)
}

/// A new element.
pub fn create<T: JsCast>(tag: &str) -> T {
    match document().create_element(tag).map(JsCast::dyn_into) {
        Ok(Ok(element)) => element,
        _ => throw_str("an element cannot be made"),
    }
}

/// A new element with a class and a text.
pub fn create_text(tag: &str, class: &str, text: &str) -> HtmlElement {
    let element: HtmlElement = create(tag);
    element.set_class_name(class);
    element.set_text_content(Some(text));
    element
}

/// Appends `children` in order.
pub fn append(parent: &Element, children: &[&Element]) {
    for child in children {
        // Fails only where the tree would loop.
        let _ = parent.append_child(child);
    }
}

/// Sets an attribute, if it is not that already.
pub fn attribute(element: &Element, name: &str, value: &str) {
    if element.get_attribute(name).as_deref() != Some(value) {
        // Fails only for names with odd characters.
        let _ = element.set_attribute(name, value);
    }
}

/// Sets the text, if it is not that already: live regions speak at every change.
pub fn text(element: &Element, value: &str) {
    if element.text_content().as_deref() != Some(value) {
        element.set_text_content(Some(value));
    }
}

/// Shows or hides an element.
pub fn show(element: &HtmlElement, visible: bool) {
    if element.hidden() == visible {
        element.set_hidden(!visible);
    }
}

/// Sets a custom property for the style sheets.
pub fn property(element: &HtmlElement, name: &str, value: &str) {
    // Fails only for read-only declarations.
    let _ = element.style().set_property(name, value);
}

/// Calls `listener` at every `kind` of event, for as long as the page lives.
pub fn on<E: JsCast + 'static>(target: &EventTarget, kind: &str, mut listener: impl FnMut(E) + 'static) {
    let closure = Closure::<dyn FnMut(Event)>::new(move |event: Event| listener(event.unchecked_into()));
    // Fails only for objects that are no event targets.
    let _ = target.add_event_listener_with_callback(kind, closure.as_ref().unchecked_ref());
    closure.forget();
}

/// Calls `listener` at every click on the element of that id.
pub fn on_click(id: &str, mut listener: impl FnMut() + 'static) {
    on(&html(id), "click", move |_: Event| listener());
}

/// Runs `task` once after `milliseconds`.
pub fn after(milliseconds: i32, task: impl FnOnce() + 'static) {
    let closure = Closure::once_into_js(task);
    // Fails only without a window.
    let _ = window().set_timeout_with_callback_and_timeout_and_arguments_0(closure.unchecked_ref(), milliseconds);
}

/// Paints RGBA8 pixels on a canvas and gives it their size.
pub fn paint(canvas: &HtmlCanvasElement, width: u32, height: u32, pixels: &[u8]) {
    if (canvas.width(), canvas.height()) != (width, height) {
        canvas.set_width(width);
        canvas.set_height(height);
    }
    let painted = ImageData::new_with_u8_clamped_array_and_sh(Clamped(pixels), width, height)
        .and_then(|data| context(canvas)?.put_image_data(&data, 0.0, 0.0));
    if let Err(error) = painted {
        web_sys::console::error_1(&error);
    }
}

/// The canvas's 2D context.
pub fn context(canvas: &HtmlCanvasElement) -> Result<CanvasRenderingContext2d, JsValue> {
    match canvas.get_context("2d")?.map(JsCast::dyn_into) {
        Some(Ok(context)) => Ok(context),
        _ => Err("this browser has no 2D canvas".into()),
    }
}

/// A blob of `bytes`.
pub fn blob(bytes: &[u8], mime: &str) -> Result<Blob, JsValue> {
    let options = BlobPropertyBag::new();
    options.set_type(mime);
    let parts = js_sys::Array::of1(&Uint8Array::from(bytes));
    Blob::new_with_u8_array_sequence_and_options(&parts, &options)
}

/// Hands a blob to the visitor as a file.
pub fn save(blob: &Blob, name: &str) -> Result<(), JsValue> {
    let address = Url::create_object_url_with_blob(blob)?;
    let link: HtmlAnchorElement = create("a");
    link.set_href(&address);
    link.set_download(name);
    link.click();
    // Some browsers read it only after the click has been handled.
    after(60_000, move || {
        let _ = Url::revoke_object_url(&address);
    });
    Ok(())
}

/// What a JavaScript error says.
pub fn message_of(error: &JsValue) -> String {
    let message = js_sys::Reflect::get(error, &"message".into()).ok().and_then(|text| text.as_string());
    message.or_else(|| error.as_string()).unwrap_or_default()
}
