//! What the options of a configuration are, from one list: their names, groups, documentation and kinds of value.
//!
//! The command line makes its flags of it, a TOML file its keys and comments. A value travels as text, written as in
//! TOML but without quotation marks.

use super::{Choice, ConfigError, ModelKind, NetG, Preset, TrainConfig};

/// What a model brings along, besides what is its own anyway.
const BROUGHT: [(ModelKind, &[(&str, &str)]); 2] = [
    (
        ModelKind::Cut,
        &[
            ("nce_idt", "true"),
            ("lambda_nce", "1.0"),
            ("flip_equivariance", "false"),
            ("downsample", "blurred"),
            ("upsample", "blurred"),
        ],
    ),
    (
        ModelKind::FastCut,
        &[
            ("nce_idt", "false"),
            ("lambda_nce", "10.0"),
            ("flip_equivariance", "true"),
            ("downsample", "blurred"),
            ("upsample", "blurred"),
            ("decay_from", "0.75"),
        ],
    ),
];

/// An option of [`TrainConfig`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name here and in TOML files.
    pub name: &'static str,
    /// The heading under which it stands.
    pub group: &'static str,
    /// Other names: the official code's, where they differ.
    pub aliases: &'static [&'static str],
    /// What its value is.
    pub kind: Kind,
    /// Its documentation as written, a line each.
    lines: &'static [&'static str],
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number of 0 or more.
    Whole,
    /// A number.
    Number,
    /// Any text.
    Text,
    /// One of these names, each with a sentence about it.
    Choice(&'static [(&'static str, &'static str)]),
}

impl Kind {
    /// What is expected, to follow "must be".
    pub fn expected(self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Whole => "a whole number of 0 or more".into(),
            Self::Number => "a number".into(),
            Self::Text => "text".into(),
            Self::Choice(names) => {
                let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                format!("one of {}", names.join(", "))
            }
        }
    }
}

impl Field {
    /// Its documentation, on one line.
    pub fn about(&self) -> String {
        self.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// The option of that name; its aliases count, and so does `-` for `_`.
    pub fn named(name: &str) -> Option<&'static Self> {
        let name = name.replace('-', "_");
        let is = |known: &&Self| known.name == name || known.aliases.contains(&name.as_str());
        TrainConfig::FIELDS.iter().find(is)
    }
}

/// Names that stand for several options at once, with what they are.
pub const TOGETHER: &[(&str, &[&str], &str)] =
    &[("lambda_cycle", &["lambda_a", "lambda_b"], "Both weights of the cycle-consistency losses.")];

/// A type that an option can have.
pub(super) trait Value: Sized {
    /// What it is for people.
    const KIND: Kind;

    /// The value that a text says, if it says one.
    fn read(text: &str) -> Option<Self>;

    /// The text that says it.
    fn write(&self) -> String;
}

macro_rules! plain {
    ($($type:ty: $kind:ident;)*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

plain! {
    bool: Flag;
    u32: Whole;
    u64: Whole;
}

// Numbers are read and written by what reads and writes the messages and the checkpoints: the tables of `std`'s own
// reader and writer would be the largest single thing in the page. Written, a number keeps its point, and 1e-8 stays short.
macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Number;

            fn read(text: &str) -> Option<Self> {
                let number: Self = serde_json::from_str(&json(text)).ok()?;
                number.is_finite().then_some(number)
            }

            fn write(&self) -> String {
                // Every finite number can be written, and no other gets in.
                serde_json::to_string(self).unwrap_or_default()
            }
        }
    )*};
}

numbers! { f32 f64 }

/// A number with what people leave out of it and JSON wants: `.5`, `5.`, `+5`.
fn json(text: &str) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if digits == "." {
        return String::new();
    }
    let before = if digits.starts_with('.') { "0" } else { "" };
    let after = if digits.ends_with('.') { "0" } else { "" };
    [sign, before, digits, after].concat()
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }
}

impl<T: Choice> Value for T {
    const KIND: Kind = Kind::Choice(T::NAMES);

    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn write(&self) -> String {
        self.as_str().to_owned()
    }
}

/// Declares a configuration and lists its options: fields stand below the heading of their group.
macro_rules! options {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $group:literal:
                $(
                    $(#[doc = $line:literal])*
                    $(#[serde($(alias = $alias:literal),*)])?
                    pub $field:ident: $type:ty,
                )*
            )*
        }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $($(
                $(#[doc = $line])*
                $(#[serde($(alias = $alias),*)])?
                pub $field: $type,
            )*)*
        }

        impl $name {
            /// Every option, in order.
            pub const FIELDS: &'static [$crate::config::Field] = &[$($(
                $crate::config::options::field(
                    stringify!($field),
                    $group,
                    &[$($($alias),*)?],
                    <$type as $crate::config::options::Value>::KIND,
                    &[$($line),*],
                ),
            )*)*];

            /// The value of an option as text; `None` when there is no such option.
            pub fn get(&self, field: &str) -> Option<String> {
                $($(
                    if field == stringify!($field) {
                        return Some($crate::config::options::Value::write(&self.$field));
                    }
                )*)*
                None
            }

            /// Puts a value into an option; false when it is none for it, or there is no such option.
            fn put(&mut self, field: &str, text: &str) -> bool {
                $($(
                    if field == stringify!($field) {
                        let value = $crate::config::options::Value::read(text);
                        return value.map(|value| self.$field = value).is_some();
                    }
                )*)*
                false
            }
        }
    };
}
pub(super) use options;

