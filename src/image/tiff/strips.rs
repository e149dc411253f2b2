//! Strips and tiles: where they are, what unpacks them, and how their numbers become samples.

use std::io::Read;

use weezl::{BitOrder, LzwStatus, decode::Decoder as Lzw};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::fax::{self, Coding};
use super::tags::{Tags, tag};
use super::{FORMAT, broken, unsupported};
use crate::image::ImageError;
use crate::image::decode::MAX_DECODER_BYTES;

/// How the samples of a file lie in it.
pub struct Layout {
    width: usize,
    height: usize,
    /// Bits of a sample.
    pub bits: u32,
    /// Samples of a pixel.
    pub samples: usize,
    is_float: bool,
    is_planar: bool,
    predictor: u64,
    compression: u64,
    /// Width and height of a strip or a tile.
    chunk: (usize, usize),
    is_tiled: bool,
    is_palette: bool,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
}

/// All samples of a picture, interleaved.
pub struct Plane {
    pub values: Values,
    /// Whether a JPEG's YCbCr has become red, green and blue.
    pub is_rgb: bool,
}

/// Samples with white at the top of the type, or 1; numbers of a palette as they are.
pub enum Values {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
    Floats(Vec<f32>),
}

impl Values {
    fn new(layout: &Layout) -> Self {
        let count = layout.width * layout.height * layout.samples;
        match (layout.is_float, layout.bits) {
            (true, _) => Self::Floats(vec![0.0; count]),
            (false, ..=8) => Self::Bytes(vec![0; count]),
            _ => Self::Words(vec![0; count]),
        }
    }
}

impl Layout {
    pub fn read(tags: &Tags, width: u32, height: u32) -> Result<Self, ImageError> {
        let number = |name: u16, otherwise: u64| tags.number(name).unwrap_or(otherwise);
        let same = |name: u16, otherwise: u64| {
            let all = tags.numbers(name).unwrap_or_else(|| vec![otherwise]);
            all.iter().all(|one| *one == all[0]).then_some(all[0])
        };
        let (Some(bits), Some(format)) = (same(tag::BITS, 1), same(tag::SAMPLE_FORMAT, 1)) else {
            return unsupported("TIFF (with channels of different depths)");
        };
        let is_float = match (format, bits) {
            (1 | 4, 1..=16 | 24 | 32) => false,
            (3, 16 | 32 | 64) => true,
            (2, _) => return unsupported("TIFF (of numbers with a sign)"),
            (5 | 6, _) => return unsupported("TIFF (of complex numbers)"),
            _ => return unsupported("TIFF (of an unusual depth)"),
        };
        let samples = number(tag::SAMPLES, 1);
        let (width, height) = (width as usize, height as usize);
        let is_tiled = tags.number(tag::TILE_OFFSETS).is_some();
        let (chunk, offsets, lengths) = if is_tiled {
            let side = |name: u16| usize::try_from(number(name, 0)).ok().filter(|side| (1..=1 << 17).contains(side));
            let sides = side(tag::TILE_WIDTH).zip(side(tag::TILE_HEIGHT));
            (sides.ok_or_else(|| broken("its tiles have no size"))?, tag::TILE_OFFSETS, tag::TILE_BYTES)
        } else {
            let rows = usize::try_from(number(tag::ROWS_PER_STRIP, u64::MAX)).unwrap_or(height).clamp(1, height);
            ((width, rows), tag::STRIP_OFFSETS, tag::STRIP_BYTES)
        };
        let offsets = tags.numbers(offsets).ok_or_else(|| broken("it does not say where its pixels are"))?;
        // A single strip without a length goes to the end.
        let lengths = tags.numbers(lengths).unwrap_or_else(|| vec![u64::MAX; offsets.len()]);
        let layout = Self {
            width,
            height,
            bits: bits as u32,
            samples: usize::try_from(samples).unwrap_or(usize::MAX),
            is_float,
            is_planar: number(tag::PLANAR, 1) == 2,
            predictor: number(tag::PREDICTOR, 1),
            compression: number(tag::COMPRESSION, 1),
            chunk,
            is_tiled,
            is_palette: tags.number(tag::PHOTOMETRIC) == Some(3),
            offsets,
            lengths,
        };
        let bytes =
            (width * height) as u64 * samples.saturating_mul(if is_float { 4 } else { bits.div_ceil(8).min(2) });
        if samples == 0 || samples > 64 || bytes > MAX_DECODER_BYTES {
            return Err(broken("decoding it would take too much memory"));
        }
        Ok(layout)
    }

