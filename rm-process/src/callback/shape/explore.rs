//! Which paths a probe follows, and what is concluded from what it sees.
//!
//! Main type: [`Explorer`]. Values that are buffered before they are read are explored in
//! `buffered`, structs and enums in `named`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::model::{Form, Shape, TypeDef, TypeKind};
use super::probe::{End, GUESSES, Given, Hint, Known, Outcome, Probe, Run, Seen, Step, TEXTS};
use super::written::Written;

/// More runs than any sensible type needs.
const MOST_RUNS: usize = 20_000;

/// How deep a path may lead; what lies deeper is [`Form::Any`].
const DEEPEST: usize = 32;

/// Finds out the shape of `T`.
pub(super) fn explore<T: Serialize + DeserializeOwned>() -> Shape {
    let run: Box<RunOnce<'_>> = Box::new(|run, path| {
        let probe = Probe::new(run, path);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let result = T::deserialize(probe);
            run.ended(&result);
            result.ok().filter(|_| run.end == End::Build).and_then(|value| Written::of(&value))
        }));
        result.ok().flatten()
    });
    let mut explorer = Explorer {
        run,
        runs: 0,
        known: Known::default(),
        named: HashMap::new(),
        buffered: Vec::new(),
        root: std::any::type_name::<T>(),
    };
    // What has been learnt of one place, such as a text that is read there, helps at places before it.
    explorer.form(&[]);
    explorer.named.clear();
    explorer.runs = 0;
    let root = explorer.form(&[]);
    Shape { root, types: explorer.known.types }.pruned()
}

/// Reads a value once, and gives what it looks like written if it was to be built.
type RunOnce<'t> = dyn Fn(&Run<'_>, &[Step]) -> Option<Written> + 't;

/// What one run showed.
pub(super) struct Report {
    pub seen: Option<Seen>,
    pub outcome: Option<Outcome>,
    pub written: Option<Written>,
}

impl Report {
    /// The error with which reading the place ended; `None` also if that is not known.
    pub(super) fn error(&self) -> Option<&Fault> {
        self.outcome.as_ref()?.error.as_ref()
    }

    /// The place was read without complaint.
    pub(super) fn is_ok(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.error.is_none())
    }

    /// The place was read without complaint about its own value.
    pub(super) fn is_taken(&self) -> bool {
        self.is_ok() || matches!(self.error(), Some(Fault::Missing(_)))
    }
}

/// The state of an exploration.
pub(super) struct Explorer<'t> {
    run: Box<RunOnce<'t>>,
    runs: usize,
    pub(super) known: Known,
    /// Types already met, by their visitors and fields or variants.
    pub(super) named: HashMap<(&'static str, Vec<&'static str>), usize>,
    /// The names of buffered structs and enums that the path is inside of.
    pub(super) buffered: Vec<String>,
    root: &'static str,
}

/// The path and one step more.
pub(super) fn with(path: &[Step], step: Step) -> Vec<Step> {
    let mut path = path.to_vec();
    path.push(step);
    path
}

/// The step to a field. Others stand beside it where a whole value is built.
pub(super) fn field(name: &str, beside: &[(String, Given)]) -> Step {
    Step::Entry { beside: beside.to_vec(), is_shown: false, name: Some(name.to_owned()) }
}

/// The step to a field behind others, without which it is not read.
pub(super) fn field_behind(name: &str, beside: &[(String, Given)]) -> Step {
    Step::Entry { beside: beside.to_vec(), is_shown: true, name: Some(name.to_owned()) }
}

/// The end of a path at a struct that has `entries`.
pub(super) fn entries(entries: &[(String, Given)]) -> Step {
    Step::Entry { beside: entries.to_vec(), is_shown: true, name: None }
}

