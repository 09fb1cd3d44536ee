//! One parent with all its descendants, as the test sees them: who is killed, and what has to be true
//! then.
//!
//! Main type: [`Scene`]. It waits for news, for deaths, and for what `/proc` shows to be right; a
//! watchdog ends a wait that lasts too long.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::parent::{self, CHILD, News, Play, SCENE};
use super::remains::{self, Seen};
use super::{Random, Toll};

/// A sweep of another test's may come to the aid of what hangs, so this is not too long.
const WATCHDOG: Duration = Duration::from_secs(5);

/// How a process can be killed. What one of these cannot kill gets the first.
const DEADLY: [Signal; 8] = [
    Signal::KILL,
    Signal::KILL,
    Signal::KILL,
    Signal::TERM,
    Signal::SEGV,
    Signal::ABORT,
    Signal::HUP,
    Signal::STOP,
];

/// What is known of one child.
#[derive(Debug, Default)]
struct Known {
    pid: Option<u32>,
    exits: u32,
    /// Whether the parent has nothing more to do with it.
    is_over: bool,
}

/// A parent and its descendants. Whoever of them is left when this is dropped is killed.
pub struct Scene {
    name: String,
    play: Play,
    parent: Child,
    news: Receiver<Option<News>>,
    known: BTreeMap<String, Known>,
    /// Children of whom somebody was killed.
    hit: BTreeSet<String>,
    /// How many were killed between fork and exec, before it was known whose they are, and did not
    /// cost a child its start yet.
    hit_early: usize,
    has_hit_early: bool,
    is_ending: bool,
    has_ended: bool,
    /// What has happened, and when, for the message of a failure.
    log: Vec<String>,
    began: Instant,
    has_cgroups: bool,
    /// All processes that have been seen, any of which may be the owner of a runtime.
    pids: BTreeSet<u32>,
    runtimes: BTreeSet<String>,
    ownerless_before: BTreeSet<String>,
    cgroups_before: BTreeSet<PathBuf>,
    folder: tempfile::TempDir,
}

