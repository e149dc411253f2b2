//! The page at work: messages change the state, effects are carried out, and each frame shows what changed.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
};

use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{
    AbortController, ClipboardEvent, DataTransfer, DragEvent, Element, Event, File, HtmlInputElement, Url,
    UrlSearchParams,
};

use super::{
    camera, dom, intake,
    models::{self, WEIGHT_FILES},
    net, piles,
    state::{Effect, Message, Notice, Picture, Place, State},
    train_view,
    training::{Look, Message as Train, Source},
    view::View,
};
use crate::{
    platform::worker_handle::{FromWorker, WorkerHandle},
    protocol::{BackendName, Command, Event as Told, Input},
};

/// Time in which a worker should have given up a job.
const CANCEL_PATIENCE_MS: i32 = 3_000;

struct App {
    state: RefCell<State>,
    view: RefCell<View>,
    inbox: RefCell<VecDeque<Message>>,
    is_updating: Cell<bool>,
    is_frame_wanted: Cell<bool>,
    worker: RefCell<Option<WorkerHandle>>,
    downloads: RefCell<HashMap<String, AbortController>>,
    /// Pictures that wait in the queue, by the numbers that the state has for them.
    pictures: RefCell<HashMap<u32, File>>,
    last_picture: Cell<u32>,
}

thread_local! {
    static APP: App = App {
        state: RefCell::new(State::new(backend_asked_for())),
        view: RefCell::default(),
        inbox: RefCell::default(),
        is_updating: Cell::new(false),
        is_frame_wanted: Cell::new(false),
        worker: RefCell::default(),
        downloads: RefCell::default(),
        pictures: RefCell::default(),
        last_picture: Cell::new(0),
    };
}

/// Starts the page.
pub fn start() {
    std::panic::set_hook(Box::new(|info| {
        let text = dom::create_text(
            "p",
            "notice notice--error",
            &["This page met a bug. Please reload it. ", &info.to_string()].concat(),
        );
        dom::append(&dom::html("notices"), &[&text]);
    }));
    super::view::connect();
    train_view::connect();
    connect_files();
    connect_address();
    camera::connect();
    spawn_worker();
    with_worker(|worker| worker.send(Command::Start { backend: backend_asked_for() }));
    spawn_local(list_models());
    spawn_local(show_storage());
    want_frame();
}

/// Tells the page what happened.
pub fn send(message: Message) {
    APP.with(|app| {
        app.inbox.borrow_mut().push_back(message);
        // A message that comes out of an effect waits for its turn.
        if app.is_updating.replace(true) {
            return;
        }
        loop {
            let next = app.inbox.borrow_mut().pop_front();
            let Some(message) = next else { break };
            let effects = app.state.borrow_mut().update(message);
            effects.into_iter().for_each(carry_out);
        }
        app.is_updating.set(false);
    });
    want_frame();
}

/// Shows the state at the next frame.
pub fn want_frame() {
    if APP.with(|app| app.is_frame_wanted.replace(true)) {
        return;
    }
    let frame = wasm_bindgen::closure::Closure::once_into_js(|| {
        APP.with(|app| {
            app.is_frame_wanted.set(false);
            app.view.borrow_mut().show(&app.state.borrow());
        });
    });
    // Fails only without a window.
    let _ = dom::window().request_animation_frame(frame.unchecked_ref());
}

/// Reads the state.
pub fn read<T>(look: impl FnOnce(&State) -> T) -> T {
    APP.with(|app| look(&app.state.borrow()))
}

/// Tells the visitor something.
pub fn tell(text: impl Into<String>, is_error: bool) {
    send(Message::Tell(Notice { text: text.into(), is_error }));
}

fn carry_out(effect: Effect) {
    match effect {
        Effect::TakeFrame(side) => camera::take_frame(side),
        Effect::CloseCamera => camera::close(),
        Effect::ReadFile(key) => spawn_local(read_picture(key)),
        Effect::StartWorker => spawn_worker(),
        Effect::Send(command) => with_worker(|worker| worker.send(command)),
        Effect::Translate(command, picture) => {
            with_worker(|worker| worker.send_with(&command, &[picture.bytes.as_slice()]));
        }
        Effect::Download { model, file } => spawn_local(download_model(model, file)),
        Effect::StopDownload(model) => {
            if let Some(controller) = APP.with(|app| app.downloads.borrow_mut().remove(&model)) {
                controller.abort();
            }
        }
        Effect::WatchCancel(job) => dom::after(CANCEL_PATIENCE_MS, move || send(Message::CancelOverdue(job))),
        Effect::GatherTrainingData { weights } => spawn_local(async {
            let gathered = piles::gather(weights).await;
            send(Message::Train(Train::Gathered(gathered)));
            show_storage().await;
        }),
        Effect::SaveFile { name, bytes } => {
            let saved = dom::blob(&bytes, "application/octet-stream").and_then(|blob| dom::save(&blob, &name));
            if let Err(error) = saved {
                tell([&name, " could not be saved: ", &dom::message_of(&error)].concat(), true);
            }
        }
    }
}

