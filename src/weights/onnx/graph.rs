//! The nodes and tensors of a `ModelProto`. Nothing is copied but names' places; there are bounds on all lists.

use std::collections::{BTreeMap, HashMap};

use super::tensor::{Tensor, pair};
use crate::protobuf::{Field, Fields};
use crate::weights::WeightError;
use crate::weights::error::printable;

/// Far more than any generator has: PyTorch computes the widths of one padding in 13 nodes.
const MAX_NODES: usize = 1 << 14;
const MAX_TENSORS: usize = 1 << 14;
const MAX_INPUTS: usize = 16;
const MAX_ATTRIBUTES: usize = 32;
/// Files with values of one graph.
const MAX_FILES: usize = 1 << 10;
/// Remarks that are kept, and longest one.
const MAX_REMARKS: usize = 64;
const MAX_REMARK: usize = 1 << 12;

/// A model's graph.
#[derive(Default)]
pub struct Graph<'a> {
    /// In an order in which every node's inputs are computed before it.
    pub nodes: Vec<Node<'a>>,
    /// The tensors that are stored, by name.
    pub tensors: HashMap<&'a str, Tensor<'a>>,
    /// What has to be given.
    pub inputs: Vec<&'a str>,
    /// What it gives.
    pub outputs: Vec<&'a str>,
    /// The exporter's remarks.
    pub metadata: BTreeMap<String, String>,
}

/// A node of the graph.
#[derive(Debug)]
pub struct Node<'a> {
    /// What it computes.
    pub op: &'a str,
    /// Values' names; empty for those left out.
    pub inputs: Vec<&'a str>,
    /// The name of its first value, others being of no use here.
    pub output: &'a str,
    name: &'a str,
    attributes: Vec<&'a [u8]>,
}

/// The value of an attribute, whichever kind it has.
#[derive(Default)]
pub struct Attribute<'a> {
    pub float: Option<f32>,
    pub int: Option<i64>,
    pub text: &'a [u8],
    pub tensor: Option<&'a [u8]>,
    pub ints: Vec<i64>,
}

/// Whether a file begins like a `ModelProto`: its fields come in order, first a small version number. A safetensors
/// file begins with a length that may look alike, but then has zeroes and a brace.
pub fn is_onnx(bytes: &[u8]) -> bool {
    let is_safetensors = matches!(bytes, [_, _, _, _, 0, 0, 0, 0, b'{', ..]);
    matches!(bytes, [0x08, 1..=0x1f, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..]) && !is_safetensors
}

/// The files that a graph's values lie in beside its own: paths that do not leave its folder.
pub fn data_files(bytes: &[u8]) -> Result<Vec<String>, WeightError> {
    let mut files: Vec<String> = Vec::new();
    for tensor in Graph::parse(bytes)?.tensors.values() {
        if let Some(location) = tensor.location()?
            && !files.iter().any(|file| file == location)
        {
            if files.len() == MAX_FILES {
                return Err(damaged("its values lie in too many files"));
            }
            files.push(location.to_owned());
        }
    }
    files.sort();
    Ok(files)
}

