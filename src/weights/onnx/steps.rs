//! What the nodes of a graph do to the picture, one layer after the other.
//!
//! Values are followed through the graph by kind: maps that a layer gives, stored tensors, short lists of whole
//! numbers that exporters compute paddings with, and the parts of an instance norm that is written out.

use std::collections::HashMap;

use super::EPSILON;
use super::SLOPE;
use super::graph::{Attribute, Graph, Node};
use super::tensor::{Store, Tensor};
use crate::weights::WeightError;

/// More channels, or a larger kernel, than any generator has: low enough for any arithmetic.
const MAX_SIDE: usize = 1 << 13;
/// Most whole numbers of a list.
const MAX_INTS: usize = 64;

/// A layer.
pub struct Step<'g, 'a> {
    /// The node that does it; of a norm that is written out the last.
    pub node: &'g Node<'a>,
    /// The maps that it is given: 0 is the picture, `n` what the n-th step gives.
    pub from: usize,
    pub op: Op<'a>,
}

/// What a layer does.
pub enum Op<'a> {
    /// Reflection by so many pixels on all four sides.
    Pad(i64),
    Conv(Box<Conv<'a>>),
    /// An instance norm with its scale and shift.
    Norm([Option<Tensor<'a>>; 2]),
    Relu,
    /// Of the slope that a U-Net's has.
    LeakyRelu,
    Tanh,
    /// Values outside of [-1, 1] become its ends.
    Clip,
    /// The sum with these maps.
    Add(usize),
    /// Every pixel four times.
    Double,
    /// These maps' channels first, then those of `from`.
    Concat(usize),
}

/// A convolution.
pub struct Conv<'a> {
    pub weight: Tensor<'a>,
    pub bias: Option<Tensor<'a>>,
    pub kind: Kind,
}

/// All of a convolution's numbers but those of its channels, the same along both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub transposed: bool,
    pub kernel: i64,
    pub stride: i64,
    pub padding: i64,
    /// Only of a transposed one.
    pub output_padding: i64,
    /// Whether every channel is for itself.
    pub depthwise: bool,
}

