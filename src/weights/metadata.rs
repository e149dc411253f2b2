//! What a weight file says about itself: the keys of its metadata, and their way into a [`ModelInfo`].

use std::collections::BTreeMap;

use super::error::printable;
use crate::config::TrainConfig;
use crate::model::architecture::SKIP;
use crate::protocol::{Direction, ModelInfo};

/// Always [`FORMAT_PYTORCH`]: tells other programs whose tensor layout this is.
pub const FORMAT: &str = "format";
/// Value of [`FORMAT`].
pub const FORMAT_PYTORCH: &str = "pt";
/// Name of the architecture, e.g. `resnet_9blocks`.
pub const ARCHITECTURE: &str = "architecture";
/// Name of the domain that the generator reads (or whose images the discriminator judges), e.g. `horse`.
pub const DOMAIN_FROM: &str = "domain_from";
/// Name of the domain that the generator writes, e.g. `zebra`.
pub const DOMAIN_TO: &str = "domain_to";
/// `AtoB` or `BtoA`: which generator of its pair.
pub const DIRECTION: &str = "direction";
/// Side in pixels of the square images it was trained on.
pub const SIZE: &str = "size";
/// Training steps behind it.
pub const STEP: &str = "step";
/// Name of the data set it was trained on.
pub const DATA: &str = "data";
/// Licence of the weights.
pub const LICENCE: &str = "licence";
/// In a checkpoint: the training's configuration, as JSON.
pub const CONFIG: &str = "config";
/// What was trained, where it was no pair of generators: `cut`, `fastcut`.
pub const MODEL: &str = "model";
/// Name of the file whose weights the training began with.
pub const STARTED_FROM: &str = "started_from";

/// The metadata of a weight file, as it is written.
///
/// Unknown things (empty texts, zeroes) are left out. `direction` is `None` for a network that
/// is no generator.
pub fn describe(info: &ModelInfo, direction: Option<Direction>) -> BTreeMap<String, String> {
    let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    let entries = [
        (FORMAT, FORMAT_PYTORCH.to_owned()),
        (ARCHITECTURE, info.architecture.clone()),
        (DOMAIN_FROM, info.domain_from.clone()),
        (DOMAIN_TO, info.domain_to.clone()),
        (DIRECTION, direction.map_or(String::new(), |direction| direction.as_str().to_owned())),
        (SIZE, number(info.size.into())),
        (STEP, number(info.step)),
        (DATA, info.data.clone()),
        (LICENCE, info.licence.clone()),
        (MODEL, info.model.clone()),
        (STARTED_FROM, info.started_from.clone()),
    ];
    entries.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What the metadata says; empty or zero where it is silent or not understood. Never fails: files
/// of other programs carry other metadata or none.
pub(super) fn understand(metadata: &BTreeMap<String, String>) -> ModelInfo {
    let text = |key: &str| metadata.get(key).map(|value| printable(value)).unwrap_or_default();
    ModelInfo {
        architecture: text(ARCHITECTURE),
        parameters: 0,
        channels: [0; 2],
        domain_from: text(DOMAIN_FROM),
        domain_to: text(DOMAIN_TO),
        size: text(SIZE).parse().unwrap_or(0),
        step: text(STEP).parse().unwrap_or(0),
        data: text(DATA),
        licence: text(LICENCE),
        model: text(MODEL),
        started_from: text(STARTED_FROM),
        notes: Vec::new(),
        settings: Vec::new(),
    }
}

/// Whether the metadata says that the generator adds its input to its output: by the name of its architecture or, in a
/// checkpoint, by the training's configuration.
pub(super) fn says_skip(metadata: &BTreeMap<String, String>) -> bool {
    let by_name = metadata.get(ARCHITECTURE).is_some_and(|name| name.contains(SKIP));
    let config = || metadata.get(CONFIG).and_then(|config| TrainConfig::from_json(config).ok());
    by_name || config().is_some_and(|config| config.skip)
}

/// Which generator of its pair the metadata says it is.
pub(super) fn direction(metadata: &BTreeMap<String, String>) -> Option<Direction> {
    let value = metadata.get(DIRECTION)?;
    [Direction::AtoB, Direction::BtoA].into_iter().find(|direction| direction.as_str() == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn horse_to_zebra() -> ModelInfo {
        ModelInfo {
            architecture: "resnet_6blocks".into(),
            parameters: 0,
            channels: [0; 2],
            domain_from: "horse".into(),
            domain_to: "zebra".into(),
            size: 128,
            step: 20_000,
            data: "horse2zebra".into(),
            licence: "MIT".into(),
            model: "fastcut".into(),
            started_from: "horses.pth".into(),
            notes: Vec::new(),
            settings: Vec::new(),
        }
    }

    #[test]
    fn what_is_described_is_understood() {
        let metadata = describe(&horse_to_zebra(), Some(Direction::BtoA));
        assert_eq!(understand(&metadata), horse_to_zebra());
        assert_eq!(direction(&metadata), Some(Direction::BtoA));
        assert_eq!(metadata.len(), 11);
    }

    #[test]
    fn silence_and_nonsense_are_unknown() {
        assert_eq!(understand(&BTreeMap::new()), ModelInfo::default());
        assert_eq!(direction(&BTreeMap::new()), None);
        let only_format = describe(&ModelInfo::default(), None);
        assert_eq!(only_format.into_iter().collect::<Vec<_>>(), [("format".to_owned(), "pt".to_owned())]);
        let nonsense = [(SIZE, "-3"), (STEP, "many"), (DIRECTION, "up")];
        let nonsense = nonsense.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(understand(&nonsense), ModelInfo::default());
        assert_eq!(direction(&nonsense), None);
    }

    #[test]
    fn long_and_unprintable_texts_are_tamed() {
        let metadata = [(DATA.to_owned(), "\u{1b}[31m".to_owned() + &"x".repeat(10_000))].into();
        let data = understand(&metadata).data;
        assert!(!data.contains('\u{1b}'));
        assert!(data.chars().count() <= 101);
    }
}
