//! Which network a graph's layers are.

use super::graph::Graph;
use super::steps::{Conv, Kind, Op, Step, misfit, steps};
use super::tensor::{Store, Tensor};
use crate::config::Norm;
use crate::model::Architecture;
use crate::model::architecture::{Doubling, ResnetStyle};
use crate::weights::error::printable;
use crate::weights::{NamedTensor, WeightError, WeightFile, metadata};

/// What may be taken beside four times the size of the files.
const ALLOWANCE: u64 = 4 << 20;

/// Reads a generator under its official names; `data` are the files that [`super::data_files`] asks for.
pub fn read(bytes: &[u8], data: &[(String, Vec<u8>)]) -> Result<WeightFile, WeightError> {
    let graph = Graph::parse(bytes)?;
    let size = bytes.len() as u64 + data.iter().map(|(_, file)| file.len() as u64).sum::<u64>();
    let mut store = Store { data, budget: 4 * size + ALLOWANCE };
    let steps = steps(&graph, &mut store)?;
    let mut walk = Walk { steps: &steps, at: 0, current: 0, layers: Vec::new() };
    let architecture = walk.generator()?;
    let tensors = tensors(&mut walk, architecture, &mut store)?;
    let mut metadata = graph.metadata;
    // A network without norms is told from one without biases by this alone.
    metadata.insert(metadata::ARCHITECTURE.to_owned(), tensors.0.name());
    Ok(WeightFile { metadata, tensors: tensors.1, ..WeightFile::default() })
}

/// A convolution and what belongs to it.
struct Layer<'w, 'a> {
    step: &'w Step<'w, 'a>,
    conv: &'w Conv<'a>,
    /// Scale and shift of the norm behind it.
    norm: Option<&'w [Option<Tensor<'a>>; 2]>,
    /// Whether networks with norms have one there.
    wants_norm: bool,
}

struct Walk<'w, 'a> {
    steps: &'w [Step<'w, 'a>],
    /// The next step.
    at: usize,
    /// The maps that it should be given.
    current: usize,
    layers: Vec<Layer<'w, 'a>>,
}

const PLAIN: Kind = Kind { transposed: false, kernel: 3, stride: 1, padding: 0, output_padding: 0, depthwise: false };

impl<'w, 'a> Walk<'w, 'a> {
    fn generator(&mut self) -> Result<Architecture, WeightError> {
        let architecture = match self.peek() {
            Some(Op::Pad(_)) => self.resnet()?,
            Some(Op::Conv(conv)) if conv.kind.kernel == 4 => self.unet()?,
            _ => {
                return Err(
                    self.unexpected("a generator begins with padding by reflection, or a U-Net with a 4×4 convolution")
                );
            }
        };
        match self.steps.get(self.at) {
            None => Ok(architecture),
            Some(_) => Err(self.unexpected("a generator ends with its tanh")),
        }
    }

    /// The official `Sequential` of a residual generator, whatever its blocks and the way it doubles the size.
    fn resnet(&mut self) -> Result<Architecture, WeightError> {
        self.pad(3)?;
        let stem = Kind { kernel: 7, ..PLAIN };
        self.conv(stem, "a 7×7 convolution of stride 1 without padding of its own")?;
        self.relu()?;
        for _ in 0..2 {
            self.conv(Kind { stride: 2, padding: 1, ..PLAIN }, "a 3×3 convolution of stride 2 and padding 1")?;
            self.relu()?;
        }
        let mut separable = None;
        let mut n_blocks = 0;
        while matches!(self.peek(), Some(Op::Pad(1))) {
            let before = self.current;
            for half in 0..2 {
                self.pad(1)?;
                let is_separable = matches!(self.peek(), Some(Op::Conv(conv)) if conv.kind.depthwise);
                if *separable.get_or_insert(is_separable) {
                    self.conv(Kind { depthwise: true, ..PLAIN }, "a 3×3 convolution of every channel for itself")?;
                    self.conv(Kind { kernel: 1, ..PLAIN }, "a 1×1 convolution")?;
                } else {
                    self.conv(PLAIN, "a 3×3 convolution of stride 1 without padding of its own")?;
                }
                if half == 0 {
                    self.relu()?;
                }
            }
            let after = self.current;
            let is_sum = |step: &Step| match step.op {
                Op::Add(other) => [step.from, other] == [before, after] || [step.from, other] == [after, before],
                _ => false,
            };
            match self.steps.get(self.at) {
                Some(step) if is_sum(step) => self.advance(),
                _ => {
                    return Err(
                        self.unexpected("a residual block ends with the sum of what it was given and what it made")
                    );
                }
            }
            n_blocks += 1;
        }
        if n_blocks == 0 {
            return Err(self.unexpected("a residual block is needed, which begins with padding by reflection of 1"));
        }
        let upsample = if matches!(self.peek(), Some(Op::Double)) { Doubling::Resize } else { Doubling::Transposed };
        for _ in 0..2 {
            if upsample == Doubling::Resize {
                self.take(|op| matches!(op, Op::Double), "doubling by repeating pixels is needed")?;
                self.pad(1)?;
                self.conv(PLAIN, "a 3×3 convolution of stride 1 without padding of its own")?;
            } else {
                let kind = Kind { transposed: true, stride: 2, padding: 1, output_padding: 1, ..PLAIN };
                self.conv(kind, "a transposed 3×3 convolution of stride 2, padding 1 and output padding 1")?;
            }
            self.relu()?;
        }
        self.pad(3)?;
        self.last(stem, "a 7×7 convolution of stride 1 without padding of its own")?;
        let skip = self.end()?;
        let [ngf, in_channels, out_channels] = self.channels();
        let style = ResnetStyle { separable: separable == Some(true), upsample, skip, ..ResnetStyle::PAPER };
        Ok(Architecture::Resnet { in_channels, out_channels, ngf, n_blocks, affine: false, style })
    }

