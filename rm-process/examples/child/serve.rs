//! A child with tokio that answers many calls at once, and calls its parent.
//!
//! Main function: [`run`]. It shows every kind of answer; what each request means is said in `ask`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rm_process::child::{self, ChildHandle, Reply, RequestContext, SubprocessIpcChild};
use rm_process::{PythonExecutionError, SubprocessIpcBackendError};
use tokio_stream::StreamExt;

use crate::ask::{Answer, Ask, Failure};

type Answers = Result<Reply<Answer>, PythonExecutionError>;

/// What all requests share.
struct Serving {
    own: ChildHandle,
    dropped: AtomicU64,
}

/// Counts itself when it is dropped.
struct Counted(Arc<Serving>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Serves until the parent says to end.
pub fn run() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let child = SubprocessIpcChild::<Ask>::connect().await?;
        let own = child.handle().clone();
        own.ready()?;
        let serving = Arc::new(Serving { own, dropped: AtomicU64::new(0) });
        child.serve(move |ask, context| answer(Arc::clone(&serving), ask, context)).await;
        Ok(())
    })
}

async fn answer(serving: Arc<Serving>, ask: Ask, mut context: RequestContext) -> Answers {
    let number = |number| Ok(Reply::one(Answer::Number(number)));
    let value = |value| Ok(Reply::one(Answer::Value(value)));
    match ask {
        Ask::Echo(given) => number(given),
        Ask::Fill { len, value } => Ok(Reply::one(Answer::Bytes(vec![value; len]))),
        Ask::Sum(bytes) => number(bytes.iter().map(|byte| u64::from(*byte)).sum()),
        Ask::Count { to, ballast } => Ok(Reply::stream(count(serving, to, ballast))),
        Ask::Fail { how: Failure::PanicAtOnce, .. } => panic!("as it was told to"),
        Ask::Fail { after, how } => {
            let end = tokio_stream::once(how).map(|how| match how {
                Failure::Error => Err(PythonExecutionError::handler(&std::fmt::Error)),
                Failure::Unspeakable => Ok(Answer::Unspeakable),
                Failure::Panic | Failure::PanicAtOnce => panic!("as it was told to"),
            });
            Ok(Reply::stream(count(serving, after, 0).chain(end)))
        }
        Ask::Hang => {
            let _counted = Counted(serving);
            std::future::pending().await
        }
        Ask::Dropped => number(serving.dropped.load(Ordering::SeqCst)),
        Ask::TimeLeft => {
            let left = context.call.time_left().unwrap_or_default();
            number(u64::try_from(left.as_micros()).unwrap_or(u64::MAX))
        }
        Ask::Add(addend) => {
            let mut input = context.input.take().ok_or_else(no_input)?;
            let (sums, receiver) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                let mut sum = 0;
                while let Some(item) = input.next::<u64>().await {
                    let item = match item {
                        Ok(item) => Ok(Answer::Number(item + addend)),
                        Err(error) => Err(failed(&error)),
                    };
                    sum += 1;
                    let is_over = item.is_err();
                    if sums.send(item).await.is_err() || is_over {
                        return;
                    }
                }
                // Nobody listens any more where the call was given up.
                let _ = sums.send(Ok(Answer::Number(sum))).await;
            });
            Ok(Reply::stream(tokio_stream::wrappers::ReceiverStream::new(receiver)))
        }
        Ask::TakeFirst(count) => {
            let mut input = context.input.take().ok_or_else(no_input)?;
            let mut sum = 0;
            for _ in 0..count {
                let item = input.next::<u64>().await.ok_or_else(no_input)?;
                sum += item.map_err(|error| failed(&error))?;
            }
            number(sum)
        }
        Ask::Callback { path, value } => {
            let callbacks = serving.own.callbacks();
            let replies = callbacks.stream::<_, serde_json::Value>(&path, &value).await;
            let replies = replies.map_err(forward)?;
            Ok(Reply::stream(replies.map(|reply| reply.map(Answer::Value).map_err(forward))))
        }
        Ask::Storm(count) => value(storm(&serving.own, count).await.map_err(forward)?),
        Ask::Abort => std::process::abort(),
        Ask::Block(millis) => {
            std::thread::sleep(Duration::from_millis(millis));
            number(millis)
        }
        Ask::Descriptors => {
            let open = std::fs::read_dir("/proc/self/fd");
            number(open.map_err(|error| PythonExecutionError::handler(&error))?.count() as u64)
        }
        Ask::Context => value(serde_json::json!({
            "trace": context.call.trace.map(|trace| trace.to_string()),
            "paths": serving.own.callbacks().paths(),
        })),
        Ask::Unspeakable => Ok(Reply::one(Answer::Unspeakable)),
    }
}

/// Numbers from 0, with ballast where it is asked for.
fn count(
    serving: Arc<Serving>,
    to: u64,
    ballast: usize,
) -> impl tokio_stream::Stream<Item = Result<Answer, PythonExecutionError>> + Send {
    let counted = Counted(serving);
    tokio_stream::iter(0..to).map(move |number| {
        let _whole = &counted;
        Ok(match ballast {
            0 => Answer::Number(number),
            len => Answer::Bytes(vec![number as u8; len]),
        })
    })
}

/// Callbacks of three kinds, all at once: one answer, three, and none. Gives how many of each came
/// back as they should, in their order.
async fn storm(
    own: &ChildHandle,
    count: u64,
) -> Result<serde_json::Value, SubprocessIpcBackendError> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        for (kind, path) in ["test.One", "test.Three", "test.Nothing"].into_iter().enumerate() {
            let callbacks = own.callbacks().clone();
            tasks.spawn(async move {
                let mut replies = callbacks.stream::<u64, u64>(path, &number).await?;
                let mut came = Vec::new();
                while let Some(reply) = replies.next().await {
                    came.push(reply?);
                }
                let expected = match kind {
                    0 => vec![number],
                    1 => vec![number, number + 1, number + 2],
                    _ => vec![],
                };
                Ok::<_, SubprocessIpcBackendError>((kind, came == expected))
            });
        }
    }
    let mut right = [0_u64; 3];
    while let Some(done) = tasks.join_next().await {
        let (kind, is_right) = done.expect("it does not panic")?;
        right[kind] += u64::from(is_right);
    }
    Ok(serde_json::json!(right))
}

fn no_input() -> PythonExecutionError {
    PythonExecutionError::Ipc { message: "there is no input".to_owned() }
}

fn failed(error: &SubprocessIpcBackendError) -> PythonExecutionError {
    PythonExecutionError::handler(error)
}

/// What a callback failed with, as it came.
fn forward(error: SubprocessIpcBackendError) -> PythonExecutionError {
    match error {
        SubprocessIpcBackendError::Remote(failure) => failure,
        error => failed(&error),
    }
}
