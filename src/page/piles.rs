//! The pictures to train on: what is in the two piles, and how it gets there.

use std::cell::RefCell;

use web_sys::File;

use super::{
    app::{read, send, tell},
    frames, intake, net,
    state::Message,
    training::{Message as Train, Source},
};
use crate::protocol::TrainData;

/// The data set that comes with the page.
const BUILT_IN: &str = "static/data/emoji.zip";

#[derive(Default)]
struct Piles {
    piles: [Vec<File>; 2],
    zip: Option<File>,
}

thread_local! {
    static PILES: RefCell<Piles> = RefCell::default();
}

/// The pictures and where they come from, or why there are none.
pub type Gathered = Result<(TrainData, Vec<Vec<u8>>), String>;

/// Fetches weight files, and fetches or reads what there is to train on.
pub async fn gather(weights: Vec<String>) -> Gathered {
    let progress = |done, total| send(Message::Train(Train::Gathering { done, total }));
    let mut all = Vec::new();
    for address in weights {
        all.push(net::download(&address, None, progress).await?);
    }
    let (data, buffers) = pictures(progress).await?;
    all.extend(buffers);
    Ok((data, all))
}

async fn pictures(progress: impl Fn(u64, Option<u64>) + Copy) -> Gathered {
    if read(|state| state.training.source) == Source::BuiltIn {
        let bytes = net::download(BUILT_IN, None, progress).await?;
        return Ok((TrainData::Zip { name: "emoji.zip".into() }, vec![bytes]));
    }
    if let Some(zip) = PILES.with_borrow(|all| all.zip.clone()) {
        let bytes = intake::bytes(&zip).await?;
        return Ok((TrainData::Zip { name: zip.name() }, vec![bytes]));
    }
    let [a, b] = PILES.with_borrow(|all| all.piles.clone());
    let total = (a.len() + b.len()) as u64;
    let side = read(|state| state.training.config.load_size);
    let mut buffers = Vec::new();
    for file in a.iter().chain(&b) {
        buffers.push(intake::training_bytes(file, side).await?);
        progress(buffers.len() as u64, Some(total));
    }
    let names = |files: &[File]| files.iter().map(File::name).collect();
    Ok((TrainData::Piles { a: names(&a), b: names(&b) }, buffers))
}

/// Adds pictures and the frames of videos to pile A (0) or B (1), or takes a zip for both.
pub fn fill(pile: usize, files: Vec<File>) {
    if let Some(zip) = files.iter().find(|file| intake::has_ending(file, ".zip")) {
        return take_zip(zip.clone());
    }
    let given = files.len();
    let (videos, files): (Vec<File>, Vec<File>) = files.into_iter().partition(intake::is_video);
    let pictures: Vec<File> = files.into_iter().filter(intake::is_picture).collect();
    if pictures.is_empty() && videos.is_empty() && given > 0 {
        return tell("There are no pictures among these files.", true);
    }
    let counts = PILES.with_borrow_mut(|all| {
        all.zip = None;
        all.piles[pile].extend(pictures);
        [all.piles[0].len(), all.piles[1].len()]
    });
    send(Message::Train(Train::Piles(counts)));
    if !videos.is_empty() {
        wasm_bindgen_futures::spawn_local(add_frames(pile, videos));
    }
}

async fn add_frames(pile: usize, videos: Vec<File>) {
    for video in videos {
        let progress = |done, total| send(Message::Train(Train::Frames(Some((pile, done, total)))));
        let taken = frames::of(&video, progress).await;
        send(Message::Train(Train::Frames(None)));
        match taken {
            Ok(frames) => fill(pile, frames),
            Err(problem) => tell(problem, true),
        }
    }
}

/// Empties pile A (0) or B (1), and takes a zip back.
pub fn empty(pile: usize) {
    PILES.with_borrow_mut(|all| all.piles[pile].clear());
    fill(pile, Vec::new());
}

/// Takes a zip for both piles.
pub fn take_zip(zip: File) {
    let name = zip.name();
    PILES.with_borrow_mut(|all| all.zip = Some(zip));
    send(Message::Train(Train::Zip(Some(name))));
}
