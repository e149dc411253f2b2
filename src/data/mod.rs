//! Two unpaired piles of pictures, and what a training draws from them.
//!
//! Nothing is decoded before it is asked for, so a pile may be larger than memory when decoded.

mod archive;
mod error;
mod folder;
mod names;
mod recipe;
mod sampler;
mod source;

use std::collections::BTreeSet;

pub use archive::pack;
pub use error::DataError;
#[cfg(not(target_family = "wasm"))]
pub use folder::walk;
pub use recipe::Recipe;
pub use sampler::{Drawn, Sampler};
pub use source::{MAX_FILE_BYTES, Source};

use names::Place;

/// The two domains of an unpaired data set, each with pictures to train on and pictures to test with.
#[derive(Clone, Debug, Default)]
pub struct UnpairedDataset {
    /// Training pictures of domain A; never empty.
    pub train_a: Vec<Source>,
    /// Training pictures of domain B; never empty.
    pub train_b: Vec<Source>,
    /// Held-out pictures of domain A; may be empty.
    pub test_a: Vec<Source>,
    /// Held-out pictures of domain B; may be empty.
    pub test_b: Vec<Source>,
}

impl UnpairedDataset {
    /// A zip file with folders trainA and trainB (and perhaps testA, testB), at any depth.
    /// Entries are unpacked one at a time, when they are needed.
    ///
    /// # Errors
    /// When it is no zip file, is a zip bomb, or a training folder is missing or without images.
    pub fn from_zip(bytes: Vec<u8>) -> Result<Self, DataError> {
        Self::held_out_from_zip(bytes)?.checked()
    }

    /// The same for its held-out pictures: testA and testB are all that it needs, and may be empty.
    ///
    /// # Errors
    /// When it is no zip file, is a zip bomb, or has none of the four folders.
    pub fn held_out_from_zip(bytes: Vec<u8>) -> Result<Self, DataError> {
        Self::from_named(archive::sources(bytes)?)
    }

    /// Two piles of files, each a name and the bytes. Every file counts as an image until it is decoded.
    ///
    /// # Errors
    /// [`DataError::EmptyPile`] when a pile has no file.
    pub fn from_piles(a: Vec<(String, Vec<u8>)>, b: Vec<(String, Vec<u8>)>) -> Result<Self, DataError> {
        let sources = |pile: Vec<(String, Vec<u8>)>| {
            let visible = pile.into_iter().filter(|(name, _)| !names::is_hidden(name));
            visible.map(|(name, bytes)| Source::from_bytes(names::clean(&name), bytes)).collect()
        };
        Self { train_a: sources(a), train_b: sources(b), ..Self::default() }.checked()
    }

