//! A training on paper: everything that a later process, native or in a browser, needs to go on
//! as if it had never stopped.
//!
//! One safetensors file: the four networks under their official names with a prefix, Adam's moments
//! under `first.` and `second.`, the generators' moving average, the image pools, and in the metadata the configuration,
//! the counters, what a plateau of the losses is judged by, the best measurement, and a checksum of all of it. Random
//! streams and the data order are functions of the step (see [`crate::random`]), so there is no random state to save.

use burn::module::Module;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};

use super::trainer::Spent;
use super::{Adam, Discriminators, Generators, Trainer, Window};
use crate::config::{Preprocess, TrainConfig};
use crate::image_pool::ImagePool;
use crate::kernels::Kernels;
use crate::model::architecture::Parameter;
use crate::model::heads;
use crate::protocol::Direction;
use crate::schedule::Plateau;
use crate::weights::networks::{export, load, take};
use crate::weights::{NamedTensor, Storage, WeightError, WeightFile, metadata};

/// Value of the metadata key `format` of a checkpoint.
const FORMAT: &str = "cyclegan-checkpoint-1";
const STEP: &str = "step";
const GENERATORS_TIME: &str = "generators_adam_time";
const DISCRIMINATORS_TIME: &str = "discriminators_adam_time";
const PLATEAU: &str = "plateau";
/// Loss totals that the plateau has not heard of: how many in the metadata, their sum as a tensor.
const WINDOW_STEPS: &str = "plateau_window_steps";
const WINDOW_SUM: &str = "plateau_window_sum";
/// Of the best generators that were measured: [`Trainer::best`].
const BEST: &str = "best_distance";
/// Of a training by the clock: [`Trainer::spent`].
const SPENT: &str = "spent";
/// CRC-32 of everything else in the file.
const CHECKSUM: &str = "checksum";
const FIRST: &str = "first.";
const SECOND: &str = "second.";

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is no weight file at all, or a damaged one.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// It is a weight file, but no checkpoint.
    #[error("This file holds no training to go on with; it may be a weight file of one network.")]
    NotACheckpoint,
    /// Its configuration cannot be understood.
    #[error("The checkpoint's configuration cannot be used: {0}")]
    Config(String),
    /// It can be read, but is not what was written.
    #[error("The checkpoint is damaged: its contents do not match its checksum. Go on from an earlier one.")]
    Damaged,
    /// The generator that is asked for does not exist.
    #[error("A one-sided training has no generator from B to A.")]
    OneSided,
    /// Values could not be read from the device.
    #[error("The device was lost while the checkpoint was being written: {0}")]
    Device(String),
}

/// What a checkpoint says about itself, without a device: its configuration, and the steps made.
///
/// # Errors
/// When the bytes are no checkpoint, or are damaged.
pub fn describe(bytes: &[u8]) -> Result<(TrainConfig, u64), CheckpointError> {
    said(&WeightFile::read(bytes)?)
}

/// Whether a file's metadata say that it is a checkpoint.
pub(super) fn is_one(file: &WeightFile) -> bool {
    file.metadata.get(metadata::FORMAT).map(String::as_str) == Some(FORMAT)
}

/// One network of a checkpoint, by its name in it (`generator_ba`) or else by its number among
/// [`INITS`](crate::config::INITS).
pub(super) fn network(file: WeightFile, number: usize, part: Option<&str>) -> Result<WeightFile, CheckpointError> {
    let (config, _) = said(&file)?;
    let own = [AVERAGE, GENERATORS][usize::from(config.ema == 0.0)];
    let prefix = match part {
        Some(part) => format!("{part}."),
        None => own.into_iter().chain(DISCRIMINATORS).nth(number).unwrap_or_default().to_owned(),
    };
    let is_judge = DISCRIMINATORS.contains(&prefix.as_str());
    let architecture = if is_judge { config.discriminator_architecture() } else { config.generator_architecture() };
    let parameters = architecture.parameters();
    holds(&file, &prefixed(&prefix, &parameters))?;
    let tensors = file.tensors.into_iter().filter_map(|tensor| {
        let name = tensor.name.strip_prefix(&prefix)?.to_owned();
        Some(NamedTensor { name, ..tensor })
    });
    // What tells networks without norms from those whose biases are not in the file.
    let metadata = [(metadata::ARCHITECTURE.to_owned(), architecture.name())].into();
    Ok(WeightFile { metadata, tensors: tensors.collect(), ..WeightFile::default() })
}

