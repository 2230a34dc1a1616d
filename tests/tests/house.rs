//! The rules of the house, checked over the sources themselves: who may import whom, what must not
//! occur where, what may come in from outside.
//!
//! A rule that the compiler or clippy can keep is kept there; here stand those that they cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

// Who may import whom.

/// Of our own crates, what each may import; every room of the house, built or not.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("sync", &[]),
    ("tuning", &[]),
    ("core", &["types"]),
    ("wire", &["types"]),
    ("record", &["types"]),
    ("session", &["types", "wire"]),
    ("sessionlog", &["types"]),
    ("device", &["types"]),
    ("xdp", &["device"]),
    ("store", &["types", "record", "sync"]),
    ("archive", &["types", "record", "store"]),
    ("parquet", &["types", "core", "store", "hsm"]),
    ("replica", &["types", "record", "sync"]),
    ("gateway", &["types", "wire", "session", "sessionlog", "device", "sync"]),
    ("feed", &["types", "wire", "session", "sessionlog", "device", "sync"]),
    ("client", &["types", "wire", "session", "sessionlog", "device", "sync"]),
    ("runtime", &["types", "core", "sync"]),
    ("hsm", &["types", "record"]),
    ("load", &["types", "wire", "session", "device", "client"]),
    ("powercut", &["types", "store"]),
    ("etcd", &[]),
    ("exporter", &["sync"]),
    ("etcd-cluster", &[]),
    ("sim", &["types", "core", "record", "store", "replica", "tests"]),
    (
        "appliance",
        &[
            "types",
            "core",
            "sync",
            "runtime",
            "etcd",
            "wire",
            "session",
            "sessionlog",
            "device",
            "xdp",
            "gateway",
            "feed",
            "client",
            "record",
            "store",
            "archive",
            "replica",
            "hsm",
            "tuning",
            "load",
        ],
    ),
];

/// Crates whose code may be unsafe; everywhere else `lib.rs` forbids it.
const UNSAFE_ISLANDS: &[&str] = &["sync", "xdp", "store", "sessionlog", "hsm"];

#[test]
fn crates_import_only_what_their_room_allows() {
    let may_import: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut breaches = Vec::new();
    for package in members() {
        let room = package.room();
        if room == "tests" {
            continue;
        }
        let Some(allowed) = may_import.get(room) else {
            breaches.push(format!("{room} is a room that the house does not have"));
            continue;
        };
        for import in package.imports() {
            if !allowed.contains(&import) {
                breaches.push(format!("{room} must not import {import}"));
            }
        }
    }
    assert_none("imports", &breaches);
}

/// The table itself: what a room must never reach, over any number of steps, however the rows are edited.
#[test]
fn what_is_allowed_never_adds_up_to_what_is_forbidden() {
    let never: &[(&str, &[&str])] = &[
        ("core", &["wire", "record", "sync", "runtime"]),
        ("session", &["device", "core"]),
        ("sessionlog", &["core"]),
        ("device", &["core"]),
        ("xdp", &["core", "wire"]),
        ("store", &["core", "wire", "session", "gateway", "feed"]),
        ("replica", &["core", "wire", "session", "gateway", "feed"]),
        ("gateway", &["core", "runtime", "record", "store", "replica"]),
        ("feed", &["core", "runtime", "record", "store", "replica"]),
        ("client", &["core", "runtime", "record", "store", "replica"]),
        ("runtime", &["wire", "session", "gateway", "feed", "record", "store", "replica", "hsm"]),
        ("hsm", &["core", "wire", "session", "store", "replica"]),
        ("load", &["core", "runtime", "record", "store", "replica"]),
    ];
    let may_import: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    for (room, forbidden) in never {
        let mut reached = BTreeSet::from([*room]);
        let mut next = vec![*room];
        while let Some(at) = next.pop() {
            next.extend(may_import[at].iter().filter(|import| reached.insert(import)));
        }
        for room_forbidden in *forbidden {
            assert!(!reached.contains(room_forbidden), "{room} reaches {room_forbidden}");
        }
    }
}

