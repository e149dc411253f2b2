//! Which numbers are multiplied: a correlation of fields with filters, in steps of 32 factors.
//!
//! A *place* is where a tap reads, counted from where an output's first tap reads. A step multiplies 32 elements — a
//! channel at a place each — of a field that stands still while it is read further down and to the right, so
//! an element of one step is another place in the next. With many channels the elements are channels, and every place
//! is a step. With few of them a row of places, or all, are elements, too, so that no step is mostly zeros.

use super::unit::DEPTH;

/// A channel at a place within a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Element {
    pub channel: usize,
    pub place: [usize; 2],
}

/// 32 elements at outputs further down and to the right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Which 32.
    pub group: usize,
    /// Outputs to go down and to the right.
    pub shift: [usize; 2],
}

/// The elements of a correlation, and its steps.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A multiple of 32 of them; `None` stands for zeros.
    pub elements: Vec<Option<Element>>,
    /// Places from one output to the next.
    pub stride: usize,
    /// Of the elements: channels, and places by which a step is split.
    split: Split,
    groups_a_phase: usize,
}

/// Which places are elements of one step, beside those that a stride skips.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Split {
    None,
    Columns,
    All,
}

impl Plan {
    /// For so many channels, so many places down and across, and so many 16s of rows that read the field.
    pub fn new(channels: usize, places: [usize; 2], stride: usize, rows: usize) -> Self {
        // A product of tiles takes 16 cycles for 16 outputs, an element of them about 8 to be written.
        let cost = |plan: &Self| 2 * rows * plan.steps(places).len() + plan.elements.len();
        let mut best = Self::split(channels, places, stride, Split::None);
        for split in [Split::Columns, Split::All] {
            // More elements than that cost more than the steps which they save.
            if channels * places[0] * places[1] <= 32 * DEPTH {
                let other = Self::split(channels, places, stride, split);
                if cost(&other) < cost(&best) {
                    best = other;
                }
            }
        }
        best
    }

    fn split(channels: usize, [down, across]: [usize; 2], stride: usize, split: Split) -> Self {
        let mut elements = Vec::new();
        let mut add = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
            for row in rows {
                for channel in 0..channels {
                    elements.extend(columns.clone().map(|column| Some(Element { channel, place: [row, column] })));
                }
            }
            elements.resize(elements.len().next_multiple_of(DEPTH), None);
        };
        match split {
            Split::None => {
                for row in 0..stride {
                    (0..stride).for_each(|column| add(row..row + 1, column..column + 1));
                }
            }
            Split::Columns => add(0..stride, 0..across),
            Split::All => add(0..down, 0..across),
        }
        let groups_a_phase = channels.div_ceil(DEPTH);
        Self { elements, stride, split, groups_a_phase }
    }

    /// The steps of filters with so many places down and across, which are not more than in [`Plan::new`].
    pub fn steps(&self, [down, across]: [usize; 2]) -> Vec<Step> {
        if down * across == 0 {
            return Vec::new();
        }
        let (stride, groups) = (self.stride, self.elements.len() / DEPTH);
        match self.split {
            Split::None => {
                let mut steps = Vec::new();
                // Places last: neighbours read the same memory.
                for phase in 0..stride * stride {
                    for group in 0..self.groups_a_phase {
                        for row in (phase / stride..down).step_by(stride) {
                            for column in (phase % stride..across).step_by(stride) {
                                let shift = [row / stride, column / stride];
                                steps.push(Step { group: phase * self.groups_a_phase + group, shift });
                            }
                        }
                    }
                }
                steps
            }
            Split::Columns => {
                let rows = 0..down.div_ceil(stride);
                (0..groups).flat_map(|group| rows.clone().map(move |row| Step { group, shift: [row, 0] })).collect()
            }
            Split::All => (0..groups).map(|group| Step { group, shift: [0, 0] }).collect(),
        }
    }

    /// The places of a step's elements, with their channels.
    pub fn places(&self, step: Step) -> impl Iterator<Item = Option<Element>> {
        let shift = step.shift.map(|shift| shift * self.stride);
        self.elements[step.group * DEPTH..][..DEPTH].iter().map(move |element| {
            element.map(|Element { channel, place }| Element {
                channel,
                place: [place[0] + shift[0], place[1] + shift[1]],
            })
        })
    }
}

/// One axis of a correlation.
#[derive(Clone, Debug)]
pub struct Line {
    /// By place, the tap of the filter that multiplies there.
    pub taps: Vec<usize>,
    /// Outputs by which the first one reads further on.
    pub shift: usize,
    /// How many outputs there are.
    pub outputs: usize,
    /// Where the first one is written, and how far from it the next.
    pub first: usize,
    pub spacing: usize,
}

impl Line {
    /// Of a convolution.
    pub fn forward(kernel: usize, outputs: usize) -> Self {
        Self { taps: (0..kernel).collect(), shift: 0, outputs, first: 0, spacing: 1 }
    }

    /// Of a convolution's adjoint that writes `written` positions, the first of them `skipped` ones into the padded input:
    /// one line for every phase of the stride, by where they write first, and the zeros that the gradient needs in front.
    pub fn adjoint(kernel: usize, stride: usize, skipped: usize, written: usize) -> (Vec<Self>, usize) {
        // A padded position is `stride · place + phase`; output `o` reaches it with tap `stride · (place − o) + phase`.
        let phases = (0..stride).map(|phase| {
            let taps: Vec<usize> = (phase..kernel).step_by(stride).rev().collect();
            let first = (phase + stride - skipped % stride) % stride;
            let place = (skipped + first) / stride;
            (taps, first, place)
        });
        let phases: Vec<_> = phases.collect();
        let margin = phases.iter().map(|(taps, _, place)| taps.len().saturating_sub(1 + place)).max().unwrap_or(0);
        let mut lines: Vec<Self> = phases
            .into_iter()
            .map(|(taps, first, place)| {
                let shift = (place + margin + 1).saturating_sub(taps.len().max(1));
                Self { taps, shift, outputs: written.saturating_sub(first).div_ceil(stride), first, spacing: stride }
            })
            .collect();
        lines.sort_by_key(|line| line.first);
        (lines, margin)
    }

    /// Outputs' worth of positions that are read.
    pub fn reach(&self, stride: usize) -> usize {
        self.outputs + self.shift + self.taps.len().saturating_sub(1) / stride
    }
}
