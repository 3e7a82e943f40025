//! What the engine is started with: the checked configuration and the application's closures.

use super::queue::Bounds;
use crate::dialect::Matcher;
use crate::error::EndReason;
use crate::event::Event;
use crate::message::{Content, SubscriptionId};
use crate::policy::session;
use crate::policy::verdict::{self, Decision};
use crate::secret::Secret;
use crate::transport::{self, Endpoint};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where an attempt goes to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) subprotocols: Vec<String>,
}

/// What the provider may depend on.
pub(crate) struct AttemptContext {
    pub(crate) epoch: u64,
    pub(crate) attempt: u32,
    /// How the connection or attempt before ended.
    pub(crate) previous: Option<EndReason>,
}

/// What the provider failed with.
pub(crate) struct ProviderFailure {
    pub(crate) detail: String,
    pub(crate) fatal: bool,
}

/// What a subscribe payload may depend on.
pub(crate) struct RenderContext {
    pub(crate) epoch: u64,
    pub(crate) attempt: u32,
    pub(crate) time: SystemTime,
}

pub(crate) type Render = Arc<dyn Fn(&RenderContext) -> Result<Content, String> + Send + Sync>;
pub(crate) type Provider = Box<dyn FnMut(&AttemptContext) -> Result<Target, ProviderFailure> + Send>;
pub(crate) type Handler = Box<dyn FnMut(Event) + Send>;
pub(crate) type OnWake = Arc<dyn Fn() + Send + Sync>;
/// The application's say on an end; `None` leaves it to the default policy.
pub(crate) type RetryPolicy = Box<dyn Fn(&EndReason, &EndContext) -> Option<Decision> + Send>;

/// What a decision on an end may depend on.
pub(crate) struct EndContext {
    pub(crate) ever_up: bool,
    /// Attempts and connections in a row that delivered no data.
    pub(crate) failures: u32,
    /// How long there has been no connection.
    pub(crate) down: Duration,
}

/// A subscription as the engine sees it.
pub(crate) struct Spec {
    pub(crate) id: SubscriptionId,
    pub(crate) subscribe: Option<Render>,
    pub(crate) unsubscribe: Option<Render>,
    pub(crate) matcher: Option<Matcher>,
    pub(crate) limit: Option<Duration>,
}

pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) session: session::Settings,
    pub(crate) fatal: verdict::Settings,
    pub(crate) queue: Bounds,
    pub(crate) heartbeats: Vec<Matcher>,
    pub(crate) deliver_heartbeats: bool,
    pub(crate) specs: Vec<Spec>,
    pub(crate) transport: transport::Settings,
    /// The budget of one attempt.
    pub(crate) attempt_budget: Duration,
    pub(crate) message_bytes: usize,
    pub(crate) subscribe_bytes: usize,
    pub(crate) read_buffer_bytes: usize,
    pub(crate) write_timeout: Duration,
    pub(crate) handler: Option<Handler>,
    pub(crate) on_wake: Option<OnWake>,
    pub(crate) provider: Provider,
    pub(crate) retry_policy: Option<RetryPolicy>,
}
