//! The order of publications where ancestry does not give it.
//!
//! A commit id identifies the content of a label, and its history lists the earlier publications. A force-push back
//! publishes an old commit again, later than its descendants. An epoch counts such rewinds.

use std::fmt;
use std::sync::Arc;

use super::{Revision, is_hex};

/// The longest list of epochs that a client may send, in parts. A longer list is not compared.
const PART_COUNT_MAX: usize = 128;
/// The text of a part that was never rewound.
const NEVER_REWOUND: &str = "0";

/// The last rewind of one label. Epochs of different lineages have no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// The id of the record that counts the rewinds. Mirrors and replicas adopt it together with the count.
    pub lineage: u64,
    /// The number of the rewind, which grows with every rewind of the label. The first one is at least 1.
    pub number: u64,
}

impl Epoch {
    /// Parses `<lineage>-<number>`: 16 hexadecimal digits in lower case and a positive decimal number.
    pub fn parse(text: &str) -> Option<Self> {
        let (lineage, number) = text.split_once('-')?;
        let is_lineage = is_hex(lineage, 16);
        let is_number =
            number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        Some(Self {
            lineage: u64::from_str_radix(lineage, 16).ok().filter(|_| is_lineage)?,
            number: number.parse().ok().filter(|_| is_number)?,
        })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.lineage, self.number)
    }
}

/// The epochs of all parts of a label, at least one of which was rewound. A plain source is one part. In a composite
/// each source is a part, and in a list of labels each label. For an application that a rollout holds, the epochs of the
/// rollouts follow, again one for each part.
#[derive(Clone, PartialEq, Eq)]
pub struct Epochs(Arc<[Option<Epoch>]>);

impl Epochs {
    /// The epochs of these parts. `None` if no part was ever rewound.
    pub fn of(parts: impl IntoIterator<Item = Option<Epoch>>) -> Option<Self> {
        let parts: Arc<[_]> = parts.into_iter().collect();
        parts.iter().any(Option::is_some).then_some(Self(parts))
    }

    /// Parses the display form of [`Epochs`].
    pub fn parse(text: &str) -> Option<Self> {
        let part = |text: &str| match text {
            NEVER_REWOUND => Some(None),
            text => Epoch::parse(text).map(Some),
        };
        let parts: Option<Vec<_>> = text.split(',').take(PART_COUNT_MAX + 1).map(part).collect();
        Self::of(parts.filter(|parts| parts.len() <= PART_COUNT_MAX)?)
    }

    /// The epoch of each part, in order. `None` for a part that was never rewound.
    pub fn parts(&self) -> &[Option<Epoch>] {
        &self.0
    }
}

impl fmt::Display for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match part {
                Some(epoch) => epoch.fmt(f)?,
                None => f.write_str(NEVER_REWOUND)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epochs({self})")
    }
}

/// The position of a label in the order of its publications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPosition {
    /// The published revision.
    pub revision: Revision,
    /// The epochs in which the revision was published. `None` if the label was never rewound and no rollout holds the
    /// application.
    pub epochs: Option<Epochs>,
}

impl LabelPosition {
    /// Parses `<revision>` or `<revision>.<epochs>`. A revision has no dot. `None` if the epochs are malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (revision, epochs) = match text.split_once('.') {
            Some((revision, epochs)) => (revision, Some(Epochs::parse(epochs)?)),
            None => (text, None),
        };
        Some(Self { revision: Revision::new(revision), epochs })
    }
}

impl From<&Revision> for LabelPosition {
    fn from(revision: &Revision) -> Self {
        Self { revision: revision.clone(), epochs: None }
    }
}

impl fmt::Display for LabelPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.epochs {
            Some(epochs) => write!(f, "{}.{epochs}", self.revision),
            None => self.revision.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: &str = "00c0ffee00c0ffee-12";

    #[test]
    fn a_position_is_read_as_it_is_shown() {
        for text in ["4f1c", &format!("4f1c.{EPOCH}"), &format!("4f1c,8d01.0,{EPOCH}")] {
            assert_eq!(LabelPosition::parse(text).expect(text).to_string(), text);
        }
        let position = LabelPosition::parse(&format!("a,b.0,{EPOCH}")).expect("a position");
        let epoch = Epoch { lineage: 0x00c0_ffee_00c0_ffee, number: 12 };
        assert_eq!(position.epochs.expect("epochs").parts(), [None, Some(epoch)]);
    }

    #[test]
    fn malformed_epochs_are_none() {
        let long = vec![EPOCH; PART_COUNT_MAX + 1].join(",");
        for text in [
            "",
            "0",
            "0,0",
            "c0ffee-1",
            "00C0FFEE00C0FFEE-1",
            "00c0ffee00c0ffee",
            "00c0ffee00c0ffee-",
            "00c0ffee00c0ffee-0",
            "00c0ffee00c0ffee-01",
            "00c0ffee00c0ffee-+1",
            "+0c0ffee00c0ffee-1",
            "00c0ffee00c0ffee-99999999999999999999",
            "00c0ffee00c0ffee-1,",
            &long,
        ] {
            assert_eq!(Epochs::parse(text), None, "{text}");
            assert_eq!(LabelPosition::parse(&format!("4f1c.{text}")), None, "{text}");
        }
    }

    #[test]
    fn labels_that_were_never_rewound_have_no_epochs() {
        assert_eq!(Epochs::of([None, None]), None);
        assert_eq!(Epochs::of([]), None);
    }
}
