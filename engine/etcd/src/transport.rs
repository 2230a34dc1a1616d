//! One call: a JSON message posted to one endpoint after the other, until one answers or the deadline is there.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::{Agent, Timeout};

/// Where etcd is and how long it may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// The members' client URLs, `http://10.0.0.1:2379`; `https://` with the feature `tls`.
    pub endpoints: Vec<String>,
    /// How long a call may take in all. Each endpoint gets its share, so that one that is frozen leaves time for the others.
    pub deadline: Duration,
    /// Whom to trust and who this node is, for `https://`.
    pub tls: Option<Tls>,
}

/// Files in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificates of whoever signed the members' certificates.
    pub ca: PathBuf,
    /// This node's certificate and its key; etcd's `--client-cert-auth` asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A failure of etcd, or of the way to it. Its text says what, where and, where something can be done, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options cannot be.
    #[error("etcd: {0}")]
    Options(String),
    /// No endpoint could be reached: nothing was sent.
    #[error("no etcd endpoint could be reached: {0}")]
    NotSent(String),
    /// It was sent, and no answer came: it may have been done.
    #[error("etcd at {endpoint} did not answer: {what}")]
    NoAnswer {
        /// Who was asked.
        endpoint: String,
        /// What happened.
        what: String,
    },
    /// It answered that it could not: it may have been done all the same.
    #[error("etcd at {endpoint} could not: {what}")]
    Unavailable {
        /// Who was asked.
        endpoint: String,
        /// What it said.
        what: String,
    },
    /// It answered that it would not: it was not done.
    #[error("etcd at {endpoint} refused the request: {what}")]
    Refused {
        /// Who was asked.
        endpoint: String,
        /// What it said.
        what: String,
    },
    /// It answered something that is no answer to what was asked.
    #[error("etcd at {endpoint} answered what cannot be read: {what}")]
    Answer {
        /// Who was asked.
        endpoint: String,
        /// What is wrong with it.
        what: String,
    },
}

impl Error {
    /// Whether what was asked for was certainly not done.
    #[must_use]
    pub fn is_not_done(&self) -> bool {
        matches!(self, Self::Options(_) | Self::NotSent(_) | Self::Refused { .. })
    }
}

/// What to do when an endpoint was asked and nothing is known of the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Ask the next one: doing it twice is doing it once.
    Repeatable,
    /// Say so.
    Once,
}

#[derive(Debug)]
pub(crate) struct Transport {
    agent: Agent,
    endpoints: Vec<String>,
    deadline: Duration,
    /// Who is asked first: the one that answered last.
    first: usize,
}

/// The most that an answer may hold, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

impl Transport {
    pub fn new(options: &Options) -> Result<Self, Error> {
        let wrong = |what: String| Err(Error::Options(what));
        if options.endpoints.is_empty() {
            return wrong("no endpoint is given: name the client URLs of its members".into());
        }
        if options.deadline.is_zero() {
            return wrong("a deadline of nothing leaves no time to ask".into());
        }
        for endpoint in &options.endpoints {
            let scheme = endpoint.split_once("://").map(|(scheme, _)| scheme);
            match scheme {
                Some("http") => {}
                Some("https") if cfg!(feature = "tls") && options.tls.is_some() => {}
                Some("https") if cfg!(feature = "tls") => {
                    return wrong(format!("{endpoint}: say whose certificates are to be trusted"));
                }
                Some("https") => {
                    return wrong(format!("{endpoint}: this program was built without the feature `tls`"));
                }
                _ => return wrong(format!("{endpoint} is no URL: write it as http://10.0.0.1:2379")),
            }
        }
        let config = Agent::config_builder()
            // A status is an answer; a redirect or a proxy is nobody we know.
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            // A connection of its own for each call: whether anything was sent is then never in doubt.
            .max_idle_connections(0);
        #[cfg(feature = "tls")]
        let config = match &options.tls {
            Some(tls) => config.tls_config(tls_config(tls)?),
            None => config,
        };
        #[cfg(not(feature = "tls"))]
        if options.tls.is_some() {
            return wrong("this program was built without the feature `tls`".into());
        }
        let endpoints =
            options.endpoints.iter().map(|endpoint| endpoint.trim_end_matches('/').to_owned()).collect();
        Ok(Self { agent: config.build().into(), endpoints, deadline: options.deadline, first: 0 })
    }

    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Who answered last.
    pub fn answered(&self) -> &str {
        &self.endpoints[self.first]
    }