#[test]
fn versions_stand_in_the_workspace_and_each_is_used() {
    let workspace: toml::Table = read(&root().join("Cargo.toml")).parse().expect("a manifest is TOML");
    let ours = |name: &str| name.starts_with("ironbell-");
    let pinned = workspace["workspace"]["dependencies"].as_table().expect("a table");
    let mut unused: BTreeSet<&str> = pinned.keys().map(String::as_str).filter(|name| !ours(name)).collect();
    let mut breaches = Vec::new();
    for package in members() {
        let manifest = package.manifest();
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, dependency) in
                manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten()
            {
                unused.remove(name.as_str());
                if dependency.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    breaches.push(format!("{}: {table}.{name} is not the workspace's", package.room()));
                }
            }
        }
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            breaches.push(format!("{}: the lints are not the workspace's", package.room()));
        }
    }
    breaches.extend(unused.iter().map(|name| format!("no crate uses {name}")));
    assert_none("manifests", &breaches);
}

// What must not occur where.

#[test]
fn unsafe_code_stays_on_its_islands() {
    let mut breaches = Vec::new();
    for package in members() {
        let island = UNSAFE_ISLANDS.contains(&package.room());
        for file in package.rust_files() {
            let text = read(&file);
            let in_src = file.starts_with(package.folder.join("src"));
            let is_root = in_src
                && ["lib.rs", "main.rs"].iter().any(|root| file == package.folder.join("src").join(root));
            if is_root && !island && !text.contains("#![forbid(unsafe_code)]") {
                breaches.push(format!("{}: does not forbid unsafe code", file.display()));
            }
            // A test or a bench that counts allocations has to be an allocator, which is unsafe to be.
            let counts_allocations = !in_src && text.contains("GlobalAlloc");
            if !island && !counts_allocations && code_lines(&text).any(|(_, line)| has_word(line, "unsafe")) {
                breaches.push(format!("{}: unsafe code outside its islands", file.display()));
            }
        }
    }
    assert_none("unsafe code", &breaches);
}

#[test]
fn pure_crates_touch_no_clock_no_float_and_no_world() {
    const CLOCKS: &[&str] = &["Instant", "SystemTime", "UNIX_EPOCH", "clock_gettime"];
    const FLOATS: &[&str] = &["f32", "f64"];
    const WORLD: &[&str] = &["std"];
    const SOCKETS: &[&str] = &["TcpStream", "TcpListener", "UdpSocket", "socket2"];
    // The order of a hash map's entries differs between builds: nothing of core may hang on it.
    const HASH_ORDER: &[&str] = &["HashMap", "HashSet", "hashbrown"];
    let rules: &[(&str, &[&[&str]])] = &[
        ("types", &[CLOCKS, FLOATS, WORLD]),
        ("core", &[CLOCKS, FLOATS, WORLD, HASH_ORDER]),
        ("wire", &[CLOCKS, FLOATS, WORLD]),
        ("record", &[CLOCKS, FLOATS, WORLD]),
        ("session", &[CLOCKS, SOCKETS]),
    ];
    let mut breaches = Vec::new();
    for package in members() {
        let Some((room, forbidden)) = rules.iter().find(|(room, _)| *room == package.room()) else {
            continue;
        };
        for file in package.rust_files().into_iter().filter(|f| f.starts_with(package.folder.join("src"))) {
            let text = read(&file);
            if forbidden.contains(&WORLD)
                && file == package.folder.join("src/lib.rs")
                && !text.contains("#![no_std]")
                && !text.contains("#![cfg_attr(not(test), no_std)]")
            {
                breaches.push(format!("{room} is not no_std"));
            }
            for (number, line) in code_lines(&text) {
                for word in forbidden.iter().copied().flatten().filter(|word| has_word(line, word)) {
                    breaches.push(format!("{}:{number}: {word}", file.display()));
                }
            }
        }
    }
    assert_none("pure crates", &breaches);
}

#[test]
fn every_crate_says_what_it_is() {
    let mut breaches = Vec::new();
    for package in members() {
        let root = ["src/lib.rs", "src/main.rs"].map(|root| package.folder.join(root));
        let root = root.iter().find(|root| root.exists()).expect("a crate has a root");
        if !read(root).starts_with("//! ") {
            breaches.push(format!("{} does not open with //!", root.display()));
        }
        if !package.folder.join("README.md").exists() {
            breaches.push(format!("{} has no README.md", package.room()));
        }
    }
    assert_none("crates", &breaches);
}

