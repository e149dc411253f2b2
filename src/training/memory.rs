//! How much memory a training takes, known before it starts.

use crate::config::TrainConfig;
use crate::model::architecture::{Architecture, Doubling, Downsample, PatchStyle, ResnetStyle};

/// Bytes of a value.
const VALUE: f64 = 4.0;
/// Values of a picture's pixel.
const CHANNELS: f64 = 3.0;

/// Bytes that a training holds at its worst moment, within a quarter on the processor: parameters, gradients, Adam's
/// moments, the moving average, the image pools, and the maps that a backward pass of the generators needs.
pub fn estimate(config: &TrainConfig) -> u64 {
    let (generator, discriminator) = (config.generator_architecture(), config.discriminator_architecture());
    let pixels = f64::from(config.size) * f64::from(config.size);
    let batch = f64::from(config.batch_size);
    let networks = if config.is_one_sided() { 1.0 } else { 2.0 };
    let generators = networks * generator.parameter_count() as f64 + heads(config);
    let discriminators = networks * discriminator.parameter_count() as f64;
    // Parameters and two moments each, once as they are and once as they were last seen to be good.
    let mut values = 2.0 * 3.0 * (generators + discriminators);
    // The generators' gradients, and the new parameters beside the old ones.
    values += 2.0 * generators;
    if config.accumulate > 1 {
        values += generators;
    }
    if config.ema > 0.0 {
        values += 2.0 * generators;
    }
    if !config.is_one_sided() {
        values += 2.0 * f64::from(config.pool_size) * CHANNELS * pixels;
    }
    // The reals and fakes of all passes wait for the discriminators.
    values += f64::from(config.accumulate) * batch * 4.0 * CHANNELS * pixels;
    values += batch * maps(config, generator, discriminator) * pixels;
    (values * VALUE) as u64
}

/// Bytes of the largest tensor on a GPU: the first maps of the generators' joined pictures, or the spectra of a 3×3
/// convolution of twice as many at full size, each four times as large.
pub fn largest_tensor(config: &TrainConfig) -> u64 {
    let generator = config.generator_architecture();
    let is_wide =
        |style: ResnetStyle| style.downsample == Downsample::Blurred || style.upsample != Doubling::Transposed;
    let maps = if matches!(generator, Architecture::Resnet { style, .. } if is_wide(style)) { 8 } else { 1 };
    let ngf = generator.generator_size().map_or(0, |(ngf, _)| ngf as u64);
    let joined = if config.lambda_identity == 0.0 { 1 } else { 2 };
    let pixels = u64::from(config.size) * u64::from(config.size);
    u64::from(config.batch_size) * joined * maps * ngf * pixels * VALUE as u64
}

/// Parameters of the projection heads of a one-sided training.
fn heads(config: &TrainConfig) -> f64 {
    let width = f64::from(config.net_f_nc);
    let channels = config.head_channels().unwrap_or_default();
    channels.into_iter().map(|inputs| width * (inputs as f64 + 1.0) + width * (width + 1.0)).sum()
}

/// Values for every pixel of the training images that the generators' pass holds for a batch of one.
fn maps(config: &TrainConfig, generator: Architecture, discriminator: Architecture) -> f64 {
    if config.is_one_sided() {
        // The pass that translates, and as much of another as there are features to compare.
        let samples = if config.nce_idt { 2.0 } else { 1.0 };
        let Architecture::Resnet { ngf, n_blocks, style, .. } = generator else { return samples * kept(generator) };
        let [encoder, block, decoder] = resnet(style);
        // The encoder has the first three stages.
        let last = config.spots().last().map_or(0, |spot| spot.stage);
        let blocks = last.saturating_sub(2).min(n_blocks) as f64;
        let compared = encoder + blocks * block + if last > 2 + n_blocks { decoder } else { 0.0 };
        return samples * (kept(generator) + ngf as f64 * compared) + kept_fixed(discriminator);
    }
    // Translation and identity, then the way back: of two generators.
    let together = if config.lambda_identity == 0.0 { 1.0 } else { 2.0 };
    let samples = 2.0 * (together + 1.0);
    let judged = 2.0 * kept_fixed(discriminator);
    if config.checkpoint_activations {
        let (between, largest) = segments(generator);
        // Between the segments everything, within them one at a time, or else the discriminators.
        return samples * between + judged.max(together * largest);
    }
    samples * kept(generator) + judged
}

/// Values a pixel that a backward pass needs of a network's forward pass: of every layer what its convolution reads and
/// what its norm reads.
fn kept(architecture: Architecture) -> f64 {
    match architecture {
        Architecture::Resnet { ngf, n_blocks, style, .. } => {
            let [encoder, block, decoder] = resnet(style);
            ngf as f64 * (encoder + block * n_blocks as f64 + decoder) + 2.0 * CHANNELS
        }
        Architecture::Unet { ngf, halvings, .. } => {
            // Of a level 2 maps on the way down, the same joined with what comes up (3), and what comes out above (2).
            let size = |level: usize| ngf as f64 * (1 << (level.max(1) - 1).min(3)) as f64 * 0.25f64.powi(level as i32);
            let level = |level: usize| 5.0 * size(level) + if level > 1 { 2.0 * size(level - 1) } else { 0.0 };
            (1..=halvings).map(level).sum::<f64>() + 2.0 * CHANNELS
        }
        Architecture::Patch { ndf, style: PatchStyle { pixel: true, .. }, .. } => 6.0 * ndf as f64,
        Architecture::Patch { ndf, n_layers, style, .. } => {
            let layer = |layer: usize| {
                let side = 0.5f64.powi(layer.min(n_layers - 1) as i32 + 1);
                // What a blur halves is kept as large as it was.
                let maps = if style.blurred && layer < n_layers { 5.0 } else { 2.0 };
                maps * ndf as f64 * (1 << layer.min(3)) as f64 * side * side
            };
            (0..=n_layers).map(layer).sum()
        }
    }
}

/// The same of a discriminator that does not learn, whose convolutions keep no inputs.
fn kept_fixed(architecture: Architecture) -> f64 {
    let Architecture::Patch { style, .. } = architecture else { return kept(architecture) };
    kept(architecture) * if style.blurred { 0.8 } else { 0.5 }
}

/// The same of a residual generator's encoder, a block and the decoder, for a width of 1.
fn resnet(style: ResnetStyle) -> [f64; 3] {
    // Stem and decoder 2 maps of the full size each, the layers between them half and a quarter of that, and a block 4
    // maps of a quarter, twice as many where it is separable. Blurs halve and double maps that are kept in their larger size.
    let down = if style.downsample == Downsample::Blurred { 2.5 + 1.25 } else { 1.0 + 0.5 };
    let up = if style.upsample == Doubling::Transposed { 1.0 + 2.0 } else { 1.5 + 4.0 };
    [2.0 + down, if style.separable { 2.0 } else { 1.0 }, up]
}

/// The same for the inputs of the segments that are computed again, and for the largest of them.
fn segments(architecture: Architecture) -> (f64, f64) {
    match architecture {
        Architecture::Resnet { ngf, n_blocks, .. } => {
            let width = ngf as f64;
            (width * (n_blocks as f64 + 1.0) / 4.0 + 2.0 * CHANNELS, width * 3.5)
        }
        // One segment, of which the input is kept.
        whole => (CHANNELS, kept(whole)),
    }
}
