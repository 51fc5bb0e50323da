//! The order of publications: whether one position is older than another one.
//!
//! A position is `<revision>` or, for a label that was rewound, `<revision>.<epochs>`. Epochs are `<lineage>-<number>` for
//! each part of the label, separated by commas. Numbers of one lineage grow with every rewind.

/// Returns whether a position was published before another one, by their epochs. The result is `false` for positions that
/// epochs do not order.
pub(super) fn is_older(position: &str, than: &str) -> bool {
    let (Some(old), Some(new)) = (epochs(position), epochs(than)) else {
        return false;
    };
    let is_lower = |(old, new)| match (epoch(old), epoch(new)) {
        (Some((one, old)), Some((other, new))) => one == other && old < new,
        _ => false,
    };
    old.split(',').count() == new.split(',').count()
        && old.split(',').zip(new.split(',')).any(is_lower)
}

fn epochs(position: &str) -> Option<&str> {
    position.split_once('.').map(|(_, epochs)| epochs)
}

fn epoch(text: &str) -> Option<(&str, u64)> {
    let (lineage, number) = text.split_once('-')?;
    Some((lineage, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_number_of_the_same_lineage_is_older() {
        for (position, than, expected) in [
            ("b.x-1", "a.x-2", true),
            ("a.x-2", "b.x-1", false),
            ("a.x-2", "a.x-2", false),
            ("a.x-9", "b.x-10", true),
            ("b.y-1", "a.x-2", false),
            ("b", "a.x-2", false),
            ("b.x-1", "a", false),
            ("b,c.0,x-1", "a,c.0,x-2", true),
            ("b,c.x-3,y-1", "a,c.x-2,y-2", true),
            ("b,c.x-1,0", "a.x-2", false),
            ("b.x-one", "a.x-2", false),
        ] {
            assert_eq!(is_older(position, than), expected, "{position} {than}");
        }
    }
}
