//! At which size a network computes.

use serde::{Deserialize, Serialize};

/// Side of the official trainings in pixels, taken for networks that do not say theirs.
const OFFICIAL: u32 = 256;
/// Up to this side a network was taught drawings and emoji, which fill their pictures, and its own side suits it.
const SMALL: u32 = 64;
/// The smallest side that a generator can do something sensible with.
pub const SMALLEST_SIDE: u32 = 16;

/// At which size the network computes. The result comes back at the picture's own size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    /// At the size that suits the model.
    #[default]
    Model,
    /// At this longer side in pixels, or the picture's own if that is smaller.
    Side(u32),
    /// At the picture's own.
    Full,
}

impl Size {
    /// The longer side in pixels at most, for a network trained on squares of `trained` pixels (0 when unknown);
    /// `None` for the picture's own.
    ///
    /// Photos are larger than the squares that were cut out of them: twice the training's side keeps more of their
    /// detail, and things still have a scale that the network has seen.
    pub fn side(self, trained: u32) -> Option<u32> {
        match (self, trained) {
            (Self::Full, _) => None,
            (Self::Side(side), _) => Some(side.max(SMALLEST_SIDE)),
            (Self::Model, 0) => Some(2 * OFFICIAL),
            (Self::Model, 1..=SMALL) => Some(trained.max(SMALLEST_SIDE)),
            (Self::Model, _) => Some(trained.saturating_mul(2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_works_at_the_scale_of_its_training() {
        assert_eq!([0, 8, 32, 64].map(|trained| Size::Model.side(trained)), [512, 16, 32, 64].map(Some));
        assert_eq!([96, 128, 256].map(|trained| Size::Model.side(trained)), [192, 256, 512].map(Some));
        assert_eq!([Size::Side(300), Size::Side(1), Size::Full].map(|size| size.side(64)), [Some(300), Some(16), None]);
    }
}
