// SPDX-License-Identifier: Apache-2.0
//! Structured output on llguidance.
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use regex::Regex;

pub struct Compiler {
    factory: ParserFactory,
    eos: Vec<u32>,
    vocabulary: usize,
}

pub struct State {
    matcher: Matcher,
    eos: Vec<u32>,
    vocabulary: usize,
    ended: bool,
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn choice_grammar(json: &str) -> Result<String, String> {
    let choices: Vec<String> = serde_json::from_str(json).map_err(text_of)?;
    if choices.is_empty() {
        return Err("choice is empty".into());
    }
    let quoted: Vec<String> =
        choices.iter().map(|c| serde_json::to_string(c).unwrap_or_default()).collect();
    Ok(format!("start: {}", quoted.join(" | ")))
}

/// One way to write white space, so that no model can spend its tokens on blanks. A schema's own
/// "x-guidance" wins.
fn compact(mut schema: serde_json::Value) -> serde_json::Value {
    if let Some(object) = schema.as_object_mut() {
        object
            .entry("x-guidance")
            .or_insert_with(|| serde_json::json!({"whitespace_flexible": false}));
    }
    schema
}

/// GBNF (`root ::= ...`) as Lark; Lark passes through.
fn as_lark(grammar: &str) -> String {
    if !Regex::new(r"(?m)^\s*[A-Za-z][A-Za-z0-9_-]*\s*::=").unwrap().is_match(grammar) {
        return grammar.to_string();
    }
    let token = Regex::new(r#""(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|#[^\n]*|::=|[A-Za-z][A-Za-z0-9_-]*"#).unwrap();
    let mut out = String::new();
    let mut end = 0;
    for found in token.find_iter(grammar) {
        out.push_str(&grammar[end..found.start()]);
        end = found.end();
        let text = found.as_str();
        match text.as_bytes()[0] {
            b'"' => out.push_str(text),
            b'[' => out.push_str(&format!("/{}/", text.replace('/', "\\/"))),
            b'#' => out.push_str(&format!("//{}", &text[1..])),
            b':' => out.push(':'),
            _ if text == "root" => out.push_str("start"),
            _ => out.push_str(&text.replace('-', "_").to_lowercase()),
        }
    }
    out + &grammar[end..]
}

impl Compiler {
    pub fn new(tokenizer_json: &[u8], eos: &[u32], vocabulary: usize) -> Result<Compiler, String> {
        let mut tokenizer =
            toktrie_hf_tokenizers::ByteTokenizer::from_json_bytes(tokenizer_json).map_err(text_of)?;
        if !eos.is_empty() {
            tokenizer.set_eos_tokens(eos);
        }
        let known = tokenizer.tokrx_info().vocab_size as usize;
        let env = tokenizer.into_tok_env(Some(vocabulary.max(known))).map_err(text_of)?;
        let mut factory = ParserFactory::new_simple(&env).map_err(text_of)?;
        factory.quiet();
        Ok(Compiler { factory, eos: eos.to_vec(), vocabulary })
    }

    /// `kind`: 0 JSON schema, 1 JSON object, 2 regex, 3 choice, 4 grammar.
    pub fn compile(&self, kind: i32, text: &str) -> Result<State, String> {
        let grammar = match kind {
            0 => TopLevelGrammar::from_json_schema(compact(serde_json::from_str(text).map_err(text_of)?)),
            1 => TopLevelGrammar::from_json_schema(compact(serde_json::json!({"type": "object"}))),
            2 => TopLevelGrammar::from_regex(text),
            3 => TopLevelGrammar::from_lark(choice_grammar(text)?),
            _ => TopLevelGrammar::from_lark(as_lark(text)),
        };
        let parser = self.factory.create_parser(grammar).map_err(text_of)?;
        let matcher = Matcher::new(Ok(parser));
        if let Some(error) = matcher.get_error() {
            return Err(error);
        }
        Ok(State { matcher, eos: self.eos.clone(), vocabulary: self.vocabulary, ended: false })
    }
}

impl State {
    pub fn fork(&self) -> State {
        State {
            matcher: self.matcher.deep_clone(),
            eos: self.eos.clone(),
            vocabulary: self.vocabulary,
            ended: self.ended,
        }
    }

    pub fn only_end(&self, mask: &mut [u32]) {
        mask.fill(0);
        for &id in &self.eos {
            if let Some(word) = mask.get_mut(id as usize / 32) {
                *word |= 1 << (id % 32);
            }
        }
    }

    pub fn mask(&mut self, mask: &mut [u32]) {
        if self.finished() {
            return self.only_end(mask);
        }
        match self.matcher.compute_mask_or_eos() {
            Ok(allowed) => {
                mask.fill(0);
                for (to, from) in mask.iter_mut().zip(allowed.as_slice()) {
                    *to = *from;
                }
                for id in self.vocabulary..mask.len() * 32 {
                    mask[id / 32] &= !(1 << (id % 32));
                }
                if self.matcher.is_accepting().unwrap_or(false) {
                    for &id in &self.eos {
                        if let Some(word) = mask.get_mut(id as usize / 32) {
                            *word |= 1 << (id % 32);
                        }
                    }
                }
                if mask.iter().all(|word| *word == 0) {
                    self.only_end(mask);
                }
            }
            Err(_) => self.only_end(mask),
        }
    }

    pub fn accept(&mut self, token: u32) -> bool {
        if self.eos.contains(&token) {
            let complete = self.finished() || self.matcher.is_accepting().unwrap_or(false);
            self.ended |= complete;
            return complete;
        }
        if self.finished() {
            return false;
        }
        self.matcher.try_consume_tokens(&[token]).map_or(false, |count| count == 1)
    }

    /// Masks for the next token and behind each draft that may come; leaves the state as it was.
    pub fn look_ahead(&mut self, drafts: &[u32], masks: &mut [u32], words: usize) -> usize {
        let mut places = masks.chunks_exact_mut(words);
        let Some(first) = places.next() else { return 0 };
        self.mask(first);
        let mut taken = 0;
        for (draft, place) in drafts.iter().zip(places) {
            if self.eos.contains(draft) || self.finished() || !self.accept(*draft) {
                break;
            }
            taken += 1;
            if self.finished() {
                break;
            }
            self.mask(place);
        }
        let written = if self.finished() { taken } else { taken + 1 };
        if taken > 0 {
            let _ = self.matcher.rollback(taken);
        }
        written.max(1)
    }

    pub fn forced(&mut self) -> Vec<u32> {
        if self.finished() || self.matcher.is_accepting().unwrap_or(true) {
            return Vec::new();
        }
        self.matcher.compute_ff_tokens()
    }

    pub fn finished(&self) -> bool {
        self.ended || self.matcher.is_stopped()
    }
}