impl Explorer<'_> {
    pub(super) fn run(&mut self, path: &[Step], end: End, guess: usize) -> Report {
        self.runs += 1;
        if self.runs > MOST_RUNS || path.len() > DEEPEST {
            return Report { seen: None, outcome: None, written: None };
        }
        Fault::take();
        let run = Run::new(end, guess, &self.known);
        let written = (self.run)(&run, path);
        Report { seen: run.seen.into_inner(), outcome: run.outcome.into_inner(), written }
    }

    pub(super) fn look(&mut self, path: &[Step]) -> Report {
        self.run(path, End::Look, 0)
    }

    /// What lies at `path` in a whole value when that is written.
    pub(super) fn written(&mut self, path: &[Step]) -> Option<Written> {
        (0..GUESSES).find_map(|guess| self.run(path, End::Build, guess).written?.at(path).cloned())
    }

    /// The same of what the last step of the path leads into.
    pub(super) fn written_around(&mut self, path: &[Step]) -> Option<Written> {
        let (_, outer) = path.split_last()?;
        (0..GUESSES).find_map(|guess| self.run(path, End::Build, guess).written?.at(outer).cloned())
    }

    /// The form of what lies at the end of the path.
    pub(super) fn form(&mut self, path: &[Step]) -> Form {
        let report = self.look(path);
        let Some(seen) = &report.seen else { return Form::Any };
        match seen.hint.clone() {
            Hint::Leaf(Form::Str) => {
                self.learn_text(path, seen.visitor);
                Form::Str
            }
            Hint::Leaf(form) => form,
            Hint::Option => match self.form(&with(path, Step::Some)) {
                // An absent value and one that says nothing look alike.
                form @ (Form::Any | Form::Null | Form::Optional(_)) => form,
                form => Form::Optional(Box::new(form)),
            },
            Hint::Newtype => self.form(&with(path, Step::Newtype)),
            Hint::Seq => {
                let item = Box::new(self.form(&with(path, Step::Item { before: Vec::new() })));
                let outer = seen.value.split('<').next().unwrap_or_default();
                let is_set = outer.ends_with("HashSet") || outer.ends_with("BTreeSet");
                if is_set { Form::Set(item) } else { Form::List(item) }
            }
            Hint::Tuple(len) | Hint::TupleVariant(len) => self.tuple(path, len),
            Hint::Map => {
                let key = self.look(&with(path, Step::Key)).seen.map(|seen| seen.hint);
                match key {
                    Some(Hint::Identifier) => self.flattened(path, seen),
                    _ => {
                        let key = self.form(&with(path, Step::Key));
                        let value = self.form(&with(path, Step::Value));
                        Form::Dict(Box::new(key), Box::new(value))
                    }
                }
            }
            Hint::Struct { name, fields } => match adjacent(&seen.expecting, fields) {
                Some((tag, content)) => self.adjacent_enum(path, seen, name, tag, content),
                None => self.hinted_struct(path, seen, name, fields),
            },
            Hint::Enum { name, variants } => self.hinted_enum(path, seen, name, variants),
            Hint::NewtypeVariant => Form::Any,
            Hint::Any { is_buffered: true } => self.buffered_form(path, &report),
            Hint::Any { is_buffered: false } | Hint::Ignored => Form::Any,
            Hint::Identifier => Form::Str,
            Hint::UnitVariant | Hint::StructVariant(_) => Form::Any,
        }
    }

    pub(super) fn tuple(&mut self, path: &[Step], len: usize) -> Form {
        // More items than these are no tuple that anybody writes out.
        if len > 32 {
            let item = self.form(&with(path, Step::Item { before: Vec::new() }));
            return Form::List(Box::new(item));
        }
        let mut items = Vec::new();
        for _ in 0..len {
            let item = self.form(&with(path, Step::Item { before: items.clone() }));
            items.push(item);
        }
        Form::Tuple(items)
    }

    /// A text that is read at `path`.
    pub(super) fn text(&mut self, path: &[Step]) -> Option<&'static str> {
        let index = (0..TEXTS.len()).find(|index| self.run(path, End::Text(*index), 0).is_taken());
        index.map(|index| TEXTS[index])
    }

    /// Finds a text that the visitor reads, for when one is needed to get further.
    fn learn_text(&mut self, path: &[Step], visitor: &'static str) {
        let known = self.known.texts.get(visitor).copied();
        let indices = known.into_iter().chain(0..TEXTS.len());
        for index in indices {
            if self.run(path, End::Text(index), 0).is_taken() {
                self.known.texts.insert(visitor, index);
                return;
            }
        }
    }

    /// Which of `names` have to be there, in the order in which they are missed, and whether the
    /// struct is read when they are. `given` makes what stands for a name.
    pub(super) fn required(
        &mut self,
        path: &[Step],
        beside: &[(String, Given)],
        mut given: impl FnMut(&mut Self, &str, &[(String, Given)]) -> Option<Given>,
    ) -> (Vec<(String, Given)>, bool) {
        let mut present = beside.to_vec();
        let mut guess = 0;
        while guess < GUESSES {
            let report = self.run(&with(path, entries(&present)), End::Look, guess);
            match report.error() {
                None => return (present, report.is_ok()),
                Some(&Fault::Missing(name)) if present.iter().all(|(other, _)| other != name) => {
                    // What is still missing when it is there is missing further out.
                    let report = self.look(&with(path, field_behind(name, &present)));
                    if report.error() == Some(&Fault::Missing(name)) {
                        return (present, true);
                    }
                    let Some(value) = given(self, name, &present) else { return (present, false) };
                    present.push((name.to_owned(), value));
                }
                Some(_) => guess += 1,
            }
        }
        (present, false)
    }

    /// Makes room for a type, so that it can be referred to from inside.
    pub(super) fn declare(&mut self, name: &str, rust_name: &str) -> usize {
        let kind = TypeKind::Struct { fields: Vec::new(), is_open: true };
        let def = TypeDef { name: name.to_owned(), rust_name: rust_name.to_owned(), kind };
        self.known.types.push(def);
        self.known.types.len() - 1
    }

    /// The name of the type that is read at `path`, if the visitor tells it.
    pub(super) fn rust_name(&self, path: &[Step], seen: Option<&Seen>) -> String {
        match seen {
            _ if path.is_empty() => self.root.to_owned(),
            Some(seen) => seen.value.to_owned(),
            None => String::new(),
        }
    }
}

/// Tag and content, if that is what the struct holds.
fn adjacent(
    expecting: &str,
    fields: &'static [&'static str],
) -> Option<(&'static str, &'static str)> {
    match fields {
        [tag, content] if expecting.starts_with("adjacently tagged enum ") => Some((tag, content)),
        _ => None,
    }
}
