//! What a training step sees: two pictures, resized, cropped and mirrored at random.
//!
//! Every decision is a function of (seed, step), so a resumed training draws what an unbroken one would.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use rand::RngExt;
use rand_pcg::Pcg64;

use super::{DataError, Source, UnpairedDataset};
use crate::config::TrainConfig;
use crate::image::Picture;
use crate::random;

/// Decoded and resized pictures are kept up to this many bytes (of RGBA8), over both piles.
const CACHE_BYTES: usize = 256 << 20;

/// One step's pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Of domain A, `size`×`size`.
    pub a: Picture,
    /// Of domain B, `size`×`size`.
    pub b: Picture,
    /// Images met for the first time that cannot be used: name and reason.
    pub skipped: Vec<(String, String)>,
}

/// Draws the pictures of each step, much as the official code does: a pile's images are met in a
/// random order, a new one each time round, A's and B's independent of each other. Each image is
/// resized to a square of `load_size`, cropped at random to `size` and mirrored half of the time.
#[derive(Clone, Debug)]
pub struct Sampler {
    recipe: Recipe,
    a: Pile,
    b: Pile,
    /// Bytes that the caches may still take.
    room: usize,
}

#[derive(Clone, Copy, Debug)]
struct Recipe {
    seed: u64,
    load_size: u32,
    size: u32,
    flip: bool,
}

impl Sampler {
    /// A sampler with the seed, sizes and mirroring of a training.
    pub fn new(config: &TrainConfig) -> Self {
        let TrainConfig { seed, load_size, size, flip, .. } = *config;
        let recipe = Recipe { seed, load_size: load_size.max(size), size, flip };
        Self { recipe, a: Pile::new("A"), b: Pile::new("B"), room: CACHE_BYTES }
    }

    /// The pictures of a step, counted from 0. An image that cannot be used is named once in
    /// [`Drawn::skipped`], and the next one in order takes its turn.
    ///
    /// # Errors
    /// When a pile has no image that can be used.
    pub fn draw(&mut self, dataset: &UnpairedDataset, step: u64) -> Result<Drawn, DataError> {
        let mut skipped = Vec::new();
        let a = self.a.draw(&dataset.train_a, self.recipe, step, &mut self.room, &mut skipped)?;
        let b = self.b.draw(&dataset.train_b, self.recipe, step, &mut self.room, &mut skipped)?;
        Ok(Drawn { a, b, skipped })
    }
}

/// What is remembered of one pile; all of it can be found out again.
#[derive(Clone, Debug)]
struct Pile {
    name: &'static str,
    /// The time round that `order` is for.
    round: Option<u64>,
    order: Vec<usize>,
    broken: HashSet<usize>,
    cache: HashMap<usize, Picture>,
}

impl Pile {
    fn new(name: &'static str) -> Self {
        Self { name, round: None, order: Vec::new(), broken: HashSet::new(), cache: HashMap::new() }
    }

    fn draw(
        &mut self,
        sources: &[Source],
        recipe: Recipe,
        step: u64,
        room: &mut usize,
        skipped: &mut Vec<(String, String)>,
    ) -> Result<Picture, DataError> {
        let count = sources.len();
        if count == 0 {
            return Err(DataError::EmptyPile { pile: self.name });
        }
        self.shuffle(recipe.seed, step / count as u64, count);
        let start = (step % count as u64) as usize;
        let stream = self.stream(recipe.seed, "augment", step);
        for turn in 0..count {
            let index = self.order[(start + turn) % count];
            if self.broken.contains(&index) {
                continue;
            }
            match self.loaded(&sources[index], index, recipe.load_size, room) {
                Ok(picture) => return Ok(augment(&picture, recipe, stream)),
                Err(error) => {
                    self.broken.insert(index);
                    skipped.push((sources[index].name.clone(), error.to_string()));
                }
            }
        }
        let reason = sources[0].picture().err().map_or_else(String::new, |error| error.to_string());
        Err(DataError::NoReadableImage { pile: self.name, file: sources[0].name.clone(), reason })
    }

    /// The image at its load size, from the cache where it is there. Once full the cache stays as it
    /// is: in random rounds through a pile no image is asked for sooner than any other.
    fn loaded(
        &mut self,
        source: &Source,
        index: usize,
        load_size: u32,
        room: &mut usize,
    ) -> Result<Cow<'_, Picture>, DataError> {
        // Two look-ups, since a reference out of the first would borrow the map for good.
        if self.cache.contains_key(&index) {
            return Ok(Cow::Borrowed(&self.cache[&index]));
        }
        let picture = source.picture()?.resize(load_size, load_size);
        if picture.pixels.len() > *room {
            return Ok(Cow::Owned(picture));
        }
        *room -= picture.pixels.len();
        Ok(Cow::Borrowed(self.cache.entry(index).or_insert(picture)))
    }

    /// The order in which the images are met the `round`th time round (Fisher–Yates).
    fn shuffle(&mut self, seed: u64, round: u64, count: usize) {
        if self.round == Some(round) && self.order.len() == count {
            return;
        }
        let mut stream = self.stream(seed, "order", round);
        self.order = (0..count).collect();
        for last in (1..count).rev() {
            self.order.swap(last, stream.random_range(0..=last));
        }
        self.round = Some(round);
    }

    /// A random stream of this pile's own.
    fn stream(&self, seed: u64, purpose: &str, index: u64) -> Pcg64 {
        random::stream(seed, &format!("{purpose}_{}", self.name), index)
    }
}

fn augment(picture: &Picture, recipe: Recipe, mut stream: Pcg64) -> Picture {
    let spare = recipe.load_size - recipe.size;
    let (x, y) = (stream.random_range(0..=spare), stream.random_range(0..=spare));
    let crop = picture.crop(x, y, recipe.size, recipe.size);
    if recipe.flip && stream.random::<bool>() { crop.flip_horizontal() } else { crop }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(without.room, 44, "one picture of 256 bytes fitted");
    }
}
