//! Matrix products over slices, on the calling thread: the gemm crate's natively, our own in a browser.

#[cfg(any(target_family = "wasm", test))]
mod panels;

/// How a slice is read as a matrix.
#[derive(Clone, Copy)]
pub struct View {
    /// Elements between two rows.
    row: usize,
    /// Elements between two columns.
    column: usize,
}

/// A matrix that is read.
pub type Factor<'a> = (&'a [f32], View);
/// A matrix that is written.
pub type Sums<'a> = (&'a mut [f32], View);

/// With `k` of at least 1, `to[m × n] = keep · to + a[m × k] · b[k × n]` on this thread.
pub fn multiply([m, n, k]: [usize; 3], (to, to_view): Sums, keep: bool, (a, a_view): Factor, (b, b_view): Factor) {
    let fits = |len: usize, rows: usize, columns: usize, view: View| {
        rows == 0 || columns == 0 || (rows - 1) * view.row + (columns - 1) * view.column < len
    };
    assert!(fits(to.len(), m, n, to_view) && fits(a.len(), m, k, a_view) && fits(b.len(), k, n, b_view));
    #[cfg(target_family = "wasm")]
    panels::multiply([m, n, k], (to, to_view), keep, (a, a_view), (b, b_view));
    #[cfg(not(target_family = "wasm"))]
    #[allow(unsafe_code, reason = "gemm takes pointers; the assertion above keeps every index inside its slice")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            to_view.column as isize,
            to_view.row as isize,
            keep,
            a.as_ptr(),
            a_view.column as isize,
            a_view.row as isize,
            b.as_ptr(),
            b_view.column as isize,
            b_view.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

impl View {
    /// Rows of consecutive elements, `pitch` apart.
    pub const fn rows(pitch: usize) -> Self {
        Self { row: pitch, column: 1 }
    }

    /// Columns of consecutive elements, `pitch` apart: the transpose of [`View::rows`].
    pub const fn columns(pitch: usize) -> Self {
        Self { row: 1, column: pitch }
    }
}
