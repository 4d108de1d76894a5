//! What tokens cost.
//!
//! Prices are configuration: there are none built in, because a wrong price is worse than none. A model without a price
//! reserves more money than any budget has, so a request that a money budget covers is refused and says which price is
//! missing; where no money budget covers it, it passes and is traced as costing nothing.

use std::collections::BTreeMap;

use perennial_schema::model::Usage;

/// US dollars per million tokens, which is the same as millionths of a dollar per token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// Of tokens read.
    pub input: f64,
    /// Of tokens written.
    pub output: f64,
    /// Of tokens read from the provider's cache.
    pub cache_read: f64,
    /// Of tokens written to the provider's cache.
    pub cache_write: f64,
}

impl Price {
    /// What these tokens cost, in millionths of a dollar, rounded up.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> u64 {
        let part = |tokens: u64, price: f64| tokens as f64 * price;
        let sum = part(usage.input_tokens, self.input)
            + part(usage.output_tokens, self.output)
            + part(usage.cache_read_input_tokens, self.cache_read)
            + part(usage.cache_creation_input_tokens, self.cache_write);
        // A float's cast saturates; the sum is never negative, because prices are checked where they are read.
        sum.ceil() as u64
    }

    /// What a request may cost that reads and writes so many tokens: all of them new, and written to the cache if that is
    /// dearer.
    fn at_most(&self, read: u64, written: u64) -> u64 {
        let read_price = self.input.max(self.cache_write);
        (read as f64 * read_price + written as f64 * self.output).ceil() as u64
    }
}

/// Prices by model.
#[derive(Clone, Debug, Default)]
pub struct Prices(BTreeMap<String, Price>);

/// A thousand million dollars: more than a budget has, and far from where sums overflow.
pub(crate) const UNKNOWN: u64 = 1_000_000_000_000_000;

impl Prices {
    /// A table. Its names are `PROVIDER/MODEL` or a model alone; one that ends in `*` stands for all that begin so.
    #[must_use]
    pub const fn new(table: BTreeMap<String, Price>) -> Self {
        Self(table)
    }

    /// All of it, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Price)> {
        self.0.iter().map(|(name, price)| (name.as_str(), price))
    }

    /// The price of a provider's model: the exact name before the longest pattern, with its provider before without.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str) -> Option<Price> {
        if provider == crate::REHEARSAL {
            return Some(Price::default());
        }
        let full = format!("{provider}/{model}");
        let exact = self.0.get(&full).or_else(|| self.0.get(model));
        let pattern = || {
            let fits = |name: &str| {
                let start = name.strip_suffix('*')?;
                (full.starts_with(start) || model.starts_with(start)).then_some(start.len())
            };
            let found = self.0.iter().filter_map(|(name, price)| Some((fits(name)?, price)));
            found.max_by_key(|(length, _)| *length).map(|(_, price)| price)
        };
        exact.or_else(pattern).copied()
    }

    /// What a request reserves.
    pub(crate) fn reserve(&self, provider: &str, model: &str, read: u64, written: u64) -> u64 {
        self.find(provider, model)
            .map_or(UNKNOWN, |price| price.at_most(read, written).min(UNKNOWN - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Prices {
        let price = |input| Price {
            input,
            output: 10.0,
            cache_read: 0.1,
            cache_write: 2.5,
        };
        let names = ["claude-*", "claude-opus-*", "claude-opus-9", "openai/claude-opus-9"];
        let table = names.iter().enumerate();
        Prices::new(table.map(|(n, name)| ((*name).to_owned(), price(n as f64))).collect())
    }

    #[test]
    fn the_closest_name_wins() {
        let input = |provider, model| table().find(provider, model).map(|price| price.input);
        assert_eq!(input("anthropic", "claude-sonnet"), Some(0.0));
        assert_eq!(input("anthropic", "claude-opus-8"), Some(1.0));
        assert_eq!(input("anthropic", "claude-opus-9"), Some(2.0));
        assert_eq!(input("openai", "claude-opus-9"), Some(3.0));
        assert_eq!(input("openai", "gpt"), None);
    }

    #[test]
    fn costs_are_rounded_up_and_unknown_ones_are_beyond_every_budget() {
        let price = Price {
            input: 3.0,
            output: 15.0,
            cache_read: 0.3,
            cache_write: 3.75,
        };
        let usage = Usage {
            input_tokens: 10,
            output_tokens: 2,
            cache_read_input_tokens: 1,
            cache_creation_input_tokens: 1,
        };
        assert_eq!(price.of(&usage), 65);
        assert_eq!(price.of(&Usage::default()), 0);
        assert_eq!(table().reserve("openai", "gpt", 1, 1), UNKNOWN);
        assert_eq!(table().reserve("anthropic", "claude-opus-9", 100, 10), 350);
    }
}
