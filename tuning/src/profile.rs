//! The declarative spec of a host: per item what must hold, why, how it is read back, and how a person sets it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::probe::Probe;

/// A host as it must be for some purpose.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Whom it is for.
    pub summary: String,
    /// What must hold, in the order in which it is read.
    #[serde(rename = "item")]
    pub items: Vec<Item>,
}

/// One thing that must hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its name in reports and alarms.
    pub id: String,
    /// What must hold.
    pub what: String,
    /// What it costs when it does not.
    pub why: String,
    /// How much it matters.
    pub level: Level,
    /// How it is read back.
    pub probe: Probe,
    /// How it is set.
    #[serde(default)]
    pub fix: Fix,
}

/// How much an item matters.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A production node does not start without it.
    Required,
    /// Worth a warning.
    Advised,
    /// Only said, for the record of a benchmark.
    Reported,
}

/// How an item is set. `{order}`, `{housekeeping}`, `{nic}` and `{disk}` stand for those of the host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Fix {
    /// Arguments of the kernel's command line; they take a reboot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel: Vec<String>,
    /// Kernel parameters by name, as in sysctl.d(5).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// What is written into each file that the probe reads, as by tmpfiles.d(5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<String>,
    /// Lines of the `[Service]` section of the node's unit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unit: Vec<String>,
    /// Commands, as root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// What no command can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Fix {
    /// Whether nothing but a start of the kernel sets it.
    #[must_use]
    pub fn takes_a_reboot(&self) -> bool {
        let at_once = self.write.is_some() || !self.sysctl.is_empty() || !self.command.is_empty();
        !self.kernel.is_empty() && !at_once
    }
}

/// The built-in profiles, by name.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("lab", include_str!("../profiles/lab.toml")),
    ("production", include_str!("../profiles/production.toml")),
];

impl Profile {
    /// The built-in profile of that name, or the one in that file.
    ///
    /// # Errors
    /// When there is neither, or it is not a profile.
    pub fn load(name: &str) -> Result<Self, Error> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            let known: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(Error::NoProfile { name: name.to_owned(), known: known.join(", ") });
        }
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(name, &text)
    }

    /// The profile that `text` is; `name` is for the error.
    ///
    /// # Errors
    /// When it is none, or two of its items have one name.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let bad = |what: String| Error::Profile { name: name.to_owned(), what };
        let profile: Self = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        for (n, item) in profile.items.iter().enumerate() {
            if profile.items[..n].iter().any(|other| other.id == item.id) {
                return Err(bad(format!("two items are named {}", item.id)));
            }
            item.probe.check().map_err(|what| bad(format!("item {}: {what}", item.id)))?;
        }
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_are_profiles_and_say_how_each_required_item_is_set() {
        for (name, _) in BUILT_IN {
            let profile = Profile::load(name).expect("a profile");
            assert_eq!(profile.name, name);
            for item in &profile.items {
                assert!(
                    item.level == Level::Reported || item.fix != Fix::default(),
                    "{name}: {} has no fix",
                    item.id
                );
                assert!(item.why.ends_with('.'), "{name}: {}: a reason is a sentence", item.id);
            }
        }
    }

    #[test]
    fn what_can_be_set_at_once_takes_no_reboot() {
        let profile = Profile::load("production").expect("a profile");
        let takes =
            |id: &str| profile.items.iter().find(|item| item.id == id).expect("an item").fix.takes_a_reboot();
        assert!(takes("cpus-isolated") && takes("cpus-nohz-full"));
        assert!(!takes("governor") && !takes("watchdog") && !takes("interrupts") && !takes("clock-offset"));
    }

    #[test]
    fn what_is_no_profile_is_refused_in_words() {
        let item = |id: &str, probe: &str| {
            format!(
                "[[item]]\nid = \"{id}\"\nwhat = \"w\"\nwhy = \"y.\"\nlevel = \"required\"\nprobe = {probe}\n"
            )
        };
        let head = "name = \"x\"\nsummary = \"s\"\n";
        let text = "{ kind = \"text\", path = \"/a\", one_of = [\"1\"] }";
        for (body, said) in [
            (item("a", text) + &item("a", text), "two items are named a"),
            (item("a", "{ kind = \"guess\" }"), "guess"),
            (item("a", "{ kind = \"number\", path = \"/a\" }"), "neither min nor max"),
            (item("a", "{ kind = \"text\", path = \"a\", one_of = [] }"), "absolute"),
        ] {
            let error = Profile::parse("x", &(head.to_owned() + &body)).expect_err(said).to_string();
            assert!(error.contains(said), "{said} in {error}");
        }
        let error = Profile::load("laptop").expect_err("no such").to_string();
        assert!(error.contains("lab, production"), "{error}");
    }
}
