//! Files under what may happen to them: rotation, torn ends, and disappearance.

use super::*;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("livefeed-files-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.0.join("f.ndjson")
    }

    fn open(&self, output: &Output, now: SystemTime) -> Result<Files, String> {
        Files::open(output, &self.path(), ["a".to_owned()], now).map_err(|(_, problem)| problem)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// 21 November 2026, 10:00 UTC, and so many seconds.
fn at(secs: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_255_200) + Duration::from_secs_f64(secs)
}

fn output(max_bytes: u64, every: Option<u64>, keep: Option<usize>) -> Output {
    let every = every.map_or(livefeed::Limit::None, |secs| livefeed::Limit::After(Duration::from_secs(secs)));
    Output { file: None, max_bytes, every, keep }
}

fn add(files: &mut Files, line: &str) {
    files.gather("a", |buffer| buffer.extend_from_slice(line.as_bytes()));
}

fn write(files: &mut Files, line: &str, now: SystemTime) {
    add(files, line);
    files.write(now).unwrap();
    assert_eq!(files.gathered(), 0);
}

#[test]
fn a_file_that_would_become_too_large_is_put_aside() {
    let dir = Dir::new();
    let mut files = dir.open(&output(12, None, Some(2)), at(0.0)).unwrap();
    for (n, secs) in [1.0, 1.0, 2.0, 3.5, 4.0].into_iter().enumerate() {
        write(&mut files, &format!("{{\"n\":{n}}}\n"), at(secs)); // 8 bytes
    }
    // Four were put aside, two of them in one millisecond, and two are kept.
    assert_eq!(dir.names(), ["f-20261121T100003.500Z.ndjson", "f-20261121T100004.000Z.ndjson", "f.ndjson"]);
    assert_eq!(dir.read("f-20261121T100004.000Z.ndjson"), "{\"n\":3}\n");
    assert_eq!(dir.read("f.ndjson"), "{\"n\":4}\n");
}

#[test]
fn two_files_of_one_millisecond_have_two_names() {
    let dir = Dir::new();
    let mut files = dir.open(&output(4, None, None), at(0.0)).unwrap();
    write(&mut files, "{1}\n{2}\n{3}\n", at(0.0));
    let aside = ["f-20261121T100000.000Z.ndjson", "f-20261121T100000.001Z.ndjson"];
    assert_eq!(dir.names(), [aside[0], aside[1], "f.ndjson"]);
    assert_eq!(
        (dir.read(aside[0]), dir.read(aside[1]), dir.read("f.ndjson")),
        ("{1}\n".into(), "{2}\n".into(), "{3}\n".into())
    );
}

#[test]
fn a_file_is_put_aside_at_the_full_hour_though_nothing_comes() {
    let dir = Dir::new();
    let mut files = dir.open(&output(1 << 20, Some(3600), None), at(0.0)).unwrap();
    assert_eq!(files.due(), None, "an empty file is not put aside");
    write(&mut files, "{1}\n", at(1800.0));
    assert_eq!(files.due(), Some(at(3600.0)));
    files.handle_due(at(3599.9));
    assert_eq!(dir.names(), ["f.ndjson"]);
    files.handle_due(at(3600.0));
    assert_eq!((dir.names(), files.due()), (vec!["f-20261121T110000.000Z.ndjson".to_owned()], None));
    // The clock is set back: no harm is done.
    write(&mut files, "{2}\n", at(0.0));
    write(&mut files, "{3}\n", at(7200.5));
    assert_eq!(dir.read("f-20261121T120000.500Z.ndjson"), "{2}\n");
    assert_eq!(dir.read("f.ndjson"), "{3}\n");
}

#[test]
fn what_a_clock_that_was_wrong_left_does_not_outlive_what_comes_now() {
    let dir = Dir::new();
    let year = 365.0 * 86_400.0;
    let mut files = dir.open(&output(4, None, Some(2)), at(0.0)).unwrap();
    for (n, secs) in [year, year + 1.0, year + 2.0, 3.0, 4.0].into_iter().enumerate() {
        write(&mut files, &format!("{{{n}}}\n"), at(secs));
    }
    assert_eq!(dir.names(), ["f-20261121T100003.000Z.ndjson", "f-20261121T100004.000Z.ndjson", "f.ndjson"]);
    assert_eq!(dir.read("f-20261121T100004.000Z.ndjson") + &dir.read("f.ndjson"), "{3}\n{4}\n");
}

