//! Spans to a collector: batched on a thread of their own, sent by POST, dropped and counted when the collector is gone.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;

use super::{Spans, TARGET};
use crate::failure::Failure;

/// How long the end of a process waits for its last spans.
pub const END_MAX: Duration = Duration::from_secs(2);
/// How long one POST may take.
const POST_MAX: Duration = Duration::from_secs(5);
/// Spans that may wait; further ones are dropped.
const WAITING_MAX: usize = 2_048;
/// From one POST to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What exports, until it is dropped.
pub struct Provider(SdkTracerProvider);

impl Drop for Provider {
    fn drop(&mut self) {
        // What is not sent by then is counted, and nobody reads that any more.
        let _ = self.0.shutdown_with_timeout(END_MAX);
    }
}

/// A layer that exports to the collector at `otlp`, and counts what is lost in `unsent`.
pub fn open(otlp: &str, unsent: &'static AtomicU64) -> Result<(Spans, Provider), Failure> {
    let agent =
        ureq::Agent::config_builder().timeout_global(Some(POST_MAX)).http_status_as_error(false).build();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Post(agent.into()))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", otlp.trim_end_matches('/')))
        .with_timeout(POST_MAX)
        .build()
        .map_err(|e| Failure::refused(format_args!("telemetry.otlp = \"{otlp}\": {e}")))?;
    let counts = Arc::new(Counts { waiting: AtomicUsize::new(0), unsent, is_lost: AtomicBool::new(false) });
    let batches =
        BatchConfigBuilder::default().with_max_queue_size(WAITING_MAX).with_scheduled_delay(EVERY).build();
    let exporter = Counting { exporter, counts: Arc::clone(&counts) };
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name("ironbell").build())
        .with_span_processor(Bounded { batches, counts })
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("ironbell"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|about| about.is_span() && about.target() == TARGET));
    Ok((Box::new(layer), Provider(provider)))
}

/// What became of spans.
#[derive(Debug)]
struct Counts {
    /// Ended, and neither sent nor lost.
    waiting: AtomicUsize,
    unsent: &'static AtomicU64,
    /// The newest batch was.
    is_lost: AtomicBool,
}

impl Counts {
    fn lose(&self, spans: usize) {
        self.unsent.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

/// Batches, of which no more wait than may: what is beyond is dropped by whoever can count it.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX {
            self.batches.on_end(span);
        } else {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.lose(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// An exporter that counts what it could not send.
#[derive(Debug)]
struct Counting {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<Counts>,
}

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
        let was_lost = self.counts.is_lost.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Ok(()) if was_lost => tracing::info!("the collector takes spans again"),
            Ok(()) => {}
            Err(error) => {
                self.counts.lose(spans);
                if !was_lost {
                    tracing::warn!(%error, "the collector does not take spans; they are dropped and counted");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The HTTP client that the rest of the appliance uses too. It blocks, on the exporter's thread.
struct Post(ureq::Agent);

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

impl Post {
    fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, body.to_vec());
        let (head, mut body) = self.0.run(request).map_err(io::Error::other)?.into_parts();
        let body = body.read_to_vec().map_err(io::Error::other)?;
        Ok(Response::from_parts(head, body.into()))
    }
}

impl HttpClient for Post {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async { self.post(request) })
    }
}