/// What a name in the graph stands for.
#[derive(Clone)]
enum Value<'a> {
    Maps(usize),
    Tensor(Tensor<'a>),
    /// Whole numbers in so many columns.
    Ints(Vec<i64>, usize),
    Float(f32),
    /// Of an instance norm of these maps.
    Part(Part, usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Mean,
    Centred,
    Square,
    Variance,
    Steadied,
    Deviation,
    Inverse,
}

/// The layers in the order of the graph; the last gives the output.
pub fn steps<'g, 'a>(graph: &'g Graph<'a>, store: &mut Store) -> Result<Vec<Step<'g, 'a>>, WeightError> {
    let [input] = graph.inputs[..] else { return Err(WeightError::GraphEnds { inputs: graph.inputs.len() }) };
    let mut walk = Walk { graph, store, values: HashMap::from([(input, Value::Maps(0))]), steps: Vec::new() };
    for node in &graph.nodes {
        if let Some(value) = walk.value(node)? {
            walk.values.insert(node.output, value);
        }
    }
    let last = walk.steps.len();
    let output = graph.outputs.first().and_then(|name| walk.values.get(name));
    match (output, graph.nodes.last()) {
        (Some(Value::Maps(number)), _) if *number == last && last > 0 => Ok(walk.steps),
        (_, Some(node)) => Err(misfit(node, "the graph's output should be the last of a chain of layers")),
        (_, None) => Err(WeightError::NoTensors),
    }
}

/// The error for a node that no generator has there; `why` is half a sentence.
pub fn misfit(node: &Node, why: &'static str) -> WeightError {
    WeightError::Graph { node: node.label(), why }
}

struct Walk<'g, 'a, 's, 'd> {
    graph: &'g Graph<'a>,
    store: &'s mut Store<'d>,
    values: HashMap<&'a str, Value<'a>>,
    steps: Vec<Step<'g, 'a>>,
}

impl<'g, 'a> Walk<'g, 'a, '_, '_> {
    fn input(&self, node: &Node<'a>, index: usize) -> Option<Value<'a>> {
        let name = node.input(index)?;
        let stored = || self.graph.tensors.get(name).cloned().map(Value::Tensor);
        self.values.get(name).cloned().or_else(stored)
    }

    fn maps(&self, node: &Node<'a>, index: usize) -> Option<usize> {
        match self.input(node, index) {
            Some(Value::Maps(number)) => Some(number),
            _ => None,
        }
    }

    fn tensor(&self, node: &Node<'a>, index: usize) -> Option<Tensor<'a>> {
        match self.input(node, index) {
            Some(Value::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    fn ints(&self, node: &Node<'a>, index: usize) -> Option<Vec<i64>> {
        match self.input(node, index)? {
            Value::Ints(ints, _) => Some(ints),
            Value::Tensor(tensor) => tensor.ints(),
            _ => None,
        }
    }

    /// A single number.
    fn scalar(&mut self, node: &Node<'a>, index: usize) -> Option<f32> {
        match self.input(node, index)? {
            Value::Float(float) => Some(float),
            Value::Tensor(tensor) if tensor.count() == Some(1) => tensor.values(self.store).ok()?.first().copied(),
            Value::Tensor(tensor) => {
                Some(tensor.ints()?.first().copied()? as f32).filter(|_| tensor.count() == Some(1))
            }
            Value::Ints(ints, _) if ints.len() == 1 => Some(ints[0] as f32),
            _ => None,
        }
    }

    /// A number that is an attribute or, since opset 11, an input.
    fn bound(&mut self, node: &Node<'a>, name: &str, index: usize) -> Option<f32> {
        node.attribute(name).ok()?.float.or_else(|| self.scalar(node, index))
    }

    fn push(&mut self, node: &'g Node<'a>, from: usize, op: Op<'a>) -> Option<Value<'a>> {
        self.steps.push(Step { node, from, op });
        Some(Value::Maps(self.steps.len()))
    }

    /// What a node gives; nothing for one that has to do neither with the picture nor with lists of numbers.
    fn value(&mut self, node: &'g Node<'a>) -> Result<Option<Value<'a>>, WeightError> {
        let first = self.input(node, 0);
        if let (Some(value), "Identity" | "Cast" | "Dropout") = (&first, node.op) {
            return Ok(Some(value.clone()));
        }
        if let Some(value) = self.constant(node)? {
            return Ok(Some(value));
        }
        let is_of_maps = |value: &Option<Value>| matches!(value, Some(Value::Maps(_) | Value::Part(..)));
        if !(0..node.inputs.len()).any(|index| is_of_maps(&self.input(node, index))) {
            return Ok(None);
        }
        if let Some(value) = self.norm_part(node)? {
            return Ok(Some(value));
        }
        let Some(Value::Maps(from)) = first else {
            return Err(misfit(node, "this program's generators have no such operator on such values"));
        };
        let op = match node.op {
            "Pad" => Op::Pad(self.pad(node)?),
            "Conv" | "ConvTranspose" => Op::Conv(Box::new(self.convolution(node)?)),
            "InstanceNormalization" => {
                self.check_epsilon(node, node.attribute("epsilon")?.float.unwrap_or(EPSILON))?;
                let vectors = [self.tensor(node, 1), self.tensor(node, 2)];
                if vectors.iter().any(Option::is_none) {
                    return Err(misfit(node, "its scale or its shift is not stored in the file"));
                }
                Op::Norm(vectors)
            }
            "Relu" => Op::Relu,
            "LeakyRelu" => match node.attribute("alpha")?.float.unwrap_or(0.01) {
                slope if (slope - SLOPE).abs() < 1e-3 => Op::LeakyRelu,
                _ => return Err(misfit(node, "a slope of 0.2 is needed")),
            },
            "Tanh" => Op::Tanh,
            "Clip" => match [("min", 1), ("max", 2)].map(|(name, index)| self.bound(node, name, index)) {
                [Some(-1.0), Some(1.0)] => Op::Clip,
                _ => return Err(misfit(node, "only clipping to the range from -1 to 1 is known")),
            },
            "Add" => match self.maps(node, 1) {
                Some(other) => Op::Add(other),
                None => return Err(misfit(node, "this program's generators add maps to maps only")),
            },
            "Concat" => match (self.maps(node, 1), node.inputs.len(), node.attribute("axis")?.int) {
                (Some(second), 2, Some(1 | -3)) => return Ok(self.push(node, second, Op::Concat(from))),
                _ => return Err(misfit(node, "only two maps' channels are joined in this program's generators")),
            },
            "Resize" | "Upsample" => self.resize(node)?,
            "BatchNormalization" => {
                return Err(misfit(node, "this program's generators have instance norms or none, no batch norms"));
            }
            _ => return Err(misfit(node, "this program's generators have no such operator")),
        };
        Ok(self.push(node, from, op))
    }

    /// What is computed from numbers alone: of what PyTorch computes the widths of a padding with.
    fn constant(&mut self, node: &Node<'a>) -> Result<Option<Value<'a>>, WeightError> {
        let ints = |walk: &Self, index| walk.ints(node, index);
        Ok(match node.op {
            "Constant" => {
                for name in ["value", "value_ints", "value_int", "value_float", "value_floats"] {
                    let Attribute { float, int, tensor, ints, .. } = node.attribute(name)?;
                    let value = match (tensor, float, int) {
                        (Some(body), ..) => Some(Value::Tensor(Tensor::parse(body)?)),
                        (_, Some(float), _) => Some(Value::Float(float)),
                        (_, _, Some(int)) => Some(Value::Ints(vec![int], 1)),
                        _ => Some(Value::Ints(ints, 1))
                            .filter(|value| matches!(value, Value::Ints(ints, _) if !ints.is_empty())),
                    };
                    if value.is_some() {
                        return Ok(value);
                    }
                }
                None
            }
            "ConstantOfShape" => match (ints(self, 0).as_deref(), node.attribute("value")?.tensor) {
                (Some(&[count @ 0..=64]), fill) => {
                    let fill = fill.map(Tensor::parse).transpose()?.and_then(|fill| fill.ints());
                    let fill = fill.and_then(|fill| fill.first().copied()).unwrap_or_default();
                    Some(Value::Ints(vec![fill; count as usize], 1))
                }
                _ => None,
            },
            "Concat" => {
                let parts: Option<Vec<_>> = (0..node.inputs.len()).map(|index| ints(self, index)).collect();
                parts.map(|parts| parts.concat()).filter(|all| all.len() <= MAX_INTS).map(|all| Value::Ints(all, 1))
            }
            "Reshape" => match (ints(self, 0), ints(self, 1).as_deref()) {
                (Some(values), Some([-1, 2])) => Some(Value::Ints(values, 2)),
                (Some(values), Some([-1])) => Some(Value::Ints(values, 1)),
                _ => None,
            },
            "Transpose" => match self.input(node, 0) {
                Some(Value::Ints(values, columns)) if node.attribute("perm")?.ints == [1, 0] => {
                    let rows = values.len() / columns;
                    let turned = (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns));
                    Some(Value::Ints(turned.copied().collect(), rows.max(1)))
                }
                _ => None,
            },
            // Rows from the last to the first.
            "Slice" => {
                let numbers: Vec<_> = (1..5).map(|index| ints(self, index)).collect();
                let is_turned = matches!(
                    &numbers[..],
                    [Some(start), Some(end), Some(axis), Some(step)]
                        if start[..] == [-1] && axis[..] == [0] && step[..] == [-1] && end.iter().all(|end| *end < -100)
                );
                match self.input(node, 0) {
                    Some(Value::Ints(values, columns)) if is_turned => {
                        Some(Value::Ints(values.rchunks(columns).flatten().copied().collect(), columns))
                    }
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// Padding by reflection, the same on all four sides: its width stands in an attribute or, since opset 11, in an input.
    fn pad(&self, node: &Node<'a>) -> Result<i64, WeightError> {
        if node.attribute("mode")?.text != b"reflect" {
            return Err(misfit(node, "this program's generators pad by reflection"));
        }
        let attribute = node.attribute("pads")?.ints;
        let pads = if attribute.is_empty() { self.ints(node, 1) } else { Some(attribute) };
        match (pads.as_deref(), self.ints(node, 3).as_deref()) {
            (Some(&[0, 0, width, b, 0, 0, c, d]), None) if [b, c, d] == [width; 3] => Ok(width),
            (Some(&[width, b, c, d]), Some([2, 3] | [-2, -1])) if [b, c, d] == [width; 3] => Ok(width),
            _ => Err(misfit(node, "the same padding on all four sides of each map is needed")),
        }
    }

    fn convolution(&self, node: &Node<'a>) -> Result<Conv<'a>, WeightError> {
        let transposed = node.op == "ConvTranspose";
        let Some(weight) = self.tensor(node, 1) else {
            return Err(misfit(node, "its weight is not stored in the file"));
        };
        let bias = self.tensor(node, 2);
        if node.input(2).is_some() && bias.is_none() {
            return Err(misfit(node, "its bias is not stored in the file"));
        }
        let [outer, inner, kernel, width] = weight.shape[..] else {
            return Err(misfit(node, "its weight should have four axes"));
        };
        if kernel != width || [outer, inner, kernel].iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(misfit(node, "its weight is not square, or absurdly large"));
        }
        // All of a list have to be the same; where there is none, it is this.
        let all = |name: &str, absent: i64| -> Result<i64, WeightError> {
            let ints = node.attribute(name)?.ints;
            let first = ints.first().copied().unwrap_or(absent);
            if ints.iter().all(|int| *int == first) {
                Ok(first)
            } else {
                Err(misfit(node, "strides, paddings and the like should be the same on all sides"))
            }
        };
        let group = node.attribute("group")?.int.unwrap_or(1);
        let depthwise = group != 1 && group == outer as i64 && inner == 1 && !transposed;
        let auto = node.attribute("auto_pad")?.text;
        let is_plain =
            (group == 1 || depthwise) && all("dilations", 1)? == 1 && matches!(auto, b"" | b"NOTSET" | b"VALID");
        if !is_plain || !node.attribute("output_shape")?.ints.is_empty() {
            return Err(misfit(node, "this program's generators have no such groups, dilations or paddings by rule"));
        }
        let kind = Kind {
            transposed,
            kernel: kernel as i64,
            stride: all("strides", 1)?,
            padding: all("pads", 0)?,
            output_padding: all("output_padding", 0)?,
            depthwise,
        };
        Ok(Conv { weight, bias, kind })
    }

    /// Doubling by repetition; the factors stand in an attribute of the old `Upsample`, or in an input.
    fn resize(&mut self, node: &Node<'a>) -> Result<Op<'a>, WeightError> {
        let mut factors = None;
        for index in 1..=2 {
            if let Some(tensor) = self.tensor(node, index).filter(|tensor| tensor.count() == Some(4)) {
                factors = Some(tensor.values(self.store)?);
            }
        }
        let text = |name: &str| node.attribute(name).map(|attribute| attribute.text);
        let is_nearest = matches!(text("mode")?, b"" | b"nearest");
        // Since opset 11 by halves of pixels and rounding unless told otherwise, which for a doubling comes to the same.
        let (place, rounding) = (text("coordinate_transformation_mode")?, text("nearest_mode")?);
        let is_same = match (place, rounding) {
            (b"asymmetric", b"floor") => true,
            (b"asymmetric", _) => false,
            (b"" | b"half_pixel" | b"pytorch_half_pixel", b"" | b"round_prefer_floor" | b"round_prefer_ceil") => true,
            _ => false,
        };
        let by_factors = factors.as_deref() == Some(&[1.0, 1.0, 2.0, 2.0]);
        if is_nearest && is_same && by_factors {
            return Ok(Op::Double);
        }
        Err(misfit(node, "only doubling by repeating pixels is known, with the factors 1, 1, 2, 2"))
    }

    fn check_epsilon(&self, node: &Node<'a>, epsilon: f32) -> Result<(), WeightError> {
        if (epsilon - EPSILON).abs() < 0.05 * EPSILON {
            return Ok(());
        }
        Err(misfit(node, "the norms of this program's generators add 0.00001 to the variance"))
    }

    /// A node of an instance norm that is written out: x − mean, over the root of its mean square and ε.
    fn norm_part(&mut self, node: &'g Node<'a>) -> Result<Option<Value<'a>>, WeightError> {
        use Part::{Centred, Deviation, Inverse, Mean, Square, Steadied, Variance};
        let (left, right) = (self.input(node, 0), self.input(node, 1));
        let part = |part, of| Ok(Some(Value::Part(part, of)));
        match (node.op, left, right) {
            ("ReduceMean", Some(Value::Maps(of)), _) if self.is_over_planes(node)? => part(Mean, of),
            ("ReduceMean", Some(Value::Part(Square, of)), _) if self.is_over_planes(node)? => part(Variance, of),
            ("Sub", Some(Value::Maps(of)), Some(Value::Part(Mean, mean))) if of == mean => part(Centred, of),
            ("Mul", Some(Value::Part(Centred, of)), Some(Value::Part(Centred, other))) if of == other => {
                part(Square, of)
            }
            ("Pow", Some(Value::Part(Centred, of)), Some(_)) if self.scalar(node, 1) == Some(2.0) => part(Square, of),
            ("Add", Some(Value::Part(Variance, of)), _) => self.steadied(node, of, 1),
            ("Add", _, Some(Value::Part(Variance, of))) => self.steadied(node, of, 0),
            ("Sqrt", Some(Value::Part(Steadied, of)), _) => part(Deviation, of),
            ("Reciprocal", Some(Value::Part(Deviation, of)), _) => part(Inverse, of),
            ("Div", Some(Value::Part(Centred, of)), Some(Value::Part(Deviation, other)))
            | ("Mul", Some(Value::Part(Centred, of)), Some(Value::Part(Inverse, other)))
            | ("Mul", Some(Value::Part(Inverse, of)), Some(Value::Part(Centred, other)))
                if of == other =>
            {
                Ok(self.push(node, of, Op::Norm([None, None])))
            }
            ("Mul", Some(Value::Maps(maps)), Some(Value::Tensor(tensor)))
            | ("Mul", Some(Value::Tensor(tensor)), Some(Value::Maps(maps))) => Ok(self.scaled(node, maps, 0, tensor)),
            ("Add", Some(Value::Maps(maps)), Some(Value::Tensor(tensor)))
            | ("Add", Some(Value::Tensor(tensor)), Some(Value::Maps(maps))) => Ok(self.scaled(node, maps, 1, tensor)),
            _ => Ok(None),
        }
    }

    fn steadied(&mut self, node: &Node<'a>, of: usize, epsilon: usize) -> Result<Option<Value<'a>>, WeightError> {
        let epsilon = self.scalar(node, epsilon).unwrap_or(f32::NAN);
        self.check_epsilon(node, epsilon)?;
        Ok(Some(Value::Part(Part::Steadied, of)))
    }

    /// Whether a mean is over height and width, which are kept as axes.
    fn is_over_planes(&self, node: &Node<'a>) -> Result<bool, WeightError> {
        let attribute = node.attribute("axes")?.ints;
        let axes = if attribute.is_empty() { self.ints(node, 1) } else { Some(attribute) };
        Ok(matches!(axes.as_deref(), Some([2, 3] | [-2, -1])) && node.attribute("keepdims")?.int != Some(0))
    }

    /// The last layer with a scale or a shift for each channel, where it is a norm that is written out and has none yet.
    fn scaled(&mut self, node: &'g Node<'a>, maps: usize, place: usize, tensor: Tensor<'a>) -> Option<Value<'a>> {
        let is_vector = matches!(tensor.shape[..], [1, _, 1, 1] | [_, 1, 1]);
        let is_last = maps == self.steps.len();
        match self.steps.last_mut() {
            Some(Step { op: Op::Norm(vectors), node: at, .. })
                if is_last
                    && is_vector
                    && vectors[place..].iter().all(Option::is_none)
                    && at.op != "InstanceNormalization" =>
            {
                vectors[place] = Some(tensor);
                *at = node;
                Some(Value::Maps(maps))
            }
            _ => None,
        }
    }
}
