//! Fetching with byte progress, and the store of downloads that outlives a visit (Cache API).

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortSignal, Cache, Headers, ReadableStreamDefaultReader, Request, RequestCache, RequestInit, Response,
    ResponseInit, StorageManager,
};

use super::dom;

/// Name of the store.
const STORE: &str = "cyclegan-downloads";

/// Fetches a text that may change at any time.
pub async fn fetch_text(address: &str) -> Result<String, String> {
    let response = request(address, "GET", None).await?;
    let text = response.text().map_err(|error| broken(address, &error))?;
    let text = JsFuture::from(text).await.map_err(|error| broken(address, &error))?;
    Ok(text.as_string().unwrap_or_default())
}

/// Fetches a small file.
pub async fn fetch_bytes(address: &str) -> Result<Vec<u8>, String> {
    let response = request(address, "GET", None).await?;
    body(&response).await.map_err(|error| broken(address, &error))
}

/// Takes a large file from the store or, if the server has another one by now, fetches and stores it.
/// `progress` gets the bytes so far and, if known, in all.
pub async fn download(
    address: &str,
    signal: Option<AbortSignal>,
    progress: impl Fn(u64, Option<u64>),
) -> Result<Vec<u8>, String> {
    let store = open_store().await;
    if let Some(store) = &store
        && let Some(kept) = kept(store, address).await
        && is_fresh(&kept, address).await
        && let Ok(bytes) = body(&kept).await
    {
        progress(bytes.len() as u64, Some(bytes.len() as u64));
        return Ok(bytes);
    }
    let response = request(address, "GET", signal.as_ref()).await?;
    let total = header(&response, "content-length").and_then(|length| length.parse().ok());
    // Where the server packs the body, its length is not the file's.
    let total = total.filter(|_| header(&response, "content-encoding").is_none());
    let bytes = read(&response, |received| progress(received, total)).await.map_err(|error| broken(address, &error))?;
    if let Some(store) = &store {
        // A full disk or a private window: the download itself has worked.
        let _ = keep(store, address, &response, &bytes).await;
    }
    Ok(bytes)
}

/// Bytes in the store.
pub async fn stored_bytes() -> u64 {
    let Some(store) = open_store().await else { return 0 };
    let Ok(keys) = JsFuture::from(store.keys()).await else { return 0 };
    let mut sum = 0;
    for key in js_sys::Array::from(&keys) {
        let Ok(request) = key.dyn_into::<Request>() else { continue };
        if let Some(kept) = kept(&store, &request.url()).await {
            sum += header(&kept, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        }
    }
    sum
}

/// Bytes that this page keeps in all, and how many the browser lets it keep; `None` where it does not say.
pub async fn usage() -> Option<(u64, u64)> {
    // On insecure pages the property is missing, and the typed getter would hand out `undefined`.
    let storage = Reflect::get(&dom::window().navigator(), &"storage".into()).ok().filter(JsValue::is_object)?;
    let storage: StorageManager = storage.unchecked_into();
    let estimate = JsFuture::from(storage.estimate().ok()?).await.ok()?;
    let bytes = |name: &str| Some(Reflect::get(&estimate, &name.into()).ok()?.as_f64()? as u64);
    Some((bytes("usage")?, bytes("quota")?))
}

/// Empties the store.
pub async fn clear_store() {
    if let Ok(caches) = dom::window().caches() {
        // Nothing to delete is fine, too.
        let _ = JsFuture::from(caches.delete(STORE)).await;
    }
}

/// The store; `None` where the browser has none (insecure pages, some private windows).
async fn open_store() -> Option<Cache> {
    // Without a secure context the property is missing, and the typed getter would hand out `undefined`.
    let has_store = Reflect::get(&dom::window(), &"caches".into()).is_ok_and(|caches| caches.is_object());
    let caches = dom::window().caches().ok().filter(|_| has_store)?;
    JsFuture::from(caches.open(STORE)).await.ok()?.dyn_into().ok()
}

async fn kept(store: &Cache, address: &str) -> Option<Response> {
    JsFuture::from(store.match_with_str(address)).await.ok()?.dyn_into().ok()
}

/// Whether the server still has what is kept. If it cannot be asked, what is kept is good enough.
async fn is_fresh(kept: &Response, address: &str) -> bool {
    let Ok(now) = request(address, "HEAD", None).await else { return true };
    ["etag", "last-modified"].iter().all(|name| match (header(kept, name), header(&now, name)) {
        (Some(then), Some(now)) => then == now,
        _ => true,
    })
}

async fn keep(store: &Cache, address: &str, response: &Response, bytes: &[u8]) -> Result<(), JsValue> {
    let headers = Headers::new()?;
    for name in ["etag", "last-modified"] {
        if let Some(value) = header(response, name) {
            headers.set(name, &value)?;
        }
    }
    headers.set("content-length", &bytes.len().to_string())?;
    let options = ResponseInit::new();
    options.set_headers(&headers);
    let copy = Uint8Array::from(bytes);
    let copy = Response::new_with_opt_js_u8_array_and_init(Some(&copy), &options)?;
    JsFuture::from(store.put_with_str(address, &copy)).await.map(drop)
}

async fn request(address: &str, method: &str, signal: Option<&AbortSignal>) -> Result<Response, String> {
    let options = RequestInit::new();
    options.set_method(method);
    // Ask whether it changed; the answer "no" is short.
    options.set_cache(RequestCache::NoCache);
    options.set_signal(signal);
    let response = JsFuture::from(dom::window().fetch_with_str_and_init(address, &options)).await;
    let response: Response = response.and_then(JsCast::dyn_into).map_err(|error| broken(address, &error))?;
    if response.ok() {
        return Ok(response);
    }
    let name = address.rsplit('/').next().unwrap_or(address);
    Err(match response.status() {
        404 => [name, " is not on the server yet."].concat(),
        status => ["The server answered ", &status.to_string(), " for ", name, ". Please try again later."].concat(),
    })
}

fn broken(address: &str, error: &JsValue) -> String {
    let name = address.rsplit('/').next().unwrap_or(address);
    [name, " could not be downloaded (", &dom::message_of(error), "). Check the connection and try again."].concat()
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

async fn body(response: &Response) -> Result<Vec<u8>, JsValue> {
    let buffer = JsFuture::from(response.array_buffer()?).await?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

async fn read(response: &Response, progress: impl Fn(u64)) -> Result<Vec<u8>, JsValue> {
    let Some(stream) = response.body() else { return body(response).await };
    let reader: ReadableStreamDefaultReader = stream.get_reader().dyn_into()?;
    let mut bytes = Vec::new();
    loop {
        let part = JsFuture::from(reader.read()).await?;
        if Reflect::get(&part, &"done".into())?.is_truthy() {
            return Ok(bytes);
        }
        let chunk: Uint8Array = Reflect::get(&part, &"value".into())?.dyn_into()?;
        let start = bytes.len();
        bytes.resize(start + chunk.length() as usize, 0);
        chunk.copy_to(&mut bytes[start..]);
        progress(bytes.len() as u64);
    }
}
