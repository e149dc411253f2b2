//! ICC profiles (ICC.1:2022 and version 2): what of them describes a picture's colours.

use super::table::{Connection, Table};
use super::{Conversion, Curve, Kind, transposed};

/// Bytes at a place, if they are there.
fn part(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    part(bytes, at, 2)?.try_into().ok().map(u16::from_be_bytes)
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    part(bytes, at, 4)?.try_into().ok().map(|four| u32::from_be_bytes(four) as usize)
}

/// A number with 16 bits after the point.
pub fn fixed(bytes: &[u8], at: usize) -> Option<f32> {
    part(bytes, at, 4)?.try_into().ok().map(|four| i32::from_be_bytes(four) as f32 / 65_536.0)
}

/// A curve, and how many bytes it takes.
pub fn curve(bytes: &[u8]) -> Option<(Curve, usize)> {
    match bytes.get(..4)? {
        b"curv" => {
            let count = u32_at(bytes, 8)?;
            let curve = match count {
                0 => Curve::IDENTITY,
                1 => Curve::gamma(f32::from(u16_at(bytes, 12)?) / 256.0),
                _ => {
                    let values = part(bytes, 12, count.checked_mul(2)?)?.as_chunks::<2>().0;
                    Curve::Samples(values.iter().map(|two| f32::from(u16::from_be_bytes(*two)) / 65_535.0).collect())
                }
            };
            Some((curve, 12 + 2 * count))
        }
        b"para" => {
            let kind = u16_at(bytes, 8)?;
            let count = *[1, 3, 4, 5, 7].get(usize::from(kind))?;
            let mut p = [0.0; 7];
            for (at, value) in p.iter_mut().enumerate().take(count) {
                *value = fixed(bytes, 12 + 4 * at)?;
            }
            let [g, a, b, c, d, e, f] = p;
            let from = |b: f32| if a == 0.0 { 0.0 } else { -b / a };
            let curve = match kind {
                0 => [g, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                1 => [g, a, b, 0.0, from(b), 0.0, 0.0],
                2 => [g, a, b, 0.0, from(b), c, c],
                3 => [g, a, b, c, d, 0.0, 0.0],
                _ => [g, a, b, c, d, e, f],
            };
            Some((Curve::Parametric(curve), 12 + 4 * count))
        }
        _ => None,
    }
}

struct Profile<'a>(&'a [u8]);

impl<'a> Profile<'a> {
    /// The contents of a tag.
    fn tag(&self, name: &[u8; 4]) -> Option<&'a [u8]> {
        // Real profiles have some twenty tags.
        let count = u32_at(self.0, 128)?.min(200);
        let entry = (0..count).map(|index| 132 + 12 * index).find(|at| part(self.0, *at, 4) == Some(name))?;
        part(self.0, u32_at(self.0, entry + 4)?, u32_at(self.0, entry + 8)?)
    }

    fn xyz(&self, name: &[u8; 4]) -> Option<[f32; 3]> {
        let tag = self.tag(name)?;
        Some([fixed(tag, 8)?, fixed(tag, 12)?, fixed(tag, 16)?])
    }

    fn curve(&self, name: &[u8; 4]) -> Option<Curve> {
        curve(self.tag(name)?).map(|(curve, _)| curve)
    }

    /// What it calls itself.
    fn name(&self) -> Option<String> {
        let tag = self.tag(b"desc")?;
        let text = match tag.get(..4)? {
            b"desc" => {
                let text = part(tag, 12, u32_at(tag, 8)?)?;
                text.split(|byte| *byte == 0).next().map(|text| String::from_utf8_lossy(text).into_owned())?
            }
            b"mluc" => {
                let text = part(tag, u32_at(tag, 24)?, u32_at(tag, 20)?)?.as_chunks::<2>().0;
                let units: Vec<u16> = text.iter().map(|two| u16::from_be_bytes(*two)).collect();
                String::from_utf16_lossy(&units)
            }
            _ => return None,
        };
        let text: String = text.trim().chars().filter(|c| !c.is_control()).take(60).collect();
        (!text.is_empty()).then_some(text)
    }

    fn kind(&self) -> Option<(usize, Kind)> {
        let inputs = match part(self.0, 16, 4)? {
            b"GRAY" => 1,
            b"RGB " => 3,
            b"CMYK" => 4,
            _ => return None,
        };
        let lab = part(self.0, 20, 4)? == b"Lab ";
        if inputs == 1 {
            let curve = self.curve(b"kTRC")?;
            return Some((1, Kind::Grey(if lab { curve.of_lightness() } else { curve })));
        }
        if let Some(tag) = self.tag(b"A2B0") {
            let is_new = *self.0.get(8)? >= 4;
            let connection = if lab { Connection::Lab } else { Connection::Xyz };
            return Some((inputs, Kind::Table(Box::new(Table::read(tag, inputs, connection, is_new)?))));
        }
        if inputs != 3 || lab {
            return None;
        }
        let columns = [self.xyz(b"rXYZ")?, self.xyz(b"gXYZ")?, self.xyz(b"bXYZ")?];
        let curves = [self.curve(b"rTRC")?, self.curve(b"gTRC")?, self.curve(b"bTRC")?];
        let Conversion { kind, .. } = Conversion::matrix(String::new(), curves, transposed(columns));
        Some((3, kind))
    }
}

/// What an ICC profile says. `None` for sRGB; the error is the name of a profile that cannot be followed.
pub fn read(bytes: &[u8]) -> Result<Option<Conversion>, String> {
    let profile = Profile(bytes);
    let name = profile.name().unwrap_or_else(|| "without a name".into());
    match profile.kind().filter(|_| part(bytes, 36, 4) == Some(b"acsp")) {
        Some((inputs, kind)) => Ok(Conversion { name, inputs, is_hdr: false, kind }.unless_srgb()),
        None => Err(name),
    }
}
