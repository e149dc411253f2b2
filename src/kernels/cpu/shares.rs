//! One convolution computed in shares: each worker of a page writes some of its channels.
//!
//! A share is a convolution of its own, by the same algorithm as the whole. Natively the algorithms
//! themselves use threads, and there is one share.

use std::ops::Range;

use super::{Filters, Layer, forward, input_grad, weight_grad};
use crate::kernels::{Border, Geometry};
#[cfg(target_family = "wasm")]
use crate::platform::crew;

/// Channels of a share are a multiple of this, so that no share asks for another algorithm than the whole.
const GRAIN: usize = 8;
/// Operations from which on sharing pays for its copies.
#[cfg(target_family = "wasm")]
const WORTH: usize = 20_000_000;

/// One of the three passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pass {
    /// Operands: input, weight, bias.
    Forward,
    /// Operands: gradient of the output, weight, bias.
    InputGrad,
    /// Operands: input, gradient of the output, nothing.
    WeightGrad,
}

/// A pass through a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    pub pass: Pass,
    pub layer: Layer,
}

/// Of every group of `all` runs of `run` values those of some channels.
fn pick(values: &[f32], all: usize, channels: &Range<usize>, run: usize) -> Vec<f32> {
    values.chunks_exact(all * run).flat_map(|group| &group[channels.start * run..channels.end * run]).copied().collect()
}

impl Job {
    /// The whole of it, by everybody who is there.
    pub fn run(self, operands: [&[f32]; 3]) -> Vec<f32> {
        #[cfg(target_family = "wasm")]
        if self.operations() >= WORTH {
            let shares = self.shares(1 + crew::members(operands.iter().map(|operand| operand.len()).sum()));
            if let [helpers @ .., own] = &shares[..]
                && !helpers.is_empty()
            {
                let lengths: Vec<usize> = helpers.iter().map(|share| self.written() * share.len()).collect();
                let words = self.words(shares.len());
                let (last, parts) = crew::run(&words, operands, &lengths, || self.part(own, operands));
                let parts = parts.into_iter().zip(helpers);
                let mut parts: Vec<_> =
                    parts.map(|(part, share)| part.unwrap_or_else(|| self.part(share, operands))).collect();
                parts.push(last);
                return self.join(&parts);
            }
        }
        self.alone(operands)
    }

    fn alone(self, [first, second, third]: [&[f32]; 3]) -> Vec<f32> {
        let filters = Filters { weight: second, bias: (!third.is_empty()).then_some(third) };
        match self.pass {
            Pass::Forward => forward(first, filters, self.layer),
            Pass::InputGrad => input_grad(first, filters, self.layer),
            Pass::WeightGrad => weight_grad(first, second, self.layer),
        }
    }

    /// Channels that the pass writes.
    fn channels(&self) -> usize {
        if self.pass == Pass::InputGrad { self.layer.inputs } else { self.layer.outputs }
    }

    /// Images (or the one weight) that it writes.
    fn groups(&self) -> usize {
        if self.pass == Pass::WeightGrad { 1 } else { self.layer.batch }
    }

    /// Values that it writes for one channel.
    fn written(&self) -> usize {
        let [input, output] = [self.layer.size, self.layer.output_size()].map(|[height, width]| height * width);
        match self.pass {
            Pass::Forward => self.layer.batch * output,
            Pass::InputGrad => self.layer.batch * input,
            Pass::WeightGrad => self.layer.inputs * self.layer.taps(),
        }
    }

    #[cfg(target_family = "wasm")]
    fn operations(&self) -> usize {
        let Layer { batch, inputs, outputs, .. } = self.layer;
        let [height, width] = self.layer.output_size();
        2 * batch * inputs * outputs * height * width * self.layer.taps()
    }

    /// The channels of at most so many shares.
    pub fn shares(&self, count: usize) -> Vec<Range<usize>> {
        let channels = self.channels();
        let size = channels.div_ceil(count.max(1)).next_multiple_of(GRAIN).max(GRAIN);
        // What is less than a grain goes to the share before it.
        let shares = channels / size + usize::from(channels % size >= GRAIN || channels < size);
        (0..shares).map(|share| share * size..if share + 1 < shares { (share + 1) * size } else { channels }).collect()
    }

