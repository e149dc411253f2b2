//! The browser worker: a [session](crate::session) behind `postMessage`.

#[cfg(feature = "wgpu")]
mod adapter;
mod keeper;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Poll, Waker};

use burn::backend::{Autodiff, Flex};
use wasm_bindgen_futures::spawn_local;

use keeper::Keeper;

use crate::kernels;
use crate::platform::{crew, worker_scope};
use crate::protocol::{BackendName, Command, Envelope, Event, TrainData};
use crate::session::{End, Host, Inbox, Place, Session};
use crate::translate::Budget;

/// What a translation may take. A worker has 4 GiB of addresses, but phones and tabs beside this one have less.
const MEMORY: u64 = 1408 << 20;

/// Feature maps alive at the worst moment of a translation: measured with flex, 2.1, and a margin.
const CPU_MAPS: f64 = 3.0;

/// Measured with candle natively: 2.5, and a margin.
#[cfg(feature = "candle")]
const CANDLE_MAPS: f64 = 4.0;

/// A training in the page loses at most so much to a closed tab.
const KEEP_SECONDS: u32 = 20;

#[derive(Default)]
struct Page {
    inbox: Inbox,
    waiting: RefCell<Option<Waker>>,
    keeper: Keeper,
}

impl Page {
    fn receive(&self, command: Envelope<Command>) {
        self.inbox.put(command);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl Host for Page {
    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn emit(&self, event: Envelope<Event>) {
        match event.message {
            Event::Checkpoint { step, config } => {
                self.keeper.keep(step, config, event.buffers.into_iter().next().unwrap_or_default());
            }
            _ => worker_scope::post(event),
        }
    }

    async fn breathe(&self) {
        crate::platform::yield_to_event_loop().await;
    }

    async fn wait(&self) -> bool {
        std::future::poll_fn(|context| {
            if self.inbox.is_empty() {
                self.waiting.replace(Some(context.waker().clone()));
                Poll::Pending
            } else {
                Poll::Ready(true)
            }
        })
        .await
    }

    fn keeps_every(&self) -> u32 {
        KEEP_SECONDS
    }

    async fn begins(&self, data: &TrainData, buffers: &[Vec<u8>]) {
        self.keeper.begins(data, buffers).await;
    }

    async fn settle(&self) {
        self.keeper.settle().await;
    }

    async fn kept(&self) -> Result<[Vec<u8>; 2], String> {
        self.keeper.kept().await
    }

    async fn forget(&self) {
        self.keeper.forget().await;
    }
}

/// Starts the worker; it serves the page until it is terminated.
pub fn start() {
    worker_scope::set_on_panic(|message| worker_scope::post(Event::Crashed { message }));
    let page = Rc::new(Page::default());
    let receiver = page.clone();
    worker_scope::set_on_command(move |command| receiver.receive(command), |seat| seat.serve(kernels::help));
    worker_scope::post(Event::Loaded);
    spawn_local(async move { serve(&page).await });
}

async fn serve(page: &Page) {
    let mut asked = None;
    page.wait().await;
    match page.inbox.take() {
        Some(Envelope { message: Command::Start { backend }, .. }) => asked = backend,
        // Without a start the best backend serves it.
        first => first.into_iter().for_each(|first| page.inbox.put_back(first)),
    }
    // Not before: a helper of the crew is given no command, and has nothing to tell.
    let keeper = page.keeper.clone();
    spawn_local(async move { keeper.announce().await });
    if let End::DeviceLost(reason) = run(page, asked).await {
        // The page starts a new worker on the processor and sends the work again.
        page.emit(Event::DeviceLost { reason }.into());
    }
}

/// Runs a session on the backend asked for, or on the best there is.
async fn run(page: &Page, asked: Option<BackendName>) -> End {
    let ready = |backend, device: &str, note| page.emit(Event::Ready { backend, device: device.into(), note }.into());
    let mut note: Option<String> = None;
    match asked {
        #[cfg(feature = "candle")]
        Some(BackendName::Candle) => {
            #[allow(deprecated, reason = "burn-candle is deprecated after 0.21, on which this project stays")]
            type Candle = burn::backend::Candle;
            let name = "CPU (candle in WebAssembly)";
            ready(BackendName::Candle, name, note);
            let budget = Budget { total: MEMORY, tensor: MEMORY, maps: CANDLE_MAPS };
            let place = Place { device: Default::default(), name: name.into(), budget };
            return Session::<Autodiff<Candle>, _>::new(page, place).run().await;
        }
        Some(BackendName::Flex) => {}
        Some(BackendName::Cuda) => note = Some("A page cannot use CUDA.".into()),
        #[cfg(feature = "wgpu")]
        None | Some(BackendName::Wgpu) => match adapter::open(asked.is_some()).await {
            Ok(place) => {
                ready(BackendName::Wgpu, &place.name, note);
                return Session::<Autodiff<burn::backend::Wgpu>, _>::new(page, place).run().await;
            }
            Err(reason) => note = Some(reason),
        },
        #[allow(unreachable_patterns, reason = "reached when a backend's feature is off")]
        _ => note = Some("That backend is not part of this build.".into()),
    }
    let called = crew::call();
    if let Err(reason) = called {
        note = Some(note.map_or(reason.into(), |note| [&note, " ", reason].concat()));
    }
    let name = match called.unwrap_or(0) {
        0 => "CPU (WebAssembly SIMD)".into(),
        helpers => format!("CPU (WebAssembly SIMD, {} threads)", helpers + 1),
    };
    ready(BackendName::Flex, &name, note);
    let budget = Budget { total: MEMORY, tensor: MEMORY, maps: CPU_MAPS };
    let place = Place { device: Default::default(), name, budget };
    Session::<Autodiff<Flex>, _>::new(page, place).run().await
}
