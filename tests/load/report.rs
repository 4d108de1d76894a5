//! What was measured: series with their median and range, ratios taken within one round, a table for people and JSON for
//! machines. Absolute numbers belong to the machine and the moment; the ratios are the result.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

/// One number, measured several times.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    /// Scenario, as in `--only`.
    pub(crate) scenario: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// In what.
    pub(crate) unit: &'static str,
    /// The number to reach, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
    /// One value a round, in order.
    pub(crate) rounds: Vec<f64>,
}

/// A budget.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

impl Goal {
    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {}", number(bound)),
            Self::AtMost(bound) => format!("<= {}", number(bound)),
        }
    }

    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// Everything of one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    series: Vec<Series>,
    /// Named numbers of the round under way, for its ratios.
    round: BTreeMap<String, f64>,
}

impl Report {
    /// Begins a round: ratios never look back across it.
    pub(crate) fn round(&mut self) {
        self.round.clear();
    }

    /// Adds this round's value of a series.
    pub(crate) fn add(&mut self, scenario: &'static str, what: &str, unit: &'static str, value: f64) {
        self.round.insert(format!("{what} {unit}"), value);
        self.push(scenario, what, unit, None, value);
    }

    /// Adds this round's value of a series that has a goal.
    pub(crate) fn judge(&mut self, scenario: &'static str, what: &str, unit: &'static str, goal: Goal, value: f64) {
        self.round.insert(format!("{what} {unit}"), value);
        self.push(scenario, what, unit, Some(goal), value);
    }

    /// Adds this round's ratio of two series in the same unit, if both were measured.
    pub(crate) fn ratio(&mut self, scenario: &'static str, of: &str, to: &str, unit: &str, goal: Option<Goal>) {
        let value = |what: &str| self.round.get(&format!("{what} {unit}")).copied();
        if let (Some(of_value), Some(to_value)) = (value(of), value(to))
            && to_value > 0.0
        {
            self.push(
                scenario,
                &format!("{of} / {to} ({unit})"),
                "ratio",
                goal,
                of_value / to_value,
            );
        }
    }

    /// Holds a series that was added to a goal.
    pub(crate) fn check(&mut self, scenario: &'static str, what: &str, unit: &'static str, goal: Goal) {
        let known = self.series.iter_mut().filter(|series| series.scenario == scenario);
        for series in known.filter(|series| series.what == what && series.unit == unit) {
            series.goal = Some(goal);
        }
    }

    fn push(&mut self, scenario: &'static str, what: &str, unit: &'static str, goal: Option<Goal>, value: f64) {
        let known = self
            .series
            .iter_mut()
            .find(|series| series.scenario == scenario && series.what == what && series.unit == unit);
        match known {
            Some(series) => series.rounds.push(value),
            None => self.series.push(Series {
                scenario,
                what: what.to_owned(),
                unit,
                goal,
                rounds: vec![value],
            }),
        }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let mut scenario = "";
        for series in &self.series {
            if series.scenario != scenario {
                scenario = series.scenario;
                let _ = writeln!(table, "\n{scenario}");
            }
            let spread = Spread::of(&series.rounds);
            let goal = series.goal.map_or_else(String::new, |goal| {
                let verdict = if goal.met(spread.median) { "met" } else { "MISSED" };
                format!("  goal {} {verdict}", goal.text())
            });
            let _ = writeln!(
                table,
                "  {:<58} {:>10} {:<9} ({} .. {}, n = {}){goal}",
                series.what,
                number(spread.median),
                series.unit,
                number(spread.least),
                number(spread.most),
                series.rounds.len(),
            );
        }
        table
    }

    /// For machines.
    pub(crate) fn json(&self, about: &serde_json::Value) -> serde_json::Value {
        let series: Vec<serde_json::Value> = self.series.iter().map(described).collect();
        serde_json::json!({ "about": about, "series": series })
    }
}

fn described(series: &Series) -> serde_json::Value {
    let spread = Spread::of(&series.rounds);
    let mut value = serde_json::to_value(series).unwrap_or_default();
    value["n"] = series.rounds.len().into();
    value["median"] = spread.median.into();
    value["least"] = spread.least.into();
    value["most"] = spread.most.into();
    if let Some(goal) = series.goal {
        value["met"] = goal.met(spread.median).into();
    }
    value
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let half = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) && half > 0 {
            f64::midpoint(at(half - 1), at(half))
        } else {
            at(half)
        };
        Self {
            least: at(0),
            median,
            most: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// The value below which this share of the samples lies.
pub(crate) fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    samples.get(index).copied().unwrap_or(f64::NAN)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