    /// All samples.
    pub fn plane(&self, tags: &Tags, file: &[u8], is_ycbcr: bool) -> Result<Plane, ImageError> {
        let mut values = Values::new(self);
        let (across, down) = (self.width.div_ceil(self.chunk.0), self.height.div_ceil(self.chunk.1));
        let planes = if self.is_planar { self.samples } else { 1 };
        if self.offsets.len() < across * down * planes {
            return Err(broken("it says where only a part of its pixels is"));
        }
        let is_jpeg = self.compression == 7;
        let subsampling = tags.numbers(tag::SUBSAMPLING).unwrap_or_else(|| vec![2, 2]);
        let subsampling = match subsampling[..] {
            _ if !is_ycbcr || is_jpeg || self.is_planar => None,
            [x @ (1 | 2 | 4), y @ (1 | 2 | 4)] if self.bits == 8 && self.samples == 3 => Some((x as usize, y as usize)),
            _ => return unsupported("TIFF (of unusual YCbCr)"),
        };
        for index in 0..across * down * planes {
            let (plane, place) = (index / (across * down), index % (across * down));
            let (x, y) = (place % across * self.chunk.0, place / across * self.chunk.1);
            let rows = if self.is_tiled { self.chunk.1 } else { self.chunk.1.min(self.height - y) };
            let each = if self.is_planar { 1 } else { self.samples };
            let from = usize::try_from(self.offsets[index]).unwrap_or(usize::MAX);
            let length = usize::try_from(self.lengths.get(index).copied().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
            let end = from.saturating_add(length).min(file.len());
            let is_cut = from.saturating_add(length) > file.len() && length != usize::MAX;
            let packed = file.get(from..end).ok_or(ImageError::Truncated { format: FORMAT })?;
            let reversed: Vec<u8>;
            // A JPEG's bits are in its own order.
            let packed = if tags.number(tag::FILL_ORDER) == Some(2) && !is_jpeg {
                reversed = packed.iter().map(|byte| byte.reverse_bits()).collect();
                &reversed
            } else {
                packed
            };
            let stride = (self.chunk.0 * each * self.bits as usize).div_ceil(8);
            let wanted = match subsampling {
                Some((h, v)) => self.chunk.0.div_ceil(h) * rows.div_ceil(v) * (h * v + 2),
                None => stride * rows,
            };
            if wanted as u64 > MAX_DECODER_BYTES {
                return Err(broken("decoding it would take too much memory"));
            }
            let mut unpacked = self.unpack(packed, tags, wanted, rows, each, is_ycbcr)?;
            if unpacked.len() < wanted {
                return Err(match is_cut {
                    true => ImageError::Truncated { format: FORMAT },
                    false => broken("its pixels end early"),
                });
            }
            if let Some((h, v)) = subsampling {
                unpacked = spread(&unpacked, self.chunk.0, rows, h, v);
            }
            let is_little = self.undo_predictor(&mut unpacked, stride, each, tags.is_little)?;
            let columns = self.chunk.0.min(self.width - x);
            for (row, line) in unpacked.chunks_exact(stride.max(1)).take(rows.min(self.height - y)).enumerate() {
                let to = ((y + row) * self.width + x) * self.samples + plane;
                self.place(line, columns * each, to, self.samples / each, is_little, &mut values);
            }
        }
        Ok(Plane { values, is_rgb: is_jpeg && is_ycbcr && !self.is_planar })
    }

    fn unpack(
        &self,
        packed: &[u8],
        tags: &Tags,
        wanted: usize,
        rows: usize,
        each: usize,
        is_ycbcr: bool,
    ) -> Result<Vec<u8>, ImageError> {
        let fax = |coding: Coding| {
            let mut bits = fax::decode(packed, coding, self.chunk.0, rows);
            // Lines that are left out at the end are white.
            bits.resize(bits.len().max(if coding == Coding::Group4 { wanted } else { 0 }), 0);
            Ok(bits)
        };
        match self.compression {
            1 => Ok(packed[..wanted.min(packed.len())].to_vec()),
            2..=4 if self.bits != 1 || each != 1 => Err(broken("a fax of more than black and white")),
            2 => fax(Coding::Runs),
            3 => fax(Coding::Group3 { two_dimensional: tags.number(tag::T4_OPTIONS).unwrap_or(0) & 1 > 0 }),
            4 => fax(Coding::Group4),
            5 => lzw(packed, wanted),
            6 => unsupported("TIFF (with JPEG in its old form)"),
            7 => self.jpeg(packed, tags, wanted, each, is_ycbcr),
            8 | 32946 => {
                let mut bytes = Vec::new();
                let read = flate2::read::ZlibDecoder::new(packed).take(wanted as u64).read_to_end(&mut bytes);
                match read {
                    Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(broken(&error.to_string())),
                    _ => Ok(bytes),
                }
            }
            32773 => Ok(pack_bits(packed, wanted)),
            34712 => unsupported("TIFF (with JPEG 2000)"),
            34887 => unsupported("TIFF (with LERC)"),
            34925 => unsupported("TIFF (with LZMA)"),
            34926 | 50000 => unsupported("TIFF (with Zstandard)"),
            34927 | 50001 => unsupported("TIFF (with WebP)"),
            50002 | 52546 => unsupported("TIFF (with JPEG XL)"),
            _ => unsupported("TIFF (of an unusual compression)"),
        }
    }

    /// A strip or tile that is a JPEG; its tables may stand in a tag.
    fn jpeg(
        &self,
        packed: &[u8],
        tags: &Tags,
        wanted: usize,
        each: usize,
        is_ycbcr: bool,
    ) -> Result<Vec<u8>, ImageError> {
        let failed = |error: zune_jpeg::errors::DecodeErrors| broken(&error.to_string());
        if self.bits != 8 {
            return unsupported("TIFF (with JPEG of more than 8 bits)");
        }
        let whole = match tags.bytes(tag::JPEG_TABLES) {
            // Between the start of the one and the end of the other.
            Some(tables) if tables.len() > 4 && packed.len() > 2 => {
                [&tables[..tables.len() - 2], &packed[2..]].concat()
            }
            _ => packed.to_vec(),
        };
        let options = DecoderOptions::default().set_max_width(1 << 17).set_max_height(1 << 17);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&whole[..]), options);
        decoder.decode_headers().map_err(failed)?;
        let input = decoder.input_colorspace().unwrap_or(ColorSpace::YCbCr);
        let output = if is_ycbcr && each == 3 { ColorSpace::RGB } else { input };
        let (width, height) = decoder.dimensions().unwrap_or_default();
        if output.num_components() != each || (width * height * each) as u64 > MAX_DECODER_BYTES {
            return Err(broken("its JPEG has other channels than it says"));
        }
        decoder.set_options(options.jpeg_set_out_colorspace(output));
        let pixels = decoder.decode().map_err(failed)?;
        let (stride, line) = (self.chunk.0 * each, width * each);
        let mut out = vec![0; wanted];
        for (out, line) in out.chunks_exact_mut(stride).zip(pixels.chunks_exact(line.max(1))) {
            let common = stride.min(line.len());
            out[..common].copy_from_slice(&line[..common]);
        }
        Ok(out)
    }

    /// Undoes differences of neighbours; gives whether the numbers' low bytes come first now.
    fn undo_predictor(
        &self,
        bytes: &mut [u8],
        stride: usize,
        each: usize,
        is_little: bool,
    ) -> Result<bool, ImageError> {
        let packs = matches!(self.compression, 5 | 8 | 32946);
        let lines = bytes.chunks_exact_mut(stride.max(1));
        match (self.predictor, self.bits) {
            (1, _) => return Ok(is_little),
            _ if !packs => return Ok(is_little),
            (2, 8) => lines.for_each(|line| {
                for at in each..line.len() {
                    line[at] = line[at].wrapping_add(line[at - each]);
                }
            }),
            (2, 16) => lines.for_each(|line| {
                let words = line.as_chunks_mut::<2>().0;
                let (get, put) = if is_little {
                    (u16::from_le_bytes as fn([u8; 2]) -> u16, u16::to_le_bytes as fn(u16) -> [u8; 2])
                } else {
                    (u16::from_be_bytes as fn([u8; 2]) -> u16, u16::to_be_bytes as fn(u16) -> [u8; 2])
                };
                for at in each..words.len() {
                    words[at] = put(get(words[at]).wrapping_add(get(words[at - each])));
                }
            }),
            (2, 32) => lines.for_each(|line| {
                let words = line.as_chunks_mut::<4>().0;
                let (get, put) = if is_little {
                    (u32::from_le_bytes as fn([u8; 4]) -> u32, u32::to_le_bytes as fn(u32) -> [u8; 4])
                } else {
                    (u32::from_be_bytes as fn([u8; 4]) -> u32, u32::to_be_bytes as fn(u32) -> [u8; 4])
                };
                for at in each..words.len() {
                    words[at] = put(get(words[at]).wrapping_add(get(words[at - each])));
                }
            }),
            (3, 16 | 32 | 64) if self.is_float => {
                let width = self.bits as usize / 8;
                for line in lines {
                    for at in each..line.len() {
                        line[at] = line[at].wrapping_add(line[at - each]);
                    }
                    // All highest bytes come first, then all second ones.
                    let planes = line.to_vec();
                    let count = planes.len() / width;
                    for at in 0..count * width {
                        line[at] = planes[at % width * count + at / width];
                    }
                }
                return Ok(false);
            }
            _ => return unsupported("TIFF (with differences of an unusual kind)"),
        }
        Ok(is_little)
    }

    /// Puts the first `count` numbers of a line at `to` and every `step` samples on.
    fn place(&self, line: &[u8], count: usize, to: usize, step: usize, is_little: bool, values: &mut Values) {
        let bits = self.bits as usize;
        let whole = |at: usize| -> u64 {
            if bits.is_multiple_of(8) {
                let bytes = &line[at * bits / 8..(at + 1) * bits / 8];
                let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
                return if is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) };
            }
            (at * bits..(at + 1) * bits)
                .fold(0, |number, bit| number << 1 | u64::from(line[bit / 8] >> (7 - bit % 8) & 1))
        };
        let most = u64::MAX >> (64 - bits);
        let to = (0..count).map(|at| (at, to + at * step));
        match values {
            Values::Bytes(all) => to.for_each(|(at, to)| {
                all[to] = if self.is_palette { whole(at) } else { whole(at) * 255 / most } as u8;
            }),
            Values::Words(all) => to.for_each(|(at, to)| {
                all[to] = if self.is_palette { whole(at) } else { whole(at) * 65_535 / most } as u16;
            }),
            Values::Floats(all) => to.for_each(|(at, to)| {
                let number = whole(at);
                all[to] = match bits {
                    16 => half::f16::from_bits(number as u16).to_f32(),
                    32 => f32::from_bits(number as u32),
                    _ => f64::from_bits(number) as f32,
                };
            }),
        }
    }
}

