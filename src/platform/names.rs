//! What file names tell, in folders, archives and pages alike.

/// Extensions of files that count as images. Some of these cannot be decoded: they are taken
/// nevertheless, so that they are reported instead of silently missing.
const EXTENSIONS: [&str; 17] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "heic", "heif", "avif",
    "jxl", "jp2",
];

/// Whether a file's name ends as an image's does.
pub fn is_image(path: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// Files that systems leave behind: `.DS_Store`, `._photo.jpg` (AppleDouble), `__MACOSX/…`, `Thumbs.db`, `@eaDir/…`,
/// `$RECYCLE.BIN/…`.
pub fn is_hidden(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| {
        (part.starts_with('.') && part != "." && part != "..")
            || ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "ehthumbs.db", "desktop.ini"]
                .iter()
                .any(|left| part.eq_ignore_ascii_case(left))
    })
}

/// Lower case in every script. The page asks the browser, so that the tables need not be downloaded.
pub fn lowercase(text: &str) -> String {
    #[cfg(target_family = "wasm")]
    return js_sys::JsString::from(text).to_lower_case().into();
    #[cfg(not(target_family = "wasm"))]
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_behind_files_are_hidden() {
        for path in
            ["__MACOSX/trainA/._x.png", "trainA/.DS_Store", "trainA/._x.png", "trainA\\Thumbs.db", "x/@eaDir/y.jpg"]
        {
            assert!(is_hidden(path), "{path}");
        }
        assert!(!is_hidden("./trainA/x.png") && !is_hidden("trainA/x.y.png"));
    }

    #[test]
    fn extensions_have_no_case() {
        assert!(is_image("x.JPEG") && is_image("a/b.c/x.webp") && is_image("x.heic") && is_image("x.jfif"));
        assert!(!is_image("x.txt") && !is_image("x") && !is_image("png"));
    }
}
