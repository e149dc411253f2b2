//! Which networks the tensors of a file are of, whatever their names.
//!
//! A residual generator is told by the shapes of its convolutions in their order, so that dropout layers
//! that shift the official names, prefixes such as `module.` and other people's names for the same layers
//! need no lists of names.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::error::printable;
use super::{NamedTensor, WeightError, WeightFile, fold, metadata, official_order};
use crate::config::Norm;
use crate::model::architecture::{Architecture, Doubling, FILTER, Parameter, ResnetStyle, WITHOUT_NORM};

/// Components of a name that are looked through for networks.
const MAX_DEPTH: usize = 8;
/// More tensors than any network here has.
const MAX_TENSORS: usize = 1 << 14;
/// Norms keep these while they train; an instance norm does without them, as in the official code.
const RUNNING: [&str; 2] = ["running_mean", "running_var"];

/// A network found in a file.
struct Found {
    /// What its tensors' names have in common, e.g. `netG_A`; empty for the whole file.
    path: String,
    kind: Kind,
}

enum Kind {
    /// For each parameter in the official order the tensor's index; `None` for a bias that is not there.
    Known(Architecture, Vec<Option<usize>>),
    Unet,
}

/// Why a sequence of tensors is no network of ours.
enum Misfit {
    /// It is something else.
    Other,
    /// It begins like one, but this tensor has the wrong shape.
    Shape { index: usize, expected: Vec<usize> },
}

/// What is wrong with tensors that are nearly a network, and whether they have the official names.
type NearMiss = (WeightError, bool);

impl WeightFile {
    /// The one network of the file under its official names: that of the name `part` if given, the
    /// only generator otherwise, or the only network. [`Self::notes`] says what was changed.
    ///
    /// # Errors
    /// [`WeightError::Several`] or [`WeightError::NoPart`] when the choice is not clear; else what
    /// keeps it from being one of this program's networks.
    pub fn network(mut self, part: Option<&str>) -> Result<Self, WeightError> {
        let running = self.drop_running_statistics();
        // Other programs' files without biases are of networks with instance norms, more likely than of ones without.
        let bare = self.metadata.get(metadata::ARCHITECTURE).is_some_and(|name| name.ends_with(WITHOUT_NORM));
        let (mut found, mut nearest) = search(&self.tensors, bare);
        // A discriminator has its spectral norm; elsewhere norms of weights are as good as the weights that they give.
        let taken: HashSet<usize> = found.iter().flat_map(Found::places).collect();
        if fold::fold(&mut self.tensors, &taken) {
            (found, nearest) = search(&self.tensors, bare);
            if found.iter().any(Found::is_generator) {
                self.notes.push(
                    "Spectral or weight norm was folded into the weights, as PyTorch does when it translates.".into(),
                );
            }
        }
        let names = |found: &[Found]| found.iter().map(|network| printable(&network.path)).collect::<Vec<_>>();
        if let Some(part) = part {
            let all = names(&found);
            let is_named =
                |network: &Found| network.path == part || network.path.split('.').any(|component| component == part);
            let exact = found.iter().any(|network| network.path == part);
            found.retain(|network| if exact { network.path == part } else { is_named(network) });
            if found.is_empty() && !all.is_empty() {
                return Err(WeightError::NoPart { part: printable(part), found: all });
            }
        } else {
            drop_copies(&mut found);
            if found.iter().any(Found::is_generator) {
                found.retain(Found::is_generator);
            }
        }
        match found.len() {
            0 => Err(match self.unread.take_if(|unread| unread.is_kernel || unread.callable.is_some()) {
                Some(unread) => unread.error(),
                None => nearest.map(|(error, _)| error).unwrap_or_else(|| self.unknown()),
            }),
            1 => match found.remove(0).kind {
                Kind::Unet => Err(WeightError::OtherNetwork {
                    what: "a U-Net generator with batch norm or with other names (as of pix2pix)",
                }),
                Kind::Known(Architecture::Unet { .. }, _) if running => {
                    Err(WeightError::OtherNetwork { what: "a U-Net generator with batch norm (as of pix2pix)" })
                }
                Kind::Known(Architecture::Resnet { affine: true, .. }, places)
                    if running && places.first_chunk().is_some_and(|[_, bias]: &[_; 2]| bias.is_none()) =>
                {
                    // The official code, too, leaves the biases out in front of batch norms alone.
                    Err(WeightError::OtherNetwork {
                        what: "a ResNet generator with batch norm instead of instance norm",
                    })
                }
                Kind::Known(architecture, places) => {
                    if running {
                        self.notes.push(running_note(architecture).into());
                    }
                    Ok(self.renamed(architecture, &places))
                }
            },
            _ => Err(WeightError::Several { found: names(&found) }),
        }
    }

