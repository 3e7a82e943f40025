//! How long a feed has been without data, in hours in which there should be some.
//!
//! Time is *reading time* here: how long livefeed has read, or tried to get a connection, since the feed was opened.
//! Time in which the reader leaves the socket alone does not count.

use std::sync::Arc;
use std::time::Duration;

/// One limit.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub(crate) after: Duration,
    /// The hours in which it holds; `None`: at any time.
    pub(crate) hours: Option<Hours>,
}

/// Hours of the feed, or all others.
#[derive(Debug, Clone)]
pub(crate) struct Hours {
    /// Which, as in the feed's timetable.
    pub(crate) index: usize,
    /// During these, or outside of them.
    pub(crate) during: bool,
    /// As they are called in alerts.
    pub(crate) name: Arc<str>,
}

/// The watch over one limit.
#[derive(Debug)]
pub(crate) struct NoData {
    limit: Limit,
    /// Since when these are its hours; `None`: they are not.
    hours_since: Option<Duration>,
    /// It was found to be over its limit, and has not changed since.
    over: bool,
}

impl NoData {
    pub(crate) fn new(limit: Limit, is_open: &dyn Fn(usize) -> bool) -> Self {
        let mut watch = Self { limit, hours_since: None, over: false };
        watch.hours_since = watch.holds(is_open).then_some(Duration::ZERO);
        watch
    }

    fn holds(&self, is_open: &dyn Fn(usize) -> bool) -> bool {
        self.limit.hours.as_ref().is_none_or(|hours| is_open(hours.index) == hours.during)
    }

    /// Hours began or ended. Gives the age at the end of one that was over its limit.
    pub(crate) fn handle_hours(
        &mut self,
        read: Duration,
        last_data: Duration,
        is_open: &dyn Fn(usize) -> bool,
    ) -> Option<Duration> {
        if self.holds(is_open) {
            self.hours_since.get_or_insert(read);
            return None;
        }
        let age = self.age(read, last_data);
        self.hours_since = None;
        std::mem::take(&mut self.over).then_some(age)
    }

    /// There is no more reading time than this.
    pub(crate) fn settle(&mut self, read: Duration) {
        self.hours_since = self.hours_since.map(|since| since.min(read));
    }

    /// Data came. Gives the age at the end of one that was over its limit.
    pub(crate) fn handle_data(&mut self, read: Duration, last_data: Duration) -> Option<Duration> {
        std::mem::take(&mut self.over).then(|| self.age(read, last_data))
    }

    /// Whether it is over its limit by now, and was not. In a flood of what is no data it is so much longer.
    pub(crate) fn judge(&mut self, read: Duration, last_data: Duration, flooded: bool) -> bool {
        let patience = if flooded { self.limit.after } else { Duration::ZERO };
        let due = self.due(last_data).and_then(|due| due.checked_add(patience));
        let over = due.is_some_and(|due| read >= due);
        self.over |= over;
        over
    }

    /// When it is over its limit, if it is not yet.
    pub(crate) fn due(&self, last_data: Duration) -> Option<Duration> {
        if self.over { None } else { self.hours_since?.max(last_data).checked_add(self.limit.after) }
    }

    /// How long there has been no data, as far as it counts.
    pub(crate) fn age(&self, read: Duration, last_data: Duration) -> Duration {
        read.saturating_sub(self.hours_since.map_or(last_data, |since| since.max(last_data)))
    }

    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }
}