fn spawn_worker() {
    let spawned = WorkerHandle::spawn("./worker_loader.js", |from| match from {
        FromWorker::Event(envelope) => {
            if matches!(envelope.message, Told::Kept { .. }) {
                spawn_local(show_storage());
            }
            send(Message::Worker(envelope));
        }
        FromWorker::Dead(reason) => send(Message::WorkerDead(reason)),
    });
    let spawned = spawned.map_err(|error| {
        let reason = dom::message_of(&error);
        dom::after(0, move || send(Message::WorkerDead(reason)));
    });
    let old = APP.with(|app| app.worker.replace(spawned.ok()));
    // It may be the old one's message that is being handled: it ends when that is over.
    spawn_local(async move { drop(old) });
}

fn with_worker(action: impl FnOnce(&WorkerHandle)) {
    APP.with(|app| {
        if let Some(worker) = &*app.worker.borrow() {
            action(worker);
        }
    });
}

/// What the address says after its question mark.
fn parameter(name: &str) -> Option<String> {
    let search = dom::window().location().search().ok()?;
    UrlSearchParams::new_with_str(&search).ok()?.get(name)
}

fn backend_asked_for() -> Option<BackendName> {
    parameter("backend").as_deref().and_then(BackendName::parse)
}

async fn list_models() {
    let listed = match models_address() {
        Ok(address) => net::fetch_text(&address).await.and_then(|json| models::parse_list(&json)),
        Err(problem) => Err(problem),
    };
    send(Message::ModelsListed(listed));
}

/// Where the list of models is: `?models=` may name another one, on the same server only.
fn models_address() -> Result<String, String> {
    let Some(asked) = parameter("models") else { return Ok("static/models/models.json".into()) };
    let location = dom::window().location();
    let here = location.href().unwrap_or_default();
    match Url::new_with_base(&asked, &here) {
        Ok(url) if location.origin().is_ok_and(|origin| origin == url.origin()) => Ok(url.href()),
        _ => Err("The list of models named in the address must be on the same server as this page.".into()),
    }
}

async fn download_model(model: String, file: String) {
    let controller = AbortController::new().ok();
    let signal = controller.as_ref().map(AbortController::signal);
    if let Some(controller) = controller {
        APP.with(|app| app.downloads.borrow_mut().insert(model.clone(), controller));
    }
    let progress = |received, total| send(Message::Downloading { model: model.clone(), received, total });
    let result = net::download(&file, signal.clone(), progress).await;
    if signal.is_some_and(|signal| signal.aborted()) {
        return;
    }
    APP.with(|app| app.downloads.borrow_mut().remove(&model));
    send(Message::Downloaded { model, result });
    show_storage().await;
}

/// Says how much is kept on this machine.
pub async fn show_storage() {
    let stored = net::stored_bytes().await;
    let text = match stored {
        0 => "No downloads are kept on this machine.".into(),
        _ => ["Downloads kept on this machine: ", &super::format::bytes(stored), "."].concat(),
    };
    dom::text(&dom::html("storage"), &text);
    dom::show(&dom::html("clear-storage"), stored > 0);
    if let Some((used, quota)) = net::usage().await {
        let [used, quota] = [used, quota].map(super::format::bytes);
        let text = ["With downloads, this page keeps ", &used, " here; the browser lets it keep ", &quota, "."];
        dom::text(&dom::html("quota"), &text.concat());
    }
}

/// Fetches a sample and translates it.
pub fn use_sample(address: String) {
    spawn_local(async move {
        match net::fetch_bytes(&address).await {
            Ok(bytes) => {
                let name = address.rsplit('/').next().unwrap_or(&address).to_owned();
                let input = Input::File { name: name.clone() };
                send(Message::Pictures(vec![Picture { name, input, bytes, sample: Some(address) }]));
            }
            Err(problem) => tell(problem, true),
        }
    });
}

