// SPDX-License-Identifier: EUPL-1.2
//! What is logged in this process. One subscriber serves all tests: exchanges cross threads, and a
//! span that begins at one subscriber and ends at another is a panic.

use std::{
    cell::RefCell,
    fmt::Write as _,
    io,
    sync::{
        Arc, Once, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{dynamic_filter_fn, filter_fn},
    fmt::MakeWriter,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

type TakeLine = dyn Fn(&[u8]) + Send + Sync;
type TakeEvent = dyn Fn(&Event<'_>);

struct Taker {
    number: usize,
    finest: Level,
    take: Arc<TakeLine>,
}

static TAKERS: RwLock<Vec<Taker>> = RwLock::new(Vec::new());
/// How many there are: without any, lines are not even formed.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether somebody takes lines of this level.
fn is_taken(level: Level) -> bool {
    COUNT.load(Ordering::Relaxed) > 0 && takers().iter().any(|taker| level <= taker.finest)
}

fn takers() -> RwLockReadGuard<'static, Vec<Taker>> {
    TAKERS.read().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static HERE: RefCell<Option<Box<TakeEvent>>> = const { RefCell::new(None) };
}

/// Begins to hear, before anybody else takes the lines of this process for themselves.
pub(crate) fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let lines =
            tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Lines(Level::TRACE));
        let somebody = dynamic_filter_fn(|of, _| is_taken(*of.level()));
        let ours = filter_fn(|of| of.target().starts_with("einmal") && *of.level() <= Level::INFO);
        Registry::default().with(lines.with_filter(somebody)).with(Here.with_filter(ours)).init();
    });
}

/// Takes each line of the whole process, down to a level, until it is dropped.
pub(crate) struct Hearing(usize);

impl Hearing {
    pub(crate) fn all(finest: Level, take: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        begin();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        TAKERS.write().unwrap().push(Taker { number, finest, take: Arc::new(take) });
        COUNT.fetch_add(1, Ordering::Relaxed);
        Self(number)
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        let mut takers = TAKERS.write().unwrap_or_else(PoisonError::into_inner);
        takers.retain(|taker| taker.number != self.0);
    }
}

/// Takes what Einmal says on this thread, from level INFO up, for as long as the thread lives.
pub(crate) fn on_this_thread(take: impl Fn(&Event<'_>) + 'static) {
    begin();
    HERE.set(Some(Box::new(take)));
}

/// An event's fields: `name=value`, the message first among them.
pub(crate) fn text_of(event: &Event<'_>) -> String {
    struct Text(String);
    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            write!(self.0, "{}={value:?} ", field.name()).unwrap();
        }
    }
    let mut text = Text(String::new());
    event.record(&mut text);
    text.0
}

/// Lines of this level.
#[derive(Clone, Copy)]
struct Lines(Level);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for taker in takers().iter().filter(|taker| self.0 <= taker.finest) {
            (taker.take)(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Self {
        Self(*of.level())
    }
}

struct Here;

impl<S: Subscriber> Layer<S> for Here {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // A thread that ends hears nothing any more.
        let _ = HERE.try_with(|take| take.borrow().iter().for_each(|take| take(event)));
    }
}
