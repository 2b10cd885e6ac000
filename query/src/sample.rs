//! Samples that anybody can draw again, with any tool that computes SHA-256.
//!
//! Each item of a population has a rank: SHA-256 of the seed, the population's hash and the item's key, with a line feed
//! between. The items with the lowest ranks are the sample, the next ones its replacements. So the choice depends neither
//! on the order of rows nor on a random number generator, and whoever gave the seed cannot have been anticipated.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::QueryError;
use crate::reference::hex;

/// What is to be drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Draw {
    /// The auditor's word; a good one was not known before the period was over.
    pub seed: String,
    /// How many items.
    #[serde(flatten)]
    pub size: Size,
    /// Further items, to replace those that turn out to be none.
    #[serde(default)]
    pub replacements: u64,
    /// A column of the report: so many items are drawn of each of its values.
    #[serde(default)]
    pub strata: Option<String>,
}

/// How many items are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Size {
    /// As many as the auditor says.
    Count {
        /// Items.
        n: u64,
    },
    /// As many as are needed for a conclusion.
    Risk {
        /// How sure the conclusion is to be, between 0 and 1.
        confidence: f64,
        /// The share of deviations that can be lived with, between 0 and 1.
        tolerable: f64,
        /// Deviations that are expected in the sample, and allowed.
        #[serde(default)]
        expected: u64,
    },
}

impl Size {
    /// Items to draw of a population of this many.
    ///
    /// By risk it is the smallest sample in which, if the tolerable share of the population or more were deviations, more
    /// than the expected ones would be found with that confidence (sampling without replacement: hypergeometric).
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] for shares that are none.
    pub fn of(self, population: u64) -> Result<u64, QueryError> {
        let (confidence, tolerable, expected) = match self {
            Self::Count { n } => return Ok(n.min(population)),
            Self::Risk { confidence, tolerable, expected } => (confidence, tolerable, expected),
        };
        let is_share = |share: f64| share > 0.0 && share < 1.0;
        if !is_share(confidence) || !is_share(tolerable) {
            return Err(QueryError::Invalid(
                "confidence and tolerable are shares between 0 and 1, for example 0.95 and 0.05".to_owned(),
            ));
        }
        let deviations = (population as f64 * tolerable).ceil() as u64;
        let risk = 1.0 - confidence;
        // The chance to find no more than the expected falls as the sample grows.
        let (mut low, mut high) = (0, population);
        while low < high {
            let n = low + (high - low) / 2;
            if chance_of_at_most(expected, n, deviations, population) <= risk { high = n } else { low = n + 1 }
        }
        Ok(low)
    }
}

/// The chance that `n` items drawn of `population`, of which `deviations` are bad, have at most `found` bad ones.
fn chance_of_at_most(found: u64, n: u64, deviations: u64, population: u64) -> f64 {
    let ln_choose = |n: u64, k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let good = population - deviations;
    let possible = |bad: u64| bad <= deviations && bad <= n && n - bad <= good;
    let chances = (0..=found.min(n))
        .filter(|bad| possible(*bad))
        .map(|bad| (ln_choose(deviations, bad) + ln_choose(good, n - bad) - ln_choose(population, n)).exp());
    chances.sum()
}

/// The logarithm of a factorial, by Stirling's series where that is exact enough.
fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let x = n as f64;
    let correction = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + correction
}

/// An item that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Place within its stratum, from 1.
    pub rank: u64,
    /// What it was drawn by, in hexadecimal.
    pub rank_sha256: String,
    /// It is not of the sample, but next in line.
    pub replacement: bool,
    /// The stratum; empty without strata.
    pub stratum: String,
    /// The item.
    pub key: String,
}

