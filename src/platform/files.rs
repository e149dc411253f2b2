//! Files that are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The ending of a file that is being written.
const PARTIAL: &str = ".partial";

/// What is being written now; for [`abandon`].
static UNDER_WAY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn under_way<T>(change: impl FnOnce(&mut Vec<PathBuf>) -> T) -> T {
    change(&mut UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Removes all files that are half written, for a process that is about to end.
pub fn abandon() {
    under_way(|paths| {
        for path in paths.drain(..) {
            // Nobody is left to tell.
            let _ = fs::remove_file(path);
        }
    });
}

/// Writes the file at `path`, replacing what was there. The new file is written beside it, synced
/// and renamed: at any moment `path` holds either the old file or the new one, whole.
///
/// # Errors
/// Those of the file system; the old file is then untouched and nothing is left beside it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut partial = Partial::create(path)?;
    partial.write_all(bytes)?;
    partial.finish()
}

/// A file that is being written beside its place and takes it when it is whole; given up, it is removed.
#[derive(Debug)]
pub struct Partial {
    /// Closed before it is renamed.
    file: Option<File>,
    beside: PathBuf,
    path: PathBuf,
}

impl Partial {
    /// Begins a file that shall stand at `path`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path) -> io::Result<Self> {
        let (file, beside) = create_beside(path)?;
        under_way(|paths| paths.push(beside.clone()));
        Ok(Self { file: Some(file), beside, path: path.to_owned() })
    }

    /// Where it is meanwhile, for another program to write to.
    pub fn beside(&self) -> &Path {
        &self.beside
    }

    /// Where it shall stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place, replacing what was there.
    ///
    /// # Errors
    /// Those of the file system; the old file is then untouched and nothing is left beside it.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            file.sync_all()?;
        }
        fs::rename(&self.beside, &self.path)?;
        under_way(|paths| paths.retain(|path| *path != self.beside));
        self.beside.clear();
        sync_folder_of(&self.path)
    }
}

/// Makes the names in the folder of `path` survive a power cut: a file's own sync does not.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    // Elsewhere folders cannot be opened as files.
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Removes from `folder` what a process that was killed left of files half written. Nobody else may be writing there.
///
/// # Errors
/// Those of the file system.
pub fn remove_partial(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(PARTIAL) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.beside.as_os_str().is_empty() {
            // Nobody is left to tell.
            let _ = fs::remove_file(&self.beside);
            under_way(|paths| paths.retain(|path| *path != self.beside));
        }
    }
}

/// A new file in the folder of `path`, under a name that nobody has: `.name.0.partial` or a later number.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
    for number in 0..100 {
        let beside = path.with_file_name(format!(".{}.{number}{PARTIAL}", name.display()));
        match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Ok(file) => return Ok((file, beside)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
            Err(error) => return Err(error),
        }
    }
    Err(taken)
}
