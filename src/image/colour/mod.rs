//! Colours of files, brought to sRGB: by an ICC profile, by PNG's cICP, or by its gAMA and cHRM.
//!
//! Our own, since the profiles that photos carry are three curves and a matrix: moxcms, which `image` would bring, is a
//! hundred kilobytes of a worker that has none to spare. What a printer's profile does with its table is a
//! page more, and the same on the command line and in a page.

mod curve;
mod icc;
mod table;

use std::sync::OnceLock;

use curve::Curve;
pub use icc::read as from_icc;
use table::Table;

/// Linear sRGB of a colour in the profiles' connection space: XYZ under D50 (the inverse of the matrix of sRGB's profile).
const FROM_XYZ: [[f32; 3]; 3] = [
    [3.133_856, -1.616_866_7, -0.490_614_6],
    [-0.978_768_4, 1.916_141_5, 0.033_454_0],
    [0.071_945_3, -0.228_991_4, 1.405_242_7],
];

/// Chromaticities of sRGB: white, red, green, blue.
const SRGB: [[f32; 2]; 4] = [[0.3127, 0.3290], [0.64, 0.33], [0.30, 0.60], [0.15, 0.06]];

/// XYZ of the connection space's white, D50.
const D50: [f32; 3] = [0.9642, 1.0, 0.8249];

/// How many levels a sample may have.
const LEVELS: usize = 1 << 16;

/// What makes sRGB of a file's numbers.
#[derive(Debug)]
pub struct Conversion {
    /// The colour space's name, for people.
    pub name: String,
    /// How many numbers make a colour: 1, 3 or 4.
    pub inputs: usize,
    /// Whether it holds more than can be shown, and what is brighter than white is cut off.
    pub is_hdr: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A curve for each channel, then a matrix to linear sRGB.
    Matrix([Curve; 3], [[f32; 3]; 3]),
    Grey(Curve),
    Table(Box<Table>),
}

impl Conversion {
    fn matrix(name: String, curves: [Curve; 3], to_xyz: [[f32; 3]; 3]) -> Self {
        Self { name, inputs: 3, is_hdr: false, kind: Kind::Matrix(curves, product(&FROM_XYZ, &to_xyz)) }
    }

    /// Whether it would change nothing that can be seen.
    fn is_srgb(&self) -> bool {
        let (curves, is_close) = match &self.kind {
            Kind::Matrix(curves, matrix) => {
                let off = |row: usize, column: usize| matrix[row][column] - if row == column { 1.0 } else { 0.0 };
                (&curves[..], (0..9).all(|at| off(at / 3, at % 3).abs() < 0.004))
            }
            Kind::Grey(curve) => (std::slice::from_ref(curve), true),
            Kind::Table(_) => return false,
        };
        let same =
            |curve: &Curve| (0..=255_u8).all(|level| to_srgb(curve.at(f32::from(level) / 255.0)).abs_diff(level) <= 1);
        is_close && curves.iter().all(same)
    }

    /// This one, or `None` when the colours are sRGB already.
    pub fn unless_srgb(self) -> Option<Self> {
        (!self.is_srgb()).then_some(self)
    }

    /// What does it for samples of 16 bits, of which only every `step`th is met.
    pub fn prepare(&self, step: usize) -> Prepared<'_> {
        let level = |at: usize| at as f32 / (LEVELS - 1) as f32;
        let filled = |curve: &Curve| {
            let mut values = vec![0.0; LEVELS];
            (0..LEVELS).step_by(step).for_each(|at| values[at] = curve.at(level(at)));
            values
        };
        match &self.kind {
            Kind::Matrix(curves, matrix) => Prepared::Matrix(curves.each_ref().map(filled), matrix),
            Kind::Grey(curve) => Prepared::Grey(filled(curve).into_iter().map(to_srgb).collect()),
            Kind::Table(table) => Prepared::Table { table, last: ([0; 4], table.srgb(&[0; 4])) },
        }
    }

    /// The same for RGBA8 pixels in place; a table is not meant for those.
    pub fn apply(&self, pixels: &mut [u8]) {
        let mut prepared = self.prepare(257);
        for pixel in pixels.as_chunks_mut::<4>().0 {
            let [r, g, b, _] = pixel.map(|level| u16::from(level) * 257);
            [pixel[0], pixel[1], pixel[2]] = prepared.srgb([r, g, b, 0]);
        }
    }
}

