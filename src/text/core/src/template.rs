// SPDX-License-Identifier: Apache-2.0
//! Chat templates as transformers' apply_chat_template renders them.
use crate::{budget, builtins, content, filters, json, methods, namespaces, operators, rewrite};
use minijinja::machinery::{ast, make_string_output, parse, CodeGenerator, Instructions, Vm, WhitespaceConfig};
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use regex::Regex;
use std::collections::BTreeMap;

const NAME: &str = "chat";
const FUEL: u64 = 5_000_000;
const LONGEST_SOURCE: usize = 1 << 20;
const LARGEST_CONSTANTS: usize = 16 << 20;
const CONTINUE_MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

type Blocks = BTreeMap<&'static str, Instructions<'static>>;

/// The program refers to the source: fields are dropped in order.
pub struct Template {
    program: Instructions<'static>,
    blocks: Blocks,
    environment: Environment<'static>,
    variables: Value,
    loops_over_content: bool,
    _source: Source,
}

/// Text at a fixed place in memory.
struct Source(*mut str);

unsafe impl Send for Source {}
unsafe impl Sync for Source {}

impl Source {
    fn new(text: String) -> Source {
        Source(Box::into_raw(text.into_boxed_str()))
    }
    /// Must not outlive this object.
    unsafe fn text(&self) -> &'static str {
        &*self.0
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        drop(unsafe { Box::from_raw(self.0) });
    }
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(200);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_unknown_method_callback(methods::call);
    env.set_formatter(|out, _, value| {
        if let Some(text) = value.as_str() {
            budget::check(text.len())?;
            return out.write_str(text).map_err(Error::from);
        }
        out.write_str(&crate::pyvalue::to_str(value)?).map_err(Error::from)
    });
    operators::register(&mut env);
    filters::register(&mut env);
    builtins::register(&mut env);
    namespaces::register(&mut env);
    env
}

/// transformers' tag {% generation %} marks what the assistant said, and prints it. A line ends in
/// one character, as in Jinja2.
fn without_generation_tags(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let tag = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").unwrap();
    let plain = tag.replace_all(&source, |c: &regex::Captures| {
        let word = if c.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {word} {}%}}", &c[1], &c[3])
    });
    plain.into_owned()
}

fn compile(template: &ast::Stmt<'static>, source: &'static str) -> Result<(Instructions<'static>, Blocks), String> {
    content::check_constants(template, LARGEST_CONSTANTS)?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(template);
    let (program, blocks) = generator.finish();
    let blocks = blocks.iter().map(|(name, block)| (*name, rewrite::rewrite(block))).collect();
    Ok((rewrite::rewrite(&program), blocks))
}

/// An object's members, or none.
fn members(object: &Value) -> Vec<(Value, Value)> {
    if object.kind() != ValueKind::Map {
        return Vec::new();
    }
    let keys = object.try_iter().into_iter().flatten();
    keys.map(|key| (key.clone(), object.get_item(&key).unwrap_or_default())).collect()
}

fn with_member(object: &Value, name: &str, value: Value) -> Value {
    let mut all = members(object);
    match all.iter_mut().find(|(key, _)| key.as_str() == Some(name)) {
        Some(member) => member.1 = value,
        None => all.push((Value::from(name), value)),
    }
    all.into_iter().collect()
}

fn member(object: &Value, name: &str) -> Option<Value> {
    object.get_attr(name).ok().filter(|value| !value.is_undefined())
}

fn items(list: &Value) -> Vec<Value> {
    if list.kind() != ValueKind::Seq {
        return Vec::new();
    }
    list.try_iter().map(|items| items.collect()).unwrap_or_default()
}

/// Marks where the last message's content ends.
fn append_mark(messages: &Value) -> Result<Value, String> {
    let mut all = items(messages);
    let last = all.pop().ok_or("messages are empty")?;
    let marked = |text: &Value| text.as_str().map(|text| Value::from(format!("{text}{CONTINUE_MARK}")));
    let content = member(&last, "content").unwrap_or_default();
    let content = match content.kind() {
        ValueKind::String => marked(&content).unwrap_or_default(),
        ValueKind::Seq => {
            let mut parts = items(&content);
            let text = |part: &Value| member(part, "text").and_then(|text| marked(&text));
            let part = parts.iter_mut().rev().find(|part| member(part, "text").is_some());
            let (part, text) = part
                .and_then(|part| text(part).map(|text| (part, text)))
                .ok_or("continue_final_message: the last message has no text part")?;
            *part = with_member(part, "text", text);
            Value::from(parts)
        }
        _ => return Err("continue_final_message: the last message has no content".into()),
    };
    all.push(with_member(&last, "content", content));
    Ok(Value::from(all))
}

