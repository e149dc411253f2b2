//! The options of a training as flags: one for each of [`TrainConfig::FIELDS`].

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, Error};

use crate::config::{Changes, Field, Kind, PRESETS, TOGETHER, TrainConfig};

/// The official names of these mean something else, or something more, here.
const SHORTER: [&str; 2] = ["resnet_9blocks", "resnet_6blocks"];

/// What the flags change.
#[derive(Clone, Debug, Default)]
pub struct Flags(pub Changes);

/// The flag of an option, without its dashes. `--data` is where the pictures are.
pub fn flag(field: &Field) -> String {
    if field.name == "data" { "data-name".into() } else { field.name.replace('_', "-") }
}

/// The same name as it may be typed, too.
fn underscored(flag: &str) -> Option<String> {
    flag.contains('-').then(|| flag.replace('-', "_"))
}

fn argument(field: &'static Field) -> Arg {
    let long = flag(field);
    let is_alias = |name: &&&str| !TOGETHER.iter().any(|(together, ..)| together == *name);
    let arg = Arg::new(id(field.name))
        .aliases(underscored(&long))
        .visible_aliases(field.aliases.iter().filter(is_alias).copied())
        .long(long)
        .help_heading(field.group);
    let named = |names: &[(&'static str, &'static str)]| {
        let value = |(name, about): &(&'static str, &'static str)| {
            let aliases = SHORTER.into_iter().filter(|_| field.name == "net_g" && *name == "resnet");
            PossibleValue::new(*name).help(*about).aliases(aliases)
        };
        PossibleValuesParser::new(names.iter().map(value))
    };
    if field.name == "preset" {
        let presets = PRESETS.map(|preset| (preset.name, preset.about));
        return arg.help("Where to start from [default: official]").value_parser(named(&presets));
    }
    let about = field.about();
    // As clap ends its own. Other presets than the official one have other values.
    let about = about.strip_suffix('.').unwrap_or(&about);
    let about = match super::base("official").get(field.name) {
        Some(value) if field.kind != Kind::Text => format!("{about} [official: {value}]"),
        _ => about.to_owned(),
    };
    match field.kind {
        Kind::Flag => arg
            .help(format!("{about} [--no-{} for false]", flag(field)))
            .value_name("BOOL")
            .num_args(0..=1)
            .default_missing_value("true")
            .value_parser(["true", "false"])
            .hide_possible_values(true),
        Kind::Whole => arg.help(about).value_name("N"),
        Kind::Number => arg.help(about).value_name("NUMBER"),
        Kind::Text => arg.help(about).value_name("TEXT"),
        Kind::Choice(names) => {
            let arg = arg.help(about).value_name("NAME").value_parser(named(names));
            arg.ignore_case(field.name == "model")
        }
    }
}

/// `--no-flip` for `--flip false`.
fn negation(field: &'static Field) -> Arg {
    let long = format!("no-{}", flag(field));
    Arg::new(negated(field.name))
        .alias(long.replace('-', "_"))
        .long(long)
        .action(ArgAction::SetTrue)
        .hide(true)
        .overrides_with(id(field.name))
}

/// Apart from the ids of the command's own arguments.
fn id(name: &str) -> String {
    format!("option:{name}")
}

