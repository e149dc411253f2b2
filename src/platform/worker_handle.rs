//! The page's end of the channel: it starts the worker, sends [`Command`]s and gets [`Event`]s.

use std::{cell::RefCell, rc::Rc};

use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use super::wire::{self, Packed};
use crate::protocol::{Command, Envelope, Event};

/// What a worker has to say to the page.
pub enum FromWorker {
    /// An event, with its buffers.
    Event(Envelope<Event>),
    /// The worker is dead or talks nonsense; a sentence for people (may be empty).
    Dead(String),
}

/// A running worker. Dropping it ends the worker at once, whatever it is doing.
pub struct WorkerHandle {
    worker: Worker,
    /// Commands given before the worker was there to hear them; `None` once it is.
    waiting: Rc<RefCell<Option<Vec<Packed>>>>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_error: Closure<dyn FnMut(ErrorEvent)>,
}

impl WorkerHandle {
    /// Starts the module worker at `url` (relative to the page). Commands can be sent right away:
    /// they wait here until the worker says [`Event::Loaded`].
    ///
    /// # Errors
    /// Where the browser cannot start a worker.
    pub fn spawn(url: &str, on_event: impl Fn(FromWorker) + 'static) -> Result<Self, JsValue> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = Worker::new_with_options(url, &options)?;
        let waiting = Rc::new(RefCell::new(Some(Vec::new())));
        let on_event = Rc::new(on_event);

        let on_message = Closure::<dyn FnMut(MessageEvent)>::new({
            let (worker, waiting, on_event) = (worker.clone(), waiting.clone(), on_event.clone());
            move |event: MessageEvent| match wire::unpack::<Event>(&event.data()) {
                Ok(envelope) => {
                    if envelope.message == Event::Loaded {
                        for command in waiting.take().into_iter().flatten() {
                            post(&worker, &command);
                        }
                    }
                    on_event(FromWorker::Event(envelope));
                }
                Err(message) => on_event(FromWorker::Dead(message)),
            }
        });
        let on_error = Closure::<dyn FnMut(ErrorEvent)>::new(move |event: ErrorEvent| {
            // The page tells people; the console need not.
            event.prevent_default();
            let message = js_sys::Reflect::get(&event, &"message".into()).ok().and_then(|text| text.as_string());
            on_event(FromWorker::Dead(message.unwrap_or_default()));
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Ok(Self { worker, waiting, _on_message: on_message, _on_error: on_error })
    }

    /// Sends a command.
    pub fn send(&self, command: impl Into<Envelope<Command>>) {
        let Envelope { message, buffers } = command.into();
        self.send_with(&message, &buffers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }

    /// Sends a command with buffers that somebody keeps.
    pub fn send_with(&self, command: &Command, buffers: &[&[u8]]) {
        match wire::pack(command, buffers) {
            Ok(packed) => match &mut *self.waiting.borrow_mut() {
                Some(waiting) => waiting.push(packed),
                None => post(&self.worker, &packed),
            },
            Err(error) => web_sys::console::error_1(&error),
        }
    }
}

fn post(worker: &Worker, (value, transfer): &Packed) {
    if let Err(error) = worker.post_message_with_transfer(value, transfer) {
        // Only a value that cannot be cloned or transferred fails here: a bug, so it goes to the console.
        web_sys::console::error_1(&error);
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}
