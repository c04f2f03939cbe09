// SPDX-License-Identifier: Apache-2.0
//! What a template's text says about it before it runs: whether it loops over the parts of a
//! message's content, and how much its constants take.
use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Macro, Stmt};

/// Calls `visit` for each statement and each expression, outer ones first.
fn walk<'t, 'a>(stmts: &'t [Stmt<'a>], visit: &mut dyn FnMut(Node<'t, 'a>)) {
    for stmt in stmts {
        visit(Node::Stmt(stmt));
        let mut body = |body: &'t [Stmt<'a>]| walk(body, &mut *visit);
        match stmt {
            Stmt::Template(s) => body(&s.children),
            Stmt::ForLoop(s) => {
                body(&s.body);
                body(&s.else_body);
                walk_expr(&s.iter, visit);
                s.filter_expr.iter().for_each(|e| walk_expr(e, visit));
            }
            Stmt::IfCond(s) => {
                body(&s.true_body);
                body(&s.false_body);
                walk_expr(&s.expr, visit);
            }
            Stmt::WithBlock(s) => {
                body(&s.body);
                s.assignments.iter().for_each(|(_, e)| walk_expr(e, visit));
            }
            Stmt::SetBlock(s) => {
                body(&s.body);
                s.filter.iter().for_each(|e| walk_expr(e, visit));
            }
            Stmt::FilterBlock(s) => {
                body(&s.body);
                walk_expr(&s.filter, visit);
            }
            Stmt::Macro(s) => {
                body(&s.body);
                s.defaults.iter().for_each(|e| walk_expr(e, visit));
            }
            Stmt::CallBlock(s) => {
                body(&s.macro_decl.body);
                walk_expr(&s.call.expr, visit);
                s.call.args.iter().for_each(|a| walk_expr(argument(a), visit));
            }
            Stmt::AutoEscape(s) => body(&s.body),
            Stmt::Block(s) => body(&s.body),
            Stmt::EmitExpr(s) => walk_expr(&s.expr, visit),
            Stmt::Set(s) => walk_expr(&s.expr, visit),
            Stmt::Do(s) => s.call.args.iter().for_each(|a| walk_expr(argument(a), visit)),
            _ => {}
        }
    }
}

#[derive(Clone, Copy)]
enum Node<'t, 'a> {
    Stmt(&'t Stmt<'a>),
    Expr(&'t Expr<'a>),
}

fn argument<'t, 'a>(arg: &'t CallArg<'a>) -> &'t Expr<'a> {
    match arg {
        CallArg::Pos(e) | CallArg::Kwarg(_, e) | CallArg::PosSplat(e) | CallArg::KwargSplat(e) => e,
    }
}

fn walk_expr<'t, 'a>(expr: &'t Expr<'a>, visit: &mut dyn FnMut(Node<'t, 'a>)) {
    visit(Node::Expr(expr));
    let mut go = |e: &'t Expr<'a>| walk_expr(e, &mut *visit);
    match expr {
        Expr::Var(_) | Expr::Const(_) => {}
        Expr::Slice(e) => {
            go(&e.expr);
            [&e.start, &e.stop, &e.step].into_iter().flatten().for_each(go);
        }
        Expr::UnaryOp(e) => go(&e.expr),
        Expr::BinOp(e) => {
            go(&e.left);
            go(&e.right);
        }
        Expr::Compare(e) => {
            go(&e.expr);
            e.ops.iter().for_each(|op| go(&op.expr));
        }
        Expr::IfExpr(e) => {
            go(&e.test_expr);
            go(&e.true_expr);
            e.false_expr.iter().for_each(go);
        }
        Expr::Filter(e) => {
            e.expr.iter().for_each(&mut go);
            e.args.iter().for_each(|a| go(argument(a)));
        }
        Expr::Test(e) => {
            go(&e.expr);
            e.args.iter().for_each(|a| go(argument(a)));
        }
        Expr::GetAttr(e) => go(&e.expr),
        Expr::GetItem(e) => {
            go(&e.expr);
            go(&e.subscript_expr);
        }
        Expr::Call(e) => {
            go(&e.expr);
            e.args.iter().for_each(|a| go(argument(a)));
        }
        Expr::List(e) => e.items.iter().for_each(go),
        Expr::Map(e) => e.keys.iter().chain(&e.values).for_each(go),
    }
}

/// An expression without the filters, tests and slices around it.
fn bare<'t, 'a>(expr: &'t Expr<'a>) -> &'t Expr<'a> {
    match expr {
        Expr::Filter(f) => f.expr.as_ref().map_or(expr, bare),
        Expr::Test(t) => bare(&t.expr),
        Expr::Slice(s) => bare(&s.expr),
        _ => expr,
    }
}

/// The dotted name of a variable or of an attribute of one.
fn dotted(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Var(v) => Some(v.id.to_string()),
        Expr::GetAttr(a) => Some(format!("{}.{}", dotted(&a.expr)?, a.name)),
        _ => None,
    }
}

fn is_named(expr: &Expr, names: &[String]) -> bool {
    dotted(expr).is_some_and(|name| names.contains(&name))
}