fn said(file: &WeightFile) -> Result<(TrainConfig, u64), CheckpointError> {
    if !is_one(file) {
        return Err(CheckpointError::NotACheckpoint);
    }
    // Versions before 0.2 wrote none.
    if file.metadata.get(CHECKSUM).is_some_and(|written| *written != checksum(file)) {
        return Err(CheckpointError::Damaged);
    }
    let config = file.metadata.get(metadata::CONFIG).ok_or(CheckpointError::NotACheckpoint)?;
    let config = TrainConfig::from_json(config).map_err(|error| CheckpointError::Config(error.to_string()))?;
    config.check().map_err(CheckpointError::Config)?;
    Ok((config, number(file, STEP)?))
}

/// Of all tensors' names, shapes and values, in the order of their names, and all metadata but itself; 8 hexadecimal digits.
fn checksum(file: &WeightFile) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for (key, value) in file.metadata.iter().filter(|(key, _)| *key != CHECKSUM) {
        hasher.update(key.as_bytes());
        hasher.update(value.as_bytes());
    }
    let mut tensors: Vec<&NamedTensor> = file.tensors.iter().collect();
    tensors.sort_unstable_by_key(|tensor| &tensor.name);
    for NamedTensor { name, shape, values } in tensors {
        hasher.update(name.as_bytes());
        shape.iter().for_each(|&side| hasher.update(&(side as u64).to_le_bytes()));
        // Every machine that this runs on stores numbers as the file does: the least significant byte first.
        hasher.update(bytemuck::cast_slice(values));
    }
    format!("{:08x}", hasher.finalize())
}

fn number(file: &WeightFile, key: &str) -> Result<u64, CheckpointError> {
    let text = file.metadata.get(key).ok_or(CheckpointError::NotACheckpoint)?;
    text.parse().map_err(|error: std::num::ParseIntError| CheckpointError::Config(error.to_string()))
}

/// The networks' prefixes, in the order in which an optimiser visits its two.
const GENERATORS: [&str; 2] = ["generator_ab.", "generator_ba."];
const DISCRIMINATORS: [&str; 2] = ["discriminator_a.", "discriminator_b."];
/// What a one-sided training compares patches by.
const HEADS: &str = "heads.";
/// The generators' moving average.
const AVERAGE: [&str; 2] = ["average_ab.", "average_ba."];

fn prefixed(prefix: &str, parameters: &[Parameter]) -> Vec<Parameter> {
    parameters.iter().map(|(name, shape)| (format!("{prefix}{name}"), shape.clone())).collect()
}

/// A training's parameters, each list in the order in which an optimiser visits them.
struct Layout {
    generator: Vec<Parameter>,
    heads: Vec<Parameter>,
    discriminator: Vec<Parameter>,
    is_one_sided: bool,
}

impl Layout {
    fn of(config: &TrainConfig) -> Self {
        let heads = config.head_channels().map(|channels| heads::parameters(&channels, config.net_f_nc as usize));
        Self {
            generator: config.generator_architecture().parameters(),
            heads: heads.unwrap_or_default(),
            discriminator: config.discriminator_architecture().parameters(),
            is_one_sided: config.is_one_sided(),
        }
    }

    /// Those under both prefixes, or, of a one-sided training, under one of them.
    fn under(&self, prefixes: [&str; 2], one: usize, parameters: &[Parameter]) -> Vec<Parameter> {
        let prefixes = if self.is_one_sided { &prefixes[one..=one] } else { &prefixes[..] };
        prefixes.iter().flat_map(|prefix| prefixed(prefix, parameters)).collect()
    }

    fn generators(&self, prefixes: [&str; 2]) -> Vec<Parameter> {
        self.under(prefixes, 0, &self.generator)
    }

    /// Generators and heads, which learn together.
    fn learners(&self) -> Vec<Parameter> {
        [self.generators(GENERATORS), prefixed(HEADS, &self.heads)].concat()
    }

