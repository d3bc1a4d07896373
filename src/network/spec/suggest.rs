//! "Did you mean".

/// Words longer than this are not compared: the cost is quadratic, and no key or usual name is as long.
const MAX_LEN: usize = 64;

/// The candidate that differs from `word` by a slip of the pen: at most one edit in a word of up to five
/// characters, two in a longer one; the nearest where there are several.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_LEN {
        return None;
    }
    let tolerance = if word.chars().count() <= 5 { 1 } else { 2 };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_LEN)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= tolerance)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, or nothing.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map(|found| format!("; did you mean `{found}`?")).unwrap_or_default()
}

/// The optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours, by dynamic
/// programming over three rows.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        (before, above) = (above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("ouput", "output", 1),
            ("iputn", "input", 2),
            ("szie", "size", 1),
            ("kitten", "sitting", 3),
            ("stride", "size", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn suggests_slips_only() {
        let keys = ["size", "stride", "input", "output", "fft"];
        assert_eq!(closest("ouput", keys), Some("output"));
        assert_eq!(closest("szie", keys), Some("size"));
        assert_eq!(closest("load", keys), None);
        assert_eq!(closest("gaussian", keys), None);
        assert_eq!(closest(&"s".repeat(1000), keys), None);
    }
}
