//! The parent of a scene: a process that starts children of all kinds, and tells of them.
//!
//! Main function: [`play`], which runs in a copy of this test binary until its input ends, or until
//! it is killed. It kills nobody but whom it has started itself.

use std::io::Read;
use std::time::Duration;

use rm_process::{
    BackendOptions, CommandSpec, KameoChildProcessMessage, NodeProcess, ProcessError,
    ProcessManager, SubprocessIpcBackend, SubprocessIpcBackendError,
};
use rustix::process::{Resource, Rlimit, Signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::Random;
use crate::support::{child, python, sh};

/// The variable by which all who descend from one scene's parent are known.
pub const SCENE: &str = "RM_PROCESS_CHAOS_SCENE";
/// The variable by which all who descend from one child are known.
pub const CHILD: &str = "RM_PROCESS_CHAOS_CHILD";
const PART: &str = "RM_PROCESS_CHAOS_PART";
/// What a line that the parent tells starts with.
const MARK: &str = "chaos: ";
/// How many children it has at once.
const SLOTS: u64 = 6;

/// What the parent does all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// Has children of all kinds, some of them for long.
    Household,
    /// Starts and ends children as fast as it can.
    Storm,
}

/// What the parent tells of the child with this tag.
#[derive(Debug)]
pub enum News {
    /// It was started.
    Born(String, u32),
    /// Its exit handler was run.
    Exit(String),
    /// Its end was awaited.
    Gone(String),
    /// It could not be started.
    Failed(String, String),
    /// Nobody waited any longer for its start.
    Cancelled(String),
    /// All have ended in good order.
    Ended,
}

impl News {
    fn tell(&self) {
        // The dot proves that the line is whole: whoever writes it may be killed while writing.
        match self {
            Self::Born(tag, pid) => println!("{MARK}born {tag} {pid} ."),
            Self::Exit(tag) => println!("{MARK}exit {tag} ."),
            Self::Gone(tag) => println!("{MARK}gone {tag} ."),
            Self::Failed(tag, why) => println!("{MARK}failed {tag} {why:?} ."),
            Self::Cancelled(tag) => println!("{MARK}cancelled {tag} ."),
            Self::Ended => println!("{MARK}ended ."),
        }
    }

    /// `None` if the line tells nothing.
    pub fn parse(line: &str) -> Option<Self> {
        let words = line.split_once(MARK)?.1.strip_suffix(" .")?;
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        let (tag, last) = rest.split_once(' ').unwrap_or((rest, ""));
        let (tag, last) = (tag.to_owned(), last.to_owned());
        Some(match verb {
            "born" => Self::Born(tag, last.parse().ok()?),
            "exit" => Self::Exit(tag),
            "gone" => Self::Gone(tag),
            "failed" => Self::Failed(tag, last),
            "cancelled" => Self::Cancelled(tag),
            _ => Self::Ended,
        })
    }
}

/// The command that plays the part, in this test binary.
pub fn command(play: Play, escapes: bool, random: &mut Random) -> std::process::Command {
    let program = std::env::current_exe().expect("a test binary");
    let mut command = std::process::Command::new(program);
    command.args(["--exact", "chaos::parent::parent_entry", "--nocapture"]);
    command.env(PART, format!("{} {play:?} {escapes}", random.next()));
    command
}

/// Does nothing when run as a test; in a process of a scene it plays the part that the environment
/// names.
#[test]
fn parent_entry() {
    let Ok(part) = std::env::var(PART) else { return };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    // Whoever is killed by SIGSEGV would leave a file.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).unwrap();
    // The harness has begun a line.
    println!();
    let words: Vec<_> = part.split(' ').collect();
    let is_storm = words[1] == format!("{:?}", Play::Storm);
    play(Random::new(words[0].parse().unwrap()), is_storm, words[2] == "true");
}

fn play(mut random: Random, is_storm: bool, escapes: bool) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let mut runtime = Some(runtime.expect("a runtime"));
    let managers = [(); 2].map(|()| ProcessManager::new().expect("a manager"));
    let (stop, stopped) = watch::channel(false);
    let mut slots = Vec::new();
    for index in 0..SLOTS {
        let slot = Slot {
            index,
            manager: managers[usize::from(index % 2 == 0)].clone(),
            random: Random::new(random.next()),
            stopped: stopped.clone(),
            escapes,
        };
        slots.extend(runtime.as_ref().map(|runtime| runtime.spawn(slot.run(is_storm))));
    }
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order).expect("the end of the scene");
    // With a runtime all that it watches ends, and all slots.
    if order == "drop" {
        drop(runtime.take());
        drop(slots);
    } else if let Some(runtime) = &runtime {
        stop.send_replace(true);
        for slot in slots {
            runtime.block_on(slot).expect("a slot that ends");
        }
    }
    let finish = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for manager in managers {
        finish.block_on(manager.finished());
    }
    News::Ended.tell();
}

