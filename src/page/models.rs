//! The models that a person can choose from: the list that comes with the page, weight files
//! dropped on it, and the generators in training.

use std::rc::Rc;

use serde::Deserialize;

use crate::platform::names::lowercase;
use crate::protocol::{Direction, ModelInfo, TRAINED_A_TO_B, TRAINED_B_TO_A};

/// One entry of `models.json`. All addresses are relative to the page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Listed {
    /// Its name in messages, addresses and element ids.
    pub id: String,
    /// What the card says first.
    pub title: String,
    /// One sentence about it.
    pub sentence: String,
    /// Address of the weight file.
    pub file: String,
    /// The model that goes the other way.
    pub reverse: Option<String>,
    /// Address of a real result.
    pub picture: Option<String>,
    /// Address of the picture that the result was made from.
    pub before: Option<String>,
    /// Addresses of pictures to try.
    pub samples: Vec<String>,
    /// Address of the model card, a Markdown file.
    pub card: Option<String>,
    /// Licence of the weights.
    pub licence: String,
}

/// Reads a `models.json`; the error is a sentence.
pub fn parse_list(json: &str) -> Result<Vec<Listed>, String> {
    let list: Vec<Listed> = serde_json::from_str(json)
        .map_err(|error| ["The list of models could not be read: ", &error.to_string(), "."].concat())?;
    match list.iter().find(|model| model.id.is_empty() || model.file.is_empty()) {
        Some(model) => Err(["A model in the list has no id or no file: “", &model.title, "”."].concat()),
        None => Ok(list),
    }
}

/// Where a model's weights come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Fetched from `Listed::file`.
    Listed,
    /// A file that the visitor dropped on the page, and those that an ONNX graph's weights lie in, by name; kept for
    /// when the worker has to be restarted.
    Own(Rc<Vec<u8>>, Rc<Vec<(String, Vec<u8>)>>),
    /// In the worker's hands already: a generator in training.
    Trained,
}

/// How far a model is on its way into the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Not asked for yet.
    Absent,
    /// On its way to the page.
    Downloading {
        /// Bytes so far.
        received: u64,
        /// Bytes in all, where the server says so.
        total: Option<u64>,
    },
    /// On its way into the worker.
    Loading,
    /// The worker has it.
    Loaded,
    /// It could not be had: why.
    Failed(String),
}

/// A model that can be chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What its card says.
    pub listed: Listed,
    /// Where its weights come from.
    pub origin: Origin,
    /// How far it is.
    pub status: Status,
    /// Which network of its file, where that holds several.
    pub part: Option<String>,
    /// What the worker found in its weight file.
    pub info: Option<ModelInfo>,
}

/// Endings of the names of weight files.
pub const WEIGHT_FILES: [&str; 4] = [".safetensors", ".pth", ".pt", ".onnx"];

impl Model {
    /// A model of the list.
    pub fn listed(listed: Listed) -> Self {
        Self { listed, origin: Origin::Listed, status: Status::Absent, part: None, info: None }
    }

    /// A weight file of the visitor's ([`Origin::Own`]), or one network in it; `number` tells several apart.
    pub fn own(number: u32, file: String, part: Option<String>, origin: Origin) -> Self {
        let stem = WEIGHT_FILES.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(&file);
        let title = part.as_ref().map_or(stem.to_owned(), |part| [stem, ": ", part].concat());
        let listed = Listed {
            id: ["own-", &number.to_string()].concat(),
            title,
            sentence: "Your weight file.".into(),
            file,
            ..Listed::default()
        };
        Self { listed, origin, status: Status::Absent, part, info: None }
    }

