//! The books: a reservation before a request leaves, what it came to when it is over, and a trace of it.
//!
//! An [`Entry`] is open from the reservation to the end of the answer, and is closed exactly once: with what the answer told,
//! or, dropped while nothing is known, at what was reserved (INVARIANTS I7). Closing never keeps a caller waiting.

use std::sync::Arc;
use std::time::Instant;

use perennial_engine::ports::{Amounts, BudgetMetric, Clock, Ids, Metering, Payer, ReserveError, Trace};
use perennial_schema::model::Usage;
use perennial_schema::{ReservationId, Timestamp, TraceId, TraceParent};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::limits::{RESERVATION, SETTLE_PAUSE, SETTLE_TRIES};
use crate::price::{Price, Prices, UNKNOWN};
use crate::refusal::{Kind, Refusal};
use crate::span;
use crate::tally;
use crate::usage::Seen;

/// What entries are written with.
pub(crate) struct Books {
    metering: Option<Arc<dyn Metering>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    prices: Prices,
    tracker: TaskTracker,
}

/// A request that is about to leave.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) payer: Payer,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) wire: &'static str,
    /// Bytes of its body.
    pub(crate) body: usize,
    /// Tokens it may read and write.
    pub(crate) tokens: (u64, u64),
    /// It asks for a stream.
    pub(crate) streamed: bool,
    /// The span it is part of.
    pub(crate) parent: Option<TraceParent>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It never reached the provider.
    NeverLeft,
    /// The provider's last word was heard.
    Heard,
    /// The provider broke off.
    Cut,
    /// The caller went away.
    Left,
}

impl Books {
    /// What models cost.
    pub(crate) const fn prices(&self) -> &Prices {
        &self.prices
    }

    pub(crate) fn new(
        metering: Option<Arc<dyn Metering>>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        prices: Prices,
    ) -> Self {
        Self {
            metering,
            clock,
            ids,
            prices,
            tracker: TaskTracker::new(),
        }
    }

    /// Reserves what a request may need.
    pub(crate) async fn open(self: &Arc<Self>, line: Line) -> Result<Entry, Refusal> {
        let (read, written) = line.tokens;
        let reserved = Amounts {
            requests: 1,
            tokens: read.saturating_add(written),
            microusd: self.prices.reserve(&line.provider, &line.model, read, written),
        };
        let id = ReservationId::from_uuid(self.ids.uuid());
        let mut counted = false;
        if let Some(metering) = &self.metering {
            let deadline = u64::try_from(RESERVATION.as_millis()).unwrap_or(u64::MAX);
            let found = metering.reserve(id, &line.payer, reserved, deadline).await;
            let place = found.map_err(|error| self.refused(error, reserved, &line))?;
            counted = place.counted;
        }
        Ok(Entry(Some(Open {
            books: self.clone(),
            reservation: counted.then_some(id),
            reserved,
            at: self.clock.now(),
            begun: Instant::now(),
            first: None,
            status: 0,
            line,
        })))
    }

    fn refused(&self, error: ReserveError, reserved: Amounts, line: &Line) -> Refusal {
        match error {
            ReserveError::Exhausted { budget, .. }
                if budget.metric == BudgetMetric::Money && reserved.microusd == UNKNOWN =>
            {
                let (provider, model) = (&line.provider, &line.model);
                Refusal::new(
                    Kind::NoPrice,
                    format!(
                        "budget {} limits money, and what {model:?} costs is not known: add [prices.\"{provider}/{model}\"] \
                         with input, output, cache_read and cache_write (US dollars per million tokens) to the gateway's \
                         perennial.toml",
                        budget.id
                    ),
                )
            }
            ReserveError::Exhausted { budget, need } => {
                metrics::counter!("perennial_gateway_budget_refusals_total").increment(1);
                Refusal::used_up(&budget, need, self.clock.now())
            }
            ReserveError::Store(error) => Refusal::store(&error),
        }
    }

    /// Waits until every entry that is closed is written.
    pub(crate) async fn settled(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        self.tracker.reopen();
        if let Some(metering) = &self.metering
            && let Err(error) = metering.flush().await
        {
            tracing::warn!(%error, "traces could not be written");
        }
    }

    /// Does something that nobody waits for.
    pub(crate) fn aside(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            self.tracker.spawn_on(task, &runtime);
        }
    }

    async fn settle(&self, payer: Payer, id: ReservationId, actual: Amounts) {
        let Some(metering) = &self.metering else { return };
        let mut pause = SETTLE_PAUSE;
        for _ in 1..SETTLE_TRIES {
            match metering.settle(payer.workspace, id, actual).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "a model request could not be settled; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        if let Err(error) = metering.settle(payer.workspace, id, actual).await {
            tracing::error!(%error, "a model request could not be settled; its reservation's deadline will");
        }
    }
}

/// A request under way.
pub(crate) struct Entry(Option<Open>);

struct Open {
    books: Arc<Books>,
    reservation: Option<ReservationId>,
    reserved: Amounts,
    at: Timestamp,
    begun: Instant,
    /// When the first piece of the answer came.
    first: Option<Instant>,
    status: u16,
    line: Line,
}

