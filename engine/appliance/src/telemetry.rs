//! `[telemetry]`: spans of control-plane work, to an OpenTelemetry collector.
//!
//! A start, the steps of a takeover, a snapshot, an archive, an operator's request, a checkpoint: what takes long and happens
//! seldom. **Nothing of an order is traced**, and no thread of the order path makes a span. A build without the feature `otlp`
//! refuses the configuration; without the configuration a span costs a comparison.

#[cfg(feature = "otlp")]
mod export;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::failure::Failure;

/// The target of what is exported, and of nothing else.
pub const TARGET: &str = "ironbell::control";

/// A span of control-plane work.
macro_rules! span {
    ($($said:tt)*) => {
        tracing::info_span!(target: $crate::telemetry::TARGET, $($said)*)
    };
}
pub(crate) use span;

/// `[telemetry]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The collector, which gets POSTs to `/v1/traces` below it (OTLP over HTTP, protobuf): `http://host:4318`. None: no spans.
    pub otlp: Option<String>,
}

/// Spans so far that the collector did not get.
static UNSENT: AtomicU64 = AtomicU64::new(0);

/// Spans so far that the collector did not get: it was not there, or took them too slowly.
#[must_use]
pub fn unsent() -> u64 {
    UNSENT.load(Ordering::Relaxed)
}

/// What exports spans, until this is dropped: it sends what is left, and waits for that two seconds at most.
#[must_use]
pub struct Exporting {
    #[cfg(feature = "otlp")]
    _provider: Option<export::Provider>,
}

/// Where a subscriber takes spans to.
pub(crate) type Spans = Box<dyn Layer<Registry> + Send + Sync>;

impl Telemetry {
    /// What is wrong with it.
    ///
    /// # Errors
    /// A line saying what.
    pub fn check(&self) -> Result<(), String> {
        let Some(otlp) = &self.otlp else { return Ok(()) };
        if !cfg!(feature = "otlp") {
            return Err("telemetry.otlp: this program was built without OTLP; leave it out, or build with --features otlp".into());
        }
        match otlp.strip_prefix("http://") {
            Some(host) if !host.is_empty() => Ok(()),
            _ => Err(format!(
                "telemetry.otlp = \"{otlp}\" is not http://host:port; a collector on this host takes it further by TLS"
            )),
        }
    }

    /// Opens it: a layer for the subscriber, if there is a collector, and what keeps it going.
    #[cfg(feature = "otlp")]
    pub(crate) fn open(&self) -> Result<(Option<Spans>, Exporting), Failure> {
        let Some(otlp) = &self.otlp else { return Ok((None, Exporting { _provider: None })) };
        let (layer, provider) = export::open(otlp, &UNSENT)?;
        Ok((Some(layer), Exporting { _provider: Some(provider) }))
    }

    /// Opens it: nothing, in a build that exports nothing.
    #[cfg(not(feature = "otlp"))]
    pub(crate) fn open(&self) -> Result<(Option<Spans>, Exporting), Failure> {
        self.check().map_err(Failure::refused)?;
        Ok((None, Exporting {}))
    }

    /// Of a process that has nothing to say but its spans. Once in a process.
    ///
    /// # Errors
    /// When there is no thread to export them.
    ///
    /// # Panics
    /// When this process logs already.
    pub fn start(&self) -> Result<Exporting, Failure> {
        let (spans, exporting) = self.open()?;
        if let Some(spans) = spans {
            tracing_subscriber::registry().with(spans).init();
        }
        Ok(exporting)
    }
}
