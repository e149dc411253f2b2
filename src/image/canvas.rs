//! Frames of animations, each a part that is laid on what was there before.

/// What becomes of a frame's place when its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// It stays.
    Keep,
    /// Transparent.
    Background,
    /// As it was before the frame.
    Previous,
}

/// A frame as it stands in a file.
#[derive(Clone, Debug)]
pub struct Part {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
    /// Straight RGBA8.
    pub pixels: Vec<u8>,
    /// Laid over what is there; else in its stead.
    pub is_over: bool,
    pub disposal: Disposal,
    pub milliseconds: u32,
}

/// What is seen.
pub struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    /// Bytes of the rows under the last frame, and what is to stand there.
    undo: Vec<(usize, Vec<u8>)>,
}

impl Canvas {
    /// A transparent one.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, pixels: vec![0; 4 * width as usize * height as usize], undo: Vec::new() }
    }

    /// What is seen with the next frame, whose parts outside are cut off.
    pub fn lay(&mut self, part: &Part) -> Vec<u8> {
        for (at, bytes) in self.undo.drain(..) {
            self.pixels[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        let columns = part.width.min(self.width.saturating_sub(part.x)) as usize;
        let rows = part.height.min(self.height.saturating_sub(part.y)) as usize;
        for row in (0..rows).filter(|_| columns > 0) {
            let at = 4 * ((part.y as usize + row) * self.width as usize + part.x as usize);
            let under = &mut self.pixels[at..at + 4 * columns];
            match part.disposal {
                Disposal::Keep => {}
                Disposal::Background => self.undo.push((at, vec![0; under.len()])),
                Disposal::Previous => self.undo.push((at, under.to_vec())),
            }
            let Some(line) = part.pixels.get(4 * row * part.width as usize..).and_then(|rest| rest.get(..4 * columns))
            else {
                break;
            };
            if part.is_over {
                for (under, over) in under.as_chunks_mut().0.iter_mut().zip(line.as_chunks().0) {
                    *under = over_under(*over, *under);
                }
            } else {
                under.copy_from_slice(line);
            }
        }
        self.pixels.clone()
    }
}

/// Straight alpha laid over straight alpha.
fn over_under(over: [u8; 4], under: [u8; 4]) -> [u8; 4] {
    if over[3] == 255 || under[3] == 0 {
        return if over[3] == 0 { under } else { over };
    }
    let (a, b) = (u32::from(over[3]), u32::from(under[3]));
    // In 255ths of 255ths.
    let alpha = 255 * a + (255 - a) * b;
    let mixed = |channel: usize| {
        let sum = u32::from(over[channel]) * 255 * a + u32::from(under[channel]) * (255 - a) * b;
        ((sum + alpha / 2) / alpha) as u8
    };
    [mixed(0), mixed(1), mixed(2), ((alpha + 127) / 255) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(x: u32, width: u32, colour: [u8; 4], is_over: bool, disposal: Disposal) -> Part {
        let pixels = colour.repeat(width as usize);
        Part { x, y: 0, width, height: 1, pixels, is_over, disposal, milliseconds: 0 }
    }

    /// Every disposal before every other, laid over and in the stead, by hand.
    #[test]
    fn every_disposal_after_every_other() {
        const A: [u8; 4] = [200, 0, 0, 255];
        const B: [u8; 4] = [0, 200, 0, 255];
        const C: [u8; 4] = [0, 0, 200, 255];
        const NONE: [u8; 4] = [0; 4];
        use Disposal::{Background, Keep, Previous};
        for first in [Keep, Background, Previous] {
            for second in [Keep, Background, Previous] {
                for is_over in [false, true] {
                    let mut canvas = Canvas::new(4, 1);
                    assert_eq!(canvas.lay(&part(0, 3, A, is_over, first)), [A, A, A, NONE].concat());
                    let left = if first == Keep { A } else { NONE };
                    assert_eq!(canvas.lay(&part(1, 2, B, is_over, second)), [left, B, B, NONE].concat());
                    let middle = match second {
                        Keep => B,
                        Background => NONE,
                        Previous => left,
                    };
                    let seen = canvas.lay(&part(2, 9, C, is_over, Keep));
                    assert_eq!(seen, [left, middle, C, C].concat(), "{first:?} {second:?} {is_over}");
                    // A hole shows what is under it when it is laid over.
                    let hole = if is_over { C } else { NONE };
                    assert_eq!(canvas.lay(&part(3, 1, NONE, is_over, Keep))[12..], hole);
                }
            }
        }
        assert_eq!(Canvas::new(4, 1).lay(&part(7, 2, A, true, Previous)), [0; 16], "a frame outside");
        assert_eq!(over_under([100, 100, 100, 128], [200, 0, 0, 255]), [150, 50, 50, 255]);
        assert_eq!(over_under([100, 0, 0, 128], [0, 100, 0, 128]), [67, 33, 0, 192]);
    }
}
