//! `cargo xtask campaign`: what takes too long for every change. Its counts stand in docs/campaign.md.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::{Args, ValueEnum};

use crate::{
    Failure,
    python::Venv,
    root,
    steps::{Steps, cargo},
    target,
    test::without_settings,
};

/// `cargo xtask campaign`.
#[derive(Args)]
pub(crate) struct CampaignArgs {
    /// Which part; all of them if none is named
    #[arg(value_enum)]
    part: Option<Part>,
    /// How many minutes each fuzz target runs
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Only this fuzz target
    #[arg(long)]
    target: Option<String>,
    /// How many fuzz targets run side by side
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every fuzz target
    Fuzz,
    /// `kill -9` ten thousand times, against a release build
    Crash,
    /// Every Python test in its long version
    Tests,
}

/// Runs the parts that were asked for.
pub(crate) fn run(args: &CampaignArgs, steps: &mut Steps) -> Result<(), Failure> {
    let wanted = |part| args.part.is_none_or(|only| only == part);
    if wanted(Part::Fuzz) {
        fuzz(args, steps)?;
    }
    if wanted(Part::Crash) || wanted(Part::Tests) {
        let venv = steps.run("Python environment", Venv::ready)?;
        steps.command("release build", cargo().args(["build", "--release", "-p", "custody"]))?;
        if wanted(Part::Crash) {
            let mut crash = pytest(&venv, "tests/test_crash.py")?;
            steps.command("10,000 crashes", crash.env("CUSTODY_CRASH_ROUNDS", "10000"))?;
        }
        if wanted(Part::Tests) {
            steps.command("Python tests, long", &mut pytest(&venv, "tests")?)?;
        }
    }
    Ok(())
}

fn pytest(venv: &Venv, what: &str) -> Result<Command, Failure> {
    let mut tests = venv.command("python");
    without_settings(tests.args(["-m", "pytest", what]).current_dir(root()));
    tests.env("CUSTODY_BIN", std::path::absolute(target().join("release/custody"))?);
    tests.env("CUSTODY_TEST_PYTHON", venv.program("python")).env("CUSTODY_CAMPAIGN", "1");
    Ok(tests)
}

/// What libFuzzer says of a run.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    executions: u64,
    coverage: (u64, u64),
}

fn fuzz(args: &CampaignArgs, steps: &mut Steps) -> Result<(), Failure> {
    steps.run("cargo-fuzz is there", || {
        let found = cargo().args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if found.success() {
            return Ok(());
        }
        Err("cargo-fuzz is missing: install it with `cargo install cargo-fuzz`".into())
    })?;
    let corpus = target().join("fuzz-corpus");
    let mut seeds = cargo();
    seeds.args(["run", "--quiet", "-p", "custody-fuzz", "--example", "seeds", "--"]).arg(std::path::absolute(&corpus)?);
    steps.command("seeds of the fuzz targets", &mut seeds)?;
    steps.command("fuzz targets", fuzzer("build").arg("--sanitizer").arg("none"))?;
    let names: Vec<String> =
        targets()?.into_iter().filter(|name| args.target.as_ref().is_none_or(|only| only == name)).collect();
    if names.is_empty() {
        return Err("there is no such fuzz target: see fuzz/Cargo.toml".into());
    }
    let (mut rows, mut failure) = (Vec::new(), None);
    for together in names.chunks(args.jobs.max(1)) {
        let results = steps
            .run(&format!("fuzz {}", together.join(", ")), || Ok(fuzz_all(together, &corpus, args.minutes * 60)))?;
        for (name, result) in together.iter().zip(results) {
            match result {
                Ok(counts) => rows.push(row(name, &counts, args.minutes * 60)),
                Err(error) => {
                    rows.push(format!("| {name} | | | | failed |"));
                    failure.get_or_insert(Failure::from(error));
                }
            }
        }
    }
    write_down(args, &rows)?;
    failure.map_or(Ok(()), Err)
}

/// Runs targets side by side. What fails is told as text: other errors can't leave their thread.
fn fuzz_all(names: &[String], corpus: &Path, seconds: u64) -> Vec<Result<Counts, String>> {
    std::thread::scope(|scope| {
        let run = |name: &String| fuzz_one(name, corpus, seconds).map_err(|error| error.to_string());
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || run(name))).collect();
        let ended = || Err("its thread ended in a panic".to_owned());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| ended())).collect()
    })
}

fn targets() -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        names.extend(entry?.path().file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// `cargo fuzz COMMAND`. The code forbids `unsafe`, so that no sanitizer is needed; what remains of the nightly compiler's
/// is let through by the variable.
fn fuzzer(command: &str) -> Command {
    let mut fuzzer = cargo();
    fuzzer.args(["fuzz", command]).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", fuzz_target());
    fuzzer
}

fn fuzz_one(name: &str, corpus: &Path, seconds: u64) -> Result<Counts, Failure> {
    let mut run = fuzzer("run");
    run.args(["--sanitizer", "none", name]).arg(std::path::absolute(corpus.join(name))?);
    run.args(["--", &format!("-max_total_time={seconds}"), "-rss_limit_mb=2048", "-timeout=10", "-max_len=65536"]);
    run.args(["-print_final_stats=1"]);
    let output = run.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let log = target().join(format!("fuzz-{name}.log"));
    fs::write(&log, said.as_bytes())?;
    if !output.status.success() {
        return Err(format!("{name} failed: see {}; its input lies in fuzz/artifacts/{name}", log.display()).into());
    }
    counts(&said).ok_or_else(|| format!("{name} gave no counts: see {}", log.display()).into())
}

fn fuzz_target() -> PathBuf {
    root().join(target()).join("fuzz")
}

fn counts(said: &str) -> Option<Counts> {
    let executions = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    let mut coverage = said.lines().filter_map(|line| {
        let (_, rest) = line.split_once(" cov: ")?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    let first = coverage.next()?;
    Some(Counts {
        executions: executions.trim().parse().ok()?,
        coverage: (first, coverage.next_back().unwrap_or(first)),
    })
}

fn row(name: &str, counts: &Counts, seconds: u64) -> String {
    let Counts { executions, coverage: (from, to) } = counts;
    format!("| {name} | {executions} | {} | {from} to {to} | none |", executions / seconds.max(1))
}

/// Appends a table to docs/campaign.md.
fn write_down(args: &CampaignArgs, rows: &[String]) -> Result<(), Failure> {
    let say = |program: &str, args: &[&str]| -> Result<String, Failure> {
        let output = Command::new(program).args(args).current_dir(root()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (date, commit) = (say("date", &["+%F"])?, say("git", &["describe", "--always", "--dirty"])?);
    let table = format!(
        "\n## Fuzzing, {date}, commit {commit}\n\n`cargo xtask campaign fuzz --minutes {} --jobs {}`\n\n\
         | target | executions | a second | edges covered | crashes |\n|---|---|---|---|---|\n{}\n",
        args.minutes,
        args.jobs,
        rows.join("\n")
    );
    print_and_append(&table)
}

fn print_and_append(table: &str) -> Result<(), Failure> {
    eprint!("{table}");
    let mut page = OpenOptions::new().append(true).create(true).open(root().join("docs/campaign.md"))?;
    page.write_all(table.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_those_that_libfuzzer_prints() {
        let said = "#3\tINITED cov: 10 ft: 11\n#9\tNEW    cov: 25 ft: 30\nstat::number_of_executed_units: 1234\n";
        assert_eq!(counts(said), Some(Counts { executions: 1234, coverage: (10, 25) }));
        assert_eq!(counts("no fuzzer at all"), None);
    }
}
