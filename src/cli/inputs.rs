//! Which files a command line names, and where their results go.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::clip::Clip;
use crate::data::walk;
use crate::platform::names;

/// What a still picture is written as, by the ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Still {
    /// All pixels exactly.
    Png,
    /// Transparency laid on white.
    Jpeg,
    /// All pixels exactly.
    WebP,
}

impl Still {
    /// The format of a file of this name.
    pub fn of(path: &Path) -> Option<Self> {
        match ending(path).as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" | "jpe" | "jfif" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }
}

/// Endings of what people may want a result to be and what it cannot become.
const NOT_WRITTEN: [&str; 20] = [
    "bmp", "dib", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2", "svg", "ico", "psd", "tga", "ppm", "pgm", "exr",
    "hdr", "pdf", "zip", "apng",
];

fn ending(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// A file to translate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Folders between the one that was named and the file.
    below: PathBuf,
}

/// Files to translate, each once, in order.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The files.
    pub files: Vec<Source>,
    /// The folders that were named.
    folders: Vec<PathBuf>,
    /// Names of what lies in those folders and is no image.
    pub others: Vec<String>,
}

impl Inputs {
    /// What these arguments name: files, folders with all that is below them, globs. A folder below `out` is left out.
    ///
    /// # Errors
    /// When a folder cannot be read or has no images, or a pattern is none or matches nothing.
    pub fn read(arguments: &[String], out: &Path) -> Result<Self> {
        let mut inputs = Self::default();
        for argument in arguments {
            let path = Path::new(argument);
            if path.exists() || !argument.contains(['*', '?', '[']) {
                inputs.add(path, out)?;
                continue;
            }
            let matching = |pattern: &str| -> Result<Vec<PathBuf>> {
                let found = glob::glob(pattern).with_context(|| format!("{argument} is no pattern"))?;
                Ok(found.filter_map(Result::ok).collect())
            };
            // Brackets may be a part of a name.
            let mut found = matching(&argument.replace('[', "[[]"))?;
            if found.is_empty() {
                found = matching(argument)?;
            }
            if found.is_empty() {
                bail!("nothing matches {argument}");
            }
            for path in found {
                inputs.add(&path, out)?;
            }
        }
        let mut seen = HashSet::new();
        inputs.files.retain(|file| seen.insert(real(&file.path)));
        Ok(inputs)
    }

    fn add(&mut self, path: &Path, out: &Path) -> Result<()> {
        if !path.is_dir() {
            self.files.push(Source { path: path.to_owned(), below: PathBuf::new() });
            return Ok(());
        }
        // What an earlier run has made is no input of this one.
        let out = Some(real(out)).filter(|out| *out != real(path));
        let mut inside: Vec<PathBuf> = walk(path)?.into_iter().map(|(_, file)| file).collect();
        inside.retain(|file| out.as_ref().is_none_or(|out| !real(file).starts_with(out)));
        inside.sort();
        let before = self.files.len();
        for file in inside {
            let below = file.strip_prefix(path).unwrap_or(&file);
            let name = below.display().to_string();
            if names::is_hidden(&name) || !names::is_image(&name) {
                self.others.push(name);
            } else {
                let below = below.parent().unwrap_or(Path::new("")).to_owned();
                self.files.push(Source { path: file, below });
            }
        }
        if self.files.len() == before {
            bail!("there are no images in the folder {}", path.display());
        }
        self.folders.push(path.to_owned());
        Ok(())
    }

    /// Where each result goes. Two results of one name get numbers.
    ///
    /// # Errors
    /// When `out` is of a kind that is not written, cannot be made, or would take the place of an input and `overwrite`
    /// is false.
    pub fn targets(&self, out: &Path, overwrite: bool) -> Result<Vec<Target>> {
        let is_file = Still::of(out).is_some() || ending(out) == "gif" || Clip::is_video(out);
        if !out.is_dir() && (is_file || NOT_WRITTEN.contains(&ending(out).as_str())) {
            if !is_file {
                bail!("a picture is written as .png, .jpg or .webp, not as {}", out.display());
            }
            if self.files.len() > 1 {
                bail!("{} is one file, but there are {} images: give a folder", out.display(), self.files.len());
            }
            let targets = vec![Target::File(out.to_owned())];
            return self.spared(targets, overwrite);
        }
        if let Some(folder) = self.folders.iter().find(|folder| !overwrite && real(folder) == real(out)) {
            bail!(
                "{} is where the originals are: give another folder with --out, or replace originals with --overwrite",
                folder.display()
            );
        }
        std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
        let mut taken = HashSet::new();
        let named = self.files.iter().map(|Source { path, below }| {
            let stem = path.file_stem().map_or("image".into(), |stem| stem.to_string_lossy().into_owned());
            let numbered = (1..).map(|n| if n == 1 { stem.clone() } else { format!("{stem}-{n}") });
            // Some systems take A for a.
            let mut free = |name: &String| taken.insert(below.join(name.to_lowercase()));
            Target::Stem(out.join(below).join(numbered.into_iter().find(|name| free(name)).unwrap_or_default()))
        });
        let targets = named.collect();
        self.spared(targets, overwrite)
    }

