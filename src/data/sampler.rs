//! What a training step sees: a picture of each domain, prepared as its [`Recipe`] says.
//!
//! Every decision is a function of (seed, index), so a resumed training draws what an unbroken one would, and it makes
//! no difference that natively threads draw ahead of the training.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::RngExt;
use rand_pcg::Pcg64;

use super::{DataError, Recipe, Source, UnpairedDataset};
use crate::config::TrainConfig;
use crate::image::Picture;
use crate::platform::ahead::Ahead;
use crate::random;

/// Decoded and resized pictures are kept up to this many bytes (of RGBA8), over both piles.
const CACHE_BYTES: usize = 256 << 20;

/// Pictures are drawn ahead up to this many bytes, over both piles, ...
const AHEAD_BYTES: usize = 64 << 20;

/// ... and at most so many of each domain.
const MAX_AHEAD: usize = 64;

/// The pictures at one index.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Of domain A; `size`×`size`, or without crops of any size that suits the networks.
    pub a: Picture,
    /// Of domain B, likewise.
    pub b: Picture,
    /// Images met for the first time that cannot be used: name and reason.
    pub skipped: Vec<(String, String)>,
}

/// Draws the pictures of each step, much as the official code does: a pile's images are met in a
/// random order, a new one each time round, A's and B's independent of each other, and each is
/// cropped, mirrored and augmented at random. Natively threads of its own read, decode and prepare what is drawn next.
pub struct Sampler {
    seed: u64,
    recipe: Recipe,
    room: usize,
    running: Option<Running>,
    /// Images that were told of, by pile and name.
    told: HashSet<(&'static str, String)>,
}

/// A data set that is being drawn from.
struct Running {
    piles: Arc<[Pile; 2]>,
    ahead: Ahead<Result<[Found; 2], DataError>>,
}

impl Sampler {
    /// A sampler with the seed and the recipe of a training.
    pub fn new(config: &TrainConfig) -> Self {
        let recipe = Recipe::new(config);
        Self { seed: config.seed, recipe, room: CACHE_BYTES, running: None, told: HashSet::new() }
    }

    /// The pictures at an index, counted from 0: one of each domain; a step takes as many as its batches hold. An
    /// image that cannot be used is named once in [`Drawn::skipped`], and the next one in order takes its turn.
    ///
    /// Cheapest with rising indices, which is what is prepared for; a data set with other names starts anew.
    ///
    /// # Errors
    /// When a pile has no image that can be used.
    pub fn draw(&mut self, dataset: &UnpairedDataset, index: u64) -> Result<Drawn, DataError> {
        let (seed, recipe, room) = (self.seed, self.recipe, self.room);
        let running = match &mut self.running {
            Some(running) if running.is_of(dataset) => running,
            other => other.insert(Running::start(seed, recipe, room, dataset)),
        };
        let [a, b] = running.ahead.take(index)?;
        let mut skipped = Vec::new();
        for (pile, broken) in [(running.piles[0].name, a.broken), (running.piles[1].name, b.broken)] {
            let new = broken.into_iter().filter(|(name, _)| self.told.insert((pile, name.clone())));
            skipped.extend(new);
        }
        Ok(Drawn { a: a.picture, b: b.picture, skipped })
    }
}

impl Running {
    fn start(seed: u64, recipe: Recipe, room: usize, dataset: &UnpairedDataset) -> Self {
        let room = Arc::new(AtomicUsize::new(room));
        let pile = |name, sources: &[Source]| Pile::new(name, seed, recipe, sources.to_vec(), Arc::clone(&room));
        let piles = Arc::new([pile("A", &dataset.train_a), pile("B", &dataset.train_b)]);
        let depth = (AHEAD_BYTES / (2 * recipe.largest())).clamp(2, MAX_AHEAD);
        let drawn_from = Arc::clone(&piles);
        let draw = move |index| Ok([drawn_from[0].draw(index)?, drawn_from[1].draw(index)?]);
        Self { piles, ahead: Ahead::new(depth, draw) }
    }

