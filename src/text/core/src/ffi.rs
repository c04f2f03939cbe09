// SPDX-License-Identifier: Apache-2.0
//! The C ABI. A call returns 0 and its result, or 1 and an error message, in `out`.
use crate::{grammar, template, tokenizer};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

#[repr(C)]
pub struct Bytes {
    data: *mut u8,
    len: usize,
}

impl Bytes {
    fn from_vec(bytes: Vec<u8>) -> Bytes {
        let boxed = bytes.into_boxed_slice();
        let len = boxed.len();
        Bytes { data: Box::into_raw(boxed) as *mut u8, len }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    data: *const u8,
    len: usize,
}

impl Text {
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.len == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(self.data, self.len)
        }
    }
    unsafe fn str<'a>(self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()).map_err(|e| format!("not valid UTF-8: {e}"))
    }
}

fn panic_message(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| s.to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the text core failed: {}", text.unwrap_or_else(|| "unknown panic".into()))
}

fn quiet<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(panic_message)
}

unsafe fn bytes_call(out: *mut Bytes, work: impl FnOnce() -> Result<Vec<u8>, String>) -> i32 {
    match quiet(work).and_then(|r| r) {
        Ok(bytes) => {
            *out = Bytes::from_vec(bytes);
            0
        }
        Err(message) => {
            *out = Bytes::from_vec(message.into_bytes());
            1
        }
    }
}

unsafe fn handle_call<T>(
    handle: *mut *mut T,
    out: *mut Bytes,
    work: impl FnOnce() -> Result<T, String>,
) -> i32 {
    bytes_call(out, || {
        *handle = Box::into_raw(Box::new(work()?));
        Ok(Vec::new())
    })
}

unsafe fn drop_handle<T>(handle: *mut T) {
    if !handle.is_null() {
        let _ = quiet(|| drop(Box::from_raw(handle)));
    }
}

/// Keeps Rust's panic hook from printing; messages come back through the ABI.
#[no_mangle]
pub extern "C" fn braid_text_quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}

#[no_mangle]
pub unsafe extern "C" fn braid_bytes_free(bytes: Bytes) {
    if !bytes.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(bytes.data, bytes.len)));
    }
}

#[no_mangle]
pub unsafe extern "C" fn braid_yaml_to_json(yaml: Text, out: *mut Bytes) -> i32 {
    bytes_call(out, || {
        let value: serde_json::Value =
            serde_yaml_ng::from_str(yaml.str()?).map_err(|e| e.to_string())?;
        serde_json::to_vec(&value).map_err(|e| e.to_string())
    })
}

#[no_mangle]
pub unsafe extern "C" fn braid_tokenizer_new(
    json: Text,
    handle: *mut *mut tokenizer::Tokenizer,
    out: *mut Bytes,
) -> i32 {
    handle_call(handle, out, || tokenizer::Tokenizer::new(json.bytes()))
}

#[no_mangle]
pub unsafe extern "C" fn braid_tokenizer_free(handle: *mut tokenizer::Tokenizer) {
    drop_handle(handle)
}

/// The result is little-endian u32 ids.
#[no_mangle]
pub unsafe extern "C" fn braid_tokenizer_encode(
    handle: *const tokenizer::Tokenizer,
    text: Text,
    add_special_tokens: bool,
    out: *mut Bytes,
) -> i32 {
    bytes_call(out, || {
        let ids = (*handle).encode(&String::from_utf8_lossy(text.bytes()), add_special_tokens)?;
        Ok(ids.iter().flat_map(|id| id.to_le_bytes()).collect())
    })
}

#[no_mangle]
pub unsafe extern "C" fn braid_tokenizer_decode(
    handle: *const tokenizer::Tokenizer,
    ids: *const u32,
    count: usize,
    skip_special_tokens: bool,
    out: *mut Bytes,
) -> i32 {
    bytes_call(out, || {
        let ids = if count == 0 { &[][..] } else { std::slice::from_raw_parts(ids, count) };
        Ok((*handle).decode(ids, skip_special_tokens)?.into_bytes())
    })
}

/// The vocabulary in one buffer, see tokenizer.rs `table`.
#[no_mangle]
pub unsafe extern "C" fn braid_tokenizer_table(
    handle: *const tokenizer::Tokenizer,
    out: *mut Bytes,
) -> i32 {
    bytes_call(out, || Ok((*handle).table()))
}