#[test]
fn the_top_level_is_the_house_and_nothing_else() {
    let rooms = ["engine", "net", "journal", "hsm", "tuning", "benches", "ansible", "tests"];
    let files = ["Cargo.toml", "Cargo.lock", "README.md", "Makefile", "LICENSE-APACHE", "LICENSE-MIT"];
    let breaches: Vec<String> = fs::read_dir(root())
        .expect("the repository is readable")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
        .filter(|name| !name.starts_with('.') && name != "target")
        .filter(|name| !rooms.contains(&name.as_str()) && !files.contains(&name.as_str()))
        .collect();
    assert_none("top level", &breaches);
}

#[test]
fn no_file_names_a_place_outside_the_repository() {
    // Put together here, so that this file does not hold what it looks for.
    let needles =
        [concat!("/wo", "rk/"), concat!("../sha", "red"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut files = Vec::new();
    walk(&root(), &mut files);
    let mut breaches = Vec::new();
    for file in files {
        let bytes = fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        breaches.extend(
            needles
                .iter()
                .filter(|needle| text.contains(*needle))
                .map(|needle| format!("{}: {needle}", file.display())),
        );
    }
    assert_none("places", &breaches);
}

// What may come in from outside.

#[test]
fn licences_are_permissive() {
    let deny = deny();
    let allowed = strings(&deny["licenses"]["allow"]);
    let mut unused: BTreeSet<&str> = BTreeSet::new();
    let mut breaches = Vec::new();
    for exception in deny["licenses"]["exceptions"].as_array().expect("an array") {
        unused.insert(exception["crate"].as_str().expect("a crate"));
    }
    for package in built() {
        let mut allowed = allowed.clone();
        let exceptions = deny["licenses"]["exceptions"].as_array().expect("an array");
        for exception in exceptions.iter().filter(|e| e["crate"].as_str() == Some(&package.name)) {
            allowed.extend(strings(&exception["allow"]));
            unused.remove(package.name.as_str());
        }
        match package.license.as_deref() {
            None => breaches.push(format!("{} {} names no licence", package.name, package.version)),
            Some(expression) if !licence_allows(expression, &allowed) => {
                breaches.push(format!("{} {}: {expression}", package.name, package.version));
            }
            Some(_) => {}
        }
    }
    breaches.extend(unused.iter().map(|name| format!("the exception for {name} is no longer needed")));
    assert_none("licences", &breaches);
}

#[test]
fn no_crate_is_built_in_two_versions() {
    let deny = deny();
    let skip = deny["bans"]["skip"].as_array().expect("an array");
    let mut skipped: BTreeSet<String> = BTreeSet::new();
    for entry in skip {
        assert!(
            entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
            "an exception gives its reason"
        );
        skipped.insert(entry["crate"].as_str().expect("a crate").to_owned());
    }
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in built() {
        versions.entry(package.name).or_default().insert(package.version);
    }
    let mut breaches = Vec::new();
    for (name, versions) in versions {
        let duplicate = versions.len() > 1;
        let mut kept: Vec<&String> =
            versions.iter().filter(|v| !skipped.remove(&format!("{name}@{v}"))).collect();
        if kept.len() > 1 {
            breaches.push(format!("{name} in {} versions: {kept:?}", kept.len()));
        } else if !duplicate && kept.pop().is_none() {
            breaches.push(format!("the exception for {name} is no longer needed"));
        }
    }
    breaches.extend(skipped.iter().map(|name| format!("the exception for {name} is no longer needed")));
    assert_none("duplicate versions", &breaches);
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned).to_vec();
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "GPL-2.0 AND MIT OR MIT",
    ] {
        assert!(licence_allows(good, &allowed), "{good}");
    }
    for bad in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR Apache-2.0) AND GPL-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "",
    ] {
        assert!(!licence_allows(bad, &allowed), "{bad}");
    }
}

/// Whether an SPDX expression (SPDX 2.3, annex D; `/` is the older form of OR) can be met with `allowed`.
fn licence_allows(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace('+', "");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    let meets = any_of(&mut rest, allowed);
    meets && rest.is_empty()
}

fn any_of(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut meets = all_of(rest, allowed);
    while let [first, tail @ ..] = *rest
        && *first == "OR"
    {
        *rest = tail;
        meets |= all_of(rest, allowed);
    }
    meets
}

fn all_of(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut meets = one_of(rest, allowed);
    while let [first, tail @ ..] = *rest
        && *first == "AND"
    {
        *rest = tail;
        meets &= one_of(rest, allowed);
    }
    meets
}