fn cut_at_mark(rendered: String) -> Result<String, String> {
    let mark = CONTINUE_MARK.trim_end();
    let at = rendered
        .rfind(mark)
        .ok_or("continue_final_message: the template does not show the final message's content")?;
    let whole = rendered[at..].starts_with(CONTINUE_MARK);
    let text = &rendered[..at];
    Ok(if whole { text.to_string() } else { text.trim_end().to_string() })
}

impl Template {
    /// `variables`: a JSON object of what is defined besides the messages, unless a rendering
    /// overrides it.
    pub fn new(source: &str, variables: &str) -> Result<Template, String> {
        if source.len() > LONGEST_SOURCE {
            return Err(format!("template is longer than {LONGEST_SOURCE} bytes"));
        }
        let kept = Source::new(without_generation_tags(source));
        let text = unsafe { kept.text() };
        let spaces = WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };
        let tree = parse(text, NAME, Default::default(), spaces).map_err(|e| describe(&e))?;
        let (program, blocks) = compile(&tree, text)?;
        let loops_over_content = content::loops_over_content(&tree);
        let variables = json::parse(variables)?;
        Ok(Template { program, blocks, environment: environment(), variables, loops_over_content, _source: kept })
    }

    pub fn loops_over_content(&self) -> bool {
        self.loops_over_content
    }

    /// `input`: {messages, tools, documents, kwargs, variables, now, add_generation_prompt}.
    pub fn render(&self, input: &str) -> Result<String, String> {
        budget::begin();
        let _emptied = namespaces::Emptied;
        let input = json::parse(input)?;
        let kwargs = member(&input, "kwargs").unwrap_or_default();
        let flag = |of: &Value, name: &str| member(of, name).filter(|v| v.kind() == ValueKind::Bool).map(|v| v.is_true());
        let generation =
            flag(&kwargs, "add_generation_prompt").or(flag(&input, "add_generation_prompt")).unwrap_or(false);
        let continuing = flag(&kwargs, "continue_final_message").unwrap_or(false);
        let mut messages = member(&input, "messages").unwrap_or_default();
        if items(&messages).is_empty() {
            return Err("messages are empty".into());
        }
        if continuing && generation {
            return Err("continue_final_message and add_generation_prompt exclude each other".into());
        }
        if continuing {
            messages = append_mark(&messages)?;
        }
        let none = || Value::from(());
        let mut context = members(&self.variables);
        context.extend(members(&member(&input, "variables").unwrap_or_default()));
        context.push((Value::from("messages"), messages));
        for name in ["tools", "documents"] {
            context.push((Value::from(name), member(&input, name).unwrap_or_else(none)));
        }
        context.push((Value::from("add_generation_prompt"), Value::from(generation)));
        context.push((Value::from(filters::NOW), member(&input, "now").unwrap_or_else(none)));
        context.extend(members(&kwargs).into_iter().filter(|(name, _)| name.as_str() != Some("continue_final_message")));
        let rendered = self.run(context.into_iter().collect()).map_err(|e| describe(&e))?;
        if continuing {
            cut_at_mark(rendered)
        } else {
            Ok(rendered)
        }
    }

    fn run(&self, context: Value) -> Result<String, Error> {
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        Vm::new(&self.environment).eval(&self.program, context, &self.blocks, &mut output, AutoEscape::None)?;
        drop(output);
        Ok(text)
    }
}

/// The template's own words where it raised an exception, else minijinja's with the line.
fn describe(error: &Error) -> String {
    match (error.kind(), error.detail(), error.line()) {
        (ErrorKind::OutOfFuel, ..) => format!("the template takes more than {FUEL} steps"),
        (ErrorKind::InvalidOperation, Some(detail), _) => detail.to_string(),
        (kind, Some(detail), Some(line)) => format!("{kind}: {detail} (line {line})"),
        (kind, None, Some(line)) => format!("{kind} (line {line})"),
        _ => error.to_string(),
    }
}