/// Draws items of a population, given as stratum and key of each, by stratum and rank.
///
/// # Errors
///
/// As [`Size::of`].
pub fn draw(
    asked: &Draw,
    population_sha256: &str,
    population: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Drawn>, QueryError> {
    let mut ranked: Vec<(String, [u8; 32], String)> = population
        .into_iter()
        .map(|(stratum, key)| (stratum, rank(&asked.seed, population_sha256, &key), key))
        .collect();
    ranked.sort_unstable();
    let mut drawn = Vec::new();
    for stratum in ranked.chunk_by(|one, other| one.0 == other.0) {
        let n = asked.size.of(stratum.len() as u64)?;
        let all = n.saturating_add(asked.replacements);
        drawn.extend((1..=all).zip(stratum).map(|(place, (stratum, hash, key))| Drawn {
            rank: place,
            rank_sha256: hex(hash),
            replacement: place > n,
            stratum: stratum.clone(),
            key: key.clone(),
        }));
    }
    Ok(drawn)
}

fn rank(seed: &str, population_sha256: &str, key: &str) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for part in [seed, "\n", population_sha256, "\n", key] {
        hash.update(part.as_bytes());
    }
    let mut rank = [0; 32];
    rank.copy_from_slice(hash.finish().as_ref());
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(n: u64) -> Draw {
        Draw { seed: "auditor-2026Q3".to_owned(), size: Size::Count { n }, replacements: 1, strata: None }
    }

    fn population(order: impl Iterator<Item = u32>) -> Vec<(String, String)> {
        order.map(|number| (String::new(), format!("sess-{number:03}"))).collect()
    }

    #[test]
    fn a_sample_is_the_lowest_ranks_whatever_the_order() {
        let zeros = "0".repeat(64);
        let drawn = draw(&asked(3), &zeros, population(0..10)).unwrap();
        let found: Vec<_> =
            drawn.iter().map(|item| (&item.key[..], &item.rank_sha256[..16], item.replacement)).collect();
        assert_eq!(
            found[..3],
            [
                ("sess-006", "318b6896fc33cabf", false),
                ("sess-005", "3b2853d5becdd56a", false),
                ("sess-004", "5fa12c7bec2a58e6", false),
            ]
        );
        assert_eq!((found.len(), found[3].2), (4, true));
        assert_eq!(draw(&asked(3), &zeros, population((0..10).rev())).unwrap(), drawn);
        assert_ne!(draw(&asked(3), &"1".repeat(64), population(0..10)).unwrap(), drawn);
    }

    #[test]
    fn each_stratum_has_a_sample_of_its_own() {
        let of = |name: &str, count| (0..count).map(|n| (name.to_owned(), format!("{name}-{n}"))).collect::<Vec<_>>();
        let drawn = draw(&asked(2), "", [of("b", 5), of("a", 1)].concat()).unwrap();
        let found: Vec<_> = drawn.iter().map(|item| (&item.stratum[..], item.rank, item.replacement)).collect();
        assert_eq!(found, [("a", 1, false), ("b", 1, false), ("b", 2, false), ("b", 3, true)]);
    }

    #[test]
    fn sizes_are_those_of_the_tables() {
        let risk = |confidence, tolerable, expected| Size::Risk { confidence, tolerable, expected };
        for (size, population, expected) in [
            (Size::Count { n: 25 }, 10, 10),
            (risk(0.90, 0.10, 0), 12, 8),
            (risk(0.95, 0.05, 0), 12, 12),
            (risk(0.90, 0.10, 0), 50, 18),
            (risk(0.95, 0.05, 0), 50, 31),
            (risk(0.90, 0.10, 0), 120, 20),
            (risk(0.95, 0.05, 0), 120, 47),
            (risk(0.90, 0.10, 0), 250, 21),
            (risk(0.95, 0.05, 0), 250, 51),
            (risk(0.90, 0.10, 0), 2000, 22),
            (risk(0.95, 0.05, 0), 2000, 58),
            // As of a population without end: the binomial distribution's.
            (risk(0.95, 0.05, 0), 100_000_000, 59),
            (risk(0.95, 0.10, 0), 100_000_000, 29),
            (risk(0.90, 0.10, 1), 100_000_000, 38),
            (risk(0.95, 0.10, 1), 100_000_000, 46),
            (risk(0.90, 0.05, 1), 100_000_000, 77),
            (risk(0.95, 0.05, 1), 100_000_000, 93),
            (risk(0.90, 0.10, 2), 100_000_000, 52),
            (risk(0.95, 0.05, 2), 100_000_000, 124),
            (risk(0.95, 0.05, 0), 0, 0),
        ] {
            assert_eq!(size.of(population).unwrap(), expected, "{size:?} of {population}");
        }
        assert!(risk(95.0, 0.05, 0).of(100).is_err() && risk(0.95, f64::NAN, 0).of(100).is_err());
    }
}
