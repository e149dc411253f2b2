//! What file names tell: which pile, whether an image, whether to be shown as they are.

pub use crate::platform::names::{is_hidden, is_image};

/// One of the four folders of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    TrainA,
    TrainB,
    TestA,
    TestB,
}

impl Place {
    pub const ALL: [Self; 4] = [Self::TrainA, Self::TrainB, Self::TestA, Self::TestB];

    /// The folder a file lies in, at any depth; names are compared without case.
    /// `None` outside of the four.
    pub fn of(path: &str) -> Option<Self> {
        let folders = path.rsplit('/').skip(1);
        folders.filter_map(Self::named).next()
    }

    fn named(folder: &str) -> Option<Self> {
        match folder.to_ascii_lowercase().as_str() {
            "traina" => Some(Self::TrainA),
            "trainb" => Some(Self::TrainB),
            "testa" => Some(Self::TestA),
            "testb" => Some(Self::TestB),
            _ => None,
        }
    }
}

/// A name that is safe to show and to sort by: forward slashes, no way up, no control characters,
/// no endless length. Nothing is ever written to such a path.
pub fn clean(path: &str) -> String {
    let parts = path.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | ".."));
    let joined = parts.collect::<Vec<_>>().join("/");
    joined.chars().filter(|c| !c.is_control()).take(1024).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_decides() {
        assert_eq!(Place::of("trainA/x.png"), Some(Place::TrainA));
        assert_eq!(Place::of("a/b/TrainB/c/x.png"), Some(Place::TrainB));
        assert_eq!(Place::of("trainA/testB/x.png"), Some(Place::TestB));
        assert_eq!(Place::of("x/trainA"), None, "a file of that name is no folder");
        assert_eq!(Place::of("trainAB/x.png"), None);
    }

    #[test]
    fn names_are_cleaned() {
        assert_eq!(clean("../../etc/./pass\nwd"), "etc/passwd");
        assert_eq!(clean("C:\\pictures\\x.png"), "C:/pictures/x.png");
        assert_eq!(clean(&"é".repeat(5000)).chars().count(), 1024);
    }
}