fn is_content_of(expr: &Expr, messages: &[String]) -> bool {
    match bare(expr) {
        Expr::GetAttr(a) => a.name == "content" && is_named(&a.expr, messages),
        Expr::GetItem(i) => match &i.subscript_expr {
            Expr::Const(c) => c.value.as_str() == Some("content") && is_named(&i.expr, messages),
            _ => false,
        },
        _ => false,
    }
}

#[derive(Default)]
struct Found<'t, 'a> {
    sets: Vec<(&'t Expr<'a>, &'t Expr<'a>)>,
    loops: Vec<(&'t Expr<'a>, &'t Expr<'a>)>,
    macros: Vec<&'t Macro<'a>>,
    calls: Vec<(&'a str, &'t [CallArg<'a>])>,
}

fn find<'t, 'a>(stmts: &'t [Stmt<'a>]) -> Found<'t, 'a> {
    let mut found = Found::default();
    walk(stmts, &mut |node| match node {
        Node::Stmt(Stmt::Set(s)) => found.sets.push((&s.target, &s.expr)),
        Node::Stmt(Stmt::ForLoop(l)) => found.loops.push((&l.target, &l.iter)),
        Node::Stmt(Stmt::Macro(m)) => found.macros.push(m),
        Node::Expr(Expr::Call(c)) => {
            if let Expr::Var(function) = &c.expr {
                found.calls.push((function.id, &c.args));
            }
        }
        _ => {}
    });
    found
}

/// `messages` and the variables and namespace attributes that are set to it or to parts of it.
fn aliases_of_messages(found: &Found) -> Vec<String> {
    let mut names = vec!["messages".to_string()];
    loop {
        let mut fresh = Vec::new();
        for (target, value) in &found.sets {
            if is_named(bare(value), &names) {
                fresh.extend(dotted(target));
            }
            let Expr::Call(call) = value else { continue };
            let is_namespace = matches!(&call.expr, Expr::Var(f) if f.id == "namespace");
            for arg in call.args.iter().filter(|_| is_namespace) {
                match arg {
                    CallArg::Kwarg(key, of) if is_named(bare(of), &names) => {
                        fresh.extend(dotted(target).map(|target| format!("{target}.{key}")))
                    }
                    _ => {}
                }
            }
        }
        fresh.retain(|name| !names.contains(name));
        if fresh.is_empty() {
            return names;
        }
        names.append(&mut fresh);
    }
}

/// The parameters of a macro that some call gives a message's content.
fn content_parameters(of: &Macro, found: &Found, messages: &[String]) -> Vec<String> {
    let parameters: Vec<String> = of.args.iter().filter_map(dotted).collect();
    let mut given = Vec::new();
    for (_, args) in found.calls.iter().filter(|call| call.0 == of.name) {
        for (i, arg) in args.iter().enumerate() {
            match arg {
                CallArg::Pos(value) if is_content_of(value, messages) => given.extend(parameters.get(i).cloned()),
                CallArg::Kwarg(name, value) if is_content_of(value, messages) => given.push(name.to_string()),
                _ => {}
            }
        }
    }
    given
}

/// Whether a loop goes over the parts of a message's content: of a message of a loop over the
/// messages, of a macro's parameter that is given one, or of a variable of that name.
pub fn loops_over_content(template: &Stmt) -> bool {
    let stmts = std::slice::from_ref(template);
    let found = find(stmts);
    let names = aliases_of_messages(&found);
    let over_messages = found.loops.iter().filter(|(_, iter)| is_named(bare(iter), &names));
    let messages: Vec<String> = over_messages.filter_map(|(target, _)| dotted(target)).collect();
    let mut in_macros = Vec::new();
    for each in &found.macros {
        let given = content_parameters(each, &found, &messages);
        for (_, iter) in find(&each.body).loops {
            if is_named(iter, &given) {
                return true;
            }
            in_macros.push(iter as *const Expr);
        }
    }
    found.loops.iter().any(|(_, iter)| {
        let iter: &Expr = iter;
        let by_name = matches!(iter, Expr::Var(v) if v.id == "content");
        is_content_of(iter, &messages) || (by_name && !in_macros.contains(&(iter as *const Expr)))
    })
}

/// Fails if products of constants, which the compiler computes, take more than `limit` bytes.
pub fn check_constants(template: &Stmt, limit: usize) -> Result<(), String> {
    let mut total = 0usize;
    walk(std::slice::from_ref(template), &mut |node| {
        let Node::Expr(Expr::BinOp(op)) = node else { return };
        if total > limit || !matches!(op.op, BinOpKind::Mul) {
            return;
        }
        if let (Some(left), Some(right)) = (op.left.as_const(), op.right.as_const()) {
            let size = |value: &minijinja::Value| value.len().or(value.as_usize()).unwrap_or(0);
            if left.len().is_some() || right.len().is_some() {
                total = total.saturating_add(size(&left).max(1).saturating_mul(size(&right).max(1)));
            }
        }
    });
    if total > limit {
        return Err(format!("its constants take more than {} MiB", limit >> 20));
    }
    Ok(())
}
