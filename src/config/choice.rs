//! Options that are one of a few names: the same names in a TOML file, on the command line and in the page.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An option with a few named values.
pub trait Choice: Copy + PartialEq + Default + 'static {
    /// Every value, the default first.
    const ALL: &'static [Self];

    /// The same as names, each with [`Choice::about`] it.
    const NAMES: &'static [(&'static str, &'static str)];

    /// The name as typed; the official code's where it has one.
    fn as_str(self) -> &'static str;

    /// One sentence for people.
    fn about(self) -> &'static str;

    /// The value of that name.
    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_str() == name)
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $text:literal $about:literal)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $about] $variant,)*
        }

        // By hand: what the derive makes of eight of these is a twentieth of the page.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                Self::parse(&name).ok_or_else(|| D::Error::custom(["there is no ", &name].concat()))
            }
        }

        impl Choice for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];
            const NAMES: &'static [(&'static str, &'static str)] = &[$(($text, $about)),*];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            fn about(self) -> &'static str {
                match self { $(Self::$variant => $about),* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }
    };
}

choice! {
    /// The adversarial loss (official `--gan_mode`).
    GanMode {
        Lsgan "lsgan" "Least squares (Mao et al. 2017): the paper's."
        Vanilla "vanilla" "Cross-entropy on logits (Goodfellow et al. 2014)."
        Wgangp "wgangp" "Wasserstein distance with a gradient penalty (Gulrajani et al. 2017)."
        Hinge "hinge" "Hinge loss (Lim and Ye 2017)."
    }
}

choice! {
    /// What is trained (official `--model`, CUT's `--CUT_mode`).
    ModelKind {
        CycleGan "cycle_gan" "Two generators, there and back: the paper's."
        Cut "cut" "One generator, from A to B, by comparing patches (Park et al. 2020)."
        FastCut "fastcut" "The same without an identity loss: lighter and faster."
    }
}

choice! {
    /// What patches are compared by (CUT's `--netF`).
    NetF {
        MlpSample "mlp_sample" "Two fully connected layers for each map."
        Sample "sample" "The maps as they are."
    }
}

choice! {
    /// The generator's kind (official `--netG`).
    NetG {
        Resnet "resnet" "Residual blocks between two halvings and two doublings: the paper's."
        MobileResnet "mobile-resnet" "The same with depthwise-separable residual blocks: a fraction of the size (Li et al. 2020)."
        Unet128 "unet_128" "Seven halvings with skip connections, for sides that are multiples of 128."
        Unet256 "unet_256" "Eight halvings with skip connections, for sides that are multiples of 256."
    }
}

choice! {
    /// The discriminator's kind (official `--netD`).
    NetD {
        NLayers "n_layers" "A PatchGAN of n_layers layers; three make the paper's, of 70×70 pixels."
        Basic "basic" "The paper's PatchGAN of three layers, whatever n_layers says."
        Pixel "pixel" "Judges every pixel for itself."
    }
}

choice! {
    /// The normalisation layers (official `--norm`).
    Norm {
        Instance "instance" "Each plane by its own mean and variance: the paper's."
        None "none" "No normalisation."
    }
}

choice! {
    /// The distribution of the initial weights (official `--init_type`).
    InitType {
        Normal "normal" "Normal with deviation init_gain: the paper's."
        Xavier "xavier" "Normal, scaled by the channels in and out (Glorot and Bengio 2010)."
        Kaiming "kaiming" "Normal, scaled by the channels in (He et al. 2015)."
        Orthogonal "orthogonal" "Orthogonal rows (Saxe et al. 2014)."
    }
}

choice! {
    /// How the generator doubles its maps.
    Upsample {
        Transposed "transposed" "Transposed convolution: the paper's."
        Resize "resize" "Nearest-neighbour resizing and a convolution: no checkerboard (Odena et al. 2016)."
        Blurred "blurred" "A blur between pixels put apart, and a convolution: CUT's (Zhang 2019)."
    }
}

choice! {
    /// How the networks halve their maps.
    Downsample {
        Strided "strided" "A convolution that keeps every second pixel: the paper's."
        Blurred "blurred" "A blur of which every second pixel is kept: CUT's (Zhang 2019)."
    }
}

choice! {
    /// How the learning rate goes (official `--lr_policy`).
    LrPolicy {
        Linear "linear" "Constant, then linear to near zero: the paper's."
        Step "step" "A tenth of it every lr_decay_steps steps."
        Plateau "plateau" "A fifth of it whenever the generators' loss stops falling."
        Cosine "cosine" "Half a cosine to zero."
    }
}

choice! {
    /// What the products of convolutions are computed in. Sums, and everything between two convolutions, are f32 always.
    Precision {
        F32 "f32" "32-bit numbers throughout."
        Tf32 "tf32" "Tensor cores on factors rounded to 10 bits (CUDA)."
        Bf16 "bf16" "Factors rounded to 7 bits: processors with AMX or AVX512-BF16, and tensor cores (CUDA)."
    }
}

choice! {
    /// How pictures are brought to the training size (official `--preprocess`).
    Preprocess {
        ResizeAndCrop "resize_and_crop" "Resized to load_size × load_size whatever their shape, then a random crop."
        ScaleWidthAndCrop "scale_width_and_crop" "Scaled to a width of load_size with their shape kept, then a random crop."
        Crop "crop" "A random crop of the picture as it is."
        None "none" "The whole picture as it is, its sides rounded to multiples of 4."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_files_and_on_the_command_line() {
        fn check<T: Choice + Serialize + for<'a> Deserialize<'a> + std::fmt::Debug>() {
            assert_eq!(T::default(), T::ALL[0]);
            for value in T::ALL {
                let json = serde_json::to_value(value).expect("plain data");
                assert_eq!(json, value.as_str());
                assert_eq!(serde_json::from_value::<T>(json).expect("it was just written"), *value);
                assert_eq!(T::parse(value.as_str()), Some(*value));
            }
            assert_eq!(T::parse("no such"), None);
        }
        check::<GanMode>();
        check::<ModelKind>();
        check::<NetF>();
        check::<NetG>();
        check::<NetD>();
        check::<Norm>();
        check::<InitType>();
        check::<Upsample>();
        check::<Downsample>();
        check::<LrPolicy>();
        check::<Preprocess>();
    }
}
