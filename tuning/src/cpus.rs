//! Sets of CPUs as the kernel writes them: `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::Error;

/// CPUs by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<usize>);

/// Numbers above this are a slip: Linux has no more CPUs than that in any configuration (`NR_CPUS`).
const CPU_MAX: usize = 8_191;

impl CpuSet {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `cpu` is in it.
    #[must_use]
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.contains(&cpu)
    }

    /// Each, rising.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl FromStr for CpuSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |what| Error::Cpus { text: text.trim().to_owned(), what };
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| bad("a number was expected"));
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(bad("a range goes backwards"));
            }
            if last > CPU_MAX {
                return Err(bad("no machine has so many"));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for cpu in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        for (n, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read_and_written_back() {
        for text in ["", "0", "0-3", "0-3,8", "1,3,5-6"] {
            let cpus: CpuSet = text.parse().expect("a list");
            assert_eq!(cpus.to_string(), text);
        }
        assert_eq!("3,1,2\n".parse::<CpuSet>().expect("a list").to_string(), "1-3");
    }

    #[test]
    fn what_is_no_list_is_refused_in_words() {
        for (text, what) in [
            ("a", "a number was expected"),
            ("3-1", "a range goes backwards"),
            ("1-", "a number was expected"),
            ("0-99999", "no machine has so many"),
        ] {
            let error = text.parse::<CpuSet>().expect_err("no list").to_string();
            assert!(error.contains(what) && error.contains(text), "{error}");
        }
    }
}