/// Takes files for the place where the visitor is; `pile` if they were dropped on one.
fn take_files(files: Vec<File>, pile: Option<usize>) {
    let (weights, files): (Vec<File>, Vec<File>) =
        files.into_iter().partition(|file| WEIGHT_FILES.iter().any(|ending| intake::has_ending(file, ending)));
    // The weights of an ONNX graph may lie in files of any name beside it.
    let is_graph = weights.first().is_some_and(|file| intake::has_ending(file, ".onnx"));
    let (data, files): (Vec<File>, Vec<File>) =
        files.into_iter().partition(|file| intake::has_ending(file, ".data") || is_graph && intake::is_unknown(file));
    if let Some(weights) = weights.into_iter().next() {
        spawn_local(async move {
            match read_with(&weights, data).await {
                Ok((bytes, _)) if read(|state| state.place) == Place::Train => {
                    send(Message::Train(Train::Import { file: weights.name(), bytes }));
                }
                Ok((bytes, data)) => send(Message::WeightFile { file: weights.name(), bytes, data }),
                Err(problem) => tell(problem, true),
            }
        });
    } else if let Some(data) = data.first() {
        tell([&data.name(), " holds weights of an ONNX graph: give it together with its .onnx file."].concat(), true);
    }
    let (settings, files): (Vec<File>, Vec<File>) =
        files.into_iter().partition(|file| intake::has_ending(file, ".toml"));
    if let Some(settings) = settings.into_iter().next() {
        take_bytes(settings, |file, bytes| Train::LoadSettings { file, bytes });
    }
    if files.is_empty() {
        return;
    }
    match (read(|state| state.place), pile) {
        (Place::Train, None) if read(|state| state.training.inspector.is_open) => {
            if let Some(picture) = files.into_iter().find(intake::is_picture) {
                inspect(picture);
            }
        }
        (Place::Train, Some(pile)) => piles::fill(pile, files),
        (Place::Train, None) => match files.into_iter().find(|file| intake::has_ending(file, ".zip")) {
            Some(zip) => piles::take_zip(zip),
            None => {
                send(Message::Train(Train::UseSource(Source::Own)));
                tell("Drop pictures on A or on B.", false);
            }
        },
        (Place::Translate, _) => take_pictures(files),
    }
}

/// The bytes of a weight file and of the files given with it.
async fn read_with(weights: &File, others: Vec<File>) -> Result<(Vec<u8>, Vec<(String, Vec<u8>)>), String> {
    let bytes = intake::bytes(weights).await?;
    let mut data = Vec::with_capacity(others.len());
    for file in others {
        data.push((file.name(), intake::bytes(&file).await?));
    }
    Ok((bytes, data))
}

/// Reads a file for the Train place.
fn take_bytes(file: File, message: impl Fn(String, Vec<u8>) -> Train + 'static) {
    spawn_local(async move {
        match intake::bytes(&file).await {
            Ok(bytes) => send(Message::Train(message(file.name(), bytes))),
            Err(problem) => tell(problem, true),
        }
    });
}

/// Takes a picture through the networks of the training.
fn inspect(picture: File) {
    take_bytes(picture, |name, bytes| Train::Inspect(Look::File { name, bytes }));
}

/// Puts pictures into the queue; they are read when their turn comes.
fn take_pictures(files: Vec<File>) {
    let (pictures, others): (Vec<File>, Vec<File>) = files.into_iter().partition(intake::is_picture);
    let waiting = APP.with(|app| {
        let mut known = app.pictures.borrow_mut();
        let state = app.state.borrow();
        known.retain(|key, _| state.waits_for(*key));
        let take = |file: File| {
            let key = app.last_picture.get() + 1;
            app.last_picture.set(key);
            let name = file.name();
            known.insert(key, file);
            (key, name)
        };
        pictures.into_iter().map(take).collect()
    });
    send(Message::Files(waiting));
    let others: Vec<String> = others.iter().map(File::name).collect();
    if !others.is_empty() {
        let kind = if others.len() == 1 {
            " is neither a picture nor a weight file (.safetensors, .pth, .onnx)."
        } else {
            " are neither pictures nor weight files (.safetensors, .pth, .onnx)."
        };
        tell([&others.join(", "), kind].concat(), true);
    }
}

