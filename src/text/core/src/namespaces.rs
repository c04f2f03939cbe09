// SPDX-License-Identifier: Apache-2.0
//! Values are counted by references, so a namespace that holds itself, directly or through others,
//! would stay in memory for ever. A rendering notes its namespaces and empties them at its end.
use crate::budget;
use minijinja::value::{Value, ValueKind};
use minijinja::{context, functions, Environment, Error};
use std::cell::RefCell;

thread_local! {
    static MADE: RefCell<Vec<Value>> = const { RefCell::new(Vec::new()) };
}

pub fn register(env: &mut Environment<'static>) {
    env.add_function("namespace", |defaults: Option<Value>| -> Result<Value, Error> {
        budget::check(0)?;
        let made = functions::namespace(defaults)?;
        MADE.with(|all| all.borrow_mut().push(made.clone()));
        Ok(made)
    });
}

/// Empties this thread's namespaces while it is dropped.
pub struct Emptied;

impl Drop for Emptied {
    fn drop(&mut self) {
        let made = MADE.with(|all| std::mem::take(&mut *all.borrow_mut()));
        made.into_iter().for_each(empty);
    }
}

/// Only a template's `set` changes a namespace.
fn empty(namespace: Value) {
    let holds = |key: &Value| {
        let value = namespace.get_item(key).unwrap_or_default();
        !matches!(value.kind(), ValueKind::Undefined | ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::String)
    };
    let keys: Vec<Value> = namespace.try_iter().into_iter().flatten().filter(holds).collect();
    for key in keys {
        let source = format!("{{% set namespace.{key} = none %}}");
        let _ = Environment::new().render_str(&source, context! { namespace });
    }
}