    /// Sorts files into piles by the folders in their names; the order of the files does not matter.
    fn from_named(files: impl IntoIterator<Item = Source>) -> Result<Self, DataError> {
        let mut dataset = Self::default();
        let (mut seen_folder, mut others) = (false, BTreeSet::new());
        for source in files {
            let Some(place) = Place::of(&source.name) else {
                others.extend(source.name.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
                continue;
            };
            seen_folder = true;
            if names::is_image(&source.name) {
                dataset.pile_mut(place).push(source);
            }
        }
        if !seen_folder {
            let others: Vec<String> = others.into_iter().take(4).collect();
            return Err(DataError::NoFolders { found: others.join(", ") });
        }
        for place in Place::ALL {
            dataset.pile_mut(place).sort_by(|one, other| one.name.cmp(&other.name));
        }
        Ok(dataset)
    }

    fn pile_mut(&mut self, place: Place) -> &mut Vec<Source> {
        match place {
            Place::TrainA => &mut self.train_a,
            Place::TrainB => &mut self.train_b,
            Place::TestA => &mut self.test_a,
            Place::TestB => &mut self.test_b,
        }
    }

    fn checked(self) -> Result<Self, DataError> {
        for (pile, name) in [(&self.train_a, "A"), (&self.train_b, "B")] {
            if pile.is_empty() {
                return Err(DataError::EmptyPile { pile: name });
            }
        }
        Ok(self)
    }

    /// Steps of one epoch: the size of the larger training pile, as in the official code.
    pub fn epoch_length(&self) -> u64 {
        self.train_a.len().max(self.train_b.len()) as u64
    }

    /// Held-out pictures of A and B whose files have the same name up to its last dot:
    /// in a data set with a ground truth (such as the built-in emoji) they show the same thing.
    pub fn test_pairs(&self) -> Vec<(&Source, &Source)> {
        let of_b: std::collections::HashMap<&str, &Source> = self.test_b.iter().map(|b| (b.stem(), b)).collect();
        self.test_a.iter().filter_map(|a| Some((a, *of_b.get(a.stem())?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Picture;

    fn file(name: &str) -> Source {
        let bytes = Picture::filled(1, 1, [0, 0, 0, 255]).encode_png().expect("a picture can be written");
        Source::from_bytes(name.into(), bytes)
    }

    #[test]
    fn files_are_sorted_into_their_piles() {
        let names = [
            "set/trainB/2.png",
            "set/trainA/b.JPG",
            "set/trainA/a.webp",
            "set/trainA/notes.txt",
            "set/trainB/1.png",
            "set/testA/x.png",
            "set/testA/y.png",
            "set/testB/y.jpg",
            "set/readme.png",
        ];
        let dataset = UnpairedDataset::from_named(names.map(file))
            .and_then(UnpairedDataset::checked)
            .expect("both piles have images");
        let list = |pile: &[Source]| pile.iter().map(|source| source.name.clone()).collect::<Vec<_>>();
        assert_eq!(list(&dataset.train_a), ["set/trainA/a.webp", "set/trainA/b.JPG"]);
        assert_eq!(list(&dataset.train_b), ["set/trainB/1.png", "set/trainB/2.png"]);
        assert_eq!(dataset.epoch_length(), 2);
        let pairs: Vec<_> = dataset.test_pairs().iter().map(|(a, b)| (a.name.clone(), b.name.clone())).collect();
        assert_eq!(pairs, [("set/testA/y.png".to_owned(), "set/testB/y.jpg".to_owned())]);
    }

    #[test]
    fn a_missing_pile_is_named() {
        let held_out = UnpairedDataset::from_named([file("trainA/a.png"), file("trainB/a.txt")]).expect("folders");
        let error = held_out.checked().expect_err("B is empty");
        assert_eq!(error, DataError::EmptyPile { pile: "B" });
        let error =
            UnpairedDataset::from_named([file("horses/a.png"), file("x/zebras/b.png")]).expect_err("no folders");
        assert_eq!(error, DataError::NoFolders { found: "horses, x/zebras".into() });
        assert!(error.to_string().ends_with("There are: horses, x/zebras."), "{error}");
        let error = UnpairedDataset::from_piles(vec![], vec![("a".into(), vec![1])]).expect_err("A is empty");
        assert_eq!(error, DataError::EmptyPile { pile: "A" });
    }

    #[test]
    fn the_built_in_emoji_are_as_described() {
        let zip = include_bytes!("../../static/data/emoji.zip").to_vec();
        let dataset = UnpairedDataset::from_zip(zip).expect("the built-in data set can be read");
        let piles = [&dataset.train_a, &dataset.train_b, &dataset.test_a, &dataset.test_b];
        assert_eq!(piles.map(Vec::len), [806, 806, 202, 202]);
        assert_eq!(dataset.test_pairs().len(), 202);
        let stems =
            |pile: &[Source]| pile.iter().map(|s| s.stem().to_owned()).collect::<std::collections::HashSet<_>>();
        let (a, b, test) = (stems(&dataset.train_a), stems(&dataset.train_b), stems(&dataset.test_a));
        assert!(a.is_disjoint(&b) && a.is_disjoint(&test) && b.is_disjoint(&test));
        for source in piles.into_iter().flatten() {
            let picture = source.picture().expect("every emoji can be read");
            assert_eq!((picture.width, picture.height, picture.is_opaque()), (64, 64, true), "{}", source.name);
        }
    }
}
