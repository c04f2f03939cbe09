// SPDX-License-Identifier: Apache-2.0
//! Filters that take other arguments in Jinja2 than in minijinja, or compute otherwise.
use crate::budget;
use crate::operators::{add, each, escaped, type_error};
use crate::pyvalue::{to_repr, to_str};
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{filters as builtin, Environment, Error, State};

/// Arguments by position or name, in the order of `names`; none counts as not given.
pub fn bind<const N: usize>(args: &[Value], names: [&str; N]) -> Result<[Option<Value>; N], Error> {
    let mut bound = [const { None }; N];
    for (at, value) in args.iter().enumerate() {
        if value.is_kwargs() {
            let given = Kwargs::try_from(value.clone())?;
            for (place, name) in bound.iter_mut().zip(names) {
                if let Some(value) = given.get::<Option<Value>>(name)? {
                    *place = Some(value);
                }
            }
            given.assert_all_used()?;
        } else if at < N {
            bound[at] = Some(value.clone());
        } else {
            return Err(type_error(format!("at most {N} arguments are taken")));
        }
    }
    Ok(bound.map(|value| value.filter(|value| !value.is_none())))
}

pub fn flag(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(Value::is_true)
}

fn whole(value: Option<Value>, default: i64) -> Result<i64, Error> {
    value.map_or(Ok(default), i64::try_from)
}

fn named(names: &[&'static str], values: &[Option<Value>]) -> Kwargs {
    names.iter().zip(values).filter_map(|(name, value)| value.clone().map(|value| (*name, value))).collect()
}

fn sort(state: &State, value: Value, args: Rest<Value>) -> Result<Value, Error> {
    const NAMES: [&str; 3] = ["reverse", "case_sensitive", "attribute"];
    builtin::sort(state, value, named(&NAMES, &bind(&args, NAMES)?))
}

fn dictsort(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    const NAMES: [&str; 3] = ["case_sensitive", "by", "reverse"];
    builtin::dictsort(value, named(&NAMES, &bind(&args, NAMES)?))
}

/// The first of the least, or with `reverse` of the largest.
fn extreme(state: &State, value: Value, args: &[Value], reverse: bool) -> Result<Value, Error> {
    let [case_sensitive, attribute] = bind(args, ["case_sensitive", "attribute"])?;
    let reverse = reverse.then(|| Value::from(true));
    let kwargs = named(&["case_sensitive", "attribute", "reverse"], &[case_sensitive, attribute, reverse]);
    let sorted = builtin::sort(state, each(value)?, kwargs)?;
    let first = sorted.try_iter()?.next();
    Ok(first.unwrap_or_default())
}

fn sum(value: Value, args: Rest<Value>) -> Result<Value, Error> {
    let [attribute, start] = bind(&args, ["attribute", "start"])?;
    let mut total = start.unwrap_or_else(|| Value::from(0));
    for item in each(value)?.try_iter()? {
        let item = match attribute.as_ref().map(|name| (name, name.as_str())) {
            None => item,
            Some((_, Some(path))) => path.split('.').try_fold(item, |at, key| at.get_attr(key))?,
            Some((index, None)) => item.get_item(index)?,
        };
        total = add(total, item)?;
    }
    Ok(total)
}

/// Half goes to the even neighbour, as seen in a float's exact value.
fn round(value: Value, args: Rest<Value>) -> Result<Value, Error> {
    let [precision, method] = bind(&args, ["precision", "method"])?;
    let precision = whole(precision, 0)?.clamp(-300, 300) as i32;
    if value.is_integer() && precision >= 0 {
        return Ok(value);
    }
    let x = f64::try_from(value)?;
    let scale = 10f64.powi(precision.abs());
    let method = method.map_or("common".to_string(), |name| name.to_string());
    let scaled = |of: fn(f64) -> f64| if precision < 0 { of(x / scale) * scale } else { of(x * scale) / scale };
    Ok(Value::from(match method.as_str() {
        "ceil" => scaled(f64::ceil),
        "floor" => scaled(f64::floor),
        "common" if precision < 0 => scaled(f64::round_ties_even),
        "common" => format!("{x:.*}", precision as usize).parse().unwrap_or(x),
        other => return Err(type_error(format!("method must be common, ceil or floor, not {other}"))),
    }))
}

/// Jinja2 leaves a text that is at most `leeway` longer than `length` as it is.
fn truncate(value: Value, args: Rest<Value>) -> Result<String, Error> {
    let [length, killwords, end, leeway] = bind(&args, ["length", "killwords", "end", "leeway"])?;
    let end = end.map_or(Ok("...".to_string()), |end| to_str(&end))?;
    let (length, leeway) = (whole(length, 255)?.max(0) as usize, whole(leeway, 5)?.max(0) as usize);
    let text = to_str(&value)?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let words = if flag(&killwords) { kept.as_str() } else { kept.rsplit_once(' ').map_or(kept.as_str(), |cut| cut.0) };
    Ok(format!("{words}{end}"))
}

fn center(value: Value, args: Rest<Value>) -> Result<String, Error> {
    let [width] = bind(&args, ["width"])?;
    crate::methods::pad(&to_str(&value)?, "center", &[Value::from(whole(width, 80)?)])
}

fn escape(value: Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value);
    }
    to_str(&value).map(|text| Value::from_safe_string(escaped(&text)))
}

/// Jinja2 allows a range of at most 100 000 numbers.
fn range(args: Rest<Value>) -> Result<Value, Error> {
    let numbers = args.iter().map(|value| i64::try_from(value.clone())).collect::<Result<Vec<_>, _>>()?;
    let (start, stop, step) = match numbers[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] if step != 0 => (start, stop, step),
        _ => return Err(type_error("range takes one to three integers, and a step that is not zero".into())),
    };
    let distance = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
    let count = (distance.max(0) as u64).div_ceil(step.unsigned_abs());
    if count > 100_000 {
        return Err(type_error("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).".into()));
    }
    budget::check_product(count as usize, std::mem::size_of::<Value>())?;
    Ok(Value::from((0..count as i64).map(|i| Value::from(start + i * step)).collect::<Vec<_>>()))
}

pub fn register(env: &mut Environment) {
    env.add_filter("sort", sort);
    env.add_filter("dictsort", dictsort);
    env.add_filter("min", |state: &State, value: Value, args: Rest<Value>| extreme(state, value, &args, false));
    env.add_filter("max", |state: &State, value: Value, args: Rest<Value>| extreme(state, value, &args, true));
    env.add_filter("sum", sum);
    env.add_filter("round", round);
    env.add_filter("truncate", truncate);
    env.add_filter("center", center);
    env.add_filter("escape", escape);
    env.add_filter("e", escape);
    env.add_filter("forceescape", |value: Value| to_str(&value).map(|text| Value::from_safe_string(escaped(&text))));
    env.add_filter("pprint", |value: Value| to_repr(&value));
    env.add_filter("last", |value: Value| match value.kind() {
        ValueKind::String => Ok(value.as_str().and_then(|text| text.chars().next_back()).map(Value::from).unwrap_or_default()),
        _ => each(value).and_then(|value| Ok(value.try_iter()?.last().unwrap_or_default())),
    });
    env.add_function("range", range);
}