/// A [`Conversion`] with its curves as tables.
pub enum Prepared<'a> {
    Matrix([Vec<f32>; 3], &'a [[f32; 3]; 3]),
    Grey(Vec<u8>),
    Table { table: &'a Table, last: ([u16; 4], [u8; 3]) },
}

impl Prepared<'_> {
    /// sRGB of a colour; unused inputs are 0, and a grey is the first.
    pub fn srgb(&mut self, colour: [u16; 4]) -> [u8; 3] {
        match self {
            Self::Matrix(curves, matrix) => {
                let linear = [0, 1, 2].map(|channel| curves[channel][usize::from(colour[channel])]);
                transformed(matrix, linear).map(to_srgb)
            }
            Self::Grey(levels) => [levels[usize::from(colour[0])]; 3],
            Self::Table { table, last } => {
                if last.0 != colour {
                    *last = (colour, table.srgb(&colour));
                }
                last.1
            }
        }
    }
}

/// The level of a linear value of sRGB (IEC 61966-2-1); cut off below 0 and above 1.
fn to_srgb(linear: f32) -> u8 {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let level = |at: usize| {
            let x = at as f32 / (LEVELS - 1) as f32;
            let value = if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * libm::powf(x, 1.0 / 2.4) - 0.055 };
            (255.0 * value).round() as u8
        };
        (0..LEVELS).map(level).collect()
    });
    // The cast clamps, and makes 0 of NaN.
    table[usize::from((linear * (LEVELS - 1) as f32 + 0.5) as u16)]
}

fn transformed(matrix: &[[f32; 3]; 3], [x, y, z]: [f32; 3]) -> [f32; 3] {
    matrix.map(|row| row[0] * x + row[1] * y + row[2] * z)
}

fn product(one: &[[f32; 3]; 3], other: &[[f32; 3]; 3]) -> [[f32; 3]; 3] {
    let column = |at: usize| transformed(one, other.map(|row| row[at]));
    transposed([column(0), column(1), column(2)])
}

fn transposed(m: [[f32; 3]; 3]) -> [[f32; 3]; 3] {
    [0, 1, 2].map(|row| [m[0][row], m[1][row], m[2][row]])
}

/// By Cramer's rule; `None` where there is no inverse.
fn inverse(m: &[[f32; 3]; 3]) -> Option<[[f32; 3]; 3]> {
    let cross =
        |a: [f32; 3], b: [f32; 3]| [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let columns = [cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])];
    let determinant: f32 = (0..3).map(|at| m[0][at] * columns[0][at]).sum();
    (determinant.abs() > 1e-9).then(|| transposed(columns.map(|column| column.map(|value| value / determinant))))
}

/// XYZ under D50 of the primaries with these chromaticities (white, red, green, blue), adapted by Bradford's matrix.
fn primaries([white, red, green, blue]: [[f32; 2]; 4]) -> Option<[[f32; 3]; 3]> {
    const BRADFORD: [[f32; 3]; 3] = [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];
    let xyz = |[x, y]: [f32; 2]| (y > 1e-6).then(|| [x / y, 1.0, (1.0 - x - y) / y]);
    let columns = transposed([xyz(red)?, xyz(green)?, xyz(blue)?]);
    let white = xyz(white)?;
    let amounts = transformed(&inverse(&columns)?, white);
    let scaled = columns.map(|row| [row[0] * amounts[0], row[1] * amounts[1], row[2] * amounts[2]]);
    let [from, to] = [white, D50].map(|white| transformed(&BRADFORD, white));
    let mut cones = BRADFORD;
    for (row, (from, to)) in cones.iter_mut().zip(from.into_iter().zip(to)) {
        *row = row.map(|value| value * to / from);
    }
    Some(product(&product(&inverse(&BRADFORD)?, &cones), &scaled))
}

