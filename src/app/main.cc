// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "app/commands.h"
#include "base/version.h"
#include "text/core.h"

namespace braid::app {
namespace {

struct Command {
  std::string_view name;
  std::string_view help;
  int (*run)(Words);
};

constexpr Command kCommands[] = {
    {"serve", "serve a model over an OpenAI-compatible HTTP API", serve},
    {"chat", "talk to a served model in the terminal", chat},
    {"bench", "bench machine | engine | serve: measure this machine, a model, a server", bench},
    {"kernels", "which kernels run a model here, and why not the others", kernels},
    {"config", "every setting of serve with its value and where it comes from", config},
    {"metrics", "every metric of /metrics and what it means", metrics},
    {"doctor", "check this machine and a model folder", doctor},
    {"render", "render chat templates: JSON lines in, JSON lines out", render},
    {"rank", "", rank},  // started by serve
};

int usage(std::FILE* out, int status) {
  std::fprintf(out, "usage: braid COMMAND [arguments]\n\n");
  for (const auto& command : kCommands) {
    if (command.help.empty()) continue;
    std::fprintf(out, "  %-8.*s %.*s\n", static_cast<int>(command.name.size()), command.name.data(),
                 static_cast<int>(command.help.size()), command.help.data());
  }
  std::fprintf(out, "\nbraid COMMAND --help says more. Start with: braid serve models/lexicon-30m\n");
  return status;
}

}  // namespace

int fail(const Error& error) {
  std::fprintf(stderr, "braid: %s\n", error.message.c_str());
  return error.code == ErrorCode::kInvalidArgument ? 2 : 1;
}

}  // namespace braid::app

int main(int argc, char** argv) {
  using namespace braid::app;
  braid_text_quiet();
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) return usage(stderr, 2);
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") return usage(stdout, 0);
  if (words[0] == "--version" || words[0] == "version") return std::printf("braid %s\n", braid::version()) < 0;
  for (const auto& command : kCommands) {
    if (command.name == words[0]) return command.run(std::span(words).subspan(1));
  }
  std::fprintf(stderr, "braid: there is no command '%s'\n\n", words[0].c_str());
  return usage(stderr, 2);
}
