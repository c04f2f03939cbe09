// SPDX-License-Identifier: Apache-2.0
//! Chat templates as transformers' apply_chat_template renders them.
use crate::pyvalue::{to_json, to_str, JsonStyle};
use crate::strftime::Moment;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use regex::Regex;
use serde_json::Value as Json;

const NAME: &str = "chat";
const FUEL: u64 = 5_000_000;
const LONGEST_SOURCE: usize = 1 << 20;
const CONTINUE_MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

pub struct Template {
    environment: Environment<'static>,
    loops_over_content: bool,
}

fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), _, _) => Value::from(i),
            (_, Some(u), _) => Value::from(u),
            (_, _, f) => Value::from(f.unwrap_or(0.0)),
        },
        Json::String(s) => Value::from(s.as_str()),
        Json::Array(items) => Value::from(items.iter().map(from_json).collect::<Vec<_>>()),
        Json::Object(map) => map.iter().map(|(k, v)| (Value::from(k.as_str()), from_json(v))).collect(),
    }
}

fn failure(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn tojson(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        Some(v) if v.is_integer() => Some(" ".repeat(i64::try_from(v)?.clamp(0, 32) as usize)),
        Some(v) if v.kind() == ValueKind::String => Some(v.to_string()),
        _ => None,
    };
    let mut style = JsonStyle {
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        item_separator: if indent.is_some() { "," } else { ", " }.into(),
        key_separator: ": ".into(),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
    };
    if let Some(separators) = kwargs.get::<Option<Value>>("separators")? {
        if separators.kind() == ValueKind::Seq && separators.len() == Some(2) {
            style.item_separator = separators.get_item_by_index(0)?.to_string();
            style.key_separator = separators.get_item_by_index(1)?.to_string();
        }
    }
    kwargs.assert_all_used()?;
    to_json(&value, &style, 0).map(Value::from_safe_string).map_err(failure)
}

fn length(value: Value) -> Result<usize, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(0),
        _ => value.len().ok_or_else(|| failure(format!("object of type {} has no len()", value.kind()))),
    }
}

fn is_iterable(value: &Value) -> bool {
    !matches!(value.kind(), ValueKind::None | ValueKind::Undefined) && value.try_iter().is_ok()
}

fn strftime_now(state: &State, pattern: String) -> String {
    let now = state.lookup("__braid_now").and_then(|v| Moment::parse(v.as_str().unwrap_or("")));
    now.unwrap_or_else(Moment::now).format(&pattern)
}

/// Python's methods; `count` of an empty string would never end in pycompat.
fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (Some(text), "count", [what]) = (value.as_str(), name, args) {
        if what.as_str() == Some("") {
            return Ok(Value::from(text.chars().count() + 1));
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_keep_trailing_newline(false);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(200);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(method);
    env.set_formatter(|out, _, value| out.write_str(&to_str(value)).map_err(Error::from));
    env.add_filter("tojson", tojson);
    env.add_filter("string", |value: Value| to_str(&value));
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("trim", |value: Value| to_str(&value).trim().to_string());
    env.add_test("iterable", |value: Value| is_iterable(&value));
    env.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(failure(message))
    });
    env.add_function("strftime_now", strftime_now);
    env
}

/// Whether a loop goes over the parts of a message's content.
fn loops_over_content(source: &str) -> bool {
    let access = r#"\w+(?:\.content|\[\s*['"]content['"]\s*\]|\.get\(\s*['"]content['"]\s*\))"#;
    let direct = Regex::new(&format!(r"for\s+\w+\s+in\s+\(?\s*{access}")).unwrap();
    if direct.is_match(source) {
        return true;
    }
    let assigned = Regex::new(&format!(r"set\s+(\w+)\s*=\s*{access}")).unwrap();
    let by_name = |name: &str| {
        Regex::new(&format!(r"for\s+\w+\s+in\s+{name}\b")).map_or(false, |r| r.is_match(source))
    };
    if assigned.captures_iter(source).any(|c| by_name(&c[1])) {
        return true;
    }
    // A macro called with a message's content, whose parameter is looped over.
    let called = Regex::new(&format!(r"(\w+)\(\s*{access}")).unwrap();
    let result = called.captures_iter(source).any(|c| {
        let head = Regex::new(&format!(r"macro\s+{}\(\s*(\w+)", &c[1])).unwrap();
        head.captures(source).map_or(false, |m| by_name(&m[1]))
    });
    result
}

