//! Checks named hours and what refers to them, and makes calendars of them.

use super::{Checked, check_name, limit, range, refuse};
use crate::config::reading::nearest;
use crate::config::{FeedConfig, HourLimit, Hours};
use crate::error::Error;
use crate::policy::hours::Calendar;

const MOST_HOURS: usize = 100;
const MOST_LIMITS: usize = 32;

pub(super) fn check_hours(config: &FeedConfig) -> Checked {
    range("hours", config.hours.len(), 0, MOST_HOURS)?;
    for (name, hours) in &config.hours {
        check_name("hours", name)?;
        hours.compile(name)?;
    }
    Ok(())
}

/// Limits that depend on hours, of the feed or of a subscription.
pub(super) fn check_by_hours(path: &str, config: &FeedConfig, limits: &[HourLimit]) -> Checked {
    range(path, limits.len(), 0, MOST_LIMITS)?;
    for (index, entry) in limits.iter().enumerate() {
        let path = format!("{path}[{index}]");
        check_reference(&path, config, entry.during.as_deref(), entry.outside.as_deref(), true)?;
        limit(&format!("{path}.stale_after"), entry.stale_after)?;
        let before = &limits[..index];
        let is_same = |other: &HourLimit| other.during == entry.during && other.outside == entry.outside;
        if let Some(before) = before.iter().position(is_same) {
            return refuse(path, format!("can never apply: [{before}] has the same hours, and comes first"));
        }
        let opposite =
            |one: &HourLimit| one.during.is_some() && before.iter().any(|other| other.outside == one.during);
        if before.iter().any(opposite) {
            return refuse(path, "can never apply: of those before it one applies at any time");
        }
    }
    Ok(())
}

/// Hours by name: at most one of `during` and `outside`, and at least one if `needed`.
pub(super) fn check_reference(
    path: &str,
    config: &FeedConfig,
    during: Option<&str>,
    outside: Option<&str>,
    needed: bool,
) -> Checked {
    let (field, name) = match (during, outside) {
        (Some(_), Some(_)) => return refuse(path, "has both `during` and `outside`: give one of them"),
        (None, None) if needed => {
            return refuse(
                path,
                "says not when it applies: give `during` or `outside`, with the name of hours",
            );
        }
        (None, None) => return Ok(()),
        (Some(name), None) => ("during", name),
        (None, Some(name)) => ("outside", name),
    };
    if config.hours.contains_key(name) {
        return Ok(());
    }
    let path = format!("{path}.{field}");
    let known = config.hours.keys().map(String::as_str);
    if let Some(meant) = nearest(name, known.clone()) {
        return refuse(path, format!("is {name:?}, which `hours` does not have: did you mean {meant:?}?"));
    }
    let known: Vec<_> = known.map(|name| format!("{name:?}")).collect();
    if known.is_empty() {
        return refuse(path, format!("is {name:?}, and there are no `hours`: say there when that is"));
    }
    refuse(path, format!("is {name:?}, which `hours` does not have: known are {}", known.join(", ")))
}

impl Hours {
    /// What they come to, for hours of this name.
    #[cfg(not(feature = "schedule"))]
    pub(crate) fn compile(&self, name: &str) -> Result<Calendar, Error> {
        let problem = "can't be had in this build of livefeed, which knows no time zones: build it with the feature \
                       `schedule`";
        Err(Error::config(format!("hours.{name}"), problem))
    }
}

#[cfg(feature = "schedule")]
mod compile {
    use super::*;
    use crate::config::Window;
    use crate::policy::hours;
    use jiff::civil::{Date, Time};
    use jiff::tz::{self, TimeZone};
    use std::collections::BTreeMap;

    const MOST_WINDOWS: usize = 100;
    const MOST_DATES: usize = 2_000;
    const MOST_WINDOWS_OF_DATE: usize = 24;

    /// From Monday.
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

