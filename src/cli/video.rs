//! Video files, through the `ffmpeg` on the PATH: raw frames out of one process and into another.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};

use crate::image::{MAX_PIXELS, Picture};
use crate::platform::files::Partial;

/// Endings of video files, each with the name that ffmpeg has for the container.
const CONTAINERS: [(&str, &str); 6] =
    [("mp4", "mp4"), ("m4v", "mp4"), ("mov", "mov"), ("mkv", "matroska"), ("webm", "webm"), ("avi", "avi")];

/// Where a container has a clock but no frame rate, ffmpeg gives the clock's, up to 90,000 a second.
const HIGHEST_RATE: u64 = 240;

/// From so many lines on, players take colours that nothing is said of for those of ITU-R BT.709, below for BT.601's.
const HD_LINES: u32 = 720;

/// The most bytes of a file in which its header is looked for.
const MOST_HEADER: u64 = 1 << 18;

/// The most bytes of ffmpeg's complaints that are kept.
const MOST_WORDS: u64 = 1 << 16;

/// The name of the container for a file of this name, if it is a video's.
pub fn container(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    CONTAINERS.iter().find(|(ending, _)| *ending == extension).map(|(_, name)| *name)
}

/// A video being translated: its frames are read one at a time, and so are written the others, beside its own sound.
pub struct Video {
    input: PathBuf,
    header: Header,
    decoder: Ffmpeg,
    frames: BufReader<ChildStdout>,
    encoder: Option<(Ffmpeg, ChildStdin, (u32, u32))>,
    target: Partial,
    container: &'static str,
    /// Whether it has transparency, which its translation has not.
    has_alpha: bool,
}

