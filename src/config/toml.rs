//! A configuration as a TOML file: flat, every key an option.

use std::fmt::Write;

use toml::de::{DeTable, DeValue};

use super::options::{Changes, Kind};
use super::{ConfigError, TrainConfig};

impl TrainConfig {
    /// The configuration that a TOML text says: its preset (the official one if it says none), changed.
    ///
    /// # Errors
    /// When it is no TOML, or names an option or a value that there is not: with the line.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let changes = Changes::from_toml(text)?;
        let mut config = match changes.preset() {
            Some(preset) => Self::preset(preset).unwrap_or_default(),
            None => Self::default(),
        };
        config.apply(&changes);
        Ok(config)
    }

    /// Every option as a TOML text, in groups; `documented` puts each one's documentation above it.
    pub fn to_toml(&self, documented: bool) -> String {
        let mut text = String::new();
        let mut group = "";
        for field in Self::FIELDS {
            if field.group != group {
                let gap = if group.is_empty() { "" } else { "\n" };
                group = field.group;
                text += &format!("{gap}### {group}\n");
            }
            if documented {
                text.push('\n');
                comment(&mut text, "# ", &field.about());
                if let Kind::Choice(names) = field.kind {
                    for (name, about) in names {
                        comment(&mut text, "#   ", &format!("{name}: {about}"));
                    }
                }
            }
            let value = self.get(field.name).unwrap_or_default();
            let value = match field.kind {
                Kind::Text | Kind::Choice(_) => quoted(&value),
                Kind::Flag | Kind::Whole | Kind::Number => value,
            };
            text += &format!("{} = {value}\n", field.name);
        }
        text
    }
}

impl Changes {
    /// What a TOML text changes.
    ///
    /// # Errors
    /// Those of [`TrainConfig::from_toml`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let at = |place: usize, error: ConfigError| {
            let line = 1 + text.bytes().take(place).filter(|byte| *byte == b'\n').count();
            ConfigError::At { line, error: Box::new(error) }
        };
        let table = DeTable::parse(text).map_err(|error| {
            at(error.span().map_or(0, |span| span.start), ConfigError::Syntax(error.message().replace('\n', ", ")))
        })?;
        let mut changes = Self::default();
        for (key, value) in table.get_ref() {
            let said = match value.get_ref() {
                DeValue::String(text) => text.clone().into_owned(),
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
                DeValue::Float(number) => number.as_str().to_owned(),
                DeValue::Boolean(flag) => flag.to_string(),
                // As written, to be refused by what knows what the option has to be.
                _ => text.get(value.span()).unwrap_or_default().to_owned(),
            };
            let is_text = matches!(value.get_ref(), DeValue::String(_));
            let outcome = changes.add(key.get_ref(), &said).and_then(|()| match super::Field::named(key.get_ref()) {
                // "3" in quotation marks is no number, and true without them no text.
                Some(field) if is_text != matches!(field.kind, Kind::Text | Kind::Choice(_)) => {
                    let value = if is_text { quoted(&said) } else { said };
                    Err(ConfigError::Value { name: field.name, value, expected: field.kind.expected() })
                }
                _ => Ok(()),
            });
            outcome.map_err(|error| at(key.span().start, error))?;
        }
        Ok(changes)
    }
}

/// A comment in lines of at most 100 characters or so.
fn comment(text: &mut String, mark: &str, words: &str) {
    let mut width = usize::MAX;
    for word in words.split_whitespace() {
        if width.saturating_add(word.chars().count()) > 100 {
            let gap = if width == usize::MAX { "" } else { "\n" };
            text.push_str(gap);
            text.push_str(mark);
            width = 0;
        } else {
            text.push(' ');
        }
        text.push_str(word);
        width += word.chars().count() + 1;
    }
    text.push('\n');
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NetG, PRESETS};

    #[test]
    fn every_preset_comes_back_as_it_was_written() {
        for preset in PRESETS {
            let mut config = TrainConfig::preset(preset.name).expect("a preset");
            config.domain_a = "a \"quoted\\ name\", über\nlines\u{7f}".into();
            config.learning_rate = 1.234_567_890_123e-7;
            config.ema = 0.999;
            config.seed = u64::MAX;
            for documented in [false, true] {
                let text = config.to_toml(documented);
                assert_eq!(TrainConfig::from_toml(&text).as_ref(), Ok(&config), "{text}");
                assert!(text.lines().all(|line| line.len() < 200), "{text}");
            }
        }
    }

    #[test]
    fn a_file_is_changes_to_its_preset() {
        let config = TrainConfig::from_toml("preset = 'quick'\nlambda_A = 3\nsteps = 1_000\nnetG = \"resnet_6blocks\"");
        let quick = TrainConfig::preset("quick").expect("a preset");
        let expected = TrainConfig { lambda_a: 3.0, steps: 1000, net_g: NetG::Resnet, n_blocks: 6, ..quick };
        assert_eq!(config, Ok(expected));
        assert_eq!(TrainConfig::from_toml(""), Ok(TrainConfig::default()));
    }

    #[test]
    fn errors_name_the_line() {
        let said = |text: &str| TrainConfig::from_toml(text).expect_err("a bad file").to_string();
        assert_eq!(
            said("# mine\nsteps = 3\nlerning_rate = 1e-4\n"),
            "line 3: there is no option lerning_rate; did you mean learning_rate?"
        );
        assert_eq!(said("steps = \"3\""), "line 1: steps must be a whole number of 0 or more, not \"3\"");
        assert_eq!(said("\nflip = 1"), "line 2: flip must be true or false, not 1");
        assert_eq!(said("domain_a = true"), "line 1: domain_a must be text, not true");
        assert_eq!(
            said("gan_mode = 'lsgna'"),
            "line 1: gan_mode must be one of lsgan, vanilla, wgangp, hinge, not lsgna"
        );
        assert_eq!(said("ngf = [1, 2]"), "line 1: ngf must be a whole number of 0 or more, not [1, 2]");
        assert_eq!(said("ngf = 0x10"), "line 1: ngf must be a whole number of 0 or more, not 0x10");
        assert!(said("[data]\nsize = 3").starts_with("line 1: "), "{}", said("[data]\nsize = 3"));
        assert!(said("steps = 3\nsteps = 4").starts_with("line 2: duplicate key"), "{}", said("steps = 3\nsteps = 4"));
        assert!(said("steps 3").starts_with("line 1: "), "{}", said("steps 3"));
    }
}