fn one_of(rest: &mut &[&str], allowed: &[String]) -> bool {
    match *rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let meets = any_of(rest, allowed);
            let closed = rest.first() == Some(&")");
            *rest = rest.get(1..).unwrap_or_default();
            meets && closed
        }
        [id, "WITH", exception, tail @ ..] => {
            *rest = tail;
            allowed.contains(&format!("{id} WITH {exception}"))
        }
        [id, tail @ ..] => {
            *rest = tail;
            allowed.iter().any(|a| a == id)
        }
        [] => false,
    }
}

// How it is read.

/// A member of the workspace.
struct Member {
    name: String,
    folder: PathBuf,
    imports: Vec<String>,
}

impl Member {
    fn room(&self) -> &str {
        self.name.strip_prefix("ironbell-").unwrap_or(&self.name)
    }

    /// Our own crates that it imports, other than for its tests.
    fn imports(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().filter_map(|name| name.strip_prefix("ironbell-"))
    }

    fn manifest(&self) -> toml::Table {
        read(&self.folder.join("Cargo.toml")).parse().expect("a manifest is TOML")
    }

    fn rust_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(&self.folder, &mut files);
        files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
        files
    }
}

/// A package that is built for this workspace, tests included.
struct Built {
    name: String,
    version: String,
    license: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder above this crate").to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo speaks UTF-8")
}

fn metadata() -> Value {
    let target = "x86_64-unknown-linux-gnu";
    let json = cargo(&["metadata", "--format-version=1", "--locked", "--filter-platform", target]);
    serde_json::from_str(&json).expect("cargo metadata is JSON")
}

fn members() -> Vec<Member> {
    let metadata = metadata();
    let ids = metadata["workspace_members"].as_array().expect("an array");
    let packages = metadata["packages"].as_array().expect("an array");
    let member = |package: &Value| {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        // Kind null is a normal dependency; the others are "dev" and "build".
        let normal =
            package["dependencies"].as_array().expect("an array").iter().filter(|d| d["kind"] != "dev");
        Member {
            name: text(&package["name"]),
            folder: manifest.parent().expect("a folder").to_owned(),
            imports: normal.map(|d| text(&d["name"])).collect(),
        }
    };
    let members: Vec<Member> = packages.iter().filter(|p| ids.contains(&p["id"])).map(member).collect();
    assert!(members.len() > 10, "the workspace was not read");
    members
}

/// What cargo builds, with the licences that metadata knows. Metadata alone lists optional
/// dependencies that no feature switches on.
fn built() -> Vec<Built> {
    let tree = cargo(&[
        "tree",
        "--workspace",
        "--locked",
        "--edges=normal,build,dev",
        "--target=x86_64-unknown-linux-gnu",
        "--prefix=none",
        "--format={p}",
    ]);
    let in_tree: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?.trim_start_matches('v')))
        })
        .collect();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("an array");
    let built: Vec<Built> = packages
        .iter()
        .map(|package| Built {
            name: text(&package["name"]),
            version: text(&package["version"]),
            license: package["license"].as_str().map(str::to_owned),
        })
        .filter(|package| in_tree.contains(&(package.name.as_str(), package.version.as_str())))
        .collect();
    assert!(built.len() > 50, "the dependencies were not read");
    built
}

fn deny() -> toml::Table {
    read(&root().join(".cargo/deny.toml")).parse().expect("deny.toml is TOML")
}

fn strings(list: &toml::Value) -> Vec<String> {
    list.as_array()
        .expect("an array")
        .iter()
        .map(|item| item.as_str().expect("a string").to_owned())
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file under `folder`, build outputs and the repository's own records left out.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        let name = entry.file_name();
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && name != "target" && name != ".git" && name != "__pycache__" {
            walk(&entry.path(), files);
        }
    }
}

/// The lines of a file that are code and not a test's, with their numbers: tests stand last in a file.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines());
    let code = lines.take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"));
    code.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether `word` stands in `line` by itself, not as a part of a longer name, and not in a trailing comment.
fn has_word(line: &str, word: &str) -> bool {
    let code = line.split("// ").next().unwrap_or_default();
    // A quote before it makes it a text, as in this file.
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '"';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

fn assert_none(what: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{what}:\n  {}", breaches.join("\n  "));
}
