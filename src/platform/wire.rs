//! An [`Envelope`] as `postMessage` takes it: the array `[json, ArrayBuffer, …]`.

use js_sys::{Array, ArrayBuffer, Uint8Array};
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast, JsValue};

use crate::protocol::Envelope;

/// A value to post and the list of buffers to transfer with it.
pub(super) type Packed = (Array, Array);

/// What to post for a message and its buffers. Each is copied out of wasm's memory, which cannot be given away; from there
/// on it is transferred.
pub(super) fn pack<M: Serialize>(message: &M, buffers: &[&[u8]]) -> Result<Packed, JsValue> {
    let json = serde_json::to_string(message).map_err(|error| JsValue::from_str(&error.to_string()))?;
    let value = Array::of1(&JsValue::from_str(&json));
    let transfer = Array::new();
    for bytes in buffers {
        let buffer = Uint8Array::from(*bytes).buffer();
        value.push(&buffer);
        transfer.push(&buffer);
    }
    Ok((value, transfer))
}

/// Reads what [`pack`] wrote, its buffers copied into wasm's memory; the error is a sentence.
pub(super) fn unpack<M: DeserializeOwned>(data: &JsValue) -> Result<Envelope<M>, String> {
    let parts = data.dyn_ref::<Array>().ok_or("A message that is not a list arrived.")?;
    let json = parts.get(0).as_string().ok_or("A message without text arrived.")?;
    let message = serde_json::from_str(&json).map_err(|error| format!("A message could not be read: {error}."))?;
    let buffers = parts
        .iter()
        .skip(1)
        .map(|part| part.dyn_into::<ArrayBuffer>().map(|buffer| Uint8Array::new(&buffer).to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|_| "A message with something that is no buffer arrived.")?;
    Ok(Envelope { message, buffers })
}
