//! Keeps the training, so that it survives a closed tab: the pictures once, a checkpoint every now and then.
//!
//! Each training has a folder of its own: `pictures.zip`, `step-N.safetensors`, and `about.json`, which is written
//! after the checkpoint of its step N: a tab may go at any moment, and what is told is what is there.
//! A newer training deletes the folders of others with its first checkpoint; a tab whose folder is gone
//! says so and trains on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen_futures::spawn_local;

use crate::config::TrainConfig;
use crate::data;
use crate::platform::shelf::{Shelf, ShelfError};
use crate::platform::worker_scope::post;
use crate::platform::yield_to_event_loop;
use crate::protocol::{Event, KeptTraining, TrainData};

const ROOM: &str = "trainings";
const PICTURES: &str = "pictures.zip";
const ABOUT: &str = "about.json";

/// The file of the checkpoint after so many steps.
fn checkpoint(step: u64) -> String {
    format!("step-{step}.safetensors")
}

/// The step of a checkpoint's file; none for the other files.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// A checkpoint on its way.
struct Written {
    step: u64,
    config: Box<TrainConfig>,
    bytes: Vec<u8>,
}

/// The keeper of the worker's training; cheap to clone.
#[derive(Clone, Default)]
pub struct Keeper(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// The training under way: its folder's name, and the bytes of its pictures.
    folder: RefCell<Option<(String, u64)>>,
    is_writing: Cell<bool>,
    /// Came while the one before was being written; a newer one takes its place.
    next: RefCell<Option<Written>>,
    /// Whether the visitor knows already that the training is not kept.
    has_complained: Cell<bool>,
}

impl Keeper {
    /// Tells the page what is kept from an earlier visit.
    pub async fn announce(&self) {
        let training = newest().await.ok().flatten().map(|(_, about)| about);
        post(Event::Kept { training });
    }

    /// A training begins: its pictures are put away.
    pub async fn begins(&self, data: &TrainData, buffers: &[Vec<u8>]) {
        self.0.folder.replace(None);
        self.0.next.replace(None);
        self.0.has_complained.set(false);
        let name = format!("{:.0}-{:08x}", js_sys::Date::now(), (js_sys::Math::random() * f64::from(u32::MAX)) as u32);
        match put_away(&name, data, buffers).await {
            Ok(bytes) => drop(self.0.folder.replace(Some((name, bytes)))),
            Err(reason) => self.complain(&reason),
        }
    }

    /// Keeps a checkpoint; returns at once.
    pub fn keep(&self, step: u64, config: Box<TrainConfig>, bytes: Vec<u8>) {
        if self.0.folder.borrow().is_none() {
            return;
        }
        self.0.next.replace(Some(Written { step, config, bytes }));
        if self.0.is_writing.replace(true) {
            return;
        }
        let keeper = self.clone();
        spawn_local(async move {
            while let Some(page) = keeper.0.next.take() {
                keeper.write(page).await;
            }
            keeper.0.is_writing.set(false);
        });
    }

    /// Waits until nothing is being written.
    pub async fn settle(&self) {
        while self.0.is_writing.get() {
            yield_to_event_loop().await;
        }
    }

    async fn write(&self, Written { step, config, bytes }: Written) {
        let Some((name, pictures)) = self.0.folder.borrow().clone() else { return };
        let about = KeptTraining { step, config, time: js_sys::Date::now(), bytes: bytes.len() as u64 + pictures };
        let written = async {
            let room = Shelf::open(ROOM).await?;
            if !room.names().await?.contains(&name) {
                return Err(ShelfError::Gone);
            }
            let folder = room.folder(&name).await?;
            folder.write(&checkpoint(step), &bytes).await?;
            folder.write(ABOUT, serde_json::to_string(&about).unwrap_or_default().as_bytes()).await?;
            // Only older ones: a tab that is going may still write beside the one that took over.
            for old in folder.names().await?.iter().filter(|name| step_of(name).is_some_and(|old| old < step)) {
                folder.remove(old).await?;
            }
            for other in room.names().await?.iter().filter(|other| **other != name) {
                // Another tab may have a file of it open; then it goes with the next checkpoint.
                let _ = room.remove(other).await;
            }
            Ok(())
        };
        match written.await {
            Ok(()) => post(Event::Kept { training: Some(about) }),
            Err(ShelfError::Gone) => {
                self.0.folder.replace(None);
                self.complain("a newer one, in another tab, took its place, or it was deleted");
            }
            Err(error) => self.complain(&error.to_string()),
        }
    }

    fn complain(&self, reason: &str) {
        if !self.0.has_complained.replace(true) {
            let message = format!(
                "This training goes on, but cannot be kept when the tab closes: {reason}. \
                 Save the training as a file to go on with it later."
            );
            post(Event::NotKept { message });
        }
    }

    /// The checkpoint and the pictures of the newest training; later checkpoints are kept with them.
    pub async fn kept(&self) -> Result<[Vec<u8>; 2], String> {
        let broken = |error: ShelfError| format!("The kept training cannot be read: {error}.");
        let (name, about) = newest().await.map_err(broken)?.ok_or("No training is kept on this machine.")?;
        let read = async {
            let folder = Shelf::open(ROOM).await?.folder(&name).await?;
            Ok([folder.read(&checkpoint(about.step)).await?, folder.read(PICTURES).await?])
        };
        let files = read.await.map_err(broken)?;
        self.0.has_complained.set(false);
        self.0.folder.replace(Some((name, files[1].len() as u64)));
        Ok(files)
    }

    /// Deletes every training.
    pub async fn forget(&self) {
        self.0.folder.replace(None);
        self.0.next.replace(None);
        if let Ok(room) = Shelf::open(ROOM).await {
            for name in room.names().await.unwrap_or_default() {
                // What is left is told below.
                let _ = room.remove(&name).await;
            }
        }
        self.announce().await;
    }
}

async fn put_away(name: &str, pictures: &TrainData, buffers: &[Vec<u8>]) -> Result<u64, String> {
    let put = async |zip: &[u8]| -> Result<u64, ShelfError> {
        Shelf::open(ROOM).await?.folder(name).await?.write(PICTURES, zip).await?;
        Ok(zip.len() as u64)
    };
    let put = match (pictures, buffers) {
        (TrainData::Zip { .. }, [zip, ..]) => put(zip).await,
        (TrainData::Piles { a, b }, files) => put(&data::pack(a, b, files).map_err(|error| error.to_string())?).await,
        _ => return Err("these pictures are not in this browser".into()),
    };
    put.map_err(|error| error.to_string())
}

/// The name of the newest complete training's folder, and what it is.
async fn newest() -> Result<Option<(String, KeptTraining)>, ShelfError> {
    let room = Shelf::open(ROOM).await?;
    let mut newest: Option<(String, KeptTraining)> = None;
    for name in room.names().await? {
        // Without it, or with one that cannot be read, it was never complete.
        let Ok(about) = room.folder(&name).await?.read(ABOUT).await else { continue };
        let Ok(about) = serde_json::from_slice::<KeptTraining>(&about) else { continue };
        if newest.as_ref().is_none_or(|(_, best)| best.time < about.time) {
            newest = Some((name, about));
        }
    }
    Ok(newest)
}