    /// One share: `[group][channel of the share][values]`.
    pub fn part(self, share: &Range<usize>, [first, second, third]: [&[f32]; 3]) -> Vec<f32> {
        let Layer { inputs, outputs, .. } = self.layer;
        let taps = self.layer.taps();
        let third = if third.is_empty() { third } else { &third[share.clone()] };
        let (layer, second) = match self.pass {
            Pass::Forward => {
                (Layer { outputs: share.len(), ..self.layer }, pick(second, outputs, share, inputs * taps))
            }
            Pass::InputGrad => (Layer { inputs: share.len(), ..self.layer }, pick(second, inputs, share, taps)),
            Pass::WeightGrad => {
                let [height, width] = self.layer.output_size();
                (Layer { outputs: share.len(), ..self.layer }, pick(second, outputs, share, height * width))
            }
        };
        Self { layer, ..self }.alone([first, &second, third])
    }

    /// The whole from all its parts.
    pub fn join(&self, parts: &[Vec<f32>]) -> Vec<f32> {
        let groups = self.groups();
        let runs = (0..groups).flat_map(|group| {
            parts.iter().flat_map(move |part| &part[part.len() / groups * group..part.len() / groups * (group + 1)])
        });
        runs.copied().collect()
    }

    /// The job in numbers, cut into so many shares.
    pub fn words(&self, shares: usize) -> [i32; 16] {
        let Layer { batch, inputs, outputs, size: [height, width], geometry } = self.layer;
        let reflects = usize::from(geometry.border == Border::Reflect);
        let Geometry { kernel, stride, padding, .. } = geometry;
        let numbers =
            [self.pass as usize, shares, batch, inputs, outputs, height, width, kernel, stride, padding, reflects];
        let mut words = [0; 16];
        words.iter_mut().zip(numbers).for_each(|(word, number)| *word = number as i32);
        words
    }

    /// The reverse of [`Job::words`].
    pub fn from_words(words: &[i32; 16]) -> (Self, usize) {
        let [pass, shares, batch, inputs, outputs, height, width, kernel, stride, padding, reflects, ..] =
            words.map(|word| word as usize);
        let pass = [Pass::Forward, Pass::InputGrad, Pass::WeightGrad][pass.min(2)];
        let border = if reflects == 1 { Border::Reflect } else { Border::Zero };
        let geometry = Geometry { kernel, stride, padding, border };
        (Self { pass, layer: Layer { batch, inputs, outputs, size: [height, width], geometry } }, shares)
    }
}

/// What a helper does: share `number` of a job given in words.
#[cfg(target_family = "wasm")]
pub fn help(words: &[i32; 16], number: usize, operands: [Vec<f32>; 3]) -> Vec<f32> {
    let (job, count) = Job::from_words(words);
    let [first, second, third] = &operands;
    job.shares(count).get(number).map_or_else(Vec::new, |share| job.part(share, [first, second, third]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::values;

    #[test]
    fn shares_of_every_pass_make_the_whole() {
        let geometries = [Geometry::reflect(3), Geometry::zero(3, 2, 1), Geometry::zero(4, 1, 1), Geometry::reflect(7)];
        for geometry in geometries {
            for (batch, inputs, outputs) in [(1, 24, 40), (2, 16, 33), (1, 3, 16), (2, 40, 3)] {
                let layer = Layer { batch, inputs, outputs, size: [13, 10], geometry };
                let [height, width] = layer.output_size();
                let (input, grad) = (values(batch * inputs * 130, 1), values(batch * outputs * height * width, 2));
                let weight = values(inputs * outputs * layer.taps(), 3);
                let biases = values(inputs.max(outputs), 4);
                for (pass, operands) in [
                    (Pass::Forward, [&input[..], &weight, &biases[..outputs]]),
                    (Pass::InputGrad, [&grad, &weight, &biases[..inputs]]),
                    (Pass::WeightGrad, [&input, &grad, &[]]),
                ] {
                    let job = Job { pass, layer };
                    let whole = job.run(operands);
                    for count in 1..=4 {
                        let (again, cut) = Job::from_words(&job.words(count));
                        assert_eq!((again, cut), (job, count));
                        let shares = job.shares(count);
                        assert!(shares.len() <= count && !shares.is_empty());
                        let parts: Vec<_> = shares.iter().map(|share| job.part(share, operands)).collect();
                        for (part, share) in parts.iter().zip(&shares) {
                            assert_eq!(part.len(), job.written() * share.len());
                        }
                        let joined = job.join(&parts);
                        assert_eq!(joined.len(), whole.len());
                        // Products of other sizes are blocked otherwise: the last bits may differ.
                        let largest = whole.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
                        let apart = joined.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(apart <= 1e-6 * largest, "{job:?} in {count}: {apart} of {largest}");
                    }
                }
            }
        }
    }
}