pub(super) const fn field(
    name: &'static str,
    group: &'static str,
    aliases: &'static [&'static str],
    kind: Kind,
    lines: &'static [&'static str],
) -> Field {
    Field { name, group, aliases, kind, lines }
}

/// Changes to a configuration by the names of its options, checked but for what depends on other options.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    preset: Option<&'static str>,
    /// Of a model.
    model: Option<&'static str>,
    /// Whatever was given by a name of its own counts before what another one brought along.
    brought: Vec<(&'static Field, String)>,
    given: Vec<(&'static Field, String)>,
}

impl Changes {
    /// The change of one option; `None` when the value is none for it.
    pub fn of_one(field: &'static Field, text: &str) -> Option<Self> {
        let is_good = TrainConfig::default().put(field.name, text);
        is_good.then(|| Self { given: vec![(field, text.to_owned())], model: model(field, text), ..Self::default() })
    }

    /// Adds a change. Names may be the official code's; its `netG` of `resnet_9blocks` sets `n_blocks`, too.
    ///
    /// # Errors
    /// When there is no option of that name, or the value is none for it.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        if let Some((_, fields, _)) = TOGETHER.iter().find(|(known, _, _)| *known == name.replace('-', "_")) {
            for field in *fields {
                let field = Field::named(field).ok_or_else(|| ConfigError::unknown(field))?;
                self.brought.push((field, checked(field, text)?));
            }
            return Ok(());
        }
        let field = Field::named(name).ok_or_else(|| ConfigError::unknown(name))?;
        if field.name == "preset" {
            self.preset = Some(Preset::named(text)?.name);
            return Ok(());
        }
        // CUT's code has its names in capitals, too.
        let lower = text.to_ascii_lowercase();
        let text = if model(field, text).is_some() { lower.as_str() } else { text };
        self.model = model(field, text).or(self.model);
        let blocks = text.strip_prefix("resnet_").and_then(|rest| rest.strip_suffix("blocks"));
        let blocks = blocks.filter(|blocks| u32::read(blocks).is_some());
        if let (Kind::Choice(NetG::NAMES), Some(blocks), Some(n_blocks)) =
            (field.kind, blocks, Field::named("n_blocks"))
        {
            self.brought.push((n_blocks, checked(n_blocks, blocks)?));
            self.given.push((field, NetG::Resnet.as_str().into()));
        } else {
            self.given.push((field, checked(field, text)?));
        }
        Ok(())
    }

    /// The preset that they are changes to, if they say one.
    pub fn preset(&self) -> Option<&'static str> {
        self.preset
    }

    /// The options that are changed, with their new values; the last of an option counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Field, &str)> {
        let model = BROUGHT.iter().filter(|(model, _)| Some(model.as_str()) == self.model);
        let of_model = model.flat_map(|(_, values)| values.iter().copied());
        of_model.filter_map(|(name, text)| Some((Field::named(name)?, text))).chain(self.asked())
    }

    /// The same without what comes with a model.
    pub fn asked(&self) -> impl Iterator<Item = (&'static Field, &str)> {
        self.brought.iter().chain(&self.given).map(|(field, text)| (*field, text.as_str()))
    }

    /// The value of an option that is changed.
    fn of(&self, name: &str) -> Option<&str> {
        self.iter().filter(|(field, _)| field.name == name).map(|(_, text)| text).last()
    }
}

impl TrainConfig {
    /// The same with a model and what it brings along.
    pub(super) fn with_model(mut self, name: &str) -> Self {
        if let Some(change) = Field::named("model").and_then(|field| Changes::of_one(field, name)) {
            self.apply(&change);
        }
        self
    }

    /// Makes the changes. Another training size keeps the margin that the crop has, unless `load_size` is changed, too.
    pub fn apply(&mut self, changes: &Changes) {
        let before = (u64::from(self.size.max(1)), u64::from(self.load_size));
        for (field, text) in changes.iter() {
            // The value was checked when it was added.
            self.put(field.name, text);
        }
        if changes.of("size").is_some() && changes.of("load_size").is_none() {
            self.load_size = u32::try_from(before.1 * u64::from(self.size) / before.0).unwrap_or(u32::MAX);
        }
    }
}

/// The name of the model, if it is that option.
fn model(field: &Field, text: &str) -> Option<&'static str> {
    (field.kind == Kind::Choice(ModelKind::NAMES)).then(|| ModelKind::read(text).unwrap_or_default().as_str())
}