fn append_mark(messages: &mut Json) -> Result<(), String> {
    let last = messages.as_array_mut().and_then(|list| list.last_mut()).ok_or("messages are empty")?;
    match last.get_mut("content") {
        Some(Json::String(text)) => text.push_str(CONTINUE_MARK),
        Some(Json::Array(parts)) => {
            let text = parts.iter_mut().rev().find_map(|part| part.get_mut("text"));
            match text {
                Some(Json::String(text)) => text.push_str(CONTINUE_MARK),
                _ => return Err("continue_final_message: the last message has no text part".into()),
            }
        }
        _ => return Err("continue_final_message: the last message has no content".into()),
    }
    Ok(())
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
    pub fn new(source: &str) -> Result<Template, String> {
        if source.len() > LONGEST_SOURCE {
            return Err(format!("template is longer than {LONGEST_SOURCE} bytes"));
        }
        let mut env = environment();
        let tag = Regex::new(r"\{%(-?)\s*(end)?generation\s*(-?)%\}").unwrap();
        let source = tag.replace_all(source, |c: &regex::Captures| {
            let word = if c.get(2).is_some() { "endif" } else { "if true" };
            format!("{{%{} {word} {}%}}", &c[1], &c[3])
        });
        env.add_template_owned(NAME, source.to_string()).map_err(|e| describe(&e))?;
        Ok(Template { environment: env, loops_over_content: loops_over_content(&source) })
    }

    pub fn loops_over_content(&self) -> bool {
        self.loops_over_content
    }

    /// `input`: {messages, tools, documents, kwargs, variables, now, add_generation_prompt}.
    pub fn render(&self, input: &str) -> Result<String, String> {
        let mut input: Json = serde_json::from_str(input).map_err(|e| format!("not valid JSON: {e}"))?;
        let kwargs = input["kwargs"].as_object().cloned().unwrap_or_default();
        let flag = |name: &str| kwargs.get(name).and_then(Json::as_bool);
        let generation = flag("add_generation_prompt")
            .unwrap_or_else(|| input["add_generation_prompt"].as_bool().unwrap_or(false));
        let continuing = flag("continue_final_message").unwrap_or(false);
        if input["messages"].as_array().map_or(true, |m| m.is_empty()) {
            return Err("messages are empty".into());
        }
        if continuing && generation {
            return Err("continue_final_message and add_generation_prompt exclude each other".into());
        }
        if continuing {
            append_mark(&mut input["messages"])?;
        }
        let mut context = serde_json::Map::new();
        if let Some(variables) = input["variables"].as_object() {
            context.extend(variables.clone());
        }
        for name in ["messages", "tools", "documents"] {
            context.insert(name.into(), input[name].clone());
        }
        context.insert("add_generation_prompt".into(), Json::Bool(generation));
        context.insert("__braid_now".into(), input["now"].clone());
        context.extend(kwargs.into_iter().filter(|(name, _)| name != "continue_final_message"));
        let template = self.environment.get_template(NAME).map_err(|e| describe(&e))?;
        let rendered = template.render(from_json(&Json::Object(context))).map_err(|e| describe(&e))?;
        if continuing {
            cut_at_mark(rendered)
        } else {
            Ok(rendered)
        }
    }
}

/// The template's own words where it raised an exception, else minijinja's with the line.
fn describe(error: &Error) -> String {
    match (error.detail(), error.line()) {
        (Some(detail), _) if error.kind() == ErrorKind::InvalidOperation => detail.to_string(),
        (Some(detail), Some(line)) => format!("{}: {detail} (line {line})", error.kind()),
        (None, Some(line)) => format!("{} (line {line})", error.kind()),
        _ => error.to_string(),
    }
}
