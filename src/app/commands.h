// SPDX-License-Identifier: Apache-2.0
// The subcommands of the binary. Each takes its words and returns the exit status: 0, 1 when what
// was asked failed, 2 when the words are wrong.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace braid::app {

using Words = std::span<const std::string>;

struct Command {
  std::string_view name;
  std::string_view help;  // empty: not for people, left out of what is printed
  int (*run)(Words);
};

// Runs the command that the first word names with the words after it. Without words, with --help or
// with a name that is none it prints what there is (or the nearest name) instead.
int dispatch(const std::string& program, std::span<const Command> commands, Words words);

bool is_help(const std::string& word);

int serve(Words words);
int rank(Words words);
int render(Words words);
int parse(Words words);
int kernels(Words words);
int inspect(Words words);
int config(Words words);
int bench(Words words);
int bench_autoscale(Words words);
int bench_eplb(Words words);
int bench_kv(Words words);
int bench_serve(Words words);
int bench_route(Words words);
int bench_router(Words words);
int bench_dispatch(Words words);
int doctor(Words words);
int chat(Words words);
int eval(Words words);
int metrics(Words words);
int top(Words words);
int trace(Words words);
int route(Words words);
int sidecar(Words words);
int simulate(Words words);
int autoscale_command(Words words);
int bundle_report(Words words);

// Prints "braid: message" and returns 1, or 2 for a wrong argument.
int fail(const Error& error);

}  // namespace braid::app
