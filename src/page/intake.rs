//! How pictures and files come in: chosen, dropped (folders too) or pasted.

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, DataTransfer, File, FileList, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry,
    HtmlCanvasElement, ImageBitmap,
};

use super::{dom, state::Picture};
use crate::platform::names;
use crate::protocol::Input;

/// The files of a list.
pub fn files(list: Option<FileList>) -> Vec<File> {
    let Some(list) = list else { return Vec::new() };
    (0..list.length()).filter_map(|index| list.get(index)).collect()
}

/// Whether a file is meant to be a picture, by its type or, where the system knows none, by its name.
pub fn is_picture(file: &File) -> bool {
    let name = file.name();
    !names::is_hidden(&name) && (file.type_().starts_with("image/") || names::is_image(&name))
}

/// Whether a file is meant to be a video.
pub fn is_video(file: &File) -> bool {
    file.type_().starts_with("video/")
}

/// Whether a file is none of the kinds that the page has a use for by itself.
pub fn is_unknown(file: &File) -> bool {
    !is_picture(file) && !is_video(file) && ![".toml", ".zip"].iter().any(|ending| has_ending(file, ending))
}

/// Whether the file's name ends like that (in lower case, with its dot).
pub fn has_ending(file: &File, ending: &str) -> bool {
    file.name().to_ascii_lowercase().ends_with(ending)
}

/// The bytes of a file; the error is a sentence.
pub async fn bytes(file: &File) -> Result<Vec<u8>, String> {
    let buffer = JsFuture::from(file.array_buffer()).await;
    let buffer = buffer.map_err(|error| {
        [&file.name(), " could not be read (", &dom::message_of(&error), "). Please give it again."].concat()
    })?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

/// Files below this size go to the worker as they are.
const SMALL_FILE: f64 = 400e3;

/// The bytes of a picture to train on at `side` pixels. Thousands of photos as they come from a camera do not
/// fit into a page's memory, so that large ones are shrunk to twice the side that is needed.
pub async fn training_bytes(file: &File, side: u32) -> Result<Vec<u8>, String> {
    if file.size() > SMALL_FILE
        && let Ok(Some(blob)) = shrunk(file, side * 2).await
        && let Ok(buffer) = JsFuture::from(blob.array_buffer()).await
    {
        return Ok(Uint8Array::new(&buffer).to_vec());
    }
    // What the browser cannot read the worker may, or says what is wrong with it.
    bytes(file).await
}

/// The picture with a shorter side of `side`, as JPEG; `None` if it is hardly larger.
async fn shrunk(file: &File, side: u32) -> Result<Option<Blob>, JsValue> {
    let bitmap = JsFuture::from(dom::window().create_image_bitmap_with_blob(file)?).await?;
    let bitmap: ImageBitmap = bitmap.dyn_into()?;
    let scale = f64::from(side) / f64::from(bitmap.width().min(bitmap.height()));
    if scale > 0.8 {
        return Ok(None);
    }
    let [width, height] = [bitmap.width(), bitmap.height()].map(|side| (f64::from(side) * scale).round());
    let canvas: HtmlCanvasElement = dom::create("canvas");
    canvas.set_width(width as u32);
    canvas.set_height(height as u32);
    let context = dom::context(&canvas)?;
    js_sys::Reflect::set(&context, &"imageSmoothingQuality".into(), &"high".into())?;
    // JPEG knows no transparency; the worker lays pictures on white, too.
    context.set_fill_style_str("#fff");
    context.fill_rect(0.0, 0.0, width, height);
    context.draw_image_with_image_bitmap_and_dw_and_dh(&bitmap, 0.0, 0.0, width, height)?;
    bitmap.close();
    jpeg(&canvas).await
}

/// What a canvas shows, as JPEG; `None` where it is too large.
pub async fn jpeg(canvas: &HtmlCanvasElement) -> Result<Option<Blob>, JsValue> {
    let blob = js_sys::Promise::new(&mut |resolve, reject| {
        if let Err(error) = canvas.to_blob_with_type_and_encoder_options(&resolve, "image/jpeg", &0.95.into()) {
            // A promise that is settled already ignores this.
            let _ = reject.call1(&JsValue::NULL, &error);
        }
    });
    Ok(JsFuture::from(blob).await?.dyn_into().ok())
}

/// A file as a picture to translate.
pub async fn picture(file: &File) -> Result<Picture, String> {
    let name = file.name();
    Ok(Picture { input: Input::File { name: name.clone() }, name, bytes: bytes(file).await?, sample: None })
}

/// All files that were dropped, those in dropped folders too. Call it while the event is being handled:
/// the entries are taken at once, the rest is read later.
pub fn dropped(transfer: &DataTransfer) -> impl Future<Output = Vec<File>> + 'static {
    let items = transfer.items();
    let entries = (0..items.length())
        .filter_map(|index| items.get(index))
        .filter_map(|item| item.webkit_get_as_entry().ok().flatten())
        .collect::<Vec<_>>();
    let plain = files(transfer.files());
    async move {
        if !entries.iter().any(FileSystemEntry::is_directory) {
            return plain;
        }
        let mut found = Vec::new();
        let mut left = entries;
        left.reverse();
        while let Some(entry) = left.pop() {
            if let Some(directory) = entry.dyn_ref::<FileSystemDirectoryEntry>() {
                left.extend(children(directory).await);
            } else if let Ok(entry) = entry.dyn_into::<FileSystemFileEntry>()
                && let Some(file) = file_of(&entry).await
            {
                found.push(file);
            }
        }
        found
    }
}

async fn file_of(entry: &FileSystemFileEntry) -> Option<File> {
    let promise = js_sys::Promise::new(&mut |resolve, reject| {
        entry.file_with_callback_and_callback(&resolve, &reject);
    });
    JsFuture::from(promise).await.ok()?.dyn_into().ok()
}

/// The entries of one folder, of which the browser tells at most a hundred at a time.
async fn children(directory: &FileSystemDirectoryEntry) -> Vec<FileSystemEntry> {
    let reader = directory.create_reader();
    let mut all = Vec::new();
    loop {
        let promise = js_sys::Promise::new(&mut |resolve, reject| {
            if let Err(error) = reader.read_entries_with_callback_and_callback(&resolve, &reject) {
                // A promise that is settled already ignores this.
                let _ = reject.call1(&JsValue::NULL, &error);
            }
        });
        let Ok(part) = JsFuture::from(promise).await else { return all };
        let before = all.len();
        all.extend(js_sys::Array::from(&part).iter().filter_map(|entry| entry.dyn_into().ok()));
        if all.len() == before {
            return all;
        }
    }
}