impl Video {
    /// Opens the video `input`, whose translation shall stand at `target`.
    ///
    /// # Errors
    /// When there is no ffmpeg, it cannot read the file, or the target's ending is no video's.
    pub fn open(input: &Path, target: &Path) -> Result<Self> {
        let Some(container) = container(target) else {
            bail!("a video is written as .mp4, .m4v, .mov, .mkv, .webm or .avi, not as {}", target.display());
        };
        let header = Header::probe(input)?;
        let Header { width, height, .. } = header;
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            bail!("its frames of {width}×{height} pixels are larger than can be read");
        }
        let input = absolute(input)?;
        let mut command = quiet();
        command.arg("-i").arg(&input).args(["-map", "0:v:0", "-r", &header.rate(), "-pix_fmt", "rgba"]);
        if height >= HD_LINES && !says_matrix(&input)? {
            // ffmpeg itself takes them for BT.601's.
            command.args(["-vf", "scale=in_color_matrix=bt709"]);
        }
        command.args(["-f", "rawvideo", "-"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut decoder = Ffmpeg::start(command)?;
        let frames = decoder.child.stdout.take().context("ffmpeg has no output")?;
        let target = Partial::create(target).with_context(|| format!("cannot write {}", target.display()))?;
        let has_alpha = has_alpha_mode(&input);
        let frames = BufReader::new(frames);
        Ok(Self { input, header, decoder, frames, encoder: None, target, container, has_alpha })
    }

    /// What is to be said about it, in whole sentences; complete at its end.
    pub fn notes(&self) -> Vec<String> {
        let lost = self.has_alpha.then(|| "Its transparency is dropped: the translated video is opaque.".into());
        lost.into_iter().collect()
    }

    /// Where its translation shall stand.
    pub fn target(&self) -> &Path {
        self.target.path()
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// When ffmpeg finds the file damaged.
    pub fn next(&mut self) -> Result<Option<Picture>> {
        let Header { width, height, .. } = self.header;
        let mut pixels = vec![0; 4 * width as usize * height as usize];
        let mut filled = 0;
        while filled < pixels.len() {
            match self.frames.read(&mut pixels[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read from ffmpeg"),
            }
        }
        if filled == pixels.len() {
            let picture = Picture { width, height, pixels };
            self.has_alpha = self.has_alpha || !picture.is_opaque();
            return Ok(Some(picture));
        }
        self.decoder.end("read it")?;
        if filled > 0 {
            bail!("ffmpeg stopped in the middle of a frame");
        }
        Ok(None)
    }

    /// Adds a translated frame; all have the size of the first.
    ///
    /// # Errors
    /// When ffmpeg cannot write.
    pub fn put(&mut self, picture: &Picture) -> Result<()> {
        let size = (picture.width, picture.height);
        if self.encoder.is_none() {
            self.encoder = Some(self.start_encoder(size)?);
        }
        let Some((encoder, pipe, first)) = &mut self.encoder else { return Ok(()) };
        if *first != size {
            bail!("its frames change their size");
        }
        // A pipe that breaks is not the cause: ffmpeg's own words are.
        pipe.write_all(&picture.pixels).or_else(|error| encoder.end("write it").and(Err(error.into())))
    }

    /// Closes the translated video and puts it in its place.
    ///
    /// # Errors
    /// When there was no frame or ffmpeg could not write.
    pub fn finish(mut self) -> Result<()> {
        let (mut encoder, pipe, _) = self.encoder.take().context("ffmpeg found no frame in it")?;
        drop(pipe);
        encoder.end("write it")?;
        let path = self.target.path().to_owned();
        self.target.finish().with_context(|| format!("cannot write {}", path.display()))
    }

    fn start_encoder(&self, (width, height): (u32, u32)) -> Result<(Ffmpeg, ChildStdin, (u32, u32))> {
        let mut command = quiet();
        let size = format!("{width}x{height}");
        command.args(["-y", "-f", "rawvideo", "-pix_fmt", "rgba", "-s", &size, "-r", &self.header.rate()]);
        command.args(["-i", "pipe:0", "-i"]).arg(&self.input);
        command.args(["-map", "0:v:0", "-map", "1:a?", "-c:a", "copy", "-map_metadata", "1"]);
        // What every player shows is half the resolution in colour, and so sides of even length.
        let matrix = if height >= HD_LINES { "bt709" } else { "bt601" };
        let shape = format!(
            "crop=trunc(iw/2)*2:trunc(ih/2)*2,setsar={},scale=out_color_matrix={matrix}:out_range=tv",
            self.header.pixel_shape()
        );
        command.args(["-vf", &shape, "-pix_fmt", "yuv420p"]);
        if height >= HD_LINES {
            for what in ["-colorspace", "-color_primaries", "-color_trc"] {
                command.args([what, "bt709"]);
            }
            command.args(["-color_range", "tv"]);
        }
        command.args(["-f", self.container]);
        command.arg(absolute(self.target.beside())?).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut encoder = Ffmpeg::start(command)?;
        let pipe = encoder.child.stdin.take().context("ffmpeg has no input")?;
        Ok((encoder, pipe, (width, height)))
    }
}

/// A name that starts with a dash would be an option, one with a colon an address.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
}

/// Whether a WebM or Matroska file says that its frames have alpha, which ffmpeg's own decoders of VP8 and VP9 leave out:
/// the element AlphaMode with the value 1.
fn has_alpha_mode(input: &Path) -> bool {
    let mut header = Vec::new();
    let read = File::open(input).and_then(|file| file.take(MOST_HEADER).read_to_end(&mut header));
    read.is_ok() && header.starts_with(b"\x1A\x45\xDF\xA3") && contains(&header, b"\x53\xC0\x81\x01")
}

/// Whether a video says by which matrix its colours are coded. ffmpeg tells people only, so that it is asked for the
/// first frame as a Matroska file, whose element MatrixCoefficients is there or not.
fn says_matrix(input: &Path) -> Result<bool> {
    let mut command = quiet();
    command.arg("-i").arg(input).args(["-map", "0:v:0", "-c", "copy", "-frames:v", "1", "-f", "matroska", "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut ffmpeg = Ffmpeg::start(command)?;
    let mut header = Vec::new();
    let mut output = ffmpeg.child.stdout.take().context("ffmpeg has no output")?;
    output.by_ref().take(MOST_HEADER).read_to_end(&mut header)?;
    std::io::copy(&mut output, &mut std::io::sink())?;
    // What does not fit into Matroska says nothing.
    Ok(ffmpeg.end("read it").is_ok() && contains(&header, b"\x55\xB1\x81"))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn quiet() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error"]);
    command
}

/// A process that is ended when nobody waits for it any longer.
struct Ffmpeg {
    child: Child,
    words: Option<JoinHandle<String>>,
}

impl Ffmpeg {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                anyhow!("it is a video, and videos need ffmpeg, which is not on the PATH: install it")
            }
            _ => anyhow!(error).context("cannot start ffmpeg"),
        })?;
        let words = child.stderr.take().map(|stderr| {
            // Read all the time: a full pipe would stop ffmpeg.
            std::thread::spawn(move || {
                let (mut words, mut stderr) = (Vec::new(), stderr);
                let _ = stderr.by_ref().take(MOST_WORDS).read_to_end(&mut words);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
                String::from_utf8_lossy(&words).into_owned()
            })
        });
        Ok(Self { child, words })
    }

