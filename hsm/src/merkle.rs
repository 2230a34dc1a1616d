//! The tree of RFC 6962, section 2: hashes, proofs and their verification (RFC 9162, sections 2.1.3 and 2.1.4).
//!
//! ```text
//!             root of 7 leaves
//!            ╱                ╲
//!         (2,0)                ╲            (level, index): the node over the leaves
//!        ╱     ╲                ╲           index × 2^level and the 2^level − 1 that follow.
//!    (1,0)     (1,1)          (1,2)         What is complete never changes; only the right edge
//!    ╱   ╲     ╱   ╲          ╱   ╲         is hashed anew as the tree grows.
//!   l0   l1   l2   l3        l4   l5   l6
//! ```

use crate::Error;
use crate::signer::sha256;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash of a leaf.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

/// The hash of an inner node.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// A growing tree's right edge: all that its root needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, the largest first: one for each bit of `size`.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next leaf's hash, and passes each node that it completes to `completed`: level, index, hash,
    /// the leaf itself first.
    pub fn push(&mut self, leaf: Hash, mut completed: impl FnMut(u32, u64, &Hash)) {
        let (mut hash, index) = (leaf, self.size);
        completed(0, index, &hash);
        for level in 1..=index.trailing_ones() {
            let left = self.peaks.pop().expect("one peak for each bit of the size");
            hash = node_hash(&left, &hash);
            completed(level, index >> level, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root now.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }

    /// The edge of the first `size` leaves of a tree.
    ///
    /// # Errors
    /// When a node cannot be read.
    pub fn of(nodes: &dyn Nodes, size: u64) -> Result<Self, Error> {
        let (mut peaks, mut begin) = (Vec::new(), 0);
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(nodes.node(level, begin >> level)?);
            begin += 1 << level;
        }
        Ok(Self { size, peaks })
    }
}