    /// The same targets, if none is an input or, in a folder, a file beside its input: that may be another original.
    fn spared(&self, targets: Vec<Target>, overwrite: bool) -> Result<Vec<Target>> {
        let originals: HashSet<PathBuf> = self.files.iter().map(|file| real(&file.path)).collect();
        let same: HashSet<_> = self.files.iter().filter_map(|file| identity(&file.path)).collect();
        let folder = |path: &Path| real(path).parent().map(Path::to_owned);
        for (file, target) in self.files.iter().zip(&targets) {
            // A video keeps its ending; what else it becomes, only its contents tell.
            let own = ending(&file.path);
            let endings = if Clip::is_video(&file.path) { vec![own.as_str()] } else { vec!["png", "gif"] };
            for path in endings.into_iter().map(|ending| target.with(ending)).filter(|path| path.exists()) {
                let is_original =
                    originals.contains(&real(&path)) || identity(&path).is_some_and(|it| same.contains(&it));
                let is_beside = matches!(target, Target::Stem(_)) && folder(&path) == folder(&file.path);
                if (is_original || is_beside) && !overwrite {
                    let what = if is_original { "is one of" } else { "is there already, beside" };
                    bail!(
                        "{} {what} the originals: give another place with --out, or replace files with --overwrite",
                        path.display()
                    );
                }
            }
        }
        Ok(targets)
    }
}

/// Whether two names are those of one file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let same = || identity(one).is_some_and(|it| identity(other) == Some(it));
    one.exists() && other.exists() && (real(one) == real(other) || same())
}

/// What two names of one file have in common.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

#[cfg(not(unix))]
fn identity(_path: &Path) -> Option<(u64, u64)> {
    None
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Exactly there.
    File(PathBuf),
    /// There, with the ending of what it becomes.
    Stem(PathBuf),
}

