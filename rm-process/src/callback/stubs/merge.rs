//! The types of several shapes as one list in which none is there twice.
//!
//! Main type: [`Merged`]. Two types are one if they have the same name and look the same all the way
//! down; their names in Python are chosen elsewhere.

use std::collections::HashMap;

use crate::callback::shape::{Form, Shape, TypeDef};

/// Types, and the roots that refer to them.
pub(super) struct Merged {
    pub types: Vec<TypeDef>,
    pub roots: Vec<Form>,
}

impl Merged {
    pub(super) fn of<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> Self {
        let (mut types, mut roots) = (Vec::new(), Vec::new());
        for shape in shapes {
            let offset = types.len();
            let shifted = |form: &mut Form| form.renumber(&|index| index + offset);
            let mut root = shape.root.clone();
            shifted(&mut root);
            roots.push(root);
            for def in &shape.types {
                let mut def = def.clone();
                def.forms_mut().into_iter().for_each(shifted);
                types.push(def);
            }
        }
        let class = classes(&types);
        let mut kept: Vec<TypeDef> = Vec::new();
        for (index, def) in types.into_iter().enumerate() {
            match kept.get_mut(class[index]) {
                // Where a value was buffered the Rust type is not known.
                Some(same) if same.rust_name.is_empty() => same.rust_name = def.rust_name,
                Some(_) => {}
                None => kept.push(def),
            }
        }
        let number = |index: usize| class[index];
        kept.iter_mut()
            .flat_map(TypeDef::forms_mut)
            .chain(&mut roots)
            .for_each(|form| form.renumber(&number));
        Self { types: kept, roots }
    }

    /// Which types can be reached from `forms`.
    pub(super) fn reached<'a>(&self, forms: impl IntoIterator<Item = &'a Form>) -> Vec<bool> {
        let mut open = Vec::new();
        forms.into_iter().for_each(|form| form.visit(&mut |index| open.push(index)));
        let mut reached = vec![false; self.types.len()];
        while let Some(index) = open.pop() {
            if !std::mem::replace(&mut reached[index], true) {
                for form in self.types[index].forms() {
                    form.visit(&mut |index| open.push(index));
                }
            }
        }
        reached
    }
}

/// Types with the same number are the same: they start as one class, which is split until types in
/// a class look alike when those they refer to are replaced by their classes.
fn classes(types: &[TypeDef]) -> Vec<usize> {
    let mut class = vec![0; types.len()];
    loop {
        let mut numbers = HashMap::new();
        let next: Vec<usize> = types
            .iter()
            .zip(&class)
            .map(|(def, old)| {
                let mut def = TypeDef { rust_name: String::new(), ..def.clone() };
                def.forms_mut().into_iter().for_each(|form| form.renumber(&|index| class[index]));
                let count = numbers.len();
                *numbers.entry((*old, format!("{def:?}"))).or_insert(count)
            })
            .collect();
        if next == class {
            return class;
        }
        class = next;
    }
}