/// Blocks of `h`×`v` brightnesses and two colours, to three samples a pixel.
fn spread(blocks: &[u8], width: usize, height: usize, h: usize, v: usize) -> Vec<u8> {
    let mut out = vec![0; 3 * width * height];
    let across = width.div_ceil(h);
    for (index, block) in blocks.chunks_exact(h * v + 2).enumerate() {
        let (left, top) = (index % across * h, index / across * v);
        for at in 0..h * v {
            let (x, y) = (left + at % h, top + at / h);
            if x < width && y < height {
                out[3 * (y * width + x)..][..3].copy_from_slice(&[block[at], block[h * v], block[h * v + 1]]);
            }
        }
    }
    out
}

fn lzw(packed: &[u8], wanted: usize) -> Result<Vec<u8>, ImageError> {
    let mut decoder = Lzw::with_tiff_size_switch(BitOrder::Msb, 8);
    let (mut out, mut read, mut written) = (vec![0; wanted], 0, 0);
    while written < wanted {
        let result = decoder.decode_bytes(&packed[read..], &mut out[written..]);
        read += result.consumed_in;
        written += result.consumed_out;
        match result.status {
            Ok(LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
            Ok(_) => break,
            Err(error) => return Err(broken(&error.to_string())),
        }
    }
    out.truncate(written);
    Ok(out)
}

fn pack_bits(packed: &[u8], wanted: usize) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), packed);
    while out.len() < wanted {
        let Some((count, after)) = rest.split_first() else { break };
        rest = after;
        match *count as i8 {
            -128 => {}
            count @ ..0 => {
                let Some((byte, after)) = rest.split_first() else { break };
                out.extend(std::iter::repeat_n(*byte, 1 + usize::from(count.unsigned_abs())));
                rest = after;
            }
            count => {
                let (literal, after) = rest.split_at((1 + count as usize).min(rest.len()));
                out.extend(literal);
                rest = after;
            }
        }
    }
    out.truncate(wanted);
    out
}