/// Something that a child can be.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Loads, gets ready and works on items, as it is told.
    Worker,
    /// Waits for the word to end, once it is ready.
    Ready,
    /// Has a grandchild that heeds no signal; ends with the parent only.
    Family,
    /// Is a parent itself, of a family; ends with the parent only.
    Nested,
    /// Writes a lot and ends.
    Shout,
    /// Is not ready in time.
    Late,
    /// A plain program with grandchildren that heed no signal.
    Plain,
    /// One whose grandchildren are in another session.
    Escape,
    /// A plain program in a cleared environment that heeds no SIGTERM itself.
    Stubborn,
    /// Holds the interpreter's lock in a function of C, or in a loop.
    Python,
    /// Stops itself.
    Stopped,
    /// Writes without end, as does a grandchild.
    Flood,
    /// Ends at once, and leaves a grandchild.
    Brief,
    /// Is not waited for while it starts.
    Cancelled,
}

const HOUSEHOLD: [Act; 14] = [
    Act::Worker,
    Act::Ready,
    Act::Family,
    Act::Nested,
    Act::Shout,
    Act::Late,
    Act::Plain,
    Act::Escape,
    Act::Stubborn,
    Act::Python,
    Act::Stopped,
    Act::Flood,
    Act::Brief,
    Act::Cancelled,
];

const STORM: [Act; 6] =
    [Act::Ready, Act::Family, Act::Plain, Act::Escape, Act::Brief, Act::Cancelled];

const PLAIN: &str = "(trap '' HUP TERM; sleep 1000 & sleep 1000) & sleep 1000 & wait";
const ESCAPE: &str = "setsid sh -c 'trap \"\" HUP TERM; sleep 1000 & wait' & wait";
const STUBBORN: &str = "trap '' HUP TERM; while :; do sleep 1000; done";
const STOPPED: &str = "sleep 1000 & kill -STOP $$; wait";
const FLOOD: &str = "yes & exec yes >&2";
const BRIEF: &str = "trap '' HUP; sleep 1000 & exit 3";
/// Through PyDLL, functions are called with the lock held.
const IN_C: &str = "import ctypes, os; os.fork(); ctypes.PyDLL(None).sleep(1000)";
const IN_LOOP: &str = "while True: pass";

impl Act {
    fn spec(self, random: &mut Random) -> CommandSpec {
        match self {
            Self::Worker | Self::Cancelled => child("puppet"),
            Self::Ready => child("gets-ready"),
            Self::Family => child("family"),
            Self::Nested => child("parent"),
            Self::Shout => child("shout"),
            Self::Late => child("deaf"),
            Self::Plain => sh(PLAIN),
            Self::Escape => sh(ESCAPE),
            Self::Stubborn => {
                let mut spec = sh(STUBBORN);
                spec.env_clear = true;
                // It is to be found all the same.
                spec.env(SCENE, std::env::var(SCENE).expect("a scene"))
            }
            Self::Python => python([IN_C, IN_LOOP][random.below(2) as usize]),
            Self::Stopped => sh(STOPPED),
            Self::Flood => sh(FLOOD),
            Self::Brief => sh(BRIEF),
        }
    }
}

/// A place for one child after the other.
struct Slot {
    index: u64,
    manager: ProcessManager,
    random: Random,
    stopped: watch::Receiver<bool>,
    escapes: bool,
}

impl Slot {
    async fn run(mut self, is_storm: bool) {
        for generation in 0_u64.. {
            if *self.stopped.borrow() {
                break;
            }
            let acts: &[Act] = if is_storm { &STORM } else { &HOUSEHOLD };
            let act = match acts[self.random.below(acts.len() as u64) as usize] {
                Act::Escape if !self.escapes => Act::Plain,
                act => act,
            };
            let tag = format!("{}.{generation}.{act:?}", self.index);
            let lasts = match (act, is_storm) {
                (_, true) => Some(self.random.moment(10, 24)),
                (Act::Family | Act::Nested, false) => None,
                _ => (self.random.below(2) == 0).then(|| self.random.moment(16, 30)),
            };
            let mut stopped = self.stopped.clone();
            let stopped = async { stopped.wait_for(|stopped| *stopped).await.map(drop) };
            let born = tokio::select! {
                biased;
                _ = stopped => Ok(None),
                born = self.start(act, &tag) => born,
            };
            match born {
                Ok(Some(born)) => self.live(born, tag, lasts).await,
                Ok(None) => News::Cancelled(tag).tell(),
                Err(error) => News::Failed(tag, error.to_string()).tell(),
            }
        }
    }

