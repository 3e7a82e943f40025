//! What the server said that is no data: from what the reader understood to what the session machine does.

use super::core::Core;
use super::plan::{Beat, Target};
use super::routes::Routes;
use crate::class::{ErrorClass, GoTo, NoticeAction};
use crate::clock::Stamp;
use crate::dialect::{self, AboutOwned, Answered, Class, Control, FrameVars, ReadItem};
use crate::event::AlertKind;
use crate::message::{Content, Names};
use crate::policy::freshness::Key;
use crate::policy::session::{About, Grant};
use crate::secret::Secret;
use serde_json::Value;
use std::time::Duration;

/// What was understood.
struct Word {
    kind: Kind,
    about: AboutOwned,
    class: ErrorClass,
    retry_after: Option<Duration>,
    detail: String,
}

enum Kind {
    Ack,
    Nack,
    Ended,
    Notice(NoticeAction),
    /// The answer to a keepalive.
    Answer(usize),
    /// The refusal of what a keepalive asks for.
    Denial,
    /// Nothing but what goes with it: a reply, or variables.
    Nothing,
}

/// A control message: what was understood, and what goes with it.
pub(super) struct Heard {
    word: Word,
    /// Which rule it was; what replies replace one another by. `None`: what a dialect says, where each counts.
    rule: Option<u32>,
    capture: Vec<(String, Value)>,
    bind: dialect::Found,
    /// What was to be captured, and to be bound, and is not there.
    unfound: [dialect::Unfound; 2],
    reply: Option<Result<Content, String>>,
    /// Whether nothing was missed, if an acknowledgement says that.
    resumed: Option<bool>,
    /// The application is to get it.
    deliver: bool,
    /// Where a notice sends the feed to.
    url: Option<Secret>,
    detour: Option<Result<Target, String>>,
}

/// What came of a control message.
pub(super) struct Acted {
    /// It was about something that is known.
    pub(super) understood: bool,
    /// Whose it is, if the application is to get it.
    pub(super) names: Option<Names>,
}

impl Word {
    fn new(kind: Kind, about: AboutOwned) -> Self {
        Self { kind, about, class: ErrorClass::Refused, retry_after: None, detail: String::new() }
    }

    fn about(&self) -> About<'_> {
        match &self.about {
            AboutOwned::Frame(frame) => About::Frame(*frame),
            AboutOwned::Keys(keys) => About::Keys(keys),
            AboutOwned::Listed { frame, listed, complete } => {
                About::Listed { frame: *frame, listed, complete: *complete }
            }
            AboutOwned::Oldest => About::Oldest,
            AboutOwned::All => About::All,
        }
    }

    /// The message of ours that it answers, if it says that.
    fn frame(&self) -> Option<u64> {
        match self.about {
            AboutOwned::Frame(frame) => Some(frame),
            AboutOwned::Listed { frame, .. } => frame,
            AboutOwned::Keys(_) | AboutOwned::Oldest | AboutOwned::All => None,
        }
    }
}

