//! A reader of the pickles that `torch.save` writes (format: CPython's `Lib/pickletools.py`).
//!
//! A pickle is a program for a stack machine. This machine knows the few operations and names that
//! tensors in dictionaries need; what any other name would make is an [`Container::Object`], of which only the name is
//! kept and what is put into it by key: nothing is ever called. Values
//! live in flat lists and refer to each other by index, so that no nesting can exhaust the stack, and
//! memory is taken from a budget.

use std::collections::HashMap;

use super::super::WeightError;
use super::dtype::Dtype;

/// Highest version of the format that is read; PyTorch writes 2.
const MAX_PROTOCOL: u8 = 5;
/// Deepest stack: PyTorch's pickler puts at most 1000 pairs on it before it stores them.
const MAX_STACK: usize = 1 << 16;

/// A value on the stack or in a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An integer.
    Int(i64),
    /// A text.
    Text(&'a str),
    /// Bytes, or an integer of more than 64 bits in the order of the file.
    Bytes(&'a [u8]),
    /// Index into [`Pickle::containers`].
    Container(usize),
    /// Index into [`Pickle::storages`].
    Storage(usize),
    /// Index into [`Pickle::tensors`].
    Tensor(usize),
    /// Something that PyTorch would call.
    Global(Global<'a>),
    /// A type of values.
    Dtype(Dtype<'a>),
    /// Harmless and of no use here: `None`, booleans, floats, devices.
    Other,
}

/// The names that may occur.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Global<'a> {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `collections.defaultdict`, whose arguments say what it is filled up with
    DefaultDict,
    /// `_codecs.encode`, which is how bytes are written
    Encode,
    /// `torch._utils._rebuild_tensor`, `_v2`, and `_v3` with its type of values
    RebuildTensor,
    /// `torch._tensor._rebuild_from_type_v2`: another of these, for a tensor with attributes
    RebuildFromType,
    /// `torch._utils._rebuild_parameter` and `_with_state`
    RebuildParameter,
    /// `torch.FloatStorage` and its like
    Storage(Dtype<'a>),
    /// `torch.Size`
    Size,
    /// `torch.device`
    Device,
    /// Any other: module and name.
    Unknown(&'a str, &'a str),
}

/// What holds other values.
#[derive(Clone, Debug, PartialEq)]
pub enum Container<'a> {
    /// Immutable.
    Tuple(Vec<Value<'a>>),
    /// A list or a set.
    List(Vec<Value<'a>>),
    /// Pairs in the order in which they were put in.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// What something of no use here would have made.
    Object(Object<'a>),
}

/// What is known of an object that nobody made.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<'a> {
    /// Module and name of what would have made it.
    pub maker: (&'a str, &'a str),
    /// Whether it would have been made of a tensor.
    pub is_tensor: bool,
    /// What was put into it by key.
    pub pairs: Vec<(Value<'a>, Value<'a>)>,
}

/// A run of values in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storage<'a> {
    /// Their type.
    pub dtype: Dtype<'a>,
    /// Their name in the archive.
    pub key: &'a str,
    /// How many values of the run come before it, for a view of the old format.
    pub offset: u64,
}

/// Where a tensor lies in its storage, as the file claims it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Index into [`Pickle::storages`].
    pub storage: usize,
    /// Values of the storage before its first.
    pub offset: u64,
    /// Its sides.
    pub shape: Vec<u64>,
    /// Values between neighbours, an entry a side.
    pub strides: Vec<u64>,
}

/// The result of one pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    /// The value it stands for.
    pub root: Value<'a>,
    /// All tuples, lists and dictionaries.
    pub containers: Vec<Container<'a>>,
    /// All storages, one for each mention.
    pub storages: Vec<Storage<'a>>,
    /// All tensors.
    pub tensors: Vec<Tensor>,
}

impl<'a> Pickle<'a> {
    /// Runs the pickle at the beginning of `bytes` and returns what follows it. `budget` is the
    /// memory in bytes that may be taken; what was taken is subtracted.
    pub fn read(bytes: &'a [u8], budget: &mut u64) -> Result<(Self, &'a [u8]), WeightError> {
        let mut machine = Machine {
            rest: bytes,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            pickle: Self { root: Value::Other, containers: Vec::new(), storages: Vec::new(), tensors: Vec::new() },
            budget,
        };
        while !machine.step()? {}
        Ok((machine.pickle, machine.rest))
    }

    /// The items of a tuple or list.
    pub fn items(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Container(index) => match &self.containers[index] {
                Container::Tuple(items) | Container::List(items) => Some(items),
                Container::Dict(_) | Container::Object(_) => None,
            },
            _ => None,
        }
    }

    /// The object that a value is, and its place.
    pub fn object(&self, value: Value<'a>) -> Option<(usize, &Object<'a>)> {
        let Value::Container(index) = value else { return None };
        match &self.containers[index] {
            Container::Object(object) => Some((index, object)),
            _ => None,
        }
    }

    /// Whether a value is a tensor, or holds one just below.
    fn holds_tensor(&self, value: Value<'a>) -> bool {
        let is_tensor = |value: &Value<'a>| {
            matches!(value, Value::Tensor(_) | Value::Storage(_))
                || self.object(*value).is_some_and(|(_, object)| object.is_tensor)
        };
        is_tensor(&value) || self.items(value).is_some_and(|items| items.iter().any(is_tensor))
    }

    /// A tuple of lengths, none of them negative.
    fn lengths(&self, value: Value<'a>) -> Option<Vec<u64>> {
        self.items(value)?.iter().map(|item| length(*item)).collect()
    }
}

