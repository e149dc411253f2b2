//! Numbers as people read them, without the weight of `std`'s float formatting.

/// `value` with `digits` decimals, rounded; an en dash for what is no number.
pub fn decimal(value: f64, digits: u32) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let scale = 10_u64.pow(digits.min(9));
    let scaled = (value.abs() * scale as f64).round() as u64;
    let sign = if value < 0.0 && scaled > 0 { "−" } else { "" };
    let whole = grouped(scaled / scale);
    if digits == 0 {
        return sign.to_owned() + &whole;
    }
    let fraction = (scaled % scale).to_string();
    let zeros = "0".repeat((digits as usize).saturating_sub(fraction.len()));
    [sign, &whole, ".", &zeros, &fraction].concat()
}

/// A count with thin groups of three: `11,378,179`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// About three significant digits, for axes and losses.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    decimal(value, digits)
}

/// `640 bytes`, `12 kB`, `5.4 MB`, `1.25 GB` (powers of ten, as file managers count).
pub fn bytes(count: u64) -> String {
    let count_f = count as f64;
    match count {
        0..1_000 => count.to_string() + " bytes",
        1_000..1_000_000 => decimal(count_f / 1e3, 0) + " kB",
        1_000_000..1_000_000_000 => decimal(count_f / 1e6, 1) + " MB",
        _ => decimal(count_f / 1e9, 2) + " GB",
    }
}

/// A measured time: `84 ms`, `1.42 s`, `2 min 5 s`.
pub fn milliseconds(time: f64) -> String {
    match time {
        time if time < 1_000.0 => decimal(time, 0) + " ms",
        time if time < 60_000.0 => decimal(time / 1e3, 2) + " s",
        time => duration(time / 1e3),
    }
}

/// A time to wait, in seconds: `45 s`, `3 min 20 s`, `2 h 5 min`, `4 days`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".into();
    }
    let seconds = seconds.round() as u64;
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        let head = big.to_string() + big_unit;
        if small == 0 { head } else { [&head, " ", &small.to_string(), small_unit].concat() }
    };
    match seconds {
        0..60 => seconds.to_string() + " s",
        60..3_600 => two(seconds / 60, " min", seconds % 60, " s"),
        3_600..172_800 => two(seconds / 3_600, " h", seconds % 3_600 / 60, " min"),
        _ => (seconds / 86_400).to_string() + " days",
    }
}

/// `640 × 480`.
pub fn size(width: u32, height: u32) -> String {
    [&width.to_string(), " × ", &height.to_string()].concat()
}

/// A fraction of 1 as whole percent.
pub fn percent(fraction: f32) -> String {
    decimal(f64::from(fraction.clamp(0.0, 1.0)) * 100.0, 0) + " %"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_and_keep_their_zeros() {
        assert_eq!(decimal(1.005, 1), "1.0");
        assert_eq!(decimal(0.07, 2), "0.07");
        assert_eq!(decimal(-0.001, 2), "0.00");
        assert_eq!(decimal(-12.345, 1), "−12.3");
        assert_eq!(decimal(1234.5, 0), "1,235");
        assert_eq!(decimal(f64::NAN, 2), "–");
    }

    #[test]
    fn counts_are_grouped_from_the_right() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(11_378_179), "11,378,179");
    }

    #[test]
    fn sizes_and_times_take_the_unit_that_fits() {
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(bytes(5_400_000), "5.4 MB");
        assert_eq!(bytes(1_250_000_000), "1.25 GB");
        assert_eq!(milliseconds(84.4), "84 ms");
        assert_eq!(milliseconds(1_420.0), "1.42 s");
        assert_eq!(milliseconds(125_000.0), "2 min 5 s");
        assert_eq!(duration(7_500.0), "2 h 5 min");
        assert_eq!(duration(f64::INFINITY), "–");
        assert_eq!(short(0.1234), "0.123");
        assert_eq!(short(12.34), "12.3");
        assert_eq!(percent(0.424), "42 %");
    }
}