    fn is_of(&self, dataset: &UnpairedDataset) -> bool {
        let sides = self.piles.iter().zip([&dataset.train_a, &dataset.train_b]);
        let same = |pile: &Pile, sources: &[Source]| {
            pile.sources.len() == sources.len()
                && pile.sources.iter().zip(sources).all(|(one, other)| one.name == other.name)
        };
        sides.into_iter().all(|(pile, sources)| same(pile, sources))
    }
}

/// What was drawn from one pile.
#[derive(Debug, PartialEq)]
struct Found {
    picture: Picture,
    /// The images before it in turn that cannot be used: name and reason.
    broken: Vec<(String, String)>,
}

/// One pile. Any thread may draw from it, at any index.
struct Pile {
    name: &'static str,
    seed: u64,
    recipe: Recipe,
    sources: Vec<Source>,
    known: Mutex<Known>,
    /// Bytes that the caches of both piles may still take.
    room: Arc<AtomicUsize>,
}

/// What is remembered of a pile; all of it can be found out again.
#[derive(Default)]
struct Known {
    /// The orders of the times round that are being drawn from.
    orders: BTreeMap<u64, Arc<[usize]>>,
    broken: HashMap<usize, String>,
    cache: HashMap<usize, Arc<Picture>>,
}

impl Pile {
    fn new(name: &'static str, seed: u64, recipe: Recipe, sources: Vec<Source>, room: Arc<AtomicUsize>) -> Self {
        Self { name, seed, recipe, sources, known: Mutex::default(), room }
    }

    fn draw(&self, index: u64) -> Result<Found, DataError> {
        let count = self.sources.len();
        if count == 0 {
            return Err(DataError::EmptyPile { pile: self.name });
        }
        let order = self.order(index / count as u64);
        let start = (index % count as u64) as usize;
        let mut broken = Vec::new();
        for turn in 0..count {
            let at = order[(start + turn) % count];
            match self.loaded(at) {
                Ok(picture) => {
                    let picture = self.recipe.augment(&picture, self.stream("augment", index));
                    return Ok(Found { picture, broken });
                }
                Err(reason) => broken.push((self.sources[at].name.clone(), reason)),
            }
        }
        let file = self.sources[0].name.clone();
        let reason = broken.into_iter().find(|(name, _)| *name == file).map_or_else(String::new, |(_, reason)| reason);
        Err(DataError::NoReadableImage { pile: self.name, file, reason })
    }

    /// The image before anything random happens to it, from the cache where it is there; or why it cannot be used.
    /// Once full the cache stays as it is: in random rounds through a pile no image is asked for sooner than any other.
    fn loaded(&self, at: usize) -> Result<Arc<Picture>, String> {
        {
            let known = self.known();
            if let Some(picture) = known.cache.get(&at) {
                return Ok(Arc::clone(picture));
            }
            if let Some(reason) = known.broken.get(&at) {
                return Err(reason.clone());
            }
        }
        // Without the lock, so that other threads can do the same with other images.
        let picture = match self.sources[at].picture() {
            Ok(picture) => Arc::new(self.recipe.load(picture)),
            Err(error) => {
                let reason = error.to_string();
                self.known().broken.insert(at, reason.clone());
                return Err(reason);
            }
        };
        let bytes = picture.pixels.len();
        let mut known = self.known();
        if !known.cache.contains_key(&at)
            && self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(bytes)).is_ok()
        {
            known.cache.insert(at, Arc::clone(&picture));
        }
        Ok(picture)
    }

