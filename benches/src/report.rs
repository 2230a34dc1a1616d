//! The HTML report: one file that works offline. The script in it draws every figure from the data in it.

use crate::record::Record;
use serde::Serialize;

const TEMPLATE: &str = include_str!("report.html");
const DATA: &str = "/*DATA*/";

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    record: &'a Record,
    verdict: String,
}

/// The report of one record, or of several side by side; the first is the one that the verdict is of.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn html(records: &[&Record]) -> String {
    html_with::<()>(records, &[])
}

/// As [`html`], with the stations of a suite above it: by name, objects of `value`, `unit`, `ratio_to`, `ratio`, `samples`.
///
/// # Panics
/// When there is no record.
#[must_use]
pub fn html_with<T: Serialize>(records: &[&Record], stations: &[(&str, T)]) -> String {
    assert!(!records.is_empty(), "a report is of something");
    let shown: Vec<Shown<'_>> =
        records.iter().map(|record| Shown { record, verdict: record.verdict() }).collect();
    let json = serde_json::to_string(&(shown, stations));
    let json = json.unwrap_or_else(|e| unreachable!("records are plain data: {e}"));
    // Nothing in the data ends the script element that it stands in.
    TEMPLATE.replacen(DATA, &json.replace('<', "\\u003c"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{self, FORMAT, Record, tests::step};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    fn record() -> Record {
        let steps: Vec<_> =
            [(1e4, 200_000, true), (2e4, 240_000, true), (4e4, 900_000, true), (8e4, 9_000_000, false)]
                .into_iter()
                .map(|(rate, p99, reached)| step(rate, p99, reached))
                .collect();
        Record {
            format: FORMAT,
            name: "</script><b>sly".to_owned(),
            knee: record::knee(&steps),
            warnings: vec!["a note".to_owned()],
            steps,
            ..Record::default()
        }
    }

    #[test]
    fn nothing_in_it_comes_from_elsewhere_and_data_stays_data() {
        let html = html(&[&record()]);
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            let found = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
        assert_eq!(html.matches("</script>").count(), 2, "the data cannot end its element");
        assert!(!html.contains(DATA));
    }

    /// A browser draws it, with no error and every figure; the picture is kept for people to look at.
    #[test]
    fn a_browser_draws_every_figure() {
        let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
            Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
        }) else {
            panic!("no chromium: run tests/setup.sh")
        };
        let dir =
            PathBuf::from(std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or_else(|| {
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp").into_os_string()
            }))
            .join("report");
        std::fs::create_dir_all(&dir).unwrap();
        let page = dir.join("report.html");
        let suite = [
            (
                "matching_worst",
                serde_json::json!({ "value": 1.5e7, "unit": "messages/s", "ratio_to": "the bar", "ratio": 1.9, "samples": 3 }),
            ),
            (
                "failover",
                serde_json::json!({ "value": null, "unit": "ns", "ratio_to": null, "ratio": null, "samples": 0 }),
            ),
        ];
        std::fs::write(&page, html_with(&[&record()], &suite)).unwrap();
        let page = format!("file://{}", page.canonicalize().unwrap().display());
        let browse = |args: &[&str]| {
            let profile = format!("--user-data-dir={}", dir.join("profile").display());
            let output = Command::new(browser)
                .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
                .args(["--virtual-time-budget=4000", "--force-color-profile=srgb", &profile])
                .args(args)
                .arg(&page)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let dom = browse(&["--dump-dom"]);
        assert!(dom.contains("data-drawn=\"yes\""), "the script did not come to its end:\n{dom:.2000}");
        for id in ["verdict", "suite", "percentiles", "throughput", "over-time", "stages", "about", "knee"] {
            assert!(dom.contains(&format!("id=\"{id}\"")), "{id} is missing");
        }
        let figures = dom.matches("<svg").count();
        assert_eq!(figures, 4, "percentiles, throughput, over time, stages");
        let drawn = dom.split("<script").next().unwrap();
        assert!(drawn.len() < dom.len() && drawn.contains("</section>"));
        for slip in ["NaN", "undefined", "Infinity", "null"] {
            assert!(!drawn.contains(slip), "{slip}: {drawn}");
        }
        assert!(dom.contains("knee: 40 000/s"), "the knee is marked");
        let picture = dir.join("report.png");
        let _ = std::fs::remove_file(&picture);
        browse(&["--window-size=1200,2600", &format!("--screenshot={}", picture.display())]);
        let png = std::fs::read(&picture).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 50_000, "{} bytes", png.len());
    }
}