impl Scene {
    /// Starts the parent. One that `is_doomed` will not end in good order.
    pub fn begin(play: Play, is_doomed: bool, random: &mut Random) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{count}", std::process::id());
        let folder = tempfile::tempdir().expect("a folder");
        let (ownerless_before, cgroups_before) = (remains::ownerless_records(), remains::cgroups());
        let has_cgroups = has_cgroup_kill();
        // Who leaves the session is killed by a cgroup, or by the sweep after the parent's death.
        let mut command = parent::command(play, has_cgroups || is_doomed, random);
        command.env(SCENE, &name).env("TMPDIR", folder.path()).current_dir(folder.path());
        let mut parent =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a parent");
        let (tell, news) = channel();
        let output = BufReader::new(parent.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = News::parse(&line).map(|news| tell.send(Some(news)));
            }
            let _ = tell.send(None);
        });
        Self {
            name,
            play,
            pids: BTreeSet::from([parent.id()]),
            parent,
            news,
            known: BTreeMap::new(),
            hit: BTreeSet::new(),
            hit_early: 0,
            has_hit_early: false,
            is_ending: false,
            has_ended: false,
            log: Vec::new(),
            began: Instant::now(),
            has_cgroups,
            runtimes: BTreeSet::new(),
            ownerless_before,
            cgroups_before,
            folder,
        }
    }

    fn heed(&mut self, news: Option<News>) {
        self.log.push(format!("{:?} {news:?}", self.began.elapsed()));
        match news {
            Some(News::Born(tag, pid)) => {
                self.pids.insert(pid);
                self.known.entry(tag).or_default().pid = Some(pid);
            }
            Some(News::Exit(tag)) => {
                let known = self.known.entry(tag).or_default();
                known.exits += 1;
                assert_eq!(known.exits, 1, "an exit handler was run again");
            }
            Some(News::Gone(tag) | News::Cancelled(tag)) => {
                self.known.entry(tag).or_default().is_over = true;
            }
            Some(News::Failed(tag, why)) => {
                // A runtime that ends kills those who are being started, too.
                if !self.hit.contains(&tag) && !self.is_ending {
                    assert!(self.hit_early > 0, "{tag} was not started: {why}");
                    self.hit_early -= 1;
                }
                self.known.entry(tag).or_default().is_over = true;
            }
            Some(News::Ended) => self.has_ended = true,
            None => {}
        }
    }

    /// Lets the others go on for that time.
    pub fn let_pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left < Duration::from_micros(100) {
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
                break;
            }
            match self.news.recv_timeout(left) {
                Ok(news) => self.heed(news),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// Waits for news until `done`.
    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + WATCHDOG;
        while !done(self) {
            let left = end.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left) {
                Ok(news) => self.heed(news),
                Err(error) => {
                    let seen = remains::of_scene(&self.name);
                    let known = &self.known;
                    panic!("{what} did not happen ({error}): {seen:#?}\n{known:#?}")
                }
            }
        }
    }

    /// Waits until so many children have been started.
    pub fn await_children(&mut self, count: usize) {
        self.wait("that children are started", |scene| {
            scene.known.values().filter(|known| known.pid.is_some()).count() >= count
        });
    }

    /// Looks at all who are alive, and takes note of them.
    fn look(&mut self) -> Vec<Seen> {
        let seen = remains::of_scene(&self.name);
        self.pids.extend(seen.iter().map(|seen| seen.pid));
        self.runtimes.extend(seen.iter().flat_map(Seen::runtimes).map(str::to_owned));
        seen
    }

    /// Kills these, together, each in some way. Those who were still alive.
    fn kill(&mut self, victims: &[Seen], random: &mut Random) -> Vec<Seen> {
        let mut killed = Vec::new();
        for victim in victims {
            let Some(pidfd) = victim.pidfd() else { continue };
            let signal = DEADLY[random.below(DEADLY.len() as u64) as usize];
            if rustix::process::pidfd_send_signal(&pidfd, signal).is_err() {
                continue;
            }
            match victim.variable(CHILD) {
                Some(tag) => drop(self.hit.insert(tag.to_owned())),
                None if victim.pid == self.parent.id() => {}
                None => {
                    self.hit_early += 1;
                    self.has_hit_early = true;
                }
            }
            self.log.push(format!("{:?} {signal:?} {victim:?}", self.began.elapsed()));
            killed.push((victim.clone(), pidfd, signal));
        }
        for (victim, pidfd, signal) in &killed {
            if *signal != Signal::KILL {
                self.let_pass(random.moment(10, 22));
                let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
            }
            assert!(remains::is_dead_within(pidfd, WATCHDOG), "{victim:?} survives");
        }
        killed.into_iter().map(|(victim, ..)| victim).collect()
    }

    /// Kills some of the parent's descendants, waits until the parent knows it, and checks that nobody
    /// is left of any child that is over.
    pub fn kill_some(&mut self, random: &mut Random, toll: &mut Toll) {
        self.let_pass(random.moment(10, 26));
        let mut candidates = self.look();
        candidates.retain(|seen| seen.pid != self.parent.id());
        let victims = pick(candidates, random);
        for victim in self.kill(&victims, random) {
            let is_child = victim.parent == self.parent.id();
            toll.add(if is_child { "child" } else { "grandchild" });
            let Some(tag) = victim.variable(CHILD).filter(|_| is_child) else { continue };
            self.wait(&format!("that the parent knows of the end of {victim:?}"), |scene| {
                scene
                    .known
                    .get(tag)
                    .is_some_and(|known| known.is_over && (known.exits == 1 || known.pid.is_none()))
            });
        }
        let parent = self.parent.id();
        // One that was killed before its exec may be a sentinel, which is missed when the next one is
        // needed.
        let children = victims.iter().filter(|victim| victim.parent == parent);
        let children = children.filter(|victim| victim.variable(CHILD).is_some());
        let reaped: Vec<_> = children.map(|victim| victim.pid).collect();
        self.eventually("zombies of the parent", |_| {
            let mut zombies = remains::zombies_of(parent);
            zombies.retain(|pid| reaped.contains(pid));
            zombies
        });
        let over: BTreeSet<String> = self
            .known
            .iter()
            .filter(|known| known.1.is_over)
            .map(|known| known.0.clone())
            .collect();
        let escapes = !self.has_cgroups;
        self.eventually("descendants of children that are over", |scene| {
            let mut seen = scene.look();
            seen.retain(|seen| seen.variable(CHILD).is_some_and(|tag| over.contains(tag)));
            // Without cgroups, who has left the session is left to the sweep after the parent's death.
            seen.retain(|seen| !(escapes && seen.variable(CHILD).is_some_and(is_escape)));
            seen
        });
        let status = self.parent.try_wait().expect("a child");
        assert_eq!(status, None, "the parent has ended");
    }

    /// Kills the parent, perhaps with some of its descendants, and checks that all go.
    pub fn kill_parent(mut self, random: &mut Random, toll: &mut Toll) {
        let with_others = random.below(3) == 0;
        let mut victims = if with_others { self.look() } else { Vec::new() };
        victims.retain(|seen| seen.pid != self.parent.id());
        if with_others {
            victims = pick(victims, random);
        }
        let parent = Seen::of(self.parent.id()).expect("it is not reaped");
        let place = random.below(victims.len() as u64 + 1) as usize;
        victims.insert(place, parent);
        let mut hit_now = BTreeSet::new();
        for victim in self.kill(&victims, random) {
            toll.add(if victim.pid == self.parent.id() { "parent" } else { "with the parent" });
            hit_now.extend(victim.variable(CHILD).map(str::to_owned));
        }
        let status = self.parent.wait().expect("a child");
        assert!(status.signal().is_some(), "the parent has ended by itself: {status}");
        let killed = Instant::now();
        self.runtimes.extend(remains::runtimes_owned_by(&self.pids));
        self.eventually("those who go by themselves", |scene| {
            let mut seen = scene.look();
            // One that was killed before its exec may have been a sentinel.
            let watched =
                if scene.has_hit_early { BTreeSet::new() } else { watched_runtimes(&seen) };
            seen.retain(|seen| {
                goes_by_itself(seen, &watched) || scene.goes_with_its_leader(seen, &hit_now)
            });
            seen
        });
        toll.departed(killed.elapsed());
        self.check_sweep();
    }

    /// Whether a process is killed by the leader of its group, because that is alive when the parent
    /// dies: in a household, these are ended by nobody else than the test.
    fn goes_with_its_leader(&self, seen: &Seen, hit_now: &BTreeSet<String>) -> bool {
        self.play == Play::Household
            && seen.variable(CHILD).is_some_and(|tag| {
                (tag.ends_with("Family") || tag.ends_with("Nested")) && !hit_now.contains(tag)
            })
    }

    /// Has the parent end, and checks that it leaves nothing.
    pub fn end(mut self, random: &mut Random) {
        self.is_ending = true;
        let order = ["drop", "stop"][random.below(2) as usize];
        let mut input = self.parent.stdin.take().expect("a pipe");
        input.write_all(order.as_bytes()).expect("a parent that reads");
        drop(input);
        self.wait("the end of the parent", |scene| scene.has_ended);
        let status = self.parent.wait().expect("a child");
        assert!(status.success(), "{status}");
        let owned = remains::runtimes_owned_by(&BTreeSet::from([self.parent.id()]));
        assert_eq!(owned, BTreeSet::new(), "records are left");
        for (tag, known) in &self.known {
            assert_eq!(known.exits, u32::from(known.pid.is_some()), "exits of {tag}");
        }
        self.eventually("anybody of the parent", Self::look);
        // A child that was a parent itself may have been killed.
        self.check_sweep();
    }

    /// Sweeps, and checks that nothing is left.
    fn check_sweep(&mut self) {
        self.runtimes.extend(remains::runtimes_owned_by(&self.pids));
        // Another test's sweep may be at work on the same records.
        self.eventually("records", |scene| {
            let swept = rm_process::sweep().expect("a sweep");
            scene.runtimes.extend(swept.runtimes.iter().cloned());
            let left = remains::runtimes_owned_by(&scene.pids);
            if left.is_empty() { None } else { Some((left, swept)) }
        });
        let left = self.look();
        assert!(left.is_empty(), "{left:#?} after the sweep");
        self.eventually("of the runtimes", |scene| remains::of_runtimes(&scene.runtimes));
        self.eventually("records of nobody", |scene| {
            let now = remains::ownerless_records();
            now.difference(&scene.ownerless_before).cloned().collect::<Vec<_>>()
        });
        self.eventually("cgroups of nobody", |scene| {
            let records = remains::ids();
            let is_owned = |folder: &&PathBuf| {
                records.iter().any(|id| folder.to_string_lossy().ends_with(id.as_str()))
            };
            let now = remains::cgroups();
            let new = now.difference(&scene.cgroups_before);
            new.filter(|folder| !is_owned(folder)).cloned().collect::<Vec<_>>()
        });
        let files = remains::files(self.folder.path());
        assert_eq!(files, BTreeSet::new(), "files or sockets are left");
    }

    /// Looks until nothing of the kind is there.
    fn eventually<T: Debug, L: IntoIterator<Item = T>>(
        &mut self,
        what: &str,
        mut left: impl FnMut(&mut Self) -> L,
    ) {
        let end = Instant::now() + WATCHDOG;
        loop {
            let found: Vec<_> = left(self).into_iter().collect();
            if found.is_empty() {
                break;
            }
            let runtimes = &self.runtimes;
            assert!(Instant::now() < end, "{what} are left: {found:#?} of {runtimes:?}");
            // In the meantime the parent is not to wait for its output to be read.
            while let Ok(news) = self.news.try_recv() {
                self.heed(news);
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{:?} {} until then: {:#?}", self.play, self.name, self.log);
        }
        // All of this does nothing after a scene that has passed.
        let _ = self.parent.kill();
        let _ = self.parent.wait();
        let end = Instant::now() + WATCHDOG;
        loop {
            let left = remains::of_scene(&self.name);
            if left.is_empty() || Instant::now() > end {
                break;
            }
            for pidfd in left.iter().filter_map(Seen::pidfd) {
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            }
        }
        let _ = rm_process::sweep();
    }
}

/// Mostly one of them, sometimes several or all.
fn pick(mut candidates: Vec<Seen>, random: &mut Random) -> Vec<Seen> {
    let count = match random.below(10) {
        0 => candidates.len(),
        1..4 => 3,
        _ => 1,
    };
    let mut picked = Vec::new();
    while picked.len() < count && !candidates.is_empty() {
        picked.push(candidates.swap_remove(random.below(candidates.len() as u64) as usize));
    }
    picked
}

/// Whether a process goes before anybody sweeps when a scene's parent is killed, be its own parent
/// alive or not.
fn goes_by_itself(seen: &Seen, watched: &BTreeSet<String>) -> bool {
    // 0 where the session's leader is outside of this PID namespace, for each of its processes.
    let own_session = Seen::of(std::process::id()).expect("it runs").session;
    let is_direct = seen.group == seen.pid && seen.session == own_session;
    // Between fork and exec it carries nobody's mark.
    let is_starting = seen.variable(CHILD).is_none();
    is_starting || is_direct || seen.runtimes().any(|id| watched.contains(id))
}

/// Runtimes that a sentinel watches over: those of plain programs with a cgroup.
fn watched_runtimes(seen: &[Seen]) -> BTreeSet<String> {
    let is_plain = |seen: &&Seen| {
        seen.variable("REMOTEMEDIA_CGROUP").is_some()
            && seen.variable("REMOTEMEDIA_CONTROL_FD").is_none()
    };
    seen.iter().filter(is_plain).flat_map(Seen::runtimes).map(str::to_owned).collect()
}

fn is_escape(tag: &str) -> bool {
    tag.ends_with("Escape")
}

/// Whether children have a cgroup by which all of a tree can be killed.
fn has_cgroup_kill() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let spec = crate::support::sh("echo \"<$REMOTEMEDIA_CGROUP>\"");
            let process = crate::support::manager().spawn_plain(spec).await.expect("sh");
            process.exited().await;
            process.stdout_tail() != "<>\n"
        })
    })
}
