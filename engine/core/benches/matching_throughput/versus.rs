//! Beside the present program: instructions counted by callgrind, and an earlier revision, built from the
//! repository's history and run in turn with this one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Messages of a run under callgrind: enough that setting up counts for nothing.
const COUNTED_MESSAGES: usize = 200_000;

/// A program of this bench: this one, or an earlier revision's.
pub struct Program {
    path: PathBuf,
}

/// What both programs did with the same flow.
pub struct Versus {
    /// Messages per second, the medians of all runs.
    pub before_per_s: f64,
    pub now_per_s: f64,
    /// Now to before, the median of the pairs, and the bounds that hold the true median in 95 of 100 cases.
    pub ratio: f64,
    pub ratio_low: f64,
    pub ratio_high: f64,
    /// Instructions a message.
    pub before_instructions: f64,
    pub now_instructions: f64,
}

impl Program {
    pub fn present() -> Self {
        Self { path: std::env::current_exe().expect("the path of this program") }
    }

    /// Builds the bench of a revision, from the repository's history, under the target folder.
    ///
    /// # Errors
    ///
    /// What could not be done, and what the tool said.
    pub fn of_revision(revision: &str) -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut git = Command::new("git");
        let commit = format!("{revision}^{{commit}}");
        git.current_dir(&root).args(["rev-parse", "--verify", "--quiet", &commit]);
        let said = output(&mut git).map_err(|_| {
            format!("{revision} is no revision of this repository: fetch its history (git fetch --unshallow)")
        })?;
        let sha = said.trim();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("versus");
        let source = target.join(sha);
        if !source.join("Cargo.toml").exists() {
            std::fs::create_dir_all(&source).map_err(|error| format!("{}: {error}", source.display()))?;
            let archive = target.join(format!("{sha}.tar"));
            let to = format!("--output={}", archive.display());
            output(Command::new("git").current_dir(&root).args(["archive", &to, sha]))?;
            output(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source))?;
            std::fs::remove_file(&archive).map_err(|error| format!("{}: {error}", archive.display()))?;
        }
        let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
        cargo.current_dir(&source).env("CARGO_TARGET_DIR", target.join("target")).args([
            "bench",
            "--locked",
            "--no-run",
            "--message-format=json",
            "--package=ironbell-core",
            "--bench=matching_throughput",
        ]);
        eprintln!("building the bench of {revision}");
        let said = output(&mut cargo)?;
        let of_bench = said.lines().filter(|line| line.contains(r#""name":"matching_throughput""#));
        let path = of_bench.filter_map(|line| text(line, "executable")).next_back();
        path.map(|path| Self { path: path.into() }).ok_or(format!("cargo names no bench of {revision}"))
    }

    /// Messages per second of one run.
    fn per_s(&self, stage: &str, scenario: &str, messages: usize, seed: u64) -> Result<f64, String> {
        let mut command = Command::new(&self.path);
        command.args(["--json", "--runs", "1", "--only", stage, "--scenario", scenario]);
        command.args(["--messages", &messages.to_string(), "--seed", &seed.to_string()]);
        let said = output(&mut command)?;
        number(&said, "messages_per_s").ok_or(format!("no rate in {said}"))
    }

    /// Instructions a message inside the stage's one function, which every revision has.
    ///
    /// # Errors
    ///
    /// When valgrind is missing, or counted nothing.
    pub fn instructions(&self, stage: &str, scenario: &str, seed: u64) -> Result<f64, String> {
        let function = match stage {
            "matching" => "ironbell_core::matching::Matching::apply*",
            _ => "ironbell_core::engine::Engine::execute*",
        };
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(format!("--toggle-collect={function}")).arg(&self.path);
        command.args(["--runs", "1", "--only", stage, "--scenario", scenario]);
        command.args(["--messages", &COUNTED_MESSAGES.to_string(), "--seed", &seed.to_string()]);
        let run = command.stdin(Stdio::null()).output();
        let run = run.map_err(|error| format!("valgrind: {error} (install it: apt-get install valgrind)"))?;
        let said = String::from_utf8_lossy(&run.stderr);
        let counted = said.lines().find_map(|line| line.split_once("Collected : "));
        let counted = counted.and_then(|(_, count)| count.trim().parse::<u64>().ok());
        match counted.filter(|counted| *counted > 0) {
            Some(counted) => Ok(counted as f64 / COUNTED_MESSAGES as f64),
            None => Err(format!("callgrind counted nothing in {function}: {said}")),
        }
    }
}

impl Versus {
    /// Runs both in turn, `pairs` times, and counts the instructions of each.
    ///
    /// # Errors
    ///
    /// When a program fails or valgrind is missing.
    pub fn measure(
        before: &Program,
        now: &Program,
        stage: &str,
        scenario: &str,
        (messages, seed): (usize, u64),
        pairs: usize,
    ) -> Result<Self, String> {
        let (mut before_all, mut now_all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..pairs {
            // Who comes first changes, so that a machine that slows down takes from both.
            let (first, second) = if pair % 2 == 0 { (before, now) } else { (now, before) };
            let first = first.per_s(stage, scenario, messages, seed)?;
            let second = second.per_s(stage, scenario, messages, seed)?;
            let (before, now) = if pair % 2 == 0 { (first, second) } else { (second, first) };
            before_all.push(before);
            now_all.push(now);
            ratios.push(now / before);
        }
        for all in [&mut before_all, &mut now_all, &mut ratios] {
            all.sort_by(f64::total_cmp);
        }
        let outside = outside(pairs);
        Ok(Self {
            before_per_s: before_all[pairs / 2],
            now_per_s: now_all[pairs / 2],
            ratio: (ratios[(pairs - 1) / 2] + ratios[pairs / 2]) / 2.0,
            ratio_low: ratios[outside],
            ratio_high: ratios[pairs - 1 - outside],
            before_instructions: before.instructions(stage, scenario, seed)?,
            now_instructions: now.instructions(stage, scenario, seed)?,
        })
    }

    /// Instructions now to before.
    pub fn instructions_ratio(&self) -> f64 {
        self.now_instructions / self.before_instructions
    }
}

/// How many of the sorted values at either end can be left out so that what remains still spans the true
/// median in 95 of 100 cases: each value is above it or below it like a coin.
fn outside(values: usize) -> usize {
    let (mut outside, mut chance, mut term) = (0, 0.0, 0.5f64.powi(values as i32));
    while outside < values / 2 {
        chance += term;
        if 2.0 * chance > 0.05 {
            break;
        }
        term *= (values - outside) as f64 / (outside + 1) as f64;
        outside += 1;
    }
    outside.saturating_sub(1)
}

/// What a program says, if it does not fail.
fn output(command: &mut Command) -> Result<String, String> {
    let run = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !run.status.success() {
        return Err(format!("{command:?}: {}: {}", run.status, String::from_utf8_lossy(&run.stderr)));
    }
    String::from_utf8(run.stdout).map_err(|error| format!("{command:?}: {error}"))
}

/// The text of a field, in JSON without escapes.
fn text<'a>(json: &'a str, field: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!(r#""{field}":""#))?;
    Some(rest.split_once('"')?.0)
}

/// The number of a field.
fn number(json: &str, field: &str) -> Option<f64> {
    let (_, rest) = json.split_once(&format!(r#""{field}":"#))?;
    rest.split([',', '}']).next()?.parse().ok()
}
