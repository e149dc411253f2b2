//! The six transforms of F(4×4, 3×3) and of F(2×2, 3×3) along one axis, for [`Lanes`] of tiles or filters at a time.

use super::super::lanes::Lanes;

/// Winograd's F(TILE × TILE, 3 × 3), whose products belong to patches of `PATCH = TILE + 2` inputs.
pub struct F<const TILE: usize, const PATCH: usize>;

/// Its matrices B, A and G of the formula `Y = Aᵀ[(G·w·Gᵀ) ⊙ (Bᵀ·d·B)]A`.
pub trait Transforms<const TILE: usize, const PATCH: usize> {
    /// `Bᵀ·d`.
    fn input(d: [Lanes; PATCH]) -> [Lanes; PATCH];
    /// `B·v`, the adjoint.
    fn input_adjoint(v: [Lanes; PATCH]) -> [Lanes; PATCH];
    /// `Aᵀ·m`.
    fn output(m: [Lanes; PATCH]) -> [Lanes; TILE];
    /// `A·y`, the adjoint.
    fn output_adjoint(y: [Lanes; TILE]) -> [Lanes; PATCH];
    /// `G·w`.
    fn filter(w: [Lanes; 3]) -> [Lanes; PATCH];
    /// `Gᵀ·u`, the adjoint.
    fn filter_adjoint(u: [Lanes; PATCH]) -> [Lanes; 3];
}

/// With the points 0, ±1, ±2, ∞: 36 multiplications for 16 outputs where the definition has 144.
impl Transforms<4, 6> for F<4, 6> {
    #[inline(always)]
    fn input(d: [Lanes; 6]) -> [Lanes; 6] {
        let (even, odd) = (d[4] - d[2] * 4.0, d[3] - d[1] * 4.0);
        let (near, far) = (d[4] - d[2], (d[3] - d[1]) * 2.0);
        [d[0] * 4.0 - d[2] * 5.0 + d[4], even + odd, even - odd, near + far, near - far, d[1] * 4.0 - d[3] * 5.0 + d[5]]
    }

    #[inline(always)]
    fn input_adjoint(v: [Lanes; 6]) -> [Lanes; 6] {
        let (ones, twos) = (v[1] + v[2], v[3] + v[4]);
        let (one, two) = (v[1] - v[2], (v[3] - v[4]) * 2.0);
        [
            v[0] * 4.0,
            v[5] * 4.0 - one * 4.0 - two,
            v[0] * -5.0 - ones * 4.0 - twos,
            one + two - v[5] * 5.0,
            v[0] + ones + twos,
            v[5],
        ]
    }

    #[inline(always)]
    fn output(m: [Lanes; 6]) -> [Lanes; 4] {
        let (ones, one) = (m[1] + m[2], m[1] - m[2]);
        let (twos, two) = (m[3] + m[4], m[3] - m[4]);
        [m[0] + ones + twos, one + two * 2.0, ones + twos * 4.0, one + two * 8.0 + m[5]]
    }

    #[inline(always)]
    fn output_adjoint(y: [Lanes; 4]) -> [Lanes; 6] {
        let (even, odd) = (y[0] + y[2], y[1] + y[3]);
        let (far_even, far_odd) = (y[0] + y[2] * 4.0, y[1] * 2.0 + y[3] * 8.0);
        [y[0], even + odd, even - odd, far_even + far_odd, far_even - far_odd, y[3]]
    }

    #[inline(always)]
    fn filter(w: [Lanes; 3]) -> [Lanes; 6] {
        let (even, odd) = ((w[0] + w[2]) * (-1.0 / 6.0), w[1] * (-1.0 / 6.0));
        let (far_even, far_odd) = (w[0] * (1.0 / 24.0) + w[2] * (1.0 / 6.0), w[1] * (1.0 / 12.0));
        [w[0] * 0.25, even + odd, even - odd, far_even + far_odd, far_even - far_odd, w[2]]
    }

    #[inline(always)]
    fn filter_adjoint(u: [Lanes; 6]) -> [Lanes; 3] {
        let ones = (u[1] + u[2]) * (1.0 / 6.0);
        let twos = u[3] + u[4];
        [
            u[0] * 0.25 - ones + twos * (1.0 / 24.0),
            (u[2] - u[1]) * (1.0 / 6.0) + (u[3] - u[4]) * (1.0 / 12.0),
            twos * (1.0 / 6.0) - ones + u[5],
        ]
    }
}

/// With the points 0, ±1, ∞: 16 multiplications for 4 outputs where the definition has 36.
impl Transforms<2, 4> for F<2, 4> {
    #[inline(always)]
    fn input(d: [Lanes; 4]) -> [Lanes; 4] {
        [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]
    }

    #[inline(always)]
    fn input_adjoint(v: [Lanes; 4]) -> [Lanes; 4] {
        [v[0], v[1] - v[2] + v[3], v[1] + v[2] - v[0], v[3] * -1.0]
    }

    #[inline(always)]
    fn output(m: [Lanes; 4]) -> [Lanes; 2] {
        [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
    }

    #[inline(always)]
    fn output_adjoint(y: [Lanes; 2]) -> [Lanes; 4] {
        [y[0], y[0] + y[1], y[0] - y[1], y[1] * -1.0]
    }

    #[inline(always)]
    fn filter(w: [Lanes; 3]) -> [Lanes; 4] {
        let (even, odd) = ((w[0] + w[2]) * 0.5, w[1] * 0.5);
        [w[0], even + odd, even - odd, w[2]]
    }

    #[inline(always)]
    fn filter_adjoint(u: [Lanes; 4]) -> [Lanes; 3] {
        let both = (u[1] + u[2]) * 0.5;
        [u[0] + both, (u[1] - u[2]) * 0.5, both + u[3]]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::lanes::{LANES, each};
    use super::*;

    fn values<const N: usize>(seed: f32) -> [Lanes; N] {
        each(
            #[inline(always)]
            |i| {
                Lanes(each(
                    #[inline(always)]
                    |lane| ((i * LANES + lane) as f32 * seed).sin(),
                ))
            },
        )
    }

    fn dot<const N: usize>(left: [Lanes; N], right: [Lanes; N]) -> f32 {
        left.into_iter()
            .zip(right)
            .map(|(left, right)| left.0.iter().zip(right.0).map(|(a, b)| a * b).sum::<f32>())
            .sum()
    }

    #[track_caller]
    fn adjoint<const N: usize, const M: usize>(
        forward: fn([Lanes; N]) -> [Lanes; M],
        back: fn([Lanes; M]) -> [Lanes; N],
    ) {
        let (x, y) = (values::<N>(0.7), values::<M>(1.3));
        let (left, right) = (dot(forward(x), y), dot(x, back(y)));
        assert!((left - right).abs() < 1e-4 * left.abs().max(1.0), "{left} and {right}");
    }

    #[test]
    fn every_transform_has_its_adjoint() {
        fn all<const TILE: usize, const PATCH: usize>()
        where
            F<TILE, PATCH>: Transforms<TILE, PATCH>,
        {
            adjoint(F::<TILE, PATCH>::input, F::<TILE, PATCH>::input_adjoint);
            adjoint(F::<TILE, PATCH>::output, F::<TILE, PATCH>::output_adjoint);
            adjoint(F::<TILE, PATCH>::filter, F::<TILE, PATCH>::filter_adjoint);
        }
        all::<4, 6>();
        all::<2, 4>();
    }
}
