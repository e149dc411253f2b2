//! Pictures that move: an animation or a video, translated frame by frame.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::video::{self, Video};
use crate::image::{Animation, AnimationFormat, AnimationWriter, Frame, Frames, Picture};
use crate::platform::files::Partial;

/// Frames in, translated frames out; memory is taken for a few frames at a time.
pub enum Clip {
    /// An animated GIF, WebP or PNG.
    Animation(Box<Animated>),
    /// A video file.
    Video(Box<Video>),
}

/// An animation on its way.
pub struct Animated {
    animation: Animation,
    frames: Frames,
    /// Of the frames that were given out and have not come back.
    milliseconds: VecDeque<u32>,
    format: AnimationFormat,
    /// Begun with the first frame, whose size it takes.
    writer: Option<AnimationWriter<Partial>>,
    target: PathBuf,
}

impl Clip {
    /// Whether a file of this name is a video.
    pub fn is_video(path: &Path) -> bool {
        video::container(path).is_some()
    }

    /// Opens a video whose translation shall stand at `target`.
    ///
    /// # Errors
    /// Those of [`Video::open`].
    pub fn video(input: &Path, target: &Path) -> Result<Self> {
        Ok(Self::Video(Box::new(Video::open(input, target)?)))
    }

    /// An opened animation whose translation shall stand at `target`.
    ///
    /// # Errors
    /// When the ending of `target` is neither .gif nor .png.
    pub fn animation(animation: Animation, target: PathBuf) -> Result<Self> {
        let extension = target.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let format = [AnimationFormat::Gif, AnimationFormat::Png].into_iter();
        let format = format.into_iter().find(|format| extension.as_deref() == Some(format.extension()));
        let Some(format) = format else {
            bail!("an animation is written as .gif or .png, not as {}", target.display());
        };
        let frames = animation.frames()?;
        let milliseconds = VecDeque::new();
        Ok(Self::Animation(Box::new(Animated { animation, frames, milliseconds, format, writer: None, target })))
    }

    /// Where its translation shall stand.
    pub fn target(&self) -> &Path {
        match self {
            Self::Animation(animated) => &animated.target,
            Self::Video(video) => video.target(),
        }
    }

    /// What is to be said about it, in whole sentences; complete when all its frames were given out.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Animation(animated) => animated.animation.notes.clone(),
            Self::Video(video) => video.notes(),
        }
    }

    /// How many frames there are; `None` when only the end will tell.
    pub fn length(&self) -> Option<u32> {
        match self {
            Self::Animation(animated) => Some(animated.animation.frames),
            Self::Video(_) => None,
        }
    }

    /// The next frame to translate.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn next(&mut self) -> Result<Option<Picture>> {
        match self {
            Self::Animation(animated) => {
                let Some(Frame { picture, milliseconds }) = animated.frames.next().transpose()? else {
                    return Ok(None);
                };
                animated.milliseconds.push_back(milliseconds);
                Ok(Some(picture))
            }
            Self::Video(video) => video.next(),
        }
    }

    /// Adds a translated frame.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, picture: Picture) -> Result<()> {
        match self {
            Self::Animation(animated) => animated.put(picture),
            Self::Video(video) => video.put(&picture),
        }
    }

    /// Puts the translated file in its place.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it then.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Animation(animated) => {
                let writer = animated.writer.context("no frame was translated")?;
                let failed = || format!("cannot write {}", animated.target.display());
                writer.finish().with_context(failed)?.finish().with_context(failed)
            }
            Self::Video(video) => video.finish(),
        }
    }
}

impl Animated {
    fn put(&mut self, picture: Picture) -> Result<()> {
        let milliseconds = self.milliseconds.pop_front().context("a frame that nobody asked for")?;
        if self.writer.is_none() {
            let Animation { frames, plays, has_holes, .. } = self.animation;
            let target = self.target.display();
            let out = Partial::create(&self.target).with_context(|| format!("cannot write {target}"))?;
            let size = (picture.width, picture.height);
            let writer = AnimationWriter::new(out, self.format, size, frames, plays)?;
            self.writer = Some(writer.expecting_holes(has_holes));
        }
        match &mut self.writer {
            Some(writer) => Ok(writer.write(Frame { picture, milliseconds })?),
            None => Ok(()),
        }
    }
}
