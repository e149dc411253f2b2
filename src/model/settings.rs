//! The options of a configuration that an architecture answers to.

use super::Architecture;
use super::architecture::{Doubling, Downsample, PatchStyle, ResnetStyle};
use crate::config::{self, Choice, NetD, NetG, Upsample};

impl Architecture {
    /// The options of [`TrainConfig`](crate::config::TrainConfig) that make networks of this architecture, with their
    /// values as text; `None` when none do: trainings work on pictures of three channels, and have the ways of the official
    /// code and of CUT's to halve and to double the size.
    pub fn settings(&self) -> Option<Vec<(&'static str, String)>> {
        let named = |name: &'static str, value: &str| (name, value.to_owned());
        let number = |name: &'static str, value: usize| (name, value.to_string());
        Some(match *self {
            Self::Resnet { in_channels: 3, out_channels: 3, ngf, n_blocks, affine, style } => {
                let ResnetStyle { separable, downsample, upsample, norm, skip } = style;
                let downsample = match downsample {
                    Downsample::Strided => config::Downsample::Strided,
                    Downsample::Blurred => config::Downsample::Blurred,
                    Downsample::Mirrored => return None,
                };
                let upsample = match upsample {
                    Doubling::Transposed => Upsample::Transposed,
                    Doubling::Resize => Upsample::Resize,
                    Doubling::Blurred => Upsample::Blurred,
                    Doubling::ResizeZero | Doubling::Bilinear => return None,
                };
                let net_g = if separable { NetG::MobileResnet } else { NetG::Resnet };
                vec![
                    named("net_g", net_g.as_str()),
                    number("ngf", ngf),
                    number("n_blocks", n_blocks),
                    named("downsample", downsample.as_str()),
                    named("upsample", upsample.as_str()),
                    named("norm", norm.as_str()),
                    ("affine", affine.to_string()),
                    ("skip", skip.to_string()),
                ]
            }
            Self::Unet { in_channels: 3, out_channels: 3, ngf, halvings: halvings @ 7..=8, norm, affine } => {
                let net_g = if halvings == 7 { NetG::Unet128 } else { NetG::Unet256 };
                vec![
                    named("net_g", net_g.as_str()),
                    number("ngf", ngf),
                    named("norm", norm.as_str()),
                    ("affine", affine.to_string()),
                ]
            }
            Self::Patch { in_channels: 3, ndf, n_layers, style } => {
                let PatchStyle { pixel, norm, affine, spectral, blurred } = style;
                let downsample = if blurred { config::Downsample::Blurred } else { config::Downsample::Strided };
                let net_d = if pixel { NetD::Pixel } else { NetD::NLayers };
                let mut all = vec![named("net_d", net_d.as_str()), number("ndf", ndf)];
                all.extend((!pixel).then(|| number("n_layers", n_layers)));
                all.extend((!pixel).then(|| named("downsample", downsample.as_str())));
                all.extend([
                    ("spectral_norm", spectral.to_string()),
                    named("norm", norm.as_str()),
                    ("affine", affine.to_string()),
                ]);
                all
            }
            _ => return None,
        })
    }
}