    /// Posts `message` to `path` and returns the answer.
    pub fn call(&mut self, path: &str, message: &Value, outcome: Outcome) -> Result<Value, Error> {
        let end = Instant::now() + self.deadline;
        let (count, mut failed) = (self.endpoints.len(), None::<Error>);
        for left in (1..=count).rev() {
            let share = end.saturating_duration_since(Instant::now()) / left as u32;
            if share.is_zero() {
                break;
            }
            let endpoint = self.first;
            let error = match self.ask(endpoint, path, message, share) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if matches!(error, Error::Refused { .. }) {
                return Err(error);
            }
            self.first = (endpoint + 1) % count;
            if outcome == Outcome::Once && !error.is_not_done() {
                return Err(error);
            }
            // What may have been done says more than that another could not be reached.
            failed = match (failed, error) {
                (Some(Error::NotSent(before)), Error::NotSent(now)) => {
                    Some(Error::NotSent(format!("{before}; {now}")))
                }
                (Some(before), Error::NotSent(_)) => Some(before),
                (_, now) => Some(now),
            };
        }
        Err(failed.unwrap_or_else(|| Error::NotSent("there was no time to ask".into())))
    }

    /// Posts to one endpoint.
    pub fn ask(
        &self,
        endpoint: usize,
        path: &str,
        message: &Value,
        within: Duration,
    ) -> Result<Value, Error> {
        let endpoint = &self.endpoints[endpoint];
        let request = self.agent.post(format!("{endpoint}{path}")).config();
        let request = request.timeout_global(Some(within)).timeout_connect(Some(within / 2)).build();
        let request = request.header("content-type", "application/json");
        let said = |what: String| (endpoint.clone(), what);
        let sent = request.send(message.to_string().as_bytes());
        let mut response = sent.map_err(|error| {
            let (endpoint, what) = said(error.to_string());
            if was_not_sent(&error) {
                Error::NotSent(format!("{endpoint}: {what}"))
            } else {
                Error::NoAnswer { endpoint, what }
            }
        })?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body =
            body.map_err(|error| Error::NoAnswer { endpoint: endpoint.clone(), what: error.to_string() })?;
        // A stream of answers ends after the first: one was asked for.
        let answer = serde_json::Deserializer::from_slice(&body).into_iter::<Value>().next();
        let answer = match answer {
            Some(Ok(answer)) => answer,
            _ if status == 200 => {
                let (endpoint, what) = said("it is no JSON".into());
                return Err(Error::Answer { endpoint, what });
            }
            _ => Value::String(String::from_utf8_lossy(&body).trim().to_owned()),
        };
        // An error within a stream comes with status 200.
        if status == 200 && answer.get("error").is_none() {
            return Ok(answer);
        }
        let (endpoint, what) = said(error_text(&answer, status));
        // gRPC's codes as HTTP's: what is wrong in itself, forbidden or not there was not done. All else, "request
        // timed out" and "leader changed" above all, may have been proposed and still come to pass.
        match status {
            400 | 401 | 403 | 404 | 412 => Err(Error::Refused { endpoint, what }),
            _ => Err(Error::Unavailable { endpoint, what }),
        }
    }
}

/// What the gateway says of an error: `{"error": "…", "code": 14, "message": "…"}`, or the same within `error`.
fn error_text(answer: &Value, status: u16) -> String {
    let error = answer.get("error").unwrap_or(answer);
    let text = error.get("message").or(answer.get("message")).unwrap_or(error);
    text.as_str().map_or_else(|| format!("status {status}"), |text| format!("{text} (status {status})"))
}

/// Whether a request certainly never left this machine.
fn was_not_sent(error: &ureq::Error) -> bool {
    use ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match error {
        ureq::Error::Io(error) => {
            matches!(
                error.kind(),
                AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable
            )
        }
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        _ => false,
    }
}

#[cfg(feature = "tls")]
fn tls_config(tls: &Tls) -> Result<ureq::tls::TlsConfig, Error> {
    use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
    let read = |path: &PathBuf| {
        std::fs::read(path)
            .map_err(|error| Error::Options(format!("cannot read {}: {error}", path.display())))
    };
    let wrong = |path: &PathBuf, what: &str| Error::Options(format!("{} {what}", path.display()));
    let certificates = |path: &PathBuf| -> Result<Vec<Certificate<'static>>, Error> {
        let pem = read(path)?;
        let items = parse_pem(&pem).filter_map(Result::ok);
        let found: Vec<_> = items
            .filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect();
        if found.is_empty() { Err(wrong(path, "holds no certificate in PEM")) } else { Ok(found) }
    };
    // Named here, not found: whoever else is in this process may have brought another one.
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::new_with_certs(&certificates(&tls.ca)?));
    if let Some((certificate, key)) = &tls.client {
        let chain = certificates(certificate)?;
        let key = PrivateKey::from_pem(&read(key)?).map_err(|_| wrong(key, "holds no private key in PEM"))?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(config.build())
}
