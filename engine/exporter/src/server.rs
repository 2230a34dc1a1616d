//! HTTP: `/metrics` for Prometheus, `/health` and `/ready` for whoever sends members or a service manager here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::Error;
use crate::node::{Node, Seen};
use crate::scrape;

/// So many connections are served at a time; others wait.
const CONNECTIONS_MAX: usize = 16;
/// How long a request's head may take to come in, and a connection may live.
const HEAD_MAX: Duration = Duration::from_secs(5);
const LIFE_MAX: Duration = Duration::from_secs(60);
/// OpenMetrics 1.0, section "Content type".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until the process ends. `listening` is told the address, once there is one.
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(
    addr: SocketAddr,
    node: Node,
    listening: impl FnOnce(SocketAddr) -> std::io::Result<()>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await.map_err(|source| Error::Listen { addr, source })?;
        listening(listener.local_addr()?)?;
        let node = Arc::new(Mutex::new(node));
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
            // A connection that ended before it was accepted is no fault of this one.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(move |request| answer(request, Arc::clone(&node)));
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_MAX)
                    .serve_connection(TokioIo::new(stream), service);
                // Whoever asked has gone, or said nothing sensible: neither concerns anybody else.
                let _ = tokio::time::timeout(LIFE_MAX, connection).await;
            });
        }
    })
}

async fn answer(
    request: Request<Incoming>,
    node: Arc<Mutex<Node>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
        response.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("a header"));
        return Ok(response);
    }
    let path = request.uri().path().to_owned();
    if !["/metrics", "/health", "/ready"].contains(&path.as_str()) {
        let what = "there are /metrics, /health and /ready\n".to_owned();
        return Ok(text(StatusCode::NOT_FOUND, "text/plain", what));
    }
    let look = move || node.lock().unwrap_or_else(PoisonError::into_inner).look(Instant::now());
    let Ok(seen) = tokio::task::spawn_blocking(look).await else {
        return Ok(text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "the look failed\n".to_owned()));
    };
    Ok(match path.as_str() {
        "/metrics" => text(StatusCode::OK, OPEN_METRICS, scrape::text(&seen)),
        "/health" => verdict(seen.is_healthy(), &seen),
        _ => verdict(seen.is_ready(), &seen),
    })
}

fn verdict(holds: bool, seen: &Seen) -> Response<Full<Bytes>> {
    let mut why: String = seen.why.iter().map(|why| format!("{why}\n")).collect();
    why.extend(seen.still().map(|thread| format!("thread {thread} stands still\n")));
    if holds {
        text(StatusCode::OK, "text/plain", format!("ok\n{why}"))
    } else if why.is_empty() {
        text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "this node lets no members in\n".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why)
    }
}

fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind.parse().expect("a header"));
    response
}