    /// The order in which the images are met the `round`th time round (Fisher–Yates).
    fn order(&self, round: u64) -> Arc<[usize]> {
        if let Some(order) = self.known().orders.get(&round) {
            return Arc::clone(order);
        }
        let mut stream = self.stream("order", round);
        let mut order: Vec<usize> = (0..self.sources.len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, stream.random_range(0..=last));
        }
        let order: Arc<[usize]> = order.into();
        let mut known = self.known();
        // Who draws ahead is at most a round ahead, unless the pile is so small that orders cost nothing.
        known.orders.retain(|other, _| other.abs_diff(round) <= 1);
        known.orders.insert(round, Arc::clone(&order));
        order
    }

    /// A random stream of this pile's own.
    fn stream(&self, purpose: &str, index: u64) -> Pcg64 {
        random::stream(self.seed, &format!("{purpose}_{}", self.name), index)
    }

    /// Nothing is decoded under the lock, so a panic leaves all of it true.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preprocess;

    /// A pile of `count` pictures of 8×8, each of one level that no other has, darker on the left.
    fn pile(count: u8, base: u8) -> Vec<(String, Vec<u8>)> {
        let one = |index: u8| {
            let level = |i: usize| if i % 8 < 4 { base + index } else { base + index + 100 };
            let pixels = (0..64).flat_map(|i| [level(i), level(i), level(i), 255]).collect();
            let file = Picture { width: 8, height: 8, pixels }.encode_png().expect("a picture can be written");
            (format!("{index}.png"), file)
        };
        (0..count).map(one).collect()
    }

    fn config(load_size: u32, size: u32, flip: bool) -> TrainConfig {
        TrainConfig { seed: 3, load_size, size, flip, ..TrainConfig::default() }
    }

    fn level(picture: &Picture) -> u8 {
        picture.pixels.iter().copied().min().expect("a picture has pixels")
    }

    #[test]
    fn each_round_meets_every_image_once_in_a_new_order() {
        let dataset = UnpairedDataset::from_piles(pile(7, 0), pile(4, 50)).expect("two piles");
        let mut sampler = Sampler::new(&config(8, 8, false));
        let drawn: Vec<_> = (0..28).map(|step| sampler.draw(&dataset, step).expect("all can be read")).collect();
        let levels_a: Vec<u8> = drawn.iter().map(|drawn| level(&drawn.a)).collect();
        let levels_b: Vec<u8> = drawn.iter().map(|drawn| level(&drawn.b)).collect();
        for (levels, count, base) in [(&levels_a, 7, 0), (&levels_b, 4, 50)] {
            for round in levels.chunks(count) {
                let mut sorted = round.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, (base..base + count as u8).collect::<Vec<_>>());
            }
            assert!(levels.chunks(count).any(|round| round != &levels[..count]), "the order changes");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_and_step_alone() {
        let dataset = UnpairedDataset::from_piles(pile(5, 0), pile(5, 50)).expect("two piles");
        let config = config(12, 8, true);
        let mut unbroken = Sampler::new(&config);
        let all: Vec<_> = (0..20).map(|step| unbroken.draw(&dataset, step).expect("all can be read")).collect();
        for step in [13, 2, 19] {
            assert_eq!(Sampler::new(&config).draw(&dataset, step).as_ref(), Ok(&all[step as usize]));
        }
        let other = TrainConfig { seed: 4, ..config };
        let mut other = Sampler::new(&other);
        assert!((0..20).any(|step| other.draw(&dataset, step).expect("all can be read") != all[step as usize]));
    }

    #[test]
    fn about_half_are_mirrored_and_crops_move() {
        let dataset = UnpairedDataset::from_piles(pile(1, 0), pile(1, 50)).expect("two piles");
        let mut sampler = Sampler::new(&config(8, 8, true));
        let mirrored = (0..400).filter(|step| {
            let drawn = sampler.draw(&dataset, *step).expect("all can be read");
            drawn.a.pixels[0] > drawn.a.pixels[4 * 7]
        });
        assert!((160..240).contains(&mirrored.count()));
        let mut sampler = Sampler::new(&config(11, 8, false));
        let crops: HashSet<Vec<u8>> =
            (0..100).map(|step| sampler.draw(&dataset, step).expect("all can be read").a.pixels).collect();
        assert_eq!(crops.len(), 4, "the picture changes along x only: four places to crop at");
    }

    #[test]
    fn broken_images_are_named_once_and_replaced() {
        let mut a = pile(3, 0);
        a[1].1.truncate(20);
        a.push(("note.png".into(), b"not an image".to_vec()));
        let dataset = UnpairedDataset::from_piles(a, pile(2, 50)).expect("two piles");
        let mut sampler = Sampler::new(&config(8, 8, false));
        let mut skipped = Vec::new();
        for step in 0..12 {
            let drawn = sampler.draw(&dataset, step).expect("two images are left");
            assert!([0, 2].contains(&level(&drawn.a)));
            skipped.extend(drawn.skipped.into_iter().map(|(name, _)| name));
        }
        skipped.sort();
        assert_eq!(skipped, ["1.png", "note.png"]);
    }

    #[test]
    fn a_pile_without_one_good_image_is_an_error() {
        let bad = vec![("x.png".to_owned(), b"text".to_vec()), ("y.png".to_owned(), vec![])];
        let dataset = UnpairedDataset::from_piles(pile(1, 0), bad).expect("two piles");
        let error = Sampler::new(&config(8, 8, false)).draw(&dataset, 0).expect_err("B has no image");
        assert!(matches!(&error, DataError::NoReadableImage { pile: "B", file, .. } if file == "x.png"), "{error}");
    }

    #[test]
    fn a_full_cache_changes_nothing() {
        let dataset = UnpairedDataset::from_piles(pile(3, 0), pile(3, 50)).expect("two piles");
        let config = config(8, 8, true);
        let (mut with, mut without) = (Sampler::new(&config), Sampler::new(&config));
        without.room = 300;
        for step in 0..9 {
            assert_eq!(with.draw(&dataset, step), without.draw(&dataset, step));
        }
        let room =
            |sampler: &Sampler| sampler.running.as_ref().map(|running| running.piles[0].room.load(Ordering::Relaxed));
        assert_eq!(room(&without), Some(44), "one picture of 256 bytes fitted");
        assert_eq!(room(&with), Some(CACHE_BYTES - 6 * 256), "all fitted");
    }

    /// As the sampler of a page draws: one after the other, and each only when it is asked for.
    fn one_by_one(config: &TrainConfig, dataset: &UnpairedDataset, index: u64) -> [Found; 2] {
        let room = Arc::new(AtomicUsize::new(0));
        let recipe = Recipe::new(config);
        [("A", &dataset.train_a), ("B", &dataset.train_b)].map(|(name, sources)| {
            let pile = Pile::new(name, config.seed, recipe, sources.clone(), Arc::clone(&room));
            pile.draw(index).expect("there are images")
        })
    }

    #[test]
    fn what_threads_draw_ahead_is_what_would_be_drawn_one_by_one() {
        let mut a = pile(9, 0);
        a[4].1.truncate(30);
        a[7].1.clear();
        let dataset = UnpairedDataset::from_piles(a, pile(2, 50)).expect("two piles");
        let config = TrainConfig { rotate: 20.0, colour_jitter: 0.3, ..config(12, 8, true) };
        let mut sampler = Sampler::new(&config);
        let mut told = HashSet::new();
        for index in 0..100 {
            let drawn = sampler.draw(&dataset, index).expect("seven images are left");
            let [a, b] = one_by_one(&config, &dataset, index);
            let new: Vec<_> = a.broken.into_iter().filter(|(name, _)| told.insert(name.clone())).collect();
            assert_eq!(drawn, Drawn { a: a.picture, b: b.picture, skipped: new }, "{index}");
        }
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn without_crops_the_domains_differ_in_size_and_change_from_step_to_step() {
        let of = |sides: &[(u32, u32)]| {
            let file =
                |(width, height): (u32, u32)| Picture::filled(width, height, [width as u8, 0, 0, 255]).encode_png();
            let named = |(index, sides): (usize, &(u32, u32))| {
                (format!("{index}.png"), file(*sides).expect("a picture can be written"))
            };
            sides.iter().enumerate().map(named).collect()
        };
        let piles = (of(&[(64, 40), (36, 64)]), of(&[(48, 48)]));
        let dataset = UnpairedDataset::from_piles(piles.0, piles.1).expect("two piles");
        let config = TrainConfig { preprocess: Preprocess::None, ..config(64, 64, false) };
        let mut sampler = Sampler::new(&config);
        let mut sides = HashSet::new();
        for index in 0..4 {
            let drawn = sampler.draw(&dataset, index).expect("all can be read");
            sides.insert((drawn.a.width, drawn.a.height));
            assert_eq!((drawn.b.width, drawn.b.height), (48, 48));
        }
        assert_eq!(sides, HashSet::from([(64, 40), (36, 64)]));
    }

    #[test]
    fn other_pictures_start_it_anew() {
        let mut sampler = Sampler::new(&config(8, 8, false));
        let one = UnpairedDataset::from_piles(pile(2, 0), pile(1, 50)).expect("two piles");
        let other = UnpairedDataset::from_piles(pile(1, 20), pile(1, 90)).expect("two piles");
        assert!(level(&sampler.draw(&one, 0).expect("all can be read").a) < 2);
        assert_eq!(level(&sampler.draw(&other, 1).expect("all can be read").a), 20);
    }
}