    /// Whether there were any.
    fn drop_running_statistics(&mut self) -> bool {
        let before = self.tensors.len();
        let is_running = |name: &str| RUNNING.contains(&name.rsplit('.').next().unwrap_or(name));
        self.tensors.retain(|tensor| !is_running(&tensor.name) && !tensor.name.ends_with("num_batches_tracked"));
        self.tensors.len() < before
    }

    fn renamed(mut self, architecture: Architecture, places: &[Option<usize>]) -> Self {
        let (mut shifted, mut foreign, mut silent) = (false, false, false);
        let mut tensors = Vec::with_capacity(places.len());
        for ((name, shape), place) in architecture.parameters().into_iter().zip(places) {
            let values = match place {
                None => {
                    silent = true;
                    vec![0.0; shape.iter().product()]
                }
                Some(index) => {
                    let tensor = &mut self.tensors[*index];
                    if !is_suffix(&name, &tensor.name) {
                        let dropout = name.replace("conv_block.6.", "conv_block.7.").replace("block.5.", "block.6.");
                        let is_dropout = is_suffix(&dropout, &tensor.name);
                        (shifted, foreign) = (shifted || is_dropout, foreign || !is_dropout);
                    }
                    std::mem::take(&mut tensor.values)
                }
            };
            tensors.push(NamedTensor { name, shape, values });
        }
        let notes = [
            (shifted, "Dropout layers, which do nothing when translating, were taken out of the names."),
            (
                foreign,
                "The tensors have other names than in the official code: they were matched by order and shape, and \
                 padding by reflection, instance norm and ReLU were assumed.",
            ),
            (
                silent,
                "Biases that are not in the file are zero; if the network was trained without norms, its pictures will be \
                 wrong.",
            ),
        ];
        self.notes.extend(notes.into_iter().filter(|(is_so, _)| *is_so).map(|(_, note)| note.to_owned()));
        self.notes.extend(doubling_note(architecture).map(str::to_owned));
        Self { tensors, ..self }
    }
}

fn running_note(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Resnet { affine: true, .. } => {
            "Running statistics were dropped: right for instance norm, but if this network was trained with batch \
             norm its pictures will be wrong."
        }
        _ => "Running statistics, which instance norm does without, were dropped.",
    }
}

/// What no name tells for sure.
fn doubling_note(architecture: Architecture) -> Option<&'static str> {
    let Architecture::Resnet { style, .. } = architecture else { return None };
    match style.upsample {
        Doubling::ResizeZero => Some(
            "Its doublings were taken for nearest neighbours with a zero-padded convolution; if they are others, its \
             pictures will be wrong.",
        ),
        Doubling::Bilinear => Some(
            "Its doublings were taken for bilinear ones with a mirrored convolution; if they are others, its pictures \
             will be wrong.",
        ),
        _ => None,
    }
}

impl Found {
    /// The tensors that it is made of.
    fn places(&self) -> Vec<usize> {
        match &self.kind {
            Kind::Known(_, places) => places.iter().copied().flatten().collect(),
            Kind::Unet => Vec::new(),
        }
    }

    fn is_generator(&self) -> bool {
        matches!(self.kind, Kind::Unet | Kind::Known(Architecture::Resnet { .. } | Architecture::Unet { .. }, _))
    }
}

