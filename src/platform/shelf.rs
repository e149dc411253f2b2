//! Files that outlive a visit: folders in the browser's private file system (OPFS), for the worker.
//!
//! A file is whole or not there: the browser writes beside it and puts the new one in its place at the end.

use js_sys::{AsyncIterator, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    DomException, File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemRemoveOptions, FileSystemWritableFileStream, WorkerGlobalScope,
};

/// Why something could not be kept or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShelfError {
    /// No room is left for this site.
    #[error("the browser has no room left for this page")]
    Full,
    /// The file or its folder is not there (any more).
    #[error("it is no longer there")]
    Gone,
    /// Anything else, in the browser's words.
    #[error("{0}")]
    Other(String),
}

impl From<JsValue> for ShelfError {
    fn from(error: JsValue) -> Self {
        let exception = error.dyn_ref::<DomException>();
        match exception.map(DomException::name).as_deref() {
            Some("QuotaExceededError") => Self::Full,
            Some("NotFoundError") => Self::Gone,
            _ => Self::Other(exception.map_or_else(|| format!("{error:?}"), |exception| exception.message())),
        }
    }
}

/// A folder.
#[derive(Clone, Debug)]
pub struct Shelf(FileSystemDirectoryHandle);

impl Shelf {
    /// The folder of that name in this site's root; made where it is missing.
    ///
    /// # Errors
    /// Where the browser keeps no files for this page (private windows of some browsers).
    pub async fn open(name: &str) -> Result<Self, ShelfError> {
        let scope: WorkerGlobalScope =
            js_sys::global().dyn_into().map_err(|_| ShelfError::Other("this is no worker".into()))?;
        // In an insecure page the property is missing, and the typed getter would hand out `undefined`.
        let storage = Reflect::get(&scope.navigator(), &"storage".into())?;
        if !Reflect::has(&storage, &"getDirectory".into()).unwrap_or(false) {
            return Err(ShelfError::Other("this browser keeps no files for pages".into()));
        }
        let root = JsFuture::from(scope.navigator().storage().get_directory()).await?;
        Self(root.unchecked_into()).folder(name).await
    }

    /// A folder in this one; made where it is missing.
    ///
    /// # Errors
    /// Those of the browser.
    pub async fn folder(&self, name: &str) -> Result<Self, ShelfError> {
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(true);
        let folder = JsFuture::from(self.0.get_directory_handle_with_options(name, &options)).await?;
        Ok(Self(folder.unchecked_into()))
    }

    /// Names of the files and folders in it, in order.
    ///
    /// # Errors
    /// Those of the browser.
    pub async fn names(&self) -> Result<Vec<String>, ShelfError> {
        let keys: AsyncIterator = self.0.keys();
        let mut names = Vec::new();
        loop {
            let next = JsFuture::from(keys.next()?).await?;
            if Reflect::get(&next, &"done".into())?.is_truthy() {
                names.sort();
                return Ok(names);
            }
            names.extend(Reflect::get(&next, &"value".into())?.as_string());
        }
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`ShelfError::Full`], [`ShelfError::Gone`] when the folder was deleted meanwhile; what was there before is kept.
    pub async fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ShelfError> {
        // On a full disk Chromium says now and then only that its pipe broke; asked again, it says why.
        for _ in 0..3 {
            match self.try_write(name, bytes).await {
                Err(ShelfError::Other(_)) => {}
                written => return written,
            }
        }
        self.try_write(name, bytes).await
    }

    async fn try_write(&self, name: &str, bytes: &[u8]) -> Result<(), ShelfError> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        let file = JsFuture::from(self.0.get_file_handle_with_options(name, &options)).await?;
        // Older WebKits write by other means.
        if !Reflect::has(&file, &"createWritable".into())? {
            return Err(ShelfError::Other("this browser keeps no files for pages".into()));
        }
        let stream = JsFuture::from(file.unchecked_into::<FileSystemFileHandle>().create_writable()).await?;
        let stream: FileSystemWritableFileStream = stream.unchecked_into();
        // A copy: the view of this memory would be gone when the memory grows.
        let written = async {
            JsFuture::from(stream.write_with_js_u8_array(&Uint8Array::from(bytes))?).await?;
            JsFuture::from(stream.close()).await
        };
        if let Err(error) = written.await {
            // What it had written is given up; a stream that failed has done so already.
            let _ = JsFuture::from(stream.abort()).await;
            return Err(error.into());
        }
        Ok(())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`ShelfError::Gone`] when there is none of that name.
    pub async fn read(&self, name: &str) -> Result<Vec<u8>, ShelfError> {
        let file = JsFuture::from(self.0.get_file_handle(name)).await?;
        let file = JsFuture::from(file.unchecked_into::<FileSystemFileHandle>().get_file()).await?;
        let buffer = JsFuture::from(file.unchecked_into::<File>().array_buffer()).await?;
        Ok(Uint8Array::new(&buffer).to_vec())
    }

    /// Deletes a file, or a folder with all in it.
    ///
    /// # Errors
    /// Those of the browser.
    pub async fn remove(&self, name: &str) -> Result<(), ShelfError> {
        let options = FileSystemRemoveOptions::new();
        options.set_recursive(true);
        JsFuture::from(self.0.remove_entry_with_options(name, &options)).await?;
        Ok(())
    }
}