/// A PNG's cICP chunk: code points of ITU-T H.273. `None` for what is sRGB; the error is what is not known.
pub fn from_cicp(code: [u8; 4]) -> Result<Option<Conversion>, String> {
    let [colours, transfer, matrix, full] = code;
    let unknown = || format!("cICP {colours}/{transfer}/{matrix}/{full}");
    let (chromaticities, name) = match colours {
        1 => (SRGB, "BT.709"),
        4 => ([[0.310, 0.316], [0.67, 0.33], [0.21, 0.71], [0.14, 0.08]], "BT.470 M"),
        5 => ([[0.3127, 0.3290], [0.64, 0.33], [0.29, 0.60], [0.15, 0.06]], "BT.601"),
        6 | 7 => ([[0.3127, 0.3290], [0.630, 0.340], [0.310, 0.595], [0.155, 0.070]], "BT.601"),
        9 => ([[0.3127, 0.3290], [0.708, 0.292], [0.170, 0.797], [0.131, 0.046]], "BT.2020"),
        11 => ([[0.314, 0.351], [0.680, 0.320], [0.265, 0.690], [0.150, 0.060]], "DCI-P3"),
        12 => ([[0.3127, 0.3290], [0.680, 0.320], [0.265, 0.690], [0.150, 0.060]], "Display P3"),
        _ => return Err(unknown()),
    };
    let curve = Curve::of_cicp(transfer).filter(|_| matrix == 0 && full == 1).ok_or_else(unknown)?;
    let is_hdr = matches!(transfer, 16 | 18);
    let to_xyz = primaries(chromaticities).ok_or_else(unknown)?;
    let curves = [curve.clone(), curve.clone(), curve];
    Ok(Conversion { is_hdr, ..Conversion::matrix(name.into(), curves, to_xyz) }.unless_srgb())
}

/// A PNG's gAMA (the exponent of the file) and cHRM (white, red, green, blue). `None` for what is sRGB.
pub fn from_gamma(gamma: Option<f32>, chromaticities: Option<[[f32; 2]; 4]>) -> Option<Conversion> {
    let curve = match gamma {
        // What programs write for sRGB.
        Some(gamma) if (gamma - 0.45455).abs() < 0.005 => Curve::srgb(),
        Some(gamma) if gamma > 0.01 => Curve::gamma(1.0 / gamma),
        _ => Curve::srgb(),
    };
    let to_xyz = primaries(chromaticities.unwrap_or(SRGB))?;
    let name = match gamma {
        Some(gamma) => format!("gamma {gamma}"),
        None => "its own primaries".into(),
    };
    Conversion::matrix(name, [curve.clone(), curve.clone(), curve], to_xyz).unless_srgb()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(conversion: &Conversion, [r, g, b]: [u8; 3]) -> [u8; 3] {
        let mut pixels = [r, g, b, 9];
        conversion.apply(&mut pixels);
        assert_eq!(pixels[3], 9, "alpha stays");
        [pixels[0], pixels[1], pixels[2]]
    }

    #[test]
    fn srgb_changes_nothing_and_is_not_converted() {
        assert!(from_cicp([1, 13, 0, 1]).is_ok_and(|none| none.is_none()));
        assert!(from_gamma(Some(0.45455), None).is_none());
        assert!(from_gamma(None, Some(SRGB)).is_none());
        let to_xyz = primaries(SRGB).expect("primaries");
        let conversion = Conversion::matrix(String::new(), [Curve::srgb(), Curve::srgb(), Curve::srgb()], to_xyz);
        for colour in [[0, 0, 0], [255, 255, 255], [200, 30, 90], [1, 128, 254]] {
            let found = converted(&conversion, colour);
            assert!((0..3).all(|c| found[c].abs_diff(colour[c]) <= 1), "{found:?} of {colour:?}");
        }
    }

    /// Values by LittleCMS 2.
    #[test]
    fn display_p3_and_gammas_by_their_numbers() {
        let near = |found: [u8; 3], wanted: [u8; 3]| {
            assert!((0..3).all(|c| found[c].abs_diff(wanted[c]) <= 2), "{found:?} instead of {wanted:?}");
        };
        let p3 = from_cicp([12, 13, 0, 1]).expect("known").expect("not sRGB");
        assert_eq!(p3.name, "Display P3");
        near(converted(&p3, [255, 255, 255]), [255, 255, 255]);
        near(converted(&p3, [200, 100, 50]), [215, 93, 31]);
        let linear = from_gamma(Some(1.0), None).expect("not sRGB");
        for (level, wanted) in [(20, 79), (80, 152), (140, 196), (200, 229)] {
            near(converted(&linear, [level; 3]), [wanted; 3]);
        }
        assert!(from_cicp([12, 16, 0, 1]).is_ok_and(|hdr| hdr.is_some_and(|hdr| hdr.is_hdr)));
        assert!(from_cicp([12, 13, 1, 1]).is_err() && from_cicp([77, 13, 0, 1]).is_err());
        assert!(from_gamma(Some(1.0), Some([[0.0; 2]; 4])).is_none(), "nonsense is not followed");
    }
}
