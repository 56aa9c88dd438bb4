//! What ANALYZE learns about an encrypted column: the share of NULLs, the width, and for searchable types how many
//! different values there are and which are the most common ones, by token. Never a histogram, which would store the
//! order of the plaintexts, and nothing that has to be decrypted: ANALYZE runs in the background, as anyone.

use super::value::{Token, stored_token};
use crate::error::Error;
use crate::pg::analyze::{Look, Sample, Statistics};
use std::collections::HashMap;

/// One token in the sample.
struct Seen {
    count: usize,
    /// Position of its first value in the sample.
    first: usize,
}

/// The share of rows that most common values and NULL have together, at most. PostgreSQL takes 0.99999 for all.
const MOST_COVERED: f64 = 0.9999;

/// How ANALYZE looks at a column of an encrypted type.
pub struct ByToken;

impl Look for ByToken {
    type Error = Error;

    fn look(sample: &Sample) -> Result<Statistics, Error> {
        look_at(sample)
    }
}

fn look_at(sample: &Sample) -> Result<Statistics, Error> {
    let mut nulls = 0;
    let mut width = 0;
    let mut tokens: HashMap<Token, Seen> = HashMap::new();
    let mut without_token = false;
    for n in 0..sample.len() {
        let Some(value) = sample.value(n) else {
            nulls += 1;
            continue;
        };
        width += sample.width(value);
        match stored_token(value)? {
            Some(token) => tokens.entry(token).or_insert(Seen { count: 0, first: n }).count += 1,
            None => without_token = true,
        }
    }

    let values = sample.len() - nulls;
    let mut statistics = Statistics {
        null_fraction: nulls as f32 / sample.len().max(1) as f32,
        width: width.checked_div(values).unwrap_or(0) as i32,
        ..Statistics::default()
    };
    if values > 0 && !without_token {
        let distinct = distinct(
            &tokens,
            values,
            sample.total_rows() * values as f64 / sample.len() as f64,
        );
        // A multiple counts all rows, those with NULL included.
        statistics.distinct = if distinct < 0.0 {
            distinct * (1.0 - statistics.null_fraction)
        } else {
            distinct
        };
        statistics.most_common = most_common(tokens, values, sample.len(), sample.wanted());
    }
    Ok(statistics)
}

/// How many different values the table has, as `pg_statistic.stadistinct`: positive if it looks like a fixed number,
/// negative as a multiple of the number of rows. The estimator is Haas and Stokes's Duj1, which PostgreSQL uses.
fn distinct(tokens: &HashMap<Token, Seen>, values: usize, total: f64) -> f32 {
    let d = tokens.len() as f64;
    let n = values as f64;
    let once = tokens.values().filter(|seen| seen.count == 1).count() as f64;
    if once == n {
        // No value occurred twice: assume a key.
        return -1.0;
    }
    if once == 0.0 {
        // Every value occurred at least twice: assume that all there are were seen.
        return d as f32;
    }
    let estimate = (n * d / ((n - once) + once * n / total)).clamp(d, total).round();
    match estimate > 0.1 * total {
        true => -(estimate / total) as f32,
        false => estimate as f32,
    }
}

/// Values that occur clearly more often than the average one, the most frequent first: position in the sample and
/// share of all rows.
///
/// The shares never say that there are no other values. Of such a list PostgreSQL asks the smallest and the largest, by the
/// plaintext order, when it estimates merge joins: every join would be planned by decrypting, and refused to a role that may
/// not.
fn most_common(
    tokens: HashMap<Token, Seen>,
    values: usize,
    sampled: usize,
    wanted: usize,
) -> Vec<(usize, f32)> {
    let few = tokens.len() <= wanted;
    let threshold = 1.25 * values as f64 / tokens.len() as f64;
    let mut common: Vec<Seen> = tokens
        .into_values()
        .filter(|seen| seen.count > 1 && (few || seen.count as f64 > threshold))
        .collect();
    common.sort_by(|a, b| b.count.cmp(&a.count).then(a.first.cmp(&b.first)));
    common.truncate(wanted);
    let covered: usize = common.iter().map(|seen| seen.count).sum();
    let nulls = sampled - values;
    let most_covered = MOST_COVERED * sampled as f64 - nulls as f64;
    let scale = (most_covered / covered as f64).min(1.0);
    if scale <= 0.0 {
        return Vec::new();
    }
    common
        .into_iter()
        .map(|seen| (seen.first, (scale * seen.count as f64 / sampled as f64) as f32))
        .collect()
}