async fn read_picture(key: u32) {
    let file = APP.with(|app| app.pictures.borrow().get(&key).cloned());
    let result = match file {
        Some(file) => intake::picture(&file).await,
        None => Err("The file is no longer at hand. Please give it again.".into()),
    };
    send(Message::FileRead { key, result });
}

/// Files that come by the file dialog, by drag and drop, and by paste.
fn connect_files() {
    let inputs = [
        ("choose", "file"),
        ("import", "import-file"),
        ("load-settings", "settings-file"),
        ("inspect-choose", "inspect-file"),
    ];
    for (button, input) in inputs {
        dom::on_click(button, move || dom::html(input).click());
    }
    connect_input("settings-file", |files| take_files(files, None));
    connect_input("inspect-file", |files| files.into_iter().take(1).for_each(inspect));
    connect_input("import-file", |files| take_files(files, None));
    connect_input("file", |files| take_files(files, None));
    for (pile, name) in ["a", "b"].into_iter().enumerate() {
        for (button, input) in [("add-", "files-"), ("folder-", "folder-files-")] {
            let input = [input, name].concat();
            connect_input(&input, move |files| piles::fill(pile, files));
            dom::on_click(&[button, name].concat(), move || dom::html(&input).click());
        }
        dom::on_click(&["empty-", name].concat(), move || piles::empty(pile));
    }

    let document = dom::document();
    dom::on(&document, "paste", |event: ClipboardEvent| {
        let files = event.clipboard_data().map(|data| intake::files(data.files())).unwrap_or_default();
        if !files.is_empty() {
            event.prevent_default();
            take_files(files, None);
        }
    });
    dom::on(&document, "dragover", |event: DragEvent| {
        if brings_files(event.data_transfer().as_ref()) {
            event.prevent_default();
            show_drop(true, pile_under(&event));
        }
    });
    dom::on(&document, "dragleave", |event: DragEvent| {
        // Only leaving the window has nowhere to go to.
        if event.related_target().is_none() {
            show_drop(false, None);
        }
    });
    dom::on(&document, "drop", |event: DragEvent| {
        show_drop(false, None);
        let Some(transfer) = event.data_transfer().filter(|transfer| brings_files(Some(transfer))) else { return };
        event.prevent_default();
        let pile = pile_under(&event);
        let files = intake::dropped(&transfer);
        spawn_local(async move { take_files(files.await, pile) });
    });
}

fn connect_input(id: &str, take: impl Fn(Vec<File>) + 'static) {
    let input: HtmlInputElement = dom::by_id(id);
    dom::on(&input.clone(), "change", move |_: Event| {
        take(intake::files(input.files()));
        // So that the same file can be given again.
        input.set_value("");
    });
}

fn brings_files(transfer: Option<&DataTransfer>) -> bool {
    transfer.is_some_and(|transfer| transfer.types().iter().any(|kind| kind == "Files"))
}

fn pile_under(event: &DragEvent) -> Option<usize> {
    let target: Element = event.target()?.dyn_into().ok()?;
    target.closest(".pile").ok()??.get_attribute("data-pile")?.parse().ok()
}

/// Shows where a drop would go.
fn show_drop(is_dragging: bool, pile: Option<usize>) {
    let in_translate = read(|state| state.place) == Place::Translate;
    dom::show(&dom::html("drop-overlay"), is_dragging && in_translate);
    for (index, id) in ["pile-a", "pile-b"].into_iter().enumerate() {
        // Fails only for names with odd characters.
        let _ = dom::html(id).toggle_attribute_with_force("data-over", pile == Some(index));
    }
}

/// The two places have addresses, so that going back works.
fn connect_address() {
    let go = || {
        let place = match dom::window().location().hash().as_deref() {
            Ok("#train") => Place::Train,
            _ => Place::Translate,
        };
        send(Message::Go(place));
    };
    dom::on(&dom::window(), "hashchange", move |_: Event| go());
    go();
    dom::on(&dom::window(), "resize", |_: Event| {
        APP.with(|app| app.view.borrow_mut().forget_sizes());
        want_frame();
    });
    // For tests: a page must survive a worker that dies, so there has to be a way to kill it.
    dom::on(&dom::document(), "cyclegan:crash", |_: Event| with_worker(|worker| worker.send(Command::Crash)));
}