fn length(value: Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

pub fn damaged(reason: &str) -> WeightError {
    WeightError::Damaged { reason: reason.to_owned() }
}

struct Machine<'a, 'b> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    pickle: Pickle<'a>,
    budget: &'b mut u64,
}

impl<'a> Machine<'a, '_> {
    /// Runs one operation; true when it was the last.
    fn step(&mut self) -> Result<bool, WeightError> {
        let [opcode] = self.array()?;
        match opcode {
            b'.' => {
                self.pickle.root = self.pop()?;
                return Ok(true);
            }
            0x80 => {
                let [version] = self.array()?;
                if version > MAX_PROTOCOL {
                    return Err(damaged("its pickle is of an unknown version"));
                }
            }
            // FRAME only says how much to read ahead.
            0x95 => drop(self.array::<8>()?),
            b'(' => {
                self.marks.push(self.stack.len());
                self.check_height()?;
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.push(top)?;
                self.push(top)?;
            }
            b'N' | 0x88 | 0x89 => self.push(Value::Other)?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Other)?;
            }
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            b'K' => {
                let [number] = self.array()?;
                self.push(Value::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            0x8a => {
                let [length] = self.array()?;
                let digits = self.take(length.into())?;
                self.push(integer(digits))?;
            }
            0x8b => {
                let digits = self.counted::<4>()?;
                self.push(integer(digits))?;
            }
            b'U' | 0x8c => self.text::<1>()?,
            b'T' | b'X' => self.text::<4>()?,
            0x8d => self.text::<8>()?,
            b'C' => self.bytes::<1>()?,
            b'B' => self.bytes::<4>()?,
            0x8e | 0x96 => self.bytes::<8>()?,
            b')' => self.tuple(0)?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.keep(Container::Tuple(items))?;
            }
            b']' | 0x8f => self.keep(Container::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_to_mark()?;
                self.keep(Container::List(items))?;
            }
            b'}' => self.keep(Container::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_to_mark()?;
                self.keep(Container::Dict(pairs(&items)?))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(&[item])?;
            }
            0x91 => {
                let items = self.pop_to_mark()?;
                self.keep(Container::List(items))?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.extend_list(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.extend_dict(&items)?;
            }
            b'q' => {
                let [slot] = self.array()?;
                self.memorise(slot.into())?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.memorise(slot)?;
            }
            0x94 => self.memorise(self.memo.len() as u32)?,
            b'h' => {
                let [slot] = self.array()?;
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.recall(slot)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(global(module, name))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(damaged("its pickle names something that is no text"));
                };
                self.push(global(module, name))?;
            }
            b'R' | 0x81 => self.call()?,
            0x92 => {
                // Arguments of names are of no use here.
                self.pop()?;
                self.call()?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let items = self.pop_to_mark()?;
                self.push(global(module, name))?;
                self.keep(Container::Tuple(items))?;
                self.call()?;
            }
            b'o' => {
                let mut items = self.pop_to_mark()?.into_iter();
                self.push(items.next().ok_or_else(|| damaged("its pickle takes more than there is"))?)?;
                self.keep(Container::Tuple(items.collect()))?;
                self.call()?;
            }
            b'b' => self.build()?,
            b'Q' => self.persistent()?,
            other => return Err(WeightError::Forbidden { what: operation(other) }),
        }
        Ok(false)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], WeightError> {
        let taken = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let (taken, rest) = taken.ok_or_else(|| damaged("its pickle is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| damaged("its pickle is cut off"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// As many bytes as the next `N` say.
    fn counted<const N: usize>(&mut self) -> Result<&'a [u8], WeightError> {
        let mut count = [0; 8];
        count[..N].copy_from_slice(&self.array::<N>()?);
        self.take(u64::from_le_bytes(count))
    }

    fn text<const N: usize>(&mut self) -> Result<(), WeightError> {
        let bytes = self.counted::<N>()?;
        self.push(std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text))
    }

    fn bytes<const N: usize>(&mut self) -> Result<(), WeightError> {
        let bytes = self.counted::<N>()?;
        self.push(Value::Bytes(bytes))
    }

    fn line(&mut self) -> Result<&'a str, WeightError> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.ok_or_else(|| damaged("its pickle is cut off"))? as u64)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| damaged("its pickle has a name that is no text"))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), WeightError> {
        *self.budget = self.budget.checked_sub(bytes as u64).ok_or(WeightError::TooComplex)?;
        Ok(())
    }

    fn check_height(&self) -> Result<(), WeightError> {
        if self.stack.len().max(self.marks.len()) > MAX_STACK { Err(WeightError::TooComplex) } else { Ok(()) }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), WeightError> {
        self.stack.push(value);
        self.check_height()
    }

    /// The values above the last mark stay where they are.
    fn pop(&mut self) -> Result<Value<'a>, WeightError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = if self.stack.len() > floor { self.stack.pop() } else { None };
        value.ok_or_else(|| damaged("its pickle takes more than there is"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, WeightError> {
        let mark = self.marks.pop().ok_or_else(|| damaged("its pickle takes more than there is"))?;
        Ok(self.stack.drain(mark..).collect())
    }

    fn tuple(&mut self, count: usize) -> Result<(), WeightError> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.keep(Container::Tuple(items))
    }

    /// Stores a container and pushes it.
    fn keep(&mut self, container: Container<'a>) -> Result<(), WeightError> {
        let values = match &container {
            Container::Tuple(items) | Container::List(items) => items.len(),
            Container::Dict(pairs) | Container::Object(Object { pairs, .. }) => 2 * pairs.len(),
        };
        self.spend(2 * size_of::<Container>() + values * size_of::<Value>())?;
        self.pickle.containers.push(container);
        self.push(Value::Container(self.pickle.containers.len() - 1))
    }

    /// The container on top of the stack, which may grow by `count` values.
    fn top(&mut self, count: usize) -> Result<&mut Container<'a>, WeightError> {
        self.spend((4 + 2 * count) * size_of::<Value>())?;
        let top = self.pop()?;
        self.push(top)?;
        match top {
            Value::Container(index) => Ok(&mut self.pickle.containers[index]),
            _ => Err(damaged("its pickle adds to what holds nothing")),
        }
    }

    fn extend_list(&mut self, added: &[Value<'a>]) -> Result<(), WeightError> {
        match self.top(added.len())? {
            Container::List(items) => items.extend(added),
            Container::Object(_) => {}
            _ => return Err(damaged("its pickle adds to what is no list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, added: &[Value<'a>]) -> Result<(), WeightError> {
        match self.top(added.len())? {
            Container::Dict(items) | Container::Object(Object { pairs: items, .. }) => items.extend(pairs(added)?),
            _ => return Err(damaged("its pickle adds to what is no dictionary")),
        }
        Ok(())
    }

    fn memorise(&mut self, slot: u32) -> Result<(), WeightError> {
        let top = self.pop()?;
        self.push(top)?;
        if self.memo.insert(slot, top).is_none() {
            self.spend(2 * size_of::<(u32, Value)>())?;
        }
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), WeightError> {
        let value = self.memo.get(&slot).copied();
        self.push(value.ok_or_else(|| damaged("its pickle recalls what it never stored"))?)
    }

    /// REDUCE and its like: what PyTorch would call is done here, for the names that are known.
    fn call(&mut self) -> Result<(), WeightError> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let maker = match callee {
            Value::Global(Global::Unknown(module, name)) => Some((module, name)),
            // A method, or whatever else an object may be good for.
            _ => self.pickle.object(callee).map(|(_, object)| object.maker),
        };
        if let Some(maker) = maker {
            let is_tensor = self.pickle.holds_tensor(arguments)
                || self
                    .pickle
                    .items(arguments)
                    .is_some_and(|items| items.iter().any(|item| self.pickle.holds_tensor(*item)));
            return self.keep(Container::Object(Object { maker, is_tensor, pairs: Vec::new() }));
        }
        let Value::Global(callee) = callee else {
            return Err(damaged("its pickle calls something that is no name"));
        };
        let items = self.pickle.items(arguments).ok_or_else(|| damaged("its pickle calls without arguments"))?;
        match (callee, items) {
            (Global::OrderedDict, []) | (Global::DefaultDict, _) => self.keep(Container::Dict(Vec::new())),
            (Global::OrderedDict, [list]) => {
                // Python 2 hands over a list of pairs.
                let entries = self.pickle.items(*list).ok_or_else(|| damaged("its dictionary is no list of pairs"))?;
                let pair = |entry: &Value<'a>| match self.pickle.items(*entry) {
                    Some(&[key, value]) => Ok((key, value)),
                    _ => Err(damaged("its dictionary is no list of pairs")),
                };
                let entries = entries.iter().map(pair).collect::<Result<_, _>>()?;
                self.keep(Container::Dict(entries))
            }
            (Global::RebuildTensor, [Value::Storage(storage), offset, shape, strides, rest @ ..]) => {
                let wrong = || damaged("it has a tensor of impossible sides");
                let mut storage = *storage;
                let tensor = Tensor {
                    storage,
                    offset: length(*offset).ok_or_else(wrong)?,
                    shape: self.pickle.lengths(*shape).ok_or_else(wrong)?,
                    strides: self.pickle.lengths(*strides).ok_or_else(wrong)?,
                };
                if let [_, _, Value::Dtype(dtype), ..] = rest {
                    let typed = Storage { dtype: *dtype, ..self.pickle.storages[storage] };
                    storage = self.pickle.storages.len();
                    self.spend(2 * size_of::<Storage>())?;
                    self.pickle.storages.push(typed);
                }
                self.spend(2 * size_of::<Tensor>() + 16 * tensor.shape.len())?;
                self.pickle.tensors.push(Tensor { storage, ..tensor });
                self.push(Value::Tensor(self.pickle.tensors.len() - 1))
            }
            (Global::RebuildTensor, [source, ..]) if self.pickle.object(*source).is_some() => {
                let source = *source;
                if let Value::Container(index) = source
                    && let Container::Object(object) = &mut self.pickle.containers[index]
                {
                    object.is_tensor = true;
                }
                self.push(source)
            }
            (Global::RebuildFromType, [Value::Global(inner), _, arguments, ..])
                if *inner != Global::RebuildFromType =>
            {
                let (inner, arguments) = (*inner, *arguments);
                self.push(Value::Global(inner))?;
                self.push(arguments)?;
                self.call()
            }
            (Global::RebuildParameter, [tensor, ..]) => self.push(*tensor),
            (Global::Size, [sides]) => self.push(*sides),
            (Global::Device | Global::Encode, _) => self.push(Value::Other),
            _ => Err(damaged("its pickle calls something with arguments that do not fit")),
        }
    }

    /// BUILD: an `OrderedDict` of PyTorch carries its modules' versions, and an object what it consists of: both are
    /// passed over.
    fn build(&mut self) -> Result<(), WeightError> {
        self.pop()?;
        let top = self.pop()?;
        self.push(top)?;
        match top {
            Value::Container(index)
                if matches!(self.pickle.containers[index], Container::Dict(_) | Container::Object(_)) =>
            {
                Ok(())
            }
            // A tensor of a class of its own has attributes.
            Value::Tensor(_) => Ok(()),
            _ => Err(WeightError::Forbidden { what: "the operation BUILD on what is no dictionary".into() }),
        }
    }

    /// BINPERSID: `("storage", type, key, location, count)` and in old files a view of another storage.
    fn persistent(&mut self) -> Result<(), WeightError> {
        let id = self.pop()?;
        let wrong = || damaged("its pickle points to something that is no storage");
        let items = self.pickle.items(id).ok_or_else(wrong)?;
        // A whole model of the old format has the source code beside its classes.
        if let [Value::Text("module"), class, ..] = items {
            let class = *class;
            return self.push(class);
        }
        let [Value::Text("storage"), Value::Global(Global::Storage(dtype)), Value::Text(key), _, _, view @ ..] = items
        else {
            return Err(wrong());
        };
        let offset = match view.first().and_then(|view| self.pickle.items(*view)) {
            Some([_, offset, ..]) => length(*offset).ok_or_else(wrong)?,
            _ => 0,
        };
        let storage = Storage { dtype: *dtype, key, offset };
        self.spend(2 * size_of::<Storage>())?;
        self.pickle.storages.push(storage);
        self.push(Value::Storage(self.pickle.storages.len() - 1))
    }
}

fn pairs<'a>(items: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, WeightError> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err(damaged("its pickle has a key without a value")),
    }
}

