//! Black and white as fax machines have it: ITU-T T.4 (Group 3, and TIFF's variant of it without line ends) and
//! T.6 (Group 4).

use fax::maps::{Mode, black, mode, white};
use fax::{BitReader, ByteReader};

/// How lines are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Compression 2: runs, each line begins a byte.
    Runs,
    /// Compression 3; whether some lines are changes of those before.
    Group3 { two_dimensional: bool },
    /// Compression 4.
    Group4,
}

struct Bits<I: Iterator<Item = Result<u8, ()>>>(ByteReader<I>);

impl<I: Iterator<Item = Result<u8, ()>>> Bits<I> {
    fn peek(&self, bits: u8) -> Option<u16> {
        self.0.peek(bits)
    }

    fn skip(&mut self, bits: u8) -> Option<()> {
        self.0.consume(bits).ok()
    }

    fn run(&mut self, is_black: bool) -> Option<usize> {
        let mut sum = 0;
        loop {
            let part = if is_black { black::decode(&mut self.0) } else { white::decode(&mut self.0) }?;
            sum += usize::from(part);
            if part < 64 {
                return Some(sum);
            }
        }
    }

    /// Skips fill bits and an end of line, if one comes next.
    fn end_of_line(&mut self) -> Option<bool> {
        if self.peek(11) != Some(0) {
            return Some(false);
        }
        while self.peek(1) == Some(0) {
            self.skip(1)?;
        }
        self.skip(1)?;
        Some(true)
    }
}

/// The first change of `reference` right of `at` to the colour opposite to `is_black`, and the one after it.
fn changes(reference: &[usize], at: Option<usize>, is_black: bool, width: usize) -> (usize, usize) {
    // Changes at even places are to black.
    let first = reference
        .iter()
        .enumerate()
        .position(|(index, change)| at.is_none_or(|at| *change > at) && (index % 2 == 0) != is_black);
    let change = |index: usize| reference.get(index).copied().unwrap_or(width);
    first.map_or((width, width), |first| (change(first), change(first + 1)))
}

fn line_of_runs<I: Iterator<Item = Result<u8, ()>>>(bits: &mut Bits<I>, width: usize) -> Option<Vec<usize>> {
    let (mut line, mut at, mut is_black) = (Vec::new(), 0, false);
    while at < width {
        at += bits.run(is_black)?;
        line.push(at.min(width));
        is_black = !is_black;
    }
    Some(line)
}

fn line_of_changes<I: Iterator<Item = Result<u8, ()>>>(
    bits: &mut Bits<I>,
    reference: &[usize],
    width: usize,
) -> Option<Vec<usize>> {
    let (mut line, mut at, mut is_black) = (Vec::new(), None, false);
    while at.unwrap_or(0) < width {
        let (b1, b2) = changes(reference, at, is_black, width);
        match mode::decode(&mut bits.0)? {
            Mode::Pass => at = Some(b2),
            Mode::Horizontal => {
                let mut place = at.unwrap_or(0);
                for is_black in [is_black, !is_black] {
                    place = (place + bits.run(is_black)?).min(width);
                    line.push(place);
                }
                at = Some(place);
            }
            Mode::Vertical(by) => {
                let place = b1.checked_add_signed(isize::from(by))?.min(width);
                if place < at.unwrap_or(0) {
                    return None;
                }
                line.push(place);
                at = Some(place);
                is_black = !is_black;
            }
            Mode::Extension | Mode::EOF => return None,
        }
    }
    Some(line)
}

/// `height` lines of `width` pixels, each line from a new byte, the left pixel in the highest bit, 1 for black. Fewer
/// lines where the data ends early.
pub fn decode(data: &[u8], coding: Coding, width: usize, height: usize) -> Vec<u8> {
    // The tables look further than the last code goes.
    let padded = data.iter().copied().chain([0; 4]).map(Ok::<u8, ()>);
    let Ok(reader) = ByteReader::new(padded) else { return Vec::new() };
    let mut bits = Bits(reader);
    let stride = width.div_ceil(8);
    let mut out = Vec::new();
    let mut reference: Vec<usize> = Vec::new();
    for _ in 0..height {
        let line = match coding {
            Coding::Group4 => line_of_changes(&mut bits, &reference, width),
            Coding::Runs => {
                let line = line_of_runs(&mut bits, width);
                let rest = bits.0.bits_to_byte_boundary();
                line.filter(|_| rest == 0 || bits.skip(rest).is_some())
            }
            Coding::Group3 { two_dimensional } => (|| {
                while bits.end_of_line()? {
                    if two_dimensional && bits.peek(12) != Some(1) && bits.peek(1) == Some(0) {
                        bits.skip(1)?;
                        return line_of_changes(&mut bits, &reference, width);
                    }
                    if two_dimensional {
                        bits.skip(1)?;
                    }
                }
                line_of_runs(&mut bits, width)
            })(),
        };
        let Some(line) = line else { break };
        let from = out.len();
        out.resize(from + stride, 0);
        for pair in line.chunks(2) {
            for at in pair[0]..pair.get(1).copied().unwrap_or(width) {
                out[from + at / 8] |= 0x80 >> (at % 8);
            }
        }
        reference = line;
    }
    out
}