#[test]
fn what_an_earlier_run_left_is_gone_on_with() {
    let dir = Dir::new();
    for (left, goes_on_from, why) in [
        ("", "", "empty"),
        ("{\"a\":1}\n", "{\"a\":1}\n", "whole"),
        ("{\"a\":1}\n{\"b\":", "{\"a\":1}\n", "torn"),
        ("{\"a\":1}\n{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n", "only the line end is missing"),
        ("{\"a", "", "nothing but a torn line"),
        ("{\"a\":1}", "{\"a\":1}\n", "one line without its end"),
    ] {
        fs::write(dir.path(), left).unwrap();
        let mut files = dir.open(&output(1 << 20, None, None), at(0.0)).unwrap();
        write(&mut files, "{new}\n", at(0.0));
        assert_eq!(dir.read("f.ndjson"), format!("{goes_on_from}{{new}}\n"), "{why}");
    }
    let long = format!("{{1}}\n{{\"text\":\"{}", "x".repeat(200_000));
    fs::write(dir.path(), long).unwrap();
    drop(dir.open(&output(1 << 20, None, None), at(0.0)).unwrap());
    assert_eq!(dir.read("f.ndjson"), "{1}\n");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let dir = Dir::new();
    for other in ["hello\n", "url = 'x'", "{1}\nhello"] {
        fs::write(dir.path(), other).unwrap();
        let error = dir.open(&output(1 << 20, None, None), at(0.0)).unwrap_err();
        assert!(error.contains("something else"), "{error}");
        assert_eq!(dir.read("f.ndjson"), other);
    }
    fs::remove_file(dir.path()).unwrap();
    fs::create_dir(dir.path()).unwrap();
    assert!(dir.open(&output(1 << 20, None, None), at(0.0)).is_err());
}

#[cfg(unix)]
#[test]
fn a_second_process_is_refused() {
    let dir = Dir::new();
    let first = dir.open(&output(1 << 20, None, None), at(0.0)).unwrap();
    // The lock is that of the open file, so this is as good as a second process.
    let error = dir.open(&output(1 << 20, None, None), at(0.0)).unwrap_err();
    assert!(error.contains("another process"), "{error}");
    drop(first);
    dir.open(&output(1 << 20, None, None), at(0.0)).unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_or_directory_that_vanished_is_made_anew_and_nothing_more_is_lost() {
    let dir = Dir::new();
    let path = dir.0.join("deep/er/f.ndjson");
    let mut files = Files::open(&output(1 << 20, None, None), &path, ["a".to_owned()], at(0.0)).unwrap();
    write(&mut files, "{1}\n", at(0.0));
    fs::remove_dir_all(dir.0.join("deep")).unwrap();
    write(&mut files, "{2}\n", at(0.0));
    assert_eq!(dir.read("deep/er/f.ndjson"), "{2}\n");
    fs::remove_file(&path).unwrap();
    write(&mut files, "{3}\n", at(0.0));
    assert_eq!(dir.read("deep/er/f.ndjson"), "{3}\n");
    // Moved away, as by another tool: what was written at that time is there or here, once.
    fs::rename(&path, dir.0.join("moved")).unwrap();
    write(&mut files, "{4}\n", at(0.0));
    write(&mut files, "{5}\n", at(0.0));
    assert_eq!(dir.read("moved") + &dir.read("deep/er/f.ndjson"), "{3}\n{4}\n{5}\n");
    // A directory that can't be made, as a file is in its place: kept until it can.
    fs::remove_dir_all(dir.0.join("deep")).unwrap();
    fs::write(dir.0.join("deep"), "").unwrap();
    add(&mut files, "{6}\n");
    for _ in 0..3 {
        assert!(files.write(at(0.0)).is_err());
        assert_eq!(files.gathered(), 4);
    }
    fs::remove_file(dir.0.join("deep")).unwrap();
    files.write(at(0.0)).unwrap();
    assert_eq!(dir.read("deep/er/f.ndjson"), "{6}\n");
}

#[test]
fn a_file_that_somebody_emptied_is_gone_on_with() {
    let dir = Dir::new();
    let mut files = dir.open(&output(8, None, None), at(0.0)).unwrap();
    write(&mut files, "{1}\n", at(0.0));
    fs::OpenOptions::new().write(true).truncate(true).open(dir.path()).unwrap();
    write(&mut files, "{2}\n{3}\n", at(0.0));
    assert_eq!((dir.names(), dir.read("f.ndjson")), (vec!["f.ndjson".to_owned()], "{2}\n{3}\n".to_owned()));
}

#[test]
fn each_feed_has_its_own_file_if_the_path_says_so() {
    let dir = Dir::new();
    let path = dir.0.join("{feed}.ndjson");
    let feeds = ["a", "h:9001", "../x"].map(str::to_owned);
    let mut files = Files::open(&output(1 << 20, None, None), &path, feeds.clone(), at(0.0)).unwrap();
    for feed in &feeds {
        files.gather(feed, |buffer| buffer.extend_from_slice(format!("{{{feed}}}\n").as_bytes()));
    }
    files.write(at(0.0)).unwrap();
    assert_eq!(dir.names(), ["_._x.ndjson", "a.ndjson", "h_9001.ndjson"]);
    assert_eq!(dir.read("h_9001.ndjson"), "{h:9001}\n");
}