    /// The official U-Net, from its outermost level inwards and back.
    fn unet(&mut self) -> Result<Architecture, WeightError> {
        let down = Kind { kernel: 4, stride: 2, padding: 1, ..PLAIN };
        let up = Kind { transposed: true, ..down };
        let what = "a 4×4 convolution of stride 2 and padding 1";
        let transposed = "a transposed 4×4 convolution of stride 2 and padding 1";
        self.conv(down, what)?;
        let mut given = Vec::new();
        while matches!(self.peek(), Some(Op::LeakyRelu)) {
            let before = self.current;
            self.take(|op| matches!(op, Op::LeakyRelu), what)?;
            given.push([before, self.current]);
            self.conv(down, what)?;
        }
        // Neither the outermost nor the innermost level has a norm on the way down.
        let innermost = self.layers.len() - 1;
        for index in [0, innermost] {
            self.layers[index].wants_norm = false;
        }
        let halvings = self.layers.len();
        while let Some(given) = given.pop() {
            self.relu()?;
            self.conv(up, transposed)?;
            let current = self.current;
            match self.steps.get(self.at) {
                // Before or after its leaky ReLU: the ReLU that comes next makes them the same.
                Some(Step { from, op: Op::Concat(first), .. }) if *from == current && given.contains(first) => {
                    self.advance();
                }
                _ => {
                    return Err(
                        self.unexpected("a level of a U-Net ends by joining what it was given and what it made")
                    );
                }
            }
        }
        self.relu()?;
        self.last(up, transposed)?;
        self.tanh()?;
        let [ngf, in_channels, _] = self.channels();
        let out_channels = self.layers.last().map_or(0, |layer| layer.conv.weight.shape[1]);
        Ok(Architecture::Unet { in_channels, out_channels, ngf, halvings, norm: Norm::Instance, affine: false })
    }

    /// Channels after the first convolution, before it, and after the last, where that is not transposed.
    fn channels(&self) -> [usize; 3] {
        let shape = |layer: Option<&Layer>, axis: usize| layer.map_or(0, |layer| layer.conv.weight.shape[axis]);
        [shape(self.layers.first(), 0), shape(self.layers.first(), 1), shape(self.layers.last(), 0)]
    }

    fn peek(&self) -> Option<&'w Op<'a>> {
        self.steps.get(self.at).map(|step| &step.op)
    }

    fn advance(&mut self) {
        self.at += 1;
        self.current = self.at;
    }