fn negated(name: &str) -> String {
    format!("no:{name}")
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let mut command = command;
        for field in TrainConfig::FIELDS {
            command = command.arg(argument(field));
            if field.kind == Kind::Flag {
                command = command.arg(negation(field));
            }
            for (name, fields, about) in TOGETHER {
                if fields.first() == Some(&field.name) {
                    let long = name.replace('_', "-");
                    let arg = Arg::new(id(name)).alias(*name).long(long).help_heading(field.group);
                    command = command.arg(arg.value_name("NUMBER").help(about.trim_end_matches('.')));
                }
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut changes = Changes::default();
        let together = TOGETHER.iter().map(|(name, ..)| *name);
        for name in together.chain(TrainConfig::FIELDS.iter().map(|field| field.name)) {
            let is_negated = matches!(matches.try_get_one::<bool>(&negated(name)), Ok(Some(true)));
            let given = matches.get_one::<String>(&id(name)).map(String::as_str);
            if let Some(text) = given.or(is_negated.then_some("false")) {
                let added = changes.add(name, text);
                added.map_err(|error| Error::raw(ErrorKind::ValueValidation, format!("{error}\n")))?;
            }
        }
        Ok(Self(changes))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::config::{Downsample, ModelKind, NetD, NetF, NetG, Upsample};

    fn parse(arguments: &[&str]) -> Result<TrainConfig, Error> {
        let matches =
            Flags::augment_args(Command::new("train").no_binary_name(true)).try_get_matches_from(arguments)?;
        let Flags(changes) = Flags::from_arg_matches(&matches)?;
        let mut config = TrainConfig::default();
        config.apply(&changes);
        Ok(config)
    }

    #[test]
    fn every_option_has_a_flag_and_the_official_command_line_is_understood() {
        let config = parse(
            &"--netG resnet_6blocks --netD basic --n_layers_D 4 --norm none --no_dropout --no_flip --lambda_A 8 --lr 1e-4 \
              --batch_size 2 --gan_mode hinge --crop_size 128 --load_size 140 --init_gain 0.1 --lambda_identity 0"
                .split_whitespace()
                .collect::<Vec<_>>(),
        );
        let config = config.expect("official options");
        assert_eq!((config.net_g, config.n_blocks, config.net_d, config.n_layers), (NetG::Resnet, 6, NetD::Basic, 4));
        assert_eq!((config.flip, config.dropout, config.batch_size, config.learning_rate), (false, false, 2, 1e-4));
        assert_eq!((config.lambda_a, config.lambda_b, config.lambda_identity), (8.0, 10.0, 0.0));
        assert_eq!((config.size, config.load_size), (128, 140));

        let all = TrainConfig { flip: false, domain_a: "horse".into(), ema: 0.999, ..TrainConfig::default() };
        let mut words = Vec::new();
        for field in TrainConfig::FIELDS {
            words.extend([format!("--{}", flag(field)), all.get(field.name).expect("an option")]);
        }
        assert_eq!(parse(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect("good values"), all);
    }

    #[test]
    fn a_model_brings_its_own_along_and_what_is_asked_for_counts() {
        let config =
            parse(&"--CUT_mode FastCUT --lambda_NCE 5 --netF sample --preset demo".split(' ').collect::<Vec<_>>());
        let config = config.expect("CUT's options");
        assert_eq!((config.model, config.lambda_nce, config.net_f), (ModelKind::FastCut, 5.0, NetF::Sample));
        assert!(config.flip_equivariance && !config.nce_idt && config.decay_from == 0.75);
        let cut = parse(&["--no-nce-idt", "--upsample", "resize", "--model", "cut"]).expect("good options");
        assert!(!cut.nce_idt && cut.upsample == Upsample::Resize && cut.downsample == Downsample::Blurred);
    }

    #[test]
    fn a_flag_alone_means_yes() {
        let dropout = |arguments: &[&str]| parse(arguments).expect("a flag").dropout;
        assert!(dropout(&["--dropout"]) && dropout(&["--dropout", "--ngf", "8"]) && dropout(&["--dropout", "true"]));
        assert!(!dropout(&["--dropout", "false"]) && !dropout(&["--dropout", "--no-dropout"]));
    }

    #[test]
    fn bad_values_say_what_would_be_good() {
        let said = |arguments: &[&str]| parse(arguments).expect_err("a bad value").to_string();
        assert!(said(&["--steps", "many"]).contains("steps must be a whole number of 0 or more, not many"));
        assert!(said(&["--gan-mode", "lsgna"]).contains("lsgan"));
        assert!(said(&["--lerning-rate", "1"]).contains("--learning-rate"));
    }
}