    /// Waits for its end; an error is the last line that it said.
    fn end(&mut self, task: &str) -> Result<()> {
        let status = self.child.wait().context("ffmpeg is gone")?;
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let said = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
        bail!("ffmpeg could not {task}: {}", said.trim())
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the frames are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    width: u32,
    height: u32,
    /// Frames a second, as a fraction.
    rate: (u64, u64),
    /// Width of a pixel over its height.
    pixel: (u64, u64),
}

impl Header {
    /// Asks ffmpeg for one frame in the format of mjpegtools, whose first line says what the frames are like.
    fn probe(input: &Path) -> Result<Self> {
        let mut command = quiet();
        command.arg("-i").arg(absolute(input)?).args(["-map", "0:v:0", "-frames:v", "1"]);
        command.args(["-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut ffmpeg = Ffmpeg::start(command)?;
        let mut line = Vec::new();
        let mut output = BufReader::new(ffmpeg.child.stdout.take().context("ffmpeg has no output")?);
        output.by_ref().take(4096).read_until(b'\n', &mut line)?;
        std::io::copy(&mut output, &mut std::io::sink())?;
        ffmpeg.end("read it")?;
        Self::parse(&String::from_utf8_lossy(&line)).context("ffmpeg does not say how large its frames are")
    }

    /// `YUV4MPEG2 W1280 H720 F30000:1001 Ip A1:1 C420jpeg`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next() != Some("YUV4MPEG2") {
            return None;
        }
        let words: Vec<&str> = words.collect();
        let field = |letter: char| words.iter().find_map(|word| word.strip_prefix(letter));
        let fraction = |letter: char| {
            let (one, other) = field(letter)?.split_once(':')?;
            let fraction: (u64, u64) = (one.parse().ok()?, other.parse().ok()?);
            (fraction.0 > 0 && fraction.1 > 0).then_some(fraction)
        };
        let (width, height) = (field('W')?.parse().ok()?, field('H')?.parse().ok()?);
        let rate = fraction('F').filter(|(frames, seconds)| *frames <= HIGHEST_RATE.saturating_mul(*seconds));
        let (rate, pixel) = (rate.unwrap_or((30, 1)), fraction('A').unwrap_or((1, 1)));
        (width > 0 && height > 0).then_some(Self { width, height, rate, pixel })
    }

    fn rate(&self) -> String {
        format!("{}/{}", self.rate.0, self.rate.1)
    }

    fn pixel_shape(&self) -> String {
        format!("{}/{}", self.pixel.0, self.pixel.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_frames_are_like() {
        let header = Header::parse("YUV4MPEG2 W1280 H720 F30000:1001 Ip A4:3 C420jpeg XYSCSS=420JPEG\n");
        assert_eq!(header, Some(Header { width: 1280, height: 720, rate: (30_000, 1001), pixel: (4, 3) }));
        let header = Header::parse("YUV4MPEG2 W64 H48 F90000:1 Ip A0:0");
        assert_eq!(header, Some(Header { width: 64, height: 48, rate: (30, 1), pixel: (1, 1) }), "a clock is no rate");
        for line in ["", "YUV4MPEG2 W64", "YUV4MPEG2 W0 H48 F25:1", "MPEG W64 H48"] {
            assert_eq!(Header::parse(line), None, "{line}");
        }
    }

    #[test]
    fn alpha_is_told_by_the_header() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.webm");
        for (bytes, has_alpha) in [
            (&b"\x1A\x45\xDF\xA3 header \x53\xC0\x81\x01 more"[..], true),
            (b"\x1A\x45\xDF\xA3 header \x53\xC0\x81\x00 more", false),
            (b"something else \x53\xC0\x81\x01", false),
        ] {
            std::fs::write(&path, bytes).expect("written");
            assert_eq!(has_alpha_mode(&path), has_alpha);
        }
    }

    #[test]
    fn videos_are_told_by_their_endings() {
        assert_eq!(container(Path::new("a/b.MKV")), Some("matroska"));
        assert_eq!(container(Path::new("mp4")), None);
        assert_eq!(container(Path::new("a.gif")), None);
    }
}