/// The text, if the option can take it.
fn checked(field: &'static Field, text: &str) -> Result<String, ConfigError> {
    if TrainConfig::default().put(field.name, text) {
        return Ok(text.to_owned());
    }
    Err(ConfigError::Value { name: field.name, value: text.to_owned(), expected: field.kind.expected() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GanMode, LrPolicy};

    fn changed(changes: &[(&str, &str)]) -> TrainConfig {
        let mut all = Changes::default();
        for (name, text) in changes {
            all.add(name, text).expect("a good change");
        }
        let mut config = TrainConfig::preset("small-128").expect("a preset");
        config.apply(&all);
        config
    }

    #[test]
    fn every_option_is_documented_in_one_group_and_reads_what_it_writes() {
        let mut config = TrainConfig::default();
        let json = serde_json::to_value(&config).expect("plain data");
        let names: Vec<&str> = TrainConfig::FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), json.as_object().expect("an object").len());
        for field in TrainConfig::FIELDS {
            assert!(json.get(field.name).is_some(), "{}", field.name);
            assert!(field.about().len() > 10 && field.about().ends_with('.'), "{}", field.name);
            let text = config.get(field.name).expect("an option");
            assert!(config.put(field.name, &text), "{} = {text}", field.name);
            assert!(!matches!(field.kind, Kind::Flag | Kind::Whole | Kind::Number) || !config.put(field.name, "x"));
            for name in field.aliases.iter().chain([&field.name]) {
                assert!(Field::named(name).is_some_and(|found| found.name == field.name), "{name} is taken");
            }
        }
        assert_eq!(config, TrainConfig::default());
        let mut groups: Vec<&str> = TrainConfig::FIELDS.iter().map(|field| field.group).collect();
        groups.dedup();
        let count = groups.len();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), count, "a group stands in one place");
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, number) in [("5", 5.0), (".5", 0.5), ("-.5", -0.5), ("5.", 5.0), ("+2e-4", 2e-4), ("1E3", 1e3)] {
            assert_eq!((f64::read(text), f32::read(text)), (Some(number), Some(number as f32)), "{text}");
        }
        for text in ["", ".", "-", "five", "inf", "nan", "1e999", "1 2", "true"] {
            assert_eq!((f64::read(text), f32::read(text)), (None, None), "{text}");
        }
        assert_eq!([2e-4.write(), 1e-8.write(), 10.0.write()], ["0.0002", "1e-8", "10.0"]);
        assert_eq!(0.999_f32.write(), "0.999");
    }

    #[test]
    fn official_names_do_what_they_do_there() {
        let config = changed(&[
            ("netG", "resnet_9blocks"),
            ("gan_mode", "wgangp"),
            ("lr", "0.0001"),
            ("lambda_A", "5"),
            ("n_layers_D", "4"),
            ("lr-policy", "cosine"),
        ]);
        assert_eq!((config.net_g, config.n_blocks, config.gan_mode), (NetG::Resnet, 9, GanMode::Wgangp));
        assert_eq!((config.learning_rate, config.lambda_a, config.lambda_b, config.n_layers), (1e-4, 5.0, 10.0, 4));
        assert_eq!(config.lr_policy, LrPolicy::Cosine);
    }

    #[test]
    fn a_name_of_its_own_counts_before_what_another_brings_along() {
        for order in [[0, 1], [1, 0]] {
            let pair = |pair: [(&'static str, &'static str); 2]| order.map(|at| pair[at]);
            let config = changed(&pair([("n_blocks", "3"), ("netG", "resnet_6blocks")]));
            assert_eq!(config.n_blocks, 3);
            let config = changed(&pair([("lambda_cycle", "7"), ("lambda_b", "2")]));
            assert_eq!((config.lambda_a, config.lambda_b), (7.0, 2.0));
            let config = changed(&pair([("size", "64"), ("load_size", "70")]));
            assert_eq!((config.size, config.load_size), (64, 70));
        }
        let config = changed(&[("crop_size", "64")]);
        assert_eq!((config.size, config.load_size), (64, 71), "128 and 143 halved");
    }

    #[test]
    fn what_is_no_option_or_no_value_is_refused() {
        let said = |name, text| Changes::default().add(name, text).expect_err("a bad change").to_string();
        assert_eq!(said("lerning_rate", "1"), "there is no option lerning_rate; did you mean learning_rate?");
        assert_eq!(said("xyzzyplugh", "1"), "there is no option xyzzyplugh");
        assert_eq!(said("steps", "-1"), "steps must be a whole number of 0 or more, not -1");
        assert_eq!(said("ema", "inf"), "ema must be a number, not inf");
        assert_eq!(said("flip", "yes"), "flip must be true or false, not yes");
        assert_eq!(said("netD", "big"), "net_d must be one of n_layers, basic, pixel, not big");
        assert!(said("netG", "resnet_blocks").contains("net_g"), "a number is missing");
        assert_eq!(
            said("preset", "huge"),
            "there is no preset huge; there are demo, quick, emoji-64, small-128, official, fastcut, cut"
        );
    }
}