    fn discriminators(&self) -> Vec<Parameter> {
        self.under(DISCRIMINATORS, 1, &self.discriminator)
    }
}

async fn read_back<B: Backend, const D: usize>(
    name: String,
    shape: Vec<usize>,
    tensor: Tensor<B, D>,
) -> Result<NamedTensor, CheckpointError> {
    let data = tensor.into_data_async().await.map_err(|error| CheckpointError::Device(format!("{error:?}")))?;
    Ok(NamedTensor { name, shape, values: data.iter::<f32>().collect() })
}

/// Networks that are visited in the order of these names. What follows them, such as the heads of an average, stays away.
async fn export_all<B: Backend, M: Module<B>>(
    networks: &M,
    parameters: &[Parameter],
) -> Result<Vec<NamedTensor>, CheckpointError> {
    export(networks, parameters, "").await.map_err(CheckpointError::Device)
}

/// Checks that a file has these tensors.
fn holds(file: &WeightFile, parameters: &[Parameter]) -> Result<(), WeightError> {
    for (name, expected) in parameters {
        let (tensor, expected) = (name.clone(), expected.clone());
        match file.tensor(name) {
            None => return Err(WeightError::Missing { tensor, expected }),
            Some(found) if found.shape != expected => {
                return Err(WeightError::Shape { tensor, expected, found: found.shape.clone() });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

async fn write_adam<B: Kernels>(adam: &Adam<B>, parameters: &[Parameter]) -> Result<Vec<NamedTensor>, CheckpointError> {
    let mut tensors = Vec::new();
    for ((name, shape), moments) in parameters.iter().zip(&adam.moments) {
        let Some([first, second]) = moments.clone() else { continue };
        tensors.push(read_back(format!("{FIRST}{name}"), shape.clone(), first).await?);
        tensors.push(read_back(format!("{SECOND}{name}"), shape.clone(), second).await?);
    }
    Ok(tensors)
}

fn read_adam<B: Kernels>(
    file: &mut WeightFile,
    parameters: &[Parameter],
    time: u64,
    device: &B::Device,
) -> Result<Adam<B>, CheckpointError> {
    let mut adam = Adam { time, moments: Vec::new() };
    for (name, shape) in parameters {
        let mut moment = |kind: &str| -> Result<Tensor<B, 1>, CheckpointError> {
            let values = take(file, &format!("{kind}{name}"), shape)?;
            let count = values.len();
            Ok(Tensor::from_data(TensorData::new(values, [count]), device))
        };
        // A bias in front of an instance norm has no gradient and so no moments.
        adam.moments.push(match moment(FIRST) {
            Ok(first) => Some([first, moment(SECOND)?]),
            Err(CheckpointError::Weights(WeightError::Missing { .. })) => None,
            Err(error) => return Err(error),
        });
    }
    Ok(adam)
}

async fn write_pool<B: Backend>(pool: &ImagePool<B>, name: &str) -> Result<Vec<NamedTensor>, CheckpointError> {
    let mut tensors = Vec::new();
    for (slot, image) in pool.images().iter().enumerate() {
        tensors.push(read_back(format!("{name}.{slot}"), image.dims().to_vec(), image.clone()).await?);
    }
    Ok(tensors)
}

fn read_pool<B: Backend>(
    file: &mut WeightFile,
    name: &str,
    config: &TrainConfig,
    device: &B::Device,
) -> Result<Vec<Tensor<B, 4>>, CheckpointError> {
    let mut images = Vec::new();
    loop {
        let name = format!("{name}.{}", images.len());
        let Some(tensor) = file.tensor(&name) else { return Ok(images) };
        let shape = pooled(&tensor.shape, config);
        let values = take(file, &name, &shape)?;
        images.push(Tensor::from_data(TensorData::new(values, shape), device));
    }
}

/// The shape that a fake of this training has, if it has this one: without crops sides differ from fake to fake.
fn pooled(found: &[usize], config: &TrainConfig) -> [usize; 4] {
    let size = config.size as usize;
    let suits = |side: usize| {
        side <= size && side >= config.smallest_side() as usize && side.is_multiple_of(config.multiple() as usize)
    };
    match (config.preprocess, found) {
        (Preprocess::None, &[1, 3, height, width]) if suits(height) && suits(width) => [1, 3, height, width],
        _ => [1, 3, size, size],
    }
}

impl<A> Trainer<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    /// The weight file of one generator.
    ///
    /// # Errors
    /// When the device is lost.
    pub async fn weights(&self, direction: Direction) -> Result<WeightFile, CheckpointError> {
        let parameters = self.config.generator_architecture().parameters();
        let generators = self.frozen_generators();
        let network = generators.of(direction).ok_or(CheckpointError::OneSided)?;
        let tensors = export(network, &parameters, "").await.map_err(CheckpointError::Device)?;
        let metadata = metadata::describe(&self.config.model_info(direction, self.step), Some(direction));
        Ok(WeightFile { metadata, tensors, ..WeightFile::default() })
    }

    /// The bytes of a checkpoint.
    ///
    /// # Errors
    /// When the device is lost, or when a value is not finite: a training gone wrong is not saved.
    pub async fn checkpoint(&self) -> Result<Vec<u8>, CheckpointError> {
        let layout = Layout::of(&self.config);
        let (learners, discriminators) = (layout.learners(), layout.discriminators());
        let mut tensors = export_all(&self.generators, &learners).await?;
        tensors.extend(export_all(&self.discriminators, &discriminators).await?);
        if let Some(average) = &self.average {
            tensors.extend(export_all(average, &layout.generators(AVERAGE)).await?);
        }
        tensors.extend(write_adam(&self.generators_adam, &learners).await?);
        tensors.extend(write_adam(&self.discriminators_adam, &discriminators).await?);
        tensors.extend(write_pool(&self.pool_a, "pool_a").await?);
        tensors.extend(write_pool(&self.pool_b, "pool_b").await?);
        if let Some(sum) = &self.window.sum {
            tensors.push(read_back(WINDOW_SUM.into(), vec![1], sum.clone()).await?);
        }
        let config = serde_json::to_string(&self.config).map_err(|error| CheckpointError::Config(error.to_string()))?;
        let Plateau { factor, best, bad } = self.plateau;
        let metadata = [
            (metadata::FORMAT, FORMAT.to_owned()),
            (metadata::CONFIG, config),
            (STEP, self.step.to_string()),
            (GENERATORS_TIME, self.generators_adam.time.to_string()),
            (DISCRIMINATORS_TIME, self.discriminators_adam.time.to_string()),
            (PLATEAU, format!("{factor} {best} {bad}")),
            (WINDOW_STEPS, self.window.steps.to_string()),
        ];
        let spent =
            (self.config.minutes > 0.0).then(|| (SPENT, format!("{} {}", self.spent.seconds, self.spent.is_sized)));
        let metadata = metadata.into_iter().chain(spent).chain(self.best.map(|best| (BEST, best.to_string())));
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).collect();
        let mut file = WeightFile { metadata, tensors, ..WeightFile::default() };
        file.metadata.insert(CHECKSUM.into(), checksum(&file));
        Ok(file.write(Storage::F32)?)
    }

    /// The training that a checkpoint holds. Checkpoints of versions before 0.2 lack what is new since; it begins as
    /// in a new training.
    ///
    /// # Errors
    /// When the bytes are no checkpoint, are damaged, or do not fit the configuration they name: that is found out
    /// before memory is taken for the networks.
    pub fn restore(bytes: &[u8], device: &A::Device) -> Result<Self, CheckpointError> {
        let mut file = WeightFile::read(bytes)?;
        let (config, step) = said(&file)?;
        let (generators_time, discriminators_time) =
            (number(&file, GENERATORS_TIME)?, number(&file, DISCRIMINATORS_TIME)?);
        let plateau = file.metadata.get(PLATEAU).map_or(Ok(Plateau::default()), |text| read_plateau(text))?;
        let best = file.metadata.get(BEST).map(|text| read_distance(text)).transpose()?;
        let spent = file.metadata.get(SPENT).map_or(Ok(Spent::default()), |text| read_spent(text))?;
        let window_steps = if file.metadata.contains_key(WINDOW_STEPS) { number(&file, WINDOW_STEPS)? } else { 0 };

        let layout = Layout::of(&config);
        let (learners, discriminators) = (layout.learners(), layout.discriminators());
        holds(&file, &learners)?;
        holds(&file, &discriminators)?;
        let averaged = layout.generators(AVERAGE);
        if config.ema > 0.0 {
            holds(&file, &averaged)?;
        }
        let both = !config.is_one_sided();
        let networks = Generators {
            ab: config.generator(device),
            ba: both.then(|| config.generator(device)),
            heads: config.heads(device),
        };
        let judges = Discriminators { a: both.then(|| config.discriminator(device)), b: config.discriminator(device) };
        let (networks, judges) =
            (load(networks, &learners, &mut file, "")?, load(judges, &discriminators, &mut file, "")?);
        let mut trainer = Self::around(config, networks, judges);
        trainer.average = trainer.average.map(|average| load(average, &averaged, &mut file, "")).transpose()?;
        trainer.generators_adam = read_adam(&mut file, &learners, generators_time, device)?;
        trainer.discriminators_adam = read_adam(&mut file, &discriminators, discriminators_time, device)?;
        trainer.pool_a.restore(read_pool(&mut file, "pool_a", &trainer.config, device)?);
        trainer.pool_b.restore(read_pool(&mut file, "pool_b", &trainer.config, device)?);
        if window_steps > 0 {
            let sum = take(&mut file, WINDOW_SUM, &[1])?;
            trainer.window =
                Window { sum: Some(Tensor::from_data(TensorData::new(sum, [1]), device)), steps: window_steps };
        }
        (trainer.plateau, trainer.best, trainer.step, trainer.spent) = (plateau, best, step, spent);
        Ok(trainer)
    }
}

/// Factor, best loss and bad windows, as [`Trainer::checkpoint`] writes them: numbers that come back bit for bit.
fn read_plateau(text: &str) -> Result<Plateau, CheckpointError> {
    let wrong = || CheckpointError::Config(format!("its plateau is {text:?}"));
    let parts: Vec<&str> = text.split(' ').collect();
    let [factor, best, bad] = parts[..] else { return Err(wrong()) };
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number >= 0.0).ok_or_else(wrong);
    Ok(Plateau { factor: number(factor)?, best: number(best)?, bad: bad.parse().map_err(|_| wrong())? })
}

/// Seconds and whether it is sized, as [`Trainer::checkpoint`] writes them.
fn read_spent(text: &str) -> Result<Spent, CheckpointError> {
    let parts = text.split_once(' ').and_then(|(seconds, sized)| Some((seconds.parse().ok()?, sized.parse().ok()?)));
    let sound = parts.filter(|(seconds, _): &(f64, bool)| seconds.is_finite() && *seconds >= 0.0);
    let (seconds, is_sized) = sound.ok_or_else(|| CheckpointError::Config(format!("its time is {text:?}")))?;
    Ok(Spent { seconds, is_sized })
}

/// The distance that a checkpoint names, bit for bit.
fn read_distance(text: &str) -> Result<f32, CheckpointError> {
    let distance = text.parse().ok().filter(|distance: &f32| distance.is_finite());
    distance.ok_or_else(|| CheckpointError::Config(format!("its best distance is {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooled_fakes_have_sizes_that_the_training_can_make() {
        let cropped = TrainConfig::default();
        let whole = TrainConfig { preprocess: Preprocess::None, ..TrainConfig::default() };
        let square = [1, 3, 256, 256];
        assert_eq!(pooled(&[1, 3, 128, 64], &cropped), square);
        assert_eq!(pooled(&[1, 3, 128, 64], &whole), [1, 3, 128, 64]);
        let wrong: [&[usize]; 6] =
            [&[1, 3, 260, 64], &[1, 3, 64, 30], &[1, 3, 28, 64], &[1, 3, 0, 64], &[2, 3, 64, 64], &[1, 3, 64]];
        for wrong in wrong {
            assert_eq!(pooled(wrong, &whole), square, "{wrong:?} is not accepted");
        }
    }
}