    /// Takes the next step, if it is this one and goes on with what the last one gave.
    fn take(&mut self, fits: impl Fn(&Op) -> bool, why: &'static str) -> Result<&'w Step<'w, 'a>, WeightError> {
        match self.steps.get(self.at) {
            Some(step) if step.from == self.current && fits(&step.op) => {
                self.advance();
                Ok(step)
            }
            _ => Err(self.unexpected(why)),
        }
    }

    fn unexpected(&self, why: &'static str) -> WeightError {
        match self.steps.get(self.at).or(self.steps.last()) {
            Some(step) => misfit(step.node, why),
            None => WeightError::NoTensors,
        }
    }

    fn pad(&mut self, width: i64) -> Result<(), WeightError> {
        let why =
            if width == 3 { "padding by reflection of 3 is needed" } else { "padding by reflection of 1 is needed" };
        self.take(|op| matches!(op, Op::Pad(found) if *found == width), why).map(drop)
    }

    fn relu(&mut self) -> Result<(), WeightError> {
        self.take(|op| matches!(op, Op::Relu), "a ReLU is needed").map(drop)
    }

    /// A convolution, with the norm behind it where there is one.
    fn conv(&mut self, kind: Kind, why: &'static str) -> Result<(), WeightError> {
        let step = self.take(|op| matches!(op, Op::Conv(conv) if conv.kind == kind), why)?;
        let Op::Conv(conv) = &step.op else { return Err(self.unexpected(why)) };
        let norm = match self.steps.get(self.at) {
            Some(Step { from, op: Op::Norm(vectors), .. }) if *from == self.current => {
                self.advance();
                Some(vectors)
            }
            _ => None,
        };
        self.layers.push(Layer { step, conv, norm, wants_norm: true });
        Ok(())
    }

    /// The last convolution, which has no norm.
    fn last(&mut self, kind: Kind, why: &'static str) -> Result<(), WeightError> {
        self.conv(kind, why)?;
        if let Some(layer) = self.layers.last_mut() {
            layer.wants_norm = false;
        }
        Ok(())
    }

    fn tanh(&mut self) -> Result<(), WeightError> {
        self.take(|op| matches!(op, Op::Tanh), "a tanh is needed").map(drop)
    }

    /// The tanh; or the sum with the picture within [-1, 1] of a generator with a skip, which this tells.
    fn end(&mut self) -> Result<bool, WeightError> {
        let ends = [0, self.current];
        let is_skip = match self.steps.get(self.at) {
            Some(Step { from, op: Op::Add(other), .. }) => [*from, *other] == ends || [*other, *from] == ends,
            _ => false,
        };
        if !is_skip {
            return self.tanh().map(|()| false);
        }
        self.advance();
        self.take(|op| matches!(op, Op::Clip), "clipping to the range from -1 to 1 is needed").map(|_| true)
    }
}

/// The network with what only its values and norms tell, and its tensors under their official names.
fn tensors(
    walk: &mut Walk,
    architecture: Architecture,
    store: &mut Store,
) -> Result<(Architecture, Vec<NamedTensor>), WeightError> {
    let has_norms = walk.layers.iter().any(|layer| layer.norm.is_some());
    // In a network of separable blocks the 3×3 convolutions have norms, too; all or none.
    if let Some(layer) = walk.layers.iter().find(|layer| (has_norms && layer.wants_norm) != layer.norm.is_some()) {
        return Err(misfit(layer.step.node, "an instance norm is missing behind it, or one too many"));
    }
    let mut values = Vec::with_capacity(walk.layers.len());
    for layer in &walk.layers {
        let mut read = |tensor: Option<&Tensor>| tensor.map(|tensor| tensor.values(store)).transpose();
        let [scale, shift] = layer.norm.map_or([None, None], |[scale, shift]| [scale.as_ref(), shift.as_ref()]);
        let bias = read(layer.conv.bias.as_ref())?;
        values.push((bias, [read(scale)?, read(shift)?]));
    }
    let is_all = |vector: &Option<Vec<f32>>, value: f32| vector.iter().flatten().all(|found| *found == value);
    let affine = values.iter().any(|(_, [scale, shift])| !is_all(scale, 1.0) || !is_all(shift, 0.0));
    let architecture = if has_norms { architecture } else { architecture.with_norm(Norm::None) };
    let architecture = with_affine(architecture, affine);

    let mut layers = walk.layers.iter().zip(values);
    let mut left: Vec<(&'static str, Option<Vec<f32>>, f32)> = Vec::new();
    let mut of = None;
    let mut tensors = Vec::new();
    for (name, shape) in architecture.parameters() {
        if shape.len() == 4 {
            unused(&left, of)?;
            let Some((layer, (bias, [scale, shift]))) = layers.next() else {
                return Err(WeightError::Missing { tensor: name, expected: shape });
            };
            let weight = &layer.conv.weight;
            if weight.shape != shape {
                let (tensor, found) = (printable(weight.name), weight.shape.clone());
                return Err(WeightError::Shape { tensor, expected: shape, found });
            }
            of = Some(layer);
            // Taken from the end.
            left = vec![(".bias", shift, 0.0), (".weight", scale, 1.0), (".bias", bias, 0.0)];
            tensors.push(NamedTensor { name, shape, values: weight.values(store)? });
            continue;
        }
        // The next vector of this name; what a layer does without is what changes nothing.
        let wanted = left.pop().filter(|(ending, ..)| name.ends_with(ending));
        let Some((_, found, neutral)) = wanted else {
            return Err(WeightError::Missing { tensor: name, expected: shape });
        };
        let count = shape.iter().product();
        let values = found.unwrap_or_else(|| vec![neutral; count]);
        if values.len() != count {
            return Err(WeightError::Shape { tensor: name, expected: shape, found: vec![values.len()] });
        }
        tensors.push(NamedTensor { name, shape, values });
    }
    unused(&left, of)?;
    Ok((architecture, tensors))
}

/// Whether what is left of a layer's vectors changes anything.
fn unused(left: &[(&'static str, Option<Vec<f32>>, f32)], of: Option<&Layer>) -> Result<(), WeightError> {
    let changes =
        |(_, values, neutral): &(_, Option<Vec<f32>>, f32)| values.iter().flatten().any(|value| value != neutral);
    match of {
        Some(layer) if left.iter().any(changes) => Err(misfit(
            layer.step.node,
            "it has a bias and no instance norm behind it, as where a batch norm was folded in: this program's \
             generators without norms have no biases",
        )),
        _ => Ok(()),
    }
}

fn with_affine(mut architecture: Architecture, is_affine: bool) -> Architecture {
    match &mut architecture {
        Architecture::Resnet { affine, .. } | Architecture::Unet { affine, .. } => *affine = is_affine,
        Architecture::Patch { .. } => {}
    }
    architecture
}