/// Where a tree's complete nodes are read.
pub trait Nodes {
    /// The node over the leaves `index << level` and the `2^level − 1` that follow, all of which exist.
    ///
    /// # Errors
    /// When it cannot be read.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Error>;
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The root of the leaves from `begin` to before `end`. `begin` is a multiple of a power of two that is at least
/// their number, as in every recursion of RFC 6962.
fn range_root(nodes: &dyn Nodes, begin: u64, end: u64) -> Result<Hash, Error> {
    let size = end - begin;
    if size.is_power_of_two() {
        let level = size.ilog2();
        return nodes.node(level, begin >> level);
    }
    let middle = begin + split(size);
    Ok(node_hash(&range_root(nodes, begin, middle)?, &range_root(nodes, middle, end)?))
}

/// The root of the first `size` leaves.
///
/// # Errors
/// When a node cannot be read.
pub fn root(nodes: &dyn Nodes, size: u64) -> Result<Hash, Error> {
    if size == 0 { Ok(empty_root()) } else { range_root(nodes, 0, size) }
}

/// That leaf `index` is in the tree of the first `size` leaves: hashes from the leaf's sibling up.
///
/// # Errors
/// [`Error::Proof`] when there is no such leaf, or a node cannot be read.
pub fn inclusion_proof(nodes: &dyn Nodes, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
    if index >= size {
        return Err(Error::Proof("there is no such leaf in a tree of that size"));
    }
    let (mut begin, mut end, mut path) = (0, size, Vec::new());
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, begin, middle)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// That the tree of the first `new` leaves begins with that of the first `old`.
///
/// # Errors
/// [`Error::Proof`] when `old` is above `new`, or a node cannot be read.
pub fn consistency_proof(nodes: &dyn Nodes, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
    if old > new {
        return Err(Error::Proof("the older tree is the larger one"));
    }
    let mut path = Vec::new();
    if old == 0 || old == new {
        return Ok(path);
    }
    let (mut begin, mut end, mut is_whole) = (0, new, true);
    while old != end {
        let middle = begin + split(end - begin);
        if old <= middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, begin, middle)?);
            (begin, is_whole) = (middle, false);
        }
    }
    if !is_whole {
        path.push(range_root(nodes, begin, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `proof` shows that the leaf of that hash is at `index` of the tree of `size` leaves with that root.
///
/// # Errors
/// [`Error::Proof`] when it does not.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Error> {
    if index >= size {
        return Err(Error::Proof("the leaf lies outside the tree"));
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(Error::Proof("the inclusion proof is too long"));
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last != 0 {
        return Err(Error::Proof("the inclusion proof is too short"));
    }
    if hash != *root {
        return Err(Error::Proof("the inclusion proof does not lead to the root"));
    }
    Ok(())
}

/// Whether `proof` shows that the tree of `new` leaves begins with the one of `old` leaves.
///
/// # Errors
/// [`Error::Proof`] when it does not.
pub fn verify_consistency(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> Result<(), Error> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    let is_empty_proof = old_size == 0 || old_size == new_size;
    if old_size > new_size {
        return Err(Error::Proof("the newer tree is smaller than the older one"));
    }
    if is_empty_proof {
        let fits = if old_size == 0 { *old_root == empty_root() } else { old_root == new_root };
        return match (proof.is_empty(), fits) {
            (false, _) => Err(Error::Proof("the consistency proof is too long")),
            (true, false) => Err(Error::Proof("two roots for one size")),
            (true, true) => Ok(()),
        };
    }
    let mut path = proof.iter();
    // A complete older tree is its own first node, and is left out of the proof.
    let first = if old_size.is_power_of_two() { Some(old_root) } else { path.next() };
    let first = first.ok_or(Error::Proof("the consistency proof is empty"))?;
    let (mut place, mut last) = (old_size - 1, new_size - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for node in path {
        if last == 0 {
            return Err(Error::Proof("the consistency proof is too long"));
        }
        if place & 1 == 1 || place == last {
            from_old = node_hash(node, &from_old);
            from_new = node_hash(node, &from_new);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            from_new = node_hash(&from_new, node);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last != 0 {
        return Err(Error::Proof("the consistency proof is too short"));
    }
    if from_old != *old_root {
        return Err(Error::Proof("the consistency proof does not lead to the older root"));
    }
    if from_new != *new_root {
        return Err(Error::Proof("the consistency proof does not lead to the newer root"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The definition of RFC 6962, section 2.1, word by word.
    pub(crate) fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            leaves => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    /// PATH of section 2.1.1.
    fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
        let (mut path, sibling) = if index < left.len() {
            (naive_path(index, left), naive_root(right))
        } else {
            (naive_path(index - left.len(), right), naive_root(left))
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF of section 2.1.2.
    fn naive_subproof(old: usize, leaves: &[Hash], is_whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if is_whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
        let (mut path, sibling) = if old <= left.len() {
            (naive_subproof(old, left, is_whole), naive_root(right))
        } else {
            (naive_subproof(old - left.len(), right, false), naive_root(left))
        };
        path.push(sibling);
        path
    }

    /// Every node, looked up by its leaves.
    pub(crate) struct Whole(pub(crate) Vec<Hash>);

    impl Nodes for Whole {
        fn node(&self, level: u32, index: u64) -> Result<Hash, Error> {
            let (begin, size) = ((index << level) as usize, 1usize << level);
            Ok(naive_root(&self.0[begin..begin + size]))
        }
    }

    pub(crate) fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_le_bytes())).collect()
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
    }

    /// The test data of the reference implementation of RFC 6962 (certificate-transparency, merkletree tests): eight
    /// leaves and the root after each.
    #[test]
    fn the_public_vectors_of_rfc_6962() {
        let entries = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        assert_eq!(
            empty_root().to_vec(),
            hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        );
        let mut frontier = Frontier::default();
        for (entry, root) in entries.into_iter().zip(roots) {
            frontier.push(leaf_hash(&hex(entry)), |_, _, _| {});
            assert_eq!(frontier.root().to_vec(), hex(root), "{} leaves", frontier.size());
        }
    }

    /// Every leaf of every tree of up to 40 leaves, and every pair of sizes: the same proofs as by definition, and
    /// none that verifies after any change.
    #[test]
    fn proofs_are_those_of_the_definition_and_no_other_verifies() {
        let all = Whole(leaves(40));
        let mut frontier = Frontier::default();
        for size in 0..=40u64 {
            let these = &all.0[..size as usize];
            let tree_root = naive_root(these);
            assert_eq!(frontier.root(), tree_root);
            assert_eq!(root(&all, size).expect("nodes"), tree_root);
            assert_eq!(Frontier::of(&all, size).expect("nodes"), frontier);
            for index in 0..size {
                let proof = inclusion_proof(&all, index, size).expect("it is in");
                assert_eq!(proof, naive_path(index as usize, these), "leaf {index} of {size}");
                let leaf = &all.0[index as usize];
                verify_inclusion(index, size, leaf, &proof, &tree_root).expect("it verifies");
                let refused = |index, size, leaf: &Hash, proof: &[Hash], root: &Hash| {
                    assert!(verify_inclusion(index, size, leaf, proof, root).is_err(), "{index} of {size}");
                };
                refused(index, size, &[9; 32], &proof, &tree_root);
                refused(index, size, leaf, &proof, &[9; 32]);
                refused(size, size, leaf, &proof, &tree_root);
                refused(index, size, leaf, &[&proof[..], &[[9; 32]]].concat(), &tree_root);
                for other in (0..size).filter(|other| *other != index) {
                    refused(other, size, leaf, &proof, &tree_root);
                }
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at][at % 32] ^= 1;
                    refused(index, size, leaf, &changed, &tree_root);
                    changed.remove(at);
                    refused(index, size, leaf, &changed, &tree_root);
                }
            }
            assert!(inclusion_proof(&all, size, size).is_err());
            for old in 0..=size {
                let older = naive_root(&all.0[..old as usize]);
                let proof = consistency_proof(&all, old, size).expect("it is older");
                if old > 0 {
                    assert_eq!(proof, naive_subproof(old as usize, these, true), "{old} to {size}");
                }
                let check = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
                    verify_consistency((old, old_root), (size, new_root), proof)
                };
                check(&older, &tree_root, &proof).expect("it verifies");
                assert!(check(&[9; 32], &tree_root, &proof).is_err(), "{old} to {size}");
                assert!(check(&older, &[9; 32], &proof).is_err() || old == 0, "{old} to {size}");
                assert!(check(&older, &tree_root, &[&proof[..], &[[9; 32]]].concat()).is_err());
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at][at % 32] ^= 1;
                    assert!(check(&older, &tree_root, &changed).is_err(), "{old} to {size}");
                    changed.remove(at);
                    assert!(check(&older, &tree_root, &changed).is_err(), "{old} to {size}");
                }
            }
            assert!(size == 0 || consistency_proof(&all, size, size - 1).is_err());
            if size < 40 {
                frontier.push(all.0[size as usize], |level, index, hash| {
                    assert_eq!(all.node(level, index).expect("complete"), *hash);
                });
            }
        }
    }
}