    impl Hours {
        /// What they come to, for hours of this name.
        pub(crate) fn compile(&self, name: &str) -> Result<Calendar, Error> {
            let path = format!("hours.{name}");
            let zone = zone(&self.time_zone)
                .map_err(|problem| Error::config(format!("{path}.time_zone"), problem))?;
            range(&format!("{path}.windows"), self.windows.len(), 0, MOST_WINDOWS)?;
            range(&format!("{path}.dates"), self.dates.len(), 0, MOST_DATES)?;
            let mut week: [Vec<hours::Window>; 7] = Default::default();
            for (index, window) in self.windows.iter().enumerate() {
                let path = format!("{path}.windows[{index}]");
                let made = compiled(&path, window)?;
                let days = window.days.as_deref().unwrap_or("daily");
                let days = days_of(days).map_err(|problem| Error::config(format!("{path}.days"), problem))?;
                for (windows, _) in week.iter_mut().zip(days).filter(|(_, is_one)| *is_one) {
                    windows.push(made);
                }
            }
            let mut dates = BTreeMap::new();
            for (date, windows) in &self.dates {
                let path = format!("{path}.dates.{date}");
                let date = date_of(date).map_err(|problem| Error::config(&path, problem))?;
                range(&path, windows.len(), 0, MOST_WINDOWS_OF_DATE)?;
                let mut made = Vec::new();
                for (index, window) in windows.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    if window.days.is_some() {
                        return refuse(format!("{path}.days"), "has no meaning on a date: leave it out");
                    }
                    made.push(compiled(&path, window)?);
                }
                dates.insert(date, made);
            }
            if week.iter().chain(dates.values()).all(Vec::is_empty) {
                return refuse(path, "are never open: give at least one window, in `windows` or `dates`");
            }
            Ok(Calendar::new(zone, week, dates))
        }
    }

    fn zone(name: &str) -> Result<TimeZone, String> {
        if let Ok(zone) = TimeZone::get(name) {
            return Ok(zone);
        }
        let known: Vec<String> = tz::db().available().map(|name| name.to_string()).collect();
        let meant = nearest(name, known.iter().map(String::as_str));
        let meant = meant.map(|meant| format!("did you mean {meant:?}?"));
        let hint = || "give an IANA name, such as \"America/New_York\", or \"UTC\"".to_owned();
        Err(format!("is no time zone that is known here: {}", meant.unwrap_or_else(hint)))
    }

    fn compiled(path: &str, window: &Window) -> Result<hours::Window, Error> {
        let at = |field: &str| format!("{path}.{field}");
        let from = time_of(&window.from).map_err(|problem| Error::config(at("from"), problem))?;
        let Some(from) = from else {
            return refuse(at("from"), "is 24:00, at which nothing begins: give 00:00 of the day after");
        };
        let to = time_of(&window.to).map_err(|problem| Error::config(at("to"), problem))?;
        // The end of the day is the beginning of the next, which is never after `from`.
        Ok(hours::Window { from, to: to.unwrap_or(Time::midnight()) })
    }

    /// A time of day such as `09:30` or `09:30:15`; `None`: 24:00.
    fn time_of(text: &str) -> Result<Option<Time>, String> {
        let problem = || format!("is {text:?}: must be a time such as \"09:30\", from 00:00 to 24:00");
        let parts: Vec<i8> = text
            .split(':')
            .map(|part| {
                let is_number = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
                part.parse().ok().filter(|_| is_number)
            })
            .collect::<Option<_>>()
            .ok_or_else(problem)?;
        match parts[..] {
            [24, 0] | [24, 0, 0] => Ok(None),
            [hour, minute] => Time::new(hour, minute, 0, 0).map(Some).map_err(|_| problem()),
            [hour, minute, second] => Time::new(hour, minute, second, 0).map(Some).map_err(|_| problem()),
            _ => Err(problem()),
        }
    }

    fn date_of(text: &str) -> Result<Date, String> {
        let date: Option<Date> = text.parse().ok();
        date.filter(|date| date.to_string() == text)
            .ok_or_else(|| "is no date that there is: give one such as \"2026-11-26\"".to_owned())
    }

    /// The days of the week, from Monday: `mon-fri`, `sat,sun`, `daily`.
    fn days_of(text: &str) -> Result<[bool; 7], String> {
        let mut days = [false; 7];
        if text == "daily" {
            return Ok([true; 7]);
        }
        let day = |name: &str| {
            DAYS.iter().position(|day| *day == name).ok_or_else(|| {
                format!("is {text:?}: must be days such as \"mon-fri\", \"sat,sun\" or \"mon,wed-fri\", or \"daily\"")
            })
        };
        for part in text.split(',') {
            let part = part.trim();
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            let count = (last + 7 - first) % 7 + 1;
            for index in (first..).take(count).map(|index| index % 7) {
                if std::mem::replace(&mut days[index], true) {
                    return Err(format!("has {} twice: name each day once", DAYS[index]));
                }
            }
        }
        Ok(days)
    }
}
