//! A checkpoint file that the visitor gives: what the page reads of it. The worker reads the rest.

use std::{collections::HashMap, rc::Rc};

use serde::Deserialize;

use crate::config::TrainConfig;

/// A training to go on with.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The file's name.
    pub file: String,
    /// Steps made.
    pub step: u64,
    /// What is trained, and how.
    pub config: TrainConfig,
    /// The file's bytes.
    pub bytes: Rc<Vec<u8>>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: HashMap<String, String>,
}

impl Imported {
    /// Reads the metadata of a checkpoint, a safetensors file: the length of a JSON header in 8 bytes, the header,
    /// the values (<https://huggingface.co/docs/safetensors>).
    ///
    /// # Errors
    /// A sentence, when the file is no checkpoint.
    pub fn new(file: String, bytes: Vec<u8>) -> Result<Self, String> {
        match Self::read(&bytes) {
            Some((step, config)) => Ok(Self { file, step, config, bytes: Rc::new(bytes) }),
            None => {
                Err([&file, " holds no training to go on with: it takes a file saved by “Save the training”."].concat())
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<(u64, TrainConfig)> {
        let (length, rest) = bytes.split_first_chunk()?;
        let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let Header { metadata } = serde_json::from_str(std::str::from_utf8(header).ok()?).ok()?;
        Some((metadata.get("step")?.parse().ok()?, TrainConfig::from_json(metadata.get("config")?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(metadata: &str) -> Vec<u8> {
        let header = format!("{{\"__metadata__\":{metadata}}}");
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
    }

    #[test]
    fn a_checkpoint_says_how_far_it_is_and_anything_else_is_refused() {
        let config = TrainConfig::preset("quick").expect("it exists");
        let json = serde_json::to_string(&config).expect("plain data");
        let metadata = serde_json::json!({ "step": "12", "config": json }).to_string();
        let imported = Imported::new("a".into(), file(&metadata)).expect("a checkpoint");
        assert_eq!((imported.step, imported.config), (12, config));
        let whole = file(&metadata);
        for wrong in [&b""[..], b"short", &[255; 64], &whole[..whole.len() - 1], &file("{\"step\":\"1\"}")] {
            assert!(
                Imported::new("a".into(), wrong.to_vec()).is_err_and(|text| text.starts_with("a holds no training"))
            );
        }
    }
}