    /// Starts a child. What drives it goes with it.
    async fn start(
        &mut self,
        act: Act,
        tag: &str,
    ) -> Result<Option<Born>, SubprocessIpcBackendError> {
        let mut spec = act.spec(&mut self.random).env(CHILD, tag);
        Ok(Some(match act {
            Act::Cancelled => {
                let patience = self.random.moment(10, 25);
                let started = tokio::time::timeout(patience, self.spawn::<String>(spec)).await;
                return started.map_or(Ok(()), |started| started.map(drop)).map(|()| None);
            }
            Act::Late => {
                spec.init_timeout = self.random.moment(20, 28);
                match self.manager.spawn_ready(spec).await {
                    Err(ProcessError::InitTimeout { .. }) => return Ok(None),
                    started => Born::alone(started?),
                }
            }
            Act::Ready => Born::alone(self.manager.spawn_ready(spec).await?),
            Act::Family => {
                let family = self.spawn::<u64>(spec).await?;
                Born::with(family, |family| async move { drop(family.call(&0).await) })
            }
            Act::Nested => {
                let parent = self.spawn::<serde_json::Value>(spec).await?;
                Born::with(parent, |parent| async move { drop(parent.call(&().into()).await) })
            }
            Act::Shout => {
                let shout = self.spawn::<u64>(spec).await?;
                let bytes = self.random.below(1 << 25);
                // Whoever dies meanwhile needs no order.
                Born::with(shout, move |shout| async move { drop(shout.call(&bytes).await) })
            }
            Act::Worker => Born::with(self.spawn::<String>(spec).await?, work),
            _ => {
                let process = self.manager.spawn_plain(spec).await?;
                if self.random.below(8) == 0 {
                    stop(&process);
                }
                Born::alone(process)
            }
        }))
    }

    async fn spawn<M: KameoChildProcessMessage>(
        &self,
        spec: CommandSpec,
    ) -> Result<SubprocessIpcBackend<M>, SubprocessIpcBackendError> {
        SubprocessIpcBackend::spawn(&self.manager, spec, BackendOptions::new()).await
    }

    /// Lets a child live as long as it lasts, and ends it in one of the ways there are.
    async fn live(&mut self, born: Born, tag: String, lasts: Option<Duration>) {
        let Born { process, drive } = born;
        News::Born(tag.clone(), process.process_id()).tell();
        let (told, end) = oneshot::channel();
        let (told, of_exit) = (std::sync::Mutex::new(Some(told)), tag.clone());
        process.on_exit(move |_| {
            News::Exit(of_exit.clone()).tell();
            let told = told.lock().expect("nobody panics with it").take();
            // Nobody waits where the runtime has ended.
            told.map(|told| told.send(()));
        });
        let last = async {
            match lasts {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = process.exited() => {}
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
            () = last => {}
        }
        match self.random.below(4) {
            0 => process.start_kill(),
            1 => {
                drop(process);
                drive.iter().for_each(JoinHandle::abort);
            }
            2 => process.expire("the scene's"),
            _ => process.start_terminate(self.random.moment(20, 28)),
        }
        end.await.expect("exit handlers are run");
        if let Some(drive) = drive {
            drive.abort();
        }
        News::Gone(tag).tell();
    }
}

/// A child, with the task that calls it.
struct Born {
    process: NodeProcess,
    drive: Option<JoinHandle<()>>,
}

impl Born {
    fn alone(process: NodeProcess) -> Self {
        Self { process, drive: None }
    }

    /// Has `drive` call it, and keeps it callable.
    fn with<M: KameoChildProcessMessage, F>(
        backend: SubprocessIpcBackend<M>,
        drive: impl FnOnce(SubprocessIpcBackend<M>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let process = backend.process().expect("it was started here").clone();
        let driven = drive(backend.clone());
        let drive = async move {
            driven.await;
            std::future::pending::<()>().await;
            drop(backend);
        };
        Self { process, drive: Some(tokio::spawn(drive)) }
    }
}

/// Has a puppet load and work until it is gone.
async fn work(puppet: SubprocessIpcBackend<String>) {
    let loading = ["progress half", "ready"].map(str::to_owned).into_iter();
    let items = (0..).flat_map(|item| [format!("begin {item}"), "end".to_owned()]);
    for order in loading.chain(items) {
        if puppet.call(&order).await.is_err() {
            break;
        }
    }
}

/// Stops a child where it is. It may have ended meanwhile.
fn stop(process: &NodeProcess) {
    let pidfd = process.process_handle().expect("descriptors");
    let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::STOP);
}