/// A little-endian two's complement of any length.
fn integer(digits: &[u8]) -> Value<'_> {
    let fill = if digits.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 8];
    match wide.get_mut(..digits.len()) {
        Some(low) => {
            low.copy_from_slice(digits);
            Value::Int(i64::from_le_bytes(wide))
        }
        None => Value::Bytes(digits),
    }
}

fn global<'a>(module: &'a str, name: &'a str) -> Value<'a> {
    let in_torch = module == "torch" || module == "torch.storage";
    Value::Global(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("collections", "defaultdict") => Global::DefaultDict,
        ("_codecs", "encode") => Global::Encode,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        _ => match (Dtype::of_storage(name).filter(|_| in_torch), Dtype::named(name).filter(|_| module == "torch")) {
            (Some(dtype), _) => Global::Storage(dtype),
            (None, Some(dtype)) => return Value::Dtype(dtype),
            (None, None) => Global::Unknown(module, name),
        },
    })
}

/// Names of the operations that are refused.
fn operation(opcode: u8) -> String {
    let name = match opcode {
        0x82..=0x84 => "EXT",
        0x97 | 0x98 => "BUFFER",
        b'P' => "PERSID",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'p' | b'g' => "of the text format",
        _ => return format!("the pickle operation {opcode:#04x}"),
    };
    format!("the pickle operation {name}")
}