impl Entry {
    /// The answer begins.
    pub(crate) fn answered(&mut self, status: u16) {
        if let Some(open) = &mut self.0 {
            open.status = status;
        }
    }

    /// A piece of the answer came.
    pub(crate) fn heard(&mut self) {
        if let Some(open) = &mut self.0 {
            open.first.get_or_insert_with(Instant::now);
        }
    }

    /// The request is over.
    pub(crate) fn close(&mut self, end: End, seen: &Seen, fault: Option<String>) {
        if let Some(open) = self.0.take() {
            open.close(end, seen, fault);
        }
    }

    /// Does something after the request that nobody waits for.
    pub(crate) fn aside(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(open) = &self.0 {
            open.books.aside(task);
        }
    }
}

impl Drop for Entry {
    /// The caller went away before there was an answer: the provider may have begun one.
    fn drop(&mut self) {
        self.close(End::Left, &Seen::default(), None);
    }
}

impl Open {
    fn close(self, end: End, seen: &Seen, fault: Option<String>) {
        let price = self.books.prices.find(&self.line.provider, &self.line.model);
        let (usage, known) = self.usage(end, seen);
        let actual = if known {
            Amounts {
                requests: 1,
                tokens: tokens(&usage),
                microusd: price.map_or(0, |price| price.of(&usage)),
            }
        } else {
            self.at_most(price)
        };
        let error = fault.or_else(|| seen.error.clone()).or_else(|| {
            Some(match (end, self.status) {
                (End::Heard, 200..=299) => return None,
                (End::Heard, status) => format!("status {status}"),
                (End::NeverLeft, _) => "never left".to_owned(),
                (End::Cut, _) => "cut".to_owned(),
                (End::Left, _) => "the caller left".to_owned(),
            })
        });
        if perennial_telemetry::enabled() {
            let first = self.first.map(|first| (first - self.begun).as_secs_f64());
            let request = span::Request {
                line: &self.line,
                fresh: self.books.ids.uuid(),
                time: (self.at, self.books.clock.now()),
                first,
                usage: &usage,
                failure: span::failure(end, self.status, error.is_some()),
            };
            perennial_telemetry::record(request.span());
        }
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let trace = Trace {
            id: TraceId::from_uuid(self.books.ids.uuid()),
            at: self.at,
            payer: self.line.payer,
            provider: self.line.provider,
            model: self.line.model,
            wire: self.line.wire.to_owned(),
            status: self.status,
            error,
            usage,
            microusd: actual.microusd,
            ttft_ms: self.first.map(|first| millis(first - self.begun)),
            duration_ms: millis(self.begun.elapsed()),
            streamed: self.line.streamed,
        };
        count(&trace);
        tally::by_model(&trace);
        let Some(metering) = self.books.metering.clone() else {
            return;
        };
        metering.record(vec![trace]);
        if let Some(id) = self.reservation {
            let (books, payer) = (self.books.clone(), self.line.payer);
            self.books.aside(async move { books.settle(payer, id, actual).await });
        }
    }

    /// What the request used, and whether that is known at all.
    fn usage(&self, end: End, seen: &Seen) -> (Usage, bool) {
        let failed = self.status != 0 && !(200..300).contains(&self.status);
        if end == End::NeverLeft || failed {
            return (Usage::default(), true);
        }
        let guessed = seen.written / 4;
        match seen.usage {
            Some(usage) if seen.whole => (usage, true),
            // What was read is told at the beginning, what was written at the end.
            Some(mut usage) => {
                usage.output_tokens = usage.output_tokens.max(guessed);
                (usage, true)
            }
            None if seen.whole => {
                let input_tokens = self.line.body as u64 / 4;
                let guess = Usage {
                    input_tokens,
                    output_tokens: guessed,
                    ..Usage::default()
                };
                (guess, true)
            }
            None => (Usage::default(), false),
        }
    }

    fn at_most(&self, price: Option<Price>) -> Amounts {
        Amounts {
            // Where the price is not known, no money budget was asked for room.
            microusd: price.map_or(0, |_| self.reserved.microusd),
            ..self.reserved
        }
    }
}

const fn tokens(usage: &Usage) -> u64 {
    usage
        .input_tokens
        .saturating_add(usage.output_tokens)
        .saturating_add(usage.cache_read_input_tokens)
        .saturating_add(usage.cache_creation_input_tokens)
}

/// Labels come from closed sets; models and sessions are in the traces.
fn count(trace: &Trace) {
    let class = match trace.status {
        0 => "none",
        200..=299 => "2xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    };
    metrics::counter!("perennial_gateway_requests_total", "provider" => trace.provider.clone(), "class" => class)
        .increment(1);
    let kinds = [
        ("input", trace.usage.input_tokens),
        ("output", trace.usage.output_tokens),
        ("cache_read", trace.usage.cache_read_input_tokens),
        ("cache_write", trace.usage.cache_creation_input_tokens),
    ];
    for (kind, tokens) in kinds {
        metrics::counter!("perennial_gateway_tokens_total", "provider" => trace.provider.clone(), "kind" => kind)
            .increment(tokens);
    }
    if let Some(ttft) = trace.ttft_ms {
        metrics::histogram!("perennial_gateway_first_piece_seconds", "provider" => trace.provider.clone())
            .record(ttft as f64 / 1000.0);
    }
}