impl Target {
    /// The place of a result with this ending.
    pub fn with(&self, extension: &str) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            // A stem may have dots of its own.
            Self::Stem(path) => {
                let mut path = path.clone().into_os_string();
                path.push(".");
                path.push(extension);
                path.into()
            }
        }
    }

    /// Where a still picture goes, and as what.
    ///
    /// # Errors
    /// When the ending is none of a still picture.
    pub fn still(&self) -> Result<(PathBuf, Still)> {
        let path = self.with("png");
        match Still::of(&path) {
            Some(still) => Ok((path, still)),
            None => bail!("a still picture is written as .png, .jpg or .webp, not as {}", path.display()),
        }
    }

    /// Makes the folder that a result goes to.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn make_folder(&self) -> Result<()> {
        let (Self::File(path) | Self::Stem(path)) = self;
        let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, b"x").expect("a file");
        }
        root
    }

    fn read(root: &Path, arguments: &[&str], out: &str) -> Result<Inputs> {
        let arguments: Vec<String> = arguments.iter().map(|name| root.join(name).display().to_string()).collect();
        Inputs::read(&arguments, &root.join(out))
    }

    fn names(root: &Path, inputs: &Inputs) -> Vec<String> {
        let name = |file: &Source| file.path.strip_prefix(root).expect("inside").display().to_string();
        inputs.files.iter().map(name).collect()
    }

    #[test]
    fn folders_are_read_with_all_below_and_what_systems_leave_is_left() {
        let files = [
            "in/b.JPG",
            "in/._b.JPG",
            "in/.DS_Store",
            "in/Thumbs.db",
            "in/2024/may/a.jfif",
            "in/2024/x.heic",
            "in/note.txt",
            "in/__MACOSX/c.png",
            "in/out/old.png",
        ];
        let root = laid_out(&files);
        let inputs = read(root.path(), &["in"], "in/out").expect("images");
        assert_eq!(names(root.path(), &inputs), ["in/2024/may/a.jfif", "in/2024/x.heic", "in/b.JPG"]);
        let mut others = inputs.others.clone();
        others.sort();
        assert_eq!(others, [".DS_Store", "._b.JPG", "Thumbs.db", "note.txt"]);
        let targets = inputs.targets(&root.path().join("in/out"), false).expect("free");
        let out = root.path().join("in/out");
        assert_eq!(targets[0], Target::Stem(out.join("2024/may/a")));
        assert_eq!(targets[2], Target::Stem(out.join("b")));
        assert!(read(root.path(), &["in/__MACOSX/.."], "o").is_ok());
        let root = laid_out(&["empty/._x.png"]);
        assert!(read(root.path(), &["empty"], "o").is_err());
    }

    #[test]
    fn brackets_are_names_or_patterns() {
        let root = laid_out(&["names [2024]/a b (1).jpg", "names [2024]/ü.jpg", "x1.png", "x2.png", "x3.png"]);
        let found = |argument: &str| read(root.path(), &[argument], "o").map(|inputs| names(root.path(), &inputs));
        assert_eq!(found("names [2024]").expect("a folder").len(), 2);
        assert_eq!(found("names [2024]/*.jpg").expect("a pattern").len(), 2);
        assert_eq!(found("names [2024]/a b (1).jpg").expect("a file").len(), 1);
        assert_eq!(found("x[12].png").expect("a pattern"), ["x1.png", "x2.png"]);
        assert!(found("y[12].png").is_err());
    }

    #[test]
    fn originals_are_spared() {
        let root = laid_out(&["in/a.jpg", "in/b.png", "x.png", "clip.mp4"]);
        let at = |name: &str| root.path().join(name);
        let refused = |arguments: &[&str], out: &str| {
            let inputs = read(root.path(), arguments, out).expect("images");
            inputs.targets(&at(out), true).expect("overwriting is allowed");
            inputs.targets(&at(out), false).err().map(|error| error.to_string())
        };
        for (arguments, out) in
            [(&["in"][..], "in"), (&["x.png"], "x.png"), (&["in/b.png"], "in"), (&["clip.mp4"], "clip.mp4")]
        {
            assert!(refused(arguments, out).is_some_and(|error| error.contains("--overwrite")), "{arguments:?} {out}");
        }
        assert_eq!(refused(&["in/a.jpg"], "in"), None, "in/a.png is free");
        std::fs::write(at("in/a.png"), b"another picture").expect("a file");
        assert!(refused(&["in/a.jpg"], "in").is_some_and(|error| error.contains("already, beside")));
        std::fs::remove_file(at("in/a.png")).expect("a file");
        std::fs::write(at("y.png"), b"an earlier result").expect("a file");
        #[cfg(unix)]
        {
            std::fs::hard_link(at("x.png"), at("z.png")).expect("a second name");
            assert!(refused(&["x.png"], "z.png").is_some_and(|error| error.contains("one of the originals")));
        }
        assert_eq!(refused(&["x.png"], "y.png"), None);
        assert_eq!(refused(&["in"], "new"), None);
    }

    #[test]
    fn the_ending_of_one_result_decides() {
        let root = laid_out(&["x.png"]);
        let inputs = read(root.path(), &["x.png"], "o").expect("an image");
        let still = |out: &str| inputs.targets(&root.path().join(out), false).and_then(|targets| targets[0].still());
        for (out, wanted) in
            [("y.jpg", Still::Jpeg), ("y.JPEG", Still::Jpeg), ("y.webp", Still::WebP), ("y.png", Still::Png)]
        {
            assert_eq!(still(out).expect("written").1, wanted);
        }
        assert_eq!(still("results.v2").expect("a folder").0, root.path().join("results.v2/x.png"));
        for out in ["y.bmp", "y.tiff", "y.gif", "y.pdf"] {
            assert!(still(out).is_err_and(|error| error.to_string().contains(".png, .jpg or .webp")), "{out}");
            assert!(!root.path().join(out).exists(), "no folder of that name");
        }
    }
}
