//! Maps inside a residual generator, by their places in CUT's code (Park et al. 2020,
//! <https://github.com/taesungp/contrastive-unpaired-translation>), whose networks are one list of modules, paddings
//! and activations included. Its ReLU works in place, so what it takes behind a norm is the activated map.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::architecture::{Doubling, Downsample};
use super::{Architecture, Dropout, ResnetGenerator};
use crate::kernels::Kernels;

/// Which map of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The picture with its padding.
    Padded,
    /// The map made larger in front of a convolution.
    Wide,
    /// What a convolution gives.
    Convolved,
    /// The same behind norm and activation.
    Active,
    /// What the stage gives.
    Output,
}

/// Where a feature is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The stage of the generator, from 0.
    pub stage: usize,
    /// Where in it.
    pub place: Place,
    /// Channels there.
    pub channels: usize,
}

/// A map, and what a pass leaves out of it.
#[derive(Clone, Debug)]
pub struct Feature<B: Backend> {
    /// `[N, channels, H, W]`
    pub planes: Tensor<B, 4>,
    /// To be added to every value of a channel, `[channels]`.
    pub bias: Option<Tensor<B, 1>>,
    /// Pixels by which the map is mirrored at its sides.
    pub margin: usize,
}

impl Architecture {
    /// Where module number `module` of this generator's list in CUT's code is, as far as there are features to take:
    /// up to the last doubling of a residual generator.
    pub fn spot(&self, module: usize) -> Option<Spot> {
        let Self::Resnet { in_channels, ngf, n_blocks, style, .. } = *self else { return None };
        let at = |stage, place, channels| Some(Spot { stage, place, channels });
        let of_layer = |stage, module: usize, channels| match module {
            0 => at(stage, Place::Convolved, channels),
            1 | 2 => at(stage, Place::Active, channels),
            _ => at(stage, Place::Output, channels),
        };
        let down = if style.downsample == Downsample::Blurred { 4 } else { 3 };
        let is_blurred = style.upsample == Doubling::Blurred;
        let up = if is_blurred { 4 } else { 3 };
        let blocks = 4 + 2 * down;
        let decoder = blocks + n_blocks;
        match module {
            0 => at(0, Place::Padded, in_channels),
            1..4 => of_layer(0, module - 1, ngf),
            _ if module < blocks => {
                let layer = (module - 4) / down;
                of_layer(1 + layer, (module - 4) % down, ngf << (layer + 1))
            }
            _ if module < decoder => at(3 + module - blocks, Place::Output, 4 * ngf),
            _ if module < decoder + 2 * up => {
                let layer = (module - decoder) / up;
                let (stage, part) = (3 + n_blocks + layer, (module - decoder) % up);
                match part {
                    0 if is_blurred => at(stage, Place::Wide, (4 * ngf) >> layer),
                    _ => of_layer(stage, part - usize::from(is_blurred), (2 * ngf) >> layer),
                }
            }
            _ => None,
        }
    }
}

impl<B: Kernels> ResnetGenerator<B> {
    /// A forward pass that keeps the features at `spots`, which stand in the order of the pass; as far as the last of
    /// them, or to the end.
    ///
    /// # Shapes
    /// - input and the output, where there is one: as [`ResnetGenerator::forward`]
    pub fn with_features(
        &self,
        input: Tensor<B, 4>,
        spots: &[Spot],
        to_end: bool,
        dropout: Option<Dropout>,
    ) -> (Vec<Feature<B>>, Option<Tensor<B, 4>>) {
        let last = spots.last().map(|spot| spot.stage);
        let end = if to_end { self.stages() } else { last.map_or(0, |stage| stage + 1) };
        let mut found = Vec::with_capacity(spots.len());
        let mut planes = input.clone();
        for stage in 0..end {
            let mut wanted = spots.iter().filter(|spot| spot.stage == stage).map(|spot| spot.place).peekable();
            let plain = |planes| Feature { planes, bias: None, margin: 0 };
            if wanted.next_if_eq(&Place::Padded).is_some() {
                found.push(Feature { margin: 3, ..plain(planes.clone()) });
            }
            let is_last = !to_end && last == Some(stage);
            let is_inside = wanted.peek().is_some_and(|place| *place != Place::Output);
            match self.layer(stage) {
                Some(layer) if is_inside => {
                    let wide = layer.widen(planes.clone());
                    while wanted.next_if_eq(&Place::Wide).is_some() {
                        found.push(plain(wide.clone()));
                    }
                    if is_last && wanted.peek().is_none() {
                        break;
                    }
                    let (convolved, bias) = layer.convolve(wide);
                    // Without a norm the activation has changed the map that the convolution gave.
                    while layer.has_norm() && wanted.next_if_eq(&Place::Convolved).is_some() {
                        found.push(Feature { bias: bias.clone(), ..plain(convolved.clone()) });
                    }
                    if is_last && wanted.peek().is_none() {
                        break;
                    }
                    let behind = layer.activate(convolved);
                    while wanted.next_if(|place| *place != Place::Output).is_some() {
                        found.push(plain(behind.clone()));
                    }
                    if is_last && wanted.peek().is_none() {
                        break;
                    }
                    planes = layer.blurred(behind, 0);
                }
                _ if is_last && wanted.peek().is_none() => break,
                _ => planes = self.stage_with(stage, planes, dropout),
            }
            found.extend(wanted.map(|_| plain(planes.clone())));
        }
        (found, to_end.then(|| self.finish(planes, input)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::architecture::ResnetStyle;
    use super::*;

    fn generator(n_blocks: usize, style: ResnetStyle) -> Architecture {
        Architecture::Resnet { in_channels: 3, out_channels: 3, ngf: 64, n_blocks, affine: false, style }
    }

    #[test]
    fn features_are_where_cuts_code_takes_them() {
        let blurred =
            ResnetStyle { downsample: Downsample::Blurred, upsample: Doubling::Blurred, ..ResnetStyle::PAPER };
        let spots = |architecture: Architecture| {
            [0, 4, 8, 12, 16].map(|layer| {
                let Spot { stage, place, channels } = architecture.spot(layer).expect("a feature");
                (stage, place, channels)
            })
        };
        use Place::*;
        // Its own network: the padded picture, two convolutions, the first and the fifth block.
        let own = [(0, Padded, 3), (1, Convolved, 128), (2, Convolved, 256), (3, Output, 256), (7, Output, 256)];
        assert_eq!(spots(generator(9, blurred)), own);
        // `--no_antialias --no_antialias_up`: a norm, the third block and the seventh.
        let paper = [(0, Padded, 3), (1, Convolved, 128), (2, Active, 256), (5, Output, 256), (9, Output, 256)];
        assert_eq!(spots(generator(9, ResnetStyle::PAPER)), paper);
        // `resnet_4blocks`: the last is in the decoder.
        assert_eq!(spots(generator(4, blurred))[4], (7, Wide, 256));
        assert_eq!(spots(generator(4, ResnetStyle::PAPER))[4], (7, Active, 128));
        assert_eq!(generator(4, blurred).spot(23), Some(Spot { stage: 8, place: Active, channels: 64 }));
        assert_eq!(generator(4, blurred).spot(24), None);
    }
}