    /// A generator of the current training, between domains `a` and `b`.
    pub fn trained(direction: Direction, a: &str, b: &str) -> Self {
        let (id, reverse, from, to) = match direction {
            Direction::AtoB => (TRAINED_A_TO_B, TRAINED_B_TO_A, a, b),
            Direction::BtoA => (TRAINED_B_TO_A, TRAINED_A_TO_B, b, a),
        };
        let listed = Listed {
            id: id.into(),
            title: [from, " → ", to].concat(),
            sentence: "Trained here, in this visit.".into(),
            reverse: Some(reverse.into()),
            ..Listed::default()
        };
        Self { listed, origin: Origin::Trained, status: Status::Loaded, part: None, info: None }
    }

    /// A name for its weight file, without an ending.
    pub fn plain_name(&self) -> String {
        let domains = self.info.as_ref().filter(|info| !info.domain_from.is_empty() && !info.domain_to.is_empty());
        let name = domains
            .map_or_else(|| self.listed.title.clone(), |info| [&info.domain_from, "-to-", &info.domain_to].concat());
        let words = name.split(between_words).filter(|word| !word.is_empty());
        lowercase(&words.collect::<Vec<_>>().join("-"))
    }

    /// The name of its weight file, without an address.
    pub fn file_name(&self) -> &str {
        self.listed.file.rsplit('/').next().unwrap_or_default()
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.listed.id
    }

    /// Whether `sample` is one of the pictures meant for it. A model without samples takes any.
    pub fn suits(&self, sample: &str) -> bool {
        self.listed.samples.is_empty() && self.origin != Origin::Listed
            || self.listed.samples.iter().any(|own| own == sample)
    }
}

/// Whether a character parts the words of a file's name: ASCII that is no letter and no digit, and the symbols of other scripts'
/// texts (`→`, `–`, `·`). Unicode's own table of letters would be a hundredth of the page.
fn between_words(letter: char) -> bool {
    match letter {
        '_' => false,
        '\0'..='\x7f' => !letter.is_ascii_alphanumeric(),
        _ => matches!(letter, '\u{80}'..='\u{bf}' | '\u{2000}'..='\u{2bff}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_that_comes_with_the_page_is_whole() {
        let list = parse_list(include_str!("../../static/models/models.json")).expect("the list is valid");
        let ids: Vec<_> = list.iter().map(|model| model.id.as_str()).collect();
        for model in &list {
            assert!(!model.title.is_empty() && !model.sentence.is_empty() && !model.licence.is_empty());
            let reverse = model.reverse.as_deref().expect("each bundled model has a way back");
            assert!(ids.contains(&reverse), "{reverse} is not in the list");
            assert!(model.file.starts_with("static/models/"), "{} is not relative to the page", model.file);
            let pictures = model.samples.iter().chain(&model.before).chain(&model.picture);
            for address in pictures {
                let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(address);
                assert!(path.is_file(), "{address} is missing");
            }
        }
    }

    #[test]
    fn a_broken_list_is_a_sentence() {
        assert!(parse_list("[{").expect_err("cut").starts_with("The list of models could not be read"));
        assert!(parse_list(r#"[{"title":"X"}]"#).expect_err("no id").contains("“X”"));
        assert_eq!(parse_list("[]"), Ok(Vec::new()));
    }

    #[test]
    fn a_model_s_file_is_called_by_its_words() {
        for (title, name) in [
            ("Flat → 3D emoji", "flat-3d-emoji"),
            ("A/B: \"photo\" · Monet_2", "a-b-photo-monet_2"),
            ("Äpfel – Öl", "äpfel-öl"),
            ("照片→莫奈", "照片-莫奈"),
        ] {
            assert_eq!(Model::listed(Listed { title: title.into(), ..Listed::default() }).plain_name(), name);
        }
    }

    #[test]
    fn samples_belong_to_their_models() {
        let listed = Listed { id: "a".into(), samples: vec!["one.png".into()], ..Listed::default() };
        assert!(Model::listed(listed.clone()).suits("one.png"));
        assert!(!Model::listed(listed).suits("two.png"));
        assert!(Model::trained(Direction::AtoB, "flat", "3D").suits("two.png"));
    }
}
