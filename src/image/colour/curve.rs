//! From a file's numbers to amounts of light.

/// A curve from 0…1 to 0…1.
#[derive(Clone, Debug)]
pub enum Curve {
    /// `(a·x + b)^g + e` from `d` on, below it `c·x + f`.
    Parametric([f32; 7]),
    /// Evenly spaced values.
    Samples(Vec<f32>),
    /// SMPTE ST 2084; 1 is 203 cd/m², the white of ITU-R BT.2408.
    Pq,
    /// ITU-R BT.2100 HLG; 1 is the same white.
    Hlg,
}

impl Curve {
    pub const IDENTITY: Self = Self::Parametric([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);

    pub fn gamma(gamma: f32) -> Self {
        Self::Parametric([gamma, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    }

    pub fn srgb() -> Self {
        Self::Parametric([2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045, 0.0, 0.0])
    }

    /// By the code point of ITU-T H.273.
    pub fn of_cicp(transfer: u8) -> Option<Self> {
        Some(match transfer {
            1 | 6 | 14 | 15 => Self::Parametric([1.0 / 0.45, 1.0 / 1.099, 0.099 / 1.099, 1.0 / 4.5, 0.081, 0.0, 0.0]),
            4 => Self::gamma(2.2),
            5 => Self::gamma(2.8),
            8 => Self::IDENTITY,
            13 => Self::srgb(),
            16 => Self::Pq,
            18 => Self::Hlg,
            _ => return None,
        })
    }

    /// The light of what this curve gives as a lightness (L* of CIE Lab, 0…1).
    pub fn of_lightness(&self) -> Self {
        let light = |lightness: f32| {
            let root = (100.0 * lightness + 16.0) / 116.0;
            if lightness > 0.08 { root * root * root } else { 100.0 * lightness / 903.296_3 }
        };
        Self::Samples((0..4096).map(|at| light(self.at(at as f32 / 4095.0))).collect())
    }

    /// Its value at `x`, which is cut off to 0…1.
    pub fn at(&self, x: f32) -> f32 {
        let x = x.clamp(0.0, 1.0);
        match self {
            Self::Parametric([g, a, b, c, d, e, f]) => {
                if x >= *d {
                    libm::powf((a * x + b).max(0.0), *g) + e
                } else {
                    c * x + f
                }
            }
            Self::Samples(values) => {
                let Some(last) = values.len().checked_sub(1) else { return x };
                let place = x * last as f32;
                let at = (place as usize).min(last);
                let next = (at + 1).min(last);
                values[at] + (values[next] - values[at]) * (place - at as f32)
            }
            Self::Pq => {
                let (c1, c2, c3) = (0.835_937_5, 18.851_563, 18.6875);
                let power = libm::powf(x, 1.0 / 78.84375);
                let light = libm::powf((power - c1).max(0.0) / (c2 - c3 * power), 1.0 / 0.159_301_76);
                light * 10_000.0 / 203.0
            }
            Self::Hlg => {
                let (a, b, c) = (0.178_832_77, 0.284_668_92, 0.559_910_7);
                let scene = if x <= 0.5 { x * x / 3.0 } else { (libm::expf((x - c) / a) + b) / 12.0 };
                // The system's gamma on a display of 1000 cd/m².
                libm::powf(scene, 1.2) * 1000.0 / 203.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_end_where_they_should() {
        for curve in [Curve::srgb(), Curve::gamma(2.2), Curve::IDENTITY, Curve::Samples(vec![0.0, 0.2, 1.0])] {
            assert!(curve.at(0.0).abs() < 1e-6 && (curve.at(1.0) - 1.0).abs() < 1e-5, "{curve:?}");
        }
        assert!((Curve::Samples(vec![0.0, 0.2, 1.0]).at(0.75) - 0.6).abs() < 1e-6);
        // 58 % is 203 cd/m² in PQ, 75 % in HLG.
        assert!((Curve::Pq.at(0.5807) - 1.0).abs() < 0.01, "{}", Curve::Pq.at(0.5807));
        assert!((Curve::Hlg.at(0.75) - 1.0).abs() < 0.02, "{}", Curve::Hlg.at(0.75));
    }
}
