//! The worker's end of the channel: it gets [`Command`]s and posts [`Event`]s.

use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use super::{crew, wire};
use crate::protocol::{Command, Envelope, Event};

fn scope() -> Option<DedicatedWorkerGlobalScope> {
    js_sys::global().dyn_into().ok()
}

/// Posts an event to the page and transfers its buffers. Outside a worker nothing happens.
pub fn post(envelope: impl Into<Envelope<Event>>) {
    let Envelope { message, buffers } = envelope.into();
    let Some(scope) = scope() else { return };
    let buffers: Vec<_> = buffers.iter().map(Vec::as_slice).collect();
    let posted = wire::pack(&message, &buffers)
        .and_then(|(value, transfer)| scope.post_message_with_transfer(&value, &transfer));
    if let Err(error) = posted {
        // Only a value that cannot be cloned or transferred fails here: a bug, so it goes to the console.
        web_sys::console::error_1(&error);
    }
}

/// Calls `on_command` for each command that the page sends, from now until the worker ends.
/// Call it once, then post [`Event::Loaded`]: the page holds its commands back until then.
/// A message that cannot be read is answered with [`Event::Failed`]. In a worker that another worker
/// started, the first message is a seat in its crew instead, for `on_seat`.
pub fn set_on_command(mut on_command: impl FnMut(Envelope<Command>) + 'static, on_seat: impl Fn(crew::Seat) + 'static) {
    let Some(scope) = scope() else { return };
    let closure = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        if let Some(seat) = crew::Seat::from_message(&event.data()) {
            return on_seat(seat);
        }
        match wire::unpack(&event.data()) {
            Ok(envelope) => on_command(envelope),
            Err(message) => post(Event::Failed { job: None, model: None, message }),
        }
    });
    scope.set_onmessage(Some(closure.as_ref().unchecked_ref()));
    closure.forget();
}

/// Calls `on_panic` with the panic's message and place when the worker panics. The worker is lost
/// after that; the page starts a new one when it gets [`Event::Crashed`].
pub fn set_on_panic(on_panic: impl Fn(String) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |info| on_panic(info.to_string())));
}

/// Ends the worker from inside.
pub fn close() {
    if let Some(scope) = scope() {
        scope.close();
    }
}

/// Whether this code runs in a dedicated worker.
pub fn is_worker() -> bool {
    JsValue::from(js_sys::global()).is_instance_of::<DedicatedWorkerGlobalScope>()
}
