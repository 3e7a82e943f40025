//! When a file is put aside, under which name, and which of those are kept. Time comes in as a value.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The time in the name of a file that was put aside, with its dash: `-20261121T100000.000Z`.
const STAMP: usize = 21;

/// A name that is further ahead is from another time.
const AHEAD: Duration = Duration::from_secs(60);

/// When a file is put aside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    /// It becomes no larger, unless a single line is.
    pub(super) max_bytes: u64,
    /// It holds what came between two multiples of this since 1970.
    pub(super) every: Option<Duration>,
}

impl Rotation {
    /// How much of these lines goes into a file that is so long already: whole lines, as many as there is room for. 0:
    /// a new file has to be begun.
    pub(super) fn room(&self, length: u64, lines: &[u8]) -> usize {
        let room = usize::try_from(self.max_bytes.saturating_sub(length)).unwrap_or(usize::MAX);
        if lines.len() <= room {
            return lines.len();
        }
        let is_end = |byte: &u8| *byte == b'\n';
        let fits = lines.get(..room).and_then(|fits| fits.iter().rposition(is_end));
        match fits {
            Some(end) => end + 1,
            // A line that no file has room for gets one of its own.
            None if length == 0 => lines.iter().position(is_end).map_or(lines.len(), |end| end + 1),
            None => 0,
        }
    }

    /// When a file is due in which the first thing was written at `begun`.
    pub(super) fn due(&self, begun: SystemTime) -> Option<SystemTime> {
        let every = self.every?.as_nanos().max(1);
        let begun = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let due = (begun / every + 1).checked_mul(every)?;
        let due = Duration::new(u64::try_from(due / 1_000_000_000).ok()?, (due % 1_000_000_000) as u32);
        SystemTime::UNIX_EPOCH.checked_add(due)
    }
}

/// The name of a file that is put aside at this time: `feeds.ndjson` becomes `feeds-20261121T100000.000Z.ndjson`.
pub(super) fn name(path: &Path, now: SystemTime) -> PathBuf {
    let (stem, extension) = parts(path);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // The formatter knows the years up to 9999.
    let since = since.min(Duration::from_secs(253_402_300_799));
    let time = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string();
    let time: String = time.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    path.with_file_name(format!("{stem}-{time}{extension}"))
}

/// Whether this is the name of a file that was put aside from that path.
pub(super) fn is_aside(path: &Path, name: &str) -> bool {
    let (stem, extension) = parts(path);
    let Some(stamp) = name.strip_prefix(stem.as_str()).and_then(|rest| rest.strip_suffix(extension.as_str()))
    else {
        return false;
    };
    let form = b"-00000000T000000.000Z";
    let fits = |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
    stamp.len() == STAMP && stamp.bytes().zip(form).all(fits)
}

/// Of the names of files that were put aside from that path, those that are too many: the oldest. Those of a time to come
/// are older than the others: the clock was set back since.
pub(super) fn surplus(path: &Path, mut aside: Vec<String>, keep: usize, now: SystemTime) -> Vec<String> {
    // Files that are put aside together are named some milliseconds ahead.
    let latest = now.checked_add(AHEAD).map(|time| name(path, time));
    let latest =
        latest.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).map(str::to_owned);
    let is_past = |name: &String| latest.as_ref().is_none_or(|latest| name <= latest);
    aside.sort_unstable_by_key(|name| (is_past(name), name.clone()));
    aside.truncate(aside.len().saturating_sub(keep));
    aside
}

/// The name of a file without its extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = text(path.extension()).map(|extension| format!(".{extension}"));
    (text(path.file_stem()).unwrap_or_default(), extension.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    #[test]
    fn files_are_due_at_multiples_of_the_time() {
        let hourly = Rotation { max_bytes: 1, every: Some(Duration::from_secs(3600)) };
        for (begun, due) in [(0, 3600), (3599, 3600), (3600, 7200), (7201, 10800)] {
            assert_eq!(hourly.due(at(begun)), Some(at(due)));
        }
        assert_eq!(Rotation { max_bytes: 1, every: None }.due(at(5)), None);
        assert_eq!(
            hourly.due(SystemTime::UNIX_EPOCH - Duration::from_secs(9)),
            Some(at(3600)),
            "a clock before 1970"
        );
    }

    #[test]
    fn names_sort_by_time_and_are_known_again() {
        let now = at(1_795_255_200);
        for (path, aside) in [
            ("out/feeds.ndjson", "out/feeds-20261121T100000.000Z.ndjson"),
            ("feeds", "feeds-20261121T100000.000Z"),
            ("a.b.c", "a.b-20261121T100000.000Z.c"),
        ] {
            let path = Path::new(path);
            let name = name(path, now);
            assert_eq!(name, Path::new(aside));
            assert!(is_aside(path, name.file_name().unwrap().to_str().unwrap()), "{aside}");
            assert!(!is_aside(path, path.file_name().unwrap().to_str().unwrap()));
        }
        let path = Path::new("feeds.ndjson");
        for other in [
            "feeds-20261121T100000.000Z.json",
            "feed-20261121T100000.000Z.ndjson",
            "feeds-a.ndjson",
            "feeds-2026-11-21T1000000Z.ndjson",
            "feeds.ndjson",
        ] {
            assert!(!is_aside(path, other), "{other}");
        }
        let far = name(path, at(1 << 40));
        assert!(is_aside(path, far.to_str().unwrap()));
    }

    #[test]
    fn the_oldest_are_too_many() {
        let path = Path::new("f.x");
        let [a, b, c] = [100, 200, 300].map(|secs| name(path, at(secs)).to_str().unwrap().to_owned());
        let names = |names: &[&String]| names.iter().map(|name| (*name).clone()).collect::<Vec<_>>();
        let surplus = |of: &[&String], keep, now| surplus(path, names(of), keep, at(now));
        assert_eq!(surplus(&[&c, &a, &b], 2, 300), names(&[&a]));
        assert_eq!(surplus(&[&c, &a], 2, 300), names(&[]));
        assert_eq!(surplus(&[&c, &a], 0, 300), names(&[&a, &c]));
        assert_eq!(surplus(&[&c, &a, &b], 1, 200), names(&[&c, &a]), "the clock was set back");
        assert_eq!(surplus(&[&c, &a, &b], 2, 299), names(&[&a]), "many in one millisecond");
    }

    proptest! {
        /// Written file by file, no line is torn, none is lost, and no file is larger than it may be, unless it is one line.
        #[test]
        fn lines_are_divided_between_files(lengths in prop::collection::vec(1_usize..40, 0..40), max_bytes in 1_u64..64) {
            let rotation = Rotation { max_bytes, every: None };
            let all: Vec<u8> = lengths.iter().flat_map(|length| [vec![b'x'; length - 1], vec![b'\n']].concat()).collect();
            let (mut rest, mut files) = (all.as_slice(), vec![Vec::new()]);
            while !rest.is_empty() {
                let file: &mut Vec<u8> = files.last_mut().unwrap();
                let count = rotation.room(file.len() as u64, rest);
                if count == 0 {
                    prop_assert!(!file.is_empty(), "no end of new files");
                    files.push(Vec::new());
                    continue;
                }
                file.extend(&rest[..count]);
                rest = &rest[count..];
            }
            prop_assert_eq!(files.concat(), all);
            for file in files.iter().filter(|file| !file.is_empty()) {
                prop_assert_eq!(file.last(), Some(&b'\n'));
                let lines = file.iter().filter(|byte| **byte == b'\n').count();
                prop_assert!(file.len() as u64 <= max_bytes || lines == 1);
            }
        }
    }
}