/// Whether `name` is `official`, with any prefix before it.
fn is_suffix(official: &str, name: &str) -> bool {
    name.strip_suffix(official).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Averages and an optimiser's moments have the names of their network with more in front.
fn drop_copies(found: &mut Vec<Found>) {
    let paths: Vec<String> = found.iter().map(|network| format!(".{}", network.path)).collect();
    found.retain(|network| !paths.iter().any(|path| path.len() > 1 && network.path.ends_with(path.as_str())));
}

/// All networks, found by looking at all tensors, then at those that share the first component of
/// their names, and so on; and, if there are none, what keeps the nearest from being one.
fn search(tensors: &[NamedTensor], bare: bool) -> (Vec<Found>, Option<NearMiss>) {
    let mut found = Vec::new();
    let mut nearest = None;
    let mut left = VecDeque::from([(0, 0, (0..tensors.len()).collect::<Vec<_>>())]);
    while let Some((skip, depth, members)) = left.pop_front() {
        match recognise(tensors, &members, skip, bare) {
            Ok(kind) => {
                found.push(Found { path: path(tensors, &members, skip, &kind), kind });
                continue;
            }
            // Official names say most, then the fewest tensors.
            Err(Some(misfit)) if nearest.as_ref().is_none_or(|(_, is_by_name)| !is_by_name) => nearest = Some(misfit),
            Err(_) => {}
        }
        if depth == MAX_DEPTH {
            continue;
        }
        let mut numbers = HashMap::new();
        let mut children: Vec<(usize, usize, Vec<usize>)> = Vec::new();
        for member in members {
            if let Some((head, _)) = tensors[member].name[skip..].split_once('.') {
                let number = *numbers.entry(head).or_insert(children.len());
                if number == children.len() {
                    children.push((skip + head.len() + 1, depth + 1, Vec::new()));
                }
                children[number].2.push(member);
            }
        }
        left.extend(children);
    }
    (found, nearest)
}

/// What stands before the official names, or else before `skip`; DataParallel's `module` says nothing.
fn path(tensors: &[NamedTensor], members: &[usize], skip: usize, kind: &Kind) -> String {
    let before = match kind {
        Kind::Known(architecture, places) => places.first().copied().flatten().and_then(|first| {
            let name = &tensors[first].name;
            architecture.parameters().first().and_then(|(official, _)| name.strip_suffix(official.as_str()))
        }),
        Kind::Unet => None,
    };
    let path = before.unwrap_or_else(|| members.first().map_or("", |first| &tensors[*first].name[..skip]));
    path.split('.').filter(|part| !part.is_empty() && *part != "module").collect::<Vec<_>>().join(".")
}

/// The network that exactly these tensors are of, their names taken from `skip` on. Otherwise, for
/// tensors that are nearly one, what is wrong, and whether their names are the official ones. `bare`: a network
/// without biases has no norms.
fn recognise(tensors: &[NamedTensor], members: &[usize], skip: usize, bare: bool) -> Result<Kind, Option<NearMiss>> {
    if members.len() > MAX_TENSORS {
        return Err(None);
    }
    let mut members = members.to_vec();
    let shapes: Vec<(&str, &[usize])> =
        members.iter().map(|&index| (&tensors[index].name[skip..], tensors[index].shape.as_slice())).collect();
    let by_name = Architecture::infer(&shapes).map(|architecture| {
        let places: HashMap<&str, usize> =
            shapes.iter().zip(&members).map(|((name, _), &index)| (*name, index)).collect();
        let is_silent = !bare && architecture.is_without_norm();
        let architecture = if is_silent { architecture.with_norm(Norm::Instance) } else { architecture };
        fit(architecture, is_silent, &shapes, &places)
    });
    if let Some(Ok(kind)) = by_name {
        return Ok(kind);
    }
    if is_unet(&shapes) {
        return Ok(Kind::Unet);
    }
    let in_file_order = sequence(tensors, &members);
    let kind = in_file_order.or_else(|misfit| {
        // A dictionary may have been sorted by name since.
        members.sort_by(|&left, &right| official_order(&tensors[left].name, &tensors[right].name));
        sequence(tensors, &members).map_err(|_| misfit)
    });
    kind.map_err(|misfit| match (by_name, misfit) {
        (Some(Err(error)), _) => Some((error, true)),
        (_, Misfit::Shape { index, expected }) => {
            let NamedTensor { name, shape, .. } = &tensors[index];
            Some((WeightError::Shape { tensor: printable(name), expected, found: shape.clone() }, false))
        }
        (_, Misfit::Other) => None,
    })
}

/// The network under its official names; `is_silent`: biases may be missing.
fn fit(
    architecture: Architecture,
    is_silent: bool,
    shapes: &[(&str, &[usize])],
    places: &HashMap<&str, usize>,
) -> Result<Kind, WeightError> {
    let parameters = architecture.parameters();
    let is_needed = |name: &str| !is_silent || !name.ends_with(".bias") || places.contains_key(name);
    let needed: Vec<Parameter> = parameters.iter().filter(|(name, _)| is_needed(name)).cloned().collect();
    super::fits(shapes, &needed)?;
    Ok(Kind::Known(architecture, parameters.iter().map(|(name, _)| places.get(name.as_str()).copied()).collect()))
}

/// The U-Net generator of pix2pix: every convolution 4×4, from an image to an image.
fn is_unet(shapes: &[(&str, &[usize])]) -> bool {
    let kernels: Vec<&[usize]> = shapes.iter().map(|(_, shape)| *shape).filter(|shape| shape.len() == 4).collect();
    match kernels[..] {
        [&[ngf, inputs, ..], .., &[last, outputs, ..]] => {
            let square = kernels.iter().all(|shape| shape[2..] == [4, 4]);
            square && kernels.len() >= 6 && inputs <= 4 && outputs <= 4 && last == ngf.saturating_mul(2)
        }
        _ => false,
    }
}

/// The network whose layers have these shapes in this order.
fn sequence(tensors: &[NamedTensor], members: &[usize]) -> Result<Kind, Misfit> {
    let shape = |index: usize| tensors[index].shape.as_slice();
    // Each convolution's weight, and the vectors after it: its bias, its norm's scale and shift.
    let mut layers: Vec<Vec<usize>> = Vec::new();
    for &member in members {
        // A blur's filters have no place among convolutions.
        if tensors[member].name.ends_with(FILTER) {
            return Err(Misfit::Other);
        }
        match (shape(member).len(), layers.last_mut()) {
            (4, _) => layers.push(vec![member]),
            (1, Some(layer)) => layer.push(member),
            _ => return Err(Misfit::Other),
        }
    }
    let kernels: Vec<&[usize]> = layers.iter().map(|layer| shape(layer[0])).collect();
    let vectors: BTreeSet<usize> = layers.iter().map(|layer| layer.len() - 1).collect();
    let affine = layers.first().is_some_and(|layer| layer.len() > 2);
    // The module's number in its list, if it lies in one.
    let numbers = layers.iter().map(|layer| tensors[layer[0]].name.rsplit('.').find_map(|part| part.parse().ok()));
    let architecture = guess(&kernels, &numbers.collect::<Vec<_>>(), affine).ok_or(Misfit::Other)?;
    // Whatever stands before them, these names say how the map is padded.
    let is_mirrored =
        layers.get(1).is_some_and(|layer| tensors[layer[0]].name.ends_with("down_blocks.0.conv.0.weight"));
    let architecture = if is_mirrored { architecture.mirrored() } else { architecture };
    if vectors.last().is_some_and(|most| *most > 3) {
        return Err(Misfit::Other);
    }
    let mut places = Vec::new();
    let mut layers = layers.into_iter();
    let parameters = architecture.parameters();
    let is_weight = |parameter: &(String, Vec<usize>)| parameter.1.len() == 4;
    let starts: Vec<usize> = (0..parameters.len()).filter(|&index| is_weight(&parameters[index])).collect();
    for (number, &start) in starts.iter().enumerate() {
        let end = starts.get(number + 1).copied().unwrap_or(parameters.len());
        let (expected, layer) = (&parameters[start..end], layers.next().ok_or(Misfit::Other)?);
        // Without its bias, or with all.
        let skipped = expected.len().checked_sub(layer.len()).filter(|skipped| *skipped <= 1).ok_or(Misfit::Other)?;
        let mut found = layer.into_iter();
        for (position, (_, wanted)) in expected.iter().enumerate() {
            if position == 1 && skipped == 1 {
                places.push(None);
                continue;
            }
            let Some(index) = found.next() else { return Err(Misfit::Other) };
            if shape(index) != wanted {
                return Err(Misfit::Shape { index, expected: wanted.clone() });
            }
            places.push(Some(index));
        }
    }
    if layers.next().is_some() { Err(Misfit::Other) } else { Ok(Kind::Known(architecture, places)) }
}

/// The architecture that convolutions of these shapes, with these numbers of their modules, begin like.
fn guess(kernels: &[&[usize]], numbers: &[Option<usize>], affine: bool) -> Option<Architecture> {
    let last = kernels.last()?;
    match **kernels.first()? {
        [ngf, in_channels, 7, 7] => {
            let blocks = kernels.len().checked_sub(6)? / 2;
            let [.., first, second, _] = kernels else { return None };
            let apart = match numbers {
                [.., Some(first), Some(second), _] => second.checked_sub(*first),
                _ => None,
            };
            let upsample = match apart {
                _ if first[0] >= first[1] || second[0] >= second[1] => Doubling::Transposed,
                // Resizing, padding, convolution, norm and activation.
                Some(5) => Doubling::Bilinear,
                _ => Doubling::ResizeZero,
            };
            let style = ResnetStyle { upsample, ..ResnetStyle::PAPER };
            Architecture::styled(in_channels, last[0], ngf, blocks, affine, style)
        }
        [ndf, in_channels, 4, 4] if last[0] == 1 && !affine => {
            Architecture::patch(in_channels, ndf, kernels.len().checked_sub(2)?)
        }
        _ => None,
    }
}