impl<'a> Graph<'a> {
    /// # Errors
    /// When it is cut off, or has more of anything than a generator.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WeightError> {
        let mut graph = Self::default();
        let mut body = None;
        for field in Fields(bytes) {
            match field.map_err(|_| damaged("it is cut off"))? {
                (7, Field::Bytes(bytes)) => body = Some(bytes),
                (14, Field::Bytes(entry)) if graph.metadata.len() < MAX_REMARKS => {
                    let (key, value) = pair(entry)?;
                    if key.len() + value.len() <= MAX_REMARK {
                        graph.metadata.insert(key.to_owned(), value.to_owned());
                    }
                }
                _ => {}
            }
        }
        let body = body.ok_or_else(|| damaged("it has no graph"))?;
        for field in Fields(body) {
            let (number, Field::Bytes(part)) = field.map_err(|_| damaged("its graph is cut off"))? else { continue };
            match number {
                1 if graph.nodes.len() < MAX_NODES => graph.nodes.push(Node::parse(part)?),
                5 if graph.tensors.len() < MAX_TENSORS => {
                    let tensor = Tensor::parse(part)?;
                    if graph.tensors.insert(tensor.name, tensor.clone()).is_some() {
                        return Err(WeightError::Duplicate { tensor: printable(tensor.name) });
                    }
                }
                1 | 5 => return Err(WeightError::TooComplex),
                11 if graph.inputs.len() < MAX_TENSORS => graph.inputs.push(value_name(part)?),
                12 if graph.outputs.len() < MAX_INPUTS => graph.outputs.push(value_name(part)?),
                _ => {}
            }
        }
        // Old exporters list what is stored among the inputs, too.
        graph.inputs.retain(|input| !graph.tensors.contains_key(input));
        Ok(graph)
    }
}

impl<'a> Node<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, WeightError> {
        let mut node = Self { op: "", inputs: Vec::new(), output: "", name: "", attributes: Vec::new() };
        let mut outputs = 0;
        for field in Fields(bytes) {
            let (number, Field::Bytes(part)) = field.map_err(|_| damaged("a node of its graph is cut off"))? else {
                continue;
            };
            match number {
                1 if node.inputs.len() < MAX_INPUTS => node.inputs.push(text(part)?),
                5 if node.attributes.len() < MAX_ATTRIBUTES => node.attributes.push(part),
                1 | 5 => return Err(WeightError::TooComplex),
                2 if outputs == 0 => (node.output, outputs) = (text(part)?, 1),
                3 => node.name = text(part)?,
                4 => node.op = text(part)?,
                _ => {}
            }
        }
        Ok(node)
    }

    /// The name of an input; `None` where there is none.
    pub fn input(&self, index: usize) -> Option<&'a str> {
        self.inputs.get(index).copied().filter(|name| !name.is_empty())
    }

    /// How messages call it: its own name or that of its output, and what it computes.
    pub fn label(&self) -> String {
        let name = if self.name.is_empty() { self.output } else { self.name };
        [&printable(name), " (", &printable(self.op), ")"].concat()
    }

    /// The attribute of that name; one without a value where there is none.
    pub fn attribute(&self, name: &str) -> Result<Attribute<'a>, WeightError> {
        for body in &self.attributes {
            let mut found = Attribute::default();
            let mut is_it = false;
            for field in Fields(body) {
                match field.map_err(|_| damaged("an attribute of its graph is cut off"))? {
                    (1, Field::Bytes(bytes)) => is_it = bytes == name.as_bytes(),
                    (2 | 7, Field::Bytes(bytes)) => {
                        found.float = bytes.first_chunk().map(|four| f32::from_le_bytes(*four));
                    }
                    (3, Field::Number(number)) => found.int = Some(number as i64),
                    (4, Field::Bytes(bytes)) => found.text = bytes,
                    (5, Field::Bytes(bytes)) => found.tensor = Some(bytes),
                    (8, field) => {
                        let left = MAX_ATTRIBUTES.saturating_sub(found.ints.len());
                        found.ints.extend(super::tensor::numbers(field).take(left).map(|number| number as i64));
                    }
                    _ => {}
                }
            }
            if is_it {
                return Ok(found);
            }
        }
        Ok(Attribute::default())
    }
}

fn value_name(bytes: &[u8]) -> Result<&str, WeightError> {
    match Fields(bytes).next() {
        Some(Ok((1, Field::Bytes(name)))) => text(name),
        _ => Err(damaged("an input of its graph has no name")),
    }
}

pub fn text(bytes: &[u8]) -> Result<&str, WeightError> {
    std::str::from_utf8(bytes).map_err(|_| damaged("a name in its graph is no text"))
}

pub fn damaged(reason: &str) -> WeightError {
    WeightError::Damaged { reason: reason.into() }
}
