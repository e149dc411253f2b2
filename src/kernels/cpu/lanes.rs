//! A few floats side by side, written so that the compiler keeps them in vector registers.

use std::ops::{Add, Mul, Sub};

/// Floats of one [`Lanes`]: two vectors of wasm's SIMD, one of AVX2.
pub const LANES: usize = 8;

/// `[value(0), value(1), …]`. Unlike `std::array::from_fn` it is always inlined, without which what it
/// calls would be compiled for the oldest processors.
#[inline(always)]
pub fn each<T: Copy + Default, const N: usize>(value: impl Fn(usize) -> T) -> [T; N] {
    let mut values = [T::default(); N];
    for (index, to) in values.iter_mut().enumerate() {
        *to = value(index);
    }
    values
}

/// [`LANES`] floats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    /// The first values of a slice that has enough of them.
    #[inline(always)]
    pub fn whole(from: &[f32]) -> Self {
        let from = &from[..LANES];
        Self(each(
            #[inline(always)]
            |lane| from[lane],
        ))
    }

    /// The first values of a slice, zeros past its end.
    #[inline(always)]
    pub fn load(from: &[f32]) -> Self {
        if from.len() >= LANES {
            Self::whole(from)
        } else {
            Self(each(
                #[inline(always)]
                |lane| from.get(lane).copied().unwrap_or(0.0),
            ))
        }
    }

    /// Writes every lane.
    #[inline(always)]
    pub fn store_whole(self, to: &mut [f32]) {
        to[..LANES].copy_from_slice(&self.0);
    }

    /// Writes as many lanes as the slice has room for.
    #[inline(always)]
    pub fn store(self, to: &mut [f32]) {
        if to.len() >= LANES {
            self.store_whole(to);
        } else {
            to.iter_mut().zip(self.0).for_each(
                #[inline(always)]
                |(to, from)| *to = from,
            );
        }
    }

    /// The first `count` lanes, zeros after them.
    #[inline(always)]
    pub fn first(self, count: usize) -> Self {
        if count >= LANES {
            self
        } else {
            Self(each(
                #[inline(always)]
                |lane| if lane < count { self.0[lane] } else { 0.0 },
            ))
        }
    }

    /// `N` values of lane 0, then of lane 1, …, sorted by their place in the group; zeros past the end.
    #[inline(always)]
    pub fn deinterleave<const N: usize>(from: &[f32]) -> [Self; N] {
        if from.len() >= N * LANES {
            let from = &from[..N * LANES];
            each(
                #[inline(always)]
                |place| {
                    Self(each(
                        #[inline(always)]
                        |lane| from[lane * N + place],
                    ))
                },
            )
        } else {
            each(
                #[inline(always)]
                |place| {
                    Self(each(
                        #[inline(always)]
                        |lane| from.get(lane * N + place).copied().unwrap_or(0.0),
                    ))
                },
            )
        }
    }

    /// The inverse of [`Lanes::deinterleave`]; what has no room is dropped.
    #[inline(always)]
    pub fn interleave<const N: usize>(groups: [Self; N], to: &mut [f32]) {
        for (lane, to) in to.chunks_exact_mut(N).take(LANES).enumerate() {
            to.iter_mut().zip(groups).for_each(
                #[inline(always)]
                |(to, group)| *to = group.0[lane],
            );
        }
    }
}

impl Add for Lanes {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(each(
            #[inline(always)]
            |lane| self.0[lane] + other.0[lane],
        ))
    }
}

impl Sub for Lanes {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(each(
            #[inline(always)]
            |lane| self.0[lane] - other.0[lane],
        ))
    }
}

impl Mul<f32> for Lanes {
    type Output = Self;

    #[inline(always)]
    fn mul(self, factor: f32) -> Self {
        Self(each(
            #[inline(always)]
            |lane| self.0[lane] * factor,
        ))
    }
}
