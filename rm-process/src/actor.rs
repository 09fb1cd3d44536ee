//! A child process as an actor of the crate kameo.
//!
//! Main type: [`SubprocessIpcActor`]. It adds nothing to what a [`SubprocessIpcBackend`] can do; it
//! lets actors talk to a child, link to it and supervise it as to any other actor. It starts no child.

use std::time::Duration;

use kameo::Actor;
use kameo::actor::{ActorRef, WeakActorRef};
use kameo::error::{ActorStopReason, SendError};
use kameo::mailbox::{MailboxReceiver, Signal};
use kameo::message::{Context, Message};
use kameo::reply::DelegatedReply;

use crate::backend::{
    KameoChildProcessMessage, ReplyStream, SubprocessIpcBackend, SubprocessIpcBackendError, Watch,
};

/// How long a child has to finish what it has begun when its actor stops.
const GRACE: Duration = Duration::from_secs(5);

type Failure = SubprocessIpcBackendError;

/// An actor that hands each message to a child process.
///
/// To ask it for an `M` is to [`call`](SubprocessIpcBackend::call) the child; to ask it for a
/// [`StreamOf<M>`] gives the stream of replies. Calls run at the same time: the mailbox only passes
/// them on. A question that is given up, such as by a timeout for its reply, is cancelled in the child.
///
/// When the child ends, the actor stops with
/// [`Panicked`](ActorStopReason::Panicked), with the [`SubprocessIpcBackendError`] inside; those it
/// is linked to hear of that. When the actor stops otherwise, the child finishes what it has begun and
/// ends, within 5 seconds if no other [grace](Self::grace) was given.
///
/// A message that is told rather than asked for is called for one reply, too, which is dropped; a
/// failure goes to kameo's error hook.
///
/// ```no_run
/// use kameo::actor::Spawn;
/// use rm_process::{
///     BackendOptions, CommandSpec, ProcessManager, SubprocessIpcActor, SubprocessIpcBackend,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = ProcessManager::new()?;
/// let (spec, options) = (CommandSpec::new("./shouter"), BackendOptions::new());
/// let child = SubprocessIpcBackend::<String>::spawn(&manager, spec, options).await?;
/// let actor = SubprocessIpcActor::spawn(SubprocessIpcActor::new(child));
/// println!("{}", actor.ask("hello".to_owned()).await?);
/// actor.stop_gracefully().await?;
/// actor.wait_for_shutdown_with_result(|_| ()).await;
/// # Ok(())
/// # }
/// ```
pub struct SubprocessIpcActor<M> {
    child: SubprocessIpcBackend<M>,
    watch: Watch,
    grace: Duration,
}

/// Asks a [`SubprocessIpcActor`] for all replies to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOf<M>(pub M);

impl<M> std::fmt::Debug for SubprocessIpcActor<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubprocessIpcActor").field("grace", &self.grace).finish_non_exhaustive()
    }
}

impl<M: KameoChildProcessMessage> SubprocessIpcActor<M> {
    /// An actor for a child that runs, to be spawned.
    pub fn new(child: SubprocessIpcBackend<M>) -> Self {
        Self { watch: child.watch(), child, grace: GRACE }
    }

    /// Gives the child so long to finish what it has begun when the actor stops.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl<M: KameoChildProcessMessage> Actor for SubprocessIpcActor<M> {
    type Args = Self;
    type Error = Failure;

    async fn on_start(actor: Self, _: ActorRef<Self>) -> Result<Self, Failure> {
        Ok(actor)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Failure> {
        tokio::select! {
            biased;
            // Who asks a child that is gone gets the message back.
            () = self.watch.over() => Err(self.watch.end().await.1),
            signal = mailbox.recv() => Ok(signal),
        }
    }

    async fn on_stop(&mut self, _: WeakActorRef<Self>, _: ActorStopReason) -> Result<(), Failure> {
        self.child.shutdown(self.grace).await;
        Ok(())
    }
}

impl<M: KameoChildProcessMessage> Message<M> for SubprocessIpcActor<M> {
    type Reply = DelegatedReply<Result<M::Reply, Failure>>;

    async fn handle(
        &mut self,
        message: M,
        context: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let child = self.child.clone();
        delegate(context, async move { child.call(&message).await })
    }
}

impl<M: KameoChildProcessMessage> Message<StreamOf<M>> for SubprocessIpcActor<M> {
    type Reply = DelegatedReply<Result<ReplyStream<M::Reply>, Failure>>;

    async fn handle(
        &mut self,
        StreamOf(message): StreamOf<M>,
        context: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let child = self.child.clone();
        delegate(context, async move { child.stream(&message).await })
    }
}

/// Answers a question by `call`, which is dropped when nobody waits for it any more, so that it does
/// not go on in the child. (kameo's own way to do so goes on.)
fn delegate<A: Actor, T: Send + 'static>(
    context: &mut Context<A, DelegatedReply<Result<T, Failure>>>,
    call: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> DelegatedReply<Result<T, Failure>> {
    let (delegated, asker) = context.reply_sender();
    let Some(asker) = asker else { return context.spawn(call) };
    let mut asker = asker.boxed();
    tokio::spawn(async move {
        let reply = tokio::select! {
            biased;
            reply = call => reply,
            () = asker.closed() => return,
        };
        let reply = reply.map(|item| Box::new(item) as _);
        // Who asked may have gone meanwhile.
        let _ = asker.send(reply.map_err(|error| SendError::HandlerError(Box::new(error) as _)));
    });
    delegated
}
