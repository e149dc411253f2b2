//! What can be wrong with a written configuration.

use super::{Field, PRESETS, TrainConfig, options::TOGETHER};

/// Names as similar as this are taken for a slip of the pen.
const SIMILAR: f64 = 0.8;

/// Why a configuration, or an option, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No option has that name.
    #[error("there is no option {name}{}", .nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// As written.
        name: String,
        /// The most similar name that there is, if one is.
        nearest: Option<&'static str>,
    },
    /// The value is none for the option.
    #[error("{name} must be {expected}, not {value}")]
    Value {
        /// The option.
        name: &'static str,
        /// As written.
        value: String,
        /// What it has to be.
        expected: String,
    },
    /// No preset has that name.
    #[error("there is no preset {name}; there are {}", PRESETS.map(|preset| preset.name).join(", "))]
    Preset {
        /// As written.
        name: String,
    },
    /// The text is no TOML.
    #[error("{0}")]
    Syntax(String),
    /// The same, at a line of a file, counted from 1.
    #[error("line {line}: {error}")]
    At {
        /// The line.
        line: usize,
        /// What is wrong there.
        error: Box<ConfigError>,
    },
}

impl ConfigError {
    /// There is no option of that name.
    pub(super) fn unknown(name: &str) -> Self {
        let known = TrainConfig::FIELDS.iter().flat_map(|Field { name, aliases, .. }| aliases.iter().chain([name]));
        let known = known.copied().chain(TOGETHER.iter().map(|(name, _, _)| *name));
        let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
        let nearest = scored.filter(|(score, _)| *score >= SIMILAR).max_by(|(one, _), (other, _)| one.total_cmp(other));
        Self::Unknown { name: name.to_owned(), nearest: nearest.map(|(_, name)| name) }
    }
}
