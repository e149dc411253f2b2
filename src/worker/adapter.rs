//! The browser's WebGPU adapter, looked at before it is used: a missing feature must lead to the
//! processor, not to a panic inside the runtime.

use burn::backend::Wgpu;
use burn::backend::wgpu::{RuntimeOptions, WgpuDevice, graphics, init_setup_async};
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::console;

use crate::kernels::{set_tiles, tune};
use crate::platform::worker_scope;
use crate::protocol::Event;
use crate::session::Place;
use crate::translate::Budget;

/// What the runtime takes for granted: its stream constructor panics without it.
const NEEDED: &str = "timestamp-query";

/// Feature maps alive at the worst moment: padded copies and the convolution's workspace.
const MAPS: f64 = 8.0;

/// A browser does not tell how much memory the GPU has; this much is safe on one with 4 GB.
const MEMORY: u64 = 2 << 30;

fn get(object: &JsValue, key: &str) -> Option<JsValue> {
    Reflect::get(object, &key.into()).ok().filter(|value| !value.is_undefined() && !value.is_null())
}

async fn request_adapter() -> Option<JsValue> {
    let gpu = get(&get(&js_sys::global(), "navigator")?, "gpu")?;
    let request: Function = get(&gpu, "requestAdapter")?.dyn_into().ok()?;
    let promise: Promise = request.call0(&gpu).ok()?.dyn_into().ok()?;
    JsFuture::from(promise).await.ok().filter(|adapter| adapter.is_object())
}

fn has_feature(adapter: &JsValue, feature: &str) -> bool {
    let has = || {
        let features = get(adapter, "features")?;
        let has: Function = get(&features, "has")?.dyn_into().ok()?;
        has.call1(&features, &feature.into()).ok()?.as_bool()
    };
    has().unwrap_or(false)
}

fn is_software(adapter: &JsValue) -> bool {
    let flag = |object: &JsValue| get(object, "isFallbackAdapter").and_then(|value| value.as_bool());
    let info = get(adapter, "info");
    info.as_ref().and_then(flag).or_else(|| flag(adapter)).unwrap_or(false)
}

/// The adapter's name for people, as far as the browser gives it away.
fn name(adapter: &JsValue) -> String {
    let text = |key: &str| get(&get(adapter, "info")?, key)?.as_string().filter(|text| !text.is_empty());
    let name = text("description").or_else(|| {
        let parts: Vec<String> = ["vendor", "architecture"].into_iter().filter_map(text).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    });
    format!("{} (WebGPU)", name.unwrap_or_else(|| "GPU".into()))
}

/// Opens the GPU; a software adapter only when `software` is wanted.
///
/// # Errors
/// Why not, in plain words.
pub async fn open(software: bool) -> Result<Place<WgpuDevice>, String> {
    let Some(adapter) = request_adapter().await else {
        return Err("This browser offers no WebGPU here, so the processor does the work.".into());
    };
    if !software && is_software(&adapter) {
        return Err("This browser's WebGPU is only emulated, so the processor does the work.".into());
    }
    if !has_feature(&adapter, NEEDED) {
        return Err(format!("The graphics processor lacks {NEEDED}, so the processor does the work."));
    }
    let device = WgpuDevice::default();
    let setup = init_setup_async::<graphics::WebGpu>(&device, RuntimeOptions::default()).await;
    setup.device.set_device_lost_callback(|_, reason| worker_scope::post(Event::DeviceLost { reason }));
    if is_software(&adapter) {
        set_tiles(Some(false));
    } else {
        let choice = tune::<Wgpu>(&device).await.map_err(|error| {
            format!("The graphics processor failed its first computation ({error}), so the processor does the work.")
        })?;
        console::debug_1(&format!("{choice:?}").into());
    }
    let limits = setup.device.limits();
    let tensor = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
    Ok(Place { device, name: name(&adapter), budget: Budget { total: MEMORY, tensor, maps: MAPS } })
}
