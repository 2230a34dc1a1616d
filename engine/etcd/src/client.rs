//! The calls, and what their answers say.

use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use crate::transport::{Error, Options, Outcome, Transport};

/// Asks etcd. Calls block, for [`Options::deadline`] at most.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
}

/// How a swap ended.
#[derive(Debug)]
pub enum Swap {
    /// The key has the new value.
    Done,
    /// The key had this value, and keeps it; `None` when there is no such key.
    Refused(Option<String>),
    /// Nobody knows: read it back. Also when it was certainly not done ([`Error::is_not_done`]): etcd could not be asked.
    Unknown(Error),
}

/// A lease: it ends by itself when nobody keeps it alive, and takes the keys that were put under it along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub id: i64,
    /// How long it lives without being kept alive. etcd grants no less than its election timeout allows: 1 s asked may be
    /// 2 s granted.
    pub ttl: Duration,
}

/// What a member says of itself and its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// The number of the leader it knows; 0 when it knows none.
    pub leader: u64,
    /// Its version.
    pub version: String,
}

impl Client {
    /// A client that has asked nobody yet.
    ///
    /// # Errors
    /// [`Error::Options`].
    pub fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(options)? })
    }

    /// The values of `keys` at one moment, none older than this call: etcd asks a majority first.
    ///
    /// # Errors
    /// Any but [`Error::Options`].
    pub fn read(&mut self, keys: &[&str]) -> Result<Vec<Option<String>>, Error> {
        let ranges: Vec<_> =
            keys.iter().map(|key| json!({ "requestRange": { "key": encode(key) } })).collect();
        let answer = self.transport.call("/v3/kv/txn", &json!({ "success": ranges }), Outcome::Repeatable)?;
        let responses = answer.get("responses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if responses.len() != keys.len() {
            return Err(self.unreadable("not as many keys as were asked for"));
        }
        responses.iter().map(|response| self.value(response)).collect()
    }

    /// Gives `key` the value `to` if it has the whole value `expect` now; makes it if `expect` is `None` and there is no
    /// such key. Sent to one endpoint only.
    pub fn swap(&mut self, key: &str, expect: Option<&str>, to: &str) -> Swap {
        let key = encode(key);
        let compare = match expect {
            Some(value) => {
                json!({ "key": key, "target": "VALUE", "result": "EQUAL", "value": encode(value) })
            }
            None => json!({ "key": key, "target": "CREATE", "result": "EQUAL", "createRevision": "0" }),
        };
        let message = json!({
            "compare": [compare],
            "success": [{ "requestPut": { "key": key, "value": encode(to) } }],
            "failure": [{ "requestRange": { "key": key } }],
        });
        let answer = match self.transport.call("/v3/kv/txn", &message, Outcome::Once) {
            Ok(answer) => answer,
            Err(error) => return Swap::Unknown(error),
        };
        if answer.get("succeeded") == Some(&Value::Bool(true)) {
            return Swap::Done;
        }
        // What is false is left out.
        match answer.get("responses").and_then(|responses| responses.get(0)) {
            Some(response) => self.value(response).map_or_else(Swap::Unknown, Swap::Refused),
            None => Swap::Unknown(self.unreadable("neither done nor refused")),
        }
    }

    /// A new lease that is to live for `ttl_s` seconds.
    ///
    /// # Errors
    /// Any but [`Error::Options`]; one that was granted without our knowing ends by itself.
    pub fn grant(&mut self, ttl_s: u32) -> Result<Lease, Error> {
        let message = json!({ "TTL": ttl_s.to_string() });
        let answer = self.transport.call("/v3/lease/grant", &message, Outcome::Repeatable)?;
        match (integer(&answer, "ID"), integer(&answer, "TTL")) {
            (Some(id), Some(ttl)) if id != 0 && ttl > 0 => {
                Ok(Lease { id, ttl: Duration::from_secs(ttl.unsigned_abs()) })
            }
            _ => Err(self.unreadable("a lease without number or time")),
        }
    }

    /// Keeps a lease alive; `None` when it is over.
    ///
    /// # Errors
    /// Any but [`Error::Options`].
    pub fn keep_alive(&mut self, id: i64) -> Result<Option<Duration>, Error> {
        let message = json!({ "ID": id.to_string() });
        let answer = self.transport.call("/v3/lease/keepalive", &message, Outcome::Repeatable)?;
        let Some(result) = answer.get("result") else { return Err(self.unreadable("no result")) };
        // A time of nothing is left out.
        let ttl = integer(result, "TTL").unwrap_or(0);
        Ok((ttl > 0).then(|| Duration::from_secs(ttl.unsigned_abs())))
    }

    /// Gives `key` this value, under a lease.
    ///
    /// # Errors
    /// Any but [`Error::Options`]; [`Error::Refused`] when the lease is over.
    pub fn put(&mut self, key: &str, value: &str, lease: i64) -> Result<(), Error> {
        let message = json!({ "key": encode(key), "value": encode(value), "lease": lease.to_string() });
        self.transport.call("/v3/kv/put", &message, Outcome::Repeatable).map(|_| ())
    }

    /// Ends a lease, and with it the keys under it. One that is over already is none the worse.
    ///
    /// # Errors
    /// Any but [`Error::Options`].
    pub fn revoke(&mut self, id: i64) -> Result<(), Error> {
        let message = json!({ "ID": id.to_string() });
        match self.transport.call("/v3/lease/revoke", &message, Outcome::Repeatable) {
            Err(Error::Refused { what, .. }) if what.contains("lease not found") => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// What each member says of itself, by endpoint. Asks one after the other, each for its share of the deadline.
    pub fn members(&self, deadline: Duration) -> Vec<(String, Result<Member, Error>)> {
        let endpoints = self.transport.endpoints();
        let within = deadline / endpoints.len() as u32;
        let ask = |nth: usize| {
            let answer = self.transport.ask(nth, "/v3/maintenance/status", &json!({}), within)?;
            let number = |value: Option<&Value>| value?.as_str()?.parse().ok();
            let id = number(answer.get("header").and_then(|header| header.get("member_id")));
            let version = answer.get("version").and_then(Value::as_str).unwrap_or_default().to_owned();
            let leader = number(answer.get("leader")).unwrap_or(0);
            let what = "it does not say which member it is".to_owned();
            id.map(|id| Member { id, leader, version })
                .ok_or_else(|| Error::Answer { endpoint: endpoints[nth].clone(), what })
        };
        endpoints.iter().enumerate().map(|(nth, endpoint)| (endpoint.clone(), ask(nth))).collect()
    }

    /// The value of the key that a range was asked for; `None` when there is no such key.
    fn value(&self, response: &Value) -> Result<Option<String>, Error> {
        let Some(range) = response.get("response_range") else { return Err(self.unreadable("no range")) };
        let Some(found) = range.get("kvs").and_then(|kvs| kvs.get(0)) else { return Ok(None) };
        // An empty value is left out.
        let value = found.get("value").and_then(Value::as_str).unwrap_or_default();
        let bytes = Base64::decode_vec(value).map_err(|_| self.unreadable("a value that is no base64"))?;
        String::from_utf8(bytes).map(Some).map_err(|_| self.unreadable("a value that is no UTF-8"))
    }

    fn unreadable(&self, what: &str) -> Error {
        Error::Answer { endpoint: self.transport.answered().to_owned(), what: what.to_owned() }
    }
}

fn encode(text: &str) -> String {
    Base64::encode_string(text.as_bytes())
}

/// A 64-bit integer, which stands in a string; zero is left out.
fn integer(answer: &Value, field: &str) -> Option<i64> {
    answer.get(field)?.as_str()?.parse().ok()
}
