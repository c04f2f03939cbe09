// SPDX-License-Identifier: Apache-2.0
//! Puts the operators of operators.rs into a compiled template.
use crate::operators::DICT_METHODS;
use minijinja::machinery::{Instruction, Instructions};
use minijinja::Value;

/// A filter that is looked up by name each time.
const UNCACHED: u8 = !0;

/// The operator of an instruction, as a filter with its number of operands.
fn operator(instruction: &Instruction) -> Option<(&'static str, u16)> {
    Some(match instruction {
        Instruction::Add => ("operator.add", 2),
        Instruction::Mul => ("operator.multiply", 2),
        Instruction::Div => ("operator.divide", 2),
        Instruction::IntDiv => ("operator.floor_divide", 2),
        Instruction::Rem => ("operator.remainder", 2),
        Instruction::StringConcat => ("operator.concat", 2),
        Instruction::Lt => ("operator.lt", 2),
        Instruction::Lte => ("operator.lte", 2),
        Instruction::Gt => ("operator.gt", 2),
        Instruction::Gte => ("operator.gte", 2),
        Instruction::In => ("operator.in", 2),
        Instruction::Slice => ("operator.slice", 4),
        Instruction::GetAttr(name) => {
            let found = DICT_METHODS.binary_search_by_key(name, |method| method.0).ok()?;
            (DICT_METHODS[found].1, 1)
        }
        _ => return None,
    })
}

fn jump_target<'a>(instruction: &'a mut Instruction) -> Option<&'a mut u32> {
    match instruction {
        Instruction::Iterate(to)
        | Instruction::Jump(to)
        | Instruction::JumpIfFalse(to)
        | Instruction::JumpIfFalseOrPop(to)
        | Instruction::JumpIfTrueOrPop(to)
        | Instruction::BuildMacro(_, to, _) => Some(to),
        _ => None,
    }
}

/// The same program with the operators of this file, and its plain text printed by the formatter.
pub fn rewrite<'a>(program: &Instructions<'a>) -> Instructions<'a> {
    let mut out = Instructions::new(program.name(), program.source());
    let mut moved = Vec::with_capacity(program.len() + 1);
    let mut negated = false;
    for at in 0..program.len() as u32 {
        moved.push(out.len() as u32);
        let line = program.get_line(at).unwrap_or(0) as u16;
        let mut add = |instruction| {
            out.add_with_line(instruction, line);
        };
        let before_attribute = matches!(program.get(at + 1), Some(Instruction::GetAttr(_)));
        match program.get(at) {
            Some(Instruction::PushLoop(flags)) => {
                add(Instruction::ApplyFilter("operator.each", Some(1), UNCACHED));
                add(Instruction::PushLoop(*flags));
            }
            Some(Instruction::Neg) if before_attribute => negated = true,
            Some(Instruction::EmitRaw(text)) => {
                add(Instruction::LoadConst(Value::from(*text)));
                add(Instruction::Emit);
            }
            Some(other) => match operator(other) {
                Some((name, operands)) => add(Instruction::ApplyFilter(name, Some(operands), UNCACHED)),
                None => add(other.clone()),
            },
            None => {}
        }
        // -a.b is -(a.b): minijinja negates first.
        if negated && !before_attribute {
            out.add_with_line(Instruction::Neg, line);
            negated = false;
        }
    }
    moved.push(out.len() as u32);
    for at in 0..out.len() as u32 {
        if let Some(target) = out.get_mut(at).and_then(jump_target) {
            *target = moved.get(*target as usize).copied().unwrap_or(*target);
        }
    }
    out
}
