// SPDX-License-Identifier: Apache-2.0
//! What one rendering may use: memory, counted by the allocator per thread, and time. Fuel bounds
//! the number of steps only; one step can make a large value.
use minijinja::{Error, ErrorKind};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

const MEMORY: usize = 256 << 20;
const LARGEST_VALUE: usize = 64 << 20;
const TIME: Duration = Duration::from_secs(10);

/// Bytes allocated minus bytes freed on this thread, and the start of its rendering.
struct Usage {
    held: Cell<isize>,
    at_start: Cell<isize>,
    until: Cell<Option<Instant>>,
}

thread_local! {
    static USAGE: Usage = const { Usage { held: Cell::new(0), at_start: Cell::new(0), until: Cell::new(None) } };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    let _ = USAGE.try_with(|usage| usage.held.set(usage.held.get().wrapping_add(bytes)));
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        System.alloc(layout)
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        System.alloc_zeroed(layout)
    }
    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        System.dealloc(data, layout)
    }
    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        System.realloc(data, layout, size)
    }
}

/// Starts this thread's budget.
pub fn begin() {
    USAGE.with(|usage| {
        usage.at_start.set(usage.held.get());
        usage.until.set(Some(Instant::now() + TIME));
    });
}

/// Fails if the rendering is over its budget, or would be with a value of `bytes` more.
pub fn check(bytes: usize) -> Result<(), Error> {
    let (held, until) =
        USAGE.with(|usage| (usage.held.get().wrapping_sub(usage.at_start.get()), usage.until.get()));
    let refuse = |message: String| Err(Error::new(ErrorKind::InvalidOperation, message));
    if bytes > LARGEST_VALUE {
        return refuse(format!("the template makes a value of more than {} MiB", LARGEST_VALUE >> 20));
    }
    if held.max(0) as usize + bytes > MEMORY {
        return refuse(format!("the template needs more than {} MiB of memory", MEMORY >> 20));
    }
    if until.is_some_and(|until| Instant::now() > until) {
        return refuse(format!("the template renders for more than {} seconds", TIME.as_secs()));
    }
    Ok(())
}

/// The same for `count` values of `size` bytes.
pub fn check_product(count: usize, size: usize) -> Result<(), Error> {
    check(count.saturating_mul(size))
}