#[no_mangle]
pub unsafe extern "C" fn braid_template_new(
    source: Text,
    variables: Text,
    handle: *mut *mut template::Template,
    out: *mut Bytes,
) -> i32 {
    handle_call(handle, out, || template::Template::new(source.str()?, variables.str()?))
}

#[no_mangle]
pub unsafe extern "C" fn braid_template_free(handle: *mut template::Template) {
    drop_handle(handle)
}

#[no_mangle]
pub unsafe extern "C" fn braid_template_loops_over_content(handle: *const template::Template) -> bool {
    (*handle).loops_over_content()
}

/// `input` is one JSON object, see template.rs `Input`.
#[no_mangle]
pub unsafe extern "C" fn braid_template_render(
    handle: *const template::Template,
    input: Text,
    out: *mut Bytes,
) -> i32 {
    bytes_call(out, || Ok((*handle).render(input.str()?)?.into_bytes()))
}

#[no_mangle]
pub unsafe extern "C" fn braid_grammars_new(
    tokenizer_json: Text,
    eos: *const u32,
    eos_count: usize,
    vocabulary: usize,
    handle: *mut *mut grammar::Compiler,
    out: *mut Bytes,
) -> i32 {
    handle_call(handle, out, || {
        let eos = if eos_count == 0 { &[][..] } else { std::slice::from_raw_parts(eos, eos_count) };
        grammar::Compiler::new(tokenizer_json.bytes(), eos, vocabulary)
    })
}

#[no_mangle]
pub unsafe extern "C" fn braid_grammars_free(handle: *mut grammar::Compiler) {
    drop_handle(handle)
}

#[no_mangle]
pub unsafe extern "C" fn braid_grammar_compile(
    compiler: *const grammar::Compiler,
    kind: i32,
    text: Text,
    handle: *mut *mut grammar::State,
    out: *mut Bytes,
) -> i32 {
    handle_call(handle, out, || (*compiler).compile(kind, text.str()?))
}

#[no_mangle]
pub unsafe extern "C" fn braid_grammar_free(handle: *mut grammar::State) {
    drop_handle(handle)
}

#[no_mangle]
pub unsafe extern "C" fn braid_grammar_clone(
    state: *const grammar::State,
    handle: *mut *mut grammar::State,
    out: *mut Bytes,
) -> i32 {
    handle_call(handle, out, || Ok((*state).fork()))
}

/// Fills `words` u32 words; on failure only the end tokens are allowed.
#[no_mangle]
pub unsafe extern "C" fn braid_grammar_mask(state: *mut grammar::State, mask: *mut u32, words: usize) -> i32 {
    let mask = std::slice::from_raw_parts_mut(mask, words);
    match quiet(|| (*state).mask(mask)) {
        Ok(()) => 0,
        Err(_) => {
            (*state).only_end(mask);
            1
        }
    }
}

/// Fills up to count + 1 masks of `words` words and says how many; 0 on failure.
#[no_mangle]
pub unsafe extern "C" fn braid_grammar_look_ahead(
    state: *mut grammar::State,
    drafts: *const u32,
    count: usize,
    masks: *mut u32,
    words: usize,
) -> usize {
    let drafts = if count == 0 { &[] } else { std::slice::from_raw_parts(drafts, count) };
    let masks = std::slice::from_raw_parts_mut(masks, (count + 1) * words);
    quiet(|| (*state).look_ahead(drafts, masks, words)).unwrap_or(0)
}

/// Writes the tokens that must come next, at most `most`, and says how many.
#[no_mangle]
pub unsafe extern "C" fn braid_grammar_forced(state: *mut grammar::State, tokens: *mut u32, most: usize) -> usize {
    let tokens = std::slice::from_raw_parts_mut(tokens, most);
    let forced = quiet(|| (*state).forced()).unwrap_or_default();
    let count = forced.len().min(most);
    tokens[..count].copy_from_slice(&forced[..count]);
    count
}

#[no_mangle]
pub unsafe extern "C" fn braid_grammar_accept(state: *mut grammar::State, token: u32) -> bool {
    quiet(|| (*state).accept(token)).unwrap_or(false)
}

#[no_mangle]
pub unsafe extern "C" fn braid_grammar_finished(state: *const grammar::State) -> bool {
    quiet(|| (*state).finished()).unwrap_or(true)
}

#[allow(dead_code)]
fn assert_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<tokenizer::Tokenizer>>();
    shared::<template::Template>();
}