fn own(found: dialect::Found) -> Vec<(String, Value)> {
    found.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

impl Heard {
    /// What a rule says.
    pub(super) fn of(class: Class, control: Control, deliver: bool) -> Self {
        let kind = match (class, control.notice) {
            (Class::Ack, _) => Kind::Ack,
            (Class::Nack, _) => Kind::Nack,
            (Class::Ended, _) => Kind::Ended,
            (Class::Notice, Some(action)) => Kind::Notice(action),
            _ => Kind::Nothing,
        };
        Self {
            word: Word {
                kind,
                about: control.about,
                class: control.class,
                retry_after: control.retry_after,
                detail: control.detail,
            },
            // To data each answer counts.
            rule: (class != Class::Data).then_some(control.rule),
            capture: own(control.capture),
            bind: control.bind,
            unfound: control.unfound,
            reply: control.reply,
            url: control.url,
            detour: None,
            resumed: control.resumed,
            deliver,
        }
    }

    /// The answer to a keepalive.
    pub(super) fn answer(index: usize, answered: Option<Answered>) -> Self {
        let Answered { capture, refused } = answered.unwrap_or_default();
        let word = match refused {
            Some(detail) => Word { detail, ..Word::new(Kind::Denial, AboutOwned::All) },
            None => Word::new(Kind::Answer(index), AboutOwned::All),
        };
        Self { capture: own(capture), ..Self::word(word) }
    }

    fn word(word: Word) -> Self {
        Self {
            word,
            rule: None,
            capture: Vec::new(),
            bind: Vec::new(),
            unfound: Default::default(),
            reply: None,
            resumed: None,
            deliver: false,
            url: None,
            detour: None,
        }
    }

    /// What a dialect says; `None` if it is about nobody.
    pub(super) fn item(item: ReadItem, routes: &Routes) -> Option<Self> {
        let about = |about: dialect::About| match about {
            dialect::About::Frame(frame) => Some(AboutOwned::Frame(frame)),
            dialect::About::Name(name) => Some(AboutOwned::Keys(vec![routes.key_of(&name)?])),
            dialect::About::Oldest => Some(AboutOwned::Oldest),
            dialect::About::All => Some(AboutOwned::All),
        };
        Some(match item {
            ReadItem::Ack(whom) => Self::word(Word::new(Kind::Ack, about(whom)?)),
            ReadItem::Nack { about: whom, class, detail } => {
                Self::word(Word { class, detail, ..Word::new(Kind::Nack, about(whom)?) })
            }
            ReadItem::Ended { about: whom, class, detail } => {
                Self::word(Word { class, detail, ..Word::new(Kind::Ended, about(whom)?) })
            }
            ReadItem::Notice { action, detail } => {
                let url = match &action {
                    NoticeAction::GoTo(go_to) => Some(go_to.url.as_str().into()),
                    _ => None,
                };
                let word = Word { detail, ..Word::new(Kind::Notice(action), AboutOwned::All) };
                Self { url, ..Self::word(word) }
            }
            ReadItem::Set { name, value } => {
                Self { capture: vec![(name, value)], ..Self::word(Word::new(Kind::Nothing, AboutOwned::All)) }
            }
            ReadItem::Reply(message) => {
                Self { reply: Some(Ok(message.0)), ..Self::word(Word::new(Kind::Nothing, AboutOwned::All)) }
            }
            ReadItem::Data { .. } | ReadItem::Other(_) | ReadItem::Heartbeat | ReadItem::Keepalive(_) => {
                return None;
            }
        })
    }

    /// Finds out where it sends the feed to, if it does: `resolve` says it.
    pub(super) fn directed(
        mut self,
        resolve: impl FnOnce(Option<&Secret>, &GoTo) -> Result<Target, String>,
    ) -> Self {
        if let Kind::Notice(NoticeAction::GoTo(go_to)) = &self.word.kind {
            self.detour = Some(resolve(self.url.as_ref(), go_to));
        }
        self
    }

    /// Lets the session machine hear of it; `beats` are what may depend on what was captured.
    pub(super) fn act(self, core: &mut Core, now: Stamp, beats: &[Beat]) -> Acted {
        let mut meant = match &self.word.about {
            AboutOwned::Keys(keys) if self.deliver => keys.clone(),
            _ => Vec::new(),
        };
        let word = &self.word;
        let (class, retry_after) = (word.class, word.retry_after);
        let understood = match &word.kind {
            Kind::Ack => {
                let granted = core.session.handle_ack_with(now, word.about(), self.resumed);
                let again = |key: &Key| granted.grants.iter().any(|(other, _)| other == key);
                let plain: Vec<Key> = granted.keys.iter().copied().filter(|key| !again(key)).collect();
                core.book.bind(&plain, word.frame(), &self.bind);
                for (key, grant) in &granted.grants {
                    let Some(extra) = core.book.bind_again(*key, word.frame(), *grant, &self.bind) else {
                        continue;
                    };
                    if let Some(spare) = core.session.handle_duplicate(now, *key, *grant == Grant::Newer) {
                        core.book.insert_extra(spare, *key, extra);
                    }
                }
                let rule = self.rule.unwrap_or_default().saturating_sub(core.heartbeats);
                for (what, unfound) in ["capture", "bind"].into_iter().zip(&self.unfound) {
                    for (name, pointer) in unfound {
                        let field = format!("rules[{}].{what}.{name}", rule);
                        if let Some(subscription) = core.book.lacks(&granted.keys, word.frame(), name, &field)
                        {
                            let (subscription, pointer) = (Some(subscription), pointer.to_string());
                            let kind = AlertKind::NothingFound { subscription, field, pointer, messages: 1 };
                            core.session.alert(now, kind);
                        }
                    }
                }
                if self.deliver {
                    meant.clone_from(&granted.keys);
                }
                // A list of all that is in force is an answer too if nothing of ours is in it, and so is one more
                // answer to a message.
                !granted.is_empty()
                    || matches!(word.about, AboutOwned::Listed { frame: None, .. })
                    || word.frame().is_some_and(|frame| core.session.was_answered(frame))
            }
            Kind::Nack => {
                core.session.handle_nack(now, word.about(), class, retry_after, word.detail.clone())
            }
            Kind::Ended => {
                core.session.handle_dropped(now, word.about(), class, retry_after, word.detail.clone())
            }
            Kind::Notice(action) => {
                let action = match self.detour {
                    Some(Ok(target)) => {
                        // On the way out it was said already where to: it holds.
                        if core.session.is_connected() {
                            core.detour = Some(Box::new(target));
                        }
                        action.clone()
                    }
                    Some(Err(problem)) => {
                        let detail = format!("another URL, which can't be used: {problem}");
                        core.session.alert(now, AlertKind::Notice { detail });
                        NoticeAction::Reconnect
                    }
                    None => action.clone(),
                };
                core.session.handle_notice(now, action, word.detail.clone());
                true
            }
            Kind::Answer(index) => {
                core.session.handle_answer(now, *index);
                true
            }
            Kind::Denial => {
                core.session.handle_answer_refused(word.detail.clone());
                true
            }
            Kind::Nothing => true,
        };
        let told = told(beats, &self.capture);
        core.book.capture(self.capture);
        set_periods(core, now, beats, &told);
        match self.reply {
            Some(Ok(content)) => match self.rule {
                Some(rule) => core.session.handle_reply(rule, content),
                None => core.session.handle_answering(content),
            },
            Some(Err(detail)) => core.session.alert(now, AlertKind::TemplateFailed { what: "reply", detail }),
            None => {}
        }
        Acted { understood, names: core.book.names(&meant) }
    }
}

/// The keepalives that depend on what was captured.
fn told(beats: &[Beat], captured: &[(String, Value)]) -> Vec<usize> {
    if captured.is_empty() {
        return Vec::new();
    }
    (0..).zip(beats).filter(|(_, beat)| beat.is_told_by(captured)).map(|(index, _)| index).collect()
}

/// What these keepalives depend on was captured again: says how often they are sent from now on.
#[cold]
fn set_periods(core: &mut Core, now: Stamp, beats: &[Beat], told: &[usize]) {
    if told.is_empty() {
        return;
    }
    let frame = FrameVars::new(core.session.epoch(), 0, now.wall);
    let vars = FrameVars { captures: core.book.captures(), ..frame };
    for (index, beat) in told.iter().filter_map(|index| Some((*index, beats.get(*index)?))) {
        match beat.period(&vars) {
            Ok(period) => core.session.handle_period(index, period),
            Err(problem) => {
                let detail = format!("{problem}; it goes on as often as before");
                core.session.alert(now, AlertKind::TemplateFailed { what: "keepalive", detail });
            }
        }
    }
}
