//! The weights that a training begins with, where they are not new.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use super::{Discriminators, Generators, Trainer, checkpoint};
use crate::config::{INITS, SAME, TrainConfig};
use crate::kernels::Kernels;
use crate::model::Architecture;
use crate::weights::networks::load;
use crate::weights::{WeightError, WeightFile};

/// The weights of one network of a training that has not begun.
#[derive(Clone, Debug)]
pub struct Init {
    /// Which of [`INITS`].
    network: usize,
    /// The file, for messages.
    name: String,
    file: WeightFile,
    architecture: Architecture,
}

impl Init {
    /// Reads the weights for the option `option`, one of [`INITS`], from the bytes of a weight file or a checkpoint
    /// called `name`; `part` chooses where there are several networks. A checkpoint's generator is its moving average,
    /// where it has one.
    ///
    /// # Errors
    /// A sentence, when it is no such network, or one that no training has.
    pub fn read(option: &str, name: &str, bytes: &[u8], part: Option<&str>) -> Result<Self, String> {
        let Some(network) = INITS.iter().position(|init| *init == option) else {
            return Err(format!("There is no network {option} that could begin with {name}."));
        };
        let fails = |error: WeightError| format!("{name}: {error}");
        let file = WeightFile::read(bytes).map_err(fails)?;
        let file = if checkpoint::is_one(&file) {
            checkpoint::network(file, network, part).map_err(|error| format!("{name}: {error}"))?
        } else {
            file.network(part).map_err(fails)?
        };
        let architecture = file.architecture().map_err(fails)?;
        let (is_generator, wanted) = if network < 2 {
            (architecture.is_generator(), "generator")
        } else {
            (!architecture.is_generator(), "discriminator")
        };
        if !is_generator {
            return Err(format!("{name} is no {wanted}, but a network {}.", architecture.name()));
        }
        if architecture.settings().is_none() {
            return Err(format!(
                "{name} cannot be trained: trainings have generators of three channels in and out, and U-Nets of 7 or 8 \
                 halvings; this is a {}.",
                architecture.name()
            ));
        }
        Ok(Self { network, name: name.to_owned(), file, architecture })
    }

    /// What its file is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The options that its network decides, with their values.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.architecture.settings().unwrap_or_default()
    }

    /// Whether the networks of a configuration are of its kind.
    ///
    /// # Errors
    /// A sentence that names the option which is another.
    pub fn fits(&self, config: &TrainConfig) -> Result<(), String> {
        let own = if self.network < 2 { config.generator_architecture() } else { config.discriminator_architecture() };
        if own == self.architecture {
            return Ok(());
        }
        let differs = |(option, value): &(&str, String)| config.get(option).as_ref() != Some(value);
        let (option, value) = self.settings().into_iter().find(differs).unwrap_or(("networks", "others".into()));
        let is = config.get(option).unwrap_or_default();
        Err(format!("{option} is {value} in the network of {}, and cannot be {is}.", self.name))
    }
}

impl<A> Trainer<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    /// A training that begins with these weights, and with new ones for the networks that have none.
    ///
    /// # Errors
    /// When a network is not the configuration's, in a sentence, before memory is taken for any.
    pub fn begin(config: TrainConfig, inits: Vec<Init>, device: &A::Device) -> Result<Self, String> {
        for init in &inits {
            init.fits(&config)?;
        }
        let given = |network: usize| inits.iter().any(|init| init.network == network);
        let wants = |network: usize, text: &str| !text.is_empty() && text != SAME && !given(network);
        let texts = [&config.init_ab, &config.init_ba, &config.init_da, &config.init_db];
        if let Some(option) = (0..INITS.len()).find(|&network| wants(network, texts[network])) {
            return Err(format!("The weights of {} did not arrive.", INITS[option]));
        }
        let Self { generators, discriminators, .. } = Self::new(TrainConfig { ema: 0.0, ..config.clone() }, device);
        let (Generators { mut ab, mut ba, heads }, Discriminators { mut a, mut b }) = (generators, discriminators);
        for Init { network, mut file, architecture, name } in inits {
            let parameters = architecture.parameters();
            let fails = |error: WeightError| format!("{name}: {error}");
            // A one-sided training has no others: its configuration says so before it comes here.
            match network {
                0 => ab = load(ab, &parameters, &mut file, "").map_err(fails)?,
                1 => ba = ba.map(|ba| load(ba, &parameters, &mut file, "")).transpose().map_err(fails)?,
                2 => a = a.map(|a| load(a, &parameters, &mut file, "")).transpose().map_err(fails)?,
                _ => b = load(b, &parameters, &mut file, "").map_err(fails)?,
            }
        }
        if config.init_ba == SAME {
            ba = ba.map(|_| ab.clone().map(&mut Apart));
        }
        if let (SAME, Some(ba)) = (config.init_ab.as_str(), &ba) {
            ab = ba.clone().map(&mut Apart);
        }
        Ok(Self::around(config, Generators { ab, ba, heads }, Discriminators { a, b }))
    }
}

/// Gives a clone parameters of its own: a clone as it is would share the gradients.
struct Apart;

impl<A: AutodiffBackend> ModuleMapper<A> for Apart {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<A, D>>) -> Param<Tensor<A, D>> {
        Param::initialized(ParamId::new(), Tensor::from_inner(param.val().inner()).require_grad())
    }
}
